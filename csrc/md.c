/* md.c - nnp_md: making one, running it, reading and setting its state. */
#include "md_internal.h"
#include "engine.h"
#include "math/philox.h"
#include "nnp_threads.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

void nnp_md_default_options(nnp_md_options* options)
{
    memset(options, 0, sizeof *options);
    options->size = sizeof *options;
    options->ensemble = NNP_MD_NVE;
    options->dt = 1;
    options->temperature = 300;
    options->friction = 0.01;
    options->tau = 100;
    options->f_max = 1000;
}

/* A host compiled with an older, shorter struct gets the defaults of what it does not know. */
static int take_options(const nnp_md_options* from, nnp_md_options* o)
{
    const size_t oldest = offsetof(nnp_md_options, virial_every) + sizeof from->virial_every;
    nnp_md_default_options(o);
    if (!from) return NNP_OK;
    if (from->size < oldest || from->size > 4096)
        return nnp_fail(NNP_ERR_ARGUMENT, "nnp_md_options: size not set (nnp_md_default_options)");
    memcpy(o, from, from->size < sizeof *o ? from->size : sizeof *o);
    o->size = sizeof *o;
    return NNP_OK;
}

static int check_options(const nnp_md_options* o)
{
    if (o->ensemble < NNP_MD_NVE || o->ensemble > NNP_MD_BUSSI)
        return nnp_fail(NNP_ERR_ARGUMENT, "md: unknown ensemble %d", o->ensemble);
    if (!(o->dt != 0 && isfinite(o->dt))) return nnp_fail(NNP_ERR_ARGUMENT, "md: dt is %g fs", o->dt);
    if (!(o->f_max > 0)) return nnp_fail(NNP_ERR_ARGUMENT, "md: f_max is %g eV/A, expected > 0", o->f_max);
    if (o->momentum_every < 0 || o->virial_every < 0)
        return nnp_fail(NNP_ERR_ARGUMENT, "md: momentum_every and virial_every must be >= 0");
    if (o->ensemble == NNP_MD_NVE) return NNP_OK;
    if (!(o->dt > 0)) return nnp_fail(NNP_ERR_ARGUMENT, "md: a thermostat needs dt > 0");
    if (!(o->temperature >= 0 && isfinite(o->temperature)))
        return nnp_fail(NNP_ERR_ARGUMENT, "md: temperature is %g K, expected >= 0", o->temperature);
    if (o->ensemble == NNP_MD_LANGEVIN && !(o->friction >= 0 && isfinite(o->friction)))
        return nnp_fail(NNP_ERR_ARGUMENT, "md: friction is %g /fs, expected >= 0", o->friction);
    if (o->ensemble == NNP_MD_BUSSI && !(o->tau > 0 && isfinite(o->tau)))
        return nnp_fail(NNP_ERR_ARGUMENT, "md: tau is %g fs, expected > 0", o->tau);
    return NNP_OK;
}

static int check_system(const nnp_model* model, const nnp_md_system* s)
{
    if (s->n < 0) return nnp_fail(NNP_ERR_ARGUMENT, "md: n is %d", s->n);
    if (!s->cell && s->pbc && (s->pbc[0] || s->pbc[1] || s->pbc[2]))
        return nnp_fail(NNP_ERR_ARGUMENT, "md: an axis is periodic, but there is no cell");
    if (s->n > 0 && (!s->species || !s->x)) return nnp_fail(NNP_ERR_ARGUMENT, "md: species or x is NULL");
    for (int i = 0; i < s->n; i++) {
        int t = s->species[i];
        if (t < 0 || t >= nnp_model_n_species(model))
            return nnp_fail(NNP_ERR_SPECIES, "md: species of atom %d is %d; the model has %d", i, t,
                            nnp_model_n_species(model));
        double mass = s->mass ? s->mass[i] : nnp_model_mass(model, t);
        if (!(mass > 0 && isfinite(mass)))
            return nnp_fail(NNP_ERR_ARGUMENT, "md: mass of atom %d is %g amu, expected > 0", i, mass);
        for (int c = 0; c < 3; c++) {
            if (!isfinite(s->x[3 * (size_t)i + c]))
                return nnp_fail(NNP_ERR_ARGUMENT, "md: position of atom %d is not finite", i);
            if (s->v && !isfinite(s->v[3 * (size_t)i + c]))
                return nnp_fail(NNP_ERR_ARGUMENT, "md: velocity of atom %d is not finite", i);
        }
    }
    return NNP_OK;
}

static int allocate(nnp_md* md, int n)
{
    double** vectors[] = {&md->x, &md->v, &md->f, &md->x_old, &md->v_old, &md->swap};
    int missing = 0;
    for (int k = 0; k < 6; k++) {
        *vectors[k] = nnp_alloc(3 * (size_t)n, sizeof(double));
        missing |= !*vectors[k];
        if (*vectors[k]) memset(*vectors[k], 0, 3 * (size_t)n * sizeof(double));
    }
    md->n_blocks = (int)(((int64_t)n + NNP_MD_BLOCK - 1) / NNP_MD_BLOCK);
    missing |= !(md->species = nnp_alloc((size_t)n, sizeof(int)));
    missing |= !(md->place = nnp_alloc((size_t)n, sizeof(int)));
    missing |= !(md->mass = nnp_alloc((size_t)n, sizeof(double)));
    missing |= !(md->row_mass = nnp_alloc((size_t)n, sizeof(double)));
    missing |= !(md->row_inverse = nnp_alloc((size_t)n, sizeof(double)));
    missing |= !(md->sums = nnp_alloc((size_t)md->n_blocks * NNP_MD_SUMS, sizeof(double)));
    missing |= !(md->bad = nnp_alloc((size_t)md->n_blocks, sizeof(int)));
    return missing ? nnp_fail(NNP_ERR_MEMORY, "out of memory: MD of %d atoms", n) : NNP_OK;
}

static void copy_system(nnp_md* md, const nnp_md_system* s)
{
    size_t n = (size_t)s->n;
    md->n = s->n;
    md->has_cell = s->cell != NULL;
    if (s->cell) memcpy(md->cell, s->cell, sizeof md->cell);
    for (int c = 0; c < 3; c++) md->pbc[c] = s->cell ? (s->pbc ? s->pbc[c] != 0 : 1) : 0;
    if (n) {
        memcpy(md->species, s->species, n * sizeof(int));
        memcpy(md->x, s->x, 3 * n * sizeof(double));
        if (s->v) memcpy(md->v, s->v, 3 * n * sizeof(double));
    }
    for (size_t i = 0; i < n; i++)
        md->mass[i] = s->mass ? s->mass[i] : nnp_model_mass(md->model, s->species[i]);
}

static int make(nnp_md* md, const nnp_options* options, const nnp_md_system* system)
{
    nnp_options o;
    int status = nnp_take_options(options, &o);
    if (status) return status;
    if (!(o.skin > 0)) o.skin = 1;
    md->kernels = nnp_get_kernels(NNP_F64);
    if (!md->kernels) return NNP_ERR_ARGUMENT;
    status = nnp_workspace_new(md->model, &o, &md->work);
    if (!status) status = allocate(md, system->n);
    if (status) return status;
    md->skin = nnp_work_skin(md->work);
    md->threads = 1;
    md->list = nnp_work_list(md->work);
    copy_system(md, system);
    status = nnp_md_update(md);
    md->threads = nnp_work_threads(md->work); /* as many as are of use for the rows there now are */
    return status;
}

int nnp_md_new(const nnp_model* model, const nnp_options* options, const nnp_md_system* system,
               const nnp_md_options* md_options, nnp_md** out)
{
    if (!model || !system || !out) return nnp_fail(NNP_ERR_ARGUMENT, "nnp_md_new: NULL argument");
    nnp_md_options taken;
    int status = take_options(md_options, &taken);
    if (!status) status = check_options(&taken);
    if (!status) status = check_system(model, system);
    if (status) return status;
    nnp_md* md = calloc(1, sizeof *md);
    if (!md) return nnp_fail(NNP_ERR_MEMORY, "out of memory: nnp_md");
    md->model = model;
    md->options = taken;
    status = make(md, options, system);
    if (status) {
        nnp_md_free(md);
        return status;
    }
    *out = md;
    return NNP_OK;
}

void nnp_md_free(nnp_md* md)
{
    if (!md) return;
    void* arrays[] = {md->species,  md->mass,        md->x,    md->v,     md->f,    md->x_old, md->v_old,
                      md->row_mass, md->row_inverse, md->swap, md->place, md->sums, md->bad};
    for (size_t k = 0; k < sizeof arrays / sizeof *arrays; k++) nnp_free(arrays[k]);
    nnp_workspace_free(md->work);
    free(md);
}

int nnp_md_set_options(nnp_md* md, const nnp_md_options* md_options)
{
    if (!md || !md_options) return nnp_fail(NNP_ERR_ARGUMENT, "nnp_md_set_options: NULL argument");
    nnp_md_options taken;
    int status = take_options(md_options, &taken);
    if (!status) status = check_options(&taken);
    if (!status) md->options = taken;
    return status;
}

static int sample(nnp_md* md)
{
    if (!md->rdf || md->step % md->rdf_every != 0 || md->step < md->rdf_start) return NNP_OK;
    nnp_md_to_caller(md, md->x, md->swap);
    return nnp_rdf_add(md->rdf, md->n, md->species, md->swap, md->has_cell ? md->cell : NULL, md->pbc,
                       md->threads);
}

int nnp_md_run(nnp_md* md, int64_t n_steps, const volatile int* stop)
{
    if (!md || n_steps < 0) return nnp_fail(NNP_ERR_ARGUMENT, "nnp_md_run: NULL md or negative n_steps");
    int status = nnp_md_ready(md);
    for (int64_t k = 0; k < n_steps && !status; k++) {
        if (stop && *stop) break;
        status = nnp_md_step(md);
        if (!status) status = sample(md);
    }
    return status;
}

int nnp_md_sample_rdf(nnp_md* md, nnp_rdf* rdf, int64_t every, int64_t start)
{
    if (!md || (rdf && every < 1))
        return nnp_fail(NNP_ERR_ARGUMENT, "nnp_md_sample_rdf: NULL md, or every < 1");
    md->rdf = rdf;
    md->rdf_every = every;
    md->rdf_start = start;
    return NNP_OK;
}

int nnp_md_rebuild(nnp_md* md)
{
    if (!md) return nnp_fail(NNP_ERR_ARGUMENT, "nnp_md_rebuild: NULL md");
    int status = nnp_md_build(md, 0);
    return status ? status : nnp_md_update(md);
}

void nnp_md_outside(const nnp_md* md, int64_t* atoms, int64_t* functions)
{
    nnp_workspace_outside(md ? md->work : NULL, atoms, functions);
}

int64_t nnp_md_n_builds(const nnp_md* md) { return md ? md->n_builds : 0; }

int nnp_md_get(nnp_md* md, nnp_md_state* state)
{
    if (!md || !state) return nnp_fail(NNP_ERR_ARGUMENT, "nnp_md_get: NULL argument");
    int status = nnp_md_ready(md);
    if (status) return status;
    state->step = md->step;
    state->heat = md->heat;
    memcpy(state->cell, md->cell, sizeof md->cell);
    if (state->x) nnp_md_to_caller(md, md->x, state->x);
    if (state->v) nnp_md_to_caller(md, md->v, state->v);
    if (state->f) nnp_md_to_caller(md, md->f, state->f);
    if (state->x_list) nnp_md_to_caller(md, md->list->x_built, state->x_list);
    return NNP_OK;
}

static int all_finite(const double* values, size_t count)
{
    double sum = 0;
    for (size_t i = 0; i < count; i++) sum += values[i] * 0;
    return sum == 0;
}

/* The list is built where it was built in the run that is continued, then brought to x: same order of
 * atoms and neighbours, hence the same bits from here on. */
int nnp_md_set(nnp_md* md, const nnp_md_state* state)
{
    if (!md || !state || !state->x || !state->v)
        return nnp_fail(NNP_ERR_ARGUMENT, "nnp_md_set: NULL argument, x or v");
    size_t bytes = 3 * (size_t)md->n * sizeof(double), count = 3 * (size_t)md->n;
    const double* x_list = state->x_list ? state->x_list : state->x;
    if (!all_finite(state->x, count) || !all_finite(state->v, count) || !all_finite(x_list, count) ||
        !isfinite(state->heat))
        return nnp_fail(NNP_ERR_ARGUMENT, "nnp_md_set: a number is not finite");
    md->sorted = 0;
    md->forces_valid = md->virial_valid = 0;
    memcpy(md->x, x_list, bytes);
    memcpy(md->v, state->v, bytes);
    md->step = state->step;
    md->heat = state->heat;
    int status = nnp_md_build(md, 0);
    if (status) {
        memcpy(md->x, state->x, bytes); /* the new state stands, without a list */
        return status;
    }
    nnp_md_to_rows(md, state->x, md->x);
    return nnp_md_update(md);
}

int nnp_md_draw_velocities(nnp_md* md, double temperature)
{
    if (!md || !(temperature >= 0 && isfinite(temperature)))
        return nnp_fail(NNP_ERR_ARGUMENT, "nnp_md_draw_velocities: NULL md, or temperature %g K",
                        temperature);
    int status = nnp_md_ready(md);
    if (status) return status;
    for (int first = 0; first < md->n; first += NNP_MD_BLOCK) {
        double normals[3][NNP_MD_BLOCK];
        int count = md->n - first < NNP_MD_BLOCK ? md->n - first : NNP_MD_BLOCK;
        nnp_md_normals(md, NNP_STREAM_VELOCITY, first, count, normals[0]);
        for (int i = 0; i < count; i++)
            for (int c = 0; c < 3; c++)
                md->v[3 * (size_t)(first + i) + c] =
                    sqrt(NNP_KB * temperature * md->row_inverse[first + i]) * normals[c][i];
    }
    if (md->n > 1) nnp_md_momentum_to_zero(md);
    double kinetic = nnp_md_kinetic(md), wanted = 0.5 * nnp_md_degrees(md) * NNP_KB * temperature;
    if (kinetic > 0) nnp_md_scale_velocities(md, sqrt(wanted / kinetic));
    return NNP_OK;
}

int nnp_md_remove_momentum(nnp_md* md)
{
    if (!md) return nnp_fail(NNP_ERR_ARGUMENT, "nnp_md_remove_momentum: NULL md");
    int status = nnp_md_ready(md);
    if (status) return status;
    nnp_md_momentum_to_zero(md);
    return NNP_OK;
}
