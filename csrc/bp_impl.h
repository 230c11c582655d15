/* bp_impl.h - Behler-Parrinello symmetry functions of a block of atoms and their forces.
 *
 * Formulas: math/bp.h; how functions are sorted into groups, angles and terms: bp.h. Everything of one
 * neighbour (the radial factors R) is computed once. A triplet loop runs over k in tiles of NNP_BP_TILE,
 * whose arrays stay in the first cache: the cosine, powers of (1 + lambda cos)/2 for all groups of a channel,
 * and for narrow functions R(r_jk). On the way back the network's gradient d turns every group's functions
 * into U = sum_f d_f A_f(cos),  V = dU/dcos,     E = sum_{j<k} U R_j R_k N,   N = R(r_jk) or 1 and the
 * triplet's derivatives are multiples of the neighbours' unit vectors.
 */
#ifndef NNP_BP_IMPL_H
#define NNP_BP_IMPL_H

#include "math/bp.h"
#include "net_impl.h"

enum { NNP_BP_TILE = 16 };

/* ---- rows of functions of one variable ---- */

#define NNP_BP_ROW(kind, call)                                                                               \
    case kind:                                                                                               \
        for (int k = 0; k < n; ++k) call;                                                                    \
        break;

static void cutoff_row(const nnp_bp_cut* cut, int n, const nnp_vec* r, nnp_vec* f, nnp_vec* df)
{
    const nnp_bp_cutoff_p p = {(nnp_real)cut->rc, (nnp_real)cut->inner,
                               (nnp_real)(1 / (cut->rc - cut->inner))};
    switch (cut->kind) {
        NNP_BP_ROW(0, nnp_bp_cutoff(0, r[k], p, &f[k], &df[k]))
        NNP_BP_ROW(1, nnp_bp_cutoff(1, r[k], p, &f[k], &df[k]))
        NNP_BP_ROW(2, nnp_bp_cutoff(2, r[k], p, &f[k], &df[k]))
        NNP_BP_ROW(3, nnp_bp_cutoff(3, r[k], p, &f[k], &df[k]))
        NNP_BP_ROW(4, nnp_bp_cutoff(4, r[k], p, &f[k], &df[k]))
        NNP_BP_ROW(5, nnp_bp_cutoff(5, r[k], p, &f[k], &df[k]))
        NNP_BP_ROW(6, nnp_bp_cutoff(6, r[k], p, &f[k], &df[k]))
        NNP_BP_ROW(7, nnp_bp_cutoff(7, r[k], p, &f[k], &df[k]))
        NNP_BP_ROW(8, nnp_bp_cutoff(8, r[k], p, &f[k], &df[k]))
    }
}

static nnp_bp_window_p window_p(const nnp_bp_window* w)
{
    nnp_bp_window_p p = {(nnp_real)w->centre, (nnp_real)(1 / w->width)};
    return p;
}

static void window_row(const nnp_bp_window* w, int n, const nnp_vec* r, nnp_vec* f, nnp_vec* df)
{
    const nnp_bp_window_p p = window_p(w);
    switch (2 * w->core + w->asymmetric) {
        NNP_BP_ROW(8, nnp_bp_compact(4, 0, r[k], p, &f[k], &df[k]))
        NNP_BP_ROW(9, nnp_bp_compact(4, 1, r[k], p, &f[k], &df[k]))
        NNP_BP_ROW(10, nnp_bp_compact(5, 0, r[k], p, &f[k], &df[k]))
        NNP_BP_ROW(11, nnp_bp_compact(5, 1, r[k], p, &f[k], &df[k]))
        NNP_BP_ROW(12, nnp_bp_compact(6, 0, r[k], p, &f[k], &df[k]))
        NNP_BP_ROW(13, nnp_bp_compact(6, 1, r[k], p, &f[k], &df[k]))
        NNP_BP_ROW(14, nnp_bp_compact(7, 0, r[k], p, &f[k], &df[k]))
        NNP_BP_ROW(15, nnp_bp_compact(7, 1, r[k], p, &f[k], &df[k]))
        NNP_BP_ROW(16, nnp_bp_compact(8, 0, r[k], p, &f[k], &df[k]))
        NNP_BP_ROW(17, nnp_bp_compact(8, 1, r[k], p, &f[k], &df[k]))
    }
}

static void angle_window_row(const nnp_bp_window* w, int n, const nnp_vec* c, nnp_vec* f, nnp_vec* df)
{
    const nnp_bp_window_p p = window_p(w);
    switch (2 * w->core + w->asymmetric) {
        NNP_BP_ROW(8, nnp_bp_angle_window(4, 0, c[k], p, &f[k], &df[k]))
        NNP_BP_ROW(9, nnp_bp_angle_window(4, 1, c[k], p, &f[k], &df[k]))
        NNP_BP_ROW(10, nnp_bp_angle_window(5, 0, c[k], p, &f[k], &df[k]))
        NNP_BP_ROW(11, nnp_bp_angle_window(5, 1, c[k], p, &f[k], &df[k]))
        NNP_BP_ROW(12, nnp_bp_angle_window(6, 0, c[k], p, &f[k], &df[k]))
        NNP_BP_ROW(13, nnp_bp_angle_window(6, 1, c[k], p, &f[k], &df[k]))
        NNP_BP_ROW(14, nnp_bp_angle_window(7, 0, c[k], p, &f[k], &df[k]))
        NNP_BP_ROW(15, nnp_bp_angle_window(7, 1, c[k], p, &f[k], &df[k]))
        NNP_BP_ROW(16, nnp_bp_angle_window(8, 0, c[k], p, &f[k], &df[k]))
        NNP_BP_ROW(17, nnp_bp_angle_window(8, 1, c[k], p, &f[k], &df[k]))
    }
}

/* R and dR/dr of the terms list[0 .. n_list) at n <= NNP_BP_TILE distances; row l goes to value + l stride.
 */
static void term_rows(const nnp_bp* bp, const int* list, int n_list, int n, const nnp_vec* r, nnp_vec* value,
                      nnp_vec* slope, size_t stride)
{
    nnp_vec fc[NNP_BP_TILE], dfc[NNP_BP_TILE];
    int cut = -1;
    for (int l = 0; l < n_list; ++l, value += stride, slope += stride) {
        const nnp_bp_term* const t = &bp->term[list[l]];
        if (t->compact) {
            window_row(&t->window, n, r, value, slope);
            continue;
        }
        if (t->cut != cut) cutoff_row(&bp->cut[cut = t->cut], n, r, fc, dfc);
        const nnp_real eta = (nnp_real)t->eta, rs = (nnp_real)t->rs;
        for (int k = 0; k < n; ++k) nnp_bp_gaussian(r[k], eta, rs, fc[k], dfc[k], &value[k], &slope[k]);
    }
}

/* ---- angles: rows of A(cos) and of q, dA/dcos = slope q ---- */

/* q = p^e by repeated squaring */
static void square_row(int e, int n, const nnp_vec* p, nnp_vec* q)
{
    nnp_vec base[NNP_BP_TILE];
    for (int k = 0; k < n; ++k) {
        base[k] = p[k];
        q[k] = nnp_splat(NNP_R(1.0));
    }
    for (;;) {
        if (e & 1)
            for (int k = 0; k < n; ++k) q[k] *= base[k];
        if (!(e >>= 1)) return;
        for (int k = 0; k < n; ++k) base[k] *= base[k];
    }
}

/* q and a = p q of one power; a0, q0: of the angle before */
static void power_row(const nnp_bp_angle* angle, int n, const nnp_vec* p, const nnp_vec* a0,
                      const nnp_vec* q0, nnp_vec* a, nnp_vec* q)
{
    switch (angle->step) {
        NNP_BP_ROW(NNP_BP_ONE, q[k] = nnp_splat(NNP_R(1.0)))
        NNP_BP_ROW(NNP_BP_NEXT, q[k] = a0[k])
        NNP_BP_ROW(NNP_BP_DOUBLE, q[k] = a0[k] * q0[k])
        NNP_BP_ROW(NNP_BP_QUAD, q[k] = (a0[k] * a0[k]) * (a0[k] * q0[k]))
    case NNP_BP_SQUARE:
        square_row((int)angle->zeta - 1, n, p, q);
        break;
    default:
        for (int k = 0; k < n; ++k) q[k] = nnp_bp_power(p[k], (nnp_real)(angle->zeta - 1));
    }
    for (int k = 0; k < n; ++k) a[k] = p[k] * q[k];
}

/* Rows of all angles of a channel, [n_angles][NNP_BP_TILE] each. */
static void angle_rows(const nnp_bp_angle* angle, int n_angles, int n, const nnp_vec* c, nnp_vec* a,
                       nnp_vec* q)
{
    nnp_vec p[NNP_BP_TILE];
    for (int i = 0; i < n_angles; ++i, a += NNP_BP_TILE, q += NNP_BP_TILE) {
        if (angle[i].step == NNP_BP_WINDOW) {
            angle_window_row(&angle[i].window, n, c, a, q);
            continue;
        }
        if (i == 0 || angle[i].lambda != angle[i - 1].lambda)
            for (int k = 0; k < n; ++k) p[k] = nnp_bp_base(c[k], (nnp_real)angle[i].lambda);
        power_row(&angle[i], n, p, a - NNP_BP_TILE, q - NNP_BP_TILE, a, q);
    }
}

/* ---- neighbours and triplets of a block ---- */

/* Near neighbours, numbered species by species without gaps: neighbour k of species t is base[t] + k. */
typedef struct nnp_bp_near {
    int n;
    int* base;                     /* [S] */
    nnp_vec *value, *slope, *grad; /* [n_terms][n] R, dR/dr, dE/dR */
    nnp_vec *gr, *gx, *gy, *gz;    /* [n] dE/dr at fixed direction, dE/du */
    nnp_vec *a, *q;                /* [max_angles][NNP_BP_TILE] */
} nnp_bp_near;

/* The triplets of a channel: j over near neighbours of species t, k over those of u; k < j where t = u. */
typedef struct nnp_bp_triplets {
    const nnp_bp_channel* c;
    int nj, nk, same;
    int j0, k0; /* in the block's arrays */
    int bj, bk; /* in nnp_bp_near's */
    size_t n_pairs;
    nnp_vec* cosine;     /* [n_pairs] */
    nnp_vec *far, *dfar; /* [n_narrow][n_pairs] N and (dN/dr)/r */
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
    v.a = nnp_take_vec(arena, (size_t)bp->max_angles * NNP_BP_TILE);
    v.q = nnp_take_vec(arena, (size_t)bp->max_angles * NNP_BP_TILE);
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

/* r_jk and 1/r_jk; two padding lanes may coincide */
static void distance_row(const nnp_block* b, int j, int k0, int n, nnp_vec* r, nnp_vec* r_inv)
{
    const nnp_vec x = b->r[j] * b->ux[j], y = b->r[j] * b->uy[j], z = b->r[j] * b->uz[j];
    const nnp_vec least = nnp_splat(NNP_R(1e-12));
    for (int k = 0; k < n; ++k) {
        const nnp_vec rk = b->r[k0 + k];
        const nnp_vec dx = rk * b->ux[k0 + k] - x, dy = rk * b->uy[k0 + k] - y, dz = rk * b->uz[k0 + k] - z;
        r[k] = nnp_sqrt(nnp_max(dx * dx + dy * dy + dz * dz, least));
        r_inv[k] = NNP_R(1.0) / r[k];
    }
}

/* N and (dN/dr)/r of the channel's narrow terms */
static void far_rows(const nnp_bp* bp, const nnp_bp_triplets* x, const nnp_block* b, int j, int k0, int n,
                     size_t first)
{
    nnp_vec r[NNP_BP_TILE], r_inv[NNP_BP_TILE];
    distance_row(b, j, k0, n, r, r_inv);
    term_rows(bp, bp->narrow + x->c->first_narrow, x->c->n_narrow, n, r, x->far + first, x->dfar + first,
              x->n_pairs);
    for (int l = 0; l < x->c->n_narrow; ++l) {
        nnp_vec* const d = x->dfar + (size_t)l * x->n_pairs + first;
        for (int k = 0; k < n; ++k) d[k] *= r_inv[k];
    }
}

/* ---- values ---- */

/* s[f] = sum_k w[k] a[f][k] for Q rows */
NNP_FN void sum_columns(const nnp_vec* const* a, const nnp_vec* w, int n, nnp_vec* s, const int Q)
{
    nnp_vec even[8], odd[8];
    for (int f = 0; f < Q; ++f) even[f] = odd[f] = nnp_splat(0);
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

/* G of all functions of a group += factor sum_k w A */
static void group_sums(const nnp_bp* bp, const nnp_bp_group* g, const nnp_vec* a, const nnp_vec* w, int n,
                       nnp_vec factor, nnp_vec* out)
{
    for (int i = 0; i < g->n; i += 8) {
        const nnp_bp_member* const f = bp->member + g->first + i;
        const int q = g->n - i < 8 ? g->n - i : 8;
        const nnp_vec* rows[8];
        nnp_vec s[8];
        for (int e = 0; e < q; ++e) rows[e] = a + (size_t)f[e].angle * NNP_BP_TILE;
        sum_rows(rows, w, n, s, q);
        for (int e = 0; e < q; ++e) out[f[e].input] += (nnp_real)f[e].scale * (factor * s[e]);
    }
}

static void tile_forward(const nnp_bp* bp, const nnp_bp_triplets* x, const nnp_bp_near* v, int j, int k0,
                         int n, size_t first, nnp_vec* out)
{
    nnp_vec w[NNP_BP_TILE];
    const size_t stride = (size_t)v->n;
    angle_rows(bp->angle + x->c->first_angle, x->c->n_angles, n, x->cosine + first, v->a, v->q);
    for (int i = 0; i < x->c->n_groups; ++i) {
        const nnp_bp_group* const g = &bp->group[x->c->first_group + i];
        const nnp_vec* const row = v->value + (size_t)g->term * stride;
        const nnp_vec* rk = row + x->bk + k0;
        if (g->narrow >= 0) {
            const nnp_vec* const far = x->far + (size_t)g->narrow * x->n_pairs + first;
            for (int k = 0; k < n; ++k) w[k] = far[k] * rk[k];
            rk = w;
        }
        group_sums(bp, g, v->a, rk, n, row[x->bj + j], out);
    }
}

/* Loop over the tiles of a channel's triplets: j, k0 .. k0 + n - 1, place of the first pair. */
#define NNP_EACH_TILE(x, j, k0, n, first)                                                                    \
    size_t first = 0;                                                                                        \
    for (int j = 0; j < (x)->nj; ++j)                                                                        \
        for (int k0 = 0, k_end = (x)->same ? j : (x)->nk, n; k0 < k_end; first += (size_t)n, k0 += n)        \
            if ((n = k_end - k0 < NNP_BP_TILE ? k_end - k0 : NNP_BP_TILE))

/* Geometry and G of a channel. Returns 0 if it has no triplet. */
static int triplets_values(nnp_bp_triplets* x, const nnp_bp* bp, const nnp_block* b, const nnp_bp_near* v,
                           nnp_arena* arena, nnp_vec* out)
{
    if (x->n_pairs == 0 || x->c->n_groups == 0) return 0;
    x->cosine = nnp_take_vec(arena, x->n_pairs);
    x->far = nnp_take_vec(arena, x->n_pairs * (size_t)x->c->n_narrow);
    x->dfar = nnp_take_vec(arena, x->n_pairs * (size_t)x->c->n_narrow);
    NNP_EACH_TILE(x, j, k0, n, first)
    {
        cosine_row(b, x->j0 + j, x->k0 + k0, n, x->cosine + first);
        if (x->c->n_narrow) far_rows(bp, x, b, x->j0 + j, x->k0 + k0, n, first);
        tile_forward(bp, x, v, j, k0, n, first, out);
    }
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

/* ---- gradient ---- */

static void radial_backward(const nnp_bp* bp, nnp_block* b, const nnp_vec* d, const nnp_vec* slopes,
                            nnp_vec* own)
{
    for (int t = 0; t < b->n_species; ++t) {
        const int n_own = bp->first_own[t + 1] - bp->first_own[t];
        if (n_own == 0) continue;
        for (int i = 0; i < n_own; ++i) own[i] = nnp_splat(0);
        for (int i = bp->first_radial[t]; i < bp->first_radial[t + 1]; ++i)
            own[bp->radial[i].term] += (nnp_real)bp->radial[i].scale * d[bp->radial[i].input];
        for (int part = 2 * t; part < 2 * t + 2; ++part) {
            const nnp_span span = nnp_block_span(b, part);
            for (int lo = span.lo; lo < span.hi; lo += NNP_BP_TILE) {
                const int n = span.hi - lo < NNP_BP_TILE ? span.hi - lo : NNP_BP_TILE;
                for (int k = 0; k < n; ++k) {
                    nnp_vec radial = nnp_splat(0);
                    for (int i = 0; i < n_own; ++i) radial += own[i] * slopes[i * n + k];
                    b->gx[lo + k] += radial * b->ux[lo + k];
                    b->gy[lo + k] += radial * b->uy[lo + k];
                    b->gz[lo + k] += radial * b->uz[lo + k];
                }
                slopes += (size_t)n_own * (size_t)n;
            }
        }
    }
}

/* U = sum_f d1_f a_f, V = sum_f d2_f q_f over Q functions; added to what is there unless first */
NNP_FN void combine_columns(const nnp_vec* const* a, const nnp_vec* const* q, const nnp_vec* d1,
                            const nnp_vec* d2, int n, nnp_vec* u, nnp_vec* v, int first, const int Q)
{
    nnp_vec e1[4], e2[4];
    for (int f = 0; f < Q; ++f) {
        e1[f] = d1[f];
        e2[f] = d2[f];
    }
    for (int k = 0; k < n; ++k) {
        nnp_vec x = first ? nnp_splat(0) : u[k], y = first ? nnp_splat(0) : v[k];
        for (int f = 0; f < Q; ++f) {
            x += e1[f] * a[f][k];
            y += e2[f] * q[f][k];
        }
        u[k] = x;
        v[k] = y;
    }
}

static void combine_rows(const nnp_bp* bp, const nnp_bp_group* g, const nnp_bp_near* near, const nnp_vec* d,
                         int n, nnp_vec* u, nnp_vec* v)
{
    for (int i = 0; i < g->n; i += 4) {
        const nnp_bp_member* const f = bp->member + g->first + i;
        const int count = g->n - i < 4 ? g->n - i : 4;
        const nnp_vec *a[4], *q[4];
        nnp_vec d1[4], d2[4];
        for (int e = 0; e < count; ++e) {
            a[e] = near->a + (size_t)f[e].angle * NNP_BP_TILE;
            q[e] = near->q + (size_t)f[e].angle * NNP_BP_TILE;
            d1[e] = (nnp_real)f[e].scale * d[f[e].input];
            d2[e] = (nnp_real)(f[e].scale * f[e].slope) * d[f[e].input];
        }
        switch (count) {
        case 1:
            combine_columns(a, q, d1, d2, n, u, v, i == 0, 1);
            break;
        case 2:
            combine_columns(a, q, d1, d2, n, u, v, i == 0, 2);
            break;
        case 3:
            combine_columns(a, q, d1, d2, n, u, v, i == 0, 3);
            break;
        default:
            combine_columns(a, q, d1, d2, n, u, v, i == 0, 4);
            break;
        }
    }
}

/* dE/dR of both neighbours; turn [n] += dE/dcos, pull [n] += (dE/dr_jk)/r_jk */
static void group_backward(const nnp_bp_triplets* x, const nnp_bp_near* near, const nnp_bp_group* g, int j,
                           int k0, int n, size_t first, const nnp_vec* u, const nnp_vec* v, nnp_vec* turn,
                           nnp_vec* pull)
{
    const size_t row = (size_t)g->term * (size_t)near->n;
    const nnp_vec* const rk = near->value + row + x->bk + k0;
    nnp_vec* const gk = near->grad + row + x->bk + k0;
    const nnp_vec rj = near->value[row + (size_t)(x->bj + j)];
    nnp_vec gj = nnp_splat(0);
    if (g->narrow >= 0) {
        const nnp_vec* const far = x->far + (size_t)g->narrow * x->n_pairs + first;
        const nnp_vec* const dfar = x->dfar + (size_t)g->narrow * x->n_pairs + first;
        for (int k = 0; k < n; ++k) {
            const nnp_vec nu = far[k] * u[k], rr = rj * rk[k];
            gj += nu * rk[k];
            gk[k] += nu * rj;
            turn[k] += rr * (far[k] * v[k]);
            pull[k] += rr * (dfar[k] * u[k]);
        }
    } else {
        for (int k = 0; k < n; ++k) {
            gj += u[k] * rk[k];
            gk[k] += u[k] * rj;
            turn[k] += rj * rk[k] * v[k];
        }
    }
    near->grad[row + (size_t)(x->bj + j)] += gj;
}

/* From dE/dcos and (dE/dr_jk)/r_jk to unit vectors and distances:
 * r_jk dr_jk = (r_j - r_k c) dr_j + (r_k - r_j c) dr_k - r_j r_k dc. */
static void vectors_backward(const nnp_bp_triplets* x, const nnp_block* b, nnp_bp_near* near, int j, int k0,
                             int n, const nnp_vec* cosine, const nnp_vec* turn, const nnp_vec* pull)
{
    const int narrow = x->c->n_narrow > 0, q = x->k0 + k0, s = x->bk + k0;
    const int bj = x->j0 + j, sj = x->bj + j;
    const nnp_vec xj = b->ux[bj], yj = b->uy[bj], zj = b->uz[bj], rj = b->r[bj];
    nnp_vec gx = nnp_splat(0), gy = gx, gz = gx, gr = gx;
    for (int k = 0; k < n; ++k) {
        nnp_vec t = turn[k];
        if (narrow) {
            const nnp_vec rk = b->r[q + k], pj = pull[k] * rj, pk = pull[k] * rk;
            t -= pj * rk;
            gr += pj - pk * cosine[k];
            near->gr[s + k] += pk - pj * cosine[k];
        }
        gx += t * b->ux[q + k];
        gy += t * b->uy[q + k];
        gz += t * b->uz[q + k];
        near->gx[s + k] += t * xj;
        near->gy[s + k] += t * yj;
        near->gz[s + k] += t * zj;
    }
    near->gx[sj] += gx;
    near->gy[sj] += gy;
    near->gz[sj] += gz;
    near->gr[sj] += gr;
}

static void bp_triplets_backward(const nnp_bp* bp, const nnp_bp_triplets* x, const nnp_block* b,
                                 nnp_bp_near* near, const nnp_vec* d)
{
    nnp_vec u[NNP_BP_TILE], v[NNP_BP_TILE], turn[NNP_BP_TILE], pull[NNP_BP_TILE];
    NNP_EACH_TILE(x, j, k0, n, first)
    {
        angle_rows(bp->angle + x->c->first_angle, x->c->n_angles, n, x->cosine + first, near->a, near->q);
        for (int k = 0; k < n; ++k) turn[k] = pull[k] = nnp_splat(0);
        for (int i = 0; i < x->c->n_groups; ++i) {
            const nnp_bp_group* const g = &bp->group[x->c->first_group + i];
            combine_rows(bp, g, near, d, n, u, v);
            group_backward(x, near, g, j, k0, n, first, u, v, turn, pull);
        }
        vectors_backward(x, b, near, j, k0, n, x->cosine + first, turn, pull);
    }
}

/* To pair vectors: dE/dr_ij = u dE/dr + (dE/du - u (u.dE/du))/r */
static void bp_near_backward(const nnp_bp* bp, nnp_block* b, const nnp_bp_near* v)
{
    for (int t = 0; t < b->n_species; ++t)
        for (int k = 0; k < b->near[t]; ++k) {
            const int s = v->base[t] + k, n = b->begin[t] + k;
            nnp_vec radial = v->gr[s];
            for (int i = bp->first_side[t]; i < bp->first_side[t + 1]; ++i) {
                const size_t at = (size_t)bp->side[i] * (size_t)v->n + (size_t)s;
                radial += v->grad[at] * v->slope[at];
            }
            const nnp_vec x = b->ux[n], y = b->uy[n], z = b->uz[n], q = b->r_inv[n];
            radial -= q * (x * v->gx[s] + y * v->gy[s] + z * v->gz[s]);
            b->gx[n] += radial * x + q * v->gx[s];
            b->gy[n] += radial * y + q * v->gy[s];
            b->gz[n] += radial * z + q * v->gz[s];
        }
}

/* ---- all of it ---- */

/* nnp_vec of scratch beyond the block's own for m near and far neighbours in all; *pieces counts parts of it.
 */
static size_t bp_scratch(const nnp_model* model, int species, size_t m, int training, size_t* pieces)
{
    const nnp_bp* const bp = &model->bp[species];
    const size_t tile = NNP_BP_TILE, nt = (size_t)bp->n_terms, nf = (size_t)bp->n_functions;
    size_t vecs =
        (size_t)bp->max_own * (2 * m + tile + 1) + (3 * nt + 4) * m + 2 * (size_t)bp->max_angles * tile;
    vecs += (m * m / 2 + m) * (1 + 2 * (size_t)bp->max_narrow) + 3 * nf + net_scratch(&model->net[species]);
    if (training) /* tangents; one tile's rows */
        vecs += 8 * (2 * m + 1) + 4 * nf + (2 * (size_t)bp->max_own + 2 * (size_t)bp->max_narrow + 3) * tile;
    *pieces = 32 + 4 * (size_t)nnp_n_channels(model->n_species) +
              (size_t)nnp_n_channels(model->n_species) * sizeof(nnp_bp_triplets) / 64;
    return vecs;
}

/* Energy of the block's atoms (without E0); adds their pair gradients to b; *inputs_out: network inputs [n].
 */
static nnp_vec bp_evaluate(const nnp_model* model, const nnp_real* theta, nnp_block* b, nnp_arena* arena,
                           nnp_vec** inputs_out)
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

    for (int i = 0; i < nf; ++i) g[i] = (g[i] - (nnp_real)bp->centre[i]) * (nnp_real)bp->factor[i];
    *inputs_out = g;
    const nnp_vec energy = net_evaluate(&model->net[b->species], theta, g, d, arena);
    for (int i = 0; i < nf; ++i) d[i] *= (nnp_real)bp->factor[i];

    radial_backward(bp, b, d, slopes, own);
    for (int i = 0; i < n_live; ++i) bp_triplets_backward(bp, &x[i], b, &v, d);
    bp_near_backward(bp, b, &v);
    return energy;
}

#endif /* NNP_BP_IMPL_H */
