/* host.c - a C host of the core: ./host model.nnp. Prints numbers for the caller to check; exits with 1 at
 * the first thing that is not as nnpcore.h says. Everything is freed, so that a leak checker sees a clean
 * end. */
#include <nnpcore.h>
#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define N 27

static double x[N][3];
static int species[N];
static const double cell[9] = {9.3, 0, 0, 0.4, 9.1, 0, -0.3, 0.2, 9.5};

static void check(int good, const char* what, int line)
{
    if (good) return;
    fprintf(stderr, "host.c:%d: %s (last error: %s)\n", line, what, nnp_last_error());
    exit(1);
}
#define CHECK(condition) check(condition, #condition, __LINE__)

/* status is code, and the text names what is wrong */
static void check_error(int status, int code, const char* part, int line)
{
    if (status == code && strstr(nnp_last_error(), part)) return;
    fprintf(stderr, "host.c:%d: status %d, text \"%s\"; expected %d and \"%s\"\n", line, status,
            nnp_last_error(), code, part);
    exit(1);
}
#define FAILS(call, code, part) check_error(call, code, part, __LINE__)

static void make_system(void)
{
    unsigned state = 12345;
    for (int i = 0; i < N; ++i)
        for (int c = 0; c < 3; ++c) {
            const int site[3] = {i / 9, i / 3 % 3, i % 3};
            state = state * 1103515245u + 12345u;
            x[i][c] = 3.0 * site[c] + 0.4 * ((state >> 16 & 1023) / 1023.0 - 0.5);
        }
}

/* ---- loading ---- */

static nnp_model* load(const char* path)
{
    nnp_model* model = NULL;
    FAILS(nnp_model_load(NULL, &model), NNP_ERR_ARGUMENT, "NULL");
    FAILS(nnp_model_load(path, NULL), NNP_ERR_ARGUMENT, "NULL");
    FAILS(nnp_model_load("/no/such/model.nnp", &model), NNP_ERR_FILE, "/no/such/model.nnp");
    CHECK(nnp_model_load("/", &model) != NNP_OK); /* a folder */
    FAILS(nnp_model_parse(NULL, 10, &model), NNP_ERR_ARGUMENT, "NULL");
    FAILS(nnp_model_parse("not a model, whatever its name is", 33, &model), NNP_ERR_FORMAT, "");
    CHECK(model == NULL);
    CHECK(nnp_model_load(path, &model) == NNP_OK);
    CHECK(nnp_model_cutoff(model) > 0 && nnp_model_n_species(model) >= 1 && nnp_model_mass(model, 0) > 0);
    CHECK(strcmp(nnp_model_units(model), "eV Angstrom") == 0);
    return model;
}

/* The same bytes from memory; every shorter piece is refused. */
static void check_parse(const char* path, const nnp_model* model)
{
    static char bytes[1 << 20];
    FILE* file = fopen(path, "rb");
    CHECK(file != NULL);
    const size_t size = fread(bytes, 1, sizeof bytes, file);
    fclose(file);
    nnp_model* copy = NULL;
    CHECK(nnp_model_parse(bytes, size, &copy) == NNP_OK);
    CHECK(nnp_model_n_parameters(copy) == nnp_model_n_parameters(model));
    CHECK(memcmp(nnp_model_parameters(copy), nnp_model_parameters(model),
                 (size_t)nnp_model_n_parameters(model) * sizeof(double)) == 0);
    nnp_model_free(copy);
    for (size_t part = 0; part < size; part += 1 + size / 40) {
        copy = NULL;
        CHECK(nnp_model_parse(bytes, part, &copy) != NNP_OK && copy == NULL);
    }
}

/* ---- energies and forces ---- */

typedef struct output {
    double energy, energies[N], forces[N][3], virial[6], virials[N][9];
} output;

static nnp_results into(output* o)
{
    const nnp_results r = {&o->energy, o->energies, o->forces[0], o->virial, o->virials[0]};
    return r;
}

static nnp_workspace* workspace(const nnp_model* model, int threads)
{
    nnp_workspace* work = NULL;
    nnp_options options;
    nnp_default_options(&options);
    options.n_threads = threads;
    CHECK(nnp_workspace_new(model, &options, &work) == NNP_OK);
    return work;
}

static void check_options(const nnp_model* model)
{
    nnp_workspace* work = NULL;
    nnp_options o;
    FAILS(nnp_workspace_new(NULL, NULL, &work), NNP_ERR_ARGUMENT, "NULL");
    FAILS(nnp_workspace_new(model, NULL, NULL), NNP_ERR_ARGUMENT, "NULL");
    nnp_default_options(&o);
    o.size = 3;
    FAILS(nnp_workspace_new(model, &o, &work), NNP_ERR_ARGUMENT, "size");
    nnp_default_options(&o);
    o.precision = 7;
    FAILS(nnp_workspace_new(model, &o, &work), NNP_ERR_ARGUMENT, "precision");
    nnp_default_options(&o);
    o.n_threads = -1;
    FAILS(nnp_workspace_new(model, &o, &work), NNP_ERR_ARGUMENT, "n_threads");
    nnp_default_options(&o);
    o.skin = (double)NAN;
    FAILS(nnp_workspace_new(model, &o, &work), NNP_ERR_ARGUMENT, "skin");
    CHECK(work == NULL);
}

static void check_arguments(const nnp_model* model)
{
    nnp_workspace* const work = workspace(model, 1);
    double energy = 0, bad[N][3], flat[9] = {5, 0, 0, 0, 5, 0, 5, 5, 0};
    int alien[N] = {0};
    nnp_results r = {&energy, NULL, NULL, NULL, NULL};
    FAILS(nnp_compute_cell(NULL, work, N, species, x[0], cell, NULL, &r), NNP_ERR_ARGUMENT, "NULL");
    FAILS(nnp_compute_cell(model, NULL, N, species, x[0], cell, NULL, &r), NNP_ERR_ARGUMENT, "NULL");
    FAILS(nnp_compute_cell(model, work, N, NULL, x[0], cell, NULL, &r), NNP_ERR_ARGUMENT, "NULL");
    FAILS(nnp_compute_cell(model, work, N, species, NULL, cell, NULL, &r), NNP_ERR_ARGUMENT, "NULL");
    FAILS(nnp_compute_cell(model, work, N, species, x[0], cell, NULL, NULL), NNP_ERR_ARGUMENT, "NULL");
    FAILS(nnp_compute_cell(model, work, -1, species, x[0], cell, NULL, &r), NNP_ERR_ARGUMENT, "negative");
    FAILS(nnp_compute_cell(model, work, N, species, x[0], flat, NULL, &r), NNP_ERR_GEOMETRY, "");
    alien[20] = 77;
    FAILS(nnp_compute_cell(model, work, N, alien, x[0], cell, NULL, &r), NNP_ERR_SPECIES, "20");
    memcpy(bad, x, sizeof bad);
    bad[13][1] = (double)NAN;
    FAILS(nnp_compute_cell(model, work, N, species, bad[0], cell, NULL, &r), NNP_ERR_ARGUMENT, "13");
    memcpy(bad[13], bad[5], sizeof bad[5]);
    FAILS(nnp_compute_cell(model, work, N, species, bad[0], cell, NULL, &r), NNP_ERR_GEOMETRY, "13");
    nnp_results nothing = {NULL, NULL, NULL, NULL, NULL};
    CHECK(energy == 0);
    CHECK(nnp_compute_cell(model, work, N, species, x[0], cell, NULL, &nothing) == NNP_OK);
    CHECK(nnp_compute_cell(model, work, 0, NULL, NULL, NULL, NULL, &r) == NNP_OK && energy == 0);
    nnp_workspace_free(work);
}

/* Results are added to; the parts sum to the totals; the same bits for two threads. */
static void check_results(const nnp_model* model, output* reference)
{
    nnp_workspace* const work = workspace(model, 1);
    output twice = {0};
    nnp_results r = into(reference);
    CHECK(nnp_compute_cell(model, work, N, species, x[0], cell, NULL, &r) == NNP_OK);
    nnp_workspace_free(work);
    double sum = 0, trace = 0;
    for (int i = 0; i < N; ++i) sum += reference->energies[i];
    for (int i = 0; i < N; ++i)
        trace += reference->virials[i][0] + reference->virials[i][4] + reference->virials[i][8];
    CHECK(fabs(sum - reference->energy) < 1e-11 * N);
    CHECK(fabs(trace - reference->virial[0] - reference->virial[1] - reference->virial[2]) < 1e-10 * N);

    nnp_workspace* const two = workspace(model, 2);
    r = into(&twice);
    for (int k = 0; k < 2; ++k)
        CHECK(nnp_compute_cell(model, two, N, species, x[0], cell, NULL, &r) == NNP_OK);
    nnp_workspace_free(two);
    const double *a = &reference->energy, *b = &twice.energy;
    for (size_t k = 0; k < sizeof(output) / sizeof(double); ++k) CHECK(b[k] == 2 * a[k]);
}

/* ---- a host's own neighbour list ---- */

static void check_host_list(const nnp_model* model)
{
    const int mask = 0x1FFFFFFF, mark = 1 << 30;
    int count[N], rows[N], table[N][N];
    const int* first[N];
    for (int i = 0; i < N; ++i) {
        rows[i] = N - 1 - i;
        count[i] = 0;
        first[i] = table[i];
        for (int j = 0; j < N; ++j)
            if (j != i)
                table[i][count[i]++] =
                    j | (j % 2 ? mark : 0); /* longer than the cutoff, marked as LAMMPS does */
    }
    nnp_neighbors list = {N, rows, count, first, mask};
    nnp_workspace* const work = workspace(model, 1);
    output own = {0}, host = {0};
    nnp_results r = into(&own), h = into(&host);
    CHECK(nnp_compute_cell(model, work, N, species, x[0], NULL, NULL, &r) == NNP_OK);
    CHECK(nnp_compute(model, work, N, species, x[0], &list, &h) == NNP_OK);
    const double *a = &own.energy, *b = &host.energy;
    for (size_t k = 0; k < sizeof(output) / sizeof(double); ++k) CHECK(fabs(a[k] - b[k]) < 1e-10);
    FAILS(nnp_compute(model, work, N, species, x[0], NULL, &h), NNP_ERR_ARGUMENT, "NULL");
    FAILS(nnp_compute(NULL, work, N, species, x[0], &list, &h), NNP_ERR_ARGUMENT, "NULL");
    nnp_workspace_free(work);
}

/* ---- one model, two threads ---- */

typedef struct job {
    const nnp_model* model;
    const output* reference;
    int good;
} job;

static void* compute_often(void* argument)
{
    job* const mine = (job*)argument;
    nnp_workspace* const work = workspace(mine->model, 1);
    mine->good = 1;
    for (int k = 0; k < 50; ++k) {
        output o = {0};
        nnp_results r = into(&o);
        mine->good &= nnp_compute_cell(mine->model, work, N, species, x[0], cell, NULL, &r) == NNP_OK;
        mine->good &= memcmp(&o, mine->reference, sizeof o) == 0;
    }
    mine->good &=
        nnp_compute_cell(mine->model, work, -2, species, x[0], cell, NULL, NULL) == NNP_ERR_ARGUMENT;
    nnp_workspace_free(work);
    return NULL;
}

static void check_threads(const nnp_model* model, const output* reference)
{
    pthread_t thread[2];
    job jobs[2] = {{model, reference, 0}, {model, reference, 0}};
    char text[256];
    nnp_model* none = NULL;
    CHECK(nnp_model_load("/mine", &none) == NNP_ERR_FILE);
    snprintf(text, sizeof text, "%s", nnp_last_error());
    for (int k = 0; k < 2; ++k) CHECK(pthread_create(&thread[k], NULL, compute_often, &jobs[k]) == 0);
    for (int k = 0; k < 2; ++k) pthread_join(thread[k], NULL);
    CHECK(jobs[0].good && jobs[1].good);
    CHECK(strcmp(text, nnp_last_error()) == 0); /* their errors are not ours */
}

/* ---- dynamics, neighbours, g(r), loss gradient ---- */

static void check_md(const nnp_model* model)
{
    nnp_md* md = NULL;
    nnp_md_options o;
    nnp_thermo before, after;
    nnp_md_system system = {N, species, x[0], NULL, NULL, cell, NULL};
    nnp_md_default_options(&o);
    FAILS(nnp_md_new(NULL, NULL, &system, &o, &md), NNP_ERR_ARGUMENT, "NULL");
    o.size = 0;
    FAILS(nnp_md_new(model, NULL, &system, &o, &md), NNP_ERR_ARGUMENT, "size");
    nnp_md_default_options(&o);
    o.dt = (double)NAN;
    FAILS(nnp_md_new(model, NULL, &system, &o, &md), NNP_ERR_ARGUMENT, "dt");
    o.dt = 0.5;
    CHECK(nnp_md_new(model, NULL, &system, &o, &md) == NNP_OK);
    CHECK(nnp_md_draw_velocities(md, 50) == NNP_OK && nnp_md_thermo(md, 0, &before) == NNP_OK);
    FAILS(nnp_md_run(md, -1, NULL), NNP_ERR_ARGUMENT, "n_steps");
    CHECK(nnp_md_run(md, 20, NULL) == NNP_OK && nnp_md_thermo(md, 1, &after) == NNP_OK);
    CHECK(after.step == 20 && fabs(before.temperature - 50) < 1e-9 && isfinite(after.pressure));
    CHECK(fabs(after.conserved - before.conserved) < 1e-3 && after.kinetic != before.kinetic);
    const volatile int stop = 1;
    CHECK(nnp_md_run(md, 20, &stop) == NNP_OK && nnp_md_thermo(md, 0, &after) == NNP_OK && after.step == 20);
    nnp_md_free(md);
}

static void check_pairs(void)
{
    nnp_neighbor_list* list = NULL;
    nnp_rdf* rdf = NULL;
    static int64_t counts[NNP_RDF_BLOCKS][10];
    int64_t samples = 0, total = 0;
    FAILS(nnp_neighbor_list_new(N, x[0], cell, NULL, -1, 1, &list), NNP_ERR_ARGUMENT, "cutoff");
    FAILS(nnp_neighbor_list_new(N, NULL, cell, NULL, 5, 1, &list), NNP_ERR_ARGUMENT, "NULL");
    CHECK(nnp_neighbor_list_new(N, x[0], cell, NULL, 5, 1, &list) == NNP_OK);
    FAILS(nnp_rdf_new(1, 5, 0, &rdf), NNP_ERR_ARGUMENT, "bins");
    CHECK(nnp_rdf_new(1, 5, 10, &rdf) == NNP_OK);
    CHECK(nnp_rdf_add(rdf, N, species, x[0], cell, NULL, 1) == NNP_OK);
    CHECK(nnp_rdf_get(rdf, counts[0], &samples, NULL) == NNP_OK && samples == 1);
    for (int k = 0; k < 10; ++k) total += counts[0][k];
    CHECK(total == nnp_neighbor_list_count(list));
    printf("pairs %lld\n", (long long)total);
    nnp_neighbor_list_free(list);
    nnp_rdf_free(rdf);
}

static void check_trainer(const nnp_model* model)
{
    nnp_trainer* t = NULL;
    const double energy = -1, *theta = nnp_model_parameters(model);
    const int frames[1] = {0}, beyond[1] = {1};
    nnp_labels labels = {&energy, x[0], NULL, 1};
    nnp_loss loss = {sizeof loss, NNP_LOSS_SQUARE, 1, 1, 0, 1, 1, 1};
    double terms[4];
    if (nnp_model_n_parameters(model) == 0) {
        FAILS(nnp_trainer_new(model, NULL, &t), NNP_ERR_ARGUMENT, "no network");
        return;
    }
    double* const grad = (double*)malloc((size_t)nnp_model_n_parameters(model) * sizeof(double));
    CHECK(nnp_trainer_new(model, NULL, &t) == NNP_OK && grad);
    CHECK(nnp_trainer_add(t, N, species, x[0], cell, NULL, &labels) == NNP_OK &&
          nnp_trainer_n_frames(t) == 1);
    FAILS(nnp_trainer_gradient(t, theta, &loss, 1, beyond, terms, grad), NNP_ERR_ARGUMENT, "1 of 1");
    FAILS(nnp_trainer_gradient(t, theta, &loss, 0, frames, terms, grad), NNP_ERR_ARGUMENT, "empty");
    CHECK(nnp_trainer_gradient(t, theta, &loss, 1, frames, terms, grad) == NNP_OK);
    CHECK(fabs(terms[0] - terms[1] - terms[2] - terms[3]) < 1e-12 * terms[0] && terms[2] > 0);
    printf("loss %.17g\n", terms[0]);
    free(grad);
    nnp_trainer_free(t);
}

int main(int argc, char** argv)
{
    output reference = {0};
    CHECK(argc == 2 && nnp_version() == NNP_VERSION && nnp_max_threads() >= 1);
    make_system();
    nnp_model* const model = load(argv[1]);
    check_parse(argv[1], model);
    check_options(model);
    check_arguments(model);
    check_results(model, &reference);
    check_host_list(model);
    check_threads(model, &reference);
    check_md(model);
    check_pairs();
    check_trainer(model);
    nnp_model_free(model);
    nnp_model_free(NULL), nnp_workspace_free(NULL), nnp_md_free(NULL), nnp_trainer_free(NULL),
        nnp_rdf_free(NULL);
    nnp_neighbor_list_free(NULL);
    for (int i = 0; i < N; ++i) printf("x %.17g %.17g %.17g\n", x[i][0], x[i][1], x[i][2]);
    printf("energy %.17g\n", reference.energy);
    for (int i = 0; i < N; ++i)
        printf("force %.17g %.17g %.17g\n", reference.forces[i][0], reference.forces[i][1],
               reference.forces[i][2]);
    return 0;
}
