/* common.cuh - what all kernels share: access to rows of the neighbour list, sums over lanes and blocks,
 * status.
 *
 * Rows are the atoms of all structures of a batch in a spatial order; ghosts follow them. x is [n_total][4]:
 * x, y, z, species. The list is cut into slices of 32 rows: entry k of row i stands at nnp_first_entry() + 32
 * k, so that threads next to each other read numbers next to each other. A row's entries go by the partner's
 * species, and segment [S][n] tells where each species' run ends.
 */
#ifndef NNP_COMMON_CUH
#define NNP_COMMON_CUH

#include "../nnp_config.h"

#define NNP_SLICE 32

/* Places of the status array, int32 [8]; NNP_FINE, or the lowest row (or atom) where it happened. */
#define NNP_STATUS_CLASH    0 /* two atoms closer than the least distance: row */
#define NNP_STATUS_POSITION 1 /* position not finite or too far away: atom in the caller's order */
#define NNP_STATUS_MOVED    2 /* an atom has left the margin of the list: row */
#define NNP_STATUS_FAR      3 /* an atom goes too far in one step: row */
#define NNP_STATUS_FORCE    4 /* force over the limit or not finite: row */
#define NNP_STATUS_ENERGY   5 /* energy not finite: row */
#define NNP_FINE            0x7fffffff

/* 16 bytes: what one load can bring. */
struct __align__(16) nnp_two_doubles {
    double a, b;
};

struct nnp_atom {
    double x, y, z;
    int species;
};

NNP_FN nnp_atom nnp_load_atom(const double* x, int i)
{
    const nnp_two_doubles* const p = (const nnp_two_doubles*)(x + 4 * (int64_t)i);
    const nnp_two_doubles p0 = p[0], p1 = p[1];
    nnp_atom atom;
    atom.x = p0.a;
    atom.y = p0.b;
    atom.z = p1.a;
    atom.species = (int)p1.b;
    return atom;
}

/* Vector from atom a to atom j: the difference in double, then nnp_real. */
struct nnp_vector {
    nnp_real x, y, z;
};

NNP_FN nnp_vector nnp_displacement(const nnp_atom* a, const double* x, int j)
{
    const nnp_two_doubles* const p = (const nnp_two_doubles*)(x + 4 * (int64_t)j);
    const nnp_two_doubles p0 = p[0];
    nnp_vector d;
    d.x = (nnp_real)(p0.a - a->x);
    d.y = (nnp_real)(p0.b - a->y);
    d.z = (nnp_real)(((const double*)p)[2] - a->z);
    return d;
}

/* Place of entry 0 of row i; entry k is at + 32 k. */
NNP_FN int64_t nnp_first_entry(const int64_t* slice_first, int i)
{
    return slice_first[i / NNP_SLICE] + i % NNP_SLICE;
}

/* Run of species t in row i: entries *begin .. return value - 1. */
NNP_FN int nnp_run(const int* segment, int n, int i, int t, int* begin)
{
    *begin = t ? segment[(int64_t)(t - 1) * n + i] : 0;
    return segment[(int64_t)t * n + i];
}

NNP_FN void nnp_report(int* status, int place, int row) { atomicMin(status + place, row); }

/* Sum over the 32 lanes of a warp, in every lane; the same bits in each. */
NNP_FN double nnp_warp_sum(double v)
{
    for (int offset = 16; offset > 0; offset >>= 1) v += __shfl_xor_sync(0xffffffffu, v, offset);
    return v;
}

/* Sum over the block, in thread 0; blockDim.x a multiple of 32; part: 32 doubles of shared memory. All
 * threads call it; part may be used again after it. */
NNP_FN double nnp_block_sum(double v, double* part)
{
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32, n_warps = blockDim.x / 32;
    v = nnp_warp_sum(v);
    if (lane == 0) part[warp] = v;
    __syncthreads();
    if (warp == 0) v = nnp_warp_sum(lane < n_warps ? part[lane] : 0.0);
    __syncthreads();
    return v;
}

#endif /* NNP_COMMON_CUH */
