/* host_atoms.c - a host's atoms and ghosts in the core's order; what they get back. */
#include "host.h"
#include "neigh_private.h"
#include <math.h>
#include <string.h>

enum { BLOCK = 1024 }; /* atoms that a thread takes at a time */

static int reserve_atoms(nnp_workspace* w, int n, int n_total)
{
    nnp_neigh* const near = &w->host.near;
    const size_t all = (size_t)n_total;
    int status = nnp_neigh_scratch_new(near);
    if (!status) status = nnp_reserve(&w->host.species, &w->host.cap_species, all, sizeof(int));
    if (!status) status = nnp_reserve(&w->host.place, &w->host.cap_place, all, sizeof(int));
    if (!status) status = nnp_reserve(&w->host.permutation, &w->host.cap_permutation, all, sizeof(int));
    if (!status) status = nnp_reserve(&w->host.sums, &w->host.cap_sums, all, 3 * sizeof(double));
    if (!status) status = nnp_reserve(&near->order, &w->host.cap_order, all, sizeof(int));
    if (!status) status = nnp_reserve(&near->x, &w->host.cap_x, all + NNP_NEIGH_BEHIND, 4 * sizeof(double));
    if (!status) status = nnp_reserve(&near->x_built, &w->host.cap_built, all, 3 * sizeof(double));
    if (!status) status = nnp_reserve(&near->first, &w->host.cap_first, (size_t)n + 1, sizeof(int64_t));
    if (status) return status;
    nnp_neigh_scratch* const scratch = near->scratch;
    return nnp_reserve(&scratch->key, &scratch->cap_key, all, sizeof(int));
}

static int not_finite(int atom, const double* x)
{
    const double* const p = x + 3 * (int64_t)atom;
    int c = 0;
    while (c < 2 && isfinite(p[c])) ++c;
    return nnp_fail(NNP_ERR_ARGUMENT, "position of atom %d is %g, expected a finite number", atom, p[c]);
}

static int check_atoms(const nnp_workspace* w, int n_total, const int* species, const double* x)
{
    for (int i = 0; i < n_total; ++i) {
        const double* const p = x + 3 * (int64_t)i;
        if (species[i] < -1 || species[i] >= w->model->n_species)
            return nnp_fail(NNP_ERR_SPECIES, "atom %d has species %d; the model has 0 .. %d, -1 is ignored",
                            i, species[i], w->model->n_species - 1);
        if (!isfinite(p[0]) || !isfinite(p[1]) || !isfinite(p[2])) return not_finite(i, x);
    }
    return NNP_OK;
}

/* order: rows that count as they come, then the other atoms that do. */
static int choose_rows(nnp_workspace* w, int n, const int* rows, int n_total, const int* species)
{
    nnp_neigh* const near = &w->host.near;
    int* const place = w->host.place;
    int filled = 0;
    memset(place, 0xff, (size_t)n_total * sizeof(int)); /* -1 */
    for (int r = 0; r < n; ++r) {
        const int i = rows ? rows[r] : r;
        if (i < 0 || i >= n_total)
            return nnp_fail(NNP_ERR_ARGUMENT, "row %d is atom %d of %d", r, i, n_total);
        if (place[i] >= 0) return nnp_fail(NNP_ERR_ARGUMENT, "atom %d has two rows", i);
        if (species[i] < 0) continue;
        place[i] = filled;
        near->order[filled++] = i;
    }
    near->n = filled;
    for (int i = 0; i < n_total; ++i)
        if (place[i] < 0 && species[i] >= 0) near->order[filled++] = i;
    near->n_total = filled;
    near->n_ghost = filled - near->n;
    return NNP_OK;
}

/* near->order[first ..] by key; start [n_bins+1]. */
static int sort_part(nnp_workspace* w, int first, int count, int** start, size_t* capacity)
{
    nnp_neigh* const near = &w->host.near;
    nnp_neigh_scratch* const s = near->scratch;
    int* const permutation = w->host.permutation;
    int status = nnp_reserve(start, capacity, (size_t)s->grid.n_bins + 1, sizeof(int));
    if (!status)
        status = nnp_sort_by_key(&s->histogram, &s->cap_histogram, count, s->key, s->grid.n_bins, *start,
                                 permutation, w->n_threads);
    if (status) return status;
    for (int k = 0; k < count; ++k) permutation[k] = near->order[first + permutation[k]];
    if (count) memcpy(near->order + first, permutation, (size_t)count * sizeof(int));
    return NNP_OK;
}

/* Bin of an atom that may lie outside of the rows' range: those far away go into the outermost ones. */
static int bin_around(const nnp_grid* grid, const double* x)
{
    double p[3];
    for (int c = 0; c < 3; ++c)
        p[c] = fmin(fmax(x[c], grid->lo[c] - 1.5 * grid->bin[c]), grid->hi[c] + 1.5 * grid->bin[c]);
    return nnp_grid_bin_ghost(grid, p);
}

/* Rows, then the others, by bin. */
static int sort_atoms(nnp_workspace* w, const double* x)
{
    nnp_neigh* const near = &w->host.near;
    nnp_neigh_scratch* const s = near->scratch;
    const nnp_grid* const grid = &s->grid;
    for (int t = 0; t < near->n; ++t) s->key[t] = nnp_grid_bin_atom(grid, near->x_built + 3 * (int64_t)t);
    int status = sort_part(w, 0, near->n, &s->atom_start, &s->cap_atom_start);
    if (status) return status;
    for (int g = 0; g < near->n_ghost; ++g)
        s->key[g] = bin_around(grid, x + 3 * (int64_t)near->order[near->n + g]);
    status = sort_part(w, near->n, near->n_ghost, &s->ghost_start, &s->cap_ghost_start);
    if (status) return status;
    for (int bin = 0; bin < grid->n_bins; ++bin)
        for (int row = s->atom_start[bin]; row < s->atom_start[bin + 1]; ++row) s->key[row] = bin;
    return NNP_OK;
}

static void take_positions(nnp_workspace* w, const double* x)
{
    nnp_neigh* const near = &w->host.near;
    for (int t = 0; t < near->n_total; ++t)
        memcpy(near->x_built + 3 * (int64_t)t, x + 3 * (int64_t)near->order[t], 3 * sizeof(double));
}

int nnp_host_place(nnp_workspace* w, int n, const int* rows, int n_total, const int* species, const double* x,
                   double edge, int* bins)
{
    nnp_neigh* const near = &w->host.near;
    w->listed = 0;
    w->host.kind = NNP_HOST_NONE;
    w->n_threads = nnp_threads_for(w->wanted_threads, n);
    near->n = near->n_total = 0;
    int status = reserve_atoms(w, n, n_total);
    if (!status) status = check_atoms(w, n_total, species, x);
    if (!status) status = choose_rows(w, n, rows, n_total, species);
    if (status) return status;
    near->first[0] = 0;
    near->cutoff = edge;
    take_positions(w, x);
    nnp_grid* const grid = &((nnp_neigh_scratch*)near->scratch)->grid;
    *bins = nnp_grid_lattice(grid, NULL, NULL, edge);
    if (!*bins && near->n > 0) *bins = nnp_grid_bins(grid, near->n, near->x_built, w->n_threads);
    if (!*bins && near->n > 0) {
        status = sort_atoms(w, x);
        if (status) return status;
        take_positions(w, x);
    }
    for (int t = 0; t < near->n_total; ++t) {
        const int i = near->order[t];
        w->host.place[i] = t;
        memcpy(near->x + 4 * (int64_t)t, near->x_built + 3 * (int64_t)t, 3 * sizeof(double));
        near->x[4 * (int64_t)t + 3] = species[i];
    }
    if (n_total) memcpy(w->host.species, species, (size_t)n_total * sizeof(int));
    w->host.n_atoms = n_total;
    return NNP_OK;
}

int nnp_host_same(const nnp_workspace* w, int n_total, const int* species)
{
    return n_total == w->host.n_atoms &&
           (!n_total || !memcmp(species, w->host.species, (size_t)n_total * sizeof(int)));
}

int nnp_host_refresh(nnp_workspace* w, const double* x, double* moved2)
{
    nnp_neigh* const near = &w->host.near;
    double largest = 0, poison = 0;
#pragma omp parallel for schedule(static) num_threads(w->n_threads) reduction(max : largest)                 \
    reduction(+ : poison) if (w->n_threads > 1)
    for (int t = 0; t < near->n_total; ++t) {
        const double* const p = x + 3 * (int64_t)near->order[t];
        const double* const from = near->x_built + 3 * (int64_t)t;
        double *const to = near->x + 4 * (int64_t)t, d2 = 0;
        for (int c = 0; c < 3; ++c) {
            d2 += (p[c] - from[c]) * (p[c] - from[c]);
            to[c] = p[c];
        }
        largest = d2 > largest ? d2 : largest;
        poison += 0 * d2;
    }
    if (moved2) *moved2 = poison == 0 ? largest : INFINITY;
    if (poison == 0) return NNP_OK;
    for (int t = 0; t < near->n_total; ++t)
        for (int c = 0; c < 3; ++c)
            if (!isfinite(near->x[4 * (int64_t)t + c])) return not_finite(near->order[t], x);
    return NNP_OK; /* finite, but so far away that the square is not */
}

static nnp_system host_system(const nnp_workspace* w)
{
    const nnp_neigh* const l = &w->host.near;
    const nnp_system s = {l->n, l->n_total, NULL, NULL, l->x, l->first, l->index, w->clash};
    return s;
}

int nnp_host_prepare(nnp_workspace* w)
{
    const nnp_system s = host_system(w);
    return nnp_work_prepare(w, &s);
}

/* sums of atoms [t0, t1): what other chunks did is added, then all of it to value in the host's order; 0
 * where a number is not finite. */
static int add_block(const nnp_workspace* w, int t0, int t1, const double* part, int stride, int width,
                     double* sums, double* value)
{
    const nnp_neigh* const near = &w->host.near;
    const int ghost = t0 > near->n ? t0 : near->n;
    double check = 0;
    if (ghost < t1)
        memset(sums + (int64_t)ghost * width, 0, (size_t)(t1 - ghost) * (size_t)width * sizeof(double));
    nnp_plan_gather(&w->plan, part, stride, width, t0, t1, sums);
    for (int t = t0; t < t1; ++t) {
        const double* const from = sums + (int64_t)t * width;
        double* const to = value + (int64_t)near->order[t] * width;
        for (int c = 0; c < width; ++c) {
            check += 0 * from[c];
            to[c] += from[c];
        }
    }
    return check == 0;
}

static int add_all(const nnp_workspace* w, const double* part, int stride, int width, double* sums,
                   double* value)
{
    const int n_total = w->host.near.n_total, n_blocks = (n_total + BLOCK - 1) / BLOCK;
    int finite = 1;
#pragma omp parallel for schedule(static) num_threads(w->n_threads)                                          \
    reduction(&& : finite) if (w->n_threads > 1 && n_blocks > 1)
    for (int b = 0; b < n_blocks; ++b) {
        const int end = b + 1 < n_blocks ? (b + 1) * BLOCK : n_total;
        finite = add_block(w, b * BLOCK, end, part, stride, width, sums, value) && finite;
    }
    return finite;
}

static int diverged(const nnp_workspace* w)
{
    const nnp_neigh* const near = &w->host.near;
    int64_t k = 0;
    while (k < 3 * (int64_t)near->n_total - 1 && isfinite(w->host.sums[k])) ++k;
    return nnp_fail(NNP_ERR_DIVERGED, "a force on atom %d is not finite: atoms too close?",
                    near->order[k / 3]);
}

static int add_results(nnp_workspace* w, double* virials, const nnp_results* r)
{
    const nnp_neigh* const near = &w->host.near;
    const int n = near->n;
    double* const e = w->per_row;
    for (int i = 0; i < n; ++i) {
        e[i] += w->model->e0[(int)near->x[4 * (int64_t)i + 3]];
        if (!isfinite(e[i]))
            return nnp_fail(NNP_ERR_DIVERGED, "the energy of atom %d is %g eV: atoms too close?",
                            near->order[i], e[i]);
        if (r->energies) r->energies[near->order[i]] += e[i];
    }
    if (r->forces && !add_all(w, w->part, 4, 3, w->host.sums, r->forces)) return diverged(w);
    if (r->virials) {
        const double* const part = w->part + 4 * w->plan.chunks[w->plan.n_chunks].halo;
        add_all(w, part, 9, 9, virials, r->virials);
    }
    if (r->energy) *r->energy += nnp_block_sum(e, n, 1);
    for (int c = 0; r->virial && c < 6; ++c) r->virial[c] += nnp_block_sum(e + 4 * (int64_t)n + c, n, 6);
    return NNP_OK;
}

int nnp_host_run(nnp_workspace* w, const nnp_results* r)
{
    const nnp_system s = host_system(w);
    double* const virials = r->virials ? (double*)nnp_alloc((size_t)s.n_total, 9 * sizeof(double)) : NULL;
    if (r->virials && !virials) return nnp_fail(NNP_ERR_MEMORY, "out of memory: virials of %d atoms", s.n);
    nnp_clash clash;
    double* const e = w->per_row;
    int status =
        nnp_work_run(w, &s, e, w->host.sums, r->virial ? e + 4 * (int64_t)s.n : NULL, virials, &clash);
    if (!status && clash.row >= 0)
        status = nnp_fail(NNP_ERR_GEOMETRY, "atoms %d and %d are closer than %g Angstrom",
                          w->host.near.order[clash.row], w->host.near.order[clash.atom], w->clash);
    if (!status) status = add_results(w, virials, r);
    nnp_free(virials);
    return status;
}
