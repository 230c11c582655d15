/* kernels_f32_avx2.c - kernels_impl.h for float32, avx2. */
#define NNP_REAL_BITS 32
#define NNP_ISA       1
#define NNP_TABLE     nnp_kernels_f32_avx2
#if (defined(__x86_64__) || defined(_M_X64)) && !defined(NNP_BASELINE_ONLY)
#include "kernels_impl.h"
#endif
