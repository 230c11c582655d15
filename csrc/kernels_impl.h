/* kernels_impl.h - one nnp_kernels table; NNP_REAL_BITS, NNP_ISA and NNP_TABLE are set by the including file.
 */
#if defined(__GNUC__) && !defined(__clang__)
#if NNP_ISA == 2
#pragma GCC target("avx512f,avx512dq,avx512vl,avx512bw,avx2,fma,prefer-vector-width=512")
#elif NNP_ISA == 1
#pragma GCC target("avx2,fma")
#endif
#endif

#include "baseline_impl.h"
#include "bp_train_impl.h"

/* Scratch of one block, a bound: m neighbours in all give 2 m slots (near and far segments), at most m^2/2
 * triplets over all channels and at most m neighbours on the two sides of a channel. */
static size_t kernels_scratch(const nnp_model* model, int max_neighbours, int training)
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
    const size_t vecs = largest + 12 * n + (size_t)model->n_baseline * 2 * n;
    const size_t pieces = own + 64 + 20 * s * s + 5 * (size_t)NNP_MAX_LAYERS + 2 * (size_t)model->n_baseline;
    return vecs * sizeof(nnp_vec) + s * s * sizeof(nnp_triplets) + (3 + 2 * NNP_W) * s * sizeof(int) +
           pieces * 64;
}

static void kernels_pack(const nnp_model* model, const double* theta, void* packed)
{
    for (int64_t i = 0; i < model->n_parameters; ++i) ((nnp_real*)packed)[i] = (nnp_real)theta[i];
}

static nnp_clash kernels_evaluate(const nnp_model* model, const void* packed, const nnp_system* system,
                                  const nnp_plan* plan, int b0, int b1, void* scratch, const nnp_pairs* out)
{
    nnp_clash first = {-1, -1};
    for (int i = b0; i < b1; ++i) {
        nnp_arena arena = {(char*)scratch};
        nnp_block b;
        const nnp_clash clash =
            block_gather(&b, &arena, system, plan, i, nnp_near_cutoff(model), model->cutoff);
        if (first.row < 0) first = clash;
        nnp_vec energy = baseline_evaluate(model, &b, &arena);
        nnp_vec* inputs = NULL;
        if (model->msr) energy += msr_evaluate(model, (const nnp_real*)packed, &b, &arena, &inputs);
        if (model->bp) energy += bp_evaluate(model, (const nnp_real*)packed, &b, &arena, &inputs);
        block_scatter(&b, system, (nnp_real*)out->g);
        if (out->virial) block_virial(&b, out->virial);
        for (int w = 0; w < NNP_W; ++w) {
            const int row = b.rows[w];
            if (row < 0) continue;
            out->energy[row] = (double)energy[w];
            if (out->inputs && inputs)
                for (int f = 0; f < nnp_n_inputs(model, b.species); ++f)
                    out->inputs[(int64_t)row * out->stride + f] = (double)inputs[f][w];
        }
    }
    return first;
}

static void kernels_gradient(const nnp_model* model, const void* packed, const nnp_system* system,
                             const nnp_plan* plan, int b0, int b1, void* scratch, const nnp_tangent* tangent,
                             void* acc)
{
    for (int i = b0; i < b1; ++i) {
        nnp_arena arena = {(char*)scratch};
        nnp_block b;
        block_gather(&b, &arena, system, plan, i, nnp_near_cutoff(model), model->cutoff);
        nnp_mask live;
        for (int w = 0; w < NNP_W; ++w) live[w] = b.rows[w] >= 0 ? -1 : 0;
        if (model->bp) {
            bp_gradient(model, (const nnp_real*)packed, &b, system, tangent, live, &arena, (nnp_vec*)acc);
            continue;
        }
        msr_gradient(model, (const nnp_real*)packed, &b, system, tangent, live, &arena, (nnp_vec*)acc);
    }
}

static void kernels_reduce(int64_t n, const void* acc, double* grad)
{
    for (int64_t i = 0; i < n; ++i) grad[i] += nnp_lane_sum(((const nnp_vec*)acc)[i]);
}

static void kernels_gather(const nnp_system* system, const int64_t* reverse_first, const int64_t* reverse,
                           const void* g, int i0, int i1, double* f)
{
    const nnp_real* const pair = (const nnp_real*)g;
    for (int i = i0; i < i1; ++i) {
        double x = 0, y = 0, z = 0;
        const int64_t begin = reverse_first[i], end = reverse_first[i + 1];
        /* the next row's entries lie anywhere near in space: ask for them while this row's are added */
        if (i + 1 < i1)
            for (int64_t q = end; q < reverse_first[i + 2]; ++q) __builtin_prefetch(pair + 3 * reverse[q]);
        for (int64_t p = system->first[i]; p < system->first[i + 1]; ++p) {
            x += (double)pair[3 * p];
            y += (double)pair[3 * p + 1];
            z += (double)pair[3 * p + 2];
        }
        for (int64_t q = begin; q < end; ++q) {
            const nnp_real* const back = pair + 3 * reverse[q];
            x -= (double)back[0];
            y -= (double)back[1];
            z -= (double)back[2];
        }
        f[3 * (int64_t)i] = x;
        f[3 * (int64_t)i + 1] = y;
        f[3 * (int64_t)i + 2] = z;
    }
}

static void kernels_pair(const void* g, int64_t p, double* out)
{
    for (int c = 0; c < 3; ++c) out[c] = (double)((const nnp_real*)g)[3 * p + c];
}

static void kernels_scatter(const nnp_system* system, const void* g, double* f)
{
    const nnp_real* pair = (const nnp_real*)g;
    for (int row = 0; row < system->n; ++row) {
        double* const fi = f + 3 * (int64_t)(system->centre ? system->centre[row] : row);
        for (int64_t p = system->first[row]; p < system->first[row + 1]; ++p) {
            double* const fj = f + 3 * (int64_t)system->index[p];
            for (int c = 0; c < 3; ++c) {
                fi[c] += (double)pair[3 * p + c];
                fj[c] -= (double)pair[3 * p + c];
            }
        }
    }
}

typedef nnp_real nnp_loose __attribute__((vector_size(NNP_VEC_BYTES), aligned(NNP_REAL_BITS / 8), may_alias));

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
    kernels_gather,
    kernels_scatter,
    kernels_pair,
    kernels_rotate,
};
