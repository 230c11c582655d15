/* workspace.h - scratch of one caller: neighbour list, packed parameters, pair gradients.
 *
 * nnp_compute_cell() in three steps, for the MD loop that keeps its arrays in list order:
 *   nnp_work_build(w, n, species, x, cell, pbc);          caller's order; w->list.order[row] = caller's index
 *   nnp_neigh_refresh_sorted(&w->list, x_rows, threads);  positions by row; largest squared displacement
 *   nnp_work_evaluate(w, &results, NULL);                 results by row, OVERWRITTEN, not added to
 */
#ifndef NNP_WORKSPACE_H
#define NNP_WORKSPACE_H

#include "kernels.h"
#include "neigh.h"

/* Build the list with cutoff model cutoff + options.skin, and the plan. */
int nnp_work_build(nnp_workspace* work, int n, const int* species, const double* x, const double* cell,
                   const int* pbc);

/* What to do with rows [first, end), NNP_WORK_ROWS from a multiple of it on, once their forces are known. */
typedef struct nnp_row_hook {
    void (*rows)(void* of, int first, int end); /* by any thread */
    void* of;
} nnp_row_hook;

/* Energies, forces, virials at the positions in list->x; every non-NULL array of results by row. hook may be
 * NULL; it also sees forces that are not finite, which are an error in the end. */
int nnp_work_evaluate(nnp_workspace* work, const nnp_results* results, const nnp_row_hook* hook);

nnp_neigh* nnp_work_list(nnp_workspace* work);
int nnp_work_threads(const nnp_workspace* work);
double nnp_work_skin(const nnp_workspace* work);

#endif /* NNP_WORKSPACE_H */
