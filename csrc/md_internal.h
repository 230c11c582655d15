/* md_internal.h - what the md files share.
 *
 * "Rows" are atoms in the order of the neighbour list. x v f stand in rows between two builds of the list,
 * which takes positions in the caller's order: the new order then follows from these alone, not from the
 * history. x_old v_old are the state before the step under way: kept if that step goes bad.
 */
#ifndef NNP_MD_INTERNAL_H
#define NNP_MD_INTERNAL_H

#include "workspace.h"

/* CODATA 2018: 1 amu A^2/fs^2 in eV = 1.66053906660e-27 kg x 1e10 m^2/s^2 / 1.602176634e-19 J; k_B in eV/K.
 */
#define NNP_AMU_A2_FS2 (1.66053906660e-17 / 1.602176634e-19)
#define NNP_KB         8.617333262e-5

enum { NNP_MD_BLOCK = NNP_WORK_ROWS, NNP_MD_SUMS = 4 };

struct nnp_md {
    const nnp_model* model;
    nnp_workspace* work;
    const nnp_kernels* kernels; /* float64 */
    nnp_neigh* list;
    nnp_md_options options;
    int n, n_blocks, threads, has_cell;
    int sorted; /* arrays stand in rows of a list in use; 0: in the caller's order, no list */
    double skin, cell[9];
    int pbc[3];
    int* species;      /* [n] caller's order */
    double* mass;      /* [n] amu, caller's order */
    double *x, *v, *f; /* [n][3] rows; f at x */
    double *x_old, *v_old;
    double* row_mass;    /* [n] rows, in eV fs^2/A^2 */
    double* row_inverse; /* [n] its inverse */
    double* swap;        /* [n][3] */
    int* place;          /* [n] scratch: row of each of the caller's atoms */
    double* sums;        /* [n_blocks][NNP_MD_SUMS] partial sums of a block */
    int* bad;            /* [n_blocks] a displacement or a force of the block is over the limit */
    int64_t step, n_builds;
    double heat;
    double potential, virial[6];
    int forces_valid, virial_valid; /* f and potential, virial belong to x */
    nnp_rdf* rdf;
    int64_t rdf_every, rdf_start;
};

/* Row behind the last of block b. */
static inline int nnp_md_block_end(const nnp_md* md, int b)
{
    return md->n - b * NNP_MD_BLOCK < NNP_MD_BLOCK ? md->n : (b + 1) * NNP_MD_BLOCK;
}

/* md_list.c */
void nnp_md_to_rows(const nnp_md* md, const double* caller, double* rows);
void nnp_md_to_caller(const nnp_md* md, const double* rows, double* caller);
/* List at x, or (ahead; needs forces) where the atoms are going to be; every row array follows. */
int nnp_md_build(nnp_md* md, int ahead);

/* md_rows.c */
/* Forces at x, where list->x is, and moved2 the largest squared distance from the places in the list; the
 * list is rebuilt if that is over (skin/2)^2. */
int nnp_md_forces(nnp_md* md, double moved2, int ahead, const nnp_row_hook* hook);
int nnp_md_update(nnp_md* md);              /* the same wherever list->x is */
int nnp_md_ready(nnp_md* md);               /* the same where forces are not those at x */
double nnp_md_kinetic(const nnp_md* md);    /* eV */
double nnp_md_degrees(const nnp_md* md);    /* of freedom */
double nnp_md_momentum_to_zero(nnp_md* md); /* the kinetic energy that it takes away, eV */
void nnp_md_scale_velocities(nnp_md* md, double factor);
double nnp_md_sum(const nnp_md* md, int k);     /* of the blocks' k-th sums, in order */
double nnp_md_largest(const nnp_md* md, int k); /* of them, and 0 */

/* md_step.c */
int nnp_md_step(nnp_md* md);

/* md_random.c: deviates for the atoms of rows first .. first+count-1, count <= NNP_MD_BLOCK; out is
 * [3][NNP_MD_BLOCK] */
void nnp_md_normals(const nnp_md* md, uint32_t stream, int first, int count, double* out);
double nnp_md_bussi_factor(const nnp_md* md, double kinetic);

#endif /* NNP_MD_INTERNAL_H */
