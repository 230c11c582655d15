/* cutoff.h - MSR's distance variable x(r).
 *
 *   x(r) = 1/2 [1 + cos(pi s)]                   cosine, as published      s = r/Rc < 1, else 0
 *        = (1 + e) c^2 / (c + e)                smooth: c that cosine, e = 0.03; like c, but its end
 *                                               at Rc is of fourth order: three derivatives vanish
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

#define NNP_CUTOFF_SOFTNESS 0.03 /* e of the smooth cutoff */

/* dx/dr = (1 + e) dc/dr c (c + 2 e) / (c + e)^2 */
NNP_FN void nnp_cutoff_smooth(nnp_vec r, nnp_real rc, nnp_vec* x, nnp_vec* dx_dr)
{
    const nnp_real e = (nnp_real)NNP_CUTOFF_SOFTNESS, scale = NNP_R(1.0) + e;
    nnp_vec c, dc;
    nnp_cutoff_cos(r, rc, &c, &dc);
    const nnp_vec q = nnp_inverse(c + e), cq = c * q;
    *x = scale * c * cq;
    *dx_dr = scale * dc * cq * ((c + NNP_R(2.0) * e) * q);
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
