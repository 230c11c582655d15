/* bench_step.c - what a step of dynamics is made of, measured while nnp_md_run() runs; for `nnpcore bench`
 * and bench/bench_core.c. The core is not touched: the linker puts the functions below around its own,
 *
 *   cc ... bench_step.c libnnpcore.a -Wl,--wrap=nnp_get_kernels,--wrap=nnp_plan_gather,--wrap=nnp_plan_build
 *      -Wl,--wrap=nnp_neigh_build,--wrap=nnp_neigh_move,--wrap=nnp_neigh_move_ghosts -lm -fopenmp
 *
 * Times are summed over threads: what a thread waits for the others belongs to no part, and shows in the
 * rest.
 */
#include "bench_peak.c"
#include "engine.h"
#include <stdlib.h>
#include <string.h>

enum { FORCES, GATHER, REFRESH, LIST, PLAN, N_PARTS };

static double spent[N_PARTS]; /* s, of all threads */
static double halo;           /* atoms in the halos of the plan's chunks */
static int team;              /* threads that wait while one function runs them all */
static nnp_kernels timed;
static const nnp_kernels* plain;

static void add(int part, double begin, int threads)
{
    const double seconds = (seconds_now() - begin) * threads;
#pragma omp atomic
    spent[part] += seconds;
}

static nnp_clash timed_evaluate(const nnp_model* model, const void* packed, const nnp_system* system,
                                const nnp_plan* plan, int chunk, void* scratch, const nnp_output* out)
{
    const double begin = seconds_now();
    const nnp_clash clash = plain->evaluate(model, packed, system, plan, chunk, scratch, out);
    add(FORCES, begin, 1);
    return clash;
}

const nnp_kernels* __real_nnp_get_kernels(int precision);
const nnp_kernels* __wrap_nnp_get_kernels(int precision)
{
    const nnp_kernels* const f64 = __real_nnp_get_kernels(NNP_F64); /* one table serves: the last one's */
    plain = __real_nnp_get_kernels(precision);
    if (!plain) return NULL;
    timed = *plain;
    timed.evaluate = timed_evaluate;
    timed.drift = f64->drift;
    timed.kick = f64->kick;
    return &timed;
}

void __real_nnp_plan_gather(const nnp_plan*, const double*, int, int, int, int, double*);
void __wrap_nnp_plan_gather(const nnp_plan* plan, const double* part, int stride, int width, int t0, int t1,
                            double* value)
{
    const double begin = seconds_now();
    __real_nnp_plan_gather(plan, part, stride, width, t0, t1, value);
    add(GATHER, begin, 1);
}

int __real_nnp_plan_build(nnp_plan*, const nnp_system*, int, int, double, int);
int __wrap_nnp_plan_build(nnp_plan* plan, const nnp_system* system, int n_species, int width, double near,
                          int n_threads)
{
    const double begin = seconds_now();
    const int status = __real_nnp_plan_build(plan, system, n_species, width, near, n_threads);
    add(PLAN, begin, team);
    if (!status) halo = (double)plan->chunks[plan->n_chunks].halo;
    return status;
}

int __real_nnp_neigh_build(nnp_neigh*, int, const int*, const double*, const double*, const int*, double,
                           int);
int __wrap_nnp_neigh_build(nnp_neigh* list, int n, const int* species, const double* x, const double* cell,
                           const int* pbc, double cutoff, int n_threads)
{
    const double begin = seconds_now();
    const int status = __real_nnp_neigh_build(list, n, species, x, cell, pbc, cutoff, n_threads);
    add(LIST, begin, team);
    return status;
}

double __real_nnp_neigh_move(nnp_neigh*, const double*, const int*, int, int);
double __wrap_nnp_neigh_move(nnp_neigh* list, const double* x, const int* order, int first, int end)
{
    const double begin = seconds_now();
    const double moved = __real_nnp_neigh_move(list, x, order, first, end);
    add(REFRESH, begin, 1);
    return moved;
}

void __real_nnp_neigh_move_ghosts(nnp_neigh*, const double*, const int*, int, int);
void __wrap_nnp_neigh_move_ghosts(nnp_neigh* list, const double* x, const int* order, int first, int end)
{
    const double begin = seconds_now();
    __real_nnp_neigh_move_ghosts(list, x, order, first, end);
    add(REFRESH, begin, 1);
}

typedef struct nnp_bench_split {
    double step, forces, gather, refresh, list, plan; /* microseconds an atom and step */
    double builds;                                    /* of the list, a step */
    double halo;                                      /* an atom */
} nnp_bench_split;

/* NVE of `steps` steps of dt fs, after as many that are not counted; NNP_OK or the core's error. */
int nnp_bench_step(const nnp_model* model, const nnp_md_system* system, int precision, int threads, double dt,
                   int steps, nnp_bench_split* out)
{
    nnp_options options;
    nnp_md_options o;
    nnp_md* md;
    nnp_default_options(&options);
    options.n_threads = threads, options.precision = precision, options.skin = 1;
    nnp_md_default_options(&o);
    o.dt = dt;
    team = nnp_threads_for(threads, system->n);
    int status = nnp_md_new(model, &options, system, &o, &md);
    if (status) return status;
    status = nnp_md_run(md, steps, NULL);
    memset(spent, 0, sizeof spent);
    const int64_t builds = nnp_md_n_builds(md);
    const double begin = seconds_now();
    if (!status) status = nnp_md_run(md, steps, NULL);
    const double wall = seconds_now() - begin, each = 1e6 / ((double)system->n * steps);
    double* const parts[N_PARTS] = {&out->forces, &out->gather, &out->refresh, &out->list, &out->plan};
    for (int k = 0; k < N_PARTS; ++k) *parts[k] = spent[k] / team * each;
    out->step = wall * each;
    out->builds = (double)(nnp_md_n_builds(md) - builds) / steps;
    out->halo = halo / system->n;
    nnp_md_free(md);
    return status;
}

/* The same for a caller without the core's headers: model file, atoms of one species, periodic cell; out is
 * an nnp_bench_split. */
int nnp_bench_step_file(const char* path, int n, const double* x, const double* v, const double* cell,
                        int precision, int threads, double dt, int steps, double* out)
{
    nnp_model* model;
    nnp_bench_split split;
    int* const species = calloc((size_t)n + 1, sizeof(int));
    if (!species) return NNP_ERR_MEMORY;
    int status = nnp_model_load(path, &model);
    if (!status) {
        const nnp_md_system system = {n, species, x, v, NULL, cell, NULL};
        status = nnp_bench_step(model, &system, precision, threads, dt, steps, &split);
        nnp_model_free(model);
    }
    if (!status) memcpy(out, &split, sizeof split);
    free(species);
    return status;
}
