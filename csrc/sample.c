/* sample.c - pair distribution: counts of ordered pairs by distance and species, exact integers.
 *
 * Frames go into blocks of block_length in turn; when all NNP_RDF_BLOCKS are full, neighbours are merged and
 * the length doubles. The scatter of the blocks then gives the standard error of a correlated series.
 */
#include "neigh.h"
#include "nnp_threads.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { RDF_MAX_BINS = 1 << 24 };

struct nnp_rdf {
    int n_species, n_bins, n_parts;
    double r_max;
    size_t size;     /* n_species^2 n_bins */
    int64_t* counts; /* [NNP_RDF_BLOCKS][size] */
    int64_t* parts;  /* [n_parts][size], one a thread */
    int64_t samples, block_length;
    double inverse_volume;
    nnp_neigh list;
};

int nnp_rdf_new(int n_species, double r_max, int n_bins, nnp_rdf** out)
{
    if (!out || n_species < 1 || n_species > 256 || n_bins < 1 ||
        n_bins > RDF_MAX_BINS / (n_species * n_species))
        return nnp_fail(NNP_ERR_ARGUMENT, "rdf: %d species, %d bins", n_species, n_bins);
    if (!(r_max > 0 && isfinite(r_max)))
        return nnp_fail(NNP_ERR_ARGUMENT, "rdf: r_max is %g A, expected > 0", r_max);
    nnp_rdf* rdf = calloc(1, sizeof *rdf);
    if (!rdf) return nnp_fail(NNP_ERR_MEMORY, "out of memory: rdf");
    rdf->n_species = n_species;
    rdf->n_bins = n_bins;
    rdf->r_max = r_max;
    rdf->size = (size_t)n_species * n_species * n_bins;
    nnp_neigh_init(&rdf->list);
    rdf->block_length = 1;
    rdf->counts = calloc(NNP_RDF_BLOCKS * rdf->size, sizeof *rdf->counts);
    if (!rdf->counts) {
        nnp_rdf_free(rdf);
        return nnp_fail(NNP_ERR_MEMORY, "out of memory: rdf of %d bins", n_bins);
    }
    *out = rdf;
    return NNP_OK;
}

void nnp_rdf_free(nnp_rdf* rdf)
{
    if (!rdf) return;
    nnp_neigh_clear(&rdf->list);
    free(rdf->counts);
    free(rdf->parts);
    free(rdf);
}

static int reserve_parts(nnp_rdf* rdf, int threads)
{
    if (threads > rdf->n_parts) {
        free(rdf->parts);
        rdf->n_parts = 0;
        rdf->parts = malloc((size_t)threads * rdf->size * sizeof *rdf->parts);
        if (!rdf->parts) return nnp_fail(NNP_ERR_MEMORY, "out of memory: rdf for %d threads", threads);
        rdf->n_parts = threads;
    }
    memset(rdf->parts, 0, (size_t)threads * rdf->size * sizeof *rdf->parts);
    return NNP_OK;
}

/* Row i of the list into counts; bin = floor(r n_bins/r_max). */
static void count_row(const nnp_rdf* rdf, int i, int64_t* counts)
{
    const nnp_neigh* list = &rdf->list;
    const double* a = list->x + 4 * (size_t)i;
    const double scale = rdf->n_bins / rdf->r_max;
    int64_t* of_i = counts + (size_t)a[3] * rdf->n_species * rdf->n_bins;
    for (int64_t p = list->first[i]; p < list->first[i + 1]; p++) {
        const double* b = list->x + 4 * (size_t)list->index[p];
        double dx = b[0] - a[0], dy = b[1] - a[1], dz = b[2] - a[2];
        int bin = (int)(sqrt(dx * dx + dy * dy + dz * dz) * scale);
        if (bin < rdf->n_bins) of_i[(size_t)b[3] * rdf->n_bins + bin]++;
    }
}

/* Where the next frame goes. */
static int64_t* next_block(nnp_rdf* rdf)
{
    const size_t size = rdf->size, half = NNP_RDF_BLOCKS / 2;
    int64_t b = rdf->samples / rdf->block_length;
    if (b == NNP_RDF_BLOCKS) {
        for (size_t k = 0; k < half * size; k++) {
            const int64_t* pair = rdf->counts + k / size * 2 * size + k % size;
            rdf->counts[k] = pair[0] + pair[size];
        }
        memset(rdf->counts + half * size, 0, half * size * sizeof *rdf->counts);
        rdf->block_length *= 2;
        b = NNP_RDF_BLOCKS / 2;
    }
    return rdf->counts + (size_t)b * size;
}

static double determinant(const double* a)
{
    return a[0] * (a[4] * a[8] - a[5] * a[7]) - a[1] * (a[3] * a[8] - a[5] * a[6]) +
           a[2] * (a[3] * a[7] - a[4] * a[6]);
}

int nnp_rdf_add(nnp_rdf* rdf, int n, const int* species, const double* x, const double* cell, const int* pbc,
                int n_threads)
{
    if (!rdf || n < 0 || (n > 0 && (!species || !x)))
        return nnp_fail(NNP_ERR_ARGUMENT, "nnp_rdf_add: NULL argument");
    for (int i = 0; i < n; i++)
        if (species[i] < 0 || species[i] >= rdf->n_species)
            return nnp_fail(NNP_ERR_SPECIES, "rdf: species of atom %d is %d, of %d", i, species[i],
                            rdf->n_species);
    int threads = nnp_thread_count(n_threads);
    int status = nnp_neigh_build(&rdf->list, n, species, x, cell, pbc, rdf->r_max, threads);
    if (!status) status = reserve_parts(rdf, threads);
    if (status) return status;
#pragma omp parallel for schedule(static) num_threads(threads) if (threads > 1)
    for (int i = 0; i < n; i++) count_row(rdf, i, rdf->parts + (size_t)omp_get_thread_num() * rdf->size);
    int64_t* counts = next_block(rdf);
    for (int t = 0; t < threads; t++)
        for (size_t k = 0; k < rdf->size; k++) counts[k] += rdf->parts[(size_t)t * rdf->size + k];
    rdf->samples++;
    double volume = cell ? fabs(determinant(cell)) : 0;
    if (volume > 0) rdf->inverse_volume += 1 / volume;
    return NNP_OK;
}

int nnp_rdf_get(const nnp_rdf* rdf, int64_t* counts, int64_t* samples, double* inverse_volume)
{
    if (!rdf) return nnp_fail(NNP_ERR_ARGUMENT, "nnp_rdf_get: NULL rdf");
    if (counts) memcpy(counts, rdf->counts, NNP_RDF_BLOCKS * rdf->size * sizeof *counts);
    if (samples) *samples = rdf->samples;
    if (inverse_volume) *inverse_volume = rdf->inverse_volume;
    return NNP_OK;
}

int nnp_rdf_set(nnp_rdf* rdf, const int64_t* counts, int64_t samples, double inverse_volume)
{
    if (!rdf || !counts || samples < 0)
        return nnp_fail(NNP_ERR_ARGUMENT, "nnp_rdf_set: NULL argument, or samples < 0");
    memcpy(rdf->counts, counts, NNP_RDF_BLOCKS * rdf->size * sizeof *counts);
    rdf->samples = samples;
    rdf->block_length = 1;
    while (rdf->samples > NNP_RDF_BLOCKS * rdf->block_length) rdf->block_length *= 2;
    rdf->inverse_volume = inverse_volume;
    return NNP_OK;
}
