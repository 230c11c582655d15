/* neigh_export.c - public full neighbour list in the caller's order (nnp_neighbor_list_*). */
#include "neigh_private.h"
#include <math.h>
#include <string.h>

#if defined(__GNUC__)
#define NOINLINE __attribute__((noinline))
#else
#define NOINLINE
#endif

struct nnp_neighbor_list {
    nnp_neigh list;        /* built a little wide; the exact distance test stands in pair_of() */
    double cutoff, surely; /* r^2 of the list below which rounding cannot matter */
    double* x;             /* [n][3] caller's positions, caller's order */
    int64_t* first;        /* [n+1] by caller's order */
};

typedef struct pair {
    int j, shift[3];
    double vector[3], squared;
} pair;

typedef struct pair_arrays {
    int *i, *j;
    double *d, *vectors;
    int* shifts;
} pair_arrays;

/* D = x_j - x_i + S H, in this order of operations: D_ji = -D_ij bit by bit, so the list is symmetric.
 * One compiled copy, so that counting and filling agree. */
NOINLINE static pair pair_of(const nnp_neighbor_list* nl, int row, int entry)
{
    const nnp_neigh* list = &nl->list;
    const nnp_grid* grid = &((const nnp_neigh_scratch*)list->scratch)->grid;
    int other = entry < list->n ? entry : list->owner[entry - list->n];
    pair p = {.j = list->order[other]};
    const double *xi = nl->x + 3 * (size_t)list->order[row], *xj = nl->x + 3 * (size_t)p.j;
    for (int d = 0; d < 3; d++)
        p.shift[d] = list->image[3 * (size_t)entry + d] - list->image[3 * (size_t)row + d];
    nnp_grid_shift(grid, p.shift, p.vector);
    for (int c = 0; c < 3; c++) {
        p.vector[c] += xj[c] - xi[c];
        p.squared += p.vector[c] * p.vector[c];
    }
    return p;
}

/* The list's own distance decides unless it is within rounding of the cutoff. */
static int listed(const nnp_neighbor_list* nl, int row, int entry)
{
    const double *a = nl->list.x + 4 * (size_t)row, *b = nl->list.x + 4 * (size_t)entry;
    double dx = b[0] - a[0], dy = b[1] - a[1], dz = b[2] - a[2], r2 = dx * dx + dy * dy + dz * dz;
    if (r2 < nl->surely) return 1;
    return pair_of(nl, row, entry).squared < nl->cutoff * nl->cutoff;
}

static void count_pairs(nnp_neighbor_list* nl, int n_threads)
{
    const nnp_neigh* list = &nl->list;
#pragma omp parallel for schedule(static) num_threads(n_threads) if (n_threads > 1)
    for (int row = 0; row < list->n; row++) {
        int64_t count = 0;
        for (int64_t k = list->first[row]; k < list->first[row + 1]; k++)
            count += listed(nl, row, list->index[k]);
        nl->first[list->order[row] + 1] = count;
    }
    nl->first[0] = 0;
    for (int a = 0; a < list->n; a++) nl->first[a + 1] += nl->first[a];
}

/* Rounding of positions and shifts that the list and pair_of() may differ by. */
static double rounding(int n, const double* x, double cutoff)
{
    double largest = 0;
    for (size_t k = 0; k < 3 * (size_t)n; k++) largest = fabs(x[k]) > largest ? fabs(x[k]) : largest;
    return 1e-9 * cutoff + (isfinite(largest) ? 1e-14 * largest : 0);
}

static int fill(nnp_neighbor_list* nl, int n, const double* x, const double* cell, const int* pbc,
                int n_threads)
{
    if (n < 0 || (n > 0 && !x))
        return nnp_fail(NNP_ERR_ARGUMENT, "nnp_neighbor_list_new: %s", n < 0 ? "n < 0" : "x is NULL");
    if (!(nl->cutoff > 0) || !(nl->cutoff <= 1e6))
        return nnp_fail(NNP_ERR_ARGUMENT, "cutoff is %g, expected 0 < cutoff <= 1e6", nl->cutoff);
    const double margin = rounding(n, x, nl->cutoff), surely = fmax(0, nl->cutoff - margin);
    nl->surely = surely * surely;
    int status = nnp_neigh_build(&nl->list, n, NULL, x, cell, pbc, nl->cutoff + margin, n_threads);
    if (status) return status;
    nl->x = nnp_alloc((size_t)n, 3 * sizeof(double));
    nl->first = nnp_alloc((size_t)n + 1, sizeof(int64_t));
    if (!nl->x || !nl->first) return nnp_fail(NNP_ERR_MEMORY, "out of memory: %d atoms", n);
    if (n) memcpy(nl->x, x, 3 * sizeof(double) * (size_t)n);
    count_pairs(nl, nnp_thread_count(n_threads));
    return NNP_OK;
}

int nnp_neighbor_list_new(int n, const double* x, const double* cell, const int* pbc, double cutoff,
                          int n_threads, nnp_neighbor_list** out)
{
    if (!out) return nnp_fail(NNP_ERR_ARGUMENT, "nnp_neighbor_list_new: out is NULL");
    nnp_neighbor_list* nl = nnp_alloc(1, sizeof *nl);
    if (!nl) return nnp_fail(NNP_ERR_MEMORY, "out of memory: neighbour list");
    memset(nl, 0, sizeof *nl);
    nnp_neigh_init(&nl->list);
    nl->cutoff = cutoff;
    int status = fill(nl, n, x, cell, pbc, n_threads);
    if (status)
        nnp_neighbor_list_free(nl);
    else
        *out = nl;
    return status;
}

void nnp_neighbor_list_free(nnp_neighbor_list* nl)
{
    if (!nl) return;
    nnp_neigh_clear(&nl->list);
    nnp_free(nl->x);
    nnp_free(nl->first);
    nnp_free(nl);
}

int64_t nnp_neighbor_list_count(const nnp_neighbor_list* nl) { return nl ? nl->first[nl->list.n] : 0; }

/* The pairs of one row, from place to on. */
static void write_row(const nnp_neighbor_list* nl, int row, int64_t to, const pair_arrays* out)
{
    const nnp_neigh* list = &nl->list;
    const int atom = list->order[row];
    for (int64_t k = list->first[row]; k < list->first[row + 1]; k++) {
        const int entry = list->index[k];
        if (!listed(nl, row, entry)) continue;
        if (out->i) out->i[to] = atom;
        if (out->j) out->j[to] = list->order[entry < list->n ? entry : list->owner[entry - list->n]];
        if (out->d || out->vectors || out->shifts) {
            pair p = pair_of(nl, row, entry);
            if (out->d) out->d[to] = sqrt(p.squared);
            if (out->vectors) memcpy(out->vectors + 3 * to, p.vector, sizeof p.vector);
            if (out->shifts) memcpy(out->shifts + 3 * to, p.shift, sizeof p.shift);
        }
        to++;
    }
}

int nnp_neighbor_list_pairs(const nnp_neighbor_list* nl, int n_threads, int* i, int* j, double* d,
                            double* vectors, int* shifts)
{
    if (!nl) return nnp_fail(NNP_ERR_ARGUMENT, "nnp_neighbor_list_pairs: list is NULL");
    const nnp_neigh* list = &nl->list;
    const pair_arrays out = {i, j, d, vectors, shifts};
    n_threads = nnp_thread_count(n_threads);
#pragma omp parallel for schedule(static) num_threads(n_threads) if (n_threads > 1)
    for (int row = 0; row < list->n; row++) write_row(nl, row, nl->first[list->order[row]], &out);
    return NNP_OK;
}
