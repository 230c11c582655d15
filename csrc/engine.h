/* engine.h - running a plan's blocks on all threads; shared by workspace.c and trainer.c. */
#ifndef NNP_ENGINE_H
#define NNP_ENGINE_H

#include "kernels.h"
#include "neigh.h"

/* All blocks of a plan. Returns the clash of the lowest row, or row -1. */
nnp_clash nnp_run_blocks(const nnp_kernels* k, const nnp_model* model, const void* packed, const nnp_system* system,
                         const nnp_plan* plan, const nnp_scratch* scratch, int n_threads, const nnp_pairs* out);

/* sum of v[i * stride], i < n, in fixed blocks of 256: the same bits whatever the threads */
double nnp_block_sum(const double* v, int n, int stride);

/* NNP_OK, or the error that names the two atoms (caller's indices). */
int nnp_clash_error(const nnp_neigh* list, nnp_clash clash);

int nnp_check_species(const nnp_model* model, int n, const int* species);

#endif /* NNP_ENGINE_H */
