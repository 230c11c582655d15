/* far_pairs.c - the public list, where it has more than 2^31 pairs: ./far_pairs model.nnp. A real one would
 * take 100 GB, so a small list is moved to where its entries would be behind 2^31 others, in memory that is
 * mapped but never touched, and must give the same bits. Exit code 77: the system does not map as much. Built
 * with the core's own headers, and with neigh_export.c in here for its struct.
 */
#define _GNU_SOURCE
#include "neigh_export.c"
#include "far.h"

/* ---- the public list of pairs ---- */

typedef struct pairs {
    int *i, *j, *shifts;
    double *d, *vectors;
} pairs;

static pairs room(int64_t count)
{
    const pairs p = {map(count, 4), map(count, 4), map(count, 12), map(count, 8), map(count, 24)};
    return p;
}

static void check_pairs(int threads)
{
    nnp_neighbor_list* nl = NULL;
    CHECK(nnp_neighbor_list_new(N, x[0], cell, NULL, 5.0, threads, &nl) == NNP_OK);
    const int64_t count = nnp_neighbor_list_count(nl);
    const int64_t listed = nl->list.first[N];
    const pairs near = room(count), far = room(count);
    CHECK(nnp_neighbor_list_pairs(nl, threads, near.i, near.j, near.d, near.vectors, near.shifts) == NNP_OK);
    int* const index = nl->list.index;
    nl->list.index = moved(index, listed, sizeof *index);
    shift_all(nl->list.first, N + 1);
    shift_all(nl->first, N + 1);
    CHECK(nnp_neighbor_list_pairs(nl, threads, far.i, far.j, far.d, far.vectors, far.shifts) == NNP_OK);
    const size_t n = (size_t)count;
    CHECK(count > 10 * N && near.j[1] != near.j[0]);
    CHECK(!memcmp(near.i, far.i + FAR, 4 * n) && !memcmp(near.j, far.j + FAR, 4 * n));
    CHECK(!memcmp(near.d, far.d + FAR, 8 * n) && !memcmp(near.vectors, far.vectors + 3 * FAR, 24 * n));
    CHECK(!memcmp(near.shifts, far.shifts + 3 * FAR, 12 * n));
    nl->list.index = index;
    nnp_neighbor_list_free(nl);
}

int main(int argc, char** argv)
{
    nnp_model* model = NULL;
    CHECK(argc == 2 && nnp_model_load(argv[1], &model) == NNP_OK);
    make_system(nnp_model_n_species(model));
    for (int threads = 1; threads <= 2; ++threads) check_pairs(threads);
    nnp_model_free(model);
    return 0;
}
