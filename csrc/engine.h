/* engine.h - running a plan's chunks on all threads; shared by workspace.c and trainer.c. */
#ifndef NNP_ENGINE_H
#define NNP_ENGINE_H

#include "kernels.h"
#include "neigh.h"

/* All chunks of a plan. Returns the clash of the lowest row, or row -1. */
nnp_clash nnp_run_chunks(const nnp_kernels* k, const nnp_model* model, const void* packed,
                         const nnp_system* system, const nnp_plan* plan, const nnp_scratch* scratch,
                         int n_threads, const nnp_output* out);

/* The same by the team of the parallel region that the caller is in, if in any; *first begins as row -1 and
 * holds the clash behind the barrier at the end. */
void nnp_share_chunks(const nnp_kernels* k, const nnp_model* model, const void* packed,
                      const nnp_system* system, const nnp_plan* plan, const nnp_scratch* scratch,
                      const nnp_output* out, nnp_clash* first);

/* sum of v[i * stride], i < n, in a fixed order by blocks of 256: the same bits whatever the threads */
double nnp_block_sum(const double* v, int n, int stride);

/* NNP_OK, or the error that names the two atoms (caller's indices). */
int nnp_clash_error(const nnp_neigh* list, nnp_clash clash, double distance);

int nnp_check_species(const nnp_model* model, int n, const int* species);

/* Checked copy. A host compiled with an older, shorter struct gets the defaults of what it does not know;
 * what a newer one sets that is unknown here is an error. from NULL: the defaults. */
int nnp_take_options(const nnp_options* from, nnp_options* taken);

/* Exponents so large that exp of them could leave the precision's range are an error. */
int nnp_check_exponents(const nnp_model* model, const double* theta, int precision);

/* Distance below which two atoms are an error: 1e-3 Angstrom, or where the short-range branch overflows. */
double nnp_clash_distance(const nnp_model* model, int precision);

#endif /* NNP_ENGINE_H */
