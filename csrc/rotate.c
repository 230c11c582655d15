/* rotate.c - matrix times vector for the optimiser that works in an eigenbasis (nnpcore/adam.py). */
#include "kernels.h"
#include "nnp_threads.h"

enum { SLICE = 128 }; /* a multiple of every vector width */

int nnp_rotate(int n, const float* q, const float* x, float* y, int transpose, int n_threads)
{
    if (n < 0 || (n && (!q || !x || !y)))
        return nnp_fail(NNP_ERR_ARGUMENT, "nnp_rotate: a NULL argument or n < 0");
    const nnp_kernels* const k = nnp_get_kernels(NNP_F32);
    if (!k) return NNP_ERR_ARGUMENT;
    const int threads = nnp_thread_count(n_threads), n_slices = (n + SLICE - 1) / SLICE;
#pragma omp parallel for schedule(static) num_threads(threads) if (threads > 1 && n > 256)
    for (int i = 0; i < n_slices; ++i)
        k->rotate(n, q, x, y, transpose, i * SLICE, i * SLICE + SLICE < n ? i * SLICE + SLICE : n);
    return NNP_OK;
}
