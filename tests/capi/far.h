/* far.h - a small system, and arrays moved to where their entries are behind 2^31 others in memory that is
 * mapped but never touched; for far_forces.c and far_pairs.c. Exit code 77: the system does not map as much.
 */
#ifndef FAR_H
#define FAR_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

enum { SIDE = 8, N = SIDE * SIDE * SIDE };
static const int64_t FAR = ((int64_t)1 << 31) + 48;

static double x[N][3], cell[9];
static int species[N];

static void check(int good, const char* what, const char* file, int line)
{
    if (good) return;
    fprintf(stderr, "%s:%d: %s (last error: %s)\n", file, line, what, nnp_last_error());
    exit(1);
}
#define CHECK(condition) check(condition, #condition, __FILE__, __LINE__)

static void make_system(int n_species)
{
    const double a = 2.9;
    unsigned state = 12345;
    for (int c = 0; c < 3; ++c) cell[4 * c] = SIDE * a;
    for (int i = 0; i < N; ++i) {
        species[i] = i % n_species;
        for (int c = 0; c < 3; ++c) {
            const int site[3] = {i / (SIDE * SIDE), i / SIDE % SIDE, i % SIDE};
            state = state * 1103515245u + 12345u;
            x[i][c] = a * site[c] + 0.3 * ((state >> 16 & 1023) / 1023.0 - 0.5);
        }
    }
}

/* Room for FAR + count elements, of which nothing is touched. */
static void* map(int64_t count, size_t element)
{
    void* const p = mmap(NULL, (size_t)(FAR + count) * element, PROT_READ | PROT_WRITE,
                         MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (p == MAP_FAILED) exit(77);
    return p;
}

static void* moved(const void* from, int64_t count, size_t element)
{
    char* const p = map(count, element);
    memcpy(p + (size_t)FAR * element, from, (size_t)count * element);
    return p;
}

static void shift_all(int64_t* values, int64_t count)
{
    for (int64_t k = 0; k < count; ++k) values[k] += FAR;
}

#endif /* FAR_H */
