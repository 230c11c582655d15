/* bench_peak.c - how many fused multiply-adds a second this processor's vector units do and how many bytes it
 * copies: the two ceilings that `nnpcore bench` and bench/bench_core.c hold the core against. Plain C;
 * nothing of the core is needed.
 *
 * Twelve independent chains of x = x a + b hide the latency of the two FMA units of current processors.
 */
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { CHAINS = 12 };

static double seconds_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* GFLOP/s over about `wanted` seconds; an FMA counts 2 */
#define PEAK(name, real, bytes, attributes)                                                                  \
    attributes static double name(double wanted)                                                             \
    {                                                                                                        \
        typedef real vec __attribute__((vector_size(bytes)));                                                \
        const int rounds = 100000;                                                                           \
        vec x[CHAINS], a = {0}, b = {0};                                                                     \
        volatile real sink = 0;                                                                              \
        a += (real)0.999999, b += (real)1e-6;                                                                \
        for (int c = 0; c < CHAINS; c++) x[c] = b + (real)c;                                                 \
        double done = 0, spent = 0;                                                                          \
        const double begin = seconds_now();                                                                  \
        do {                                                                                                 \
            for (int i = 0; i < rounds; i++)                                                                 \
                for (int c = 0; c < CHAINS; c++) x[c] = x[c] * a + b;                                        \
            done += 2.0 * rounds * CHAINS * (double)(bytes / sizeof(real));                                  \
            spent = seconds_now() - begin;                                                                   \
        } while (spent < wanted);                                                                            \
        for (int c = 0; c < CHAINS; c++) sink += x[c][0];                                                    \
        return done / spent * 1e-9;                                                                          \
    }

PEAK(peak_double_16, double, 16, )
PEAK(peak_float_16, float, 16, )

#if defined(__x86_64__)
PEAK(peak_double_32, double, 32, __attribute__((target("avx2,fma"))))
PEAK(peak_float_32, float, 32, __attribute__((target("avx2,fma"))))
PEAK(peak_double_64, double, 64, __attribute__((target("avx512f"))))
PEAK(peak_float_64, float, 64, __attribute__((target("avx512f"))))
#endif

/* One thread's peak, GFLOP/s, with vectors of this many bytes (16, 32, 64: baseline, avx2, avx512). */
double nnp_bench_peak(int vector_bytes, int is_float, double seconds)
{
#if defined(__x86_64__)
    if (vector_bytes == 64) return is_float ? peak_float_64(seconds) : peak_double_64(seconds);
    if (vector_bytes == 32) return is_float ? peak_float_32(seconds) : peak_double_32(seconds);
#endif
    (void)vector_bytes;
    return is_float ? peak_float_16(seconds) : peak_double_16(seconds);
}

/* One thread's copy bandwidth, GB/s read and written, between two arrays of bytes/2 each; 0 without memory.
 */
double nnp_bench_copy(double bytes, double seconds)
{
    const size_t half = (size_t)(bytes / 2);
    char *const from = malloc(half), *const to = malloc(half);
    double done = 0, spent = 0;
    if (from && to) {
        memset(from, 1, half);
        memset(to, 2, half);
        const double begin = seconds_now();
        do {
            memcpy(to, from, half);
            from[(size_t)done % half] = to[half / 2]; /* so that no copy can be left out */
            done += 2.0 * (double)half;
            spent = seconds_now() - begin;
        } while (spent < seconds);
    }
    free(from);
    free(to);
    return spent > 0 ? done / spent * 1e-9 : 0;
}
