/* math/bp.h - the terms of Behler-Parrinello symmetry functions and their derivatives.
 *
 *   types 2, 12       sum_j R(r_ij),  R(r) = exp(-eta (r - rs)^2) fc(r)
 *   types 3, 13       sum_{j<k} 2^(1-zeta) (1 + lambda c)^zeta R(r_ij) R(r_ik) R(r_jk);  9: without R(r_jk)
 *   types 20 .. 25    the same with R(r) = C((r - r0)/w) and C((theta - theta0)/w') for the power
 *
 * fc, of x = (r - r_i)/(r_c - r_i), 1 below r_i = alpha r_c, 0 beyond r_c:
 *   0  1                        1  (1 + cos pi x)/2       2  tanh^3(1 - r/r_c)     3  the same / tanh^3 1
 *   4  exp(1 - 1/(1 - x^2))     5 .. 8  polynomials of degree 3, 5, 7, 9 with as many flat derivatives
 * C(x) = fc_4..8(|x|), in the asymmetric forms fc((2 - |x|) |x|). The polynomials stand in y = 1 - x, where
 * nothing cancels near the cutoff.
 * Powers: p = (1 + lambda c)/2 in [0, 1], 2^(1-zeta) (1 + lambda c)^zeta = 2 p^zeta, d/dc = lambda zeta q,
 * q = p^(zeta-1).
 * Refs: Phys. Rev. Lett. 98, 146401 (2007); J. Chem. Phys. 134, 074106 (2011); Mach. Learn.: Sci. Technol. 2,
 * 035026 (2021).
 */
#ifndef NNP_MATH_BP_H
#define NNP_MATH_BP_H

#include "vecmath.h"

/* exp2 is good to this: smaller values count as 2^-limit */
#if NNP_REAL_BITS == 64
#define NNP_BP_EXP_LIMIT 1000.0
#define NNP_BP_TINY      1e-300
#else
#define NNP_BP_EXP_LIMIT 120.0f
#define NNP_BP_TINY      1e-36f
#endif

NNP_FN nnp_vec nnp_abs(nnp_vec a) { return nnp_max(a, -a); }

/* p[q] = c[0] z^(n-1) + .. + c[n-1] for U numbers z[q] side by side, so that no chain of operations is waited
 * for */
NNP_FN void nnp_polynomials(const int U, const int n, const nnp_real* c, const nnp_vec* z, nnp_vec* p)
{
    for (int q = 0; q < U; ++q) p[q] = c[0] * z[q] + c[1];
    NNP_UNROLL for (int i = 2; i < n; ++i) for (int q = 0; q < U; ++q) p[q] = p[q] * z[q] + c[i];
}

#if NNP_REAL_BITS == 64
NNP_TABLE_OF nnp_real nnp_tanh_coefficients[] = {
    1.5872506646224911756e-6, -1.423351335643642704e-5,  6.4781533314206133553e-5, -2.0949321149035040098e-4,
    5.7050449280517789854e-4, -1.4467153898568415829e-3, 3.5891537861253122627e-3, -8.8625767992982149819e-3,
    2.1869394002713995795e-2, -5.3968245836804156831e-2, 1.3333333296782598741e-1, -3.3333333332684559973e-1,
    0.99999999999998082851};
#else
NNP_TABLE_OF nnp_real nnp_tanh_coefficients[] = {-3.52328094363e-4f, 2.27864766487e-3f,  -7.91248505884e-3f,
                                                 2.14614101553e-2f,  -5.38697067248e-2f, 1.33321393052e-1f,
                                                 -3.33332773781e-1f, 0.999999995642f};
#endif

/* tanh of U numbers in [0, 1] by an odd polynomial, without a division; relative error 2e-14, float32 1e-7 */
NNP_FN void nnp_tanh_unit(const int U, const nnp_vec* x, nnp_vec* t)
{
    enum { N = sizeof nnp_tanh_coefficients / sizeof *nnp_tanh_coefficients };
    nnp_vec z[4];
    for (int q = 0; q < U; ++q) z[q] = x[q] * x[q];
    nnp_polynomials(U, N, nnp_tanh_coefficients, z, t);
    for (int q = 0; q < U; ++q) t[q] *= x[q];
}

/* acos c for c in [-1, 1]: 2 asin sqrt((1 - |c|)/2) or pi/2 - asin c, asin s = s + s z P(z), z = s^2 <= 1/4.
 */
NNP_FN nnp_vec nnp_acos(nnp_vec c)
{
    const nnp_vec a = nnp_abs(c);
    const nnp_mask outer = a > NNP_R(0.5);
    const nnp_vec z = nnp_select(outer, NNP_R(0.5) - NNP_R(0.5) * a, c * c);
    const nnp_vec s = nnp_select(outer, nnp_sqrt(z), c);
#if NNP_REAL_BITS == 64
    nnp_vec p = z * 0.028757851369229192841 - 0.014851887074064300144;
    p = p * z + 0.017400879444625314901;
    p = p * z + 0.0054575067178745955749;
    p = p * z + 0.010322814350379980921;
    p = p * z + 0.011479177415152014286;
    p = p * z + 0.013971212973556704602;
    p = p * z + 0.017352392720869682449;
    p = p * z + 0.022372172942149902485;
    p = p * z + 0.030381944138531246833;
    p = p * z + 0.044642857146355429791;
    p = p * z + 0.074999999999984329332;
    p = p * z + 0.16666666666666667827;
#else
    nnp_vec p = z * 0.0380850235619f + 0.0265545422057f;
    p = p * z + 0.04500138007f;
    p = p * z + 0.074988550726f;
    p = p * z + 0.166666724148f;
#endif
    const nnp_vec asin = s + s * z * p;
    const nnp_vec near =
        nnp_select(c < NNP_R(0.0), NNP_R(3.14159265358979323846) - NNP_R(2.0) * asin, NNP_R(2.0) * asin);
    return nnp_select(outer, near, NNP_R(1.57079632679489661923) - asin);
}

/* Shapes 4 .. 8 on x in [0, 1]: value and d/dx. */
NNP_FN void nnp_bp_shape(const int kind, nnp_vec x, nnp_vec* f, nnp_vec* df)
{
    const nnp_vec y = NNP_R(1.0) - x;
    if (kind == 4) {
        /* below u the value is under the smallest number that exp2 gives */
        const nnp_vec u = nnp_max(y * (NNP_R(1.0) + x), nnp_splat(NNP_R(1.5) / NNP_BP_EXP_LIMIT));
        const nnp_vec v = NNP_R(1.0) / u;
        *f = nnp_exp2((NNP_R(1.0) - v) * NNP_LOG2E);
        *df = NNP_R(-2.0) * x * v * v * *f;
    } else if (kind == 5) {
        *f = y * y * (NNP_R(1.0) + NNP_R(2.0) * x);
        *df = NNP_R(-6.0) * x * y;
    } else if (kind == 6) {
        *f = y * y * y * (NNP_R(1.0) + x * (NNP_R(3.0) + NNP_R(6.0) * x));
        *df = NNP_R(-30.0) * x * x * y * y;
    } else if (kind == 7) {
        const nnp_vec y2 = y * y;
        *f = y2 * y2 * (NNP_R(1.0) + x * (NNP_R(4.0) + x * (NNP_R(10.0) + NNP_R(20.0) * x)));
        *df = NNP_R(-140.0) * x * x * x * y2 * y;
    } else {
        const nnp_vec y2 = y * y, x2 = x * x;
        *f = y2 * y2 * y *
             (NNP_R(1.0) + x * (NNP_R(5.0) + x * (NNP_R(15.0) + x * (NNP_R(35.0) + NNP_R(70.0) * x))));
        *df = NNP_R(-630.0) * x2 * x2 * y2 * y2;
    }
}

typedef struct nnp_bp_cutoff_p {
    nnp_real rc, inner, scale; /* scale = 1/(rc - inner) */
} nnp_bp_cutoff_p;

/* fc and dfc/dr of a kind that the compiler knows */
NNP_FN void nnp_bp_cutoff(const int kind, nnp_vec r, nnp_bp_cutoff_p p, nnp_vec* f, nnp_vec* df)
{
    const nnp_mask inside = r < p.rc;
    nnp_vec value, slope;
    if (kind == 0) {
        value = nnp_splat(NNP_R(1.0));
        slope = nnp_splat(0);
    } else if (kind == 2 || kind == 3) {
        const nnp_real one = kind == 2 ? NNP_R(1.0) : NNP_R(2.2637537952253513); /* tanh(1)^-3 */
        const nnp_vec x = nnp_where(inside, NNP_R(1.0) - r * p.scale);
        nnp_vec t;
        nnp_tanh_unit(1, &x, &t);
        const nnp_vec t2 = t * t;
        value = one * t2 * t;
        slope = NNP_R(-3.0) * one * p.scale * t2 * (NNP_R(1.0) - t2);
    } else {
        const nnp_vec x = nnp_max(nnp_where(inside, (r - p.inner) * p.scale), nnp_splat(0));
        if (kind == 1) { /* sin^2(pi (1 - x)/2): no difference of near numbers at the cutoff */
            nnp_vec s, c;
            nnp_sincospi(NNP_R(0.5) - NNP_R(0.5) * x, &s, &c);
            value = s * s;
            slope = NNP_R(-3.14159265358979323846) * s * c;
        } else {
            nnp_bp_shape(kind, x, &value, &slope);
        }
        slope = nnp_where(r > p.inner, slope * p.scale);
    }
    *f = nnp_where(inside, value);
    *df = nnp_where(inside, slope);
}

/* Products t r below this go with values of fc that no sum feels: h may be wrong there, but not large */
#if NNP_REAL_BITS == 64
#define NNP_BP_SMALL 1e-12
#else
#define NNP_BP_SMALL 1e-8f
#endif

/* fc, 0 beyond the cutoff, and h = (dfc/dr)/(r fc), anything finite where fc is 0, at U <= 4 distances */
NNP_FN void nnp_bp_cutoff_ratio(const int kind, const int U, const nnp_vec* r, nnp_bp_cutoff_p p, nnp_vec* f,
                                nnp_vec* h)
{
    const nnp_vec zero = nnp_splat(0), small = nnp_splat(NNP_BP_SMALL);
    nnp_vec t[4], x[4];
    if (kind == 2 || kind == 3) {
        const nnp_real one = kind == 2 ? NNP_R(1.0) : NNP_R(2.2637537952253513); /* tanh(1)^-3 */
        for (int q = 0; q < U; ++q) x[q] = nnp_max(NNP_R(1.0) - r[q] * p.scale, zero);
        nnp_tanh_unit(U, x, t);
        for (int q = 0; q < U; ++q) {
            const nnp_vec t2 = t[q] * t[q];
            f[q] = one * t2 * t[q];
            h[q] = (NNP_R(-3.0) * p.scale) * (NNP_R(1.0) - t2) / nnp_max(t[q] * r[q], small);
        }
    } else if (kind == 1) { /* fc = sin^2 pi y, y = (1 - x)/2 */
        for (int q = 0; q < U; ++q) {
            nnp_vec s, c;
            x[q] = nnp_min(nnp_max((r[q] - p.inner) * p.scale, zero), nnp_splat(NNP_R(1.0)));
            nnp_sincospi(NNP_R(0.5) - NNP_R(0.5) * x[q], &s, &c);
            f[q] = s * s;
            h[q] = (NNP_R(-3.14159265358979323846) * p.scale) * c / nnp_max(s * r[q], small);
            h[q] = nnp_where(r[q] > p.inner, h[q]);
        }
    } else {
        const nnp_vec tiny = nnp_splat(NNP_BP_TINY);
        for (int q = 0; q < U; ++q) {
            nnp_bp_cutoff(kind, r[q], p, &f[q], &x[q]);
            h[q] = nnp_where(f[q] > tiny, x[q] / nnp_max(f[q] * r[q], tiny));
        }
    }
}

typedef struct nnp_bp_window_p {
    nnp_real centre, scale; /* scale = 1/width */
} nnp_bp_window_p;

/* C((v - centre) scale) and its derivative by v, of a kind that the compiler knows */
NNP_FN void nnp_bp_compact(const int core, const int asymmetric, nnp_vec v, nnp_bp_window_p p, nnp_vec* f,
                           nnp_vec* df)
{
    const nnp_vec d = (v - p.centre) * p.scale, x = nnp_abs(d);
    const nnp_mask inside = x < NNP_R(1.0);
    const nnp_vec x1 = nnp_where(inside, x);
    nnp_vec value, slope, sign = nnp_select(d < NNP_R(0.0), nnp_splat(-p.scale), nnp_splat(p.scale));
    if (asymmetric) {
        nnp_bp_shape(core, (NNP_R(2.0) - x1) * x1, &value, &slope);
        slope *= NNP_R(2.0) - NNP_R(2.0) * x1;
    } else {
        nnp_bp_shape(core, x1, &value, &slope);
    }
    *f = nnp_where(inside, value);
    *df = nnp_where(inside, slope * sign);
}

/* exp(-eta (r - rs)^2) fc and its derivative; eta2 = eta log2 e */
NNP_FN void nnp_bp_gaussian(nnp_vec r, nnp_real eta, nnp_real rs, nnp_vec fc, nnp_vec dfc, nnp_vec* f,
                            nnp_vec* df)
{
    const nnp_vec d = r - rs;
    const nnp_vec e = nnp_exp2(nnp_max(d * d * (-eta * NNP_LOG2E), nnp_splat(-NNP_BP_EXP_LIMIT)));
    *f = e * fc;
    *df = e * (dfc - (NNP_R(2.0) * eta) * d * fc);
}

/* (1 + lambda c)/2, nothing below 0 */
NNP_FN nnp_vec nnp_bp_base(nnp_vec c, nnp_real lambda)
{
    return nnp_max(NNP_R(0.5) + (NNP_R(0.5) * lambda) * c, nnp_splat(0));
}

/* p^n for any real n > 0, p in [0, 1]; 0 at p = 0 */
NNP_FN nnp_vec nnp_bp_power(nnp_vec p, nnp_real n)
{
    const nnp_vec safe = nnp_max(p, nnp_splat(NNP_BP_TINY));
    const nnp_vec e = nnp_max(nnp_log(safe) * (n * NNP_LOG2E), nnp_splat(-NNP_BP_EXP_LIMIT));
    return nnp_where(p > NNP_BP_TINY, nnp_exp2(e));
}

/* Angular window of cos theta: value and derivative by cos theta = -(d/dtheta)/sin theta. Where j and k are
 * collinear to rounding, cos theta has no gradient to speak of: the derivative counts as 0. */
NNP_FN void nnp_bp_angle_window(const int core, const int asymmetric, nnp_vec c, nnp_bp_window_p p,
                                nnp_vec* f, nnp_vec* df)
{
#if NNP_REAL_BITS == 64
    const nnp_real collinear = 1e-14;
#else
    const nnp_real collinear = 4e-7f;
#endif
    const nnp_vec one = nnp_splat(NNP_R(1.0));
    const nnp_vec cc = nnp_max(nnp_min(c, one), -one);
    const nnp_vec sine2 = (one - cc) * (one + cc);
    nnp_bp_compact(core, asymmetric, nnp_acos(cc), p, f, df);
    *df = nnp_where(sine2 > collinear, -*df / nnp_sqrt(nnp_max(sine2, nnp_splat(collinear))));
}

#endif /* NNP_MATH_BP_H */
