/* misuse.c - what hosts get wrong, and two threads with two models:  ./misuse first.nnp second.nnp
 * Every mistake is told by a status and a text; nothing crashes, and what was right before still is after.
 * Exits with 1 at the first thing that is not as nnpcore.h says. */
#include <nnpcore.h>
#include <limits.h>
#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define N 16

static double x[N][3];
static const int species[N];
static const double cell[9] = {6.4, 0, 0, 0.3, 6.1, 0, -0.2, 0.1, 12.6};

static void check(int good, const char* what, int line)
{
    if (good) return;
    fprintf(stderr, "misuse.c:%d: %s (last error: %s)\n", line, what, nnp_last_error());
    exit(1);
}
#define CHECK(condition) check(condition, #condition, __LINE__)

/* status is code, with a text of one line */
static void fails(int status, int code, int line)
{
    const char* const text = nnp_last_error();
    if (status == code && text && *text && !strchr(text, '\n')) return;
    fprintf(stderr, "misuse.c:%d: status %d, text \"%s\"; expected %d\n", line, status, text, code);
    exit(1);
}
#define FAILS(call, code) fails(call, code, __LINE__)

static void make_system(void)
{
    unsigned state = 4711;
    for (int i = 0; i < N; ++i) {
        const double site[3] = {i % 2, i / 2 % 2, i / 4};
        for (int c = 0; c < 3; ++c) {
            state = state * 1103515245u + 12345u;
            x[i][c] = 3.1 * site[c] + 0.3 * ((state >> 16 & 1023) / 1023.0 - 0.5);
        }
    }
}

typedef struct output {
    double energy, forces[N][3], virial[6];
} output;

static output compute(const nnp_model* model, nnp_workspace* work)
{
    output o = {0};
    const nnp_results r = {&o.energy, NULL, o.forces[0], o.virial, NULL};
    CHECK(nnp_compute_cell(model, work, N, species, x[0], cell, NULL, &r) == NNP_OK);
    return o;
}

/* ---- two threads, two models ---- */

typedef struct job {
    const nnp_model* model;
    output reference;
    int mistakes, different;
} job;

static void* compute_often(void* argument)
{
    job* const mine = (job*)argument;
    for (int k = 0; k < 40; ++k) {
        nnp_workspace* work = NULL;
        nnp_results r = {NULL, NULL, NULL, NULL, NULL};
        char text[64];
        if (nnp_workspace_new(mine->model, NULL, &work)) return NULL;
        const output o = compute(mine->model, work);
        mine->different += memcmp(&o, &mine->reference, sizeof o) != 0;
        mine->mistakes += nnp_compute_cell(mine->model, work, -k, species, x[0], cell, NULL, &r) != 0;
        snprintf(text, sizeof text, "%s/%d", mine->mistakes % 2 ? "/odd" : "/even", k);
        nnp_model* none = NULL;
        if (nnp_model_load(text, &none) != NNP_ERR_FILE || !strstr(nnp_last_error(), text)) ++mine->different;
        nnp_workspace_free(work);
    }
    return NULL;
}

static void two_threads(const nnp_model* a, const nnp_model* b, nnp_workspace* wa, nnp_workspace* wb)
{
    pthread_t thread[4];
    job jobs[4] = {{a, compute(a, wa), 0, 0},
                   {b, compute(b, wb), 0, 0},
                   {a, compute(a, wa), 0, 0},
                   {b, compute(b, wb), 0, 0}};
    CHECK(memcmp(&jobs[0].reference, &jobs[1].reference, sizeof(output)) != 0);
    for (int k = 0; k < 4; ++k) CHECK(pthread_create(&thread[k], NULL, compute_often, &jobs[k]) == 0);
    for (int k = 0; k < 4; ++k) pthread_join(thread[k], NULL);
    for (int k = 0; k < 4; ++k) CHECK(jobs[k].different == 0 && jobs[k].mistakes == 39);
}

/* ---- the wrong pieces together ---- */

static void strangers(const nnp_model* a, const nnp_model* b, nnp_workspace* wa)
{
    double e = 0;
    const nnp_results r = {&e, NULL, NULL, NULL, NULL};
    const output before = compute(a, wa);
    FAILS(nnp_compute_cell(b, wa, N, species, x[0], cell, NULL, &r), NNP_ERR_ARGUMENT);
    int count[N] = {0};
    const int* first[N] = {NULL};
    const nnp_neighbors list = {N, NULL, count, first, -1};
    FAILS(nnp_compute(b, wa, N, species, x[0], &list, &r), NNP_ERR_ARGUMENT);
    CHECK(e == 0);
    const output after = compute(a, wa);
    CHECK(memcmp(&before, &after, sizeof after) == 0);
}

static void wrong_sizes(const nnp_model* a, nnp_workspace* wa)
{
    double e = 0, far[N][3];
    const nnp_results r = {&e, NULL, NULL, NULL, NULL};
    const double huge[9] = {1e300, 0, 0, 0, 1e300, 0, 0, 0, 1e300}, zero[9] = {0};
    int alien[N] = {0};
    nnp_options o;
    nnp_workspace* work = NULL;
    const output before = compute(a, wa);
    FAILS(nnp_compute_cell(a, wa, INT_MIN, species, x[0], cell, NULL, &r), NNP_ERR_ARGUMENT);
    FAILS(nnp_compute_cell(a, wa, N, species, x[0], zero, NULL, &r), NNP_ERR_GEOMETRY);
    CHECK(nnp_compute_cell(a, wa, N, species, x[0], huge, NULL, &r) != NNP_OK || isfinite(e));
    e = 0;
    for (int bad = INT_MIN;; bad = INT_MAX) {
        alien[N - 1] = bad;
        FAILS(nnp_compute_cell(a, wa, N, alien, x[0], cell, NULL, &r), NNP_ERR_SPECIES);
        if (bad == INT_MAX) break;
    }
    memcpy(far, x, sizeof far);
    far[3][2] = 1e300;
    CHECK(nnp_compute_cell(a, wa, N, species, far[0], cell, NULL, &r) != NNP_OK);
    far[3][2] = -(double)INFINITY;
    FAILS(nnp_compute_cell(a, wa, N, species, far[0], cell, NULL, &r), NNP_ERR_ARGUMENT);
    CHECK(e == 0);
    for (int k = 0; k < 3; ++k) {
        nnp_default_options(&o);
        o.size = k == 0 ? 0 : k == 1 ? sizeof o - 1 : (size_t)-1;
        FAILS(nnp_workspace_new(a, &o, &work), NNP_ERR_ARGUMENT);
    }
    nnp_default_options(&o);
    o.n_threads = INT_MAX;
    FAILS(nnp_workspace_new(a, &o, &work), NNP_ERR_ARGUMENT);
    CHECK(work == NULL);
    const output after = compute(a, wa);
    CHECK(memcmp(&before, &after, sizeof after) == 0);
}

/* ---- a host's list with holes ---- */

static void wrong_lists(const nnp_model* a, nnp_workspace* wa)
{
    double e = 0;
    const nnp_results r = {&e, NULL, NULL, NULL, NULL};
    int count[N], rows[N], index[N];
    const int* first[N];
    for (int i = 0; i < N; ++i) rows[i] = i, count[i] = 1, index[i] = (i + 1) % N, first[i] = &index[i];
    nnp_neighbors list = {N, rows, count, first, -1};
    const output before = compute(a, wa);
    count[5] = -1;
    FAILS(nnp_compute(a, wa, N, species, x[0], &list, &r), NNP_ERR_ARGUMENT);
    count[5] = 1;
    index[5] = N;
    FAILS(nnp_compute(a, wa, N, species, x[0], &list, &r), NNP_ERR_ARGUMENT);
    index[5] = -1;
    FAILS(nnp_compute(a, wa, N, species, x[0], &list, &r), NNP_ERR_ARGUMENT);
    index[5] = 6;
    rows[2] = N;
    FAILS(nnp_compute(a, wa, N, species, x[0], &list, &r), NNP_ERR_ARGUMENT);
    rows[2] = 2;
    list.count = NULL;
    FAILS(nnp_compute(a, wa, N, species, x[0], &list, &r), NNP_ERR_ARGUMENT);
    list.count = count;
    list.n_rows = -3;
    FAILS(nnp_compute(a, wa, N, species, x[0], &list, &r), NNP_ERR_ARGUMENT);
    CHECK(e == 0);
    list.n_rows = N;
    CHECK(nnp_compute(a, wa, N, species, x[0], &list, &r) == NNP_OK && e != 0);
    const output after = compute(a, wa); /* the own list is not confused with the host's */
    CHECK(memcmp(&before, &after, sizeof after) == 0);
}

/* ---- positions that are not the only thing that is new ---- */

static void moved(const nnp_model* a, nnp_workspace* wa)
{
    double e = 0, f[N][3] = {{0}}, y[N][3], bad[N][3];
    const nnp_results r = {&e, NULL, f[0], NULL, NULL};
    int count[N], rows[N], table[N][N], kinds[N] = {0}, longer[N + 1] = {0};
    const int* first[N];
    for (int i = 0; i < N; ++i) {
        rows[i] = i, count[i] = 0, first[i] = table[i];
        for (int j = 0; j < N; ++j)
            if (j != i) table[i][count[i]++] = j;
    }
    nnp_neighbors list = {N, rows, count, first, -1};
    memcpy(y, x, sizeof y);
    for (int i = 0; i < N; ++i) y[i][i % 3] += 0.01 * (i % 4);
    nnp_workspace_renew(wa);
    FAILS(nnp_compute_moved(a, wa, N, kinds, y[0], &list, &r), NNP_ERR_CHANGED); /* never computed before */
    compute(a, wa); /* what the workspace holds now is its own list */
    FAILS(nnp_compute_moved(a, wa, N, kinds, y[0], &list, &r), NNP_ERR_CHANGED);
    CHECK(nnp_compute(a, wa, N, kinds, y[0], &list, &r) == NNP_OK);
    const double energy = e, force = f[3][1];
    e = 0;
    memset(f, 0, sizeof f);
    CHECK(nnp_compute(a, wa, N, kinds, x[0], &list, &r) == NNP_OK && e != energy);
    e = 0;
    memset(f, 0, sizeof f);
    FAILS(nnp_compute_moved(a, wa, N + 1, longer, y[0], &list, &r), NNP_ERR_CHANGED);
    kinds[4] = -1;
    FAILS(nnp_compute_moved(a, wa, N, kinds, y[0], &list, &r), NNP_ERR_CHANGED);
    kinds[4] = 0;
    for (int what = 0; what < 6; ++what) { /* every piece of the list counts, whatever its size */
        int* const piece[6] = {&table[7][3], &table[N - 1][N - 2], &count[5],
                               &rows[2],     &list.n_rows,         &list.mask};
        const int old = *piece[what];
        *piece[what] = what == 5 ? 7 : old - 1;
        FAILS(nnp_compute_moved(a, wa, N, kinds, y[0], &list, &r), NNP_ERR_CHANGED);
        *piece[what] = old;
    }
    table[2][0] = table[2][1], table[2][1] = 0; /* the same neighbours in another order */
    FAILS(nnp_compute_moved(a, wa, N, kinds, y[0], &list, &r), NNP_ERR_CHANGED);
    table[2][1] = table[2][0], table[2][0] = 0;
    rows[0] = -5;
    FAILS(nnp_compute_moved(a, wa, N, kinds, y[0], &list, &r), NNP_ERR_CHANGED);
    rows[0] = 0;
    memcpy(bad, y, sizeof bad);
    bad[6][2] = NAN;
    FAILS(nnp_compute_moved(a, wa, N, kinds, bad[0], &list, &r), NNP_ERR_ARGUMENT);
    FAILS(nnp_compute_moved(a, wa, N, kinds, NULL, &list, &r), NNP_ERR_ARGUMENT);
    CHECK(e == 0 && f[3][1] == 0); /* all of that left results alone, and the preparations too */
    CHECK(nnp_compute_moved(a, wa, N, kinds, y[0], &list, &r) == NNP_OK);
    CHECK(fabs(e - energy) < 1e-12 * fabs(energy) && fabs(f[3][1] - force) < 1e-11);
    nnp_workspace_renew(wa);
    FAILS(nnp_compute_moved(a, wa, N, kinds, y[0], &list, &r), NNP_ERR_CHANGED);
    rows[3] = 2;
    FAILS(nnp_compute(a, wa, N, kinds, y[0], &list, &r), NNP_ERR_ARGUMENT); /* two rows of an atom */
}

/* ---- ghosts without a list ---- */

static void ghosts(const nnp_model* a, const nnp_model* b, nnp_workspace* wa)
{
    double e = 0;
    const nnp_results r = {&e, NULL, NULL, NULL, NULL};
    int kinds[N] = {0}, outside[N];
    double bad[N][3];
    memcpy(bad, x, sizeof bad);
    FAILS(nnp_compute_ghosts(NULL, wa, N, N, kinds, x[0], &r), NNP_ERR_ARGUMENT);
    FAILS(nnp_compute_ghosts(a, NULL, N, N, kinds, x[0], &r), NNP_ERR_ARGUMENT);
    FAILS(nnp_compute_ghosts(b, wa, N, N, kinds, x[0], &r), NNP_ERR_ARGUMENT);
    FAILS(nnp_compute_ghosts(a, wa, N, N, NULL, x[0], &r), NNP_ERR_ARGUMENT);
    FAILS(nnp_compute_ghosts(a, wa, N, N, kinds, NULL, &r), NNP_ERR_ARGUMENT);
    FAILS(nnp_compute_ghosts(a, wa, N, N, kinds, x[0], NULL), NNP_ERR_ARGUMENT);
    FAILS(nnp_compute_ghosts(a, wa, -1, N, kinds, x[0], &r), NNP_ERR_ARGUMENT);
    FAILS(nnp_compute_ghosts(a, wa, N, N - 1, kinds, x[0], &r), NNP_ERR_ARGUMENT);
    kinds[N - 1] = INT_MAX;
    FAILS(nnp_compute_ghosts(a, wa, 2, N, kinds, x[0], &r), NNP_ERR_SPECIES);
    kinds[N - 1] = 0;
    for (int k = 0; k < 3; ++k) {
        bad[N - 1][1] = k == 0 ? NAN : k == 1 ? -(double)INFINITY : 1e300;
        if (k < 2) FAILS(nnp_compute_ghosts(a, wa, N - 1, N, kinds, bad[0], &r), NNP_ERR_ARGUMENT);
        FAILS(nnp_compute_ghosts(a, wa, N, N, kinds, bad[0], &r), NNP_ERR_ARGUMENT);
    }
    CHECK(e == 0 && nnp_compute_ghosts(a, wa, 0, 0, NULL, NULL, &r) == NNP_OK && e == 0);
    CHECK(nnp_compute_ghosts(a, wa, 0, N, kinds, x[0], &r) == NNP_OK && e == 0);
    memcpy(bad, x, sizeof bad);
    memcpy(bad[5], bad[9], sizeof bad[5]);
    FAILS(nnp_compute_ghosts(a, wa, N, N, kinds, bad[0], &r), NNP_ERR_GEOMETRY);
    CHECK(strstr(nnp_last_error(), "5") && strstr(nnp_last_error(), "9"));
    for (int i = 0; i < N; ++i) kinds[i] = -1;
    e = 0;
    CHECK(nnp_compute_ghosts(a, wa, N, N, kinds, x[0], &r) == NNP_OK && e == 0);
    FAILS(nnp_workspace_outside_atoms(wa, N, outside), NNP_ERR_ARGUMENT); /* no ranges in these models */
    FAILS(nnp_workspace_outside_atoms(NULL, N, outside), NNP_ERR_ARGUMENT);
    FAILS(nnp_workspace_outside_atoms(wa, N, NULL), NNP_ERR_ARGUMENT);
    nnp_workspace_renew(NULL);
}

/* ---- periodic axes without a cell ---- */

static void no_cell(const nnp_model* a)
{
    double e = 0;
    const nnp_results r = {&e, NULL, NULL, NULL, NULL};
    const int open[3] = {0, 0, 0};
    nnp_options o;
    nnp_md_options m;
    nnp_md* md = NULL;
    nnp_neighbor_list* list = NULL;
    nnp_default_options(&o);
    nnp_md_default_options(&m);
    for (int k = 0; k < 6; ++k) {
        nnp_workspace* work = NULL;
        const int pbc[3] = {k % 3 == 0, k % 3 == 1, k % 3 == 2};
        const nnp_md_system system = {N, species, x[0], NULL, NULL, NULL, pbc};
        o.skin = k < 3 ? 0 : 0.5;
        CHECK(nnp_workspace_new(a, &o, &work) == NNP_OK);
        FAILS(nnp_compute_cell(a, work, N, species, x[0], NULL, pbc, &r), NNP_ERR_ARGUMENT);
        CHECK(e == 0 && nnp_compute_cell(a, work, N, species, x[0], NULL, open, &r) == NNP_OK && e != 0);
        e = 0;
        FAILS(nnp_compute_cell(a, work, N, species, x[0], NULL, pbc, &r), NNP_ERR_ARGUMENT);
        CHECK(e == 0);
        FAILS(nnp_md_new(a, NULL, &system, &m, &md), NNP_ERR_ARGUMENT);
        FAILS(nnp_neighbor_list_new(N, x[0], NULL, pbc, 3, 1, &list), NNP_ERR_ARGUMENT);
        nnp_workspace_free(work);
    }
}

/* ---- hosts compiled with another nnp_options ---- */

static void other_options(const nnp_model* a)
{
    struct newer {
        nnp_options known;
        int unknown[4];
    } o;
    nnp_workspace* work = NULL;
    nnp_trainer* trainer = NULL;
    memset(&o, 0, sizeof o);
    nnp_default_options(&o.known);
    o.known.size = sizeof o;
    CHECK(nnp_workspace_new(a, &o.known, &work) == NNP_OK); /* newer, but nothing new is set */
    compute(a, work);
    nnp_workspace_free(work);
    work = NULL;
    o.unknown[3] = 1;
    FAILS(nnp_workspace_new(a, &o.known, &work), NNP_ERR_ARGUMENT);
    if (nnp_model_n_parameters(a)) FAILS(nnp_trainer_new(a, &o.known, &trainer), NNP_ERR_ARGUMENT);
    o.known.size = offsetof(nnp_options, skin) + sizeof(double); /* the first version's */
    o.known.skin = 0.25;
    CHECK(nnp_workspace_new(a, &o.known, &work) == NNP_OK);
    nnp_workspace_free(work);
}

/* ---- NULL everywhere ---- */

static void nulls(const nnp_model* a)
{
    nnp_model* m = NULL;
    nnp_md* md = NULL;
    nnp_trainer* t = NULL;
    nnp_neighbor_list* list = NULL;
    nnp_rdf* rdf = NULL;
    CHECK(nnp_last_error() != NULL);
    FAILS(nnp_model_parse("", 0, NULL), NNP_ERR_ARGUMENT);
    FAILS(nnp_model_parse("", 0, &m), NNP_ERR_FORMAT);
    FAILS(nnp_model_load("", &m), NNP_ERR_FILE);
    CHECK(nnp_model_cutoff(NULL) == 0 && nnp_model_n_species(NULL) == 0 && nnp_model_mass(NULL, 0) == 0);
    CHECK(nnp_model_species(NULL, 0) == NULL && nnp_model_species(a, -1) == NULL);
    CHECK(nnp_model_species(a, 99) == NULL && nnp_model_mass(a, 99) == 0);
    CHECK(nnp_model_n_parameters(NULL) == 0 && nnp_model_parameters(NULL) == NULL);
    CHECK(nnp_model_n_fingerprints(NULL, 0) == 0 && nnp_model_n_fingerprints(a, -1) == 0);
    FAILS(nnp_md_new(a, NULL, NULL, NULL, &md), NNP_ERR_ARGUMENT);
    FAILS(nnp_md_new(a, NULL, NULL, NULL, NULL), NNP_ERR_ARGUMENT);
    FAILS(nnp_trainer_new(NULL, NULL, &t), NNP_ERR_ARGUMENT);
    FAILS(nnp_trainer_new(a, NULL, NULL), NNP_ERR_ARGUMENT);
    size_t kept = 1;
    float one[1] = {1};
    const int edges[2] = {0, 1};
    FAILS(nnp_trainer_keep(NULL, 1, &kept), NNP_ERR_ARGUMENT);
    FAILS(nnp_trainer_jacobian(NULL, NULL, 0, 1, edges, one), NNP_ERR_ARGUMENT);
    FAILS(nnp_kalman_step(1, edges, one, 1, one, NULL, 1, NULL, 1), NNP_ERR_ARGUMENT);
    FAILS(nnp_neighbor_list_new(N, x[0], cell, NULL, 3, 1, NULL), NNP_ERR_ARGUMENT);
    FAILS(nnp_rdf_new(1, 3, 3, NULL), NNP_ERR_ARGUMENT);
    CHECK(!m && !md && !t && !list && !rdf);
    nnp_model_free(NULL);
    nnp_workspace_free(NULL);
    nnp_md_free(NULL);
    nnp_trainer_free(NULL);
    nnp_rdf_free(NULL);
    nnp_neighbor_list_free(NULL);
}

/* ---- the model freed too early ---- */

static void* use_and_free(void* argument)
{
    nnp_workspace_free((nnp_workspace*)argument);
    return NULL;
}

/* Workspaces, dynamics and trainers keep a model that its host has freed, whatever the order of what follows.
 */
static void early_free(const char* path)
{
    for (int order = 0; order < 4; ++order) {
        nnp_model* model = NULL;
        nnp_workspace *first = NULL, *second = NULL;
        nnp_md* md = NULL;
        nnp_md_options o;
        nnp_trainer* trainer = NULL;
        pthread_t thread;
        const double energy = -1;
        const nnp_labels labels = {&energy, NULL, NULL, 1};
        const nnp_md_system system = {N, species, x[0], NULL, NULL, cell, NULL};
        nnp_md_default_options(&o);
        CHECK(nnp_model_load(path, &model) == NNP_OK);
        CHECK(nnp_workspace_new(model, NULL, &first) == NNP_OK &&
              nnp_workspace_new(model, NULL, &second) == NNP_OK);
        CHECK(nnp_md_new(model, NULL, &system, &o, &md) == NNP_OK);
        if (nnp_model_n_parameters(model)) CHECK(nnp_trainer_new(model, NULL, &trainer) == NNP_OK);
        const output before = compute(model, first);
        nnp_model_free(model); /* the pointer is still good for what holds the model */
        CHECK(pthread_create(&thread, NULL, use_and_free, order % 2 ? first : second) == 0);
        const output after = compute(model, order % 2 ? second : first);
        CHECK(memcmp(&before, &after, sizeof after) == 0);
        pthread_join(thread, NULL);
        if (order < 2) nnp_workspace_free(order % 2 ? second : first);
        CHECK(nnp_md_run(md, 2, NULL) == NNP_OK);
        nnp_md_free(md);
        if (trainer) CHECK(nnp_trainer_add(trainer, N, species, x[0], cell, NULL, &labels) == NNP_OK);
        nnp_trainer_free(trainer);
        if (order >= 2) nnp_workspace_free(order % 2 ? second : first);
    }
}

int main(int argc, char** argv)
{
    nnp_model *a = NULL, *b = NULL;
    nnp_workspace *wa = NULL, *wb = NULL;
    CHECK(argc == 3 && nnp_version() / 10000 == NNP_VERSION_MAJOR);
    make_system();
    CHECK(nnp_model_load(argv[1], &a) == NNP_OK && nnp_model_load(argv[2], &b) == NNP_OK);
    CHECK(nnp_workspace_new(a, NULL, &wa) == NNP_OK && nnp_workspace_new(b, NULL, &wb) == NNP_OK);
    two_threads(a, b, wa, wb);
    strangers(a, b, wa);
    wrong_sizes(a, wa);
    wrong_lists(a, wa);
    moved(a, wa);
    ghosts(a, b, wa);
    no_cell(a);
    other_options(a);
    nulls(a);
    early_free(argv[1]);
    nnp_workspace_free(wb);
    nnp_workspace_free(wa);
    nnp_model_free(b);
    nnp_model_free(a);
    puts("good");
    return 0;
}
