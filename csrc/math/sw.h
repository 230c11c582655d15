/* math/sw.h - the Stillinger-Weber potential's pair term and radial weight.
 *
 *   v2 = A eps [B (sigma/r)^p - (sigma/r)^q] exp(sigma / (r - a sigma))
 *   v3 = lambda eps (cos theta - cos theta0)^2 g_j g_k,  g = exp(gamma sigma / (r - a sigma)), over j < k
 * Ref: F. H. Stillinger, T. A. Weber, Phys. Rev. B 31, 5262 (1985); mW: V. Molinero, E. B. Moore,
 * J. Phys. Chem. B 113, 4008 (2009).
 */
#ifndef NNP_MATH_SW_H
#define NNP_MATH_SW_H

#include "vecmath.h"

typedef struct nnp_sw {
    nnp_real epsilon, sigma, a, lambda, gamma, cos0, A, B, p, q;
} nnp_sw;

/* x^n, by multiplication where n is a small whole number */
NNP_FN nnp_vec nnp_pow(nnp_vec x, nnp_real n)
{
    if (n == NNP_R(0.0)) return nnp_splat(NNP_R(1.0));
    if (n == NNP_R(4.0)) return (x * x) * (x * x);
    return nnp_exp(n * nnp_log(x));
}

/* v2, dv2/dr, g, dg/dr; all exactly zero from r = a sigma on */
NNP_FN void nnp_sw_radial(nnp_vec r, nnp_sw s, nnp_vec* v2, nnp_vec* dv2, nnp_vec* g, nnp_vec* dg)
{
    const nnp_mask inside = r < s.a * s.sigma;
    const nnp_vec q = nnp_where(inside, NNP_R(1.0) / (r - s.a * s.sigma)); /* < 0 */
    const nnp_vec low =
        nnp_splat(NNP_REAL_BITS == 64 ? NNP_R(-700.0) : NNP_R(-80.0)); /* e^low: nothing left */
    const nnp_vec e2 = nnp_where(inside, nnp_exp(nnp_max(s.sigma * q, low)));
    const nnp_vec e3 = nnp_where(inside, nnp_exp(nnp_max(s.gamma * s.sigma * q, low)));
    const nnp_vec inv = NNP_R(1.0) / r, x = s.sigma * inv;
    const nnp_vec bp = s.B * nnp_pow(x, s.p), bq = nnp_pow(x, s.q);
    const nnp_vec ae = s.A * s.epsilon * e2;
    const nnp_vec q2 = nnp_min(q * q, nnp_splat(NNP_R(1e30))); /* finite where e has vanished */
    *v2 = ae * (bp - bq);
    *dv2 = ae * ((s.q * bq - s.p * bp) * inv - (bp - bq) * s.sigma * q2);
    *g = e3;
    *dg = -s.gamma * s.sigma * q2 * e3;
}

#endif /* NNP_MATH_SW_H */
