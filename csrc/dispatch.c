/* dispatch.c - which instruction set's kernels to use, decided once. */
#include "kernels.h"
#include <stdlib.h>
#include <string.h>

extern const nnp_kernels nnp_kernels_f32_baseline, nnp_kernels_f64_baseline;

#if (defined(__x86_64__) || defined(_M_X64)) && !defined(NNP_BASELINE_ONLY)

extern const nnp_kernels nnp_kernels_f32_avx2, nnp_kernels_f64_avx2;
extern const nnp_kernels nnp_kernels_f32_avx512, nnp_kernels_f64_avx512;

static int best_isa(void)
{
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
        __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512bw"))
        return 2;
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") ? 1 : 0;
}

static const nnp_kernels* const tables[3][2] = {{&nnp_kernels_f64_baseline, &nnp_kernels_f32_baseline},
                                                {&nnp_kernels_f64_avx2, &nnp_kernels_f32_avx2},
                                                {&nnp_kernels_f64_avx512, &nnp_kernels_f32_avx512}};

#else

static int best_isa(void) { return 0; }
static const nnp_kernels* const tables[1][2] = {{&nnp_kernels_f64_baseline, &nnp_kernels_f32_baseline}};

#endif

/* 0 .. best_isa(), or -1 if NNPCORE_ISA asks for what is not there */
static int chosen_isa(void)
{
    const int best = best_isa();
    const char* const wanted = getenv("NNPCORE_ISA");
    if (!wanted || !*wanted) return best;
    for (int i = 0; i <= best; ++i)
        if (strcmp(wanted, tables[i][0]->isa) == 0) return i;
    nnp_fail(NNP_ERR_ARGUMENT, "NNPCORE_ISA=%s: this machine and build have baseline%s%s", wanted,
             best > 0 ? ", avx2" : "", best > 1 ? ", avx512" : "");
    return -1;
}

const nnp_kernels* nnp_get_kernels(int precision)
{
    const int isa = chosen_isa();
    return isa < 0 ? NULL : tables[isa][precision == NNP_F32];
}

const char* nnp_isa(void)
{
    const nnp_kernels* const k = nnp_get_kernels(NNP_F64);
    return k ? k->isa : "none";
}
