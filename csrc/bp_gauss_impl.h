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

/* One centre's neighbour j beside k .. k + U - 1: cosines, weights w_l (rows stride apart), h(r_jk). */
NNP_FN void gauss_some(const int kind, const int U, const nnp_bp_channel* c, nnp_bp_cutoff_p p,
                       const nnp_bp_near* v, const nnp_vec* fc, int j, int k, nnp_vec* cosine, nnp_vec* w,
                       nnp_vec* h, size_t stride)
{
    const nnp_vec least = nnp_splat(-NNP_BP_EXP_LIMIT), tiny = nnp_splat(NNP_R(1e-12));
    const nnp_vec half = NNP_R(0.5) * v->inverse[j];
    nnp_vec s[NNP_BP_ABREAST], f[NNP_BP_ABREAST], e[NNP_BP_MAX_CHAIN][NNP_BP_ABREAST];
    for (int q = 0; q < U; ++q) {
        const nnp_vec x = v->x[k + q] - v->x[j], y = v->y[k + q] - v->y[j], z = v->z[k + q] - v->z[j];
        s[q] = nnp_max(x * x + y * y + z * z, tiny); /* two padding lanes may coincide */
    }
    for (int q = 0; q < U; ++q) nnp_bp_cutoff_ratio(kind, nnp_sqrt(s[q]), p, &f[q], &h[q]);
    for (int q = 0; q < U; ++q) {
        const nnp_vec both = v->square[j] + v->square[k + q];
        cosine[q] = (both - s[q]) * (half * v->inverse[k + q]);
        s[q] += both;
        f[q] *= fc[j] * fc[k + q];
    }
    for (int i = 0; i < c->n_chain; ++i) {
        const nnp_bp_link* const l = &c->chain[i];
        const nnp_real factor = (nnp_real)-l->eta * NNP_LOG2E;
        if (l->a < 0)
            for (int q = 0; q < U; ++q) e[i][q] = nnp_exp2(nnp_max(s[q] * factor, least));
        else
            for (int q = 0; q < U; ++q) e[i][q] = e[l->a][q] * e[l->b][q];
    }
    for (int l = 0; l < c->n_narrow; ++l)
        for (int q = 0; q < U; ++q) w[(size_t)l * stride + (size_t)q] = e[c->link[l]][q] * f[q];
}

NNP_FN void gauss_row_of(const int kind, const nnp_bp* bp, const nnp_bp_channel* c, const nnp_bp_near* v,
                         int j, int k, int n, nnp_vec* cosine, nnp_vec* w, nnp_vec* h, size_t stride)
{
    const nnp_bp_cut* const cut = &bp->cut[c->chain_cut];
    const nnp_bp_cutoff_p p = {(nnp_real)cut->rc, (nnp_real)cut->inner,
                               (nnp_real)(1 / (cut->rc - cut->inner))};
    const nnp_vec* const fc = v->fc + (size_t)c->chain_cut * v->stride;
    int i = 0;
    for (; i + 2 < n; i += 4) gauss_some(kind, 4, c, p, v, fc, j, k + i, cosine + i, w + i, h + i, stride);
    if (i < n) gauss_some(kind, 2, c, p, v, fc, j, k + i, cosine + i, w + i, h + i, stride);
}

/* gauss_some for the n neighbours k .. of j, all numbered as in v. Reads and writes up to NNP_BP_ABREAST - 1
 * entries more than n. */
static void gauss_row(const nnp_bp* bp, const nnp_bp_channel* c, const nnp_bp_near* v, int j, int k, int n,
                      nnp_vec* cosine, nnp_vec* w, nnp_vec* h, size_t stride)
{
#define NNP_BP_GAUSS(kind)                                                                                   \
    case kind:                                                                                               \
        gauss_row_of(kind, bp, c, v, j, k, n, cosine, w, h, stride);                                         \
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

#endif /* NNP_BP_GAUSS_IMPL_H */
