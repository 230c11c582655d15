/* neigh.h - the core's own full neighbour list: explicit ghost images, atoms sorted in space.
 *
 * Rows are the n atoms in list order (sorted by cell, so that neighbours lie close in memory). Periodic
 * images that lie within the cutoff of the cell are ghost atoms n .. n_total-1, so that a pair vector is
 * always x[index] - x[row] and no image arithmetic stands in a kernel.
 */
#ifndef NNP_NEIGH_H
#define NNP_NEIGH_H

#include "nnp_internal.h"

typedef struct nnp_neigh {
    double cutoff; /* pairs with r < cutoff are listed (potential's cutoff + skin) */
    int n, n_ghost, n_total;
    int* order;    /* [n] list order -> caller's order */
    double* x;     /* [n_total][4] x, y, z, species (as a double); 64-byte aligned; atoms, then ghosts */
    int* owner;    /* [n_ghost] row of the atom a ghost is an image of */
    double* shift; /* [n_total][3] x = caller's position + shift (wrapping of atoms; wrapping + image of
                      ghosts) */
    int* image;    /* [n_total][3] the same shift in lattice vectors: shift = image . cell, exactly integer */
    int64_t* first; /* [n+1] */
    int* index;     /* [first[n]] indices into x; a row's order is fixed by positions in the caller's order */
    double* x_built; /* [n][3] caller's positions (list order) at the build, for the skin test */
    size_t cap_n, cap_ghost, cap_pairs; /* private to neigh.c, and what it adds below */
    void* scratch;
} nnp_neigh;

void nnp_neigh_init(nnp_neigh* list);
void nnp_neigh_clear(nnp_neigh* list);

/* Build. x is [n][3] in the caller's order, any finite positions, unwrapped atoms allowed; species [n];
 * cell [9] or NULL; pbc [3] or NULL. A periodic axis needs a cell with non-zero volume; non-periodic
 * axes may have a zero lattice vector. Errors: NNP_ERR_GEOMETRY (singular or absurd cell, too many images),
 * NNP_ERR_ARGUMENT (non-finite position, names the atom), NNP_ERR_MEMORY.
 * The same bits for any n_threads. The list is unchanged or empty (n = 0) after an error. */
int nnp_neigh_build(nnp_neigh* list, int n, const int* species, const double* x, const double* cell,
                    const int* pbc, double cutoff, int n_threads);

/* New positions (caller's order), same cell: refreshes list->x, ghosts included. Returns the largest squared
 * displacement since the build (NaN or infinite positions give INFINITY). */
double nnp_neigh_refresh(nnp_neigh* list, const double* x, int n_threads);
/* The same with x in list order (row by row). */
double nnp_neigh_refresh_sorted(nnp_neigh* list, const double* x, int n_threads);

/* The same in pieces, for a caller's parallel region: rows [first, end), which give their largest squared
 * displacement, and ghosts [first, end). order NULL: x in list order. */
double nnp_neigh_move(nnp_neigh* list, const double* x, const int* order, int first, int end);
void nnp_neigh_move_ghosts(nnp_neigh* list, const double* x, const int* order, int first, int end);

#endif /* NNP_NEIGH_H */
