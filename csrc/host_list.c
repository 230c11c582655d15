/* host_list.c - energies and forces with the neighbour list of a host code (LAMMPS' layout, ghosts in place).
 *
 * The list is copied into the core's order, without the atoms to be ignored. Where the host says that only
 * positions are new, copy and plan of the last call serve again, and a number made of all of the list's
 * entries tells whether the host is right.
 */
#include "host.h"
#include <string.h>

enum { KEY_ROWS = 1024 };

/* Both are one-to-one in h and in v. */
static uint64_t key_step(uint64_t h, uint64_t v) { return (h ^ v) * UINT64_C(0x9E3779B97F4A7C15); }
static uint64_t key_mix(uint64_t h) { return (h ^ h >> 32) * UINT64_C(0xD6E8FEB86659FD93); }

static uint64_t row_key(const nnp_neighbors* list, int row, int atom)
{
    const int n = list->count[atom];
    const int* const index = list->index[atom];
    const uint64_t mask = (uint32_t)list->mask, both = mask << 32 | mask;
    uint64_t h = key_mix(key_step((uint64_t)row << 32 | (uint32_t)atom, (uint32_t)n));
    int k = 0;
    for (; k + 2 <= n; k += 2) {
        uint64_t two;
        memcpy(&two, index + k, sizeof two);
        h = key_step(h, two & both);
    }
    if (k < n) h = key_step(h, (uint32_t)index[k] & mask);
    return key_mix(h ^ h >> 29);
}

/* Key of a host's list: a row or an entry that changes changes it, but for one chance in 2^64. Returns 0
 * where it is not a list of n_total atoms. */
static int make_key(const nnp_neighbors* list, int n_total, int n_threads, uint64_t* out)
{
    const int n_blocks = (list->n_rows + KEY_ROWS - 1) / KEY_ROWS;
    uint64_t key = 0;
    int good = 1;
#pragma omp parallel for schedule(static) num_threads(n_threads) reduction(+ : key)                          \
    reduction(&& : good) if (n_threads > 1 && n_blocks > 1)
    for (int b = 0; b < n_blocks; ++b)
        for (int r = b * KEY_ROWS; r < list->n_rows && r < (b + 1) * KEY_ROWS; ++r) {
            const int i = list->rows ? list->rows[r] : r;
            good = good && i >= 0 && i < n_total && list->count[i] >= 0;
            if (good) key += row_key(list, r, i);
        }
    *out = key;
    return good;
}

static int reserve_pairs(nnp_workspace* w, const nnp_neighbors* list)
{
    nnp_neigh* const near = &w->host.near;
    size_t pairs = 0;
    for (int r = 0; r < near->n; ++r) {
        const int i = near->order[r], count = list->count[i];
        if (count < 0) return nnp_fail(NNP_ERR_ARGUMENT, "atom %d has %d neighbours", i, count);
        pairs += (size_t)count;
    }
    return nnp_reserve(&near->index, &near->cap_pairs, pairs, sizeof(int));
}

static int copy_list(nnp_workspace* w, int n_total, const nnp_neighbors* list)
{
    nnp_neigh* const near = &w->host.near;
    const int* const place = w->host.place;
    const int status = reserve_pairs(w, list);
    if (status) return status;
    int64_t filled = 0;
    for (int r = 0; r < near->n; ++r) {
        const int i = near->order[r];
        for (int k = 0; k < list->count[i]; ++k) {
            const int j = list->index[i][k] & list->mask;
            if (j < 0 || j >= n_total)
                return nnp_fail(NNP_ERR_ARGUMENT, "neighbour %d of atom %d is atom %d of %d", k, i, j,
                                n_total);
            if (place[j] >= 0) near->index[filled++] = place[j];
        }
        near->first[r + 1] = filled;
    }
    return NNP_OK;
}

static int check_arguments(const char* who, const nnp_model* model, const nnp_workspace* w, int n_total,
                           const int* species, const double* x, const nnp_neighbors* list,
                           const nnp_results* r)
{
    if (!model || !w || !list || !r || n_total < 0 || list->n_rows < 0 ||
        (n_total && (!species || !x || !list->count || !list->index)))
        return nnp_fail(NNP_ERR_ARGUMENT, "%s: a NULL argument or a negative number of atoms", who);
    if (model != w->model) return nnp_fail(NNP_ERR_ARGUMENT, "%s: the workspace is of another model", who);
    return NNP_OK;
}

int nnp_compute(const nnp_model* model, nnp_workspace* w, int n_total, const int* species, const double* x,
                const nnp_neighbors* list, const nnp_results* r)
{
    int bins, status = check_arguments("nnp_compute", model, w, n_total, species, x, list, r);
    if (!status)
        status = nnp_host_place(w, list->n_rows, list->rows, n_total, species, x, model->cutoff, &bins);
    if (!status) status = copy_list(w, n_total, list);
    if (!status) status = nnp_host_prepare(w);
    if (status) return status;
    if (make_key(list, n_total, w->n_threads, &w->host.list_key)) w->host.kind = NNP_HOST_LIST;
    return nnp_host_run(w, r);
}

int nnp_compute_moved(const nnp_model* model, nnp_workspace* w, int n_total, const int* species,
                      const double* x, const nnp_neighbors* list, const nnp_results* r)
{
    uint64_t key;
    int status = check_arguments("nnp_compute_moved", model, w, n_total, species, x, list, r);
    if (status) return status;
    if (w->host.kind != NNP_HOST_LIST)
        return nnp_fail(NNP_ERR_CHANGED, "nnp_compute_moved: no nnp_compute() with this workspace before");
    if (!nnp_host_same(w, n_total, species))
        return nnp_fail(NNP_ERR_CHANGED,
                        "nnp_compute_moved: not the atoms and species of the last nnp_compute()");
    w->n_threads = nnp_threads_for(w->wanted_threads, list->n_rows);
    if (!make_key(list, n_total, w->n_threads, &key) || key != w->host.list_key)
        return nnp_fail(NNP_ERR_CHANGED, "nnp_compute_moved: the list is not that of the last nnp_compute()");
    status = nnp_host_refresh(w, x, NULL);
    return status ? status : nnp_host_run(w, r);
}
