/* philox.h - counter-based random numbers: Philox4x32-10 and normal deviates from it.
 *
 * J. K. Salmon, M. A. Moraes, R. O. Dror, D. E. Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC11
 * (2011). A draw is a pure function of (seed, step, tag, stream): threads, restarts and the order of atoms
 * cannot matter. Straight-line code with no call of libm, so that a loop over atoms vectorises and every
 * platform gets the same numbers to the last bit or two. C11 and C++17.
 */
#ifndef NNP_PHILOX_H
#define NNP_PHILOX_H

#include <math.h>
#include <stdint.h>
#include <string.h>

#ifndef NNP_FN
#define NNP_FN static inline
#endif

enum { NNP_STREAM_VELOCITY = 0, NNP_STREAM_LANGEVIN = 1, NNP_STREAM_BUSSI = 2 };

/* c[4] is the counter on entry, 128 random bits on return. */
NNP_FN void nnp_philox(uint32_t k0, uint32_t k1, uint32_t* c)
{
    for (int round = 0; round < 10; round++) {
        uint64_t p = (uint64_t)0xD2511F53u * c[0], q = (uint64_t)0xCD9E8D57u * c[2];
        uint32_t a = (uint32_t)(q >> 32) ^ c[1] ^ k0, b = (uint32_t)(p >> 32) ^ c[3] ^ k1;
        c[0] = a;
        c[1] = (uint32_t)q;
        c[2] = b;
        c[3] = (uint32_t)p;
        k0 += 0x9E3779B9u;
        k1 += 0xBB67AE85u;
    }
}

/* The bits of (seed, step, tag, stream); draw < 2^24 numbers further draws of one tag. */
NNP_FN void nnp_philox_draw(uint64_t seed, uint64_t step, uint32_t tag, uint32_t stream, uint32_t draw,
                            uint32_t* bits)
{
    bits[0] = (uint32_t)step;
    bits[1] = (uint32_t)(step >> 32);
    bits[2] = tag;
    bits[3] = stream << 24 | draw;
    nnp_philox((uint32_t)seed, (uint32_t)(seed >> 32), bits);
}

/* (k + 1/2) / 2^32, strictly inside (0, 1); by way of int, which SSE2 converts. */
NNP_FN double nnp_uniform(uint32_t k)
{
    return ((double)(int32_t)(k ^ 0x80000000u) + 2147483648.5) * 2.3283064365386962890625e-10;
}

/* ln u for normal u > 0: u = 2^e m with m in [1/sqrt 2, sqrt 2), ln m = 2 artanh((m-1)/(m+1)). */
NNP_FN double nnp_log(double u)
{
    uint64_t bits, shifted, exponent, mantissa;
    memcpy(&bits, &u, 8);
    shifted = bits + (0x3ff0000000000000u - 0x3fe6a09e667f3bcdu); /* carries into e where m >= sqrt 2 */
    exponent = (shifted >> 52) | 0x4330000000000000u;             /* 2^52 + e + 1023 as a double's bits */
    mantissa = bits - ((shifted & 0x7ff0000000000000u) - 0x3ff0000000000000u);
    double e, m;
    memcpy(&e, &exponent, 8);
    memcpy(&m, &mantissa, 8);
    double s = (m - 1) / (m + 1), z = s * s;
    double t = 1. / 21;
    t = t * z + 1. / 19;
    t = t * z + 1. / 17;
    t = t * z + 1. / 15;
    t = t * z + 1. / 13;
    t = t * z + 1. / 11;
    t = t * z + 1. / 9;
    t = t * z + 1. / 7;
    t = t * z + 1. / 5;
    t = t * z + 1. / 3;
    return (e - 4503599627371519.0) * 0.69314718055994530942 + 2 * (s + s * z * t);
}

/* cos and sin of 2 pi k / 2^32: a quarter turn q and a rest in [-pi/4, pi/4), Taylor series to 1e-17. */
NNP_FN void nnp_turn(uint32_t k, double* cosine, double* sine)
{
    uint32_t q = (k + 0x20000000u) >> 30;
    double t = (double)(int32_t)(k - (q << 30)) * 1.46291807926715968105e-9; /* pi / 2^31 */
    double z = t * t;
    double s = -7.6471637318198164759e-13;
    s = s * z + 1.6059043836821614599e-10;
    s = s * z - 2.5052108385441718775e-8;
    s = s * z + 2.7557319223985890653e-6;
    s = s * z - 1.9841269841269841270e-4;
    s = s * z + 8.3333333333333333333e-3;
    s = s * z - 1.6666666666666666667e-1;
    s = t + t * z * s;
    double c = 4.7794773323873852974e-14;
    c = c * z - 1.1470745597729724714e-11;
    c = c * z + 2.0876756987868098979e-9;
    c = c * z - 2.7557319223985890653e-7;
    c = c * z + 2.4801587301587301587e-5;
    c = c * z - 1.3888888888888888889e-3;
    c = c * z + 4.1666666666666666667e-2;
    c = c * z - 0.5;
    c = 1 + z * c;
    double x = q & 1 ? s : c, y = q & 1 ? c : s;
    *cosine = (q + 1) & 2 ? -x : x;
    *sine = q & 2 ? -y : y;
}

/* Two standard normal deviates of 64 bits (Box and Muller, Ann. Math. Stat. 29, 610 (1958)); |g| < 6.8. */
NNP_FN void nnp_normal2(uint32_t a, uint32_t b, double* g0, double* g1)
{
    double r = sqrt(-2 * nnp_log(nnp_uniform(a))), c, s;
    nnp_turn(b, &c, &s);
    *g0 = r * c;
    *g1 = r * s;
}

#endif /* NNP_PHILOX_H */
