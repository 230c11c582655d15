/* model.c - the model as an object: elements, allocation, order of theta, accessors. */
#include "model.h"
#include <string.h>

static const char symbols[NNP_MAX_ELEMENT][3] = {
    "H",  "He", "Li", "Be", "B",  "C",  "N",  "O",  "F",  "Ne", "Na", "Mg", "Al", "Si", "P",  "S",  "Cl",
    "Ar", "K",  "Ca", "Sc", "Ti", "V",  "Cr", "Mn", "Fe", "Co", "Ni", "Cu", "Zn", "Ga", "Ge", "As", "Se",
    "Br", "Kr", "Rb", "Sr", "Y",  "Zr", "Nb", "Mo", "Tc", "Ru", "Rh", "Pd", "Ag", "Cd", "In", "Sn", "Sb",
    "Te", "I",  "Xe", "Cs", "Ba", "La", "Ce", "Pr", "Nd", "Pm", "Sm", "Eu", "Gd", "Tb", "Dy", "Ho", "Er",
    "Tm", "Yb", "Lu", "Hf", "Ta", "W",  "Re", "Os", "Ir", "Pt", "Au", "Hg", "Tl", "Pb", "Bi", "Po", "At",
    "Rn", "Fr", "Ra", "Ac", "Th", "Pa", "U",  "Np", "Pu", "Am", "Cm", "Bk", "Cf", "Es", "Fm", "Md", "No",
    "Lr", "Rf", "Db", "Sg", "Bh", "Hs", "Mt", "Ds", "Rg", "Cn", "Nh", "Fl", "Mc", "Lv", "Ts", "Og"};

int nnp_atomic_number(const char* symbol)
{
    for (int z = 0; z < NNP_MAX_ELEMENT; z++)
        if (strcmp(symbols[z], symbol) == 0) return z + 1;
    return 0;
}

static void* zeroed(int count, size_t element, int* failed)
{
    void* p = nnp_alloc((size_t)count, element);
    if (p)
        memset(p, 0, (size_t)count * element);
    else
        *failed = 1;
    return p;
}

nnp_model* nnp_model_new(int method, int n_species)
{
    int failed = 0;
    nnp_model* m = zeroed(1, sizeof *m, &failed);
    if (!m) return NULL;
    m->n_holders = zeroed(1, sizeof *m->n_holders, &failed);
    if (m->n_holders) *m->n_holders = 1;
    m->method = method;
    m->n_species = n_species;
    m->species = zeroed(n_species, sizeof *m->species, &failed);
    m->atomic_number = zeroed(n_species, sizeof *m->atomic_number, &failed);
    m->mass = zeroed(n_species, sizeof *m->mass, &failed);
    m->e0 = zeroed(n_species, sizeof *m->e0, &failed);
    if (method == NNP_METHOD_MSR) {
        m->net = zeroed(n_species, sizeof *m->net, &failed);
        m->msr = zeroed(n_species, sizeof *m->msr, &failed);
        for (int s = 0; m->msr && s < n_species; s++) {
            m->msr[s].n2 = zeroed(n_species, sizeof(int), &failed);
            m->msr[s].n3 = zeroed(nnp_n_channels(n_species), sizeof(int), &failed);
        }
    }
    if (method == NNP_METHOD_BP) {
        m->net = zeroed(n_species, sizeof *m->net, &failed);
        m->bp = zeroed(n_species, sizeof *m->bp, &failed);
    }
    if (!failed) return m;
    nnp_model_free(m);
    return NULL;
}

const nnp_model* nnp_model_hold(const nnp_model* m)
{
    __atomic_add_fetch(m->n_holders, 1, __ATOMIC_RELAXED);
    return m;
}

void nnp_model_free(nnp_model* m)
{
    if (!m || (m->n_holders && __atomic_sub_fetch(m->n_holders, 1, __ATOMIC_ACQ_REL) > 0)) return;
    nnp_free(m->n_holders);
    for (int s = 0; m->msr && s < m->n_species; s++) {
        nnp_free(m->msr[s].n2);
        nnp_free(m->msr[s].n3);
    }
    for (int s = 0; m->bp && s < m->n_species; s++) nnp_bp_clear(&m->bp[s]);
    nnp_free(m->bp);
    nnp_free(m->species);
    nnp_free(m->atomic_number);
    nnp_free(m->mass);
    nnp_free(m->e0);
    nnp_free(m->net);
    nnp_free(m->msr);
    nnp_free(m->baseline);
    nnp_free(m->theta);
    nnp_free(m);
}

static int64_t sum(const int* counts, int n)
{
    int64_t total = 0;
    for (int k = 0; k < n; k++) total += counts[k];
    return total;
}

/* Offsets of one species' exponents; returns where its network begins. */
static int64_t layout_msr(const nnp_model* m, nnp_msr* msr, int64_t offset)
{
    int64_t n2 = sum(msr->n2, m->n_species), n3 = sum(msr->n3, nnp_n_channels(m->n_species));
    msr->n_fingerprints = (int)(n2 + n3);
    msr->alpha = offset;
    msr->triplet = msr->alpha + n2;
    msr->mu = msr->triplet + 3 * n3;
    return msr->mu + n2 + n3;
}

void nnp_model_layout(nnp_model* m)
{
    int64_t offset = 0;
    for (int s = 0; m->net && s < m->n_species; s++) {
        nnp_net* net = &m->net[s];
        if (m->msr) offset = layout_msr(m, &m->msr[s], offset);
        net->width[0] = nnp_n_inputs(m, s);
        net->width[net->n_layers] = 1;
        for (int l = 0; l < net->n_layers; l++) {
            net->weight[l] = offset;
            net->bias[l] = offset + (int64_t)net->width[l] * net->width[l + 1];
            offset = net->bias[l] + net->width[l + 1];
        }
    }
    m->n_parameters = offset;
}

double nnp_model_cutoff(const nnp_model* m) { return m ? m->cutoff : 0.0; }

int nnp_model_n_species(const nnp_model* m) { return m ? m->n_species : 0; }

static int has(const nnp_model* m, int s) { return m && s >= 0 && s < m->n_species; }

const char* nnp_model_species(const nnp_model* m, int s) { return has(m, s) ? m->species[s] : NULL; }

double nnp_model_mass(const nnp_model* m, int s) { return has(m, s) ? m->mass[s] : 0.0; }

const char* nnp_model_units(const nnp_model* m)
{
    (void)m;
    return "eV Angstrom";
}

int64_t nnp_model_n_parameters(const nnp_model* m) { return m ? m->n_parameters : 0; }

const double* nnp_model_parameters(const nnp_model* m) { return m ? m->theta : NULL; }

int nnp_model_n_fingerprints(const nnp_model* m, int s) { return has(m, s) ? nnp_n_inputs(m, s) : 0; }
