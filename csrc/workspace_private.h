/* workspace_private.h - what is in an nnp_workspace; for workspace.c and host_list.c. */
#ifndef NNP_WORKSPACE_PRIVATE_H
#define NNP_WORKSPACE_PRIVATE_H

#include "engine.h"
#include "workspace.h"

enum { NNP_HOST_NONE = 0, NNP_HOST_LIST = 1, NNP_HOST_GHOSTS = 2 };

struct nnp_workspace {
    const nnp_model* model;
    nnp_options options;
    const nnp_kernels* k;
    int wanted_threads, n_threads; /* the user's; those of this call */
    double clash;                  /* Angstrom */
    void* packed;                  /* theta in working precision */
    nnp_neigh list;
    nnp_plan plan;
    nnp_scratch scratch;
    double* part;    /* [halo][4], then [halo][9] where virials of atoms are wanted */
    double* per_row; /* [n][1 + 3 + 6]: energies, forces, virials of rows; then sums of energies,
                        NNP_WORK_ROWS rows each */
    size_t cap_part, cap_rows;
    int* outside; /* [n] functions of each row outside their training range; NULL: the model keeps none */
    size_t cap_outside;
    int rows_outside;                         /* rows of the last evaluation that outside holds; -1: none */
    int64_t atoms_outside, functions_outside; /* of the last evaluation */
    int listed;                               /* list belongs to the key below */
    double cell[9];
    int has_cell, pbc[3];
    int* species; /* [n] caller's order */
    size_t cap_species;
    struct {              /* a host's atoms: host.h */
        int kind;         /* NNP_HOST_: what the plan was made for */
        nnp_neigh near;   /* rows and the atoms around them; order [n_total]: the host's numbers; no images */
        int n_atoms;      /* the host's, those to be ignored included */
        int* species;     /* [n_atoms] */
        int* place;       /* [n_atoms] where an atom is in near; -1: nowhere */
        int* permutation; /* scratch of the sorts */
        double* sums;     /* [near.n_total][3] forces */
        size_t cap_species, cap_place, cap_permutation, cap_sums, cap_order, cap_x, cap_built, cap_first;
        int n_rows;        /* as nnp_compute_ghosts() was asked for */
        uint64_t list_key; /* of the list that nnp_compute() was given */
    } host;
};

/* Room and plan for a system that is in place. */
int nnp_work_prepare(nnp_workspace* work, const nnp_system* system);

/* Energies, virials and forces of all rows; forces on the halo stay in work->part. virials: NULL or [n][9].
 */
int nnp_work_run(nnp_workspace* work, const nnp_system* system, double* energy, double* force, double* virial,
                 double* virials, nnp_clash* clash);

#endif /* NNP_WORKSPACE_PRIVATE_H */
