/* md_random.c - random numbers of the MD loop, all of them functions of (seed, step, atom). */
#include "md_internal.h"
#include "math/philox.h"

void nnp_md_normals(const nnp_md* md, uint32_t stream, int first, int count, double* out)
{
    const int* tag = md->list->order + first;
    const uint64_t seed = md->options.seed, step = (uint64_t)md->step;
    double *gx = out, *gy = out + NNP_MD_BLOCK, *gz = out + 2 * NNP_MD_BLOCK;
    uint32_t bits[4][NNP_MD_BLOCK];
    double unused[NNP_MD_BLOCK];
    for (int i = 0; i < count; i++) {
        uint32_t b[4];
        nnp_philox_draw(seed, step, (uint32_t)tag[i], stream, 0, b);
        for (int k = 0; k < 4; k++) bits[k][i] = b[k];
    }
    for (int i = 0; i < count; i++) nnp_normal2(bits[0][i], bits[1][i], &gx[i], &gy[i]);
    for (int i = 0; i < count; i++) nnp_normal2(bits[2][i], bits[3][i], &gz[i], &unused[i]);
}

/* One stream of numbers for the whole system: tag 0, a running draw. */
typedef struct {
    uint64_t seed, step;
    uint32_t draw;
} sequence;

static double next_normal(sequence* s, double* u)
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
static double gamma_deviate(sequence* s, double a)
{
    double boost = 1, u;
    if (a < 1) {
        next_normal(s, &u);
        boost = exp(nnp_log(u) / a);
        a += 1;
    }
    double d = a - 1. / 3, c = 1 / sqrt(9 * d);
    for (;;) {
        double g = next_normal(s, &u), t = 1 + c * g;
        if (t <= 0) continue;
        double v = t * t * t;
        if (nnp_log(u) < 0.5 * g * g + d - d * v + d * nnp_log(v)) return boost * d * v;
    }
}

/* alpha of Bussi, Donadio, Parrinello, J. Chem. Phys. 126, 014101 (2007), eqs. (A7) and (A8):
 * alpha^2 = c + (1-c) Kbar/(Nf K) sum_{i=1..Nf} R_i^2 + 2 R_1 sqrt(c (1-c) Kbar/(Nf K)), c = exp(-dt/tau),
 * Kbar = Nf kB T/2; the sum of Nf - 1 squares is twice a Gamma((Nf-1)/2) deviate. */
double nnp_md_bussi_factor(const nnp_md* md, double kinetic)
{
    sequence s = {md->options.seed, (uint64_t)md->step, 0};
    double degrees = nnp_md_degrees(md), c = exp(-md->options.dt / md->options.tau), unused;
    if (!(kinetic > 0) || degrees < 1) return 1;
    double ratio = 0.5 * NNP_KB * md->options.temperature / kinetic; /* Kbar/(Nf K) */
    double r = next_normal(&s, &unused);
    double others = degrees > 1 ? 2 * gamma_deviate(&s, 0.5 * (degrees - 1)) : 0;
    double square = c + (1 - c) * ratio * (r * r + others) + 2 * r * sqrt(c * (1 - c) * ratio);
    double sign = r + sqrt(c / ((1 - c) * ratio));
    double alpha = sqrt(square > 0 ? square : 0);
    return sign < 0 ? -alpha : alpha;
}
