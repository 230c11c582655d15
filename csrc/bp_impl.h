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
    int* base;                     /* [S] */
    nnp_vec *value, *slope, *grad; /* [n_terms][n] R, dR/dr, dE/dR */
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
    nnp_vec* far;           /* [n_narrow][stride] N */
    nnp_vec* dfar; /* [n_narrow][stride] (dN/dr)/r; for a chain of exponentials [stride] (dfc/dr)/(r fc) */
} nnp_bp_triplets;

static nnp_bp_near bp_near(const nnp_bp* bp, const nnp_block* b, nnp_arena* arena)
{
    nnp_bp_near v;
    v.base = (int*)nnp_take(arena, (size_t)b->n_species * sizeof(int));
    v.n = 0;
    for (int t = 0; t < b->n_species; ++t) {
        v.base[t] = v.n;
        v.n += b->near[t];
    }
    const size_t n = (size_t)v.n, all = n * (size_t)bp->n_terms;
    nnp_vec** const per_term[] = {&v.value, &v.slope, &v.grad};
    nnp_vec** const per_one[] = {&v.gr, &v.gx, &v.gy, &v.gz};
    for (int i = 0; i < 3; ++i) *per_term[i] = nnp_take_vec(arena, all);
    for (int i = 0; i < 4; ++i) *per_one[i] = nnp_take_vec(arena, n);
    v.rows = nnp_take_vec(arena, (size_t)bp->max_rows * NNP_BP_TILE);
    for (size_t i = 0; i < n; ++i) v.gr[i] = v.gx[i] = v.gy[i] = v.gz[i] = nnp_splat(0);
    for (int t = 0; t < b->n_species; ++t)
        for (int i = bp->first_side[t]; i < bp->first_side[t + 1]; ++i) {
            const size_t row = (size_t)bp->side[i] * n + (size_t)v.base[t];
            for (int k = 0; k < b->near[t]; ++k) v.grad[row + (size_t)k] = nnp_splat(0);
            for (int k = 0; k < b->near[t]; k += NNP_BP_TILE) {
                const int m = b->near[t] - k < NNP_BP_TILE ? b->near[t] - k : NNP_BP_TILE;
                term_rows(bp, &bp->side[i], 1, m, b->r + b->begin[t] + k, v.value + row + k,
                          v.slope + row + k, 0);
            }
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
static void far_rows_any(const nnp_bp* bp, const nnp_bp_channel* c, const nnp_block* b, int j, int k0, int n,
                         nnp_vec* far, nnp_vec* dfar, size_t stride)
{
    const nnp_vec x = b->r[j] * b->ux[j], y = b->r[j] * b->uy[j], z = b->r[j] * b->uz[j];
    nnp_vec r[NNP_BP_TILE], r_inv[NNP_BP_TILE];
    if (n < 1) return;
    for (int k = 0; k < n; ++k) {
        const nnp_vec s = square_distance(b, k0 + k, x, y, z);
        r_inv[k] = nnp_rsqrt(s);
        r[k] = s * r_inv[k];
    }
    term_rows(bp, bp->narrow + c->first_narrow, c->n_narrow, n, r, far, dfar, stride);
    for (int l = 0; l < c->n_narrow; ++l)
        for (int k = 0; k < n; ++k) dfar[(size_t)l * stride + (size_t)k] *= r_inv[k];
}

/* N of terms exp(-eta r^2) fc(r) with one fc of a kind that the compiler knows, and h = (dfc/dr)/(r fc),
 * which gives (dN/dr)/r = N (h - 2 eta). Reads and writes up to NNP_BP_ABREAST - 1 entries more than n. */
NNP_FN void far_rows_chain(const int kind, const nnp_bp* bp, const nnp_bp_channel* c, const nnp_block* b,
                           int j, int k0, int n, nnp_vec* far, nnp_vec* dfar, size_t stride)
{
    enum { U = NNP_BP_ABREAST };
    const nnp_bp_cut* const cut = &bp->cut[bp->term[bp->narrow[c->first_narrow]].cut];
    const nnp_bp_cutoff_p p = {(nnp_real)cut->rc, (nnp_real)cut->inner,
                               (nnp_real)(1 / (cut->rc - cut->inner))};
    const nnp_vec x = b->r[j] * b->ux[j], y = b->r[j] * b->uy[j], z = b->r[j] * b->uz[j];
    const nnp_vec least = nnp_splat(-NNP_BP_EXP_LIMIT);
    for (int k = 0; k < n; k += U, far += U, dfar += U) {
        nnp_vec s[U], r_inv[U], fc[U], dfc[U], e[NNP_BP_MAX_CHAIN][U];
        for (int q = 0; q < U; ++q) s[q] = square_distance(b, k0 + k + q, x, y, z);
        for (int q = 0; q < U; ++q) r_inv[q] = nnp_rsqrt(s[q]);
        for (int q = 0; q < U; ++q) nnp_bp_cutoff(kind, s[q] * r_inv[q], p, &fc[q], &dfc[q]);
        for (int q = 0; q < U; ++q) {
            const nnp_vec tiny = nnp_splat(NNP_BP_TINY);
            dfar[q] = nnp_where(fc[q] > tiny, dfc[q] * r_inv[q] / nnp_max(fc[q], tiny));
        }
        for (int i = 0; i < c->n_chain; ++i) {
            const nnp_bp_link* const l = &c->chain[i];
            const nnp_real factor = (nnp_real)-l->eta * NNP_LOG2E;
            if (l->a < 0)
                for (int q = 0; q < U; ++q) e[i][q] = nnp_exp2(nnp_max(s[q] * factor, least));
            else
                for (int q = 0; q < U; ++q) e[i][q] = e[l->a][q] * e[l->b][q];
        }
        for (int l = 0; l < c->n_narrow; ++l) {
            const nnp_vec* const own = e[c->link[l]];
            for (int q = 0; q < U; ++q) far[(size_t)l * stride + (size_t)q] = own[q] * fc[q];
        }
    }
}

/* far and dfar (nnp_bp_triplets) of the channel's narrow terms for neighbours k0 .. k0 + n - 1 beside j */
static void far_rows(const nnp_bp* bp, const nnp_bp_channel* c, const nnp_block* b, int j, int k0, int n,
                     nnp_vec* far, nnp_vec* dfar, size_t stride)
{
    if (c->n_chain == 0) {
        far_rows_any(bp, c, b, j, k0, n, far, dfar, stride);
        return;
    }
#define NNP_BP_FAR(kind)                                                                                     \
    case kind:                                                                                               \
        far_rows_chain(kind, bp, c, b, j, k0, n, far, dfar, stride);                                         \
        break;
    switch (bp->cut[bp->term[bp->narrow[c->first_narrow]].cut].kind) {
        NNP_BP_FAR(0)
        NNP_BP_FAR(1)
        NNP_BP_FAR(2)
        NNP_BP_FAR(3)
        NNP_BP_FAR(4)
        NNP_BP_FAR(5)
        NNP_BP_FAR(6)
        NNP_BP_FAR(7)
        NNP_BP_FAR(8)
    }
#undef NNP_BP_FAR
}

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

/* sums [members of the channel] += sum over a tile of w A; w is [n_groups][NNP_BP_TILE] */
static void tile_sums(const nnp_bp* bp, const nnp_bp_channel* c, nnp_vec* rows, const nnp_vec* cosine, int n,
                      const nnp_vec* w, nnp_vec* sums)
{
    const nnp_bp_group* const group = bp->group + c->first_group;
    channel_rows(bp->row + c->first_row, c->n_rows, NNP_BP_FORWARD, n, cosine, rows);
    for (int g = 0; g < c->n_groups; ++g, w += NNP_BP_TILE)
        for (int i = 0; i < group[g].n; i += 8) {
            const nnp_bp_member* const f = bp->member + group[g].first + i;
            const int q = group[g].n - i < 8 ? group[g].n - i : 8;
            const nnp_vec* a[8];
            for (int e = 0; e < q; ++e) a[e] = rows + (size_t)f[e].row * NNP_BP_TILE;
            sum_rows(a, w, n, sums + (f - (bp->member + group[0].first)), q);
        }
}

/* Geometry of n triplets j, k0 .. of a channel, the first being number p; cosines to c, products R_j R_k N of
 * every group to w, rows NNP_BP_TILE apart. */
static void triplets_row(const nnp_bp_triplets* x, const nnp_bp* bp, const nnp_block* b, const nnp_bp_near* v,
                         int j, int k0, int n, size_t p, nnp_vec* c, nnp_vec* w)
{
    const nnp_bp_group* const group = bp->group + x->c->first_group;
    cosine_row(b, x->j0 + j, x->k0 + k0, n, c);
    if (x->c->n_narrow) far_rows(bp, x->c, b, x->j0 + j, x->k0 + k0, n, x->far + p, x->dfar + p, x->stride);
    for (int g = 0; g < x->c->n_groups; ++g, w += NNP_BP_TILE) {
        const nnp_vec* const row = v->value + (size_t)group[g].term * (size_t)v->n;
        const nnp_vec *const rk = row + x->bk + k0, rj = row[x->bj + j];
        if (group[g].narrow >= 0) {
            const nnp_vec* const far = x->far + (size_t)group[g].narrow * x->stride + p;
            for (int k = 0; k < n; ++k) w[k] = rj * rk[k] * far[k];
        } else {
            for (int k = 0; k < n; ++k) w[k] = rj * rk[k];
        }
    }
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
    nnp_vec* const w = nnp_take_vec(&inner, (size_t)c->n_groups * NNP_BP_TILE);
    nnp_vec* const sums = nnp_take_vec(&inner, (size_t)n_members);
    nnp_vec cosine[NNP_BP_TILE];
    for (int i = 0; i < n_members; ++i) sums[i] = nnp_splat(0);
    size_t p = 0, tile = 0;
    for (int j = 0; j < x->nj; ++j)
        for (int k0 = 0, n, end = x->same ? j : x->nk; k0 < end; k0 += n) {
            const int filled = (int)(p - tile);
            n = end - k0 < NNP_BP_TILE - filled ? end - k0 : NNP_BP_TILE - filled;
            triplets_row(x, bp, b, v, j, k0, n, p, cosine + filled, w + filled);
            p += (size_t)n;
            if (p - tile < NNP_BP_TILE && p < x->n_pairs) continue;
            tile_sums(bp, c, v->rows, cosine, (int)(p - tile), w, sums);
            tile = p;
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
    size_t vecs = (size_t)bp->max_own * (2 * m + tile + 1) + (3 * nt + 4) * m;
    vecs += (m * m / 2 + m + NNP_BP_ABREAST * channels) * 2 * (size_t)bp->max_narrow + 3 * nf +
            net_scratch(&model->net[species]);
    vecs += ((size_t)bp->max_rows + groups) * tile + 5 * members;
    vecs += groups * (sizeof(nnp_bp_pull) / sizeof(nnp_vec) + 1);
    vecs += (size_t)bp->first_set[model->n_species] * 2 * (NNP_BP_MONOMIALS + 1);
    if (training) /* tangents; one tile's rows */
        vecs += 8 * (2 * m + 1) + 4 * nf + (2 * (size_t)bp->max_own + 2 * (size_t)bp->max_narrow + 3) * tile;
    *pieces = 32 + 4 * channels + 2 * groups + channels * sizeof(nnp_bp_triplets) / 64;
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
    for (int i = 0; i < n_live; ++i) bp_triplets_backward(bp, &x[i], b, &v, d, *arena);
    if (bp->first_set[s]) moments_backward(bp, b, &v, &mom, d);
    bp_near_backward(bp, b, &v);
    return energy;
}

#endif /* NNP_BP_IMPL_H */
