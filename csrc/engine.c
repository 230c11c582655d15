/* engine.c - running a plan's chunks on all threads. */
#include "engine.h"
#include "math/cutoff.h"
#include "nnp_threads.h"
#include <math.h>

void nnp_share_chunks(const nnp_kernels* k, const nnp_model* model, const void* packed,
                      const nnp_system* system, const nnp_plan* plan, const nnp_scratch* scratch,
                      const nnp_output* out, nnp_clash* first)
{
    char* const mine = scratch->base + (size_t)omp_get_thread_num() * scratch->bytes;
#pragma omp for schedule(dynamic, 1)
    for (int c = 0; c < plan->n_chunks; ++c) {
        const nnp_clash clash = k->evaluate(model, packed, system, plan, c, mine, out);
        if (clash.row >= 0) {
#pragma omp critical(nnp_clash_lowest)
            if (first->row < 0 || clash.row < first->row) *first = clash;
        }
    }
}

nnp_clash nnp_run_chunks(const nnp_kernels* k, const nnp_model* model, const void* packed,
                         const nnp_system* system, const nnp_plan* plan, const nnp_scratch* scratch,
                         int n_threads, const nnp_output* out)
{
    nnp_clash first = {-1, -1};
    if (plan->n_chunks < 2) n_threads = 1;
#pragma omp parallel num_threads(n_threads) if (n_threads > 1)
    nnp_share_chunks(k, model, packed, system, plan, scratch, out, &first);
    return first;
}

double nnp_block_sum(const double* v, int n, int stride)
{
    double total = 0;
    for (int i0 = 0; i0 < n; i0 += 256) {
        const int end = n - i0 < 256 ? n : i0 + 256;
        double s[4] = {0}; /* four at a time: an addition takes as long as four wait for it */
        int i = i0;
        for (; i + 3 < end; i += 4)
            for (int k = 0; k < 4; ++k) s[k] += v[(int64_t)(i + k) * stride];
        for (; i < end; ++i) s[0] += v[(int64_t)i * stride];
        total += (s[0] + s[1]) + (s[2] + s[3]);
    }
    return total;
}

int nnp_clash_error(const nnp_neigh* list, nnp_clash clash, double distance)
{
    if (clash.row < 0) return NNP_OK;
    const int other = clash.atom < list->n ? clash.atom : list->owner[clash.atom - list->n];
    return nnp_fail(NNP_ERR_GEOMETRY, "atoms %d and %d%s are closer than %g Angstrom", list->order[clash.row],
                    list->order[other], clash.atom < list->n ? "" : " (a periodic image)", distance);
}

int nnp_check_species(const nnp_model* model, int n, const int* species)
{
    for (int i = 0; i < n; ++i)
        if (species[i] < 0 || species[i] >= model->n_species)
            return nnp_fail(NNP_ERR_SPECIES, "atom %d has species %d; the model has 0 .. %d", i, species[i],
                            model->n_species - 1);
    return NNP_OK;
}

/* exp(x) and products of three of them stay finite in the working precision while |x| and the sum of the
 * positive ones are below these. */
static double exponent_limit(int precision) { return precision == NNP_F32 ? 80 : 700; }

static double positive(double x) { return x > 0 ? x : 0; }

int nnp_check_exponents(const nnp_model* model, const double* theta, int precision)
{
    const double limit = exponent_limit(precision);
    for (int s = 0; model->msr && s < model->n_species; ++s) {
        const nnp_msr* const m = &model->msr[s];
        const int64_t n3 = (m->mu - m->triplet) / 3;
        double most = 0;
        for (int64_t i = m->alpha; i < m->mu; ++i) most = fmax(most, fabs(theta[i]));
        for (int64_t i = 0; i < n3; ++i) {
            const double* const t = theta + m->triplet + 3 * i;
            most = fmax(most, positive(t[0]) + positive(t[1]) + positive(t[2]));
        }
        if (!(most <= limit))
            return nnp_fail(NNP_ERR_DIVERGED,
                            "species %s: exponents reach %g (largest, or a + b + beta), %s holds %g",
                            model->species[s], most, precision == NNP_F32 ? "float32" : "float64", limit);
    }
    return NNP_OK;
}

double nnp_clash_distance(const nnp_model* model, int precision)
{
    const double least = 1e-3; /* Angstrom */
    if (!model->msr || !(model->rs > 0)) return least;
    double most = 1e-300;
    for (int s = 0; s < model->n_species; ++s)
        for (int64_t i = model->msr[s].alpha; i < model->msr[s].triplet; ++i)
            most = fmax(most, fabs(model->theta[i]));
    /* x(r) grows without bound towards r = 0: bisect |alpha| x(r) = limit */
    double a, b, c, low = 0, high = model->rs;
    nnp_short_range_coefficients(model, &a, &b, &c);
    for (int i = 0; i < 60; ++i) {
        const double r = 0.5 * (low + high);
        if (most * (a / r + b * pow(r, 30) + c) > exponent_limit(precision))
            low = r;
        else
            high = r;
    }
    return fmax(least, high);
}

void nnp_short_range_coefficients(const nnp_model* model, double* a, double* b, double* c)
{
    const double rs = model->rs, k = 3.14159265358979323846 / model->rc;
    double f = 0.5 * (1 + cos(k * rs)), f1 = -0.5 * k * sin(k * rs), f2 = -0.5 * k * k * cos(k * rs);
    if (model->cutoff_kind == NNP_CUTOFF_SMOOTH) { /* x(c), x' = (1 + e) c (c + 2 e)/(c + e)^2 */
        const double e = NNP_CUTOFF_SOFTNESS, c = f, d = c + e;
        const double first = (1 + e) * c * (c + 2 * e) / (d * d), second = 2 * (1 + e) * e * e / (d * d * d);
        f = (1 + e) * c * c / d;
        f2 = second * f1 * f1 + first * f2;
        f1 *= first;
    }
    /* -A/rs^2 + 30 B rs^29 = f1,  2 A/rs^3 + 870 B rs^28 = f2 */
    *b = (f2 * rs + 2 * f1) / (930 * pow(rs, 29));
    *a = rs * rs * (30 * *b * pow(rs, 29) - f1);
    *c = f - *a / rs - *b * pow(rs, 30);
}
