/* dump.c - one structure through both entries of the C interface:  ./dump model.nnp cell|list|moved|ghosts <
 * structure
 *
 * Reads n, the cell (9 numbers, lattice vectors in rows), then n times: symbol x y z. All axes are periodic.
 * "cell" calls nnp_compute_cell(); "list" makes ghost images and a full neighbour list of its own, in no
 * particular order and longer than the cutoff, calls nnp_compute() and adds what ghosts got to their owners;
 * "moved" calls it elsewhere and comes back with nnp_compute_moved(); "ghosts" gives images and no list.
 * Prints e, then f, v (9 numbers) of each atom. */
#include <nnpcore.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct structure {
    int n, n_total;
    double cell[9];
    int* species; /* [n_total] */
    int* owner;   /* [n_total] */
    double* x;    /* [n_total][3] */
} structure;

static void need(int good, const char* what)
{
    if (good) return;
    fprintf(stderr, "dump: %s: %s\n", what, nnp_last_error());
    exit(1);
}

static int index_of(const nnp_model* model, const char* symbol)
{
    for (int s = 0; s < nnp_model_n_species(model); ++s)
        if (strcmp(nnp_model_species(model, s), symbol) == 0) return s;
    need(0, symbol);
    return -1;
}

/* Atoms, with room for the images of `images` cells on either side. */
static structure read_structure(const nnp_model* model, int images)
{
    structure s;
    char symbol[8];
    const int cells = (2 * images + 1) * (2 * images + 1) * (2 * images + 1);
    need(scanf("%d", &s.n) == 1, "n");
    for (int c = 0; c < 9; ++c) need(scanf("%lf", &s.cell[c]) == 1, "cell");
    s.species = malloc((size_t)s.n * (size_t)cells * sizeof(int));
    s.owner = malloc((size_t)s.n * (size_t)cells * sizeof(int));
    s.x = malloc(3 * (size_t)s.n * (size_t)cells * sizeof(double));
    for (int i = 0; i < s.n; ++i) {
        double* const x = s.x + 3 * i;
        need(scanf("%7s %lf %lf %lf", symbol, &x[0], &x[1], &x[2]) == 4, "atom");
        s.species[i] = index_of(model, symbol);
        s.owner[i] = i;
    }
    s.n_total = s.n;
    for (int a = -images; a <= images; ++a)
        for (int b = -images; b <= images; ++b)
            for (int c = -images; c <= images; ++c)
                for (int i = 0; (a || b || c) && i < s.n; ++i, ++s.n_total) {
                    s.species[s.n_total] = s.species[i];
                    s.owner[s.n_total] = i;
                    for (int k = 0; k < 3; ++k)
                        s.x[3 * s.n_total + k] =
                            s.x[3 * i + k] + a * s.cell[k] + b * s.cell[3 + k] + c * s.cell[6 + k];
                }
    return s;
}

/* The structure with its atoms, and their images, a little elsewhere. */
static double* elsewhere(const structure* s)
{
    double* const y = malloc(3 * (size_t)s->n_total * sizeof(double));
    for (int i = 0; i < s->n_total; ++i)
        for (int k = 0; k < 3; ++k) y[3 * i + k] = s->x[3 * i + k] + 0.02 * ((s->owner[i] + k) % 5);
    return y;
}

static void compute_list(const nnp_model* model, nnp_workspace* work, const structure* s, int moved,
                         const nnp_results* r)
{
    const double reach = nnp_model_cutoff(model) + 0.3;
    int* const count = calloc((size_t)s->n, sizeof(int));
    int** const first = malloc((size_t)s->n * sizeof(int*));
    for (int i = 0; i < s->n; ++i) {
        first[i] = malloc((size_t)s->n_total * sizeof(int));
        for (int j = s->n_total - 1; j >= 0; --j) {
            double d2 = 0;
            for (int k = 0; k < 3; ++k)
                d2 += (s->x[3 * j + k] - s->x[3 * i + k]) * (s->x[3 * j + k] - s->x[3 * i + k]);
            if (j != i && d2 < reach * reach) first[i][count[i]++] = j;
        }
    }
    const nnp_neighbors list = {s->n, NULL, count, (const int* const*)first, -1};
    if (moved) {
        const nnp_results none = {NULL, NULL, NULL, NULL, NULL};
        double* const y = elsewhere(s);
        need(!nnp_compute(model, work, s->n_total, s->species, y, &list, &none), "nnp_compute");
        need(!nnp_compute_moved(model, work, s->n_total, s->species, s->x, &list, r), "nnp_compute_moved");
        free(y);
    } else
        need(!nnp_compute(model, work, s->n_total, s->species, s->x, &list, r), "nnp_compute");
    for (int i = 0; i < s->n; ++i) free(first[i]);
    free(first);
    free(count);
}

/* Twice, so that the second call finds the first one's list. */
static void compute_ghosts(const nnp_model* model, nnp_workspace* work, const structure* s,
                           const nnp_results* r)
{
    const nnp_results none = {NULL, NULL, NULL, NULL, NULL};
    double* const y = elsewhere(s);
    need(!nnp_compute_ghosts(model, work, s->n, s->n_total, s->species, y, &none), "nnp_compute_ghosts");
    need(!nnp_compute_ghosts(model, work, s->n, s->n_total, s->species, s->x, r), "nnp_compute_ghosts");
    free(y);
}

/* What ghosts got belongs to their owners. */
static void fold(const structure* s, const nnp_results* r)
{
    for (int g = s->n; g < s->n_total; ++g) {
        for (int k = 0; k < 3; ++k) r->forces[3 * s->owner[g] + k] += r->forces[3 * g + k];
        for (int k = 0; k < 9; ++k) r->virials[9 * s->owner[g] + k] += r->virials[9 * g + k];
    }
}

int main(int argc, char** argv)
{
    nnp_model* model = NULL;
    nnp_workspace* work = NULL;
    double energy = 0, virial[6] = {0};
    need(argc == 3 && !nnp_model_load(argv[1], &model), "model");
    nnp_options options;
    nnp_default_options(&options);
    options.skin = 0.4;
    need(!nnp_workspace_new(model, &options, &work), "workspace");
    const int own = strcmp(argv[2], "cell") == 0;
    structure s = read_structure(model, own ? 0 : 4);
    nnp_results r = {&energy, NULL, NULL, virial, NULL};
    r.forces = calloc(3 * (size_t)s.n_total, sizeof(double));
    r.virials = calloc(9 * (size_t)s.n_total, sizeof(double));
    if (own)
        need(!nnp_compute_cell(model, work, s.n, s.species, s.x, s.cell, NULL, &r), "nnp_compute_cell");
    else if (strcmp(argv[2], "ghosts") == 0)
        compute_ghosts(model, work, &s, &r);
    else
        compute_list(model, work, &s, strcmp(argv[2], "moved") == 0, &r);
    fold(&s, &r);
    printf("e %.17g\nw", energy);
    for (int k = 0; k < 6; ++k) printf(" %.17g", virial[k]);
    for (int i = 0; i < s.n; ++i) {
        printf("\nf");
        for (int k = 0; k < 3; ++k) printf(" %.17g", r.forces[3 * i + k]);
        printf("\nv");
        for (int k = 0; k < 9; ++k) printf(" %.17g", r.virials[9 * i + k]);
    }
    printf("\n");
    free(r.forces), free(r.virials), free(s.x), free(s.species), free(s.owner);
    nnp_workspace_free(work);
    nnp_model_free(model);
    return 0;
}
