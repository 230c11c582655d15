/* trainer_frames.c - a trainer's frames: neighbour lists, labels less E0 and baseline. */
#include "trainer_private.h"
#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static void frame_free(nnp_frame* f)
{
    if (!f) return;
    nnp_neigh_clear(&f->list);
    nnp_plan_clear(&f->plan);
    nnp_free(f->forces);
    nnp_free(f->forces0);
    nnp_cache_free(f->cache);
    free(f);
}

int nnp_trainer_new(const nnp_model* model, const nnp_options* options, nnp_trainer** out)
{
    nnp_options o;
    if (!model || !out) return nnp_fail(NNP_ERR_ARGUMENT, "nnp_trainer_new: model or out is NULL");
    if (!model->net) return nnp_fail(NNP_ERR_ARGUMENT, "nnp_trainer_new: the model has no network to train");
    const int status = nnp_take_options(options, &o);
    if (status) return status;
    const nnp_kernels* const k = nnp_get_kernels(o.precision);
    if (!k) return NNP_ERR_ARGUMENT;
    nnp_trainer* const t = (nnp_trainer*)calloc(1, sizeof *t);
    if (!t) return nnp_fail(NNP_ERR_MEMORY, "out of memory: trainer");
    t->owner = nnp_model_hold(model);
    t->model = *model;
    t->model.n_baseline = 0;
    t->k = k;
    t->precision = o.precision;
    t->n_threads = nnp_thread_count(o.n_threads);
    t->packed = nnp_alloc((size_t)model->n_parameters, (size_t)k->real_bytes);
    if (!t->packed) {
        nnp_trainer_free(t);
        return nnp_fail(NNP_ERR_MEMORY, "out of memory: parameters");
    }
    *out = t;
    return NNP_OK;
}

void nnp_trainer_free(nnp_trainer* t)
{
    if (!t) return;
    for (int i = 0; i < t->n_frames; ++i) frame_free(t->frames[i]);
    nnp_free(t->frames);
    nnp_free(t->scratch.base);
    nnp_free(t->packed);
    nnp_free(t->part);
    nnp_free(t->acc);
    nnp_free(t->energy);
    nnp_free(t->force);
    nnp_free(t->virial);
    nnp_free(t->lambda);
    nnp_free(t->n_use);
    nnp_free(t->probe_net);
    nnp_free(t->pair);
    nnp_model_free((nnp_model*)t->owner);
    free(t);
}

int nnp_trainer_n_frames(const nnp_trainer* t) { return t ? t->n_frames : 0; }

size_t nnp_trainer_bytes(const nnp_trainer* t)
{
    size_t bytes = 0;
    for (int i = 0; t && i < t->n_frames; ++i) {
        const nnp_frame* const f = t->frames[i];
        bytes += sizeof *f + (size_t)f->n * (48 + 4 + 16) + (size_t)f->n_total * 32 +
                 (size_t)f->list.first[f->n] * 4 + (size_t)frame_halo(f) * 8;
        bytes += (size_t)f->plan.n_blocks * (size_t)(f->plan.width + f->plan.n_species) * sizeof(int);
    }
    return bytes;
}

static double triple_product(const double* h)
{
    return h[0] * (h[4] * h[8] - h[5] * h[7]) - h[1] * (h[3] * h[8] - h[5] * h[6]) +
           h[2] * (h[3] * h[7] - h[4] * h[6]);
}

void nnp_virial_to_stress(const double* w, double volume, double* stress)
{
    const int from[6] = {0, 1, 2, 5, 4, 3};
    for (int c = 0; c < 6; ++c) stress[c] = -w[from[c]] / volume;
}

int nnp_trainer_reserve(nnp_trainer* t, int64_t rows, int64_t total, int64_t halo, int training)
{
    int status = nnp_reserve(&t->part, &t->cap_part, 4 * (size_t)halo + 4, sizeof(double));
    if (!status) status = nnp_reserve(&t->energy, &t->cap_energy, (size_t)rows, sizeof(double));
    if (!status) status = nnp_reserve(&t->force, &t->cap_force, 3 * (size_t)rows, sizeof(double));
    if (!status) status = nnp_reserve(&t->virial, &t->cap_virial, 6 * (size_t)rows, sizeof(double));
    if (!status) status = nnp_reserve(&t->lambda, &t->cap_lambda, 3 * (size_t)total, sizeof(double));
    if (!status)
        status = nnp_scratch_reserve(&t->scratch, t->k, t->owner, &t->largest, training, t->n_threads);
    if (!status && t->n_use) {
        t->scratch.bytes += (nnp_cache_room(t) + 4095) / 4096 * 4096;
        status =
            nnp_reserve(&t->scratch.base, &t->scratch.capacity, t->scratch.bytes * (size_t)t->n_threads, 1);
    }
    return status;
}

/* E0 and baselines of a frame: energy0, forces0, stress0. Also what finds overlapping atoms. */
static int frame_baseline(nnp_trainer* t, nnp_frame* f)
{
    const nnp_system s = frame_system(f);
    nnp_model base = *t->owner;
    base.msr = NULL;
    base.bp = NULL;
    base.net = NULL;
    int status = nnp_trainer_reserve(t, f->n, f->n_total, frame_halo(f), 0);
    if (status) return status;
    const nnp_output out = {t->energy, t->force, t->part, t->virial, NULL, NULL, NULL, 0, NULL};
    const nnp_clash clash = nnp_run_chunks(t->k, &base, t->packed, &s, &f->plan, &t->scratch, 1, &out);
    if (clash.row >= 0) return nnp_clash_error(&f->list, clash, f->clash);
    f->energy0 = nnp_block_sum(t->energy, f->n, 1);
    for (int i = 0; i < f->n; ++i) f->energy0 += base.e0[(int)s.x[4 * (int64_t)i + 3]];
    if (!base.n_baseline) return NNP_OK;
    f->forces0 = (double*)nnp_alloc((size_t)f->n, 3 * sizeof(double));
    if (!f->forces0) return nnp_fail(NNP_ERR_MEMORY, "out of memory: baseline forces");
    memcpy(f->forces0, t->force, (size_t)f->n * 3 * sizeof(double));
    nnp_plan_gather(&f->plan, t->part, 4, 3, 0, f->n, f->forces0);
    double w[6];
    for (int c = 0; c < 6; ++c) w[c] = nnp_block_sum(t->virial + c, f->n, 6);
    if (f->volume > 0) nnp_virial_to_stress(w, f->volume, f->stress0);
    return NNP_OK;
}

static int check_label(const char* what, const double* values, int n, double least)
{
    for (int i = 0; values && i < n; ++i)
        if (!(fabs(values[i]) <= DBL_MAX) || values[i] < least)
            return nnp_fail(NNP_ERR_ARGUMENT, "%s label, number %d is %g, expected a finite number", what, i,
                            values[i]);
    return NNP_OK;
}

static int frame_labels(nnp_frame* f, const nnp_labels* labels)
{
    f->weight = labels ? labels->weight : 1;
    if (!labels) return NNP_OK;
    int status = check_label("energy", labels->energy, 1, -DBL_MAX);
    if (!status) status = check_label("force", labels->forces, 3 * f->n, -DBL_MAX);
    if (!status) status = check_label("stress", labels->stress, 6, -DBL_MAX);
    if (!status) status = check_label("weight", &labels->weight, 1, 0);
    if (status) return status;
    if ((f->has_energy = labels->energy != NULL)) f->energy = *labels->energy - f->energy0;
    if ((f->has_stress = labels->stress != NULL)) {
        if (!(f->volume > 0)) return nnp_fail(NNP_ERR_ARGUMENT, "a stress label needs a cell");
        for (int c = 0; c < 6; ++c) f->stress[c] = labels->stress[c] - f->stress0[c];
    }
    if (!labels->forces) return NNP_OK;
    f->forces = (double*)nnp_alloc((size_t)f->n, 3 * sizeof(double));
    if (!f->forces) return nnp_fail(NNP_ERR_MEMORY, "out of memory: force labels");
    for (int i = 0; i < f->n; ++i)
        for (int c = 0; c < 3; ++c)
            f->forces[3 * i + c] =
                labels->forces[3 * (int64_t)f->list.order[i] + c] - (f->forces0 ? f->forces0[3 * i + c] : 0);
    return NNP_OK;
}

static double closest_pair(const nnp_neigh* list)
{
    double least = INFINITY;
    for (int i = 0; i < list->n; ++i)
        for (int64_t p = list->first[i]; p < list->first[i + 1]; ++p) {
            const double *const a = list->x + 4 * (int64_t)i, *const b =
                                                                  list->x + 4 * (int64_t)list->index[p];
            const double dx = b[0] - a[0], dy = b[1] - a[1], dz = b[2] - a[2],
                         r2 = dx * dx + dy * dy + dz * dz;
            if (r2 < least) least = r2;
        }
    return sqrt(least);
}

static int frame_build(nnp_trainer* t, nnp_frame* f, int n, const int* species, const double* x,
                       const double* cell, const int* pbc, const nnp_labels* labels)
{
    nnp_neigh_init(&f->list);
    f->n = n;
    f->clash = nnp_clash_distance(t->owner, t->precision);
    f->volume = cell ? fabs(triple_product(cell)) : 0;
    int status = nnp_check_species(t->owner, n, species);
    if (!status) status = nnp_neigh_build(&f->list, n, species, x, cell, pbc, t->owner->cutoff, 1);
    if (status) return status;
    f->n_total = f->list.n_total;
    f->closest = closest_pair(&f->list);
    const nnp_system s = frame_system(f);
    status = nnp_plan_build(&f->plan, &s, t->owner->n_species, t->k->width, nnp_near_cutoff(t->owner), 1);
    if (status) return status;
    nnp_plan* const most = &t->largest;
    if (f->plan.max_neighbours > most->max_neighbours) most->max_neighbours = f->plan.max_neighbours;
    if (f->plan.max_local > most->max_local) most->max_local = f->plan.max_local;
    status = frame_baseline(t, f);
    return status ? status : frame_labels(f, labels);
}

/* Frees what only building needs. */
static void frame_trim(nnp_frame* f)
{
    nnp_neigh* const l = &f->list;
    nnp_free(l->x_built);
    nnp_free(l->shift);
    nnp_free(l->image);
    nnp_free(l->index);
    l->x_built = l->shift = NULL;
    l->image = l->index = NULL;
    nnp_plan_trim(&f->plan);
}

int nnp_trainer_add(nnp_trainer* t, int n, const int* species, const double* x, const double* cell,
                    const int* pbc, const nnp_labels* labels)
{
    if (!t || n < 1 || !species || !x)
        return nnp_fail(NNP_ERR_ARGUMENT, "nnp_trainer_add: a NULL argument or a frame without atoms");
    if ((size_t)t->n_frames == t->cap_frames) {
        const size_t wanted = t->cap_frames ? 2 * t->cap_frames : 64;
        nnp_frame** const more = (nnp_frame**)nnp_alloc(wanted, sizeof *more);
        if (!more) return nnp_fail(NNP_ERR_MEMORY, "out of memory: %zu frames", wanted);
        if (t->n_frames) memcpy(more, t->frames, (size_t)t->n_frames * sizeof *more);
        nnp_free(t->frames);
        t->frames = more;
        t->cap_frames = wanted;
    }
    nnp_frame* const f = (nnp_frame*)calloc(1, sizeof *f);
    if (!f) return nnp_fail(NNP_ERR_MEMORY, "out of memory: a frame");
    const int status = frame_build(t, f, n, species, x, cell, pbc, labels);
    if (status) {
        frame_free(f);
        return status;
    }
    frame_trim(f);
    t->frames[t->n_frames++] = f;
    return NNP_OK;
}
