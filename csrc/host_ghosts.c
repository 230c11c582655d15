/* host_ghosts.c - energies and forces of a host's atoms among its ghosts, with a neighbour list of the
 * core's: for hosts that have no list to give, or a slower one. */
#include "host.h"
#include "neigh_private.h"

/* The list of the last call serves while no atom and no ghost has moved skin/2. */
static int serves(nnp_workspace* w, int n, int n_total, const int* species, const double* x, int* status)
{
    double moved2;
    *status = NNP_OK;
    if (w->host.kind != NNP_HOST_GHOSTS || !w->options.skin || n != w->host.n_rows ||
        !nnp_host_same(w, n_total, species))
        return 0;
    w->n_threads = nnp_threads_for(w->wanted_threads, n);
    *status = nnp_host_refresh(w, x, &moved2);
    return *status || moved2 <= 0.25 * w->options.skin * w->options.skin;
}

static int build(nnp_workspace* w, int n, int n_total, const int* species, const double* x)
{
    int bins;
    nnp_neigh* const near = &w->host.near;
    int status = nnp_host_place(w, n, NULL, n_total, species, x, w->model->cutoff + w->options.skin, &bins);
    if (!status) status = bins;
    if (!status && near->n > 0) status = nnp_neigh_search(near, w->n_threads);
    if (!status && near->n == 0) status = nnp_reserve(&near->index, &near->cap_pairs, 1, sizeof(int));
    if (!status) status = nnp_host_prepare(w);
    if (status) return status;
    w->host.kind = NNP_HOST_GHOSTS;
    w->host.n_rows = n;
    return NNP_OK;
}

int nnp_compute_ghosts(const nnp_model* model, nnp_workspace* w, int n, int n_total, const int* species,
                       const double* x, const nnp_results* r)
{
    if (!model || !w || !r || n < 0 || n_total < n || (n_total && (!species || !x)))
        return nnp_fail(NNP_ERR_ARGUMENT,
                        "nnp_compute_ghosts: a NULL argument, or not 0 <= n <= n_total (%d, %d)", n, n_total);
    if (model != w->model)
        return nnp_fail(NNP_ERR_ARGUMENT, "nnp_compute_ghosts: the workspace is of another model");
    int status;
    if (!serves(w, n, n_total, species, x, &status)) status = build(w, n, n_total, species, x);
    return status ? status : nnp_host_run(w, r);
}
