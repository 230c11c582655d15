/* kernels_impl.h - one nnp_kernels table; NNP_REAL_BITS, NNP_ISA and NNP_TABLE are set by the including file.
 */
#if defined(__GNUC__) && !defined(__clang__)
#if NNP_ISA == 2
#pragma GCC target("avx512f,avx512dq,avx512vl,avx512bw,avx2,fma,popcnt,prefer-vector-width=512")
#elif NNP_ISA == 1
#pragma GCC target("avx2,fma")
#endif
#endif

#include "baseline_impl.h"
#include "cache_impl.h"
#include "product_impl.h"
#if NNP_REAL_BITS == 64
#include "step_impl.h"
#endif

/* Scratch of one chunk, a bound: m neighbours in all give 2 m slots (near and far segments), at most m^2/2
 * triplets over all channels and at most m neighbours on the two sides of a channel. */
static size_t kernels_scratch(const nnp_model* model, int max_neighbours, int max_local, int training)
{
    const size_t m = (size_t)max_neighbours + 1, n = 2 * m, s = (size_t)model->n_species;
    size_t largest = 0;
    for (int i = 0; i < model->n_species && model->msr; ++i) {
        size_t n3 = 0;
        for (int c = 0; c < nnp_n_channels(model->n_species); ++c) n3 += (size_t)model->msr[i].n3[c];
        const size_t nf = (size_t)model->msr[i].n_fingerprints;
        size_t vecs =
            (11 + nf) * n + 3 * nf + 4 * n3 * m + (n3 + 2) * m * m / 2 + net_scratch(&model->net[i]);
        if (training) vecs += 8 * n + 12 * nf + 8 * m;
        if (vecs > largest) largest = vecs;
    }
    size_t own = 0;
    for (int i = 0; i < model->n_species && model->bp; ++i) {
        const size_t vecs = bp_scratch(model, i, m, training, &own);
        if (vecs > largest) largest = vecs;
    }
    const size_t vecs = largest + 9 * n + (size_t)model->n_baseline * 2 * n;
    const size_t quads = 2 * (m + s * NNP_FIND) * NNP_W; /* lanes before and after the transposition */
    const size_t pieces = own + 64 + 20 * s * s + 5 * (size_t)NNP_MAX_LAYERS + 2 * (size_t)model->n_baseline;
    const size_t atom = 2 * sizeof(nnp_point) + (training ? sizeof(nnp_point) : 9 * sizeof(double));
    return vecs * sizeof(nnp_vec) + quads * sizeof(nnp_quad) + s * s * sizeof(nnp_triplets) +
           (3 + 2 * NNP_W) * s * sizeof(int) + pieces * 64 + ((size_t)max_local + 1) * atom;
}

static void kernels_pack(const nnp_model* model, const double* theta, void* packed)
{
    for (int64_t i = 0; i < model->n_parameters; ++i) ((nnp_real*)packed)[i] = (nnp_real)theta[i];
}

static nnp_clash kernels_evaluate(const nnp_model* model, const void* packed, const nnp_system* system,
                                  const nnp_plan* plan, int chunk, void* scratch, const nnp_output* out)
{
    nnp_clash first = {-1, -1};
    nnp_arena outer = {(char*)scratch};
    const nnp_local local = local_load(system, plan, chunk, &outer, out->virials != NULL);
    const int last = plan->chunks[chunk + 1].block - 1;
    for (int i = plan->chunks[chunk].block; i <= last; ++i) {
        nnp_arena arena = outer;
        nnp_block b;
        if (i < last) block_prefetch(system, plan, i + 1);
        const nnp_clash clash =
            block_gather(&b, &arena, &local, system, plan, i, nnp_near_cutoff(model), model->cutoff);
        if (first.row < 0) first = clash;
        nnp_vec energy = baseline_evaluate(model, &b, &arena);
        nnp_vec *inputs = NULL, outside = nnp_splat(0);
        if (model->msr) energy += msr_evaluate(model, (const nnp_real*)packed, &b, &arena, &inputs);
        if (model->bp) energy += bp_evaluate(model, (const nnp_real*)packed, &b, &arena, &inputs, &outside);
        block_forces(&b, arena, &local);
        if (out->virials) block_virials(&b, &local);
        if (out->virial) block_virial(&b, out->virial);
        for (int w = 0; w < NNP_W; ++w) {
            const int row = b.rows[w];
            if (row < 0) continue;
            out->energy[row] = (double)energy[w];
            if (out->outside) out->outside[row] = (int)outside[w];
            if (out->inputs && inputs)
                for (int f = 0; f < nnp_n_inputs(model, b.species); ++f)
                    out->inputs[(int64_t)row * out->stride + f] = (double)inputs[f][w];
        }
    }
    local_store(&local, plan, chunk, out);
    return first;
}

static void kernels_gradient(const nnp_model* model, const void* packed, const nnp_system* system,
                             const nnp_plan* plan, int chunk, void* scratch, const nnp_tangent* tangent,
                             void* acc)
{
    nnp_arena outer = {(char*)scratch};
    const nnp_local local = local_load(system, plan, chunk, &outer, 0);
    const nnp_point* const lambda = local_lambda(&local, system, tangent, &outer);
    for (int i = plan->chunks[chunk].block; i < plan->chunks[chunk + 1].block; ++i) {
        nnp_arena arena = outer;
        nnp_block b;
        block_gather(&b, &arena, &local, system, plan, i, nnp_near_cutoff(model), model->cutoff);
        nnp_mask live;
        for (int w = 0; w < NNP_W; ++w) live[w] = b.rows[w] >= 0 ? -1 : 0;
        if (model->bp) {
            bp_gradient(model, (const nnp_real*)packed, &b, local.row, lambda, tangent, live, &arena,
                        (nnp_vec*)acc);
            continue;
        }
        msr_gradient(model, (const nnp_real*)packed, &b, local.row, lambda, tangent, live, &arena,
                     (nnp_vec*)acc);
    }
}

static void kernels_reduce(int64_t n, const void* acc, double* grad)
{
    for (int64_t i = 0; i < n; ++i) grad[i] += nnp_lane_sum(((const nnp_vec*)acc)[i]);
}

/* y[lo..hi) of y = Q x, rows of Q [n][n] */
static void rotate_rows(int n, const nnp_real* q, const nnp_real* x, nnp_real* y, int lo, int hi)
{
    const int whole = n / NNP_W * NNP_W;
    for (int i = lo; i < hi; ++i) {
        const nnp_real* const row = q + (int64_t)i * n;
        nnp_vec sum = nnp_splat(0);
        for (int k = 0; k < whole; k += NNP_W)
            sum += (nnp_vec)(*(const nnp_loose*)(row + k) * *(const nnp_loose*)(x + k));
        double rest = nnp_lane_sum(sum);
        for (int k = whole; k < n; ++k) rest += (double)(row[k] * x[k]);
        y[i] = (nnp_real)rest;
    }
}

/* y[lo..hi) of y = Q^T x */
static void rotate_columns(int n, const nnp_real* q, const nnp_real* x, nnp_real* y, int lo, int hi)
{
    for (int k = lo; k < hi; ++k) y[k] = 0;
    for (int i = 0; i < n; ++i) {
        const nnp_real* const row = q + (int64_t)i * n;
        const nnp_real xi = x[i];
        int k = lo;
        for (; k + NNP_W <= hi; k += NNP_W) *(nnp_loose*)(y + k) += xi * *(const nnp_loose*)(row + k);
        for (; k < hi; ++k) y[k] += xi * row[k];
    }
}

static void kernels_rotate(int n, const void* q, const void* x, void* y, int transpose, int lo, int hi)
{
    (transpose ? rotate_columns : rotate_rows)(n, (const nnp_real*)q, (const nnp_real*)x, (nnp_real*)y, lo,
                                               hi);
}

const nnp_kernels NNP_TABLE = {
    NNP_ISA == 2   ? "avx512"
    : NNP_ISA == 1 ? "avx2"
                   : "baseline",
    NNP_W,
    NNP_REAL_BITS / 8,
    kernels_scratch,
    kernels_pack,
    kernels_evaluate,
    kernels_gradient,
    kernels_reduce,
    kernels_rotate,
    kernels_derivatives,
    kernels_network,
    kernels_network_gradient,
    kernels_pull,
    kernels_push,
    kernels_product,
    kernels_dot,
#if NNP_REAL_BITS == 64
    kernels_drift,
    kernels_kick,
#else
    NULL,
    NULL,
#endif
};
