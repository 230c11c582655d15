/* kernels.h - the vectorised kernels as the rest of the core sees them: one table per precision and
 * instruction set, compiled from kernels_impl.h.
 *
 * A block is NNP_W centres of one species, one a SIMD lane. Whatever is computed for a centre depends on its
 * own neighbours in their listed order alone, so neither the number of threads nor the make-up of blocks
 * changes a bit.
 */
#ifndef NNP_KERNELS_H
#define NNP_KERNELS_H

#include "nnp_internal.h"

/* Atoms and their full neighbour list. */
typedef struct nnp_system {
    int n;                /* rows */
    const int* centre;    /* [n] atom of each row; NULL: row i is atom i */
    const double* x;      /* [n_total][4] x, y, z, species */
    const int64_t* first; /* [n+1] */
    const int* index;     /* [first[n]] atoms */
    double clash;         /* Angstrom: atoms closer than this are an error */
} nnp_system;

/* Rows grouped into blocks: same species, similar numbers of neighbours. */
typedef struct nnp_plan {
    int width; /* lanes of a block */
    int n_species;
    int n_blocks;
    int* rows;          /* [n_blocks][width], -1 pads */
    int* capacity;      /* [n_blocks][S] most listed neighbours of each species in any lane */
    int max_neighbours; /* largest sum of a block's capacities */
    size_t cap_rows, cap_capacity;
} nnp_plan;

/* What evaluate writes. */
typedef struct nnp_pairs {
    double* energy; /* [n] of each row, without E0 */
    void* g;        /* [first[n]][3] nnp_real: d energy of the row / d r_ij; zero beyond the cutoff */
    double* virial; /* [n][6] xx yy zz xy xz yz: -sum_j r_ij (x) g_ij of each row; may be NULL */
    double* inputs; /* [n][stride] network inputs; may be NULL */
    int stride;
} nnp_pairs;

/* What the second sweep of the loss gradient needs (theory: directional derivative). */
typedef struct nnp_tangent {
    const double* lambda; /* [n_total][3] dL/dF of each atom (ghosts: of their owner) */
    double m[9];          /* dL/dW */
    double c;             /* dL/dE */
} nnp_tangent;

typedef struct nnp_clash {
    int row, atom;
} nnp_clash; /* two atoms closer than system->clash; row -1: none */

typedef struct nnp_kernels {
    const char* isa;
    int width, real_bytes;
    /* bytes of scratch one thread needs for any block of a plan */
    size_t (*scratch_bytes)(const nnp_model* model, int max_neighbours, int training);
    /* theta as nnp_real into packed [n_parameters] */
    void (*pack)(const nnp_model* model, const double* theta, void* packed);
    /* blocks [b0, b1) */
    nnp_clash (*evaluate)(const nnp_model* model, const void* packed, const nnp_system* system,
                          const nnp_plan* plan, int b0, int b1, void* scratch, const nnp_pairs* out);
    /* adds d/dtheta sum_rows (c energy + d energy/dt) of blocks [b0, b1) to acc [n_parameters][width]
     * nnp_real */
    void (*gradient)(const nnp_model* model, const void* packed, const nnp_system* system,
                     const nnp_plan* plan, int b0, int b1, void* scratch, const nnp_tangent* tangent,
                     void* acc);
    /* grad[i] += sum of lanes of acc[i] */
    void (*reduce)(int64_t n, const void* acc, double* grad);
    /* F_i = sum_(own row) g - sum_(reverse) g for rows [i0, i1); f is [n][3], overwritten */
    void (*gather)(const nnp_system* system, const int64_t* reverse_first, const int64_t* reverse,
                   const void* g, int i0, int i1, double* f);
    /* the same for a list whose atoms are not all rows: f [n_total][3] of atoms, added to; one thread */
    void (*scatter)(const nnp_system* system, const void* g, double* f);
    /* g of entry p as doubles */
    void (*pair)(const void* g, int64_t p, double* out);
    /* y = Q x, or Q^T x, entries [lo, hi); Q [n][n] and vectors of nnp_real */
    void (*rotate)(int n, const void* q, const void* x, void* y, int transpose, int lo, int hi);
} nnp_kernels;

/* The table in use for a precision (NNP_F64, NNP_F32); chosen once by CPU and NNPCORE_ISA. NULL sets an
 * error: NNPCORE_ISA names nothing this machine has. */
const nnp_kernels* nnp_get_kernels(int precision);

/* Plan of a system for a table's width: rows sorted by species and number of neighbours nearer than near, in
 * chunks of 512 consecutive rows, so that lanes are alike and memory stays local. */
int nnp_plan_build(nnp_plan* plan, const nnp_system* system, int n_species, int width, double near,
                   int n_threads);
void nnp_plan_clear(nnp_plan* plan);

/* Scratch for n_threads threads, allocated before any parallel region. */
typedef struct nnp_scratch {
    char* base;
    size_t capacity, bytes; /* bytes of one thread */
} nnp_scratch;

int nnp_scratch_reserve(nnp_scratch* scratch, const nnp_kernels* k, const nnp_model* model,
                        int max_neighbours, int training, int n_threads);

/* A, B, C of x(r) = A/r + B r^30 + C below Rs > 0: value, slope and curvature of the outer branch at Rs. */
void nnp_short_range_coefficients(const nnp_model* model, double* a, double* b, double* c);

/* Distance that separates near from far neighbours in a block: the triplet cutoff. */
double nnp_near_cutoff(const nnp_model* model);

#endif /* NNP_KERNELS_H */
