/* plan.c - which rows share a block, and how much room their neighbours need. */
#include "kernels.h"
#include "nnp_threads.h"
#include <stdlib.h>
#include <string.h>

enum { CHUNK = 512 };

double nnp_near_cutoff(const nnp_model* model)
{
    return model->msr ? model->rc3 : model->bp ? model->near : model->cutoff;
}

int nnp_scratch_reserve(nnp_scratch* scratch, const nnp_kernels* k, const nnp_model* model,
                        int max_neighbours, int training, int n_threads)
{
    scratch->bytes = (k->scratch_bytes(model, max_neighbours, training) + 4095) / 4096 * 4096;
    return nnp_reserve(&scratch->base, &scratch->capacity, scratch->bytes * (size_t)n_threads, 1);
}

void nnp_plan_clear(nnp_plan* plan)
{
    nnp_free(plan->rows);
    nnp_free(plan->capacity);
    memset(plan, 0, sizeof *plan);
}

static const double* row_atom(const nnp_system* s, int row)
{
    return s->x + 4 * (int64_t)(s->centre ? s->centre[row] : row);
}

static int near_count(const nnp_system* s, int row, double near2)
{
    const double* const xi = row_atom(s, row);
    int count = 0;
    for (int64_t p = s->first[row]; p < s->first[row + 1]; ++p) {
        const double* const xj = s->x + 4 * (int64_t)s->index[p];
        const double x = xj[0] - xi[0], y = xj[1] - xi[1], z = xj[2] - xi[2];
        count += x * x + y * y + z * z < near2;
    }
    return count;
}

static int compare_keys(const void* a, const void* b)
{
    const uint64_t x = *(const uint64_t*)a, y = *(const uint64_t*)b;
    return (x > y) - (x < y);
}

/* Rows [lo, hi) sorted by (species, near neighbours, row) into sorted; returns the number of blocks. */
static int sort_chunk(const nnp_system* s, int lo, int hi, int width, double near, int* sorted)
{
    uint64_t key[CHUNK];
    const int n = hi - lo;
    for (int i = 0; i < n; ++i) {
        const uint64_t species = (uint64_t)row_atom(s, lo + i)[3];
        key[i] = species << 48 | (uint64_t)near_count(s, lo + i, near * near) << 16 | (uint64_t)i;
    }
    qsort(key, (size_t)n, sizeof *key, compare_keys);
    int n_blocks = 0, run = 0;
    for (int i = 0; i < n; ++i) {
        sorted[lo + i] = lo + (int)(key[i] & 0xffff);
        run = i && key[i] >> 48 == key[i - 1] >> 48 && run < width ? run + 1 : 1;
        n_blocks += run == 1;
    }
    return n_blocks;
}

/* Blocks of sorted rows [lo, hi) from block number b on. Returns the largest total capacity. */
static int fill_chunk(nnp_plan* plan, const nnp_system* s, int lo, int hi, const int* sorted, int b)
{
    const int width = plan->width, ns = plan->n_species;
    int most = 0;
    for (int i = lo; i < hi; ++b) {
        int* const rows = plan->rows + (int64_t)b * width;
        int* const capacity = plan->capacity + (int64_t)b * ns;
        const double species = row_atom(s, sorted[i])[3];
        memset(capacity, 0, (size_t)ns * sizeof(int));
        for (int w = 0; w < width; ++w) {
            rows[w] = i < hi && row_atom(s, sorted[i])[3] == species ? sorted[i++] : -1;
            if (rows[w] < 0) continue;
            const int64_t first = s->first[rows[w]], end = s->first[rows[w] + 1];
            for (int t = 0; t < ns; ++t) {
                int count = (int)(end - first);
                if (ns > 1) {
                    count = 0;
                    for (int64_t p = first; p < end; ++p)
                        count += (int)s->x[4 * (int64_t)s->index[p] + 3] == t;
                }
                if (count > capacity[t]) capacity[t] = count;
            }
        }
        int total = 0;
        for (int t = 0; t < ns; ++t) total += capacity[t];
        if (total > most) most = total;
    }
    return most;
}

int nnp_plan_build(nnp_plan* plan, const nnp_system* system, int n_species, int width, double near,
                   int n_threads)
{
    const int n = system->n, n_chunks = (n + CHUNK - 1) / CHUNK;
    int* const sorted = (int*)nnp_alloc((size_t)n + 1, sizeof(int));
    int* const block = (int*)nnp_alloc((size_t)n_chunks + 1, sizeof(int));
    if (!sorted || !block) {
        nnp_free(sorted);
        nnp_free(block);
        return nnp_fail(NNP_ERR_MEMORY, "out of memory: block plan of %d atoms", n);
    }
#pragma omp parallel for schedule(dynamic, 4) num_threads(n_threads) if (n_threads > 1 && n_chunks > 8)
    for (int c = 0; c < n_chunks; ++c)
        block[c + 1] =
            sort_chunk(system, c * CHUNK, c * CHUNK + CHUNK < n ? c * CHUNK + CHUNK : n, width, near, sorted);
    block[0] = 0;
    for (int c = 0; c < n_chunks; ++c) block[c + 1] += block[c];
    plan->width = width;
    plan->n_species = n_species;
    plan->n_blocks = block[n_chunks];
    int status =
        nnp_reserve(&plan->rows, &plan->cap_rows, (size_t)plan->n_blocks * (size_t)width, sizeof(int));
    if (!status)
        status = nnp_reserve(&plan->capacity, &plan->cap_capacity, (size_t)plan->n_blocks * (size_t)n_species,
                             sizeof(int));
    int most = 0;
    if (!status) {
#pragma omp parallel for schedule(dynamic, 4) num_threads(n_threads)                                         \
    reduction(max : most) if (n_threads > 1 && n_chunks > 8)
        for (int c = 0; c < n_chunks; ++c) {
            const int m = fill_chunk(plan, system, c * CHUNK, c * CHUNK + CHUNK < n ? c * CHUNK + CHUNK : n,
                                     sorted, block[c]);
            if (m > most) most = m;
        }
        plan->max_neighbours = most;
    }
    nnp_free(sorted);
    nnp_free(block);
    return status;
}
