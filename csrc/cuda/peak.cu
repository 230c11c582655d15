/* peak.cu - fused multiply-adds without memory: the arithmetic peak that bench/bench_gpu.py compares with. */
#include "../nnp_config.h"

enum { NNP_PEAK_CHAINS = 8 }; /* independent of one another: more than the latency of one */

/* 2 NNP_PEAK_CHAINS n operations a thread; out [threads]: so that they are needed. */
NNP_KERNEL nnp_peak_fma(int n, nnp_real a, nnp_real b, nnp_real* NNP_RESTRICT out)
{
    const int i = (int)(blockIdx.x * blockDim.x + threadIdx.x);
    nnp_real x[NNP_PEAK_CHAINS], sum = 0;
    for (int c = 0; c < NNP_PEAK_CHAINS; ++c) x[c] = (nnp_real)(i + c);
    for (int k = 0; k < n; ++k)
        for (int c = 0; c < NNP_PEAK_CHAINS; ++c) x[c] = x[c] * a + b;
    for (int c = 0; c < NNP_PEAK_CHAINS; ++c) sum += x[c];
    out[i] = sum;
}
