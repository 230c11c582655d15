/* threads.c - how many threads a call may use; a child of fork() gets one.
 *
 * libgomp's pool does not survive fork(): a child that enters a parallel region after its parent did hangs
 * for ever. Results do not depend on the number of threads, so a serial child is right.
 */
#include "nnp_internal.h"
#include "nnp_threads.h"

#if defined(_OPENMP) && !defined(_WIN32)
#include <pthread.h>

static pthread_once_t registered = PTHREAD_ONCE_INIT;
static volatile int went_parallel, is_child;

static void in_child(void) { is_child = went_parallel; }
static void watch_fork(void) { pthread_atfork(NULL, NULL, in_child); }

int nnp_thread_count(int n_threads)
{
    if (n_threads <= 0) n_threads = omp_get_max_threads();
    if (is_child || n_threads == 1) return 1;
    pthread_once(&registered, watch_fork);
    went_parallel = 1;
    return n_threads;
}

#else

int nnp_thread_count(int n_threads) { return n_threads > 0 ? n_threads : omp_get_max_threads(); }

#endif

/* Starting and joining threads costs some microseconds, an atom about one. */
enum { ATOMS_PER_THREAD = 200 };

int nnp_threads_for(int n_threads, int n_atoms)
{
    const int useful = n_atoms / ATOMS_PER_THREAD, most = nnp_thread_count(n_threads);
    return useful < 1 ? 1 : useful < most ? useful : most;
}
