/* block_impl.h - a block: NNP_W centres of one species and their neighbours, one centre a lane.
 *
 * Neighbours stand in segments, two a species t: near ones (r < near, the triplet cutoff) from begin[t], far
 * ones from begin[t] + capacity[t]. A segment is as long as its longest lane; lanes that have fewer are
 * padded with an atom beyond every cutoff (slot -1), which contributes exact zeros.
 */
#ifndef NNP_BLOCK_IMPL_H
#define NNP_BLOCK_IMPL_H

#include "kernels.h"
#include "math/vecmath.h"
#include <string.h>

/* Bump allocator over one thread's scratch; sized beforehand, reset for each block. */
typedef struct nnp_arena {
    char* next;
} nnp_arena;

static inline void* nnp_take(nnp_arena* arena, size_t bytes)
{
    void* p = arena->next;
    arena->next += (bytes + 63) / 64 * 64;
    return p;
}

static inline nnp_vec* nnp_take_vec(nnp_arena* arena, size_t count)
{
    return (nnp_vec*)nnp_take(arena, count * sizeof(nnp_vec));
}

typedef struct nnp_block {
    int species, n_species;
    const int* rows;     /* [NNP_W] */
    const int* capacity; /* [S] */
    int *begin, *near, *far;
    nnp_vec *ux, *uy, *uz, *r, *r_inv; /* unit vector to the neighbour, distance */
    nnp_vec *gx, *gy, *gz;             /* d energy / d r_ij, accumulated */
    int* slot;                         /* [..][NNP_W] place in the lane's row of the list, -1 pads */
} nnp_block;

typedef struct nnp_span {
    int lo, hi;
} nnp_span;

/* Neighbours of species part/2, near (even part) or far (odd). */
static inline nnp_span nnp_block_span(const nnp_block* b, int part)
{
    const int t = part / 2;
    const int lo = b->begin[t] + (part % 2 ? b->capacity[t] : 0);
    nnp_span span = {lo, lo + (part % 2 ? b->far[t] : b->near[t])};
    return span;
}

/* Loop over all neighbours n of block b. */
#define NNP_EACH_PART(b, part) for (int part = 0; part < 2 * (b)->n_species; ++part)
#define NNP_EACH_NEIGHBOUR(b, part, n)                                                                       \
    for (int n = nnp_block_span(b, part).lo, n##_end = nnp_block_span(b, part).hi; n < n##_end; ++n)

static void block_take(nnp_block* b, nnp_arena* arena, int n)
{
    nnp_vec** const fields[] = {&b->ux, &b->uy, &b->uz, &b->r, &b->r_inv, &b->gx, &b->gy, &b->gz};
    for (size_t i = 0; i < sizeof fields / sizeof *fields; ++i) *fields[i] = nnp_take_vec(arena, (size_t)n);
    b->slot = (int*)nnp_take(arena, (size_t)n * NNP_W * sizeof(int));
}

/* A row's neighbours within the cutoff, one after the other. */
typedef struct nnp_found {
    nnp_real *x, *y, *z;
    int *entry, *part; /* place in the row; 2 species + (beyond near) */
} nnp_found;

static nnp_found found_take(nnp_arena* arena, int n)
{
    nnp_found f;
    f.x = (nnp_real*)nnp_take(arena, 3 * (size_t)n * sizeof(nnp_real));
    f.y = f.x + n;
    f.z = f.y + n;
    f.entry = (int*)nnp_take(arena, 2 * (size_t)n * sizeof(int));
    f.part = f.entry + n;
    return f;
}

/* Their number, without a branch: what is too far is overwritten. clash: an atom on top of the centre, else
 * kept. */
static int block_find(const nnp_found* f, const nnp_system* system, int row, double near, double cut,
                      int* clash)
{
    const int centre = system->centre ? system->centre[row] : row;
    const double* const xi = system->x + 4 * (int64_t)centre;
    const double x0 = xi[0], y0 = xi[1], z0 = xi[2];
    const double near2 = near * near, cut2 = cut * cut, clash2 = system->clash * system->clash;
    const int* const index = system->index + system->first[row];
    const int n = (int)(system->first[row + 1] - system->first[row]);
    double closest = cut2;
    int m = 0;
    for (int k = 0; k < n; ++k) {
        const double* const xj = system->x + 4 * (int64_t)index[k];
        const double x = xj[0] - x0, y = xj[1] - y0, z = xj[2] - z0;
        const double r2 = x * x + y * y + z * z;
        f->x[m] = (nnp_real)x;
        f->y[m] = (nnp_real)y;
        f->z[m] = (nnp_real)z;
        f->entry[m] = k;
        f->part[m] = 2 * (int)xj[3] + !(r2 < near2);
        m += r2 < cut2;
        closest = r2 < closest ? r2 : closest;
    }
    if (closest < clash2)
        for (int k = 0; k < m && *clash < 0; ++k) {
            const double x = (double)f->x[k], y = (double)f->y[k], z = (double)f->z[k];
            if (x * x + y * y + z * z < clash2) *clash = index[f->entry[k]];
        }
    return m;
}

/* Lane w: the neighbours found, into their segments. count is [2S]. */
static void block_fill_lane(nnp_block* b, const nnp_found* f, int m, int w, int* count)
{
    nnp_real* const dx = (nnp_real*)b->ux + w;
    nnp_real* const dy = (nnp_real*)b->uy + w;
    nnp_real* const dz = (nnp_real*)b->uz + w;
    int* const slot = b->slot + w;
    for (int k = 0; k < m; ++k) {
        const int part = f->part[k], t = part >> 1;
        const int n = (b->begin[t] + (part & 1) * b->capacity[t] + count[part]++) * NNP_W;
        dx[n] = f->x[k];
        dy[n] = f->y[k];
        dz[n] = f->z[k];
        slot[n] = f->entry[k];
    }
}

/* Pad every segment to its longest lane. counts is [NNP_W][2S]. */
static void block_pad(nnp_block* b, const int* counts, double beyond)
{
    const int n_parts = 2 * b->n_species;
    for (int part = 0; part < n_parts; ++part) {
        int longest = 0;
        for (int w = 0; w < NNP_W; ++w)
            if (counts[w * n_parts + part] > longest) longest = counts[w * n_parts + part];
        *(part % 2 ? &b->far[part / 2] : &b->near[part / 2]) = longest;
        const nnp_span span = nnp_block_span(b, part);
        for (int w = 0; w < NNP_W; ++w)
            for (int n = span.lo + counts[w * n_parts + part]; n < span.hi; ++n) {
                ((nnp_real*)b->ux)[n * NNP_W + w] = (nnp_real)beyond;
                ((nnp_real*)b->uy)[n * NNP_W + w] = 0;
                ((nnp_real*)b->uz)[n * NNP_W + w] = 0;
                b->slot[n * NNP_W + w] = -1;
            }
    }
}

/* Gather the neighbours of block number i of plan within cut. */
static nnp_clash block_gather(nnp_block* b, nnp_arena* arena, const nnp_system* system, const nnp_plan* plan,
                              int i, double near, double cut)
{
    const int s = plan->n_species;
    nnp_clash clash = {-1, -1};
    b->n_species = s;
    b->rows = plan->rows + (int64_t)i * NNP_W;
    b->capacity = plan->capacity + (int64_t)i * s;
    const int first = b->rows[0], centre = system->centre ? system->centre[first] : first;
    b->species = (int)system->x[4 * (int64_t)centre + 3];
    b->begin = (int*)nnp_take(arena, (size_t)(3 * s) * sizeof(int));
    b->near = b->begin + s;
    b->far = b->near + s;
    int total = 0;
    for (int t = 0; t < s; ++t) {
        b->begin[t] = total;
        total += 2 * b->capacity[t];
    }
    block_take(b, arena, total);
    int* const counts = (int*)nnp_take(arena, (size_t)(NNP_W * 2 * s) * sizeof(int));
    const nnp_found found = found_take(arena, total / 2 + 1);
    memset(counts, 0, (size_t)(NNP_W * 2 * s) * sizeof(int));
    for (int w = 0; w < NNP_W && b->rows[w] >= 0; ++w) {
        int atom = -1;
        const int m = block_find(&found, system, b->rows[w], near, cut, &atom);
        block_fill_lane(b, &found, m, w, counts + w * 2 * s);
        if (atom >= 0 && clash.row < 0) {
            clash.row = b->rows[w];
            clash.atom = atom;
        }
    }
    block_pad(b, counts, 2 * cut);
    NNP_EACH_PART(b, part) NNP_EACH_NEIGHBOUR(b, part, n)
    {
        const nnp_vec x = b->ux[n], y = b->uy[n], z = b->uz[n];
        const nnp_vec r = nnp_sqrt(x * x + y * y + z * z);
        const nnp_vec q = NNP_R(1.0) / r;
        b->r[n] = r;
        b->r_inv[n] = q;
        b->ux[n] = x * q;
        b->uy[n] = y * q;
        b->uz[n] = z * q;
        b->gx[n] = b->gy[n] = b->gz[n] = nnp_splat(0);
    }
    return clash;
}

/* Pair gradients to their list entries; entries beyond the cutoff get zeros. */
static void block_scatter(const nnp_block* b, const nnp_system* system, nnp_real* g)
{
    for (int w = 0; w < NNP_W; ++w) {
        const int row = b->rows[w];
        if (row < 0) continue;
        const int64_t lo = system->first[row], hi = system->first[row + 1];
        memset(g + 3 * lo, 0, (size_t)(3 * (hi - lo)) * sizeof(nnp_real));
    }
    int64_t first[NNP_W];
    for (int w = 0; w < NNP_W; ++w) first[w] = b->rows[w] >= 0 ? system->first[b->rows[w]] : 0;
    NNP_EACH_PART(b, part) NNP_EACH_NEIGHBOUR(b, part, n)
    {
        for (int w = 0; w < NNP_W; ++w) {
            if (b->slot[n * NNP_W + w] < 0) continue;
            const int64_t p = first[w] + b->slot[n * NNP_W + w];
            g[3 * p] = ((const nnp_real*)b->gx)[n * NNP_W + w];
            g[3 * p + 1] = ((const nnp_real*)b->gy)[n * NNP_W + w];
            g[3 * p + 2] = ((const nnp_real*)b->gz)[n * NNP_W + w];
        }
    }
}

/* W_i = -sum_j r_ij (x) g_ij of every lane, to virial [n][6] xx yy zz xy xz yz. */
static void block_virial(const nnp_block* b, double* virial)
{
    nnp_vec v[6];
    for (int c = 0; c < 6; ++c) v[c] = nnp_splat(0);
    NNP_EACH_PART(b, part) NNP_EACH_NEIGHBOUR(b, part, n)
    {
        const nnp_vec x = b->ux[n] * b->r[n], y = b->uy[n] * b->r[n], z = b->uz[n] * b->r[n];
        v[0] -= x * b->gx[n];
        v[1] -= y * b->gy[n];
        v[2] -= z * b->gz[n];
        v[3] -= x * b->gy[n];
        v[4] -= x * b->gz[n];
        v[5] -= y * b->gz[n];
    }
    for (int w = 0; w < NNP_W; ++w)
        if (b->rows[w] >= 0)
            for (int c = 0; c < 6; ++c) virial[6 * (int64_t)b->rows[w] + c] = (double)v[c][w];
}

#endif /* NNP_BLOCK_IMPL_H */
