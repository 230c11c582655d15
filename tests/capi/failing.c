/* failing.c - every allocation of the core fails once: ./failing model.nnp. Built with the whole core and
 * -Wl,--wrap=malloc,--wrap=calloc,--wrap=aligned_alloc,--wrap=free. For each scenario and k = 0, 1, ... the
 * k-th allocation returns NULL: the call must say NNP_ERR_MEMORY, leave results alone, and succeed when
 * called again, with the results of a run without failures. At the end of each round nothing is left, and
 * nothing was ever allocated inside a parallel region, where a failure could not be reported.
 */
#include <nnpcore.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#ifdef _OPENMP
#include <omp.h>
#endif

enum { SIDE = 8, N = SIDE * SIDE * SIDE, SMALL = 27 };

static double x[N][3], cell[9];
static int species[N];
static const char* path;
static nnp_model* model; /* for the scenarios that do not make their own */

/* ---- allocator ---- */

static long live, calls, fail_at = -1, fired, in_parallel;

void* __real_malloc(size_t size);
void* __real_calloc(size_t count, size_t size);
void* __real_aligned_alloc(size_t alignment, size_t size);
void __real_free(void* p);

static int refuse(void)
{
#ifdef _OPENMP
    in_parallel += omp_in_parallel();
#endif
    if (calls++ != fail_at) return 0;
    fired = 1;
    return 1;
}

static void* counted(void* p)
{
    live += p != NULL;
    return p;
}

void* __wrap_malloc(size_t size) { return refuse() ? NULL : counted(__real_malloc(size)); }
void* __wrap_calloc(size_t n, size_t size) { return refuse() ? NULL : counted(__real_calloc(n, size)); }
void* __wrap_aligned_alloc(size_t alignment, size_t size)
{
    return refuse() ? NULL : counted(__real_aligned_alloc(alignment, size));
}
void __wrap_free(void* p)
{
    live -= p != NULL;
    __real_free(p);
}

/* ---- checks ---- */

static void check(int good, const char* what, int line)
{
    if (good) return;
    fprintf(stderr, "failing.c:%d: %s (allocation %ld; last error: %s)\n", line, what, fail_at,
            nnp_last_error());
    exit(1);
}
#define CHECK(condition) check(condition, #condition, __LINE__)

/* A call that may fail once for want of memory, and succeeds then. */
#define AGAIN(call)                                                                                          \
    do {                                                                                                     \
        const int status_ = (call);                                                                          \
        if (status_ == NNP_OK) break;                                                                        \
        CHECK(status_ == NNP_ERR_MEMORY && fired);                                                           \
        CHECK(strstr(nnp_last_error(), "out of memory") != NULL);                                            \
        const int second_ = (call);                                                                          \
        CHECK(second_ == NNP_OK);                                                                            \
    } while (0)

static void make_system(void)
{
    const double a = 2.9;
    unsigned state = 12345;
    for (int c = 0; c < 3; ++c) cell[4 * c] = SIDE * a;
    for (int i = 0; i < N; ++i)
        for (int c = 0; c < 3; ++c) {
            const int site[3] = {i / (SIDE * SIDE), i / SIDE % SIDE, i % SIDE};
            state = state * 1103515245u + 12345u;
            x[i][c] = a * site[c] + 0.3 * ((state >> 16 & 1023) / 1023.0 - 0.5);
        }
}

/* ---- scenarios: each returns a number that must not depend on failures ---- */

static double sum(const double* v, size_t n)
{
    double total = 0;
    for (size_t i = 0; i < n; ++i) total += v[i] * (double)(i % 7 + 1);
    return total;
}

static double load(void)
{
    nnp_model* m = NULL;
    AGAIN(nnp_model_load(path, &m));
    const double out = nnp_model_cutoff(m) + (double)nnp_model_n_parameters(m);
    nnp_model_free(m);
    return out;
}

/* The same workspace for few atoms, many, few: what it holds grows once and serves again. */
static double compute_with(const nnp_options* options)
{
    static double f[N][3], v[N][9];
    double out = 0;
    nnp_workspace* w = NULL;
    AGAIN(nnp_workspace_new(model, options, &w));
    for (int k = 0; k < 3; ++k) {
        double energy = 0, virial[6] = {0};
        nnp_results r = {&energy, NULL, f[0], virial, v[0]};
        memset(f, 0, sizeof f);
        memset(v, 0, sizeof v);
        const int n = k == 1 ? N : SMALL;
        const int status = nnp_compute_cell(model, w, n, species, x[0], cell, NULL, &r);
        if (status) {
            CHECK(status == NNP_ERR_MEMORY && fired && energy == 0 && virial[0] == 0);
            CHECK(sum(f[0], 3 * N) == 0 && sum(v[0], 9 * N) == 0);
            CHECK(nnp_compute_cell(model, w, n, species, x[0], cell, NULL, &r) == NNP_OK);
        }
        out += energy + sum(f[0], 3 * N) + sum(v[0], 9 * N) + sum(virial, 6);
    }
    nnp_workspace_free(w);
    return out;
}

static double compute(void)
{
    nnp_options o;
    nnp_default_options(&o);
    o.n_threads = 2;
    return compute_with(&o);
}

static double compute_with_skin(void)
{
    nnp_options o;
    nnp_default_options(&o);
    o.skin = 0.7;
    o.precision = NNP_F32;
    o.n_threads = 1;
    return compute_with(&o);
}

static double host_list(void)
{
    static int table[SMALL][SMALL];
    static double f[SMALL][3];
    const int* first[SMALL];
    int count[SMALL];
    double energy = 0;
    for (int i = 0; i < SMALL; ++i) {
        count[i] = 0;
        first[i] = table[i];
        for (int j = 0; j < SMALL; ++j)
            if (j != i) table[i][count[i]++] = j;
    }
    const nnp_neighbors list = {SMALL, NULL, count, first, -1};
    nnp_results r = {&energy, NULL, f[0], NULL, NULL};
    nnp_workspace* w = NULL;
    memset(f, 0, sizeof f);
    AGAIN(nnp_workspace_new(model, NULL, &w));
    AGAIN(nnp_compute(model, w, SMALL, species, x[0], &list, &r));
    AGAIN(nnp_compute_moved(model, w, SMALL, species, x[0], &list, &r));
    nnp_workspace_free(w);
    return energy + sum(f[0], 3 * SMALL);
}

static double ghosts(void)
{
    static double f[N][3], v[N][9];
    double energy = 0;
    nnp_options o;
    nnp_workspace* w = NULL;
    nnp_results r = {&energy, NULL, f[0], NULL, v[0]};
    memset(f, 0, sizeof f);
    memset(v, 0, sizeof v);
    nnp_default_options(&o);
    o.skin = 0.5;
    o.n_threads = 2;
    AGAIN(nnp_workspace_new(model, &o, &w));
    AGAIN(nnp_compute_ghosts(model, w, SMALL, N / 2, species, x[0], &r));
    AGAIN(nnp_compute_ghosts(model, w, N - 100, N, species, x[0], &r));
    nnp_workspace_free(w);
    return energy + sum(f[0], 3 * N) + sum(v[0], 9 * N);
}

static double neighbours(void)
{
    nnp_neighbor_list* list = NULL;
    AGAIN(nnp_neighbor_list_new(N, x[0], cell, NULL, 4.0, 2, &list));
    const double out = (double)nnp_neighbor_list_count(list);
    nnp_neighbor_list_free(list);
    return out;
}

/* Fast atoms, so that the list is rebuilt often; rounded, since a failure may move a rebuild. */
static double dynamics(void)
{
    static int64_t counts[NNP_RDF_BLOCKS][20];
    nnp_options o;
    nnp_md_options m;
    nnp_md* md = NULL;
    nnp_rdf* rdf = NULL;
    nnp_thermo t = {0};
    const nnp_md_system system = {N, species, x[0], NULL, NULL, cell, NULL};
    nnp_default_options(&o);
    o.n_threads = 2;
    o.skin = 0.04;
    nnp_md_default_options(&m);
    m.ensemble = NNP_MD_LANGEVIN;
    m.dt = 1;
    AGAIN(nnp_rdf_new(1, 5.0, 20, &rdf));
    AGAIN(nnp_md_new(model, &o, &system, &m, &md));
    AGAIN(nnp_md_draw_velocities(md, 600));
    CHECK(nnp_md_sample_rdf(md, rdf, 4, 0) == NNP_OK);
    while (t.step < 5) {
        const int status = nnp_md_run(md, 5 - t.step, NULL);
        CHECK(status == NNP_OK || (status == NNP_ERR_MEMORY && fired));
        AGAIN(nnp_md_thermo(md, 1, &t));
    }
    AGAIN(nnp_md_rebuild(md));
    CHECK(t.step == 5 && nnp_md_n_builds(md) > 2 && nnp_rdf_get(rdf, counts[0], NULL, NULL) == NNP_OK);
    const double out = t.potential + t.kinetic + t.pressure;
    nnp_md_free(md);
    nnp_rdf_free(rdf);
    return floor(out * 1e6 + 0.5);
}

static double training(void)
{
    nnp_options o;
    nnp_trainer* t = NULL;
    const double energy = -1, stress[6] = {0.1, 0.2, 0.3, 0, 0, 0}, *theta = nnp_model_parameters(model);
    const nnp_labels labels = {&energy, x[0], stress, 1};
    const nnp_loss loss = {sizeof loss, NNP_LOSS_SQUARE, 1, 1, 1, 1, 1, 1};
    const int frames[2] = {0, 1};
    const int64_t n = nnp_model_n_parameters(model);
    static double grad[2][5000], e[2], inputs[5000], terms[4];
    if (n == 0) return 0;
    CHECK(n <= 5000 && SMALL * nnp_model_n_fingerprints(model, 0) <= 5000);
    nnp_default_options(&o);
    o.n_threads = 2;
    AGAIN(nnp_trainer_new(model, &o, &t));
    AGAIN(nnp_trainer_add(t, SMALL, species, x[0], cell, NULL, &labels));
    CHECK(nnp_trainer_n_frames(t) == 1);
    AGAIN(nnp_trainer_add(t, N, species, x[0], cell, NULL, &labels));
    CHECK(nnp_trainer_n_frames(t) == 2);
    AGAIN(nnp_trainer_gradient(t, theta, &loss, 2, frames, terms, grad[0]));
    double out = terms[0] + sum(grad[0], (size_t)n);
    AGAIN(nnp_trainer_sketch(t, theta, &loss, 1, frames, 7, grad[1]));
    AGAIN(nnp_trainer_predict(t, theta, 2, frames, e, NULL, NULL));
    AGAIN(nnp_trainer_fingerprints(t, theta, 0, inputs));
    out += sum(grad[1], (size_t)n) + sum(e, 2) + sum(inputs, SMALL);
    size_t kept = 0;
    AGAIN(nnp_trainer_keep(t, 1u << 30, &kept));
    AGAIN(nnp_trainer_gradient(t, theta, &loss, 2, frames, terms, grad[0]));
    out += terms[0] + (double)kept;
    const int rows[3] = {4, 3 * SMALL, 3 * SMALL + 2};
    static float jacobian[3][5000];
    AGAIN(nnp_trainer_jacobian(t, theta, 0, 3, rows, jacobian[0]));
    for (int64_t i = 0; i < 3 * n; ++i) out += (double)jacobian[0][i];
    nnp_trainer_free(t);
    return out;
}

static double filtering(void)
{
    enum { SIZE = 40 };
    const int edges[3] = {0, 15, SIZE};
    static float covariance[15 * 15 + 25 * 25], h[2][SIZE];
    const double residual[2] = {0.5, -1};
    double step[SIZE];
    for (int b = 0, at = 0; b < 2; at += 15 * 15, ++b)
        for (int i = 0, n = b ? 25 : 15; i < n; ++i)
            for (int j = 0; j < n; ++j) covariance[at + n * i + j] = i == j;
    for (int i = 0; i < SIZE; ++i) h[0][i] = (float)(i % 7), h[1][i] = (float)(i % 3);
    AGAIN(nnp_kalman_step(2, edges, covariance, 2, h[0], residual, 0.1, step, 1));
    return sum(step, SIZE) + (double)covariance[3];
}

static void every_allocation(const char* name, double (*scenario)(void))
{
    double first, again;
    long count = 0;
    const long before = live;
    fail_at = -1;
    first = scenario();
    CHECK(live == before && isfinite(first));
    do {
        calls = fired = 0;
        fail_at = count++;
        again = scenario();
        CHECK(again == first && live == before);
    } while (fired);
    fail_at = -1;
    printf("%s %ld\n", name, count - 1);
}

int main(int argc, char** argv)
{
    CHECK(argc == 2);
    path = argv[1];
    make_system();
    every_allocation("load", load);
    CHECK(nnp_model_load(path, &model) == NNP_OK);
    every_allocation("compute", compute);
    every_allocation("compute_with_skin", compute_with_skin);
    every_allocation("host_list", host_list);
    every_allocation("ghosts", ghosts);
    every_allocation("neighbours", neighbours);
    every_allocation("dynamics", dynamics);
    every_allocation("training", training);
    every_allocation("filtering", filtering);
    nnp_model_free(model);
    CHECK(live == 0 && in_parallel == 0);
    return 0;
}
