/* msr.cuh - the neighbours of one atom as its team of threads sees them, in shared memory.
 *
 * A team is blockDim.x = 4, 8, 16 or 32 threads of one warp; blockDim.y teams make a block. Each thread owns
 * neighbours j = lane, lane + size, ... of a species and runs over all partners k itself: every sum over k
 * stays in registers, nothing is added to by two threads, and the order of additions is fixed. Triplets are
 * therefore visited as ordered pairs (j, k); F3 = 1/2 sum_j A_j P_j counts them once (math/msr.h).
 *
 * Places are numbers in a list of atoms of one species, rows[place] the atom (-1: none), so that all teams of
 * a launch take the same path. Loops with a collective in them run as often in all teams of a warp.
 */
#ifndef NNP_MSR_CUH
#define NNP_MSR_CUH

#include "../math/msr.h"
#include "../nnp_kinds.h"
#include "common.cuh"

#define NNP_MSR_CHUNK       5 /* fingerprints at a time, in registers */
#define NNP_MSR_RATES_CHUNK 2 /* their rates: six sums over k each */
#define NNP_WHOLE_WARP      0xffffffffu

/* Cutoffs of the model; rs 0: no short-range branch. */
typedef struct nnp_msr_range {
    nnp_real rc, rc3, rs, a, b, c;
    int kind; /* NNP_CUTOFF_ */
} nnp_msr_range;

/* Centre species: offsets into theta, fingerprints by channel. */
typedef struct nnp_msr_centre {
    int n_species, n_fingerprints, n_pair; /* n_pair: of 2-body fingerprints, which come first */
    int alpha, triplet, mu;
    const int *n2, *n3; /* [S], [S(S+1)/2] */
} nnp_msr_centre;

/* layout: cutoff kind, the six numbers above, n2, n3; geometry: rc, rc3, rs, a, b, c. */
NNP_FN nnp_msr_range msr_range(const int* layout, const nnp_real* geometry)
{
    nnp_msr_range r;
    r.rc = geometry[0];
    r.rc3 = geometry[1];
    r.rs = geometry[2];
    r.a = geometry[3];
    r.b = geometry[4];
    r.c = geometry[5];
    r.kind = layout[0];
    return r;
}

NNP_FN nnp_msr_centre msr_centre(const int* layout)
{
    nnp_msr_centre c;
    c.n_species = layout[1];
    c.n_fingerprints = layout[2];
    c.n_pair = layout[3];
    c.alpha = layout[4];
    c.triplet = layout[5];
    c.mu = layout[6];
    c.n2 = layout + 7;
    c.n3 = c.n2 + c.n_species;
    return c;
}

typedef struct __align__(2 * sizeof(nnp_real)) nnp_two {
    nnp_real a, b;
} nnp_two;

typedef struct __align__(16) nnp_four {
    nnp_real y, u, v, w;
} nnp_four;

/* Atoms and their list: nnpcore/gpu/system.py. */
typedef struct nnp_list {
    const double* x;      /* [n_total][4] */
    const int64_t* first; /* [slices + 1] */
    const int* index;     /* entries */
    const int* segment;   /* [S][n] */
    int n;
} nnp_list;

typedef struct nnp_team {
    int lane, size, row, place;
    int64_t base;   /* entry 0 of the row; entry k is base + NNP_SLICE k */
    int capacity;   /* neighbours there is room for */
    nnp_four* near; /* [capacity] y, w = y u of neighbours within rc3, by species */
    nnp_four* more; /* [capacity] RATES: their rates; GRADIENT: dE/d of them */
    nnp_two* ab;    /* [chunk][capacity] A, B of a channel's partners */
    nnp_real*
        x; /* [capacity] x(r) of neighbours within rc; GRADIENT: dE/dr of near ones through the 2-body part */
    nnp_real* x2;  /* [capacity] RATES: dx/dt */
    nnp_real* d;   /* [n_fingerprints] GRADIENT: dE/dF */
    int* entry;    /* [capacity] GRADIENT: k of a near neighbour */
    int* near_end; /* [S] */
    int* pair_end; /* [S] */
} nnp_team;

/* What a kernel keeps of its neighbours in shared memory. */
enum { NNP_MSR_INPUTS, NNP_MSR_GRADIENT, NNP_MSR_RATES };

/* Bytes of a team's part of shared memory; its bank differs by 8 from one team to the next, so that two teams
 * do not wait for each other. Also in nnpcore/gpu/msr.py. */
NNP_FN int msr_team_bytes(const int mode, int capacity, int n_fingerprints, int n_species)
{
    const int real = (int)sizeof(nnp_real);
    const int numbers = mode == NNP_MSR_INPUTS     ? 5 + 2 * NNP_MSR_CHUNK
                        : mode == NNP_MSR_GRADIENT ? 9 + 2 * NNP_MSR_CHUNK
                                                   : 10 + 2 * NNP_MSR_RATES_CHUNK;
    int bytes = real * numbers * capacity + 4 * 2 * n_species;
    if (mode == NNP_MSR_GRADIENT) bytes += real * n_fingerprints + 4 * capacity;
    return (bytes + 95) / 128 * 128 + 32;
}

NNP_FN nnp_team msr_team(const int mode, unsigned char* shared, const nnp_list* list, const int* rows,
                         int n_places, int capacity, const nnp_msr_centre* c)
{
    nnp_team m;
    m.lane = (int)threadIdx.x;
    m.size = (int)blockDim.x;
    m.place = (int)(blockIdx.x * blockDim.y + threadIdx.y);
    m.row = m.place < n_places ? rows[m.place] : -1;
    m.base = m.row < 0 ? 0 : nnp_first_entry(list->first, m.row);
    m.capacity = capacity;
    unsigned char* p =
        shared + (int)threadIdx.y * msr_team_bytes(mode, capacity, c->n_fingerprints, c->n_species);
    m.near = (nnp_four*)p;
    m.more = m.near + capacity;
    m.ab = (nnp_two*)(mode == NNP_MSR_INPUTS ? m.more : m.more + capacity);
    m.x = (nnp_real*)(m.ab + (mode == NNP_MSR_RATES ? NNP_MSR_RATES_CHUNK : NNP_MSR_CHUNK) * capacity);
    m.x2 = m.x + capacity;
    m.d = m.x2;
    m.entry = (int*)(m.d + c->n_fingerprints);
    m.near_end = mode == NNP_MSR_GRADIENT ? m.entry + capacity
                 : mode == NNP_MSR_INPUTS ? (int*)m.x2
                                          : (int*)(m.x2 + capacity);
    m.pair_end = m.near_end + c->n_species;
    return m;
}

/* Sum over the team; every thread gets it. All threads of the warp call. */
NNP_FN nnp_real msr_sum(const nnp_team* m, nnp_real v)
{
    for (int o = m->size / 2; o > 0; o >>= 1) v += __shfl_xor_sync(NNP_WHOLE_WARP, v, o);
    return v;
}

NNP_FN int msr_warp_max(int v)
{
    for (int o = 16; o > 0; o >>= 1) {
        const int other = __shfl_xor_sync(NNP_WHOLE_WARP, v, o);
        v = other > v ? other : v;
    }
    return v;
}

/* Neighbours of species t: entries *begin .. return value - 1 of the row. */
NNP_FN int msr_run(const nnp_team* m, const nnp_list* list, int t, int* begin)
{
    *begin = 0;
    return m->row < 0 ? 0 : nnp_run(list->segment, list->n, m->row, t, begin);
}

NNP_FN nnp_atom msr_own(const nnp_team* m, const nnp_list* list)
{
    return nnp_load_atom(list->x, m->row < 0 ? 0 : m->row);
}

typedef struct nnp_bond {
    nnp_real x, y, z, r, r_inv; /* unit vector, distance */
    int atom;
} nnp_bond;

/* Entry k of the row: the difference in double, all else in nnp_real. */
NNP_FN nnp_bond msr_bond(const nnp_team* m, const nnp_list* list, const nnp_atom* own, int k)
{
    nnp_bond b;
    b.atom = list->index[m->base + NNP_SLICE * (int64_t)k];
    const nnp_vector d = nnp_displacement(own, list->x, b.atom);
    b.r = nnp_sqrt(d.x * d.x + d.y * d.y + d.z * d.z);
    b.r_inv = NNP_R(1.0) / b.r;
    b.x = d.x * b.r_inv;
    b.y = d.y * b.r_inv;
    b.z = d.z * b.r_inv;
    return b;
}

NNP_FN void msr_smooth(const nnp_msr_range* range, nnp_real r, nnp_real rc, nnp_real* x, nnp_real* dx)
{
    if (range->kind == NNP_CUTOFF_COSINE)
        nnp_cutoff_cos(r, rc, x, dx);
    else
        nnp_cutoff_smooth(r, rc, x, dx);
}

NNP_FN void msr_cutoff(const nnp_msr_range* range, nnp_real r, nnp_real* x, nnp_real* dx)
{
    msr_smooth(range, r, range->rc, x, dx);
    if (range->rs > NNP_R(0.0)) {
        nnp_short_range p;
        p.rs = range->rs;
        p.a = range->a;
        p.b = range->b;
        p.c = range->c;
        nnp_cutoff_short(r, p, x, dx);
    }
}

NNP_FN nnp_four msr_four(nnp_real y, const nnp_bond* b)
{
    nnp_four v;
    v.y = y;
    v.u = y * b->x;
    v.v = y * b->y;
    v.w = y * b->z;
    return v;
}

/* Place of this thread's item among the team's, by lane, and how many there are. All threads of the warp
 * call. */
NNP_FN int msr_rank(const nnp_team* m, bool mine, int* total)
{
    const unsigned all = __ballot_sync(NNP_WHOLE_WARP, mine);
    const int thread = (int)(threadIdx.x + blockDim.x * threadIdx.y) & 31;
    const unsigned lanes = m->size == 32 ? all : all >> (thread - m->lane) & ((1u << m->size) - 1u);
    *total = __popc(lanes);
    return __popc(lanes & ((1u << m->lane) - 1u));
}

/* Numbers n of fingerprints into parts of at most NNP_MSR_CHUNK, as equal as can be: size of the next part.
 */
NNP_FN int msr_chunk(int left)
{
    const int parts = (left + NNP_MSR_CHUNK - 1) / NNP_MSR_CHUNK;
    return (left + parts - 1) / parts;
}

#define NNP_MSR_EACH_CHUNK(n, CALL)                                                                          \
    switch (n) {                                                                                             \
    case 1:                                                                                                  \
        CALL(1);                                                                                             \
        break;                                                                                               \
    case 2:                                                                                                  \
        CALL(2);                                                                                             \
        break;                                                                                               \
    case 3:                                                                                                  \
        CALL(3);                                                                                             \
        break;                                                                                               \
    case 4:                                                                                                  \
        CALL(4);                                                                                             \
        break;                                                                                               \
    default:                                                                                                 \
        CALL(5);                                                                                             \
    }

NNP_FN int msr_near_begin(const nnp_team* m, int t) { return t ? m->near_end[t - 1] : 0; }
NNP_FN int msr_pair_begin(const nnp_team* m, int t) { return t ? m->pair_end[t - 1] : 0; }

/* A = e^{a y}, B = e^{b y} of species u's near neighbours for n fingerprints abb [n][3], to the team's ab. */
NNP_FN void msr_factors(const nnp_team* m, int u, const nnp_real* abb, int n)
{
    __syncwarp(); /* the factors of before have been read */
    for (int f = 0; f < n; ++f) {
        const nnp_real a = abb[3 * f] * NNP_LOG2E, b = abb[3 * f + 1] * NNP_LOG2E;
        for (int k = msr_near_begin(m, u) + m->lane; k < m->near_end[u]; k += m->size) {
            nnp_two e;
            e.a = nnp_exp2(a * m->near[k].y);
            e.b = nnp_exp2(b * m->near[k].y);
            m->ab[f * m->capacity + k] = e;
        }
    }
    __syncwarp();
}

/* T = 1/2 (y_j y_k + w_j . w_k); none with itself */
NNP_FN nnp_real msr_dot(nnp_four a, nnp_four b) { return a.y * b.y + (a.u * b.u + (a.v * b.v + a.w * b.w)); }

NNP_FN nnp_real msr_angle(nnp_four vj, nnp_four vk, bool other)
{
    return other ? NNP_R(0.5) * msr_dot(vj, vk) : NNP_R(0.0);
}

#endif /* NNP_MSR_CUH */
