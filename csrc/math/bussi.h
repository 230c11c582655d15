/* bussi.h - the factor of stochastic velocity rescaling, a function of (seed, step) and the kinetic energy.
 *
 * G. Bussi, D. Donadio, M. Parrinello, J. Chem. Phys. 126, 014101 (2007). C11 and C++17.
 */
#ifndef NNP_BUSSI_H
#define NNP_BUSSI_H

#include "philox.h"

/* One stream of numbers for the whole system: tag 0, a running draw. */
typedef struct nnp_sequence {
    uint64_t seed, step;
    uint32_t draw;
} nnp_sequence;

NNP_FN double nnp_next_normal(nnp_sequence* s, double* u)
{
    uint32_t b[4];
    double g, unused;
    nnp_philox_draw(s->seed, s->step, 0, NNP_STREAM_BUSSI, s->draw++, b);
    nnp_normal2(b[0], b[1], &g, &unused);
    *u = nnp_uniform(b[2]);
    return g;
}

/* Gamma deviate of shape a >= 1/2, scale 1: G. Marsaglia, W. W. Tsang, ACM Trans. Math. Softw. 26, 363
 * (2000); shapes below 1 through Gamma(a) = Gamma(a+1) u^(1/a). */
NNP_FN double nnp_gamma_deviate(nnp_sequence* s, double a)
{
    double boost = 1, u;
    if (a < 1) {
        nnp_next_normal(s, &u);
        boost = exp(nnp_log(u) / a);
        a += 1;
    }
    double d = a - 1. / 3, c = 1 / sqrt(9 * d);
    for (;;) {
        double g = nnp_next_normal(s, &u), t = 1 + c * g;
        if (t <= 0) continue;
        double v = t * t * t;
        if (nnp_log(u) < 0.5 * g * g + d - d * v + d * nnp_log(v)) return boost * d * v;
    }
}

/* alpha of eqs. (A7) and (A8): alpha^2 = c + (1-c) Kbar/(Nf K) sum_{i=1..Nf} R_i^2 + 2 R_1 sqrt(c (1-c)
 * Kbar/(Nf K)), c = exp(-dt/tau), Kbar = Nf kB T/2; the sum of Nf - 1 squares is twice a Gamma((Nf-1)/2)
 * deviate. half_kt = kB T/2. */
NNP_FN double nnp_bussi_alpha(uint64_t seed, uint64_t step, double degrees, double c, double half_kt,
                              double kinetic)
{
    nnp_sequence s = {seed, step, 0};
    double unused;
    if (!(kinetic > 0) || degrees < 1) return 1;
    double ratio = half_kt / kinetic; /* Kbar/(Nf K) */
    double r = nnp_next_normal(&s, &unused);
    double others = degrees > 1 ? 2 * nnp_gamma_deviate(&s, 0.5 * (degrees - 1)) : 0;
    double square = c + (1 - c) * ratio * (r * r + others) + 2 * r * sqrt(c * (1 - c) * ratio);
    double sign = r + sqrt(c / ((1 - c) * ratio));
    double alpha = sqrt(square > 0 ? square : 0);
    return sign < 0 ? -alpha : alpha;
}

#endif /* NNP_BUSSI_H */
