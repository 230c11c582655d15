/* bp_gauss_impl.h - triplets of narrow functions whose radial factors are Gaussians at the origin with one
 * cutoff function, as nearly all published ones are.
 *
 *   w_l = R_l(r_j) R_l(r_k) R_l(r_jk) = e_l F,   e_l = exp(-eta_l S),   S = r_j^2 + r_k^2 + r_jk^2,
 *   F = fc(r_j) fc(r_k) fc(r_jk)
 * so that one exponential of S gives the others as products of itself (nnp_bp_channel.chain), and on the way
 * back three sums over the groups l hold all, whatever their number:
 *   A = sum U_l w_l,   B = sum 2 eta_l U_l w_l,   T = sum dU_l/dcos w_l
 *   dE/dr_j = (h(r_j) A - B) r_j,   (dE/dr_jk)/r_jk = h(r_jk) A - B,   dE/dcos = T,   h = (dfc/dr)/(r fc)
 */
#ifndef NNP_BP_GAUSS_IMPL_H
#define NNP_BP_GAUSS_IMPL_H

/* Neighbour j beside k .. k + U - 1 (numbers of nnp_bp_near): cosines, S, F and h(r_jk) */
NNP_FN void gauss_some(const int kind, const int U, nnp_bp_cutoff_p p, const nnp_bp_near* v,
                       const nnp_vec* fc, int j, int k, nnp_vec* cosine, nnp_vec* sum, nnp_vec* f, nnp_vec* h)
{
    const nnp_vec tiny = nnp_splat(NNP_R(1e-12)), half = NNP_R(0.5) * v->inverse[j];
    nnp_vec s[NNP_BP_ABREAST], both[NNP_BP_ABREAST], value[NNP_BP_ABREAST], ratio[NNP_BP_ABREAST];
    nnp_vec r[NNP_BP_ABREAST], turn[NNP_BP_ABREAST];
    for (int q = 0; q < U; ++q) {
        const nnp_vec x = v->x[k + q] - v->x[j], y = v->y[k + q] - v->y[j], z = v->z[k + q] - v->z[j];
        s[q] = nnp_max(x * x + y * y + z * z, tiny); /* two padding lanes may coincide */
        r[q] = nnp_sqrt(s[q]);
        both[q] = v->square[j] + v->square[k + q];
        turn[q] = (both[q] - s[q]) * (half * v->inverse[k + q]);
    }
    nnp_bp_cutoff_ratio(kind, U, r, p, value, ratio);
    for (int q = 0; q < U; ++q) value[q] *= fc[j] * fc[k + q];
    for (int q = 0; q < U; ++q) {
        cosine[q] = turn[q];
        sum[q] = both[q] + s[q];
        f[q] = value[q];
        h[q] = ratio[q];
    }
}

NNP_FN void gauss_row_of(const int kind, const nnp_bp* bp, const nnp_bp_channel* c, const nnp_bp_near* v,
                         int j, int k, int n, nnp_vec* cosine, nnp_vec* sum, nnp_vec* f, nnp_vec* h)
{
    const nnp_bp_cut* const cut = &bp->cut[c->chain_cut];
    const nnp_bp_cutoff_p p = {(nnp_real)cut->rc, (nnp_real)cut->inner,
                               (nnp_real)(1 / (cut->rc - cut->inner))};
    const nnp_vec* const fc = v->fc + (size_t)c->chain_cut * v->stride;
    int i = 0;
    for (; i + 2 < n; i += 4) gauss_some(kind, 4, p, v, fc, j, k + i, cosine + i, sum + i, f + i, h + i);
    if (i < n) gauss_some(kind, 2, p, v, fc, j, k + i, cosine + i, sum + i, f + i, h + i);
}

/* gauss_some for n neighbours; reads and writes up to 3 entries more. */
static void gauss_row(const nnp_bp* bp, const nnp_bp_channel* c, const nnp_bp_near* v, int j, int k, int n,
                      nnp_vec* cosine, nnp_vec* sum, nnp_vec* f, nnp_vec* h)
{
#define NNP_BP_GAUSS(kind)                                                                                   \
    case kind:                                                                                               \
        gauss_row_of(kind, bp, c, v, j, k, n, cosine, sum, f, h);                                            \
        break;
    switch (bp->cut[c->chain_cut].kind) {
        NNP_BP_GAUSS(0)
        NNP_BP_GAUSS(1)
        NNP_BP_GAUSS(2)
        NNP_BP_GAUSS(3)
        NNP_BP_GAUSS(4)
        NNP_BP_GAUSS(5)
        NNP_BP_GAUSS(6)
        NNP_BP_GAUSS(7)
        NNP_BP_GAUSS(8)
    }
#undef NNP_BP_GAUSS
}

/* The weights w_l of n triplets from their S and F, rows stride apart. The chain of products stays in
 * registers for NNP_BP_ABREAST triplets, the exponentials that are needed later apart. Reads and writes up to
 * NNP_BP_ABREAST - 1 entries more. */
static void gauss_weights(const nnp_bp_channel* c, int n, const nnp_vec* sum, const nnp_vec* f, nnp_vec* w,
                          size_t stride)
{
    enum { U = NNP_BP_ABREAST };
    const nnp_vec least = nnp_splat(-NNP_BP_EXP_LIMIT);
    for (int k = 0; k < n; k += U, sum += U, f += U, w += U) {
        nnp_vec kept[NNP_BP_MAX_CHAIN][U], e[U];
        for (int q = 0; q < U; ++q) e[q] = nnp_splat(0);
        for (const nnp_bp_link* l = c->chain; l < c->chain + c->n_chain; ++l) {
            if (l->kind == NNP_BP_EXPONENTIAL) {
                const nnp_real factor = (nnp_real)-l->eta * NNP_LOG2E;
                for (int q = 0; q < U; ++q) e[q] = nnp_exp2(nnp_max(sum[q] * factor, least));
            } else if (l->kind == NNP_BP_SQUARE) {
                for (int q = 0; q < U; ++q) e[q] *= e[q];
            } else if (l->kind == NNP_BP_TIMES) {
                for (int q = 0; q < U; ++q) e[q] *= kept[l->b][q];
            } else {
                for (int q = 0; q < U; ++q) e[q] = kept[l->a][q] * kept[l->b][q];
            }
            if (l->keep)
                for (int q = 0; q < U; ++q) kept[l - c->chain][q] = e[q];
            if (l->narrow >= 0)
                for (int q = 0; q < U; ++q) w[(size_t)l->narrow * stride + (size_t)q] = e[q] * f[q];
        }
    }
}

#endif /* NNP_BP_GAUSS_IMPL_H */
