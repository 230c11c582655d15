/* version.c - what this build is. */
#include "nnp_internal.h"
#include "nnp_threads.h"

int nnp_version(void) { return NNP_VERSION; }

int nnp_max_threads(void) { return omp_get_max_threads(); }

int nnp_has_openmp(void)
{
#ifdef _OPENMP
    return 1;
#else
    return 0;
#endif
}
