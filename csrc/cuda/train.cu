/* train.cu - forces of a batch of frames, the loss and its slopes: what the loss gradient starts from
 * (trainer.c).
 *
 *   nnp_batch_forces   F_i = sum_p (g_p - g_reverse(p)), W_i = -sum_p r_ij (x) g_p of the batch's rows
 *   nnp_batch_loss     residuals of each frame; terms, c = dL/dE, lambda = dL/dF, M = dL/dW
 *   nnp_turn           y = Q x for the optimiser in a rotated basis
 */
#include "common.cuh"

enum { NNP_ROW_LANES = 8 }; /* threads a row: batches are small, a row's loads go side by side */

NNP_FN double row_sum(double v)
{
    for (int o = NNP_ROW_LANES / 2; o > 0; o >>= 1) v += __shfl_xor_sync(0xffffffffu, v, o);
    return v;
}

/* force [n][3], virial [6][n] xx yy zz xy xz yz, at the rows listed only. Blocks of whole warps. */
NNP_KERNEL __launch_bounds__(256)
    nnp_batch_forces(int n_rows, const int* NNP_RESTRICT rows, int n, int64_t entries,
                     const double* NNP_RESTRICT x, const int64_t* NNP_RESTRICT slice_first,
                     const int* NNP_RESTRICT count, const int* NNP_RESTRICT index,
                     const int* NNP_RESTRICT reverse, const nnp_real* NNP_RESTRICT gradient,
                     double* NNP_RESTRICT force, double* NNP_RESTRICT virial)
{
    const int at = (int)(blockIdx.x * blockDim.x + threadIdx.x), lane = at % NNP_ROW_LANES;
    const int row = at / NNP_ROW_LANES < n_rows ? rows[at / NNP_ROW_LANES] : -1;
    const nnp_atom a = nnp_load_atom(x, row < 0 ? 0 : row);
    const int64_t first = row < 0 ? 0 : nnp_first_entry(slice_first, row);
    double v[9] = {0, 0, 0, 0, 0, 0, 0, 0, 0}; /* F, W */
    for (int k = lane; row >= 0 && k < count[row]; k += NNP_ROW_LANES) {
        const int64_t p = first + NNP_SLICE * (int64_t)k, q = reverse[p];
        const nnp_atom b = nnp_load_atom(x, index[p]);
        const double g[3] = {(double)gradient[p], (double)gradient[entries + p],
                             (double)gradient[2 * entries + p]};
        for (int c = 0; c < 3; ++c) v[c] += g[c] - (q >= 0 ? (double)gradient[c * entries + q] : 0.0);
        v[3] -= (b.x - a.x) * g[0];
        v[4] -= (b.y - a.y) * g[1];
        v[5] -= (b.z - a.z) * g[2];
        v[6] -= (b.x - a.x) * g[1];
        v[7] -= (b.x - a.x) * g[2];
        v[8] -= (b.y - a.y) * g[2];
    }
    for (int c = 0; c < 9; ++c) v[c] = row_sum(v[c]);
    if (lane || row < 0) return;
    for (int c = 0; c < 3; ++c) force[3 * (int64_t)row + c] = v[c];
    for (int c = 0; c < 6; ++c) virial[(int64_t)c * n + row] = v[3 + c];
}

/* l(d) and dl/dd: d^2, or Huber's */
NNP_FN double loss_of(int kind, double d, double delta, double* slope)
{
    if (kind == 0) {
        *slope = 2 * d;
        return d * d;
    }
    if (fabs(d) <= delta) {
        *slope = d;
        return 0.5 * d * d;
    }
    *slope = d > 0 ? delta : -delta;
    return delta * (fabs(d) - 0.5 * delta);
}

/* What frames are labelled with, less E0 and baseline: has [frames] bits 1 energy, 2 forces, 4 stress;
 * energy, weight, volume [frames]; stress [frames][6] Voigt xx yy zz yz xz xy; forces [n][3] by row. */
typedef struct nnp_labels {
    const int* has;
    const double *energy, *weight, *volume, *stress, *forces;
} nnp_labels;

NNP_FN double loss_energy(int frame, int n, double energy, const nnp_labels* l, int kind, double w,
                          double delta, double scale, double* c)
{
    double slope;
    const double d = (energy - l->energy[frame]) / n;
    const double term = scale * w * loss_of(kind, d, delta, &slope);
    c[frame] = scale * w * slope / n;
    return term;
}

/* sigma = -W/V; an off-diagonal W is shared by its two entries */
NNP_FN double loss_stress(int frame, const double* stress, const nnp_labels* l, int kind, double w,
                          double delta, double scale, double* m)
{
    const int row[6] = {0, 1, 2, 1, 0, 0}, column[6] = {0, 1, 2, 2, 2, 1};
    const double each = scale * w / 6;
    double term = 0, slope;
    for (int c = 0; c < 6; ++c) {
        term += each * loss_of(kind, stress[c] - l->stress[6 * (int64_t)frame + c], delta, &slope);
        const double v = -0.5 * each * slope / l->volume[frame];
        m[9 * (int64_t)frame + 3 * row[c] + column[c]] += v;
        m[9 * (int64_t)frame + 3 * column[c] + row[c]] += v;
    }
    return term;
}

/* A block a frame of the batch. structure_first [frames + 1] rows of each frame; loss: kind (0 square, 1
 * Huber), weights and deltas of energy, force, stress. results [n_batch][10]: terms of energy, force, stress;
 * energy; stress. c [frames], m [frames][9], lambda [n][3] are set for the frames of the batch. */
NNP_KERNEL __launch_bounds__(256)
    nnp_batch_loss(int n_batch, const int* NNP_RESTRICT frames, const int* NNP_RESTRICT structure_first,
                   int n, const double* NNP_RESTRICT energy, const double* NNP_RESTRICT force,
                   const double* NNP_RESTRICT virial, const int* NNP_RESTRICT has,
                   const double* NNP_RESTRICT label_energy, const double* NNP_RESTRICT weight,
                   const double* NNP_RESTRICT volume, const double* NNP_RESTRICT label_stress,
                   const double* NNP_RESTRICT label_forces, const double* NNP_RESTRICT loss,
                   double* NNP_RESTRICT results, double* NNP_RESTRICT c, double* NNP_RESTRICT m,
                   double* NNP_RESTRICT lambda)
{
    __shared__ double part[32];
    const nnp_labels labels = {has, label_energy, weight, volume, label_stress, label_forces};
    const int frame = frames[blockIdx.x], kind = (int)loss[0];
    const int begin = structure_first[frame], end = structure_first[frame + 1], n_own = end - begin;
    const double *const w = loss + 1, *const delta = loss + 4;
    const double scale = weight[frame] / n_batch, each = scale * w[1] / (3.0 * n_own);
    const int with_forces = has[frame] & 2 && w[1] != 0;
    const int voigt[6] = {0, 1, 2, 5, 4, 3};
    double* const out = results + 10 * (int64_t)blockIdx.x;
    double sum[8] = {0, 0, 0, 0, 0, 0, 0, 0}, slope; /* energy, virial, force term */
    for (int i = begin + (int)threadIdx.x; i < end; i += (int)blockDim.x) {
        sum[0] += energy[i];
        for (int k = 0; k < 6; ++k) sum[1 + k] += virial[(int64_t)k * n + i];
        for (int k = 0; k < 3; ++k) {
            const int64_t at = 3 * (int64_t)i + k;
            slope = 0;
            if (with_forces) sum[7] += loss_of(kind, force[at] - label_forces[at], delta[1], &slope);
            lambda[at] = each * slope;
        }
    }
    for (int k = 0; k < 8; ++k) sum[k] = nnp_block_sum(sum[k], part);
    if (threadIdx.x) return;
    double stress[6];
    for (int k = 0; k < 6; ++k) stress[k] = volume[frame] > 0 ? -sum[1 + voigt[k]] / volume[frame] : 0.0;
    c[frame] = 0;
    for (int k = 0; k < 9; ++k) m[9 * (int64_t)frame + k] = 0;
    out[0] =
        has[frame] & 1 ? loss_energy(frame, n_own, sum[0], &labels, kind, w[0], delta[0], scale, c) : 0.0;
    out[1] = each * sum[7];
    out[2] = has[frame] & 4 && w[2] != 0 ? loss_stress(frame, stress, &labels, kind, w[2], delta[2], scale, m)
                                         : 0.0;
    out[3] = sum[0];
    for (int k = 0; k < 6; ++k) out[4 + k] = stress[k];
}

/* y = Q x, Q [n][n] and vectors float32 in every build: a block a row, sums of threads in float, of the block
 * in double.
 */
NNP_KERNEL __launch_bounds__(128)
    nnp_turn(int n, const float* NNP_RESTRICT q, const float* NNP_RESTRICT x, float* NNP_RESTRICT y)
{
    __shared__ double part[32];
    const float* const row = q + (int64_t)blockIdx.x * n;
    float sum = 0;
    for (int k = (int)threadIdx.x; k < n; k += (int)blockDim.x) sum += row[k] * x[k];
    const double total = nnp_block_sum((double)sum, part);
    if (threadIdx.x == 0) y[blockIdx.x] = (float)total;
}
