/* neigh.c - the neighbour list object: rows, ghosts, refresh. */
#include "neigh_private.h"
#include <math.h>
#include <string.h>

void nnp_neigh_init(nnp_neigh* list) { memset(list, 0, sizeof *list); }

void nnp_neigh_clear(nnp_neigh* list)
{
    nnp_neigh_scratch* s = list->scratch;
    if (s) {
        void* mine[] = {s->key,         s->histogram,         s->atom_start,   s->ghost_start, s->ghost_owner,
                        s->ghost_image, s->ghost_permutation, s->block_offset, s->pack};
        for (size_t k = 0; k < sizeof mine / sizeof *mine; k++) nnp_free(mine[k]);
        nnp_free(s);
    }
    void* fields[] = {list->order, list->x,     list->owner, list->shift,
                      list->image, list->first, list->index, list->x_built};
    for (size_t k = 0; k < sizeof fields / sizeof *fields; k++) nnp_free(fields[k]);
    nnp_neigh_init(list);
}

static int make_empty(nnp_neigh* list, int status)
{
    list->n = list->n_ghost = list->n_total = 0;
    if (list->first) list->first[0] = 0;
    return status;
}

/* Arrays of one length share one capacity: they grow together. */
static int reserve_rows(nnp_neigh* list, size_t n)
{
    size_t cap[3] = {list->cap_n, list->cap_n, list->cap_n};
    if (list->first && n <= list->cap_n) return NNP_OK;
    list->cap_n = 0;
    if (nnp_reserve(&list->order, &cap[0], n + 1, sizeof(int)) ||
        nnp_reserve(&list->first, &cap[1], n + 2, sizeof(int64_t)) ||
        nnp_reserve(&list->x_built, &cap[2], n + 1, 3 * sizeof(double)))
        return NNP_ERR_MEMORY;
    list->cap_n = n;
    return NNP_OK;
}

/* Grow one array, keeping its first used bytes. */
static int grow(void* p, size_t used, size_t count, size_t element)
{
    void** slot = (void**)p;
    void* fresh = nnp_alloc(count, element);
    if (!fresh) return nnp_fail(NNP_ERR_MEMORY, "out of memory: %zu elements of %zu bytes", count, element);
    if (*slot && used) memcpy(fresh, *slot, used * element);
    nnp_free(*slot);
    *slot = fresh;
    return NNP_OK;
}

/* x, shift, image for n_total points; the first used ones are kept. */
static int reserve_points(nnp_neigh* list, size_t used, size_t n_total)
{
    nnp_neigh_scratch* scratch = list->scratch;
    if (list->image && n_total <= scratch->cap_total) return NNP_OK;
    scratch->cap_total = 0;
    size_t wanted = n_total + n_total / 64 + 16;
    if (grow(&list->x, used, wanted, 4 * sizeof(double)) ||
        grow(&list->shift, used, wanted, 3 * sizeof(double)) ||
        grow(&list->image, used, wanted, 3 * sizeof(int)))
        return NNP_ERR_MEMORY;
    scratch->cap_total = wanted;
    return NNP_OK;
}

/* Points a first build makes room for; too few only costs a copy. */
static size_t expect_points(const nnp_grid* grid, int n)
{
    double factor = 1;
    for (int d = 0; d < 3; d++) factor *= 1 + 2 * grid->reach[d];
    return factor < 4 ? (size_t)(n * factor) : (size_t)n;
}

static void place_point(nnp_neigh* list, const nnp_grid* grid, int point, const double* x, double species)
{
    double *p = list->x + 4 * (size_t)point, *shift = list->shift + 3 * (size_t)point;
    nnp_grid_shift(grid, list->image + 3 * (size_t)point, shift);
    for (int c = 0; c < 3; c++) p[c] = x[c] + shift[c];
    p[3] = species;
}

/* key[atom] = bin, in the caller's order. */
static void bin_atoms(nnp_neigh_scratch* scratch, int n, const double* x, int n_threads)
{
    const nnp_grid* grid = &scratch->grid;
#pragma omp parallel for schedule(static) num_threads(n_threads) if (n_threads > 1)
    for (int begin = 0; begin < n; begin += NNP_NEIGH_BLOCK) {
        int count = n - begin < NNP_NEIGH_BLOCK ? n - begin : NNP_NEIGH_BLOCK;
        int image[NNP_NEIGH_BLOCK][3];
        nnp_grid_wrap(grid, count, x + 3 * (size_t)begin, image[0]);
        for (int a = 0; a < count; a++) {
            double p[3];
            nnp_grid_shift(grid, image[a], p);
            for (int c = 0; c < 3; c++) p[c] += x[3 * (size_t)(begin + a) + c];
            scratch->key[begin + a] = nnp_grid_bin_atom(grid, p);
        }
    }
}

/* Rows in list order; block_offset[b] counts the ghosts of each block of rows. */
static void place_rows(nnp_neigh* list, const int* species, const double* x, int n_threads)
{
    nnp_neigh_scratch* scratch = list->scratch;
    const nnp_grid* grid = &scratch->grid;
    const int n = list->n;
#pragma omp parallel for schedule(static) num_threads(n_threads) if (n_threads > 1)
    for (int begin = 0; begin < n; begin += NNP_NEIGH_BLOCK) {
        int end = n - begin < NNP_NEIGH_BLOCK ? n : begin + NNP_NEIGH_BLOCK;
        for (int row = begin; row < end; row++)
            memcpy(list->x_built + 3 * (size_t)row, x + 3 * (size_t)list->order[row], 3 * sizeof(double));
        nnp_grid_wrap(grid, end - begin, list->x_built + 3 * (size_t)begin, list->image + 3 * (size_t)begin);
        int64_t ghosts = 0;
        for (int row = begin; row < end; row++) {
            double kind = species ? species[list->order[row]] : 0;
            place_point(list, grid, row, list->x_built + 3 * (size_t)row, kind);
            ghosts += nnp_grid_images(grid, list->x + 4 * (size_t)row, NULL);
        }
        scratch->block_offset[begin / NNP_NEIGH_BLOCK + 1] = ghosts;
    }
}

/* Ghosts in the order of their owners, with their bins in key. */
static void list_ghosts(nnp_neigh* list, int n_threads)
{
    nnp_neigh_scratch* scratch = list->scratch;
    const nnp_grid* grid = &scratch->grid;
    const int n = list->n;
#pragma omp parallel for schedule(static) num_threads(n_threads) if (n_threads > 1)
    for (int begin = 0; begin < n; begin += NNP_NEIGH_BLOCK) {
        int end = n - begin < NNP_NEIGH_BLOCK ? n : begin + NNP_NEIGH_BLOCK;
        int64_t g = scratch->block_offset[begin / NNP_NEIGH_BLOCK];
        if (g == scratch->block_offset[begin / NNP_NEIGH_BLOCK + 1]) continue;
        for (int row = begin; row < end; row++) {
            int64_t count = nnp_grid_images(grid, list->x + 4 * (size_t)row, scratch->ghost_image + 3 * g);
            for (int64_t last = g + count; g < last; g++) {
                int* image = scratch->ghost_image + 3 * g;
                double p[3];
                for (int d = 0; d < 3; d++) image[d] += list->image[3 * (size_t)row + d];
                nnp_grid_shift(grid, image, p);
                for (int c = 0; c < 3; c++) p[c] += list->x_built[3 * (size_t)row + c];
                scratch->ghost_owner[g] = row;
                scratch->key[g] = nnp_grid_bin_ghost(grid, p);
            }
        }
    }
}

static int reserve_ghosts(nnp_neigh* list, size_t n_ghost)
{
    nnp_neigh_scratch* s = list->scratch;
    if (nnp_reserve(&s->ghost_owner, &s->cap_ghost_owner, n_ghost, sizeof(int)) ||
        nnp_reserve(&s->ghost_image, &s->cap_ghost_image, n_ghost, 3 * sizeof(int)) ||
        nnp_reserve(&s->ghost_permutation, &s->cap_ghost_permutation, n_ghost, sizeof(int)) ||
        nnp_reserve(&list->owner, &list->cap_ghost, n_ghost, sizeof(int)))
        return NNP_ERR_MEMORY;
    return nnp_reserve(&s->key, &s->cap_key, n_ghost, sizeof(int));
}

static int place_ghosts(nnp_neigh* list, int n_threads)
{
    nnp_neigh_scratch* scratch = list->scratch;
    const nnp_grid* grid = &scratch->grid;
    const int n = list->n, n_blocks = (n - 1) / NNP_NEIGH_BLOCK + 1;
    int64_t* offset = scratch->block_offset;
    offset[0] = 0;
    for (int b = 0; b < n_blocks; b++) offset[b + 1] += offset[b];
    if (offset[n_blocks] + n > 2147483647)
        return nnp_fail(NNP_ERR_GEOMETRY, "cutoff %g needs more than 2^31 periodic images", grid->cutoff);
    const int n_ghost = (int)offset[n_blocks];
    if (reserve_ghosts(list, n_ghost) || reserve_points(list, n, (size_t)n + n_ghost + NNP_NEIGH_BEHIND))
        return NNP_ERR_MEMORY;
    list_ghosts(list, n_threads);
    if (nnp_sort_by_key(&scratch->histogram, &scratch->cap_histogram, n_ghost, scratch->key, grid->n_bins,
                        scratch->ghost_start, scratch->ghost_permutation, n_threads))
        return NNP_ERR_MEMORY;
    list->n_ghost = n_ghost;
    list->n_total = n + n_ghost;
#pragma omp parallel for schedule(static) num_threads(n_threads) if (n_threads > 1)
    for (int g = 0; g < n_ghost; g++) {
        int from = scratch->ghost_permutation[g], owner = scratch->ghost_owner[from];
        list->owner[g] = owner;
        memcpy(list->image + 3 * (size_t)(n + g), scratch->ghost_image + 3 * (size_t)from, 3 * sizeof(int));
        place_point(list, grid, n + g, list->x_built + 3 * (size_t)owner, list->x[4 * (size_t)owner + 3]);
    }
    return NNP_OK;
}

static int sort_rows(nnp_neigh* list, const double* x, int n_threads)
{
    nnp_neigh_scratch* s = list->scratch;
    size_t n = list->n, n_bins = s->grid.n_bins;
    if (nnp_reserve(&s->key, &s->cap_key, n, sizeof(int)) ||
        nnp_reserve(&s->block_offset, &s->cap_block_offset, n / NNP_NEIGH_BLOCK + 2, sizeof(int64_t)) ||
        nnp_reserve(&s->atom_start, &s->cap_atom_start, n_bins + 1, sizeof(int)) ||
        nnp_reserve(&s->ghost_start, &s->cap_ghost_start, n_bins + 1, sizeof(int)))
        return NNP_ERR_MEMORY;
    bin_atoms(s, list->n, x, n_threads);
    return nnp_sort_by_key(&s->histogram, &s->cap_histogram, list->n, s->key, s->grid.n_bins, s->atom_start,
                           list->order, n_threads);
}

static void key_rows(nnp_neigh_scratch* scratch, int n_threads)
{
#pragma omp parallel for schedule(static) num_threads(n_threads) if (n_threads > 1)
    for (int bin = 0; bin < scratch->grid.n_bins; bin++)
        for (int row = scratch->atom_start[bin]; row < scratch->atom_start[bin + 1]; row++)
            scratch->key[row] = bin;
}

static int build(nnp_neigh* list, const int* species, const double* x, int n_threads)
{
    nnp_neigh_scratch* scratch = list->scratch;
    nnp_grid* grid = &scratch->grid;
    int status = nnp_grid_bins(grid, list->n, x, n_threads);
    if (!status) status = sort_rows(list, x, n_threads);
    if (!status) status = reserve_points(list, 0, expect_points(grid, list->n));
    if (status) return status;
    place_rows(list, species, x, n_threads);
    status = place_ghosts(list, n_threads);
    if (status) return status;
    key_rows(scratch, n_threads);
    return nnp_neigh_search(list, n_threads);
}

int nnp_neigh_scratch_new(nnp_neigh* list)
{
    if (list->scratch) return NNP_OK;
    nnp_neigh_scratch* scratch = nnp_alloc(1, sizeof *scratch);
    if (!scratch) return nnp_fail(NNP_ERR_MEMORY, "out of memory: neighbour list");
    memset(scratch, 0, sizeof *scratch);
    for (int m = 0; m < 256; m++)
        for (int b = 0, n = 0; b < 8; b++)
            if (m >> b & 1) scratch->lane_order[m][n++] = (unsigned char)b;
    list->scratch = scratch;
    return NNP_OK;
}

int nnp_neigh_build(nnp_neigh* list, int n, const int* species, const double* x, const double* cell,
                    const int* pbc, double cutoff, int n_threads)
{
    if (!list || n < 0 || (n > 0 && !x))
        return nnp_fail(NNP_ERR_ARGUMENT, "neighbour list: %s",
                        !list   ? "list is NULL"
                        : n < 0 ? "n < 0"
                                : "x is NULL");
    if (n > MOST_ATOMS)
        return nnp_fail(NNP_ERR_ARGUMENT, "neighbour list: %d atoms, expected at most %d", n, MOST_ATOMS);
    if (!(cutoff > 0) || !(cutoff <= 1e7))
        return nnp_fail(NNP_ERR_ARGUMENT, "neighbour list: cutoff is %g, expected 0 < cutoff <= 1e7", cutoff);
    n_threads = nnp_threads_for(n_threads, n);
    if (nnp_neigh_scratch_new(list)) return NNP_ERR_MEMORY;
    nnp_neigh_scratch* scratch = list->scratch;
    make_empty(list, NNP_OK);
    int status = nnp_grid_lattice(&scratch->grid, cell, pbc, cutoff);
    if (!status) status = reserve_rows(list, n);
    if (status) return make_empty(list, status);
    list->cutoff = cutoff;
    list->n = list->n_total = n;
    list->first[0] = 0;
    if (n == 0) return NNP_OK;
    status = build(list, species, x, n_threads);
    return status ? make_empty(list, status) : NNP_OK;
}

double nnp_neigh_move(nnp_neigh* list, const double* x, const int* order, int first, int end)
{
    double largest = 0, poison = 0;
    for (int row = first; row < end; row++) {
        const double* p = x + 3 * (size_t)(order ? order[row] : row);
        const double *from = list->x_built + 3 * (size_t)row, *shift = list->shift + 3 * (size_t)row;
        double *to = list->x + 4 * (size_t)row, d2 = 0;
        for (int c = 0; c < 3; c++) {
            double d = p[c] - from[c];
            d2 += d * d;
            to[c] = p[c] + shift[c];
        }
        largest = d2 > largest ? d2 : largest;
        poison += 0 * d2;
    }
    return poison == 0 ? largest : INFINITY;
}

void nnp_neigh_move_ghosts(nnp_neigh* list, const double* x, const int* order, int first, int end)
{
    for (int g = first; g < end; g++) {
        const size_t k = (size_t)list->n + g;
        const int row = list->owner[g];
        const double* p = x + 3 * (size_t)(order ? order[row] : row);
        for (int c = 0; c < 3; c++) list->x[4 * k + c] = p[c] + list->shift[3 * k + c];
    }
}

static double refresh(nnp_neigh* list, const double* x, const int* order, int n_threads)
{
    const int n = list->n, n_ghost = list->n_ghost, block = NNP_NEIGH_BLOCK;
    double largest = 0;
#pragma omp parallel num_threads(n_threads) if (n_threads > 1)
    {
#pragma omp for schedule(static) reduction(max : largest)
        for (int row = 0; row < n; row += block) {
            double d2 = nnp_neigh_move(list, x, order, row, n - row < block ? n : row + block);
            largest = d2 > largest ? d2 : largest;
        }
#pragma omp for schedule(static)
        for (int g = 0; g < n_ghost; g += block)
            nnp_neigh_move_ghosts(list, x, order, g, n_ghost - g < block ? n_ghost : g + block);
    }
    return largest;
}

double nnp_neigh_refresh(nnp_neigh* list, const double* x, int n_threads)
{
    return refresh(list, x, list->order, nnp_threads_for(n_threads, list->n));
}

double nnp_neigh_refresh_sorted(nnp_neigh* list, const double* x, int n_threads)
{
    return refresh(list, x, NULL, nnp_threads_for(n_threads, list->n));
}
