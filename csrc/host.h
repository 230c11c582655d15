/* host.h - atoms and ghosts that a host code has in place, in an order of the core's own; shared by
 * host_atoms.c, host_list.c (the host's neighbour list) and host_ghosts.c (a list of the core's).
 *
 * Rows are the atoms whose energy is wanted, sorted by their place in space, so that what a chunk of them
 * touches is little more than these rows; the other atoms follow, sorted alike. Atoms of species -1 are left
 * out.
 */
#ifndef NNP_HOST_H
#define NNP_HOST_H

#include "workspace_private.h"

/* Positions, species and an order for rows [n], or 0 .. n-1 where rows is NULL: host.near.order, .x, .n,
 * .n_total and host.place, and the bins that nnp_neigh_search() takes. Where positions are too far apart for
 * bins, the order is the host's and *bins the error. */
int nnp_host_place(nnp_workspace* w, int n, const int* rows, int n_total, const int* species, const double* x,
                   double edge, int* bins);

/* Positions anew. moved2: largest squared displacement since nnp_host_place(); may be NULL. */
int nnp_host_refresh(nnp_workspace* w, const double* x, double* moved2);

/* 1 if these are the atoms and species of the last nnp_host_place(). */
int nnp_host_same(const nnp_workspace* w, int n_total, const int* species);

/* Plan of the list that is in place. */
int nnp_host_prepare(nnp_workspace* w);

/* Energies, forces and virials, added to results in the host's numbering. */
int nnp_host_run(nnp_workspace* w, const nnp_results* results);

#endif /* NNP_HOST_H */
