/* nnp_internal.h - what the core's own files share: errors, memory, the parsed model, kernels. */
#ifndef NNP_INTERNAL_H
#define NNP_INTERNAL_H

#include "nnpcore.h"
#include "bp.h"
#include "nnp_kinds.h"
#include <stdint.h>
#include <stddef.h>

/* ---- error.c ---- */

/* Sets the calling thread's error text (printf style) and returns code. */
#if defined(__GNUC__)
__attribute__((format(printf, 2, 3)))
#endif
int nnp_fail(int code, const char* format, ...);

/* ---- memory.c: 64-byte aligned; sizes are checked for overflow; NULL on failure ---- */

void* nnp_alloc(size_t count, size_t element);
void nnp_free(void* p);

/* Make *p hold at least count elements; the content is lost when it grows. NNP_OK or NNP_ERR_MEMORY.
 * *capacity counts elements; growth is geometric. */
int nnp_reserve(void* p, size_t* capacity, size_t count, size_t element);

/* ---- sort.c ---- */

/* Stable counting sort: permutation [n] lists the items by key, start [n_keys+1] where each key begins.
 * histogram, capacity: scratch (nnp_reserve). */
int nnp_sort_by_key(int** histogram, size_t* capacity, int n, const int* key, int n_keys, int* start,
                    int* permutation, int n_threads);

/* ---- model ---- */

enum { NNP_METHOD_BASELINE = 0, NNP_METHOD_MSR = 1, NNP_METHOD_BP = 2 };
enum { NNP_MAX_LAYERS = 16 };

/* Network of one centre species. Layer l maps width[l] inputs to width[l+1] outputs:
 * h_{l+1} = act(h_l W_l + b_l), W_l is [width[l]][width[l+1]]; the last layer is linear, width 1. */
typedef struct nnp_net {
    int n_layers;
    int width[NNP_MAX_LAYERS + 1];
    int activation[NNP_MAX_LAYERS];
    int64_t weight[NNP_MAX_LAYERS]; /* offsets in theta */
    int64_t bias[NNP_MAX_LAYERS];
} nnp_net;

/* MSR fingerprints of one centre species: channels of partner species t (2-body) and of partner
 * pairs t <= t' (3-body), c(t,t') = t S - t(t-1)/2 + (t' - t). Order of the network's inputs:
 * 2-body channels t = 0..S-1, then 3-body channels c = 0..S(S+1)/2-1. */
typedef struct nnp_msr {
    int n_fingerprints;
    int* n2;         /* [S] */
    int* n3;         /* [S(S+1)/2] */
    int64_t alpha;   /* offset in theta of alpha [sum n2] */
    int64_t triplet; /* offset in theta of (a, b, beta) [sum n3][3] */
    int64_t mu;      /* offset in theta of mu [n_fingerprints] */
} nnp_msr;

enum { NNP_BASELINE_SW = 0, NNP_BASELINE_LJ = 1, NNP_BASELINE_ZBL = 2 };

/* A classical potential under the network (or alone). */
typedef struct nnp_baseline {
    int kind;
    int s, t;      /* species it acts between; SW: s == t; ZBL: -1, -1 = all pairs */
    double cutoff; /* beyond it exactly zero */
    double p[12];  /* SW: epsilon sigma a lambda gamma cos_theta0 A B p q;  LJ: epsilon sigma switch_on;
                      ZBL: inner */
} nnp_baseline;

struct nnp_model {
    int method;
    int n_species;
    char (*species)[8]; /* [S] element symbols */
    int* atomic_number; /* [S] */
    double* mass;       /* [S] amu */
    double* e0;         /* [S] eV */
    double cutoff;      /* largest of all below */
    double near;        /* BP: largest cutoff of an angular function */
    double rc, rc3, rs; /* MSR: R_c, R_c' <= R_c, R_s (0: no short-range branch) */
    int cutoff_kind;    /* MSR: x(r), NNP_CUTOFF_ */
    nnp_net* net;       /* [S], NULL for a baseline alone */
    nnp_msr* msr;       /* [S], NULL unless MSR */
    nnp_bp* bp;         /* [S], NULL unless BP */
    int n_baseline;
    nnp_baseline* baseline;
    int64_t n_parameters;
    double* theta;  /* [n_parameters] */
    int* n_holders; /* [1] the caller and every workspace and trainer; changed atomically, apart from all
                       else, so that a copy of the struct races with nobody */
};

/* One more holder: each calls nnp_model_free() once, the last one's frees. Returns model. */
const nnp_model* nnp_model_hold(const nnp_model* model);

static inline int nnp_n_channels(int n_species) { return n_species * (n_species + 1) / 2; }
static inline int nnp_channel(int n_species, int t, int u) /* t <= u */
{
    return t * n_species - t * (t - 1) / 2 + (u - t);
}

/* Network inputs of species s; 0 without a network. */
static inline int nnp_n_inputs(const nnp_model* m, int s)
{
    return m->msr ? m->msr[s].n_fingerprints : m->bp ? m->bp[s].n_functions : 0;
}

/* Threads to use now for n_threads as the user gave it (0: default); ask before every parallel region. */
int nnp_thread_count(int n_threads);

/* The same for work on n_atoms atoms: no more threads than have enough to do. */
int nnp_threads_for(int n_threads, int n_atoms);

#endif /* NNP_INTERNAL_H */
