/* vecmath.h - exp2, exp, tanh, log and the cutoff's sine/cosine on nnp_vec, without calls.
 *
 * Polynomials are near-minimax fits (mpmath chebyfit, 40 digits). Bounds that
 * tests/unit/test_vecmath.py holds them to: float64 1e-15, float32 5e-7 (exp relative; tanh and the cutoff
 * absolute).
 */
#ifndef NNP_VECMATH_H
#define NNP_VECMATH_H

#include "nnp_simd.h"

#define NNP_LOG2E NNP_R(1.4426950408889634074)

#if defined(NNP_GPU) && NNP_REAL_BITS == 32 /* one instruction and a multiplication or two */
NNP_FN nnp_vec nnp_exp2(nnp_vec x) { return exp2f(x); }
NNP_FN nnp_vec nnp_exp(nnp_vec x) { return expf(x); }
#else

/* 2^n 2^f of an argument cut into n, in u = n + NNP_EXP_MAGIC, and the rest f.
 * float64 on AVX-512 keeps the powers of 2^(1/16) in two registers, n is a multiple of 1/16, |f| <= 1/32 and
 * 2^f = 1 + f q(f) needs but degree 5 for q (1e-17). Elsewhere n is whole, |f| <= 1/2, degree 10 (2e-16) or 5
 * (8e-8): by Estrin's scheme, whose terms do not wait for each other as those of Horner's do; by Horner's,
 * the shorter one, where the pipes are full all the same: AVX-512, and the GPU.
 */
#if NNP_ISA == 2 && NNP_REAL_BITS == 64
#define NNP_EXP_MAGIC (NNP_ROUND_MAGIC / 16)
NNP_FN nnp_vec nnp_exp2_parts(nnp_vec f, nnp_vec u)
{
    const nnp_vec low = {1.0,
                         1.0442737824274138403,
                         1.0905077326652576592,
                         1.1387886347566916537,
                         1.1892071150027210667,
                         1.2418578120734840486,
                         1.2968395546510096659,
                         1.3542555469368927283};
    const nnp_vec high = {1.4142135623730950488, 1.4768261459394993114, 1.5422108254079408236,
                          1.6104903319492543082, 1.6817928305074290861, 1.7562521603732994831,
                          1.8340080864093424635, 1.9152065613971472939};
    const nnp_vec t = (nnp_vec)_mm512_permutex2var_pd((__m512d)low, (__m512i)u, (__m512d)high);
    const nnp_bits n = ((nnp_bits)u << (NNP_MANTISSA - 4)) & -(1ULL << NNP_MANTISSA);
    const nnp_vec s = (nnp_vec)((nnp_bits)t + n);
    nnp_vec q = f * 1.5403723980749256422e-4 + 1.333378157678426869e-3;
    q = q * f + 9.6181291069195378674e-3;
    q = q * f + 5.5504108656639298913e-2;
    q = q * f + 2.402265069591007506e-1;
    q = q * f + 6.9314718055994575333e-1;
    return s + (s * f) * q;
}
#else
#define NNP_EXP_MAGIC NNP_ROUND_MAGIC
NNP_FN nnp_vec nnp_exp2_parts(nnp_vec f, nnp_vec u)
{
#if NNP_REAL_BITS == 64
    const nnp_real c[] = {1.0,
                          6.9314718055994998286e-1,
                          2.402265069591009822e-1,
                          5.5504108664447719166e-2,
                          9.6181291076068885273e-3,
                          1.3333558230164973899e-3,
                          1.5403530441736050155e-4,
                          1.5252657260200837064e-5,
                          1.3215442587921689653e-6,
                          1.0208690299958305835e-7,
                          7.0725859492692236999e-9};
#ifdef NNP_GPU
    nnp_vec p = ((((f * c[10] + c[9]) * f + c[8]) * f + c[7]) * f + c[6]) * f + c[5];
    p = ((((p * f + c[4]) * f + c[3]) * f + c[2]) * f + c[1]) * f + c[0];
#else
    const nnp_vec g = f * f, h = g * g;
    const nnp_vec p0 = f * c[1] + c[0], p2 = f * c[3] + c[2], p4 = f * c[5] + c[4], p6 = f * c[7] + c[6];
    const nnp_vec p8 = g * c[10] + (f * c[9] + c[8]);
    const nnp_vec p = (p8 * h + (p6 * g + p4)) * h + (p2 * g + p0);
#endif
#else
    const nnp_real c[] = {
        1.0f, 6.93147188026e-1f, 2.40221074853e-1f, 5.55035711422e-2f, 9.67603191832e-3f, 1.33908633647e-3f};
#if NNP_ISA == 2
    const nnp_vec p = ((((f * c[5] + c[4]) * f + c[3]) * f + c[2]) * f + c[1]) * f + c[0];
#else
    const nnp_vec g = f * f;
    const nnp_vec p = ((f * c[5] + c[4]) * g + (f * c[3] + c[2])) * g + (f * c[1] + c[0]);
#endif
#endif
    return nnp_scale2(p, u);
}
#endif

/* Keeps the product x out of fused multiply-adds with the two sums that it enters: additions have pipes of
 * their own. */
#if NNP_ISA == 2
#define NNP_APART(x) __asm__("" : "+v"(x))
#else
#define NNP_APART(x) (void)0
#endif

/* 2^x, |x| <= 1000 (float32: 120); the rounding of x itself leaves a relative error of |x| eps. */
NNP_FN nnp_vec nnp_exp2(nnp_vec x)
{
    NNP_APART(x);
    const nnp_vec u = x + NNP_EXP_MAGIC;
    return nnp_exp2_parts(x - (u - NNP_EXP_MAGIC), u);
}

/* ln 2 = high + low, n * high exact */
#if NNP_REAL_BITS == 64
#define NNP_LN2_HIGH 6.93147180369123816490e-1
#define NNP_LN2_LOW  1.90821492927058770002e-10
#else
#define NNP_LN2_HIGH 6.93359375e-1f
#define NNP_LN2_LOW  -2.12194440e-4f
#endif

/* e^x with the argument reduced by ln 2 in two parts, so that large |x| keep full accuracy. */
NNP_FN nnp_vec nnp_exp(nnp_vec x)
{
    const nnp_vec u = x * NNP_LOG2E + NNP_EXP_MAGIC;
    const nnp_vec n = u - NNP_EXP_MAGIC;
    const nnp_vec r = (x - n * NNP_LN2_HIGH) - n * NNP_LN2_LOW;
    return nnp_exp2_parts(r * NNP_LOG2E, u);
}

#endif

/* tanh x = 1 - 2/(e^{2x} + 1); absolute error of one rounding. */
NNP_FN nnp_vec nnp_tanh(nnp_vec x)
{
    const nnp_vec bound = nnp_splat(NNP_R(20.0));
    const nnp_vec t = nnp_max(nnp_min(x, bound), -bound);
    return NNP_R(1.0) - NNP_R(2.0) * nnp_inverse(nnp_exp2(t * (NNP_R(2.0) * NNP_LOG2E)) + NNP_R(1.0));
}

#if defined(NNP_GPU) && NNP_REAL_BITS == 32
NNP_FN nnp_vec nnp_log(nnp_vec x) { return logf(x); }
#elif defined(NNP_GPU)
NNP_FN nnp_vec nnp_log(nnp_vec x) { return log(x); }
#else

/* ln x for finite normal x > 0: x = m 2^k, m in [sqrt(1/2), sqrt 2), s = (m-1)/(m+1), ln m = 2 atanh s. */
NNP_FN nnp_vec nnp_log(nnp_vec x)
{
#if NNP_REAL_BITS == 64
    const nnp_int root_half = 0x3fe6a09e667f3bcd,
                  magic = 0x4338000000000000; /* bits of sqrt(1/2), 1.5 * 2^52 */
#else
    const nnp_int root_half = 0x3f3504f3, magic = 0x4b400000;
#endif
    const nnp_mask e = (nnp_mask)((nnp_bits)x - root_half) >> NNP_MANTISSA;
    const nnp_vec m = (nnp_vec)((nnp_bits)x - ((nnp_bits)e << NNP_MANTISSA));
    const nnp_vec k = (nnp_vec)(e + magic) - NNP_ROUND_MAGIC;
    const nnp_vec f = m - NNP_R(1.0);
    const nnp_vec s = f / (NNP_R(2.0) + f);
    const nnp_vec z = s * s;
#if NNP_REAL_BITS == 64
    nnp_vec p = z * 0.14630031364122860468 + 0.15330617306743304885;
    p = p * z + 0.18182922513515941633;
    p = p * z + 0.22222210674238515246;
    p = p * z + 0.28571428628810995598;
    p = p * z + 0.39999999999893221763;
    p = p * z + 0.6666666666666669907;
#else
    nnp_vec p = z * 0.29590317357f + 0.39988550989f;
    p = p * z + 0.66666685603f;
#endif
    return k * NNP_LN2_HIGH + (NNP_R(2.0) * s + (s * z * p + k * NNP_LN2_LOW));
}

#endif

/* sin(pi y) and cos(pi y) for |y| <= 1/2, by doubling the angle pi y / 2. */
NNP_FN void nnp_sincospi(nnp_vec y, nnp_vec* sine, nnp_vec* cosine)
{
    const nnp_vec v = y * y;
#if NNP_REAL_BITS == 64
    nnp_vec s = v * 5.6339337815378539538e-8 - 3.598643352982309702e-6;
    s = s * v + 1.6044115074219091052e-4;
    s = s * v - 4.6817541323409759917e-3;
    s = s * v + 7.9692626246043003134e-2;
    s = s * v - 6.4596409750624431573e-1;
    s = (s * v + 1.5707963267948966143) * y;
    nnp_vec c = v * -6.3212568696285884105e-9 + 4.7106097267578230119e-7;
    c = c * v - 2.5202036770460258445e-5;
    c = c * v + 9.1926027418315572082e-4;
    c = c * v - 2.0863480763311209103e-2;
    c = c * v + 2.536695079010467091e-1;
    c = c * v - 1.2337005501361698118;
    c = c * v + 1.0;
#else
    nnp_vec s = v * 1.58206303556e-4f - 4.68126625673e-3f;
    s = s * v + 7.96925827256e-2f;
    s = s * v - 6.45964096147e-1f;
    s = (s * v + 1.57079632679f) * y;
    nnp_vec c = v * 9.0362806638e-4f - 2.08600695003e-2f;
    c = c * v + 2.53669203655e-1f;
    c = c * v - 1.23370054063f;
    c = c * v + 1.0f;
#endif
    *sine = NNP_R(2.0) * s * c;
    *cosine = NNP_R(1.0) - NNP_R(2.0) * s * s;
}

#endif /* NNP_VECMATH_H */
