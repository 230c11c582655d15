/* bp_moments_impl.h - wide symmetry functions with integer zeta <= 4 as products of moments, in
 * O(neighbours).
 *
 * The functions of a group are polynomials in the cosine, sum_n c_n cos^n, and without R(r_jk) the sum over
 * pairs separates (math/moments.h):
 *   sum_{j in t, k in u} R_j R_k cos^n = M_n(t) : M_n(u),   j < k of one species: 1/2 (M_n : M_n - sum_j
 * R_j^2) so that a term R needs one set of moments a species, whatever the number of functions and channels.
 */
#ifndef NNP_BP_MOMENTS_IMPL_H
#define NNP_BP_MOMENTS_IMPL_H

#include "math/moments.h"

enum { NNP_BP_UNFOLDED = 35, NNP_BP_SET_TILE = 8 };

/* Per set of nnp_bp.set: moments and dE/d of them [NNP_BP_MONOMIALS] each, sum R^2 and dE/d of it. */
typedef struct nnp_bp_moments {
    nnp_vec *m, *g, *square, *g_square;
} nnp_bp_moments;

/* acc [count] += sum_k w[k] b[k][..], rows of b NNP_BP_MONOMIALS apart */
NNP_FN void add_moments(const nnp_vec* w, const nnp_vec* b, int n, int count, nnp_vec* acc)
{
    int i = 0;
    for (; i + 5 <= count; i += 5) {
        nnp_vec s[5];
        for (int q = 0; q < 5; ++q) s[q] = acc[i + q];
        for (int k = 0; k < n; ++k)
            for (int q = 0; q < 5; ++q) s[q] += w[k] * b[k * NNP_BP_MONOMIALS + i + q];
        for (int q = 0; q < 5; ++q) acc[i + q] = s[q];
    }
    for (; i < count; ++i)
        for (int k = 0; k < n; ++k) acc[i] += w[k] * b[k * NNP_BP_MONOMIALS + i];
}

static int set_degree(const nnp_bp* bp, int t)
{
    int degree = 0;
    for (int i = bp->first_set[t]; i < bp->first_set[t + 1]; ++i)
        if (bp->set[i].degree > degree) degree = bp->set[i].degree;
    return degree;
}

/* Moments of all sets of species t whose degree is the one the compiler knows; others are skipped. */
NNP_FN void sum_sets(const int degree, const nnp_bp* bp, const nnp_block* b, const nnp_bp_near* v, int t,
                     nnp_bp_moments* mom)
{
    nnp_vec basis[NNP_BP_SET_TILE * NNP_BP_MONOMIALS];
    for (int k0 = 0; k0 < b->near[t]; k0 += NNP_BP_SET_TILE) {
        const int n = b->near[t] - k0 < NNP_BP_SET_TILE ? b->near[t] - k0 : NNP_BP_SET_TILE;
        const int at = b->begin[t] + k0;
        for (int k = 0; k < n; ++k)
            nnp_monomials(degree, b->ux[at + k], b->uy[at + k], b->uz[at + k], basis + k * NNP_BP_MONOMIALS);
        for (int i = bp->first_set[t]; i < bp->first_set[t + 1]; ++i) {
            const nnp_vec* const w =
                v->value + (size_t)bp->set[i].term * v->stride + (size_t)(v->base[t] + k0);
            if (bp->set[i].degree != degree) continue;
            add_moments(w, basis, n, NNP_MONOMIALS(degree), mom->m + i * NNP_BP_MONOMIALS);
            for (int k = 0; k < n; ++k) mom->square[i] += w[k] * w[k];
        }
    }
}

static void unfold(int degree, const nnp_vec* m, nnp_vec* all)
{
    if (degree == 1)
        nnp_moments_unfold(1, m, all);
    else if (degree == 2)
        nnp_moments_unfold(2, m, all);
    else
        nnp_moments_unfold(4, m, all);
}

/* X_n = sum over the pairs of a channel of R_j R_k cos^n, n = 0 .. degree of the group */
static void pair_powers(const nnp_bp* bp, const nnp_bp_group* g, int same, const nnp_bp_moments* mom,
                        nnp_vec* x)
{
    nnp_vec m[NNP_BP_UNFOLDED], n[NNP_BP_UNFOLDED];
    unfold(bp->set[g->set_t].degree, mom->m + g->set_t * NNP_BP_MONOMIALS, m);
    unfold(bp->set[g->set_u].degree, mom->m + g->set_u * NNP_BP_MONOMIALS, n);
    if (g->degree == 1)
        nnp_moments_product(1, m, n, x);
    else if (g->degree == 2)
        nnp_moments_product(2, m, n, x);
    else
        nnp_moments_product(4, m, n, x);
    for (int i = 0; i <= g->degree && same; ++i) x[i] = NNP_R(0.5) * (x[i] - mom->square[g->set_t]);
}

/* All moments of the block, and G of the functions that are sums of them. */
static nnp_bp_moments moments_values(const nnp_bp* bp, const nnp_block* b, const nnp_bp_near* v,
                                     nnp_arena* arena, nnp_vec* out)
{
    nnp_bp_moments mom = {NULL, NULL, NULL, NULL};
    const size_t n_sets = (size_t)bp->first_set[b->n_species];
    if (n_sets == 0) return mom;
    mom.m = nnp_take_vec(arena, n_sets * 2 * (NNP_BP_MONOMIALS + 1));
    mom.g = mom.m + n_sets * NNP_BP_MONOMIALS;
    mom.square = mom.g + n_sets * NNP_BP_MONOMIALS;
    mom.g_square = mom.square + n_sets;
    for (size_t i = 0; i < n_sets * 2 * (NNP_BP_MONOMIALS + 1); ++i) mom.m[i] = nnp_splat(0);
    for (int t = 0; t < b->n_species; ++t) {
        if (set_degree(bp, t) > 0) {
            sum_sets(1, bp, b, v, t, &mom);
            sum_sets(2, bp, b, v, t, &mom);
            sum_sets(4, bp, b, v, t, &mom);
        }
    }
    const nnp_bp_channel* c = bp->channel;
    for (int t = 0; t < b->n_species; ++t)
        for (int u = t; u < b->n_species; ++u, ++c)
            for (int i = c->n_groups; i < c->n_groups + c->n_moments; ++i) {
                const nnp_bp_group* const g = &bp->group[c->first_group + i];
                nnp_vec x[5];
                pair_powers(bp, g, t == u, &mom, x);
                for (int f = g->first; f < g->first + g->n; ++f)
                    for (int m = 0; m <= bp->member[f].degree; ++m)
                        out[bp->member[f].input] += (nnp_real)bp->member[f].poly[m] * x[m];
            }
    return mom;
}

/* dE/d of the moments of one set from those of the other side, u = dE/dX */
static void push_moments(const nnp_bp* bp, int set, const nnp_vec* u, int degree, const nnp_vec* other,
                         nnp_vec* g)
{
    nnp_vec all[NNP_BP_UNFOLDED];
    const int own = bp->set[set].degree;
    for (int i = 0; i < NNP_BP_UNFOLDED; ++i) all[i] = nnp_splat(0);
    if (degree == 1)
        nnp_moments_slope(1, u, other, all);
    else if (degree == 2)
        nnp_moments_slope(2, u, other, all);
    else
        nnp_moments_slope(4, u, other, all);
    if (own == 1)
        nnp_moments_fold(1, all, g + set * NNP_BP_MONOMIALS);
    else if (own == 2)
        nnp_moments_fold(2, all, g + set * NNP_BP_MONOMIALS);
    else
        nnp_moments_fold(4, all, g + set * NNP_BP_MONOMIALS);
}

static void push_group(const nnp_bp* bp, const nnp_bp_group* g, int same, const nnp_bp_moments* mom,
                       const nnp_vec* d)
{
    nnp_vec u[5], sum = nnp_splat(0), other[NNP_BP_UNFOLDED];
    for (int m = 0; m < 5; ++m) {
        u[m] = nnp_splat(0);
        for (int f = g->first; f < g->first + g->n; ++f)
            if (m <= bp->member[f].degree) u[m] += (nnp_real)bp->member[f].poly[m] * d[bp->member[f].input];
        sum += u[m];
    }
    const int degree = g->degree == 3 ? 4 : g->degree;
    unfold(bp->set[g->set_u].degree, mom->m + g->set_u * NNP_BP_MONOMIALS, other);
    push_moments(bp, g->set_t, u, degree, other, mom->g);
    if (same) {
        mom->g_square[g->set_t] -= NNP_R(0.5) * sum;
    } else {
        unfold(bp->set[g->set_t].degree, mom->m + g->set_t * NNP_BP_MONOMIALS, other);
        push_moments(bp, g->set_u, u, degree, other, mom->g);
    }
}

/* Q sets at one neighbour: s [count] += R g, grad += g : basis; w, grad: R and dE/dR of each set */
NNP_FN void pull_sets(const nnp_vec* const* g, const nnp_vec* basis, int count, nnp_vec* s,
                      const nnp_vec* const* w, nnp_vec* const* grad, int k, const int Q)
{
    nnp_vec r[4], sum[4];
    for (int q = 0; q < Q; ++q) {
        r[q] = w[q][k];
        sum[q] = nnp_splat(0);
    }
    for (int i = 0; i < count; ++i) {
        nnp_vec x = s[i];
        for (int q = 0; q < Q; ++q) {
            x += r[q] * g[q][i];
            sum[q] += basis[i] * g[q][i];
        }
        s[i] = x;
    }
    for (int q = 0; q < Q; ++q) grad[q][k] += sum[q];
}

/* Gradient through all sets of species t of the degree: dE/dR and dE/du of its neighbours. */
NNP_FN void pull_species(const int degree, const nnp_bp* bp, const nnp_block* b, nnp_bp_near* v, int t,
                         const nnp_bp_moments* mom)
{
    for (int i = bp->first_set[t]; i < bp->first_set[t + 1];) {
        const nnp_vec *g[4], *w[4];
        nnp_vec *grad[4], twice[4];
        int q = 0;
        for (; i < bp->first_set[t + 1] && q < 4; ++i) {
            if (bp->set[i].degree != degree) continue;
            const size_t row = (size_t)bp->set[i].term * v->stride + (size_t)v->base[t];
            g[q] = mom->g + i * NNP_BP_MONOMIALS;
            w[q] = v->value + row;
            twice[q] = NNP_R(2.0) * mom->g_square[i];
            grad[q++] = v->grad + row;
        }
        for (int k = 0; k < b->near[t] && q; ++k) {
            const int at = b->begin[t] + k, s0 = v->base[t] + k;
            const nnp_vec x = b->ux[at], y = b->uy[at], z = b->uz[at];
            nnp_vec basis[NNP_BP_MONOMIALS], s[NNP_BP_MONOMIALS], gx, gy, gz;
            nnp_monomials(degree, x, y, z, basis);
            for (int m = 0; m < NNP_MONOMIALS(degree); ++m) s[m] = nnp_splat(0);
            for (int e = 0; e < q; ++e) grad[e][k] += twice[e] * w[e][k];
            if (q == 4)
                pull_sets(g, basis, NNP_MONOMIALS(degree), s, w, grad, k, 4);
            else if (q == 3)
                pull_sets(g, basis, NNP_MONOMIALS(degree), s, w, grad, k, 3);
            else if (q == 2)
                pull_sets(g, basis, NNP_MONOMIALS(degree), s, w, grad, k, 2);
            else
                pull_sets(g, basis, NNP_MONOMIALS(degree), s, w, grad, k, 1);
            nnp_monomials_gradient(degree, x, y, z, s, &gx, &gy, &gz);
            v->gx[s0] += gx;
            v->gy[s0] += gy;
            v->gz[s0] += gz;
        }
    }
}

/* Adds to the dE/dR and dE/du of all near neighbours. */
static void moments_backward(const nnp_bp* bp, const nnp_block* b, nnp_bp_near* v, const nnp_bp_moments* mom,
                             const nnp_vec* d)
{
    const nnp_bp_channel* c = bp->channel;
    for (int t = 0; t < b->n_species; ++t)
        for (int u = t; u < b->n_species; ++u, ++c)
            for (int i = c->n_groups; i < c->n_groups + c->n_moments; ++i)
                push_group(bp, &bp->group[c->first_group + i], t == u, mom, d);
    for (int t = 0; t < b->n_species; ++t) {
        if (set_degree(bp, t) == 0) continue;
        pull_species(1, bp, b, v, t, mom);
        pull_species(2, bp, b, v, t, mom);
        pull_species(4, bp, b, v, t, mom);
    }
}

#endif /* NNP_BP_MOMENTS_IMPL_H */
