/* math/activation.h - activation functions h(z) of a network's layers with h' and h''.
 *
 *   tanh z    1/(1 + e^-z)    ln(1 + e^z)    e^(-z^2/2)    cos z    max(z, 0)    e^-z    z^2    z
 */
#ifndef NNP_ACTIVATION_H
#define NNP_ACTIVATION_H

#include "vecmath.h"

#if NNP_REAL_BITS == 64
#define NNP_ACT_EXP_LIMIT 690.0
#else
#define NNP_ACT_EXP_LIMIT 80.0f
#endif

/* e^z with z held inside what the precision can take */
NNP_FN nnp_vec nnp_act_exp(nnp_vec z)
{
    const nnp_vec limit = nnp_splat(NNP_ACT_EXP_LIMIT);
    return nnp_exp(nnp_max(nnp_min(z, limit), -limit));
}

/* sin and cos of any z of moderate size: z = pi (n + y), |y| <= 1/2 */
NNP_FN void nnp_act_sincos(nnp_vec z, nnp_vec* sine, nnp_vec* cosine)
{
    const nnp_vec q = z * NNP_R(0.31830988618379067154);
    const nnp_vec u = q + NNP_ROUND_MAGIC;
    const nnp_vec n = u - NNP_ROUND_MAGIC;
    const nnp_vec half = n * NNP_R(0.5);
    const nnp_vec v = half + NNP_ROUND_MAGIC;
    const nnp_vec odd = half - (v - NNP_ROUND_MAGIC); /* 0, or +-1/2 where n is odd */
    const nnp_vec sign = NNP_R(1.0) - NNP_R(8.0) * odd * odd;
    nnp_sincospi(q - n, sine, cosine);
    *sine *= sign;
    *cosine *= sign;
}

NNP_FN void nnp_activate(const int kind, nnp_vec z, nnp_vec* h, nnp_vec* slope, nnp_vec* bend)
{
    const nnp_vec one = nnp_splat(NNP_R(1.0)), zero = nnp_splat(0);
    if (kind == NNP_ACT_TANH) {
        *h = nnp_tanh(z);
        *slope = one - *h * *h;
        *bend = NNP_R(-2.0) * *h * *slope;
    } else if (kind == NNP_ACT_LOGISTIC) {
        *h = one / (one + nnp_act_exp(-z));
        *slope = *h * (one - *h);
        *bend = *slope * (one - NNP_R(2.0) * *h);
    } else if (kind == NNP_ACT_SOFTPLUS) { /* max(z, 0) + ln(1 + e^-|z|) */
        const nnp_vec e = nnp_act_exp(-nnp_max(z, -z));
        const nnp_vec s = one / (one + e);
        *h = nnp_max(z, zero) + nnp_log(one + e);
        *slope = nnp_select(z > NNP_R(0.0), s, one - s);
        *bend = *slope * (one - *slope);
    } else if (kind == NNP_ACT_GAUSSIAN) {
        *h = nnp_act_exp(NNP_R(-0.5) * z * z);
        *slope = -z * *h;
        *bend = (z * z - one) * *h;
    } else if (kind == NNP_ACT_COS) {
        nnp_vec s;
        nnp_act_sincos(z, &s, h);
        *slope = -s;
        *bend = -*h;
    } else if (kind == NNP_ACT_RELU) {
        *h = nnp_max(z, zero);
        *slope = nnp_where(z > NNP_R(0.0), one);
        *bend = zero;
    } else if (kind == NNP_ACT_EXP) {
        *h = nnp_act_exp(-z);
        *slope = -*h;
        *bend = *h;
    } else if (kind == NNP_ACT_HARMONIC) {
        *h = z * z;
        *slope = NNP_R(2.0) * z;
        *bend = nnp_splat(NNP_R(2.0));
    } else {
        *h = z;
        *slope = one;
        *bend = zero;
    }
}

#endif /* NNP_ACTIVATION_H */
