/* bp_moments.cuh - wide symmetry functions with integer zeta <= 4 as products of moments, in O(neighbours);
 * formulas as in bp_moments_impl.h, tensors of math/moments.h.
 *
 *   sum_{j in t, k in u} R_j R_k cos^n = M_n(t) : M_n(u),   j < k of one species: 1/2 (M_n : M_n - sum_j
 * R_j^2) A set is the moments of one R over the near neighbours of a species: 25 monomials of degree 3 and 4,
 * and sum R^2. A lane sums one of them over the neighbours; on the way back a lane takes a neighbour.
 */
#ifndef NNP_BP_MOMENTS_CUH
#define NNP_BP_MOMENTS_CUH

#include "../math/moments.h"
#include "bp_near.cuh"

enum { NNP_BP_UNFOLDED = 35, NNP_BP_SETS_ABREAST = 5 };

/* Factors of the monomials in the order of moments.h, two bits each: 0 x, 1 y, 2 z, 3 one. */
#define NNP_BP_FACTORS(a, b, c, d) ((a) | (b) << 2 | (c) << 4 | (d) << 6)
NNP_TABLE_OF unsigned char nnp_bp_factors[NNP_BP_SET] = {
    NNP_BP_FACTORS(0, 0, 0, 3), NNP_BP_FACTORS(0, 0, 1, 3), NNP_BP_FACTORS(0, 0, 2, 3),
    NNP_BP_FACTORS(0, 1, 1, 3), NNP_BP_FACTORS(0, 1, 2, 3), NNP_BP_FACTORS(0, 2, 2, 3),
    NNP_BP_FACTORS(1, 1, 1, 3), NNP_BP_FACTORS(1, 1, 2, 3), NNP_BP_FACTORS(1, 2, 2, 3),
    NNP_BP_FACTORS(2, 2, 2, 3), NNP_BP_FACTORS(0, 0, 0, 0), NNP_BP_FACTORS(0, 0, 0, 1),
    NNP_BP_FACTORS(0, 0, 0, 2), NNP_BP_FACTORS(0, 0, 1, 1), NNP_BP_FACTORS(0, 0, 1, 2),
    NNP_BP_FACTORS(0, 0, 2, 2), NNP_BP_FACTORS(0, 1, 1, 1), NNP_BP_FACTORS(0, 1, 1, 2),
    NNP_BP_FACTORS(0, 1, 2, 2), NNP_BP_FACTORS(0, 2, 2, 2), NNP_BP_FACTORS(1, 1, 1, 1),
    NNP_BP_FACTORS(1, 1, 1, 2), NNP_BP_FACTORS(1, 1, 2, 2), NNP_BP_FACTORS(1, 2, 2, 2),
    NNP_BP_FACTORS(2, 2, 2, 2), NNP_BP_FACTORS(3, 3, 3, 3)};
#undef NNP_BP_FACTORS

/* Q sets of a species, the first being set [i]: sums over its neighbours. code: the lane's monomial. */
NNP_FN void nnp_bp_sum_sets(const int Q, const nnp_bp_tables* t, const nnp_bp_near* v, int s, int i, int code)
{
    const int m = v->capacity, a = (code & 3) % 3 * m, b = (code >> 2 & 3) % 3 * m,
              c = (code >> 4 & 3) % 3 * m;
    const int four = code >> 6 < 3, d = (code >> 6) % 3 * m, square = v->lane == NNP_BP_SET - 1;
    const nnp_real* w[NNP_BP_SETS_ABREAST];
    nnp_real sum[NNP_BP_SETS_ABREAST];
    for (int q = 0; q < Q; ++q) {
        w[q] = v->value + t->set[i + q] * m;
        sum[q] = 0;
    }
    for (int k = v->base[s]; k < v->base[s + 1]; ++k) {
        const nnp_real fourth = four ? v->x[d + k] : NNP_R(1.0);
        const nnp_real basis = v->x[a + k] * v->x[b + k] * v->x[c + k] * fourth;
        for (int q = 0; q < Q; ++q) sum[q] += w[q][k] * (square ? w[q][k] : basis);
    }
    if (v->lane >= NNP_BP_SET) return;
    nnp_real* const out = v->moments + (i - t->span[t->c->sets]) * NNP_BP_SET + v->lane;
    for (int q = 0; q < Q; ++q) out[q * NNP_BP_SET] = sum[q];
}

/* All sets to v->moments [n_sets][NNP_BP_SET]. */
NNP_FN void nnp_bp_sum_moments(const nnp_bp_tables* t, const nnp_bp_near* v)
{
    const int code = nnp_bp_factors[v->lane < NNP_BP_SET ? v->lane : 0];
    for (int s = 0; s < v->n_species; ++s)
        for (int i = t->span[t->c->sets + s], end = t->span[t->c->sets + s + 1], n; i < end; i += n) {
            n = end - i < NNP_BP_SETS_ABREAST ? end - i : NNP_BP_SETS_ABREAST;
            switch (n) {
            case 1:
                nnp_bp_sum_sets(1, t, v, s, i, code);
                break;
            case 2:
                nnp_bp_sum_sets(2, t, v, s, i, code);
                break;
            case 3:
                nnp_bp_sum_sets(3, t, v, s, i, code);
                break;
            case 4:
                nnp_bp_sum_sets(4, t, v, s, i, code);
                break;
            default:
                nnp_bp_sum_sets(5, t, v, s, i, code);
                break;
            }
        }
    __syncwarp();
}

NNP_FN void nnp_bp_load_moments(const nnp_real* set, nnp_vec* all)
{
    nnp_vec m[NNP_BP_MONOMIALS];
    for (int i = 0; i < NNP_BP_MONOMIALS; ++i) m[i] = set[i];
    nnp_moments_unfold(4, m, all);
}

/* X_n = sum over the pairs of a group of R_j R_k cos^n, n = 0 .. 4 */
NNP_FN void nnp_bp_pair_powers(const nnp_bp_near* v, const nnp_bp_group* g, int same, nnp_real* x)
{
    nnp_vec m[NNP_BP_UNFOLDED], n[NNP_BP_UNFOLDED], s[5];
    nnp_bp_load_moments(v->moments + g->set_t * NNP_BP_SET, m);
    nnp_bp_load_moments(v->moments + g->set_u * NNP_BP_SET, n);
    nnp_moments_product(4, m, n, s);
    const nnp_real square = v->moments[g->set_t * NNP_BP_SET + NNP_BP_SET - 1];
    for (int i = 0; i < 5; ++i) x[i] = same ? NNP_R(0.5) * (s[i] - square) : s[i];
}

/* A sweep's functions, a lane a group and then a lane a function; x [n_groups][5]: room. */
NNP_FN void nnp_bp_moment_values(const nnp_bp_tables* t, const nnp_bp_sweep* s, const nnp_bp_near* v,
                                 nnp_real* x)
{
    for (int i = v->lane; i < s->n; i += 32)
        nnp_bp_pair_powers(v, t->group + s->first + i, s->t == s->u, x + 5 * i);
    __syncwarp();
    for (int i = 0; i < s->n; ++i) {
        const nnp_bp_group* const g = t->group + s->first + i;
        for (int f = g->first + v->lane; f < g->first + g->n; f += 32) {
            const nnp_bp_member* const o = t->member + f;
            nnp_real sum = 0;
            for (int n = 0; n < 5; ++n) sum += o->poly[n] * x[5 * i + n];
            v->g[o->input] += sum;
        }
    }
    __syncwarp();
}

/* dE/dM of one set of a group, u = dE/dX, from the moments of the other side; added to slope */
NNP_FN void nnp_bp_push_set(const nnp_real* u, const nnp_real* other, nnp_real* slope)
{
    nnp_vec n[NNP_BP_UNFOLDED], all[NNP_BP_UNFOLDED], m[NNP_BP_MONOMIALS], own[5];
    for (int i = 0; i < 5; ++i) own[i] = u[i];
    nnp_bp_load_moments(other, n);
    nnp_moments_slope(4, own, n, all);
    for (int i = 0; i < NNP_BP_MONOMIALS; ++i) m[i] = slope[i];
    nnp_moments_fold(4, all, m);
    for (int i = 0; i < NNP_BP_MONOMIALS; ++i) slope[i] = m[i];
}

/* dE/d(moments) of a sweep's groups, a lane a group; u [n_groups][NNP_BP_DEGREE + 1]: dE/dX */
NNP_FN void nnp_bp_push_moments(const nnp_bp_tables* t, const nnp_bp_sweep* s, const nnp_bp_near* v,
                                const nnp_real* u)
{
    const int same = s->t == s->u;
    for (int i = v->lane; i < s->n; i += 32) {
        const nnp_bp_group* const g = t->group + s->first + i;
        const nnp_real* const own = u + i * (NNP_BP_DEGREE + 1);
        nnp_real* const slope = v->slopes + g->set_t * NNP_BP_SET;
        for (int turn = same; turn < 2; ++turn) {
            const int from = turn ? g->set_u : g->set_t, to = turn ? g->set_t : g->set_u;
            nnp_bp_push_set(own, v->moments + from * NNP_BP_SET, v->slopes + to * NNP_BP_SET);
        }
        if (same) slope[NNP_BP_SET - 1] -= NNP_R(0.5) * (own[0] + own[1] + own[2] + own[3] + own[4]);
    }
    __syncwarp();
}

/* dE/dR times dR/dr of all sets of species s through their monomials [low, high), and sum += R dE/d(moments).
 */
NNP_FN nnp_real nnp_bp_pull_sets(const int low, const int high, const nnp_bp_tables* t, const nnp_bp_near* v,
                                 int s, int k, nnp_vec* sum)
{
    nnp_vec basis[NNP_BP_MONOMIALS];
    nnp_real radial = 0;
    nnp_monomials(4, v->x[k], v->y[k], v->z[k], basis);
    for (int i = t->span[t->c->sets + s]; i < t->span[t->c->sets + s + 1]; ++i) {
        const nnp_real* const slope = v->slopes + (i - t->span[t->c->sets]) * NNP_BP_SET;
        const int at = t->set[i] * v->capacity + k;
        const nnp_real r = v->value[at];
        nnp_real by_r = low ? NNP_R(0.0) : NNP_R(2.0) * slope[NNP_BP_SET - 1] * r;
        for (int n = low; n < high; ++n) {
            sum[n] += r * slope[n];
            by_r += basis[n] * slope[n];
        }
        radial += by_r * v->slope[at];
    }
    return radial;
}

/* From dE/d(moments) to dE/dr_ij of a neighbour, by its R and by its direction: to v->gx .. In two parts, for
 * want of registers. */
NNP_FN void nnp_bp_pull_neighbour(const nnp_bp_tables* t, const nnp_bp_near* v, int s, int k)
{
    const nnp_real x = v->x[k], y = v->y[k], z = v->z[k];
    nnp_vec sum[NNP_BP_MONOMIALS], ux, uy, uz;
    for (int i = 0; i < NNP_BP_MONOMIALS; ++i) sum[i] = 0;
    nnp_real radial = nnp_bp_pull_sets(0, 10, t, v, s, k, sum);
    radial += nnp_bp_pull_sets(10, NNP_BP_MONOMIALS, t, v, s, k, sum);
    nnp_monomials_gradient(4, x, y, z, sum, &ux, &uy, &uz);
    const nnp_real q = NNP_R(1.0) / v->r[k];
    radial -= q * (x * ux + y * uy + z * uz);
    v->gx[k] += radial * x + q * ux;
    v->gy[k] += radial * y + q * uy;
    v->gz[k] += radial * z + q * uz;
}

NNP_FN void nnp_bp_pull_moments(const nnp_bp_tables* t, const nnp_bp_near* v)
{
    for (int s = 0; s < v->n_species; ++s) {
        if (t->span[t->c->sets + s] == t->span[t->c->sets + s + 1]) continue;
        for (int k = v->base[s] + v->lane; k < v->base[s + 1]; k += 32) nnp_bp_pull_neighbour(t, v, s, k);
    }
    __syncwarp();
}

#endif /* NNP_BP_MOMENTS_CUH */
