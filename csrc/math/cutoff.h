/* cutoff.h - MSR's distance variable x(r).
 *
 *   x(r) = 1/2 [1 + cos(pi s)]                   cosine, as published      s = r/Rc < 1, else 0
 *        = 1 - 35 s^4 + 84 s^5 - 70 s^6 + 20 s^7  septic: three derivatives continuous at Rc
 *        = A/r + B r^30 + C               r < Rs (optional branch, 2-body only; value, slope and curvature
 *                                         continuous at Rs: nnp_short_range_coefficients)
 * Where the cosine ends, the curvature of the energy jumps, and every atom that crosses Rc in MD shifts the
 * total energy a little at random; bench/README.md has the drifts of both.
 * Ref: F. Guidarelli Mattioli, F. Sciortino, J. Russo, J. Chem. Phys. 158, 104501 (2023).
 */
#ifndef NNP_CUTOFF_H
#define NNP_CUTOFF_H

#include "vecmath.h"

/* x and dx/dr; with y = r/Rc - 1/2: x = (1 - sin pi y)/2, dx/dr = -pi/(2 Rc) cos pi y */
NNP_FN void nnp_cutoff_cos(nnp_vec r, nnp_real rc, nnp_vec* x, nnp_vec* dx_dr)
{
    nnp_vec s, c;
    const nnp_mask inside = r < rc;
    nnp_sincospi(nnp_where(inside, r * (NNP_R(1.0) / rc) - NNP_R(0.5)), &s, &c);
    *x = nnp_where(inside, NNP_R(0.5) - NNP_R(0.5) * s);
    *dx_dr = nnp_where(inside, c * (NNP_R(-1.57079632679489661923) / rc));
}

/* septic = (1-s)^4 (1 + 4 s + 10 s^2 + 20 s^3), dx/dr = -140 s^3 (1-s)^3 / Rc */
NNP_FN void nnp_cutoff_septic(nnp_vec r, nnp_real rc, nnp_vec* x, nnp_vec* dx_dr)
{
    const nnp_real inv = NNP_R(1.0) / rc;
    const nnp_vec s = nnp_min(r * inv, nnp_splat(NNP_R(1.0))), v = NNP_R(1.0) - s, v2 = v * v;
    *x = v2 * v2 * (NNP_R(1.0) + s * (NNP_R(4.0) + s * (NNP_R(10.0) + NNP_R(20.0) * s)));
    *dx_dr = (NNP_R(-140.0) * inv) * (s * s * s) * (v2 * v);
}

typedef struct nnp_short_range {
    nnp_real rs; /* 0: off */
    nnp_real a, b, c;
} nnp_short_range;

/* Replaces x, dx/dr where r < Rs by A/r + B r^30 + C. */
NNP_FN void nnp_cutoff_short(nnp_vec r, nnp_short_range p, nnp_vec* x, nnp_vec* dx_dr)
{
    const nnp_mask inner = r < p.rs;
    const nnp_vec q = NNP_R(1.0) / r;
    const nnp_vec r2 = r * r, r4 = r2 * r2, r8 = r4 * r4, r16 = r8 * r8;
    const nnp_vec r30 = r16 * r8 * r4 * r2;
    *x = nnp_select(inner, p.a * q + p.b * r30 + p.c, *x);
    *dx_dr = nnp_select(inner, NNP_R(30.0) * p.b * r30 * q - p.a * q * q, *dx_dr);
}

#endif /* NNP_CUTOFF_H */
