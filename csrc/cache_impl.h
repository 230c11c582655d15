/* cache_impl.h - training with kept symmetry functions: their derivatives by every neighbour, computed once,
 * and what a sweep over the atoms needs of them afterwards (trainer_cache.c).
 *
 * A network of one linear layer whose only weight is that of input f has the energy G_f and the pair
 * gradients dG_f/dr_ij: the kernels that MD runs fill the cache.
 */
#ifndef NNP_CACHE_IMPL_H
#define NNP_CACHE_IMPL_H

#include "bp_train_impl.h"

/* What block b holds of input f, to the rows of its lanes. */
static void derivatives_store(const nnp_block* b, const nnp_local* local, const nnp_system* system,
                              const nnp_plan* plan, int f, const nnp_derivatives* out)
{
    const int s = b->n_species;
    for (int w = 0; w < NNP_W; ++w) {
        const int row = b->rows[w];
        if (row < 0) continue;
        float* d = out->d + out->offset[row];
        for (int t = 0; t < s; ++t) {
            const int* const end = plan->segment + (int64_t)row * s + t;
            const int begin = t ? end[-1] : 0, channel = b->species * s + t, n_use = out->n_use[channel];
            const int place = out->place[channel * out->stride + f];
            int* const atom = out->atom + system->first[row] + begin;
            int e = 0;
            for (int part = 2 * t; part < 2 * t + 2; ++part)
                for (int k = 0; k < b->count[w * 2 * s + part]; ++k, ++e) {
                    const int n = nnp_block_span(b, part).lo + k;
                    atom[e] = local_atom(local, system, (int)b->id[n][w]);
                    if (place < 0) continue;
                    float* const g = d + 3 * (int64_t)e * n_use + place;
                    g[0] = (float)b->gx[n][w];
                    g[n_use] = (float)b->gy[n][w];
                    g[2 * n_use] = (float)b->gz[n][w];
                }
            d += 3 * (int64_t)(*end - begin) * n_use;
        }
    }
}

/* probe: the model with networks of one linear layer. */
static void kernels_derivatives(const nnp_model* probe, const nnp_system* system, const nnp_plan* plan,
                                int chunk, void* scratch, const nnp_derivatives* out)
{
    nnp_arena outer = {(char*)scratch};
    const nnp_local local = local_load(system, plan, chunk, &outer, 0);
    nnp_real* const theta = (nnp_real*)nnp_take(&outer, ((size_t)out->stride + 1) * sizeof(nnp_real));
    memset(theta, 0, ((size_t)out->stride + 1) * sizeof(nnp_real));
    for (int i = plan->chunks[chunk].block; i < plan->chunks[chunk + 1].block; ++i) {
        nnp_arena arena = outer;
        nnp_block b;
        block_gather(&b, &arena, &local, system, plan, i, nnp_near_cutoff(probe), probe->cutoff);
        for (int f = 0; f < nnp_n_inputs(probe, b.species); ++f) {
            nnp_arena inner = arena;
            nnp_vec *inputs, outside;
            NNP_EACH_PART(&b, part)
            NNP_EACH_NEIGHBOUR(&b, part, n) b.gx[n] = b.gy[n] = b.gz[n] = nnp_splat(0);
            theta[f] = NNP_R(1.0);
            bp_evaluate(probe, theta, &b, &inner, &inputs, &outside);
            theta[f] = NNP_R(0.0);
            derivatives_store(&b, &local, system, plan, f, out);
            for (int w = 0; w < NNP_W; ++w)
                if (b.rows[w] >= 0) out->g[(int64_t)b.rows[w] * out->stride + f] = (double)inputs[f][w];
        }
    }
}

/* Lanes' inputs [n] as vectors; a lane whose pointer is NULL has zeros. */
static nnp_vec* lanes_load(const double* const* lane, int n, nnp_arena* arena)
{
    nnp_vec* const v = nnp_take_vec(arena, (size_t)n);
    for (int i = 0; i < n; ++i)
        for (int w = 0; w < NNP_W; ++w) v[i][w] = lane[w] ? (nnp_real)lane[w][i] : NNP_R(0.0);
    return v;
}

static void kernels_network(const nnp_model* model, const void* packed, int species, const double* const* g,
                            void* scratch, double* energy, float* d)
{
    nnp_arena arena = {(char*)scratch};
    const int n = nnp_n_inputs(model, species);
    const nnp_vec* const in = lanes_load(g, n, &arena);
    nnp_vec* const d_in = nnp_take_vec(&arena, (size_t)n);
    const nnp_vec e = net_evaluate(&model->net[species], (const nnp_real*)packed, in, d_in, &arena);
    for (int w = 0; w < NNP_W; ++w) {
        energy[w] = (double)e[w];
        for (int i = 0; i < n; ++i) d[w * n + i] = (float)d_in[i][w];
    }
}

static void kernels_network_gradient(const nnp_model* model, const void* packed, int species,
                                     const double* const* g, const double* const* g_dot, double c,
                                     void* scratch, void* acc)
{
    nnp_arena arena = {(char*)scratch};
    const int n = nnp_n_inputs(model, species);
    const nnp_vec *const in = lanes_load(g, n, &arena), *const dot = lanes_load(g_dot, n, &arena);
    nnp_vec *p = nnp_take_vec(&arena, (size_t)n), *q = nnp_take_vec(&arena, (size_t)n), one = nnp_splat(0);
    for (int w = 0; w < NNP_W; ++w) one[w] = g[w] ? NNP_R(1.0) : NNP_R(0.0);
    net_gradient(&model->net[species], (const nnp_real*)packed, in, dot, one * (nnp_real)c, one, p, q, &arena,
                 (nnp_vec*)acc);
}

/* g [n][3] = d [n][3][n_use] p */
static void kernels_pull(int n, int n_use, const float* d, const float* p, float* g)
{
    for (int64_t i = 0; i < 3 * (int64_t)n; ++i, d += n_use) {
        float sum = 0;
#pragma omp simd reduction(+ : sum)
        for (int k = 0; k < n_use; ++k) sum += d[k] * p[k];
        g[i] = sum;
    }
}

/* out [n_use] += sum of v [n][3] d [n][3][n_use] */
static void kernels_push(int n, int n_use, const float* d, const float* v, float* out)
{
    for (int64_t i = 0; i < 3 * (int64_t)n; ++i, d += n_use) {
        const float vi = v[i];
#pragma omp simd
        for (int k = 0; k < n_use; ++k) out[k] += vi * d[k];
    }
}

#endif /* NNP_CACHE_IMPL_H */
