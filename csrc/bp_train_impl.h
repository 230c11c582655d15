/* bp_train_impl.h - second sweep of the loss gradient for a Behler-Parrinello model: d/dtheta of
 * sum_i (c E_i + dE_i/dt) along pair tangents.
 *
 * The symmetry functions have no trainable number, so one pass over neighbours and triplets gives all that
 * the network's reverse sweep needs, G and dG/dt. Dots are d/dt: G = sum_{j<k} A R_j R_k N,   G. = sum_{j<k}
 * [A. R_j R_k N + A (R_j. R_k N + R_j R_k. N + R_j R_k N.)]
 */
#ifndef NNP_BP_TRAIN_IMPL_H
#define NNP_BP_TRAIN_IMPL_H

#include "bp_impl.h"
#include "msr_train_impl.h"

typedef struct nnp_bp_rates {
    nnp_vec *g, *g_dot; /* [n_functions] */
} nnp_bp_rates;

static void radial_rates(const nnp_bp* bp, const nnp_block* b, const nnp_rates* rate, nnp_vec* value,
                         nnp_bp_rates out)
{
    nnp_vec* const slope = value + (size_t)bp->max_own * NNP_BP_TILE;
    for (int t = 0; t < b->n_species; ++t) {
        const int n_own = bp->first_own[t + 1] - bp->first_own[t];
        for (int part = 2 * t; part < 2 * t + 2 && n_own; ++part) {
            const nnp_span span = nnp_block_span(b, part);
            for (int lo = span.lo; lo < span.hi; lo += NNP_BP_TILE) {
                const int n = span.hi - lo < NNP_BP_TILE ? span.hi - lo : NNP_BP_TILE;
                term_rows(bp, bp->own + bp->first_own[t], n_own, n, b->r + lo, value, slope, NNP_BP_TILE);
                for (int i = bp->first_radial[t]; i < bp->first_radial[t + 1]; ++i) {
                    const nnp_bp_radial* const f = &bp->radial[i];
                    const size_t row = (size_t)f->term * NNP_BP_TILE;
                    nnp_vec sum = nnp_splat(0), dot = nnp_splat(0);
                    for (int k = 0; k < n; ++k) {
                        sum += value[row + (size_t)k];
                        dot += slope[row + (size_t)k] * rate->r[lo + k];
                    }
                    out.g[f->input] += (nnp_real)f->scale * sum;
                    out.g_dot[f->input] += (nnp_real)f->scale * dot;
                }
            }
        }
    }
}

/* dR/dt of all near neighbours, into v->grad */
static void near_rates_of_terms(const nnp_bp* bp, const nnp_block* b, const nnp_rates* rate, nnp_bp_near* v)
{
    for (int t = 0; t < b->n_species; ++t)
        for (int i = bp->first_side[t]; i < bp->first_side[t + 1]; ++i) {
            const size_t row = (size_t)bp->side[i] * v->stride + (size_t)v->base[t];
            for (int k = 0; k < b->near[t]; ++k)
                v->grad[row + (size_t)k] = v->slope[row + (size_t)k] * rate->r[b->begin[t] + k];
        }
}

/* d cos/dt, and r_jk dr_jk/dt */
static void pair_rates(const nnp_block* b, const nnp_rates* rate, int j, int k0, int n, const nnp_vec* c,
                       nnp_vec* c_dot, nnp_vec* s_dot)
{
    const nnp_vec x = b->ux[j], y = b->uy[j], z = b->uz[j], rj = b->r[j], rj_dot = rate->r[j];
    const nnp_vec dx = rate->ux[j], dy = rate->uy[j], dz = rate->uz[j];
    for (int k = 0; k < n; ++k) {
        const int q = k0 + k;
        const nnp_vec rk = b->r[q];
        c_dot[k] = dx * b->ux[q] + dy * b->uy[q] + dz * b->uz[q] + x * rate->ux[q] + y * rate->uy[q] +
                   z * rate->uz[q];
        s_dot[k] = (rj - rk * c[k]) * rj_dot + (rk - rj * c[k]) * rate->r[q] - rj * rk * c_dot[k];
    }
}

static void group_rates(const nnp_bp* bp, const nnp_bp_group* g, const nnp_vec* rows, const nnp_vec* w,
                        const nnp_vec* w_dot, const nnp_vec* w_turn, int n, nnp_vec rj, nnp_vec rj_dot,
                        nnp_bp_rates out)
{
    for (int i = g->first; i < g->first + g->n; ++i) {
        const nnp_bp_member* const f = &bp->member[i];
        const nnp_vec* const a = rows + (size_t)f->row * NNP_BP_TILE;
        const nnp_vec* const q = rows + (size_t)(f->slope_row < 0 ? 0 : f->slope_row) * NNP_BP_TILE;
        nnp_vec p = nnp_splat(0), p_dot = p, turn = p;
        for (int k = 0; k < n; ++k) {
            p += a[k] * w[k];
            p_dot += a[k] * w_dot[k];
        }
        if (f->slope_row < 0)
            for (int k = 0; k < n; ++k) turn += w_turn[k];
        else
            for (int k = 0; k < n; ++k) turn += q[k] * w_turn[k];
        p_dot += (nnp_real)f->slope * turn;
        out.g[f->input] += (nnp_real)f->scale * (rj * p);
        out.g_dot[f->input] += (nnp_real)f->scale * (rj_dot * p + rj * p_dot);
    }
}

/* For the weights w of a chain, w. = w (H - 2 eta Z): H = sum h r r.,  Z = sum r r. over r_j, r_k, r_jk */
static void chain_rates(const nnp_bp_triplets* x, const nnp_block* b, const nnp_bp_near* v,
                        const nnp_rates* rate, int j, int k0, int n, const nnp_vec* s_dot, nnp_vec* h,
                        nnp_vec* z)
{
    const nnp_vec* const ratio = v->ratio + (size_t)x->c->chain_cut * v->stride;
    const nnp_vec* const ratio_k = ratio + x->bk + k0;
    const nnp_vec zj = b->r[x->j0 + j] * rate->r[x->j0 + j], hj = ratio[x->bj + j] * zj;
    for (int k = 0; k < n; ++k) {
        const nnp_vec zk = b->r[x->k0 + k0 + k] * rate->r[x->k0 + k0 + k];
        h[k] = hj + ratio_k[k] * zk + x->dfar[k] * s_dot[k];
        z[k] = zj + zk + s_dot[k];
    }
}

static void tile_rates(const nnp_bp* bp, const nnp_bp_triplets* x, const nnp_block* b, const nnp_bp_near* v,
                       const nnp_rates* rate, int j, int k0, int n, nnp_bp_rates out)
{
    const nnp_bp_channel* const channel = x->c;
    nnp_vec c[NNP_BP_TILE], c_dot[NNP_BP_TILE], s_dot[NNP_BP_TILE], h[NNP_BP_TILE], z[NNP_BP_TILE];
    nnp_vec w[NNP_BP_TILE], w_dot[NNP_BP_TILE], w_turn[NNP_BP_TILE];
    if (channel->n_chain) {
        nnp_vec sum[NNP_BP_TILE], f[NNP_BP_TILE]; /* NNP_BP_TILE is a multiple of NNP_BP_ABREAST */
        gauss_row(bp, channel, v, x->bj + j, x->bk + k0, n, c, sum, f, x->dfar);
        gauss_weights(channel, n, sum, f, x->far, NNP_BP_TILE);
    } else if (channel->n_narrow)
        far_rows(bp, channel, b, x->j0 + j, x->k0 + k0, n, x->far, x->dfar, NNP_BP_TILE);
    cosine_row(b, x->j0 + j, x->k0 + k0, n, c);
    pair_rates(b, rate, x->j0 + j, x->k0 + k0, n, c, c_dot, s_dot);
    if (channel->n_chain) chain_rates(x, b, v, rate, j, k0, n, s_dot, h, z);
    channel_rows(bp, channel, NNP_BP_RATES, n, c, v->rows);
    for (int i = 0; i < channel->n_groups + channel->n_moments; ++i) {
        const nnp_bp_group* const g = &bp->group[channel->first_group + i];
        const size_t row = (size_t)g->term * v->stride, far_row = (size_t)(g->narrow * NNP_BP_TILE);
        const nnp_vec *const rk = v->value + row + x->bk + k0, *const rk_dot = v->grad + row + x->bk + k0;
        nnp_vec rj = nnp_splat(NNP_R(1.0)), rj_dot = nnp_splat(0);
        if (is_chained(channel, g)) {
            const nnp_vec* const far = x->far + far_row;
            const nnp_real eta2 = NNP_R(2.0) * (nnp_real)bp->term[g->term].eta;
            for (int k = 0; k < n; ++k) {
                w[k] = far[k];
                w_dot[k] = far[k] * (h[k] - eta2 * z[k]);
            }
        } else {
            rj = v->value[row + (size_t)(x->bj + j)];
            rj_dot = v->grad[row + (size_t)(x->bj + j)];
            for (int k = 0; k < n; ++k) {
                const nnp_vec far = g->narrow < 0 ? nnp_splat(NNP_R(1.0)) : x->far[far_row + (size_t)k];
                const nnp_vec dfar = g->narrow < 0 ? nnp_splat(0) : x->dfar[far_row + (size_t)k];
                w[k] = far * rk[k];
                w_dot[k] = dfar * s_dot[k] * rk[k] + far * rk_dot[k];
            }
        }
        for (int k = 0; k < n; ++k) w_turn[k] = c_dot[k] * w[k];
        group_rates(bp, g, v->rows, w, w_dot, w_turn, n, rj, rj_dot, out);
    }
}

/* G and dG/dt of one channel; pair arrays hold one tile. */
static void triplets_rates(nnp_bp_triplets* x, const nnp_bp* bp, const nnp_block* b, const nnp_bp_near* v,
                           const nnp_rates* rate, nnp_arena arena, nnp_bp_rates out)
{
    if (x->n_pairs == 0 || x->c->n_groups + x->c->n_moments == 0) return;
    x->far = nnp_take_vec(&arena, (size_t)(x->c->n_narrow + 1) * NNP_BP_TILE);
    x->dfar = nnp_take_vec(&arena, (size_t)(x->c->n_narrow + 1) * NNP_BP_TILE);
    for (int j = 0; j < x->nj; ++j) {
        const int end = x->same ? j : x->nk;
        for (int k0 = 0; k0 < end; k0 += NNP_BP_TILE)
            tile_rates(bp, x, b, v, rate, j, k0, end - k0 < NNP_BP_TILE ? end - k0 : NNP_BP_TILE, out);
    }
}

/* G and dG/dt of a block, both scaled as the network takes them. */
static nnp_bp_rates bp_rates(const nnp_model* model, const nnp_block* b, int first, const nnp_point* lambda,
                             const nnp_tangent* tangent, nnp_arena* arena)
{
    const nnp_bp* const bp = &model->bp[b->species];
    const int s = model->n_species, nf = bp->n_functions;
    nnp_bp_rates out = {nnp_take_vec(arena, (size_t)nf), nnp_take_vec(arena, (size_t)nf)};
    for (int i = 0; i < nf; ++i) out.g[i] = out.g_dot[i] = nnp_splat(0);
    nnp_arena inner = *arena;
    const nnp_rates rate = block_rates(b, first, lambda, tangent, &inner);
    radial_rates(bp, b, &rate, nnp_take_vec(&inner, 2 * (size_t)bp->max_own * NNP_BP_TILE), out);
    nnp_bp_near v = bp_near(bp, b, &inner);
    near_rates_of_terms(bp, b, &rate, &v);
    for (int t = 0, c = 0; t < s; ++t)
        for (int u = t; u < s; ++u, ++c) {
            nnp_bp_triplets x = bp_triplets(&bp->channel[c], b, &v, t, u);
            triplets_rates(&x, bp, b, &v, &rate, inner, out);
        }
    for (int i = 0; i < nf; ++i) {
        out.g[i] = (out.g[i] - (nnp_real)bp->centre[i]) * (nnp_real)bp->factor[i];
        out.g_dot[i] *= (nnp_real)bp->factor[i];
    }
    return out;
}

static void bp_gradient(const nnp_model* model, const nnp_real* theta, nnp_block* b, int first,
                        const nnp_point* lambda, const nnp_tangent* tangent, nnp_mask live, nnp_arena* arena,
                        nnp_vec* acc)
{
    const int nf = model->bp[b->species].n_functions;
    const nnp_bp_rates sums = bp_rates(model, b, first, lambda, tangent, arena);
    nnp_vec *p = nnp_take_vec(arena, (size_t)nf), *q = nnp_take_vec(arena, (size_t)nf);
    const nnp_vec c = nnp_where(live, nnp_splat((nnp_real)tangent->c));
    net_gradient(&model->net[b->species], theta, sums.g, sums.g_dot, c,
                 nnp_where(live, nnp_splat(NNP_R(1.0))), p, q, arena, acc);
}

#endif /* NNP_BP_TRAIN_IMPL_H */
