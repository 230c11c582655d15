/* neigh_private.h - shared by neigh.c (rows, refresh), neigh_grid.c (cell, bins, ghosts) and
 * neigh_search.c (pairs). */
#ifndef NNP_NEIGH_PRIVATE_H
#define NNP_NEIGH_PRIVATE_H

#include "neigh.h"
#include "nnp_threads.h"

/* Periodic lattice and the Cartesian bins over it. Bins 1 .. n_bin[d] of axis d span the wrapped atoms;
 * bins 0 and n_bin[d]+1 hold ghosts only, so a search looks at 3 x 3 x 3 bins without any test. */
typedef struct nnp_grid {
    double cutoff;
    double cell[9]; /* as given; rows of non-periodic axes are zero */
    /* Work is done in a reduced basis, row d of it = combine[d] . cell, so that no cell is too oblique. */
    int combine[3][3], reduced;
    double most_cells;       /* farthest wrapping whose images fit an int */
    double inverse[9];       /* s_d = sum_c x_c inverse[3 c + d]; columns of non-periodic axes are zero */
    double width[3];         /* distance of the lattice planes; INFINITY where not periodic */
    double s_lo[3], s_hi[3]; /* fractional range of the wrapped atoms */
    double reach[3];         /* cutoff / width, rounded up */
    double lo[3], hi[3];     /* Cartesian range of the wrapped atoms */
    double bin[3], inverse_bin[3]; /* bin edges >= cutoff, and 1 / edge */
    int n_bin[3];
    int tiles[3], tile_y, tile_z, n_bins; /* layers included; see nnp_bin() */
} nnp_grid;

typedef struct nnp_neigh_scratch {
    nnp_grid grid;
    size_t cap_total;
    int *key, *histogram, *atom_start, *ghost_start;
    size_t cap_key, cap_histogram, cap_atom_start, cap_ghost_start;
    int *ghost_owner, *ghost_image, *ghost_permutation; /* before the sort by bin */
    size_t cap_ghost_owner, cap_ghost_image, cap_ghost_permutation;
    int64_t* block_offset;
    size_t cap_block_offset;
    void* pack; /* per thread: packed candidates and one chunk of pairs */
    size_t cap_pack;
    unsigned char lane_order[256][8]; /* [m]: the set bits of m first */
} nnp_neigh_scratch;

enum {
    NNP_NEIGH_BLOCK = 256,
    MOST_ATOMS = 2147483647 - 2 * NNP_NEIGH_BLOCK, /* the last block's end is an int */
    NNP_NEIGH_BEHIND = 3                           /* points there is room for behind the last of list->x */
};

/* Number of the bin (x, y, z): tiles of 4 x 4 x 4 bins, x fastest between and within, so that what lies close
 * in space lies close in memory in all three directions. */
static inline int nnp_bin_x(int x) { return x / 4 * 64 + x % 4; }
static inline int nnp_bin_y(const nnp_grid* grid, int y) { return y / 4 * grid->tile_y + y % 4 * 4; }
static inline int nnp_bin_z(const nnp_grid* grid, int z) { return z / 4 * grid->tile_z + z % 4 * 16; }
static inline int nnp_bin(const nnp_grid* grid, int x, int y, int z)
{
    return nnp_bin_x(x) + nnp_bin_y(grid, y) + nnp_bin_z(grid, z);
}

/* ---- neigh_grid.c ---- */

int nnp_grid_lattice(nnp_grid* grid, const double* cell, const int* pbc, double cutoff);
/* Range of the wrapped atoms, and the bins. Names the first atom that is not finite or too far away. */
int nnp_grid_bins(nnp_grid* grid, int n, const double* x, int n_threads);
/* image[count][3] that brings x[count][3] into the cell. One compiled copy: every pass sees the same bits. */
void nnp_grid_wrap(const nnp_grid* grid, int count, const double* x, int* image);
int nnp_grid_bin_atom(const nnp_grid* grid, const double* x);
int nnp_grid_bin_ghost(const nnp_grid* grid, const double* x);
/* Images m != 0 of a wrapped atom that lie within the cutoff of the others. Returns their number; writes
 * m (lattice vectors of the cell) to images[][3] unless NULL. position is the atom's wrapped one. */
int64_t nnp_grid_images(const nnp_grid* grid, const double* position, int* images);

static inline void nnp_grid_shift(const nnp_grid* grid, const int* image, double* shift)
{
    const double* h = grid->cell;
    for (int c = 0; c < 3; c++) shift[c] = image[0] * h[c] + image[1] * h[3 + c] + image[2] * h[6 + c];
}

/* ---- neigh.c ---- */

/* list->scratch, where there is none yet. */
int nnp_neigh_scratch_new(nnp_neigh* list);

/* ---- neigh_search.c ---- */

/* Fills first and index from x (with NNP_NEIGH_BEHIND points of room), atom_start and ghost_start. */
int nnp_neigh_search(nnp_neigh* list, int n_threads);

#endif /* NNP_NEIGH_PRIVATE_H */
