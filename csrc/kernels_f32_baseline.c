/* kernels_f32_baseline.c - kernels_impl.h for float32, baseline. */
#define NNP_REAL_BITS 32
#define NNP_ISA       0
#define NNP_TABLE     nnp_kernels_f32_baseline
#include "kernels_impl.h"
