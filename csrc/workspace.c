/* workspace.c - one caller's scratch, and energies and forces of atoms in a cell (own neighbour list). */
#include "workspace_private.h"
#include "nnp_threads.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

void nnp_default_options(nnp_options* options)
{
    if (!options) return;
    options->size = sizeof *options;
    options->n_threads = 0;
    options->precision = NNP_F64;
    options->skin = 0;
}

int nnp_take_options(const nnp_options* from, nnp_options* o)
{
    const size_t oldest = offsetof(nnp_options, skin) + sizeof o->skin;
    nnp_default_options(o);
    if (!from) return NNP_OK;
    if (from->size < oldest || from->size > 4096)
        return nnp_fail(NNP_ERR_ARGUMENT, "nnp_options.size is %zu, expected %zu: call nnp_default_options",
                        from->size, sizeof *o);
    for (size_t k = sizeof *o; k < from->size; ++k)
        if (((const char*)from)[k])
            return nnp_fail(NNP_ERR_ARGUMENT,
                            "nnp_options has %zu bytes, this library knows %zu: it is older", from->size,
                            sizeof *o);
    memcpy(o, from, from->size < sizeof *o ? from->size : sizeof *o);
    o->size = sizeof *o;
    if (o->precision != NNP_F64 && o->precision != NNP_F32)
        return nnp_fail(NNP_ERR_ARGUMENT, "precision is %d, expected NNP_F64 or NNP_F32", o->precision);
    if (!(o->skin >= 0) || !isfinite(o->skin))
        return nnp_fail(NNP_ERR_ARGUMENT, "skin is %g Angstrom, expected a finite number >= 0", o->skin);
    if (o->n_threads < 0 || o->n_threads > 4096)
        return nnp_fail(NNP_ERR_ARGUMENT, "n_threads is %d, expected 0 (default) to 4096", o->n_threads);
    return NNP_OK;
}

int nnp_workspace_new(const nnp_model* model, const nnp_options* options, nnp_workspace** out)
{
    nnp_options o;
    if (!model || !out) return nnp_fail(NNP_ERR_ARGUMENT, "nnp_workspace_new: model or out is NULL");
    int status = nnp_take_options(options, &o);
    if (!status) status = nnp_check_exponents(model, model->theta, o.precision);
    if (status) return status;
    const nnp_kernels* const k = nnp_get_kernels(o.precision);
    if (!k) return NNP_ERR_ARGUMENT;
    nnp_workspace* const w = (nnp_workspace*)calloc(1, sizeof *w);
    if (!w) return nnp_fail(NNP_ERR_MEMORY, "out of memory: workspace");
    w->model = nnp_model_hold(model);
    w->options = o;
    w->k = k;
    w->n_threads = nnp_thread_count(o.n_threads);
    w->wanted_threads = w->n_threads;
    w->clash = nnp_clash_distance(model, o.precision);
    nnp_neigh_init(&w->list);
    nnp_neigh_init(&w->host.near);
    w->packed = nnp_alloc((size_t)model->n_parameters, (size_t)k->real_bytes);
    if (!w->packed) {
        nnp_workspace_free(w);
        return nnp_fail(NNP_ERR_MEMORY, "out of memory: parameters");
    }
    k->pack(model, model->theta, w->packed);
    *out = w;
    return NNP_OK;
}

void nnp_workspace_free(nnp_workspace* w)
{
    if (!w) return;
    nnp_model_free((nnp_model*)w->model);
    nnp_neigh_clear(&w->list);
    nnp_plan_clear(&w->plan);
    nnp_free(w->packed);
    nnp_free(w->scratch.base);
    nnp_free(w->part);
    nnp_free(w->per_row);
    nnp_free(w->outside);
    nnp_free(w->species);
    nnp_neigh_clear(&w->host.near);
    nnp_free(w->host.species);
    nnp_free(w->host.place);
    nnp_free(w->host.permutation);
    nnp_free(w->host.sums);
    free(w);
}

nnp_neigh* nnp_work_list(nnp_workspace* w) { return &w->list; }
int nnp_work_threads(const nnp_workspace* w) { return nnp_threads_for(w->wanted_threads, w->list.n); }
double nnp_work_skin(const nnp_workspace* w) { return w->options.skin; }

static nnp_system work_system(const nnp_workspace* w)
{
    const nnp_neigh* const l = &w->list;
    nnp_system s = {l->n, l->n_total, NULL, l->owner, l->x, l->first, l->index, w->clash};
    return s;
}

int nnp_work_prepare(nnp_workspace* w, const nnp_system* s)
{
    int status = nnp_plan_build(&w->plan, s, w->model->n_species, w->k->width, nnp_near_cutoff(w->model),
                                w->n_threads);
    if (!status) status = nnp_scratch_reserve(&w->scratch, w->k, w->model, &w->plan, 0, w->n_threads);
    if (!status)
        status = nnp_reserve(&w->per_row, &w->cap_rows, 10 * (size_t)s->n + (size_t)s->n / NNP_WORK_ROWS + 1,
                             sizeof(double));
    if (!status && w->model->bp && w->model->bp[0].minimum)
        status = nnp_reserve(&w->outside, &w->cap_outside, (size_t)s->n, sizeof(int));
    return status;
}

static void count_outside(nnp_workspace* w, int n)
{
    w->atoms_outside = w->functions_outside = 0;
    w->rows_outside = n;
    for (int i = 0; i < n && w->outside; ++i) {
        w->atoms_outside += w->outside[i] > 0;
        w->functions_outside += w->outside[i];
    }
}

void nnp_workspace_outside(const nnp_workspace* w, int64_t* atoms, int64_t* functions)
{
    *atoms = w ? w->atoms_outside : 0;
    *functions = w ? w->functions_outside : 0;
}

int nnp_workspace_outside_atoms(const nnp_workspace* w, int n, int* functions)
{
    if (!w || n < 0 || (n && !functions))
        return nnp_fail(NNP_ERR_ARGUMENT, "nnp_workspace_outside_atoms: a NULL argument, or n < 0");
    if (!w->model->bp || !w->model->bp[0].minimum)
        return nnp_fail(NNP_ERR_ARGUMENT, "the model keeps no training ranges of its symmetry functions");
    const nnp_neigh* const list = w->host.kind == NNP_HOST_NONE ? &w->list : &w->host.near;
    const int known = w->host.kind == NNP_HOST_NONE ? list->n : w->host.n_atoms;
    if (n != known || w->rows_outside != list->n)
        return nnp_fail(NNP_ERR_ARGUMENT, "nnp_workspace_outside_atoms: %d atoms, the last evaluation had %d",
                        n, w->rows_outside == list->n ? known : 0);
    for (int i = 0; i < n; ++i) functions[i] = 0;
    for (int row = 0; row < list->n; ++row) functions[list->order[row]] = w->outside[row];
    return NNP_OK;
}

void nnp_workspace_renew(nnp_workspace* w)
{
    if (!w) return;
    w->listed = 0;
    w->rows_outside = -1;
    w->host.kind = NNP_HOST_NONE;
}

static int prepare_output(nnp_workspace* w, double* energy, double* force, double* virial, double* virials,
                          nnp_output* out)
{
    const size_t halo = (size_t)w->plan.chunks[w->plan.n_chunks].halo;
    w->rows_outside = -1;
    const int status =
        nnp_reserve(&w->part, &w->cap_part, halo * (virials ? 13 : 4) + (halo == 0), sizeof(double));
    *out = (nnp_output){energy, force, w->part, virial, virials, w->part + 4 * halo, NULL, 0, w->outside};
    return status;
}

int nnp_work_run(nnp_workspace* w, const nnp_system* s, double* energy, double* force, double* virial,
                 double* virials, nnp_clash* clash)
{
    nnp_output out;
    const int status = prepare_output(w, energy, force, virial, virials, &out);
    if (status) return status;
    *clash = nnp_run_chunks(w->k, w->model, w->packed, s, &w->plan, &w->scratch, w->n_threads, &out);
    count_outside(w, s->n);
    return NNP_OK;
}

int nnp_work_build(nnp_workspace* w, int n, const int* species, const double* x, const double* cell,
                   const int* pbc)
{
    nnp_workspace_renew(w);
    w->n_threads = nnp_threads_for(w->wanted_threads, n);
    int status = nnp_check_species(w->model, n, species);
    if (!status)
        status = nnp_neigh_build(&w->list, n, species, x, cell, pbc, w->model->cutoff + w->options.skin,
                                 w->n_threads);
    if (status) return status;
    const nnp_system s = work_system(w);
    return nnp_work_prepare(w, &s);
}

/* What other chunks did to rows [i0, i1), and E0; their energy. 0 if a number is not finite. */
static int finish_rows(nnp_workspace* w, int i0, int i1, const nnp_results* r, double* e, double* f,
                       double* energy)
{
    const nnp_plan* const plan = &w->plan;
    const double* const e0 = w->model->e0;
    double zero[3] = {0}; /* three sums: none waits for another */
    nnp_plan_gather(plan, w->part, 4, 3, i0, i1, f);
    if (r->virials)
        nnp_plan_gather(plan, w->part + 4 * plan->chunks[plan->n_chunks].halo, 9, 9, i0, i1, r->virials);
    if (w->model->n_species == 1)
        for (int i = i0; i < i1; ++i) e[i] += e0[0];
    else
        for (int i = i0; i < i1; ++i) e[i] += e0[(int)w->list.x[4 * (int64_t)i + 3]];
    *energy = nnp_block_sum(e + i0, i1 - i0, 1);
    for (int64_t i = i0; i < i1; ++i)
        for (int c = 0; c < 3; ++c) zero[c] += 0 * f[3 * i + c];
    return zero[0] + zero[1] + zero[2] + 0 * *energy == 0;
}

/* Atoms so close that a term overflowed would give numbers without meaning. */
static int not_finite(const nnp_neigh* l, const double* e, const double* f)
{
    int i = 0;
    while (i < l->n - 1 && isfinite(e[i]) && isfinite(f[3 * (int64_t)i]) && isfinite(f[3 * (int64_t)i + 1]) &&
           isfinite(f[3 * (int64_t)i + 2]))
        ++i;
    if (!isfinite(e[i]))
        return nnp_fail(NNP_ERR_DIVERGED, "the energy of atom %d is %g eV: atoms too close?", l->order[i],
                        e[i]);
    return nnp_fail(NNP_ERR_DIVERGED, "a force on atom %d is not finite: atoms too close?", l->order[i]);
}

int nnp_work_evaluate(nnp_workspace* w, const nnp_results* r, const nnp_row_hook* hook)
{
    w->n_threads = nnp_threads_for(w->wanted_threads, w->list.n);
    const nnp_system s = work_system(w);
    const int n = s.n, n_sums = (n + NNP_WORK_ROWS - 1) / NNP_WORK_ROWS;
    double* const e = r->energies ? r->energies : w->per_row;
    double* const f = r->forces ? r->forces : w->per_row + n;
    double* const v = r->virial ? w->per_row + 4 * (int64_t)n : NULL;
    double* const sums = w->per_row + 10 * (int64_t)n;
    nnp_clash clash = {-1, -1};
    nnp_output out;
    const int status = prepare_output(w, e, f, v, r->virials, &out);
    if (status) return status;
    int finite = 1;
    const int n_threads = w->n_threads;
#pragma omp parallel num_threads(n_threads) if (n_threads > 1)
    {
        nnp_share_chunks(w->k, w->model, w->packed, &s, &w->plan, &w->scratch, &out, &clash);
#pragma omp for schedule(static) reduction(&& : finite)
        for (int b = 0; b < (clash.row < 0 ? n_sums : 0); ++b) {
            const int i0 = b * NNP_WORK_ROWS, i1 = n - i0 < NNP_WORK_ROWS ? n : i0 + NNP_WORK_ROWS;
            finite = finish_rows(w, i0, i1, r, e, f, sums + b) && finite;
            if (hook) hook->rows(hook->of, i0, i1);
        }
    }
    if (clash.row >= 0) return nnp_clash_error(&w->list, clash, w->clash);
    count_outside(w, n);
    if (!finite) return not_finite(&w->list, e, f);
    if (r->energy) *r->energy = 0;
    for (int b = 0; b < n_sums && r->energy; ++b) *r->energy += sums[b];
    if (r->virial)
        for (int c = 0; c < 6; ++c) r->virial[c] = nnp_block_sum(v + c, n, 6);
    return NNP_OK;
}

static int same_list(const nnp_workspace* w, int n, const int* species, const double* cell, const int* pbc)
{
    const int all[3] = {1, 1, 1};
    if (!w->listed || n != w->list.n || !w->options.skin || w->has_cell != (cell != NULL)) return 0;
    if (!cell && pbc && (pbc[0] || pbc[1] || pbc[2])) return 0; /* which building a list refuses */
    if (cell &&
        (memcmp(cell, w->cell, sizeof w->cell) != 0 || memcmp(pbc ? pbc : all, w->pbc, sizeof w->pbc) != 0))
        return 0;
    return memcmp(species, w->species, (size_t)n * sizeof(int)) == 0;
}

static int remember(nnp_workspace* w, int n, const int* species, const double* cell, const int* pbc)
{
    const int all[3] = {1, 1, 1};
    const int status = nnp_reserve(&w->species, &w->cap_species, (size_t)n, sizeof(int));
    if (status) return status;
    memcpy(w->species, species, (size_t)n * sizeof(int));
    w->has_cell = cell != NULL;
    if (cell) memcpy(w->cell, cell, sizeof w->cell);
    memcpy(w->pbc, pbc ? pbc : all, sizeof w->pbc);
    w->listed = 1;
    return NNP_OK;
}

/* List and positions up to date; the list of the last call serves while no atom moved skin/2. */
static int update(nnp_workspace* w, int n, const int* species, const double* x, const double* cell,
                  const int* pbc)
{
    if (same_list(w, n, species, cell, pbc)) {
        const double moved2 = nnp_neigh_refresh(&w->list, x, w->n_threads);
        if (moved2 <= 0.25 * w->options.skin * w->options.skin) return NNP_OK;
    }
    const int status = nnp_work_build(w, n, species, x, cell, pbc);
    return status || !w->options.skin ? status : remember(w, n, species, cell, pbc);
}

/* Scratch by row for the arrays that compute_cell hands on in the caller's order. */
static void add_rows(const nnp_neigh* l, const double* rows, int width, double* out)
{
    if (!out) return;
    for (int i = 0; i < l->n; ++i)
        for (int c = 0; c < width; ++c) out[(int64_t)l->order[i] * width + c] += rows[(int64_t)i * width + c];
}

int nnp_compute_cell(const nnp_model* model, nnp_workspace* w, int n, const int* species, const double* x,
                     const double* cell, const int* pbc, const nnp_results* r)
{
    if (!model || !w || !r || n < 0 || (n && (!species || !x)))
        return nnp_fail(NNP_ERR_ARGUMENT, "nnp_compute_cell: a NULL argument or a negative number of atoms");
    if (model != w->model)
        return nnp_fail(NNP_ERR_ARGUMENT, "nnp_compute_cell: the workspace is of another model");
    if (n == 0) return NNP_OK;
    int status = update(w, n, species, x, cell, pbc);
    if (status) return status;
    double energy = 0, virial[6] = {0};
    double* const virials = r->virials ? (double*)nnp_alloc((size_t)n, 9 * sizeof(double)) : NULL;
    if (r->virials && !virials) return nnp_fail(NNP_ERR_MEMORY, "out of memory: virials of %d atoms", n);
    nnp_results rows = {&energy, w->per_row, r->forces ? w->per_row + n : NULL, r->virial ? virial : NULL,
                        virials};
    status = nnp_work_evaluate(w, &rows, NULL);
    if (!status) {
        if (r->energy) *r->energy += energy;
        if (r->virial)
            for (int c = 0; c < 6; ++c) r->virial[c] += virial[c];
        add_rows(&w->list, rows.energies, 1, r->energies);
        add_rows(&w->list, rows.forces, 3, r->forces);
        add_rows(&w->list, virials, 9, r->virials);
    }
    nnp_free(virials);
    return status;
}
