/* neigh_export.c - public full neighbour list in the caller's order (nnp_neighbor_list_*). */
#include "neigh_private.h"
#include <math.h>
#include <string.h>

struct nnp_neighbor_list {
    nnp_neigh list; /* built a little wide; the exact distance test stands in pair_of() */
    double cutoff;
    double* x;      /* [n][3] caller's positions, caller's order */
    int* row_of;    /* [n] caller's order -> row */
    int64_t* first; /* [n+1] by caller's order */
};

typedef struct pair {
    int j, shift[3];
    double vector[3], squared;
} pair;

/* D = x_j - x_i + S H, in this order of operations: D_ji = -D_ij bit by bit, so the list is symmetric. */
static pair pair_of(const nnp_neighbor_list* nl, int row, int entry)
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

static void count_pairs(nnp_neighbor_list* nl, int n_threads)
{
    const nnp_neigh* list = &nl->list;
    const double limit = nl->cutoff * nl->cutoff;
#pragma omp parallel for schedule(static) num_threads(n_threads) if (n_threads > 1)
    for (int row = 0; row < list->n; row++) {
        int64_t count = 0;
        for (int64_t k = list->first[row]; k < list->first[row + 1]; k++)
            count += pair_of(nl, row, list->index[k]).squared < limit;
        nl->first[list->order[row] + 1] = count;
        nl->row_of[list->order[row]] = row;
    }
    nl->first[0] = 0;
    for (int a = 0; a < list->n; a++) nl->first[a + 1] += nl->first[a];
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
    double wide = 0;
    for (size_t k = 0; n > 0 && x && k < 3 * (size_t)n; k++) wide = fabs(x[k]) > wide ? fabs(x[k]) : wide;
    wide = isfinite(wide) ? 1e-14 * wide : 0;
    int status = cutoff > 0 && cutoff <= 1e6 ? NNP_OK : NNP_ERR_ARGUMENT;
    if (status) nnp_fail(status, "cutoff is %g, expected 0 < cutoff <= 1e6", cutoff);
    if (!status)
        status = nnp_neigh_build(&nl->list, n, NULL, x, cell, pbc, cutoff * (1 + 1e-9) + wide, n_threads);
    if (!status) {
        nl->x = nnp_alloc((size_t)n, 3 * sizeof(double));
        nl->row_of = nnp_alloc((size_t)n, sizeof(int));
        nl->first = nnp_alloc((size_t)n + 1, sizeof(int64_t));
        if (!nl->x || !nl->row_of || !nl->first)
            status = nnp_fail(NNP_ERR_MEMORY, "out of memory: %d atoms", n);
    }
    if (status) {
        nnp_neighbor_list_free(nl);
        return status;
    }
    if (n) memcpy(nl->x, x, 3 * sizeof(double) * (size_t)n);
    count_pairs(nl, nnp_thread_count(n_threads));
    *out = nl;
    return NNP_OK;
}

void nnp_neighbor_list_free(nnp_neighbor_list* nl)
{
    if (!nl) return;
    nnp_neigh_clear(&nl->list);
    nnp_free(nl->x);
    nnp_free(nl->row_of);
    nnp_free(nl->first);
    nnp_free(nl);
}

int64_t nnp_neighbor_list_count(const nnp_neighbor_list* nl) { return nl->first[nl->list.n]; }

int nnp_neighbor_list_pairs(const nnp_neighbor_list* nl, int n_threads, int* i, int* j, double* d,
                            double* vectors, int* shifts)
{
    const nnp_neigh* list = &nl->list;
    const double limit = nl->cutoff * nl->cutoff;
    n_threads = nnp_thread_count(n_threads);
#pragma omp parallel for schedule(static) num_threads(n_threads) if (n_threads > 1)
    for (int a = 0; a < list->n; a++) {
        int row = nl->row_of[a];
        int64_t to = nl->first[a];
        for (int64_t k = list->first[row]; k < list->first[row + 1]; k++) {
            pair p = pair_of(nl, row, list->index[k]);
            if (!(p.squared < limit)) continue;
            if (i) i[to] = a;
            if (j) j[to] = p.j;
            if (d) d[to] = sqrt(p.squared);
            if (vectors) memcpy(vectors + 3 * to, p.vector, sizeof p.vector);
            if (shifts) memcpy(shifts + 3 * to, p.shift, sizeof p.shift);
            to++;
        }
    }
    return NNP_OK;
}
