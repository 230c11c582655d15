/* nnp_config.h - the dialect shared by the C library, NVRTC and the CPU emulator.
 *
 * Everything under csrc/math/ is written in the common subset of C11 and C++17 on the type nnp_vec: on the
 * CPU a SIMD vector whose lanes are different central atoms, on the GPU (one thread, one atom) a plain
 * number. Only + - * / and the functions declared here touch it; branches are nnp_select(). Real literals go
 * through NNP_R(). NNP_REAL_BITS (32 or 64) selects the working precision.
 */
#ifndef NNP_CONFIG_H
#define NNP_CONFIG_H

#ifndef NNP_REAL_BITS
#define NNP_REAL_BITS 64
#endif

#if NNP_REAL_BITS == 32
typedef float nnp_real;
#define NNP_R(x) x##f
#elif NNP_REAL_BITS == 64
typedef double nnp_real;
#define NNP_R(x) x
#else
#error "NNP_REAL_BITS must be 32 or 64"
#endif

#if defined(__CUDACC__)
#define NNP_FN       static __device__ __forceinline__
#define NNP_TABLE_OF static __device__ const
#define NNP_UNROLL   _Pragma("unroll")
#elif defined(__GNUC__)
#define NNP_FN       static inline __attribute__((always_inline, unused))
#define NNP_TABLE_OF static const
#define NNP_UNROLL   _Pragma("GCC unroll 16")
#else
#define NNP_FN       static inline
#define NNP_TABLE_OF static const
#define NNP_UNROLL
#endif

/* Kernels: NNP_GPU is set for nvcc, NVRTC and the tests' emulator, whose header comes first. */
#if defined(NNP_GPU) && defined(__CUDACC__)
#define NNP_KERNEL   extern "C" __global__ void
#define NNP_RESTRICT __restrict__
#define NNP_DYN_SHARED(T, name)                                                                              \
    extern __shared__ __align__(16) unsigned char nnp_dynamic_shared[];                                      \
    T* const name = (T*)nnp_dynamic_shared
typedef int int32_t; /* NVRTC has no system headers */
typedef unsigned int uint32_t;
#if defined(__CUDACC_RTC__)
typedef long long int64_t;
typedef unsigned long long uint64_t;
#else
typedef unsigned long uint64_t;
#endif
#endif

#endif /* NNP_CONFIG_H */
