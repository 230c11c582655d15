/* vecmath.c - csrc/math on arrays, for test_vecmath.py; compiled with NNP_REAL_BITS and NNP_ISA. */
#if NNP_ISA == 2
#pragma GCC target("avx512f,avx512dq,avx512vl,avx512bw,avx2,fma,prefer-vector-width=512")
#elif NNP_ISA == 1
#pragma GCC target("avx2,fma")
#endif
#include "math/cutoff.h"

#define MAP(name, call)                                                                                      \
    void name(int n, const nnp_real* x, nnp_real* y)                                                         \
    {                                                                                                        \
        for (int i = 0; i < n; ++i) y[i] = (call(nnp_splat(x[i])))[NNP_W - 1];                               \
    }

MAP(map_exp, nnp_exp)
MAP(map_exp2, nnp_exp2)
MAP(map_log, nnp_log)
MAP(map_tanh, nnp_tanh)

void map_cutoff(int n, const nnp_real* r, nnp_real rc, int septic, nnp_real* x, nnp_real* dx)
{
    for (int i = 0; i < n; ++i) {
        nnp_vec a, b;
        (septic ? nnp_cutoff_septic : nnp_cutoff_cos)(nnp_splat(r[i]), rc, &a, &b);
        x[i] = a[0];
        dx[i] = b[0];
    }
}
