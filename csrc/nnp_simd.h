/* nnp_simd.h - nnp_vec on the CPU: NNP_W lanes of nnp_real, by GCC/Clang vector extensions.
 *
 * NNP_ISA picks the width: 0 baseline (16 bytes), 1 AVX2+FMA (32), 2 AVX-512 (64). Other processors take
 * the baseline. Operators work lane by lane, with scalars too; masks are integer vectors, all bits set
 * where true. A lane never sees another: a result depends on its own atom alone, not on its place in a block.
 */
#ifndef NNP_SIMD_H
#define NNP_SIMD_H

#include "nnp_config.h"

#ifdef NNP_GPU
#include "nnp_gpu.h"
#else

#include <math.h>
#include <stdint.h>

#if NNP_ISA == 2
#define NNP_VEC_BYTES 64
#elif NNP_ISA == 1
#define NNP_VEC_BYTES 32
#else
#define NNP_VEC_BYTES 16
#endif
#define NNP_W (NNP_VEC_BYTES * 8 / NNP_REAL_BITS)

#if NNP_REAL_BITS == 32
typedef int32_t nnp_int;
typedef uint32_t nnp_uint;
#else
typedef int64_t nnp_int;
typedef uint64_t nnp_uint;
#endif

#if NNP_ISA > 0
#include <immintrin.h>
#elif defined(__SSE2__)
#include <emmintrin.h>
#endif

#if defined(__GNUC__)

typedef nnp_real nnp_vec __attribute__((vector_size(NNP_VEC_BYTES), may_alias));
typedef nnp_int nnp_mask __attribute__((vector_size(NNP_VEC_BYTES), may_alias));
typedef nnp_uint nnp_bits __attribute__((vector_size(NNP_VEC_BYTES), may_alias)); /* where sums wrap */

NNP_FN nnp_vec nnp_splat(nnp_real a) { return (nnp_vec){0} + a; }

NNP_FN nnp_vec nnp_select(nnp_mask m, nnp_vec a, nnp_vec b)
{
    return (nnp_vec)(((nnp_mask)a & m) | ((nnp_mask)b & ~m));
}

/* a where m, else 0 */
NNP_FN nnp_vec nnp_where(nnp_mask m, nnp_vec a) { return (nnp_vec)((nnp_mask)a & m); }

NNP_FN nnp_vec nnp_sqrt(nnp_vec a)
{
#if NNP_ISA == 2 && NNP_REAL_BITS == 64
    return (nnp_vec)_mm512_sqrt_pd((__m512d)a);
#elif NNP_ISA == 2
    return (nnp_vec)_mm512_sqrt_ps((__m512)a);
#elif NNP_ISA == 1 && NNP_REAL_BITS == 64
    return (nnp_vec)_mm256_sqrt_pd((__m256d)a);
#elif NNP_ISA == 1
    return (nnp_vec)_mm256_sqrt_ps((__m256)a);
#elif defined(__SSE2__) && NNP_REAL_BITS == 64
    return (nnp_vec)_mm_sqrt_pd((__m128d)a);
#elif defined(__SSE2__)
    return (nnp_vec)_mm_sqrt_ps((__m128)a);
#else
    nnp_vec r;
    for (int w = 0; w < NNP_W; ++w) r[w] = (nnp_real)sqrt((double)a[w]);
    return r;
#endif
}

/* 1/sqrt a of a normal a > 0, to two roundings: the processor's estimate and Newton's steps where that is
 * faster */
NNP_FN nnp_vec nnp_rsqrt(nnp_vec a)
{
#if NNP_ISA == 2 && NNP_REAL_BITS == 64
    nnp_vec y = (nnp_vec)_mm512_rsqrt14_pd((__m512d)a);
    const nnp_vec half = a * 0.5;
    y = y * (1.5 - half * y * y);
    return y + y * (0.5 - half * y * y);
#elif NNP_ISA == 2
    nnp_vec y = (nnp_vec)_mm512_rsqrt14_ps((__m512)a);
    return y + y * (0.5f - (a * 0.5f) * y * y);
#elif NNP_ISA == 1 && NNP_REAL_BITS == 32
    nnp_vec y = (nnp_vec)_mm256_rsqrt_ps((__m256)a);
    return y + y * (0.5f - (a * 0.5f) * y * y);
#else
    return NNP_R(1.0) / nnp_sqrt(a);
#endif
}

/* 1/a of a normal a whose inverse is normal too, to one rounding and a half, likewise */
NNP_FN nnp_vec nnp_inverse(nnp_vec a)
{
#if NNP_ISA == 2 && NNP_REAL_BITS == 64
    return 1.0 / a;
#elif NNP_ISA == 2
    const nnp_vec y = (nnp_vec)_mm512_rcp14_ps((__m512)a);
    return y + y * (1.0f - a * y);
#elif NNP_ISA == 1 && NNP_REAL_BITS == 32
    const nnp_vec y = (nnp_vec)_mm256_rcp_ps((__m256)a);
    return y + y * (1.0f - a * y);
#else
    return NNP_R(1.0) / a;
#endif
}

NNP_FN double nnp_lane_sum(nnp_vec a)
{
    double s = 0;
    for (int w = 0; w < NNP_W; ++w) s += (double)a[w];
    return s;
}

/* bits of an integral double/float as the exponent field: 2^n for the n that rounding left in u = n + magic
 */
#if NNP_REAL_BITS == 64
#define NNP_ROUND_MAGIC 6755399441055744.0 /* 1.5 * 2^52 */
#define NNP_MANTISSA    52
#else
#define NNP_ROUND_MAGIC 12582912.0f /* 1.5 * 2^23 */
#define NNP_MANTISSA    23
#endif

NNP_FN nnp_vec nnp_scale2(nnp_vec p, nnp_vec u)
{
    return (nnp_vec)((nnp_bits)p + ((nnp_bits)u << NNP_MANTISSA));
}

#else
#error "nnpcore needs the vector extensions of GCC or Clang"
#endif

/* a < b ? a : b and a > b ? a : b: one instruction, which gcc does not see in the selection */
#if NNP_ISA == 2 && NNP_REAL_BITS == 64
NNP_FN nnp_vec nnp_min(nnp_vec a, nnp_vec b) { return (nnp_vec)_mm512_min_pd((__m512d)a, (__m512d)b); }
NNP_FN nnp_vec nnp_max(nnp_vec a, nnp_vec b) { return (nnp_vec)_mm512_max_pd((__m512d)a, (__m512d)b); }
#elif NNP_ISA == 2
NNP_FN nnp_vec nnp_min(nnp_vec a, nnp_vec b) { return (nnp_vec)_mm512_min_ps((__m512)a, (__m512)b); }
NNP_FN nnp_vec nnp_max(nnp_vec a, nnp_vec b) { return (nnp_vec)_mm512_max_ps((__m512)a, (__m512)b); }
#elif NNP_ISA == 1 && NNP_REAL_BITS == 64
NNP_FN nnp_vec nnp_min(nnp_vec a, nnp_vec b) { return (nnp_vec)_mm256_min_pd((__m256d)a, (__m256d)b); }
NNP_FN nnp_vec nnp_max(nnp_vec a, nnp_vec b) { return (nnp_vec)_mm256_max_pd((__m256d)a, (__m256d)b); }
#elif NNP_ISA == 1
NNP_FN nnp_vec nnp_min(nnp_vec a, nnp_vec b) { return (nnp_vec)_mm256_min_ps((__m256)a, (__m256)b); }
NNP_FN nnp_vec nnp_max(nnp_vec a, nnp_vec b) { return (nnp_vec)_mm256_max_ps((__m256)a, (__m256)b); }
#elif defined(__SSE2__) && NNP_REAL_BITS == 64
NNP_FN nnp_vec nnp_min(nnp_vec a, nnp_vec b) { return (nnp_vec)_mm_min_pd((__m128d)a, (__m128d)b); }
NNP_FN nnp_vec nnp_max(nnp_vec a, nnp_vec b) { return (nnp_vec)_mm_max_pd((__m128d)a, (__m128d)b); }
#elif defined(__SSE2__)
NNP_FN nnp_vec nnp_min(nnp_vec a, nnp_vec b) { return (nnp_vec)_mm_min_ps((__m128)a, (__m128)b); }
NNP_FN nnp_vec nnp_max(nnp_vec a, nnp_vec b) { return (nnp_vec)_mm_max_ps((__m128)a, (__m128)b); }
#else
NNP_FN nnp_vec nnp_min(nnp_vec a, nnp_vec b) { return nnp_select(a < b, a, b); }
NNP_FN nnp_vec nnp_max(nnp_vec a, nnp_vec b) { return nnp_select(a > b, a, b); }
#endif

#endif /* NNP_GPU */

#endif /* NNP_SIMD_H */
