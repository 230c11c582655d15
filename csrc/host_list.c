/* host_list.c - energies and forces with the neighbour list of a host code (LAMMPS' layout, ghosts in place).
 *
 * The list is copied into the core's layout, without the atoms to be ignored. Atoms and ghosts get the forces
 * of all chunks that touch them, in the order of the chunks: the same bits whatever the threads.
 */
#include "workspace_private.h"
#include <float.h>
#include <math.h>

static int copy_atoms(nnp_workspace* w, int n_total, const int* species, const double* x)
{
    const int status = nnp_reserve(&w->host.x, &w->host.cap_x, (size_t)n_total, 4 * sizeof(double));
    if (status) return status;
    for (int i = 0; i < n_total; ++i) {
        double* const to = w->host.x + 4 * (int64_t)i;
        if (species[i] < -1 || species[i] >= w->model->n_species)
            return nnp_fail(NNP_ERR_SPECIES, "atom %d has species %d; the model has 0 .. %d, -1 is ignored",
                            i, species[i], w->model->n_species - 1);
        for (int c = 0; c < 3; ++c) {
            to[c] = x[3 * (int64_t)i + c];
            if (!(fabs(to[c]) <= DBL_MAX))
                return nnp_fail(NNP_ERR_ARGUMENT, "position of atom %d is %g, expected a finite number", i,
                                to[c]);
        }
        to[3] = species[i];
    }
    return NNP_OK;
}

/* Rows of the list whose centre counts; their neighbours that count. */
static int copy_list(nnp_workspace* w, int n_total, const int* species, const nnp_neighbors* list,
                     nnp_system* system)
{
    size_t pairs = 0;
    for (int r = 0; r < list->n_rows; ++r) {
        const int i = list->rows ? list->rows[r] : r;
        if (i < 0 || i >= n_total)
            return nnp_fail(NNP_ERR_ARGUMENT, "row %d is atom %d of %d", r, i, n_total);
        if (list->count[i] < 0)
            return nnp_fail(NNP_ERR_ARGUMENT, "atom %d has %d neighbours", i, list->count[i]);
        pairs += (size_t)list->count[i];
    }
    int status = nnp_reserve(&w->host.centre, &w->host.cap_centre, (size_t)list->n_rows, sizeof(int));
    if (!status)
        status = nnp_reserve(&w->host.first, &w->host.cap_first, (size_t)list->n_rows + 1, sizeof(int64_t));
    if (!status) status = nnp_reserve(&w->host.index, &w->host.cap_index, pairs, sizeof(int));
    if (status) return status;
    int n = 0;
    int64_t filled = 0;
    for (int r = 0; r < list->n_rows; ++r) {
        const int i = list->rows ? list->rows[r] : r;
        if (species[i] < 0) continue;
        w->host.centre[n] = i;
        w->host.first[n++] = filled;
        for (int k = 0; k < list->count[i]; ++k) {
            const int j = list->index[i][k] & list->mask;
            if (j < 0 || j >= n_total)
                return nnp_fail(NNP_ERR_ARGUMENT, "neighbour %d of atom %d is atom %d of %d", k, i, j,
                                n_total);
            if (species[j] >= 0) w->host.index[filled++] = j;
        }
    }
    w->host.first[n] = filled;
    const nnp_system s = {n,         n_total,       w->host.centre, NULL,
                          w->host.x, w->host.first, w->host.index,  w->clash};
    *system = s;
    return NNP_OK;
}

/* value [n_total][width] += rows [n][width] of the centres, and the parts of the halo. */
static void add_parts(const nnp_workspace* w, const nnp_system* s, const double* rows, const double* part,
                      int stride, int width, double* value)
{
    const int block = 1024, n_blocks = (s->n_total + block - 1) / block;
    for (int row = 0; row < s->n; ++row)
        for (int c = 0; c < width; ++c)
            value[(int64_t)s->centre[row] * width + c] += rows[(int64_t)row * width + c];
#pragma omp parallel for schedule(static) num_threads(w->n_threads) if (w->n_threads > 1 && n_blocks > 1)
    for (int b = 0; b < n_blocks; ++b)
        nnp_plan_gather(&w->plan, part, stride, width, b * block,
                        (b + 1) * block < s->n_total ? (b + 1) * block : s->n_total, value);
}

static int add_results(nnp_workspace* w, const nnp_system* s, const double* virials, const nnp_results* r)
{
    double* const e = w->per_row;
    for (int i = 0; i < s->n; ++i) {
        e[i] += w->model->e0[(int)s->x[4 * (int64_t)s->centre[i] + 3]];
        if (!(fabs(e[i]) <= DBL_MAX))
            return nnp_fail(NNP_ERR_DIVERGED, "the energy of atom %d is %g eV: atoms too close?",
                            s->centre[i], e[i]);
        if (r->energies) r->energies[s->centre[i]] += e[i];
    }
    if (r->energy) *r->energy += nnp_block_sum(e, s->n, 1);
    if (r->forces) add_parts(w, s, e + s->n, w->part, 4, 3, r->forces);
    for (int c = 0; r->virial && c < 6; ++c)
        r->virial[c] += nnp_block_sum(e + 4 * (int64_t)s->n + c, s->n, 6);
    if (r->virials)
        add_parts(w, s, virials, w->part + 4 * w->plan.chunks[w->plan.n_chunks].halo, 9, 9, r->virials);
    return NNP_OK;
}

int nnp_compute(const nnp_model* model, nnp_workspace* w, int n_total, const int* species, const double* x,
                const nnp_neighbors* list, const nnp_results* r)
{
    if (!model || !w || !list || !r || n_total < 0 || list->n_rows < 0 ||
        (n_total && (!species || !x || !list->count || !list->index)))
        return nnp_fail(NNP_ERR_ARGUMENT, "nnp_compute: a NULL argument or a negative number of atoms");
    if (model != w->model)
        return nnp_fail(NNP_ERR_ARGUMENT, "nnp_compute: the workspace is of another model");
    nnp_system s;
    w->listed = 0;
    w->n_threads = nnp_threads_for(w->wanted_threads, list->n_rows);
    int status = copy_atoms(w, n_total, species, x);
    if (!status) status = copy_list(w, n_total, species, list, &s);
    if (!status) status = nnp_work_prepare(w, &s);
    if (status) return status;
    double* const virials = r->virials ? (double*)nnp_alloc((size_t)s.n, 9 * sizeof(double)) : NULL;
    if (r->virials && !virials) return nnp_fail(NNP_ERR_MEMORY, "out of memory: virials of %d atoms", s.n);
    nnp_clash clash;
    status = nnp_work_run(w, &s, w->per_row, w->per_row + s.n,
                          r->virial ? w->per_row + 4 * (int64_t)s.n : NULL, virials, &clash);
    if (!status && clash.row >= 0)
        status = nnp_fail(NNP_ERR_GEOMETRY, "atoms %d and %d are closer than %g Angstrom",
                          s.centre[clash.row], clash.atom, w->clash);
    if (!status) status = add_results(w, &s, virials, r);
    nnp_free(virials);
    return status;
}
