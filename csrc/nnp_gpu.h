/* nnp_gpu.h - nnp_vec on the GPU: one thread, one number. Included by nnp_simd.h. */
#ifndef NNP_GPU_H
#define NNP_GPU_H

#define NNP_W 1

typedef nnp_real nnp_vec;
typedef bool nnp_mask;

NNP_FN nnp_vec nnp_splat(nnp_real a) { return a; }
NNP_FN nnp_vec nnp_select(nnp_mask m, nnp_vec a, nnp_vec b) { return m ? a : b; }
NNP_FN nnp_vec nnp_where(nnp_mask m, nnp_vec a) { return m ? a : NNP_R(0.0); }
NNP_FN nnp_vec nnp_inverse(nnp_vec a) { return NNP_R(1.0) / a; }
NNP_FN double nnp_lane_sum(nnp_vec a) { return (double)a; }

#if NNP_REAL_BITS == 64
#define NNP_ROUND_MAGIC 6755399441055744.0 /* 1.5 * 2^52 */
NNP_FN nnp_vec nnp_sqrt(nnp_vec a) { return sqrt(a); }
NNP_FN nnp_vec nnp_rsqrt(nnp_vec a) { return rsqrt(a); }
NNP_FN nnp_vec nnp_min(nnp_vec a, nnp_vec b) { return fmin(a, b); }
NNP_FN nnp_vec nnp_max(nnp_vec a, nnp_vec b) { return fmax(a, b); }

/* p 2^n for the n that rounding left in u = n + magic */
NNP_FN nnp_vec nnp_scale2(nnp_vec p, nnp_vec u)
{
    const unsigned long long n = (unsigned long long)__double_as_longlong(u) << 52;
    return __longlong_as_double((long long)((unsigned long long)__double_as_longlong(p) + n));
}
#else
#define NNP_ROUND_MAGIC 12582912.0f /* 1.5 * 2^23 */
NNP_FN nnp_vec nnp_sqrt(nnp_vec a) { return sqrtf(a); }
NNP_FN nnp_vec nnp_rsqrt(nnp_vec a) { return rsqrtf(a); }
NNP_FN nnp_vec nnp_min(nnp_vec a, nnp_vec b) { return fminf(a, b); }
NNP_FN nnp_vec nnp_max(nnp_vec a, nnp_vec b) { return fmaxf(a, b); }
#endif

#endif /* NNP_GPU_H */
