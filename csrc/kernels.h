/* kernels.h - the vectorised kernels as the rest of the core sees them: one table per precision and
 * instruction set, compiled from kernels_impl.h.
 *
 * Rows are cut into chunks of neighbouring atoms; a chunk is what one thread does at a time, in a numbering
 * of its own: its rows, then the halo of other atoms that they touch. A chunk's forces on its own rows and on
 * its halo are summed in place and kept apart from those of other chunks; nnp_plan_gather adds them up in a
 * fixed order. Chunks do not depend on the number of threads, so neither does a bit of the result.
 * A block is NNP_W centres of one species of a chunk, one a SIMD lane.
 */
#ifndef NNP_KERNELS_H
#define NNP_KERNELS_H

#include "nnp_internal.h"

#if defined(__GNUC__)
#define NNP_PREFETCH(p) __builtin_prefetch(p)
#else
#define NNP_PREFETCH(p) (void)0
#endif

enum { NNP_WORK_ROWS = 256 }; /* rows that a thread takes at a time where they need little work */

/* Atoms and their full neighbour list. */
typedef struct nnp_system {
    int n, n_total;    /* rows, atoms */
    const int* centre; /* [n] atom of each row; NULL: row i is atom i */
    const int*
        owner; /* [n_total - n] row that the force on atom n, n + 1 .. belongs to; NULL: it has its own */
    const double* x;      /* [n_total][4] x, y, z, species; 32-byte aligned */
    const int64_t* first; /* [n+1] */
    const int* index;     /* [first[n]] atoms */
    double clash;         /* Angstrom: atoms closer than this are an error */
} nnp_system;

/* Where a chunk begins; the next one's beginning is its end. */
typedef struct nnp_chunk {
    int row, block;
    int64_t halo;
} nnp_chunk;

typedef struct nnp_plan {
    int width; /* lanes of a block */
    int n_species, n_chunks, n_blocks, n_targets;
    int max_neighbours; /* largest sum of a block's capacities */
    int max_local;      /* most atoms of a chunk */
    nnp_chunk* chunks;  /* [n_chunks+1] */
    int* rows;          /* [n_blocks][width], -1 pads: same species, similar numbers of near neighbours */
    int* capacity;      /* [n_blocks][S] most listed neighbours of each species in any lane */
    int* local;         /* [first[n]] the list in local numbers, each row's entries by species */
    int* segment;       /* [n][S] where a row's entries of each species end */
    int* halo;          /* [chunks[n_chunks].halo] atoms */
    int* back_first;    /* [n_targets+1] */
    int* back; /* places of the halo whose forces belong to each target (row, or atom of a host), ascending */
    size_t cap_chunks, cap_rows, cap_capacity, cap_local, cap_segment, cap_halo, cap_back_first, cap_back;
    void* room; /* plan.c's scratch */
    size_t cap_room;
    int* target; /* [halo] */
    int* histogram;
    size_t cap_target, cap_histogram;
} nnp_plan;

/* What evaluate writes. */
typedef struct nnp_output {
    double* energy;  /* [n] of each row, without E0 */
    double* force;   /* [n][3] on each row by its own chunk */
    double* part;    /* [halo][4] on each place of the halo; 32-byte aligned */
    double* virial;  /* [n][6] xx yy zz xy xz yz: -sum_j r_ij (x) g_ij of each row; may be NULL */
    double* virials; /* [n][9] what acts on a row, credited to it, by its own chunk; may be NULL */
    double* part9;   /* [halo][9] the same for the halo */
    double* inputs;  /* [n][stride] network inputs; may be NULL */
    int stride;
    int* outside; /* [n] functions beyond their training range; may be NULL */
} nnp_output;

/* What the second sweep of the loss gradient needs (theory: directional derivative). */
typedef struct nnp_tangent {
    const double* lambda; /* [n_total][3] dL/dF of each atom (ghosts: of their owner) */
    double m[9];          /* dL/dW */
    double c;             /* dL/dE */
} nnp_tangent;

/* Kept symmetry functions of a frame (trainer_cache.c). Only the n_use functions that species t takes part in
 * depend on a neighbour of species t. */
typedef struct nnp_derivatives {
    int stride;       /* most inputs of any species */
    const int* n_use; /* [S][S] of centre and neighbour species */
    const int* place; /* [S][S][stride] of each input among them, -1: none */
    double* g;        /* [n][stride] network inputs */
    int* atom;        /* [first[n]] neighbours of each row, by species */
    float* d;         /* at offset[row], species by species: [neighbours][3][n_use] d input/d r_ij */
    const int64_t* offset;
} nnp_derivatives;

typedef struct nnp_clash {
    int row, atom;
} nnp_clash; /* two atoms closer than system->clash; row -1: none */

typedef struct nnp_kernels {
    const char* isa;
    int width, real_bytes;
    /* bytes of scratch one thread needs for any chunk of a plan */
    size_t (*scratch_bytes)(const nnp_model* model, int max_neighbours, int max_local, int training);
    /* theta as nnp_real into packed [n_parameters] */
    void (*pack)(const nnp_model* model, const double* theta, void* packed);
    nnp_clash (*evaluate)(const nnp_model* model, const void* packed, const nnp_system* system,
                          const nnp_plan* plan, int chunk, void* scratch, const nnp_output* out);
    /* adds d/dtheta sum_rows (c energy + d energy/dt) of the chunk to acc [n_parameters][width] nnp_real */
    void (*gradient)(const nnp_model* model, const void* packed, const nnp_system* system,
                     const nnp_plan* plan, int chunk, void* scratch, const nnp_tangent* tangent, void* acc);
    /* grad[i] += sum of lanes of acc[i] */
    void (*reduce)(int64_t n, const void* acc, double* grad);
    /* y = Q x, or Q^T x, entries [lo, hi); Q [n][n] and vectors of nnp_real */
    void (*rotate)(int n, const void* q, const void* x, void* y, int transpose, int lo, int hi);
    /* symmetry functions of a chunk's rows and their derivatives; probe's networks are one linear layer */
    void (*derivatives)(const nnp_model* probe, const nnp_system* system, const nnp_plan* plan, int chunk,
                        void* scratch, const nnp_derivatives* out);
    /* energy [width] and d [width][n_inputs] = d energy/d input of atoms of one species, a lane each: g
     * [width] points to their inputs, NULL: no atom */
    void (*network)(const nnp_model* model, const void* packed, int species, const double* const* g,
                    void* scratch, double* energy, float* d);
    /* adds d/dtheta of c energy + d energy/dt, inputs changing by g_dot, to acc [n_parameters][width] */
    void (*network_gradient)(const nnp_model* model, const void* packed, int species, const double* const* g,
                             const double* const* g_dot, double c, void* scratch, void* acc);
    void (*pull)(int n, int n_use, const float* d, const float* p, float* g); /* g [n][3] = d p */
    /* out [n_use] += sum v [n][3] d */
    void (*push)(int n, int n_use, const float* d, const float* v, float* out);
    /* c [m][n] = a^T b, or c -= a^T b, of nnp_real: a(k, q) = a[k ak + q aq]; rows of b are bk apart, of c cq
     */
    void (*product)(int m, int n, int n_k, const void* a, int64_t ak, int64_t aq, const void* b, int64_t bk,
                    void* c, int64_t cq, int subtract);
    double (*dot)(int n, const void* a, const void* b);
    /* Velocity Verlet of n <= NNP_WORK_ROWS atoms, float64 tables only; inverse, mass [n], the others [n][3].
     * drift: v = v_old + dt/2 f/m, x = x_old + dt v; nonzero if an atom moves more than most along an axis,
     * or to no number. kick: v += dt/2 f/m and, unless NULL, the kinetic energy; nonzero if a |f| is over
     * most, or no number. */
    int (*drift)(int n, double dt, double most, const double* inverse, const double* f, const double* v_old,
                 const double* x_old, double* v, double* x);
    int (*kick)(int n, double dt, double most, const double* inverse, const double* mass, const double* f,
                double* v, double* kinetic);
} nnp_kernels;

/* The table in use for a precision (NNP_F64, NNP_F32); chosen once by CPU and NNPCORE_ISA. NULL sets an
 * error: NNPCORE_ISA names nothing this machine has. */
const nnp_kernels* nnp_get_kernels(int precision);

/* Plan of a system for a table's width. Rows of a block have similar numbers of neighbours nearer than near,
 * so that its lanes are alike. */
int nnp_plan_build(nnp_plan* plan, const nnp_system* system, int n_species, int width, double near,
                   int n_threads);
void nnp_plan_clear(nnp_plan* plan);
/* Frees what only building needs. */
void nnp_plan_trim(nnp_plan* plan);

/* value[t][width] += the parts [halo][stride] that belong to target t, for targets [t0, t1) */
void nnp_plan_gather(const nnp_plan* plan, const double* part, int stride, int width, int t0, int t1,
                     double* value);

/* Scratch for n_threads threads, allocated before any parallel region. */
typedef struct nnp_scratch {
    char* base;
    size_t capacity, bytes; /* bytes of one thread */
} nnp_scratch;

int nnp_scratch_reserve(nnp_scratch* scratch, const nnp_kernels* k, const nnp_model* model,
                        const nnp_plan* plan, int training, int n_threads);

/* A, B, C of x(r) = A/r + B r^30 + C below Rs > 0: value, slope and curvature of the outer branch at Rs. */
void nnp_short_range_coefficients(const nnp_model* model, double* a, double* b, double* c);

/* Distance that separates near from far neighbours in a block: the triplet cutoff. */
double nnp_near_cutoff(const nnp_model* model);

#endif /* NNP_KERNELS_H */
