/* bpmeta.c - reads the symmetry functions in the metadata of a .nnp file (docs/model-file.md, key "bp"). */
#include "modelfile.h"
#include <math.h>
#include <string.h>

static const int types[] = {2, 3, 9, 12, 13, 20, 21, 22, 23, 24, 25};

static int is_weighted(int type) { return type == 12 || type == 13 || type >= 23; }

static int read_type(json entry, nnp_bp_spec* f)
{
    double number;
    TRY(nnp_meta_number(entry, "type", &number));
    for (size_t k = 0; k < sizeof types / sizeof *types; k++)
        if (number == types[k]) f->type = types[k];
    return f->type ? NNP_OK : BAD("metadata: 'type' of a symmetry function is %g, not a known one", number);
}

static int read_partners(json entry, const nnp_model* m, nnp_bp_spec* f)
{
    json list, none, value;
    f->partner[0] = f->partner[1] = -1;
    if (is_weighted(f->type)) return NNP_OK;
    const int n = nnp_bp_is_radial(f->type) ? 1 : 2;
    TRY(nnp_meta_list(entry, "partners", n, &list));
    json_walk walk = json_begin(list);
    for (int k = 0; json_next(&walk, &none, &value); k++) {
        f->partner[k] = nnp_meta_species_index(m, value);
        if (f->partner[k] < 0) return BAD("metadata: 'partners' holds a species the model does not have");
    }
    if (n == 2 && f->partner[0] > f->partner[1]) {
        const int t = f->partner[0];
        f->partner[0] = f->partner[1];
        f->partner[1] = t;
    }
    return NNP_OK;
}

static int read_gaussian(json entry, nnp_bp_spec* f)
{
    double cutoff;
    TRY(nnp_meta_number(entry, "cutoff", &cutoff));
    TRY(nnp_meta_number(entry, "alpha", &f->alpha));
    TRY(nnp_meta_number(entry, "eta", &f->eta));
    TRY(nnp_meta_number(entry, "rs", &f->rs));
    if (!(cutoff >= 0 && cutoff <= 8) || cutoff != floor(cutoff))
        return BAD("metadata: 'cutoff' of a symmetry function is not an integer from 0 to 8");
    f->cutoff = (int)cutoff;
    if (!(f->alpha >= 0 && f->alpha < 1))
        return BAD("metadata: 'alpha' of a symmetry function is not in [0, 1)");
    if (!(f->eta >= 0 && f->eta <= 1e6))
        return BAD("metadata: 'eta' of a symmetry function is not in [0, 1e6]");
    if (!(fabs(f->rs) <= 1e3)) return BAD("metadata: 'rs' of a symmetry function is beyond 1000");
    if (nnp_bp_is_radial(f->type)) return NNP_OK;
    TRY(nnp_meta_number(entry, "lambda", &f->lambda));
    TRY(nnp_meta_number(entry, "zeta", &f->zeta));
    if (!(fabs(f->lambda) <= 1)) return BAD("metadata: 'lambda' of a symmetry function is not in [-1, 1]");
    if (!(f->zeta >= 1 && f->zeta <= 1e6))
        return BAD("metadata: 'zeta' of a symmetry function is not in [1, 1e6]");
    return NNP_OK;
}

static int read_compact(json entry, nnp_bp_spec* f)
{
    static const char* const shapes[] = {"e", "p1", "p2", "p3", "p4", "ea", "p1a", "p2a", "p3a", "p4a"};
    const double degree = 3.14159265358979323846 / 180;
    int shape;
    TRY(nnp_meta_number(entry, "r_low", &f->low));
    TRY(nnp_meta_word(entry, "subtype", shapes, 10, &shape));
    f->core = 4 + shape % 5;
    f->asymmetric = shape / 5;
    if (!(f->low < f->rc && f->low >= -1e3))
        return BAD("metadata: 'r_low' of a symmetry function is not below its cutoff");
    if (nnp_bp_is_radial(f->type)) return NNP_OK;
    TRY(nnp_meta_number(entry, "theta_left", &f->left));
    TRY(nnp_meta_number(entry, "theta_right", &f->right));
    if (!(f->left < f->right && f->left >= -360 && f->right <= 720))
        return BAD("metadata: 'theta_left' of a symmetry function is not below 'theta_right'");
    f->left *= degree;
    f->right *= degree;
    return NNP_OK;
}

static int read_function(json entry, const nnp_model* m, nnp_bp_spec* f)
{
    memset(f, 0, sizeof *f);
    if (!json_is(entry, '{')) return BAD("metadata: a symmetry function is not an object");
    TRY(read_type(entry, f));
    TRY(read_partners(entry, m, f));
    TRY(nnp_meta_number(entry, f->type >= 20 ? "r_high" : "rc", &f->rc));
    if (!(f->rc > 0 && f->rc <= 1e3))
        return BAD("metadata: 'rc' or 'r_high' of a symmetry function is not in (0, 1000]");
    return f->type >= 20 ? read_compact(entry, f) : read_gaussian(entry, f);
}

static int read_functions(json list, const nnp_model* m, nnp_bp* bp)
{
    json none, value;
    const int n = json_count(list, '[');
    if (n < 1 || n > NNP_BP_MAX_FUNCTIONS)
        return BAD("metadata: an entry of 'functions' is not a list of 1 to %d", NNP_BP_MAX_FUNCTIONS);
    bp->spec = nnp_alloc((size_t)n, sizeof *bp->spec);
    if (!bp->spec) return nnp_fail(NNP_ERR_MEMORY, "out of memory: %d symmetry functions", n);
    bp->n_functions = n;
    json_walk walk = json_begin(list);
    for (int f = 0; json_next(&walk, &none, &value); f++) TRY(read_function(value, m, &bp->spec[f]));
    return NNP_OK;
}

/* Numbers of one species out of {key: [[...], ...]}; *out [n_functions]. */
static int read_row(json list, const char* key, int n, double** out)
{
    json none, value;
    if (json_count(list, '[') != n) return BAD("metadata: a row of '%s' is not a list of %d", key, n);
    *out = nnp_alloc((size_t)n, sizeof **out);
    if (!*out) return nnp_fail(NNP_ERR_MEMORY, "out of memory: '%s'", key);
    json_walk walk = json_begin(list);
    for (int k = 0; json_next(&walk, &none, &value); k++)
        if (!json_number(value, &(*out)[k]))
            return BAD("metadata: '%s' holds something not a finite number", key);
    return NNP_OK;
}

static int read_scaling(json bp, const char* key, nnp_model* m, size_t field)
{
    json list, none, value;
    TRY(nnp_meta_list(bp, key, m->n_species, &list));
    json_walk walk = json_begin(list);
    for (int s = 0; json_next(&walk, &none, &value); s++)
        TRY(read_row(value, key, m->bp[s].n_functions, (double**)((char*)&m->bp[s] + field)));
    return NNP_OK;
}

static int is_given(json bp, const char* key)
{
    json value;
    return json_find(bp, key, &value) && !json_is(value, 'n');
}

int nnp_read_bp(json meta, nnp_model* m)
{
    json bp, list, none, value;
    TRY(nnp_meta_get(meta, "bp", &bp));
    TRY(nnp_meta_list(bp, "functions", m->n_species, &list));
    json_walk walk = json_begin(list);
    for (int s = 0; json_next(&walk, &none, &value); s++) TRY(read_functions(value, m, &m->bp[s]));
    TRY(read_scaling(bp, "centre", m, offsetof(nnp_bp, centre)));
    TRY(read_scaling(bp, "factor", m, offsetof(nnp_bp, factor)));
    if (is_given(bp, "minimum") != is_given(bp, "maximum"))
        return BAD("metadata: 'minimum' and 'maximum' belong together");
    if (is_given(bp, "minimum")) {
        TRY(read_scaling(bp, "minimum", m, offsetof(nnp_bp, minimum)));
        TRY(read_scaling(bp, "maximum", m, offsetof(nnp_bp, maximum)));
    }
    return nnp_bp_build(m);
}
