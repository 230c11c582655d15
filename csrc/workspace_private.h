/* workspace_private.h - what is in an nnp_workspace; for workspace.c and host_list.c. */
#ifndef NNP_WORKSPACE_PRIVATE_H
#define NNP_WORKSPACE_PRIVATE_H

#include "engine.h"
#include "workspace.h"

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
    void* g;         /* [pairs][3] nnp_real */
    double* per_row; /* [n][1 + 3 + 6]: energies, forces, virials of rows */
    size_t cap_g, cap_rows;
    int listed; /* list belongs to the key below */
    double cell[9];
    int has_cell, pbc[3];
    int* species; /* [n] caller's order */
    size_t cap_species;
    struct {            /* copy of a host's list: host_list.c */
        double* x;      /* [n_total][4] */
        int* centre;    /* [rows] */
        int64_t* first; /* [rows+1] */
        int* index;
        size_t cap_x, cap_centre, cap_first, cap_index;
    } host;
};

/* Room and block plan for a system that is in place. */
int nnp_work_prepare(nnp_workspace* work, const nnp_system* system);

#endif /* NNP_WORKSPACE_PRIVATE_H */
