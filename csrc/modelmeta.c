/* modelmeta.c - the metadata document of a .nnp file: architecture, species, baseline (docs/model-file.md).
 */
#include "modelfile.h"
#include <math.h>
#include <string.h>

enum { SCHEMA = 1, MAX_COUNT = NNP_META_MAX_COUNT };

/* ---- typed access ---- */

int nnp_meta_get(json object, const char* key, json* value)
{
    int found = json_find(object, key, value);
    if (found == 1) return NNP_OK;
    return BAD(found ? "metadata: key '%s' appears twice" : "metadata: key '%s' is missing", key);
}

int nnp_meta_list(json object, const char* key, int count, json* list)
{
    TRY(nnp_meta_get(object, key, list));
    int n = json_count(*list, '[');
    if (n == count) return NNP_OK;
    if (n < 0) return BAD("metadata: '%s' is not a list", key);
    return BAD("metadata: '%s' has %d entries, not %d", key, n, count);
}

int nnp_meta_number(json object, const char* key, double* out)
{
    json value;
    TRY(nnp_meta_get(object, key, &value));
    return json_number(value, out) ? NNP_OK : BAD("metadata: '%s' is not a finite number", key);
}

int nnp_meta_numbers(json object, const char* key, int n, double* out)
{
    json list, none, value;
    TRY(nnp_meta_list(object, key, n, &list));
    json_walk walk = json_begin(list);
    while (json_next(&walk, &none, &value))
        if (!json_number(value, out++)) return BAD("metadata: '%s' holds something not a finite number", key);
    return NNP_OK;
}

int nnp_meta_count(json value, const char* key, int low, int* out)
{
    double number;
    if (!json_number(value, &number) || number != floor(number) || !(number >= low && number <= MAX_COUNT))
        return BAD("metadata: '%s' holds something not an integer from %d to %d", key, low, MAX_COUNT);
    *out = (int)number;
    return NNP_OK;
}

/* Kind of the string under key: its place among the n words; -1 for something else. */
int nnp_meta_word(json object, const char* key, const char* const* words, int n, int* out)
{
    json value;
    char text[32];
    TRY(nnp_meta_get(object, key, &value));
    *out = -1;
    for (int k = 0; k < n && json_string(value, text, sizeof text) >= 0; k++)
        if (strcmp(text, words[k]) == 0) *out = k;
    return *out >= 0 ? NNP_OK : BAD("metadata: '%s' is not a known one", key);
}

static int read_schema(json meta)
{
    double schema;
    TRY(nnp_meta_number(meta, "schema", &schema));
    if (schema > SCHEMA)
        return nnp_fail(NNP_ERR_VERSION, "model file has schema %.17g; this nnpcore reads up to %d", schema,
                        SCHEMA);
    return schema == SCHEMA ? NNP_OK : BAD("metadata: 'schema' is not %d", SCHEMA);
}

static int read_species(json meta, nnp_model* m)
{
    json list, none, value;
    TRY(nnp_meta_list(meta, "species", m->n_species, &list));
    json_walk walk = json_begin(list);
    for (int s = 0; json_next(&walk, &none, &value); s++) {
        if (json_string(value, m->species[s], sizeof *m->species) < 0) m->species[s][0] = '\0';
        m->atomic_number[s] = nnp_atomic_number(m->species[s]);
        if (!m->atomic_number[s]) return BAD("metadata: 'species' entry %d is not an element symbol", s);
        for (int t = 0; t < s; t++)
            if (m->atomic_number[t] == m->atomic_number[s])
                return BAD("metadata: 'species' names %s twice", m->species[s]);
    }
    TRY(nnp_meta_numbers(meta, "e0", m->n_species, m->e0));
    TRY(nnp_meta_numbers(meta, "mass", m->n_species, m->mass));
    for (int s = 0; s < m->n_species; s++)
        if (!(m->mass[s] > 0)) return BAD("metadata: 'mass' of %s is not positive", m->species[s]);
    return NNP_OK;
}

int nnp_meta_species_index(const nnp_model* m, json value)
{
    char text[8];
    if (json_string(value, text, sizeof text) < 0) return -1;
    for (int s = 0; s < m->n_species; s++)
        if (strcmp(text, m->species[s]) == 0) return s;
    return -1;
}

/* counts is [n]: one centre species, all channels */
static int read_counts(json list, const char* key, int n, int* counts)
{
    json none, value;
    if (json_count(list, '[') != n) return BAD("metadata: a row of '%s' is not a list of %d", key, n);
    json_walk walk = json_begin(list);
    while (json_next(&walk, &none, &value)) TRY(nnp_meta_count(value, key, 0, counts++));
    return NNP_OK;
}

static int read_msr(json meta, nnp_model* m)
{
    static const char* const cutoffs[] = {"cosine", "septic"}; /* as NNP_CUTOFF_ */
    json msr, list, none, value;
    TRY(nnp_meta_get(meta, "msr", &msr));
    if (json_find(msr, "cutoff", &value)) TRY(nnp_meta_word(msr, "cutoff", cutoffs, 2, &m->cutoff_kind));
    TRY(nnp_meta_number(msr, "rc", &m->rc));
    TRY(nnp_meta_number(msr, "rc3", &m->rc3));
    TRY(nnp_meta_number(msr, "rs", &m->rs));
    if (!(m->rc > 0)) return BAD("metadata: 'rc' is not positive");
    if (!(m->rc3 > 0 && m->rc3 <= m->rc)) return BAD("metadata: 'rc3' is not above 0 and up to rc");
    if (!(m->rs >= 0 && m->rs < m->rc)) return BAD("metadata: 'rs' is not 0 or more and below rc");
    TRY(nnp_meta_list(msr, "n2", m->n_species, &list));
    json_walk walk = json_begin(list);
    for (int s = 0; json_next(&walk, &none, &value); s++)
        TRY(read_counts(value, "n2", m->n_species, m->msr[s].n2));
    TRY(nnp_meta_list(msr, "n3", m->n_species, &list));
    walk = json_begin(list);
    for (int s = 0; json_next(&walk, &none, &value); s++)
        TRY(read_counts(value, "n3", nnp_n_channels(m->n_species), m->msr[s].n3));
    m->cutoff = m->rc;
    return NNP_OK;
}

static int read_net(json entry, nnp_net* net)
{
    static const char* const activations[NNP_N_ACTIVATIONS] = {
        "linear", "tanh", "logistic", "softplus", "gaussian", "cos", "relu", "exp", "harmonic"};
    json hidden, activation, none, value;
    TRY(nnp_meta_get(entry, "hidden", &hidden));
    int n = json_count(hidden, '[');
    if (n < 0 || n >= NNP_MAX_LAYERS)
        return BAD("metadata: 'hidden' is not a list of up to %d widths", NNP_MAX_LAYERS - 1);
    net->n_layers = n + 1;
    json_walk walk = json_begin(hidden);
    for (int l = 1; json_next(&walk, &none, &value); l++)
        TRY(nnp_meta_count(value, "hidden", 1, &net->width[l]));
    TRY(nnp_meta_list(entry, "activation", n, &activation));
    walk = json_begin(activation);
    for (int l = 0; json_next(&walk, &none, &value); l++) {
        char text[16];
        net->activation[l] = -1;
        for (int a = 0; a < NNP_N_ACTIVATIONS && json_string(value, text, sizeof text) >= 0; a++)
            if (strcmp(text, activations[a]) == 0) net->activation[l] = a;
        if (net->activation[l] < 0) return BAD("metadata: 'activation' holds something not a known function");
    }
    net->activation[n] = NNP_ACT_LINEAR;
    return NNP_OK;
}

static int read_networks(json meta, nnp_model* m)
{
    json list, none, value;
    TRY(nnp_meta_list(meta, "network", m->n_species, &list));
    json_walk walk = json_begin(list);
    for (int s = 0; json_next(&walk, &none, &value); s++) TRY(read_net(value, &m->net[s]));
    nnp_model_layout(m);
    for (int s = 0; s < m->n_species; s++)
        if (nnp_n_inputs(m, s) < 1) return BAD("metadata: %s has no fingerprints", m->species[s]);
    return NNP_OK;
}

/* ---- baseline ---- */

static int read_pair(json entry, const nnp_model* m, int count, nnp_baseline* b)
{
    json list, none, value;
    int index[2] = {-1, -1};
    TRY(nnp_meta_list(entry, "species", count, &list));
    json_walk walk = json_begin(list);
    for (int k = 0; json_next(&walk, &none, &value); k++) {
        index[k] = nnp_meta_species_index(m, value);
        if (index[k] < 0) return BAD("metadata: a baseline's 'species' holds one the model does not have");
    }
    b->s = index[0];
    b->t = index[count - 1];
    return NNP_OK;
}

static int read_sw(json entry, const nnp_model* m, nnp_baseline* b)
{
    static const char* const keys[] = {"epsilon",    "sigma", "a", "lambda", "gamma",
                                       "cos_theta0", "A",     "B", "p",      "q"};
    TRY(read_pair(entry, m, 1, b));
    for (int k = 0; k < 10; k++) TRY(nnp_meta_number(entry, keys[k], &b->p[k]));
    for (int k = 0; k < 10; k++)
        if (k != 5 && !(b->p[k] >= 0)) return BAD("metadata: '%s' of a baseline is negative", keys[k]);
    b->cutoff = b->p[2] * b->p[1];
    if (!(b->cutoff > 0 && isfinite(b->cutoff)))
        return BAD("metadata: 'a' sigma of a baseline is not a radius");
    return NNP_OK;
}

static int read_lj(json entry, const nnp_model* m, nnp_baseline* b)
{
    json none;
    TRY(read_pair(entry, m, 2, b));
    TRY(nnp_meta_number(entry, "epsilon", &b->p[0]));
    TRY(nnp_meta_number(entry, "sigma", &b->p[1]));
    TRY(nnp_meta_number(entry, "cutoff", &b->cutoff));
    if (!(b->p[0] >= 0)) return BAD("metadata: 'epsilon' of a baseline is negative");
    if (!(b->p[1] > 0)) return BAD("metadata: 'sigma' of a baseline is not positive");
    if (!(b->cutoff > 0)) return BAD("metadata: 'cutoff' of a baseline is not positive");
    b->p[2] = 0.8 * b->cutoff;
    if (json_find(entry, "switch_on", &none)) TRY(nnp_meta_number(entry, "switch_on", &b->p[2]));
    if (!(b->p[2] >= 0 && b->p[2] < b->cutoff))
        return BAD("metadata: 'switch_on' of a baseline is not 0 or more and below its cutoff");
    return NNP_OK;
}

static int read_zbl(json entry, nnp_baseline* b)
{
    b->s = b->t = -1;
    TRY(nnp_meta_number(entry, "inner", &b->p[0]));
    TRY(nnp_meta_number(entry, "outer", &b->cutoff));
    if (!(b->p[0] >= 0 && b->p[0] < b->cutoff))
        return BAD("metadata: 'inner' of a baseline is not 0 or more and below 'outer'");
    return NNP_OK;
}

static int read_baseline(json entry, const nnp_model* m, nnp_baseline* b)
{
    static const char* const kinds[] = {"sw", "lj", "zbl"}; /* as NNP_BASELINE_ */
    TRY(nnp_meta_word(entry, "kind", kinds, 3, &b->kind));
    if (b->kind == NNP_BASELINE_SW) return read_sw(entry, m, b);
    if (b->kind == NNP_BASELINE_LJ) return read_lj(entry, m, b);
    return read_zbl(entry, b);
}

static int read_baselines(json meta, nnp_model* m)
{
    json list, none, value;
    if (!json_find(meta, "baseline", &list)) return NNP_OK;
    TRY(nnp_meta_get(meta, "baseline", &list));
    int n = json_count(list, '[');
    if (n < 0 || n > MAX_COUNT) return BAD("metadata: 'baseline' is not a list of up to %d", MAX_COUNT);
    m->baseline = nnp_alloc((size_t)n, sizeof *m->baseline);
    if (!m->baseline) return nnp_fail(NNP_ERR_MEMORY, "out of memory: %d baseline potentials", n);
    memset(m->baseline, 0, (size_t)n * sizeof *m->baseline);
    json_walk walk = json_begin(list);
    while (json_next(&walk, &none, &value)) {
        nnp_baseline* b = &m->baseline[m->n_baseline++];
        TRY(read_baseline(value, m, b));
        if (b->cutoff > m->cutoff) m->cutoff = b->cutoff;
    }
    return NNP_OK;
}

/* ---- all of it ---- */

int nnp_read_metadata(json meta, nnp_model** out)
{
    static const char* const methods[] = {"baseline", "msr", "bp"}; /* as NNP_METHOD_ */
    static const char* const units[] = {"eV Angstrom"};
    json list;
    int method, unit;
    if (!json_is(meta, '{')) return BAD("metadata: not a JSON object");
    TRY(read_schema(meta));
    TRY(nnp_meta_word(meta, "method", methods, 3, &method));
    TRY(nnp_meta_word(meta, "units", units, 1, &unit));
    TRY(nnp_meta_get(meta, "species", &list));
    int n = json_count(list, '[');
    if (n < 1 || n > NNP_MAX_ELEMENT)
        return BAD("metadata: 'species' is not a list of 1 to %d", NNP_MAX_ELEMENT);
    nnp_model* m = *out = nnp_model_new(method, n);
    if (!m) return nnp_fail(NNP_ERR_MEMORY, "out of memory: a model of %d species", n);
    TRY(read_species(meta, m));
    if (method == NNP_METHOD_MSR) TRY(read_msr(meta, m));
    if (method == NNP_METHOD_BP) TRY(nnp_read_bp(meta, m));
    if (m->net) TRY(read_networks(meta, m));
    TRY(read_baselines(meta, m));
    if (method == NNP_METHOD_BASELINE && m->n_baseline == 0)
        return BAD("metadata: method \"baseline\" without a baseline potential");
    return NNP_OK;
}
