/* md.cu - the MD step on the device: velocity Verlet and BAOAB, the guard, thermostats, sums.
 *
 * Everything is double, in the order of the rows. A kernel that finds that an earlier one has reported a bad
 * step changes nothing, so the host may learn of it a step later and still have the state before: see
 * nnpcore/gpu/md.py.
 */
#include "common.cuh"
#include "../math/bussi.h"

/* Furthest that an atom may go in one step, Angstrom: beyond it the run has diverged. */
#define NNP_STEP_MAX 1e3

/* Places of the scalars on the device. */
#define NNP_HEAT  0
#define NNP_ALPHA 1
#define NNP_DRIFT 2 /* 3 of them: velocity of the centre of mass */

NNP_FN bool nnp_bad(const int* status)
{
    int worst = NNP_FINE;
    worst = status[NNP_STATUS_CLASH] < worst ? status[NNP_STATUS_CLASH] : worst;
    worst = status[NNP_STATUS_FAR] < worst ? status[NNP_STATUS_FAR] : worst;
    worst = status[NNP_STATUS_FORCE] < worst ? status[NNP_STATUS_FORCE] : worst;
    worst = status[NNP_STATUS_ENERGY] < worst ? status[NNP_STATUS_ENERGY] : worst;
    return worst != NNP_FINE;
}

/* What an atom's new position p means: too far a step, or out of the list's margin; and the atom of the list.
 */
NNP_FN void nnp_moved(int i, const double* p, const double* p_old, const double* x_list, const double* shift,
                      double limit2, double* atoms, int* status)
{
    double d2 = 0;
    bool good = true;
    for (int k = 0; k < 3; ++k) {
        const double d = p[k] - x_list[3 * (int64_t)i + k];
        d2 += d * d;
        good = good && fabs(p[k] - p_old[k]) <= NNP_STEP_MAX;
        atoms[4 * (int64_t)i + k] = p[k] + shift[3 * (int64_t)i + k];
    }
    if (!good) nnp_report(status, NNP_STATUS_FAR, i);
    if (!(d2 <= limit2)) nnp_report(status, NNP_STATUS_MOVED, i);
}

#define NNP_MD_ARGS                                                                                          \
    int n, double dt, double limit2, const double *NNP_RESTRICT x_old, const double *NNP_RESTRICT v_old,     \
        const double *NNP_RESTRICT f, const double *NNP_RESTRICT inverse, const double *NNP_RESTRICT x_list, \
        const double *NNP_RESTRICT shift, double *NNP_RESTRICT x, double *NNP_RESTRICT v,                    \
        double *NNP_RESTRICT atoms, int *status

/* v = v_old + dt/2 f/m, x = x_old + dt v. */
NNP_KERNEL __launch_bounds__(256) nnp_md_drift(NNP_MD_ARGS)
{
    const int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= n || nnp_bad(status)) return;
    const double h = 0.5 * dt * inverse[i];
    double p[3], old[3];
    for (int k = 0; k < 3; ++k) {
        const int64_t j = 3 * (int64_t)i + k;
        const double w = v_old[j] + h * f[j];
        old[k] = x_old[j];
        p[k] = old[k] + dt * w;
        v[j] = w;
        x[j] = p[k];
    }
    nnp_moved(i, p, old, x_list, shift, limit2, atoms, status);
}

/* Three normal deviates of an atom (its number in the caller's order) at a step. */
NNP_FN void nnp_deviates(uint64_t seed, uint64_t step, uint32_t tag, uint32_t stream, double* g)
{
    uint32_t b[4];
    double unused;
    nnp_philox_draw(seed, step, tag, stream, 0, b);
    nnp_normal2(b[0], b[1], g, g + 1);
    nnp_normal2(b[2], b[3], g + 2, &unused);
}

/* B A O A: v = v_old + dt/2 f/m; x = x_old + dt/2 v; v <- c v + sqrt(noise/m) R; x += dt/2 v, c =
 * exp(-friction dt), noise = (1 - c^2) kB T. part [blocks]: the kinetic energy that O has put in, eV. */
NNP_KERNEL __launch_bounds__(256)
    nnp_md_baoa(NNP_MD_ARGS, double c, double noise, uint64_t seed, uint64_t step,
                const int* NNP_RESTRICT order, double* NNP_RESTRICT part)
{
    __shared__ double shared[32];
    const int i = blockIdx.x * blockDim.x + threadIdx.x;
    const bool mine = i < n && !nnp_bad(status);
    double gain = 0;
    if (mine) {
        const double half = 0.5 * dt, h = half * inverse[i], s = sqrt(noise * inverse[i]);
        double g[3], p[3], old[3], v2 = 0;
        nnp_deviates(seed, step, (uint32_t)order[i], NNP_STREAM_LANGEVIN, g);
        for (int k = 0; k < 3; ++k) {
            const int64_t j = 3 * (int64_t)i + k;
            const double before = v_old[j] + h * f[j], after = c * before + s * g[k];
            old[k] = x_old[j];
            p[k] = old[k] + half * before + half * after;
            v[j] = after;
            x[j] = p[k];
            v2 += after * after - before * before;
        }
        gain = 0.5 * v2 / inverse[i];
        nnp_moved(i, p, old, x_list, shift, limit2, atoms, status);
    }
    gain = nnp_block_sum(gain, shared);
    if (threadIdx.x == 0) part[blockIdx.x] = gain;
}

/* v += dt/2 f/m; part [blocks]: kinetic energy; what is wrong with force and energy. */
NNP_KERNEL __launch_bounds__(256)
    nnp_md_kick(int n, double half, double f_max2, const double* NNP_RESTRICT f,
                const double* NNP_RESTRICT energy, const double* NNP_RESTRICT inverse, double* NNP_RESTRICT v,
                double* NNP_RESTRICT part, int* status)
{
    __shared__ double shared[32];
    const int i = blockIdx.x * blockDim.x + threadIdx.x;
    double twice = 0;
    if (i < n) {
        const double h = half * inverse[i];
        double f2 = 0, v2 = 0;
        for (int k = 0; k < 3; ++k) {
            const int64_t j = 3 * (int64_t)i + k;
            const double w = v[j] + h * f[j];
            v[j] = w;
            f2 += f[j] * f[j];
            v2 += w * w;
        }
        if (!(f2 <= f_max2)) nnp_report(status, NNP_STATUS_FORCE, i);
        if (!(fabs(energy[i]) <= 1e300)) nnp_report(status, NNP_STATUS_ENERGY, i);
        twice = v2 / inverse[i];
    }
    twice = nnp_block_sum(0.5 * twice, shared);
    if (threadIdx.x == 0) part[blockIdx.x] = twice;
}

/* Kinetic energy [blocks] of the state at hand. */
NNP_KERNEL __launch_bounds__(256)
    nnp_md_kinetic(int n, const double* NNP_RESTRICT v, const double* NNP_RESTRICT inverse,
                   double* NNP_RESTRICT part)
{
    __shared__ double shared[32];
    const int i = blockIdx.x * blockDim.x + threadIdx.x;
    double twice = 0;
    if (i < n) {
        const double* const w = v + 3 * (int64_t)i;
        twice = (w[0] * w[0] + w[1] * w[1] + w[2] * w[2]) / inverse[i];
    }
    twice = nnp_block_sum(0.5 * twice, shared);
    if (threadIdx.x == 0) part[blockIdx.x] = twice;
}

/* Sum of part [n] by one block, in thread 0. */
NNP_FN double nnp_sum_parts(int n, const double* part, double* shared)
{
    double sum = 0;
    for (int k = threadIdx.x; k < n; k += blockDim.x) sum += part[k];
    return nnp_block_sum(sum, shared);
}

/* One block: heat += what the Langevin noise put in. */
NNP_KERNEL __launch_bounds__(256)
    nnp_md_heat(int n_parts, const double* NNP_RESTRICT part, double* NNP_RESTRICT scalars, const int* status)
{
    __shared__ double shared[32];
    const double gain = nnp_sum_parts(n_parts, part, shared);
    if (threadIdx.x == 0 && !nnp_bad(status)) scalars[NNP_HEAT] += gain;
}

/* One block: the thermostat's factor from the kinetic energy in part, and its heat. */
NNP_KERNEL __launch_bounds__(256)
    nnp_md_bussi(int n_parts, const double* NNP_RESTRICT part, double degrees, double c, double half_kt,
                 uint64_t seed, uint64_t step, double* NNP_RESTRICT scalars, const int* status)
{
    __shared__ double shared[32];
    const double kinetic = nnp_sum_parts(n_parts, part, shared);
    if (threadIdx.x != 0 || nnp_bad(status)) return;
    const double alpha = nnp_bussi_alpha(seed, step, degrees, c, half_kt, kinetic);
    scalars[NNP_ALPHA] = alpha;
    scalars[NNP_HEAT] += kinetic * (alpha * alpha - 1);
}

/* v *= scalars[NNP_ALPHA] */
NNP_KERNEL __launch_bounds__(256)
    nnp_md_scale(int64_t count, const double* NNP_RESTRICT scalars, double* NNP_RESTRICT v, const int* status)
{
    const int64_t i = blockIdx.x * (int64_t)blockDim.x + threadIdx.x;
    if (i < count && !nnp_bad(status)) v[i] *= scalars[NNP_ALPHA];
}

/* part [4][blocks]: momentum and mass. */
NNP_KERNEL __launch_bounds__(256)
    nnp_md_momentum(int n, const double* NNP_RESTRICT v, const double* NNP_RESTRICT inverse,
                    double* NNP_RESTRICT part)
{
    __shared__ double shared[32];
    const int i = blockIdx.x * blockDim.x + threadIdx.x;
    for (int k = 0; k < 4; ++k) {
        double value = i < n ? (k < 3 ? v[3 * (int64_t)i + k] : 1.0) / inverse[i] : 0.0;
        value = nnp_block_sum(value, shared);
        if (threadIdx.x == 0) part[(int64_t)k * gridDim.x + blockIdx.x] = value;
    }
}

/* One block: velocity of the centre of mass; heat += share (0 or 1) times its loss. */
NNP_KERNEL __launch_bounds__(256) nnp_md_centre(int n_parts, double share, const double* NNP_RESTRICT part,
                                                double* NNP_RESTRICT scalars, const int* status)
{
    __shared__ double shared[32];
    double sum[4];
    for (int k = 0; k < 4; ++k) sum[k] = nnp_sum_parts(n_parts, part + (int64_t)k * n_parts, shared);
    if (threadIdx.x != 0 || nnp_bad(status)) return;
    double square = 0;
    for (int k = 0; k < 3; ++k) {
        const double drift = sum[3] > 0 ? sum[k] / sum[3] : 0.0;
        scalars[NNP_DRIFT + k] = drift;
        square += drift * drift;
    }
    scalars[NNP_HEAT] -= share * 0.5 * sum[3] * square;
}

NNP_KERNEL __launch_bounds__(256)
    nnp_md_subtract(int n, const double* NNP_RESTRICT scalars, double* NNP_RESTRICT v, const int* status)
{
    const int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= n || nnp_bad(status)) return;
    for (int k = 0; k < 3; ++k) v[3 * (int64_t)i + k] -= scalars[NNP_DRIFT + k];
}

/* Maxwell-Boltzmann: v = sqrt(kB T/m) R. */
NNP_KERNEL __launch_bounds__(256)
    nnp_md_draw(int n, double kt, uint64_t seed, uint64_t step, const int* NNP_RESTRICT order,
                const double* NNP_RESTRICT inverse, double* NNP_RESTRICT v)
{
    const int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= n) return;
    double g[3];
    nnp_deviates(seed, step, (uint32_t)order[i], NNP_STREAM_VELOCITY, g);
    for (int k = 0; k < 3; ++k) v[3 * (int64_t)i + k] = sqrt(kt * inverse[i]) * g[k];
}

/* part [6][blocks]: sum of m v (x) v, xx yy zz xy xz yz. */
NNP_KERNEL __launch_bounds__(256)
    nnp_md_kinetic_tensor(int n, const double* NNP_RESTRICT v, const double* NNP_RESTRICT inverse,
                          double* NNP_RESTRICT part)
{
    __shared__ double shared[32];
    const int i = blockIdx.x * blockDim.x + threadIdx.x;
    double w[3] = {0, 0, 0}, mass = 0;
    if (i < n) {
        for (int k = 0; k < 3; ++k) w[k] = v[3 * (int64_t)i + k];
        mass = 1.0 / inverse[i];
    }
    const double product[6] = {w[0] * w[0], w[1] * w[1], w[2] * w[2], w[0] * w[1], w[0] * w[2], w[1] * w[2]};
    for (int k = 0; k < 6; ++k) {
        const double sum = nnp_block_sum(mass * product[k], shared);
        if (threadIdx.x == 0) part[(int64_t)k * gridDim.x + blockIdx.x] = sum;
    }
}
