/* step_impl.h - velocity Verlet for a few rows: plain loops over coordinates, which the compiler vectorises
 * for the instruction set at hand.
 */
#ifndef NNP_STEP_IMPL_H
#define NNP_STEP_IMPL_H

#include "kernels.h"
#include <math.h>

enum { STEP_SUMS = 8 }; /* chains of additions side by side */

/* out[3 i + c] = factor a[i] */
static void step_spread(int n, double factor, const double* restrict a, double* restrict out)
{
    for (int i = 0; i < n; ++i)
        for (int c = 0; c < 3; ++c) out[3 * i + c] = factor * a[i];
}

static int kernels_drift(int n, double dt, double most, const double* inverse, const double* restrict f,
                         const double* restrict v_old, const double* restrict x_old, double* restrict v,
                         double* restrict x)
{
    double h[3 * NNP_WORK_ROWS];
    int64_t bad = 0;
    step_spread(n, 0.5 * dt, inverse, h);
    for (int k = 0; k < 3 * n; ++k) {
        v[k] = v_old[k] + h[k] * f[k];
        x[k] = x_old[k] + dt * v[k];
        bad |= !(fabs(x[k] - x_old[k]) <= most);
    }
    return bad != 0;
}

static double step_kinetic(int n, const double* mass, const double* v)
{
    double m[3 * NNP_WORK_ROWS], sum[STEP_SUMS] = {0};
    int k = 0;
    step_spread(n, 0.5, mass, m);
    for (; k + STEP_SUMS <= 3 * n; k += STEP_SUMS)
        for (int s = 0; s < STEP_SUMS; ++s) sum[s] += m[k + s] * v[k + s] * v[k + s];
    for (; k < 3 * n; ++k) sum[0] += m[k] * v[k] * v[k];
    return ((sum[0] + sum[4]) + (sum[2] + sum[6])) + ((sum[1] + sum[5]) + (sum[3] + sum[7]));
}

static int kernels_kick(int n, double dt, double most, const double* inverse, const double* mass,
                        const double* restrict f, double* restrict v, double* kinetic)
{
    double h[3 * NNP_WORK_ROWS];
    int64_t large = 0;
    step_spread(n, 0.5 * dt, inverse, h);
    for (int k = 0; k < 3 * n; ++k) {
        v[k] += h[k] * f[k];
        large |= !(f[k] * f[k] <= most * most / 3);
    }
    if (kinetic) *kinetic = step_kinetic(n, mass, v);
    int bad = 0;
    for (int i = 0; i < n && large; ++i) {
        const double* const p = f + 3 * i;
        bad |= !(p[0] * p[0] + p[1] * p[1] + p[2] * p[2] <= most * most);
    }
    return bad;
}

#endif /* NNP_STEP_IMPL_H */
