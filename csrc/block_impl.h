/* block_impl.h - a chunk's atoms in local numbering, and blocks: NNP_W centres of one species, one a lane.
 *
 * Neighbours stand in segments, two a species t: near ones (r < near, the triplet cutoff) from begin[t], far
 * ones from begin[t] + capacity[t]. A segment is as long as its longest lane; lanes that have fewer are
 * padded with an atom beyond every cutoff (id n, which is no atom), which contributes exact zeros.
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

/* Four numbers that belong together: a position and an id, a force. */
typedef double nnp_point __attribute__((vector_size(32), may_alias));
#if NNP_REAL_BITS == 64
typedef nnp_point nnp_quad;
#define NNP_TO_QUAD(p)  (p)
#define NNP_TO_POINT(q) (q)
#else
typedef float nnp_quad __attribute__((vector_size(16), may_alias));
#define NNP_TO_QUAD(p)  __builtin_convertvector(p, nnp_quad)
#define NNP_TO_POINT(q) __builtin_convertvector(q, nnp_point)
#endif

/* Numbers i, j, k, l of the eight in quads a, b. */
#if defined(__clang__) || __GNUC__ >= 12
#define NNP_SHUFFLE4(a, b, i, j, k, l) __builtin_shufflevector(a, b, i, j, k, l)
#else
typedef nnp_int nnp_quad_places __attribute__((vector_size(4 * sizeof(nnp_int))));
#define NNP_SHUFFLE4(a, b, i, j, k, l) __builtin_shuffle(a, b, (nnp_quad_places){i, j, k, l})
#endif

/* Columns x, y, z, w of four quads. The pairs of the first step are those that one instruction makes. */
NNP_FN void quad_transpose(nnp_quad q0, nnp_quad q1, nnp_quad q2, nnp_quad q3, nnp_quad* x, nnp_quad* y,
                           nnp_quad* z, nnp_quad* w)
{
#if NNP_REAL_BITS == 64 && NNP_ISA < 2
    const nnp_quad xz0 = NNP_SHUFFLE4(q0, q1, 0, 4, 2, 6), xz2 = NNP_SHUFFLE4(q2, q3, 0, 4, 2, 6);
    const nnp_quad yw0 = NNP_SHUFFLE4(q0, q1, 1, 5, 3, 7), yw2 = NNP_SHUFFLE4(q2, q3, 1, 5, 3, 7);
    *x = NNP_SHUFFLE4(xz0, xz2, 0, 1, 4, 5);
    *y = NNP_SHUFFLE4(yw0, yw2, 0, 1, 4, 5);
    *z = NNP_SHUFFLE4(xz0, xz2, 2, 3, 6, 7);
    *w = NNP_SHUFFLE4(yw0, yw2, 2, 3, 6, 7);
#else
    const nnp_quad xy0 = NNP_SHUFFLE4(q0, q1, 0, 4, 1, 5), xy2 = NNP_SHUFFLE4(q2, q3, 0, 4, 1, 5);
    const nnp_quad zw0 = NNP_SHUFFLE4(q0, q1, 2, 6, 3, 7), zw2 = NNP_SHUFFLE4(q2, q3, 2, 6, 3, 7);
    *x = NNP_SHUFFLE4(xy0, xy2, 0, 1, 4, 5);
    *y = NNP_SHUFFLE4(xy0, xy2, 2, 3, 6, 7);
    *z = NNP_SHUFFLE4(zw0, zw2, 0, 1, 4, 5);
    *w = NNP_SHUFFLE4(zw0, zw2, 2, 3, 6, 7);
#endif
}

/* Atoms of a chunk: its rows, then its halo. */
typedef struct nnp_local {
    int row, n_own, n;
    const int* halo;
    nnp_point* x; /* [n+1] position, and the place itself as fourth number; the last is nobody, far away */
    nnp_point* f; /* [n] force of the chunk's own rows' energies on it */
    double* w;    /* [n][9] virial likewise; NULL: not wanted */
} nnp_local;

typedef struct nnp_block {
    int species, n_species;
    const int* rows;     /* [NNP_W] */
    const int* capacity; /* [S] */
    int *begin, *near, *far;
    int* count;                        /* [NNP_W][2S] neighbours of each lane and part */
    nnp_vec *ux, *uy, *uz, *r, *r_inv; /* unit vector to the neighbour, distance */
    nnp_vec *gx, *gy, *gz;             /* d energy / d r_ij, accumulated */
    nnp_mask* id;                      /* local number of the neighbour */
    nnp_real closest;                  /* shortest r */
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
    b->id = (nnp_mask*)nnp_take_vec(arena, (size_t)n);
}

/* Positions of chunk c in local numbering, forces cleared. */
static nnp_local local_load(const nnp_system* system, const nnp_plan* plan, int c, nnp_arena* arena,
                            int with_virials)
{
    const nnp_chunk *const chunk = plan->chunks + c, *const next = chunk + 1;
    nnp_local l;
    l.row = chunk->row;
    l.n_own = next->row - chunk->row;
    l.n = l.n_own + (int)(next->halo - chunk->halo);
    l.halo = plan->halo + chunk->halo;
    l.x = (nnp_point*)nnp_take(arena, ((size_t)l.n + 1) * sizeof(nnp_point));
    l.f = (nnp_point*)nnp_take(arena, (size_t)l.n * sizeof(nnp_point));
    l.w = with_virials ? (double*)nnp_take(arena, (size_t)l.n * 9 * sizeof(double)) : NULL;
    const nnp_point* const x = (const nnp_point*)system->x;
    for (int i = 0; i < l.n_own; ++i) l.x[i] = x[system->centre ? system->centre[l.row + i] : l.row + i];
    for (int i = l.n_own; i < l.n; ++i) l.x[i] = x[l.halo[i - l.n_own]];
    for (int i = 0; i < l.n; ++i) l.x[i][3] = i;
    const nnp_point nobody = {1e15, 1e15, 1e15, l.n};
    l.x[l.n] = nobody;
    memset(l.f, 0, (size_t)l.n * sizeof(nnp_point));
    if (l.w) memset(l.w, 0, (size_t)l.n * 9 * sizeof(double));
    return l;
}

static inline int local_atom(const nnp_local* l, const nnp_system* system, int id)
{
    if (id >= l->n_own) return l->halo[id - l->n_own];
    return system->centre ? system->centre[l->row + id] : l->row + id;
}

/* Where a centre's neighbours go: near ones and far ones, and r^2 below which they are such. */
typedef struct nnp_find {
    nnp_quad *near, *far;
    nnp_real near2, cut2;
} nnp_find;

/* find_some: the quads x - c of four listed neighbours that are within the cutoff, each appended to its part.
 * Without a branch: what is too far is overwritten by the next; NNP_FIND quads past the end are scratch. */
#if NNP_ISA == 2 && NNP_REAL_BITS == 32
enum { NNP_FIND = 4 };
NNP_FN void find_some(nnp_find* f, const nnp_point* x, nnp_point c, int i, int j, int k, int l)
{
    __m512 q = _mm512_castps128_ps512((__m128)NNP_TO_QUAD(x[i] - c));
    q = _mm512_insertf32x4(q, (__m128)NNP_TO_QUAD(x[j] - c), 1);
    q = _mm512_insertf32x4(q, (__m128)NNP_TO_QUAD(x[k] - c), 2);
    q = _mm512_insertf32x4(q, (__m128)NNP_TO_QUAD(x[l] - c), 3);
    __m512 r2 = _mm512_maskz_mul_ps(0x7777, q, q); /* all but the id; then summed into all four places */
    r2 = _mm512_add_ps(r2, _mm512_permute_ps(r2, 0xb1));
    r2 = _mm512_add_ps(r2, _mm512_permute_ps(r2, 0x4e));
    const __mmask16 near = _mm512_cmp_ps_mask(r2, _mm512_set1_ps(f->near2), _CMP_LT_OQ);
    const __mmask16 far = _mm512_cmp_ps_mask(r2, _mm512_set1_ps(f->cut2), _CMP_LT_OQ) & (__mmask16)~near;
    _mm512_storeu_ps((float*)f->near, _mm512_maskz_compress_ps(near, q));
    f->near += _mm_popcnt_u32(near) / 4;
    if (!(f->near2 < f->cut2)) return;
    _mm512_storeu_ps((float*)f->far, _mm512_maskz_compress_ps(far, q));
    f->far += _mm_popcnt_u32(far) / 4;
}
#elif NNP_ISA == 2
enum { NNP_FIND = 4 };
NNP_FN void find_two(nnp_find* f, const nnp_point* x, nnp_point c, int i, int j)
{
    __m512d q = _mm512_castpd256_pd512((__m256d)(x[i] - c));
    q = _mm512_insertf64x4(q, (__m256d)(x[j] - c), 1);
    __m512d r2 = _mm512_maskz_mul_pd(0x77, q, q);
    r2 = _mm512_add_pd(r2, _mm512_permute_pd(r2, 0x55));
    r2 = _mm512_add_pd(r2, _mm512_permutex_pd(r2, 0x4e));
    const __mmask8 near = _mm512_cmp_pd_mask(r2, _mm512_set1_pd(f->near2), _CMP_LT_OQ);
    const __mmask8 far = _mm512_cmp_pd_mask(r2, _mm512_set1_pd(f->cut2), _CMP_LT_OQ) & (__mmask8)~near;
    _mm512_storeu_pd((double*)f->near, _mm512_maskz_compress_pd(near, q));
    f->near += _mm_popcnt_u32(near) / 4;
    if (!(f->near2 < f->cut2)) return;
    _mm512_storeu_pd((double*)f->far, _mm512_maskz_compress_pd(far, q));
    f->far += _mm_popcnt_u32(far) / 4;
}

NNP_FN void find_some(nnp_find* f, const nnp_point* x, nnp_point c, int i, int j, int k, int l)
{
    find_two(f, x, c, i, j);
    find_two(f, x, c, k, l);
}
#else
enum { NNP_FIND = 1 };

/* (q0, q1, q2, q3): bits of numbers that are below bound */
NNP_FN int quad_below(nnp_quad q, nnp_real bound)
{
#if NNP_REAL_BITS == 64 && NNP_ISA == 1
    return _mm256_movemask_pd((__m256d)(q < bound));
#elif defined(__SSE2__)
    typedef int32_t places __attribute__((vector_size(16)));
    return _mm_movemask_ps((__m128) __builtin_convertvector(q < bound, places));
#else
    return (q[0] < bound) | (q[1] < bound) << 1 | (q[2] < bound) << 2 | (q[3] < bound) << 3;
#endif
}

/* For each of 16 masks: its bits up to the first, second, third and fourth, in reals of as many quads. */
static const uint8_t find_places[16][4] = {
    {0, 0, 0, 0}, {4, 4, 4, 4},   {0, 4, 4, 4},  {4, 8, 8, 8},   {0, 0, 4, 4}, {4, 4, 8, 8},
    {0, 4, 8, 8}, {4, 8, 12, 12}, {0, 0, 0, 4},  {4, 4, 4, 8},   {0, 4, 4, 8}, {4, 8, 8, 12},
    {0, 0, 4, 8}, {4, 4, 8, 12},  {0, 4, 8, 12}, {4, 8, 12, 16},
};

/* Those of four quads whose bit is set, to part; returns its end. */
NNP_FN nnp_quad* find_append(nnp_quad* part, int bits, nnp_quad q0, nnp_quad q1, nnp_quad q2, nnp_quad q3)
{
    nnp_real* const to = (nnp_real*)part;
    const uint8_t* const place = find_places[bits];
    *(nnp_quad*)to = q0;
    *(nnp_quad*)(to + place[0]) = q1;
    *(nnp_quad*)(to + place[1]) = q2;
    *(nnp_quad*)(to + place[2]) = q3;
    return (nnp_quad*)(to + place[3]);
}

NNP_FN void find_some(nnp_find* f, const nnp_point* x, nnp_point c, int i, int j, int k, int l)
{
    const nnp_quad q0 = NNP_TO_QUAD(x[i] - c), q1 = NNP_TO_QUAD(x[j] - c);
    const nnp_quad q2 = NNP_TO_QUAD(x[k] - c), q3 = NNP_TO_QUAD(x[l] - c);
    nnp_quad x2, y2, z2, unused;
    quad_transpose(q0 * q0, q1 * q1, q2 * q2, q3 * q3, &x2, &y2, &z2, &unused);
    const nnp_quad r2 = x2 + y2 + z2;
    const int near = quad_below(r2, f->near2);
    f->near = find_append(f->near, near, q0, q1, q2, q3);
    if (!(f->near2 < f->cut2)) return;
    f->far = find_append(f->far, quad_below(r2, f->cut2) & ~near, q0, q1, q2, q3);
}
#endif

NNP_FN void block_find(nnp_find* f, const nnp_point* x, int centre, const int* list, int n, int nobody)
{
    nnp_point c = x[centre];
    c[3] = 0;
    int k = 0;
    for (; k + 4 <= n; k += 4) find_some(f, x, c, list[k], list[k + 1], list[k + 2], list[k + 3]);
    if (k < n)
        find_some(f, x, c, list[k], k + 1 < n ? list[k + 1] : nobody, k + 2 < n ? list[k + 2] : nobody,
                  nobody);
}

/* Lanes of quads [NNP_W][stride] to vectors x, y, z, id of neighbours first .. first + n - 1. */
static void block_transpose(nnp_block* b, const nnp_quad* quads, int stride, int first, int n)
{
    for (int k = 0; k < n; ++k, ++quads) {
        nnp_real* const x = (nnp_real*)(b->ux + first + k);
        nnp_real* const y = (nnp_real*)(b->uy + first + k);
        nnp_real* const z = (nnp_real*)(b->uz + first + k);
        nnp_real* const id = (nnp_real*)(b->r + first + k);
#if NNP_W % 4 == 0
        for (int w = 0; w < NNP_W; w += 4) {
            const nnp_quad q0 = quads[w * stride], q1 = quads[(w + 1) * stride];
            const nnp_quad q2 = quads[(w + 2) * stride], q3 = quads[(w + 3) * stride];
            quad_transpose(q0, q1, q2, q3, (nnp_quad*)(x + w), (nnp_quad*)(y + w), (nnp_quad*)(z + w),
                           (nnp_quad*)(id + w));
        }
#else
        for (int w = 0; w < NNP_W; ++w) {
            const nnp_quad q = quads[w * stride];
            x[w] = q[0];
            y[w] = q[1];
            z[w] = q[2];
            id[w] = q[3];
        }
#endif
    }
}

/* Neighbours of species t of all lanes into their two segments. */
static void block_species(nnp_block* b, nnp_arena arena, const nnp_local* local, const nnp_system* system,
                          const nnp_plan* plan, int t, double near, double cut)
{
    const int s = b->n_species, stride = b->capacity[t] + NNP_FIND;
    const size_t size = (size_t)(stride * NNP_W) * sizeof(nnp_quad);
    nnp_quad* const part[2] = {(nnp_quad*)nnp_take(&arena, size), (nnp_quad*)nnp_take(&arena, size)};
    const nnp_quad pad = {(nnp_real)(2 * cut), 0, 0, (nnp_real)local->n};
    int longest[2] = {0, 0};
    for (int w = 0; w < NNP_W; ++w) {
        int* const count = b->count + w * 2 * s + 2 * t;
        const int row = b->rows[w];
        count[0] = count[1] = 0;
        if (row < 0) continue;
        const int* const end = plan->segment + (int64_t)row * s + t;
        const int begin = t ? end[-1] : 0;
        nnp_find f = {part[0] + w * stride, part[1] + w * stride, (nnp_real)(near * near),
                      (nnp_real)(cut * cut)};
        block_find(&f, local->x, row - local->row, plan->local + system->first[row] + begin, *end - begin,
                   local->n);
        count[0] = (int)(f.near - (part[0] + w * stride));
        count[1] = (int)(f.far - (part[1] + w * stride));
        for (int k = 0; k < 2; ++k) longest[k] = count[k] > longest[k] ? count[k] : longest[k];
    }
    b->near[t] = longest[0];
    b->far[t] = longest[1];
    for (int k = 0; k < 2; ++k) {
        for (int w = 0; w < NNP_W; ++w)
            for (int n = b->count[w * 2 * s + 2 * t + k]; n < longest[k]; ++n) part[k][w * stride + n] = pad;
        block_transpose(b, part[k], stride, b->begin[t] + k * b->capacity[t], longest[k]);
    }
}

/* Asks for the list of block i before it is needed: its rows lie scattered in the list. */
NNP_FN void block_prefetch(const nnp_system* system, const nnp_plan* plan, int i)
{
    for (int w = 0; w < NNP_W; ++w) {
        const int row = plan->rows[(int64_t)i * NNP_W + w];
        if (row < 0) continue;
        const int* const end = plan->local + system->first[row + 1];
        for (const int* p = plan->local + system->first[row]; p < end; p += 16) NNP_PREFETCH(p);
    }
}

/* Two atoms closer than system->clash, the first in the order of lanes and neighbours. */
static nnp_clash block_clash(const nnp_block* b, const nnp_local* local, const nnp_system* system)
{
    nnp_clash clash = {-1, -1};
    for (int w = 0; w < NNP_W && clash.row < 0; ++w)
        NNP_EACH_PART(b, part) NNP_EACH_NEIGHBOUR(b, part, n) if (clash.row < 0 && b->r[n][w] < system->clash)
        {
            clash.row = b->rows[w];
            clash.atom = local_atom(local, system, (int)b->id[n][w]);
        }
    return clash;
}

/* Gather the neighbours of block number i of plan within cut. */
static nnp_clash block_gather(nnp_block* b, nnp_arena* arena, const nnp_local* local,
                              const nnp_system* system, const nnp_plan* plan, int i, double near, double cut)
{
    const int s = plan->n_species;
    b->n_species = s;
    b->rows = plan->rows + (int64_t)i * NNP_W;
    b->capacity = plan->capacity + (int64_t)i * s;
    b->species = (int)system->x[4 * (int64_t)local_atom(local, system, b->rows[0] - local->row) + 3];
    b->begin = (int*)nnp_take(arena, (size_t)((3 + 2 * NNP_W) * s) * sizeof(int));
    b->near = b->begin + s;
    b->far = b->near + s;
    b->count = b->far + s;
    int total = 0;
    for (int t = 0; t < s; ++t) {
        b->begin[t] = total;
        total += 2 * b->capacity[t];
    }
    block_take(b, arena, total);
    nnp_vec closest = nnp_splat((nnp_real)cut);
    for (int t = 0; t < s; ++t) block_species(b, *arena, local, system, plan, t, near, cut);
    NNP_EACH_PART(b, part) NNP_EACH_NEIGHBOUR(b, part, n)
    {
        const nnp_vec x = b->ux[n], y = b->uy[n], z = b->uz[n];
        b->id[n] = (nnp_mask)(b->r[n] + NNP_ROUND_MAGIC) - (nnp_mask)nnp_splat(NNP_ROUND_MAGIC);
        /* atoms on top of each other: a tiny r, so that they are found, not a NaN, so that they are not
         * missed
         */
        const nnp_vec r2 = nnp_max(x * x + y * y + z * z, nnp_splat(NNP_R(1e-30)));
        const nnp_vec q = nnp_rsqrt(r2), r = r2 * q;
        closest = nnp_min(r, closest);
        b->r[n] = r;
        b->r_inv[n] = q;
        b->ux[n] = x * q;
        b->uy[n] = y * q;
        b->uz[n] = z * q;
        b->gx[n] = b->gy[n] = b->gz[n] = nnp_splat(0);
    }
    b->closest = closest[0];
    for (int w = 1; w < NNP_W; ++w) b->closest = closest[w] < b->closest ? closest[w] : b->closest;
    const nnp_clash none = {-1, -1};
    return b->closest < system->clash ? block_clash(b, local, system) : none;
}

/* Pair gradients (gx, gy, gz, 0) of neighbour n of all lanes, to out [NNP_W]. */
NNP_FN void block_quads(const nnp_block* b, int n, nnp_quad* out)
{
#if NNP_W % 4 == 0
    const nnp_real* const gx = (const nnp_real*)(b->gx + n);
    const nnp_real* const gy = (const nnp_real*)(b->gy + n);
    const nnp_real* const gz = (const nnp_real*)(b->gz + n);
    const nnp_quad zero = {0};
    for (int w = 0; w < NNP_W; w += 4) {
        const nnp_quad x = *(const nnp_quad*)(gx + w), y = *(const nnp_quad*)(gy + w);
        const nnp_quad z = *(const nnp_quad*)(gz + w);
        quad_transpose(x, y, z, zero, out + w, out + w + 1, out + w + 2, out + w + 3);
    }
#else
    for (int w = 0; w < NNP_W; ++w) {
        const nnp_quad q = {b->gx[n][w], b->gy[n][w], b->gz[n][w], 0};
        out[w] = q;
    }
#endif
}

/* F_i += sum_j g_ij, F_j -= g_ij, in double: action equals reaction to the last bit but one. */
static void block_forces(const nnp_block* b, nnp_arena arena, const nnp_local* local)
{
    const int s2 = 2 * b->n_species;
    NNP_EACH_PART(b, part)
    {
        const nnp_span span = nnp_block_span(b, part);
        nnp_arena mine = arena;
        nnp_quad* const quads =
            (nnp_quad*)nnp_take(&mine, (size_t)((span.hi - span.lo) * NNP_W) * sizeof(nnp_quad));
        for (int n = span.lo; n < span.hi; ++n) block_quads(b, n, quads + (n - span.lo) * NNP_W);
        for (int w = 0; w < NNP_W; ++w) {
            const nnp_int* const id = (const nnp_int*)(b->id + span.lo) + w;
            const nnp_quad* const g = quads + w;
            const int count = b->count[w * s2 + part];
            nnp_point own = {0};
            for (int n = 0; n < count; ++n) {
                const nnp_point p = NNP_TO_POINT(g[n * NNP_W]);
                own += p;
                local->f[id[n * NNP_W]] -= p;
            }
            if (count) local->f[b->rows[w] - local->row] += own;
        }
    }
}

/* W_j -= r_ij (x) g_ij: what acts on atom j, credited to j. */
static void block_virials(const nnp_block* b, const nnp_local* local)
{
    NNP_EACH_PART(b, part) NNP_EACH_NEIGHBOUR(b, part, n) for (int w = 0; w < NNP_W; ++w)
    {
        const int id = (int)b->id[n][w];
        if (id == local->n) continue;
        const double r[3] = {b->ux[n][w] * b->r[n][w], b->uy[n][w] * b->r[n][w], b->uz[n][w] * b->r[n][w]};
        const double g[3] = {b->gx[n][w], b->gy[n][w], b->gz[n][w]};
        for (int a = 0; a < 3; ++a)
            for (int c = 0; c < 3; ++c) local->w[9 * (int64_t)id + 3 * a + c] -= r[a] * g[c];
    }
}

/* Forces (and virials) of the chunk's rows in place; those of its halo to their places in part. */
static void local_store(const nnp_local* l, const nnp_plan* plan, int c, const nnp_output* out)
{
    const int64_t halo = plan->chunks[c].halo;
    for (int i = 0; i < l->n_own; ++i)
        for (int k = 0; k < 3; ++k) out->force[3 * (int64_t)(l->row + i) + k] = l->f[i][k];
    memcpy(out->part + 4 * halo, l->f + l->n_own, (size_t)(l->n - l->n_own) * sizeof(nnp_point));
    if (!l->w) return;
    memcpy(out->virials + 9 * (int64_t)l->row, l->w, (size_t)l->n_own * 9 * sizeof(double));
    memcpy(out->part9 + 9 * halo, l->w + 9 * (int64_t)l->n_own,
           (size_t)(l->n - l->n_own) * 9 * sizeof(double));
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
