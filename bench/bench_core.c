/* bench_core.c - the core timed from C, as a host sees it: one JSON object on standard output.
 *
 *   W=-Wl,--wrap=nnp_get_kernels,--wrap=nnp_plan_gather,--wrap=nnp_plan_build
 *   W=$W,--wrap=nnp_neigh_build,--wrap=nnp_neigh_move,--wrap=nnp_neigh_move_ghosts
 *   cc -O3 -fopenmp -Icsrc $W bench/bench_core.c csrc/[a-z]*.c -lm -o bench_core
 *   ./bench_core nnpcore/mw_msr.nnp [molecules [threads [runs]]]          (8000, 1, 5)
 *
 * Any model of one species "O"; liquid mW water: ice Ic at 0.9978 g/cm3, melted at 1500 K and brought to 298
 * K with the model itself. Timed are a fresh neighbour list, energy and forces with a list at hand, the
 * gradient of the force loss (a network, up to 20,000 molecules), and a step of NVE dynamics of 5 fs,
 * rebuilds included, with its parts (nnpcore/bench_step.c); medians over the runs, in microseconds an atom,
 * beside the peaks of as many threads.
 */
#include "../nnpcore/bench_step.c"
#include <nnpcore.h>
#include <math.h>
#include <stdio.h>
#ifdef _OPENMP
#include <omp.h>
#endif

enum { STEPS = 20, MAX_RUNS = 101, LARGEST_FRAME = 20000 };

typedef struct liquid {
    int n;
    int* species;
    double *x, *v, cell[9];
} liquid;

static void must(int status)
{
    if (!status) return;
    fprintf(stderr, "bench_core: %s\n", nnp_last_error());
    exit(1);
}

static void* room(size_t count, size_t size)
{
    void* const p = calloc(count, size);
    if (!p) exit((fprintf(stderr, "bench_core: out of memory\n"), 1));
    return p;
}

static int by_value(const void* a, const void* b)
{
    const double x = *(const double*)a, y = *(const double*)b;
    return (x > y) - (x < y);
}

static double median(double* t, int n)
{
    qsort(t, (size_t)n, sizeof *t, by_value);
    return n % 2 ? t[n / 2] : 0.5 * (t[n / 2 - 1] + t[n / 2]);
}

/* About n molecules on the sites of cubic diamond. */
static liquid ice(int n)
{
    static const double site[8][3] = {{0, 0, 0},       {0, .5, .5},     {.5, 0, .5},     {.5, .5, 0},
                                      {.25, .25, .25}, {.25, .75, .75}, {.75, .25, .75}, {.75, .75, .25}};
    const int m = (int)fmax(1, round(cbrt(n / 8.0)));
    const double a = cbrt(8 * 18.015 * 1.66053906660 / 0.9978); /* Angstrom */
    liquid s = {8 * m * m * m, NULL, NULL, NULL, {m * a, 0, 0, 0, m * a, 0, 0, 0, m * a}};
    s.species = room((size_t)s.n, sizeof(int));
    s.x = room((size_t)s.n * 3, sizeof(double));
    s.v = room((size_t)s.n * 3, sizeof(double));
    for (int k = 0; k < s.n; k++) {
        const int box[3] = {k / 8 / (m * m), k / 8 / m % m, k / 8 % m};
        for (int c = 0; c < 3; c++) s.x[3 * (size_t)k + (size_t)c] = a * (box[c] + site[k % 8][c]);
    }
    return s;
}

static nnp_md* dynamics(const nnp_model* model, const liquid* s, int threads, int precision,
                        const nnp_md_options* o)
{
    nnp_md* md;
    nnp_options options;
    nnp_default_options(&options);
    options.n_threads = threads;
    options.precision = precision;
    options.skin = 1;
    const nnp_md_system system = {s->n, s->species, s->x, s->v, NULL, s->cell, NULL};
    must(nnp_md_new(model, &options, &system, o, &md));
    return md;
}

static void melt(const nnp_model* model, liquid* s, int threads)
{
    nnp_md_options o;
    nnp_md_default_options(&o);
    o.ensemble = NNP_MD_BUSSI;
    o.dt = 2, o.tau = 20, o.temperature = 1500;
    nnp_md* const md = dynamics(model, s, threads, NNP_F32, &o);
    must(nnp_md_draw_velocities(md, 2500));
    must(nnp_md_run(md, 400, NULL));
    o.temperature = 298, o.dt = 5;
    must(nnp_md_set_options(md, &o));
    must(nnp_md_run(md, 300, NULL));
    nnp_md_state state = {0, 0, {0}, s->x, s->v, NULL, NULL};
    must(nnp_md_get(md, &state));
    nnp_md_free(md);
}

static double time_list(const nnp_model* model, const liquid* s, int threads, int runs)
{
    double t[MAX_RUNS];
    for (int k = -1; k < runs; k++) {
        nnp_neighbor_list* list;
        const double begin = seconds_now();
        must(nnp_neighbor_list_new(s->n, s->x, s->cell, NULL, nnp_model_cutoff(model) + 1, threads, &list));
        if (k >= 0) t[k] = seconds_now() - begin;
        nnp_neighbor_list_free(list);
    }
    return median(t, runs) / s->n * 1e6;
}

static double time_forces(const nnp_model* model, const liquid* s, int threads, int precision, int runs)
{
    double t[MAX_RUNS], energy = 0;
    double* const f = room((size_t)s->n * 3, sizeof(double));
    const nnp_results r = {&energy, NULL, f, NULL, NULL};
    nnp_options options;
    nnp_workspace* work;
    nnp_default_options(&options);
    options.n_threads = threads, options.precision = precision, options.skin = 1;
    must(nnp_workspace_new(model, &options, &work));
    for (int k = -1; k < runs; k++) {
        const double begin = seconds_now();
        must(nnp_compute_cell(model, work, s->n, s->species, s->x, s->cell, NULL, &r));
        if (k >= 0) t[k] = seconds_now() - begin;
    }
    nnp_workspace_free(work);
    free(f);
    return median(t, runs) / s->n * 1e6;
}

static double time_md(const nnp_model* model, const liquid* s, int threads, int precision, int runs)
{
    double t[MAX_RUNS];
    nnp_md_options o;
    nnp_md_default_options(&o);
    o.dt = 5;
    nnp_md* const md = dynamics(model, s, threads, precision, &o);
    for (int k = -1; k < runs; k++) {
        const double begin = seconds_now();
        must(nnp_md_run(md, STEPS, NULL));
        if (k >= 0) t[k] = seconds_now() - begin;
    }
    nnp_md_free(md);
    return median(t, runs) / s->n / STEPS * 1e6;
}

static double time_gradient(const nnp_model* model, const liquid* s, int threads, int precision, int runs)
{
    double t[MAX_RUNS], terms[4];
    const size_t count = (size_t)nnp_model_n_parameters(model);
    double *const f = room((size_t)s->n * 3, sizeof(double)), *const grad = room(count, sizeof(double));
    const nnp_labels labels = {NULL, f, NULL, 1};
    const nnp_loss loss = {sizeof loss, NNP_LOSS_SQUARE, 1, 1, 0, 1, 1, 1};
    const int frame = 0;
    nnp_options options;
    nnp_trainer* trainer;
    nnp_default_options(&options);
    options.n_threads = threads, options.precision = precision;
    must(nnp_trainer_new(model, &options, &trainer));
    must(nnp_trainer_add(trainer, s->n, s->species, s->x, s->cell, NULL, &labels));
    for (int k = -1; k < runs; k++) {
        const double begin = seconds_now();
        must(nnp_trainer_gradient(trainer, model->theta, &loss, 1, &frame, terms, grad));
        if (k >= 0) t[k] = seconds_now() - begin;
    }
    nnp_trainer_free(trainer);
    free(f);
    free(grad);
    return median(t, runs) / s->n * 1e6;
}

static void print_split(const nnp_model* model, const liquid* s, int threads, int precision)
{
    nnp_bench_split p;
    const nnp_md_system system = {s->n, s->species, s->x, s->v, NULL, s->cell, NULL};
    must(nnp_bench_step(model, &system, precision, threads, 5, STEPS, &p));
    printf("\"md_split_us\": {\"step\": %.4f, \"forces\": %.4f, \"gather\": %.4f, \"refresh\": %.4f, ",
           p.step, p.forces, p.gather, p.refresh);
    printf("\"list\": %.4f, \"plan\": %.4f, \"rest\": %.4f}, ", p.list, p.plan,
           p.step - p.forces - p.gather - p.refresh - p.list - p.plan);
    printf("\"builds_per_step\": %.3f, \"halo_per_atom\": %.3f, ", p.builds, p.halo);
}

static double peak(int threads, int is_float)
{
    const char* const isa = nnp_isa();
    const int bytes = isa[0] == 'b' ? 16 : isa[3] == '2' ? 32 : 64; /* baseline, avx2, avx512 */
    double total = 0;
#pragma omp parallel for num_threads(threads) reduction(+ : total) if (threads > 1)
    for (int k = 0; k < threads; k++) total += nnp_bench_peak(bytes, is_float, 0.1);
    return total;
}

static double copies(int threads)
{
    double total = 0;
#pragma omp parallel for num_threads(threads) reduction(+ : total) if (threads > 1)
    for (int k = 0; k < threads; k++) total += nnp_bench_copy(268435456.0 / threads, 0.1);
    return total;
}

int main(int argc, char** argv)
{
    if (argc < 2) return fprintf(stderr, "usage: bench_core model.nnp [molecules [threads [runs]]]\n"), 2;
    const int n = argc > 2 ? atoi(argv[2]) : 8000, threads = argc > 3 ? atoi(argv[3]) : 1;
    const int runs = argc > 4 ? atoi(argv[4]) : 5;
    nnp_model* model;
    if (n < 1 || threads < 1 || runs < 1 || runs > MAX_RUNS)
        return fprintf(stderr, "bench_core: bad number\n"), 2;
    must(nnp_model_load(argv[1], &model));
    liquid s = ice(n);
    melt(model, &s, threads);
    printf("{\"n_atoms\": %d, \"threads\": %d, \"runs\": %d, \"isa\": \"%s\",\n", s.n, threads, runs,
           nnp_isa());
    printf(" \"list_us_per_atom\": %.4f", time_list(model, &s, threads, runs));
    for (int p = 0; p < 2; p++) {
        const char* const name = p == NNP_F32 ? "float32" : "float64";
        printf(",\n \"%s\": {\"forces_us_per_atom\": %.4f, ", name, time_forces(model, &s, threads, p, runs));
        if (nnp_model_n_parameters(model) > 0 && s.n <= LARGEST_FRAME)
            printf("\"gradient_us_per_atom\": %.4f, ", time_gradient(model, &s, threads, p, runs));
        printf("\"md_us_per_atom_step\": %.4f, ", time_md(model, &s, threads, p, runs));
        print_split(model, &s, threads, p);
        printf("\"fma_peak_gflops\": %.1f}", peak(threads, p == NNP_F32));
    }
    printf(",\n \"copy_gb_s\": %.1f}\n", copies(threads));
    free(s.species), free(s.x), free(s.v);
    nnp_model_free(model);
    return 0;
}
