/* math/pairpot.h - Lennard-Jones and ZBL pair energies phi(r) with dphi/dr, brought to zero smoothly.
 *
 *   LJ   phi = 4 eps [(sigma/r)^12 - (sigma/r)^6]
 *   ZBL  phi = K Zi Zj / r sum_k c_k exp(-d_k r / a), a = 0.46850 / (Zi^0.23 + Zj^0.23) Angstrom
 *   both times S(t) = 1 - 10 t^3 + 15 t^4 - 6 t^5, t = (r - r_on) / (r_off - r_on): twice differentiable
 * Ref: J. F. Ziegler, J. P. Biersack, U. Littmark, The Stopping and Range of Ions in Solids (1985).
 */
#ifndef NNP_MATH_PAIRPOT_H
#define NNP_MATH_PAIRPOT_H

#include "vecmath.h"

/* phi S and its derivative, from phi and dphi */
NNP_FN void nnp_switch(nnp_vec r, nnp_real on, nnp_real off, nnp_vec* phi, nnp_vec* dphi)
{
    const nnp_real width = NNP_R(1.0) / (off - on);
    const nnp_vec t = nnp_max((r - on) * width, nnp_splat(0));
    const nnp_vec t2 = t * t, v = NNP_R(1.0) - t;
    const nnp_vec s = NNP_R(1.0) - t2 * t * (NNP_R(10.0) + t * (NNP_R(6.0) * t - NNP_R(15.0)));
    const nnp_vec ds = NNP_R(-30.0) * width * t2 * v * v;
    const nnp_mask inside = r < off;
    *dphi = nnp_where(inside, *dphi * s + *phi * ds);
    *phi = nnp_where(inside, *phi * s);
}

NNP_FN void nnp_lj(nnp_vec r, nnp_real epsilon, nnp_real sigma, nnp_vec* phi, nnp_vec* dphi)
{
    const nnp_vec q = sigma / r, q2 = q * q, q6 = q2 * q2 * q2;
    *phi = NNP_R(4.0) * epsilon * q6 * (q6 - NNP_R(1.0));
    *dphi = NNP_R(-24.0) * epsilon * q6 * (NNP_R(2.0) * q6 - NNP_R(1.0)) / r;
}

/* e^{-d x}, x >= 0, held above underflow */
NNP_FN nnp_vec nnp_screen(nnp_vec x, nnp_real d)
{
    return nnp_exp(nnp_max(-d * x, nnp_splat(NNP_REAL_BITS == 64 ? NNP_R(-700.0) : NNP_R(-80.0))));
}

/* strength = K Zi Zj (eV Angstrom), inv_a = 1/a */
NNP_FN void nnp_zbl(nnp_vec r, nnp_real strength, nnp_real inv_a, nnp_vec* phi, nnp_vec* dphi)
{
    const nnp_vec x = r * inv_a;
    const nnp_vec e0 = NNP_R(0.18175) * nnp_screen(x, NNP_R(3.19980));
    const nnp_vec e1 = NNP_R(0.50986) * nnp_screen(x, NNP_R(0.94229));
    const nnp_vec e2 = NNP_R(0.28022) * nnp_screen(x, NNP_R(0.40290));
    const nnp_vec e3 = NNP_R(0.02817) * nnp_screen(x, NNP_R(0.20162));
    const nnp_vec f = e0 + e1 + e2 + e3;
    const nnp_vec df =
        -inv_a * (NNP_R(3.19980) * e0 + NNP_R(0.94229) * e1 + NNP_R(0.40290) * e2 + NNP_R(0.20162) * e3);
    *phi = strength * f / r;
    *dphi = strength * (df - f / r) / r;
}

#endif /* NNP_MATH_PAIRPOT_H */
