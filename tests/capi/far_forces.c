/* far_forces.c - energies, forces, virials of a list of more than 2^31 pairs: ./far_forces model.nnp. A real
 * one would take 100 GB, so a small list is moved to where its entries would be behind 2^31 others, in memory
 * that is mapped but never touched, and must give the same bits. Exit code 77: the system does not map as
 * much. Built with the core's own headers.
 */
#define _GNU_SOURCE
#include "workspace_private.h"
#include "far.h"

/* ---- energies, forces, virials ---- */

typedef struct output {
    double energy, energies[N], forces[N][3], virial[6], virials[N][9];
} output;

static void evaluate(nnp_workspace* w, output* o)
{
    const nnp_results r = {&o->energy, o->energies, o->forces[0], o->virial, o->virials[0]};
    CHECK(nnp_work_evaluate(w, &r, NULL) == NNP_OK);
}

static void check_forces(const nnp_model* model, int precision, int threads)
{
    static output near, far;
    nnp_workspace* w = NULL;
    nnp_options options;
    nnp_default_options(&options);
    options.n_threads = threads;
    options.precision = precision;
    CHECK(nnp_workspace_new(model, &options, &w) == NNP_OK);
    CHECK(nnp_work_build(w, N, species, x[0], cell, NULL) == NNP_OK);
    evaluate(w, &near);

    nnp_neigh* const l = &w->list;
    const int64_t pairs = l->first[N];
    int* const local = w->plan.local;
    w->plan.local = moved(local, pairs, sizeof *local);
    shift_all(l->first, N + 1);
    memset(&far, 0xFF, sizeof far);
    evaluate(w, &far);
    CHECK(pairs > 10 * N && memcmp(&near, &far, sizeof near) == 0);

    munmap(w->plan.local, (size_t)(FAR + pairs) * sizeof *local);
    w->plan.local = local;
    nnp_workspace_free(w);
}

int main(int argc, char** argv)
{
    nnp_model* model = NULL;
    CHECK(argc == 2 && nnp_model_load(argv[1], &model) == NNP_OK);
    make_system(nnp_model_n_species(model));
    for (int threads = 1; threads <= 2; ++threads) {
        check_forces(model, NNP_F64, threads);
        check_forces(model, NNP_F32, threads);
    }
    nnp_model_free(model);
    return 0;
}
