/* math/msr.h - the terms of the Mattioli-Sciortino-Russo fingerprints and their derivatives.
 *
 *   F2_a = sum_j x_j exp(alpha_a x_j)
 *   F3_b = sum_{j<k} h S,  h = T exp(beta T),  S = 1/2 (A_j B_k + B_j A_k),
 *          A_j = exp(a y_j), B_j = exp(b y_j), y = x'(r), T = 1/2 (1 + cos theta) y_j y_k
 *   G    = ln(F + 1e-3) - mu
 *
 * A and B belong to one neighbour each. With w = y u (u the unit vector) the angular variable is a scalar
 * product of four-vectors, T = 1/2 (y_j y_k + w_j . w_k), so its gradient is a multiple of the other
 * neighbour's four-vector. Over ordered pairs F3 = 1/2 sum_j A_j P_j with P_j = sum_k h_jk B_k, Q_j = sum_k
 * h_jk A_k; hence dF3/dA_j = P_j/2 and dF3/dB_j = Q_j/2: all derivatives through A and B are sums over
 * neighbours, not triplets. Ref: J. Chem. Phys. 158, 104501 (2023), eqs. for the two- and three-body
 * fingerprints.
 */
#ifndef NNP_MATH_MSR_H
#define NNP_MATH_MSR_H

#include "cutoff.h"

#define NNP_MSR_FLOOR NNP_R(1e-3)

/* Value, d/dx, and for the loss gradient d/dalpha and d2/dx dalpha, of x e^{alpha x}. */
NNP_FN void nnp_msr_pair(nnp_vec x, nnp_real alpha, nnp_vec* f, nnp_vec* df_dx)
{
    const nnp_vec ax = alpha * x;
    const nnp_vec e = nnp_exp2(ax * NNP_LOG2E);
    *f = x * e;
    *df_dx = e + ax * e;
}

NNP_FN void nnp_msr_pair_alpha(nnp_vec x, nnp_vec f, nnp_vec df_dx, nnp_vec* df_da, nnp_vec* d2f_dxda)
{
    *df_da = x * f;
    *d2f_dxda = f + x * df_dx; /* x e (2 + alpha x) */
}

#endif /* NNP_MATH_MSR_H */
