/* nnp_threads.h - OpenMP if the compiler has it, one thread otherwise. */
#ifndef NNP_THREADS_H
#define NNP_THREADS_H
#ifdef _OPENMP
#include <omp.h>
#else
static inline int omp_get_max_threads(void) { return 1; }
static inline int omp_get_thread_num(void) { return 0; }
static inline int omp_get_num_threads(void) { return 1; }
#endif
#endif
