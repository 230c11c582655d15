/* kernels_f64_baseline.c - kernels_impl.h for float64, baseline. */
#define NNP_REAL_BITS 64
#define NNP_ISA       0
#define NNP_TABLE     nnp_kernels_f64_baseline
#include "kernels_impl.h"
