/* bp_impl.h - Behler-Parrinello symmetry functions of a block of atoms and their forces.
 *
 * Formulas: math/bp.h; how functions are sorted into groups, rows and terms: bp.h. Everything of one
 * neighbour (the radial factors R) is computed once. The triplets of a channel lie one after the other; the
 * way forward goes through them in tiles of NNP_BP_TILE, whose arrays (powers of (1 + lambda cos)/2, products
 * of the radial factors) stay in the first cache, and keeps the cosine and, of narrow functions, N = R(r_jk)
 * and (dN/dr)/r for the way back. There the network's gradient d turns the functions of a group into U(cos) =
 * sum_f d_f A_f,   V = dU/dcos,     E = sum_{j<k} U R_j R_k N,   N = R(r_jk) or 1 and U, V into one
 * polynomial in the cosine where zeta <= 6; the derivatives of a triplet are multiples of its neighbours'
 * unit vectors.
 */
#ifndef NNP_BP_IMPL_H
#define NNP_BP_IMPL_H

#include "bp_terms_impl.h"
#include "net_impl.h"

/* ---- neighbours and triplets of a block ---- */

/* Near neighbours, numbered species by species without gaps: neighbour k of species t is base[t] + k. */
typedef struct nnp_bp_near {
    int n;
    size_t stride;                 /* n + NNP_BP_ABREAST, from one row to the next */
    int* base;                     /* [S] */
    nnp_vec *value, *slope, *grad; /* [n_terms][stride] R, dR/dr, dE/dR of nnp_bp.side */
    nnp_vec *fc, *ratio;           /* [n_cuts][stride] of chains: fc, (dfc/dr)/(r fc) */
    nnp_vec *x, *y, *z, *square;   /* [stride] r_ij, its square */
    nnp_vec* inverse;              /* [stride] 1/r */
    nnp_vec *gr, *gx, *gy, *gz;    /* [n] dE/dr at fixed direction, dE/du */
    nnp_vec* rows;                 /* [max_rows][NNP_BP_TILE] */
} nnp_bp_near;

/* The triplets of a channel: j over near neighbours of species t, k over those of u; k < j where t = u. */
typedef struct nnp_bp_triplets {
    const nnp_bp_channel* c;
    int nj, nk, same;
    int j0, k0;             /* in the block's arrays */
    int bj, bk;             /* in nnp_bp_near's */
    size_t n_pairs, stride; /* stride: from one row of far to the next */
    nnp_vec* far;           /* [n_narrow][stride] N; of a chain: w = R_j R_k N */
    nnp_vec* dfar;          /* [n_narrow][stride] (dN/dr)/r; of a chain [stride] (dfc/dr)/(r fc) */
} nnp_bp_triplets;

static void near_terms(const nnp_bp* bp, const nnp_block* b, nnp_bp_near* v, int t)
{
    for (int i = bp->first_side[t]; i < bp->first_side[t + 1]; ++i) {
        const size_t row = (size_t)bp->side[i] * v->stride + (size_t)v->base[t];
        for (int k = 0; k < b->near[t]; ++k) v->grad[row + (size_t)k] = nnp_splat(0);
    }
    for (int i = bp->first_side[t]; i < bp->first_side[t + 1]; ++i) {
        const size_t row = (size_t)bp->side[i] * v->stride + (size_t)v->base[t];
        for (int k = 0; k < b->near[t]; k += NNP_BP_TILE) {
            const int m = b->near[t] - k < NNP_BP_TILE ? b->near[t] - k : NNP_BP_TILE;
            term_rows(bp, &bp->side[i], 1, m, b->r + b->begin[t] + k, v->value + row + k, v->slope + row + k,
                      0);
        }
    }
}

static void near_vectors(const nnp_bp* bp, const nnp_block* b, nnp_bp_near* v, int t)
{
    const int at = v->base[t], from = b->begin[t];
    for (int k = 0; k < b->near[t]; ++k) {
        const nnp_vec r = b->r[from + k];
        v->x[at + k] = r * b->ux[from + k];
        v->y[at + k] = r * b->uy[from + k];
        v->z[at + k] = r * b->uz[from + k];
        v->square[at + k] = r * r;
        v->inverse[at + k] = b->r_inv[from + k];
    }
    for (int i = 0; i < bp->n_cuts; ++i) {
        const size_t row = (size_t)i * v->stride + (size_t)at;
        if (bp->cut[i].chained) ratio_row(&bp->cut[i], b->near[t], b->r + from, v->fc + row, v->ratio + row);
    }
}

static nnp_bp_near bp_near(const nnp_bp* bp, const nnp_block* b, nnp_arena* arena)
{
    nnp_bp_near v;
    v.base = (int*)nnp_take(arena, (size_t)b->n_species * sizeof(int));
    v.n = 0;
    for (int t = 0; t < b->n_species; ++t) {
        v.base[t] = v.n;
        v.n += b->near[t];
    }
    v.stride = (size_t)v.n + NNP_BP_ABREAST;
    nnp_vec** const per_term[] = {&v.value, &v.slope, &v.grad};
    nnp_vec** const per_cut[] = {&v.fc, &v.ratio};
    nnp_vec** const per_one[] = {&v.x, &v.y, &v.z, &v.square, &v.inverse, &v.gr, &v.gx, &v.gy, &v.gz};
    for (int i = 0; i < 3; ++i) *per_term[i] = nnp_take_vec(arena, v.stride * (size_t)bp->n_terms);
    for (int i = 0; i < 2; ++i) *per_cut[i] = nnp_take_vec(arena, v.stride * (size_t)bp->n_cuts);
    for (int i = 0; i < 9; ++i) *per_one[i] = nnp_take_vec(arena, v.stride);
    v.rows = nnp_take_vec(arena, (size_t)bp->max_rows * NNP_BP_TILE);
    for (int i = 0; i < v.n; ++i) v.gr[i] = v.gx[i] = v.gy[i] = v.gz[i] = nnp_splat(0);
    for (int t = 0; t < b->n_species; ++t) {
        near_terms(bp, b, &v, t);
        near_vectors(bp, b, &v, t);
    }
    return v;
}

static nnp_bp_triplets bp_triplets(const nnp_bp_channel* c, const nnp_block* b, const nnp_bp_near* v, int t,
                                   int u)
{
    nnp_bp_triplets x;
    memset(&x, 0, sizeof x);
    x.c = c;
    x.same = t == u;
    x.nj = b->near[t];
    x.nk = b->near[u];
    x.j0 = b->begin[t];
    x.k0 = b->begin[u];
    x.bj = v->base[t];
    x.bk = v->base[u];
    x.n_pairs = x.same ? (size_t)x.nj * (size_t)(x.nj ? x.nj - 1 : 0) / 2 : (size_t)x.nj * (size_t)x.nk;
    return x;
}

static void cosine_row(const nnp_block* b, int j, int k0, int n, nnp_vec* c)
{
    const nnp_vec x = b->ux[j], y = b->uy[j], z = b->uz[j];
    for (int k = 0; k < n; ++k) c[k] = x * b->ux[k0 + k] + y * b->uy[k0 + k] + z * b->uz[k0 + k];
}

/* r_jk^2; two padding lanes may coincide */
NNP_FN nnp_vec square_distance(const nnp_block* b, int k, nnp_vec x, nnp_vec y, nnp_vec z)
{
    const nnp_vec r = b->r[k];
    const nnp_vec dx = r * b->ux[k] - x, dy = r * b->uy[k] - y, dz = r * b->uz[k] - z;
    return nnp_max(dx * dx + dy * dy + dz * dz, nnp_splat(NNP_R(1e-12)));
}

/* N and (dN/dr)/r of any terms, row l at far + l stride */
static void far_rows(const nnp_bp* bp, const nnp_bp_channel* c, const nnp_block* b, int j, int k0, int n,
                     nnp_vec* far, nnp_vec* dfar, size_t stride)
{
    const nnp_vec x = b->r[j] * b->ux[j], y = b->r[j] * b->uy[j], z = b->r[j] * b->uz[j];
    for (int first = k0, end = k0 + n; first < end;
         first += NNP_BP_TILE, far += NNP_BP_TILE, dfar += NNP_BP_TILE) {
        const int m = end - first < NNP_BP_TILE ? end - first : NNP_BP_TILE;
        nnp_vec r[NNP_BP_TILE], r_inv[NNP_BP_TILE];
        if (m < 1) return;
        for (int k = 0; k < m; ++k) {
            const nnp_vec s = square_distance(b, first + k, x, y, z);
            r_inv[k] = nnp_rsqrt(s);
            r[k] = s * r_inv[k];
        }
        term_rows(bp, bp->narrow + c->first_narrow, c->n_narrow, m, r, far, dfar, stride);
        for (int l = 0; l < c->n_narrow; ++l)
            for (int k = 0; k < m; ++k) dfar[(size_t)l * stride + (size_t)k] *= r_inv[k];
    }
}

#include "bp_gauss_impl.h"

/* ---- values ---- */

/* s[f] += sum_k w[k] a[f][k] for Q rows */
NNP_FN void sum_columns(const nnp_vec* const* a, const nnp_vec* w, int n, nnp_vec* s, const int Q)
{
    nnp_vec even[8], odd[8];
    for (int f = 0; f < Q; ++f) {
        even[f] = s[f];
        odd[f] = nnp_splat(0);
    }
    int k = 0;
    for (; k + 1 < n; k += 2)
        for (int f = 0; f < Q; ++f) {
            even[f] += w[k] * a[f][k];
            odd[f] += w[k + 1] * a[f][k + 1];
        }
    for (; k < n; ++k)
        for (int f = 0; f < Q; ++f) even[f] += w[k] * a[f][k];
    for (int f = 0; f < Q; ++f) s[f] = even[f] + odd[f];
}

static void sum_rows(const nnp_vec* const* a, const nnp_vec* w, int n, nnp_vec* s, int q)
{
    switch (q) {
    case 1:
        sum_columns(a, w, n, s, 1);
        break;
    case 2:
        sum_columns(a, w, n, s, 2);
        break;
    case 3:
        sum_columns(a, w, n, s, 3);
        break;
    case 4:
        sum_columns(a, w, n, s, 4);
        break;
    case 5:
        sum_columns(a, w, n, s, 5);
        break;
    case 6:
        sum_columns(a, w, n, s, 6);
        break;
    case 7:
        sum_columns(a, w, n, s, 7);
        break;
    default:
        sum_columns(a, w, n, s, 8);
        break;
    }
}

/* A channel's latest triplets, waiting until they are enough for long loops. */
typedef struct nnp_bp_queue {
    int n;
    size_t stride;
    nnp_vec *cosine, *sum, *f; /* [stride]; S and F of a chain (bp_gauss_impl.h) */
    nnp_vec* w;                /* [n_groups][stride] R_j R_k N; those of a chain are in nnp_bp_triplets.far */
} nnp_bp_queue;

static int is_chained(const nnp_bp_channel* c, const nnp_bp_group* g) { return c->n_chain && g->narrow >= 0; }

/* sums [members of the channel] += sum of w A over the n triplets of the queue from number at on; the first
 * is the channel's number p */
static void tile_sums(const nnp_bp_triplets* x, const nnp_bp* bp, nnp_vec* rows, const nnp_bp_queue* queue,
                      int at, int n, size_t p, nnp_vec* sums)
{
    const nnp_bp_channel* const c = x->c;
    const nnp_bp_group* const group = bp->group + c->first_group;
    channel_rows(bp, c, NNP_BP_FORWARD, n, queue->cosine + at, rows);
    for (int g = 0; g < c->n_groups; ++g) {
        const nnp_vec* const w = is_chained(c, &group[g]) ? x->far + (size_t)group[g].narrow * x->stride + p
                                                          : queue->w + (size_t)g * queue->stride + at;
        for (int i = 0; i < group[g].n; i += 8) {
            const nnp_bp_member* const f = bp->member + group[g].first + i;
            const int q = group[g].n - i < 8 ? group[g].n - i : 8;
            const nnp_vec* a[8];
            for (int e = 0; e < q; ++e) a[e] = rows + (size_t)f[e].row * NNP_BP_TILE;
            sum_rows(a, w, n, sums + (f - (bp->member + group[0].first)), q);
        }
    }
}

/* Appends the triplets j, 0 .. n - 1 of a channel, the first being number p, to the queue. */
static void triplets_row(const nnp_bp_triplets* x, const nnp_bp* bp, const nnp_block* b, const nnp_bp_near* v,
                         int j, int n, size_t p, nnp_bp_queue* queue)
{
    const nnp_bp_channel* const c = x->c;
    const nnp_bp_group* const group = bp->group + c->first_group;
    nnp_vec* const cosine = queue->cosine + queue->n;
    if (c->n_chain) {
        gauss_row(bp, c, v, x->bj + j, x->bk, n, cosine, queue->sum + queue->n, queue->f + queue->n,
                  x->dfar + p);
    } else {
        cosine_row(b, x->j0 + j, x->k0, n, cosine);
        if (c->n_narrow) far_rows(bp, c, b, x->j0 + j, x->k0, n, x->far + p, x->dfar + p, x->stride);
    }
    for (int g = 0; g < c->n_groups; ++g) {
        const nnp_vec* const row = v->value + (size_t)group[g].term * v->stride;
        const nnp_vec *const rk = row + x->bk, rj = row[x->bj + j];
        nnp_vec* const w = queue->w + (size_t)g * queue->stride + queue->n;
        if (is_chained(c, &group[g])) continue;
        if (group[g].narrow >= 0) {
            const nnp_vec* const far = x->far + (size_t)group[g].narrow * x->stride + p;
            for (int k = 0; k < n; ++k) w[k] = rj * rk[k] * far[k];
        } else {
            for (int k = 0; k < n; ++k) w[k] = rj * rk[k];
        }
    }
    queue->n += n;
}

/* Sums over all triplets of the queue, the first being number p, and empties it. */
static void queue_sums(const nnp_bp_triplets* x, const nnp_bp* bp, nnp_vec* rows, nnp_bp_queue* queue,
                       size_t p, nnp_vec* sums)
{
    enum { U = NNP_BP_ABREAST };
    const int parts = (queue->n + NNP_BP_TILE - 1) / NNP_BP_TILE;
    const int piece = parts ? ((queue->n + parts - 1) / parts + U - 1) / U * U : 0;
    for (int at = 0; at < queue->n; at += piece, p += (size_t)piece) {
        const int n = queue->n - at < piece ? queue->n - at : piece;
        if (x->c->n_chain) gauss_weights(x->c, n, queue->sum + at, queue->f + at, x->far + p, x->stride);
        tile_sums(x, bp, rows, queue, at, n, p, sums);
    }
    queue->n = 0;
}

/* Geometry and G of a channel. Returns 0 if it has no triplet. */
static int triplets_values(nnp_bp_triplets* x, const nnp_bp* bp, const nnp_block* b, const nnp_bp_near* v,
                           nnp_arena* arena, nnp_vec* out)
{
    const nnp_bp_channel* const c = x->c;
    if (x->n_pairs == 0 || c->n_groups == 0) return 0;
    x->stride = x->n_pairs + NNP_BP_ABREAST;
    x->far = nnp_take_vec(arena, x->stride * (size_t)c->n_narrow);
    x->dfar = nnp_take_vec(arena, x->stride * (size_t)(c->n_chain ? 1 : c->n_narrow));
    nnp_arena inner = *arena;
    const nnp_bp_group* const last = &bp->group[c->first_group + c->n_groups - 1];
    const int first = bp->group[c->first_group].first, n_members = last->first + last->n - first;
    nnp_bp_queue queue;
    queue.n = 0;
    queue.stride = (size_t)(x->nk + NNP_BP_TILE + NNP_BP_ABREAST);
    queue.cosine = nnp_take_vec(&inner, queue.stride);
    queue.sum = nnp_take_vec(&inner, queue.stride);
    queue.f = nnp_take_vec(&inner, queue.stride);
    queue.w = nnp_take_vec(&inner, (size_t)c->n_groups * queue.stride);
    nnp_vec* const sums = nnp_take_vec(&inner, (size_t)n_members);
    for (int i = 0; i < n_members; ++i) sums[i] = nnp_splat(0);
    size_t p = 0;
    for (int j = 0; j < x->nj; ++j) {
        const int end = x->same ? j : x->nk;
        triplets_row(x, bp, b, v, j, end, p, &queue);
        p += (size_t)end;
        if (queue.n > NNP_BP_TILE * 3 / 4 || j == x->nj - 1)
            queue_sums(x, bp, v->rows, &queue, p - (size_t)queue.n, sums);
    }
    for (int i = 0; i < n_members; ++i)
        out[bp->member[first + i].input] += (nnp_real)bp->member[first + i].scale * sums[i];
    return 1;
}

/* Radial functions; slopes [n_own][n] of tile after tile for the way back. */
static void radial_values(const nnp_bp* bp, const nnp_block* b, nnp_vec* out, nnp_vec* slopes)
{
    for (int t = 0; t < b->n_species; ++t) {
        const int* const own = bp->own + bp->first_own[t];
        const int n_own = bp->first_own[t + 1] - bp->first_own[t];
        const nnp_bp_radial* const f = bp->radial + bp->first_radial[t];
        const int n_functions = bp->first_radial[t + 1] - bp->first_radial[t];
        if (n_own == 0) continue;
        for (int part = 2 * t; part < 2 * t + 2; ++part) {
            const nnp_span span = nnp_block_span(b, part);
            for (int lo = span.lo; lo < span.hi; lo += NNP_BP_TILE) {
                const int n = span.hi - lo < NNP_BP_TILE ? span.hi - lo : NNP_BP_TILE;
                nnp_vec* const value = slopes + (size_t)n_own * (size_t)n; /* overwritten by the next tile */
                term_rows(bp, own, n_own, n, b->r + lo, value, slopes, (size_t)n);
                for (int i = 0; i < n_functions; ++i) {
                    const nnp_vec* const row = value + (size_t)f[i].term * (size_t)n;
                    nnp_vec sum = nnp_splat(0);
                    for (int k = 0; k < n; ++k) sum += row[k];
                    out[f[i].input] += (nnp_real)f[i].scale * sum;
                }
                slopes += (size_t)n_own * (size_t)n;
            }
        }
    }
}

#include "bp_backward_impl.h"
#include "bp_moments_impl.h"

/* ---- all of it ---- */

/* nnp_vec of scratch beyond the block's own for m near and far neighbours in all; *pieces counts parts of it.
 */
static size_t bp_scratch(const nnp_model* model, int species, size_t m, int training, size_t* pieces)
{
    const nnp_bp* const bp = &model->bp[species];
    const size_t tile = NNP_BP_TILE, nt = (size_t)bp->n_terms, nf = (size_t)bp->n_functions;
    const size_t channels = (size_t)nnp_n_channels(model->n_species);
    const size_t groups = (size_t)bp->max_groups, members = (size_t)bp->max_members;
    size_t vecs = (size_t)bp->max_own * (2 * m + tile + 1) +
                  (3 * nt + 2 * (size_t)bp->n_cuts + 9) * (m + NNP_BP_ABREAST);
    vecs += (m * m / 2 + m + NNP_BP_ABREAST * channels) * 2 * (size_t)bp->max_narrow + 3 * nf +
            net_scratch(&model->net[species]);
    vecs += (size_t)bp->max_rows * tile + (groups + 3) * (m + tile + NNP_BP_ABREAST) + 5 * members;
    vecs += groups * (sizeof(nnp_bp_pull) / sizeof(nnp_vec) + 1);
    vecs += (size_t)bp->first_set[model->n_species] * 2 * (NNP_BP_MONOMIALS + 1);
    if (training) /* tangents; one tile's rows */
        vecs += 8 * (2 * m + 1) + 4 * nf + (2 * (size_t)bp->max_own + 2 * (size_t)bp->max_narrow + 3) * tile;
    *pieces = 48 + 4 * channels + 2 * groups + channels * sizeof(nnp_bp_triplets) / 64;
    return vecs;
}

/* Number of functions outside their training range, by lane; a rounding of the range is inside. */
static nnp_vec bp_outside(const nnp_bp* bp, const nnp_vec* g)
{
    const double slack = NNP_REAL_BITS == 64 ? 1e-9 : 1e-5;
    nnp_vec count = nnp_splat(0);
    for (int i = 0; i < bp->n_functions && bp->minimum; ++i) {
        const double more = slack * (bp->maximum[i] - bp->minimum[i]);
        const nnp_real low = (nnp_real)(bp->minimum[i] - more), high = (nnp_real)(bp->maximum[i] + more);
        count += nnp_where((g[i] < low) | (g[i] > high), nnp_splat(NNP_R(1.0)));
    }
    return count;
}

/* Energy of the block's atoms (without E0); adds their pair gradients to b; *inputs_out: network inputs [n];
 * *outside: functions beyond their training range. */
static nnp_vec bp_evaluate(const nnp_model* model, const nnp_real* theta, nnp_block* b, nnp_arena* arena,
                           nnp_vec** inputs_out, nnp_vec* outside)
{
    const nnp_bp* const bp = &model->bp[b->species];
    const int s = model->n_species, nf = bp->n_functions;
    nnp_vec* const g = nnp_take_vec(arena, (size_t)nf);
    nnp_vec* const d = nnp_take_vec(arena, (size_t)nf);
    nnp_vec* const own = nnp_take_vec(arena, (size_t)bp->max_own);
    const int last = s - 1, slots = b->begin[last] + 2 * b->capacity[last];
    nnp_vec* const slopes = nnp_take_vec(arena, (size_t)bp->max_own * (size_t)(slots + NNP_BP_TILE));
    for (int i = 0; i < nf; ++i) g[i] = nnp_splat(0);
    radial_values(bp, b, g, slopes);

    nnp_bp_near v = bp_near(bp, b, arena);
    nnp_bp_triplets* const x =
        (nnp_bp_triplets*)nnp_take(arena, (size_t)nnp_n_channels(s) * sizeof(nnp_bp_triplets));
    int n_live = 0;
    for (int t = 0, c = 0; t < s; ++t)
        for (int u = t; u < s; ++u, ++c) {
            x[n_live] = bp_triplets(&bp->channel[c], b, &v, t, u);
            n_live += triplets_values(&x[n_live], bp, b, &v, arena, g);
        }

    const nnp_bp_moments mom = moments_values(bp, b, &v, arena, g);
    *outside = bp_outside(bp, g);
    for (int i = 0; i < nf; ++i) g[i] = (g[i] - (nnp_real)bp->centre[i]) * (nnp_real)bp->factor[i];
    *inputs_out = g;
    const nnp_vec energy = net_evaluate(&model->net[b->species], theta, g, d, arena);
    for (int i = 0; i < nf; ++i) d[i] *= (nnp_real)bp->factor[i];

    radial_backward(bp, b, d, slopes, own);
    for (int i = n_live - 1; i >= 0; --i) /* the latest are still in the cache */
        bp_triplets_backward(bp, &x[i], b, &v, d, *arena);
    if (bp->first_set[s]) moments_backward(bp, b, &v, &mom, d);
    bp_near_backward(bp, b, &v);
    return energy;
}

#endif /* NNP_BP_IMPL_H */
