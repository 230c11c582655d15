/* sort.c - counting sort by integer key, on several threads. */
#include "nnp_internal.h"
#include "nnp_threads.h"
#include <string.h>

/* One thread: start[k+1] first counts key k, then is the cursor where its next item goes. */
static void sort_serial(int n, const int* key, int n_keys, int* start, int* permutation)
{
    memset(start, 0, ((size_t)n_keys + 1) * sizeof *start);
    for (int a = 0; a < n; a++) start[key[a] + 1]++;
    int sum = 0;
    for (int k = 0; k < n_keys; k++) {
        int count = start[k + 1];
        start[k + 1] = sum;
        sum += count;
    }
    for (int a = 0; a < n; a++) permutation[start[key[a] + 1]++] = a;
}

int nnp_sort_by_key(int** room, size_t* capacity, int n, const int* key, int n_keys, int* start,
                    int* permutation, int n_threads)
{
    int parts = n_threads < 16 ? n_threads : 16;
    if (parts > 1 + n / 8192) parts = 1 + n / 8192;
    if (parts == 1) {
        sort_serial(n, key, n_keys, start, permutation);
        return NNP_OK;
    }
    if (nnp_reserve(room, capacity, (size_t)n_keys * parts, sizeof(int))) return NNP_ERR_MEMORY;
    int* const histogram = *room; /* [parts][n_keys] */
    memset(histogram, 0, (size_t)n_keys * parts * sizeof(int));
#pragma omp parallel for schedule(static, 1) num_threads(parts)
    for (int t = 0; t < parts; t++) {
        int* mine = histogram + (size_t)t * n_keys;
        for (int a = (int)((int64_t)n * t / parts); a < (int)((int64_t)n * (t + 1) / parts); a++)
            mine[key[a]]++;
    }
    int sum = 0;
    for (int k = 0; k < n_keys; k++) {
        start[k] = sum;
        for (int t = 0; t < parts; t++) {
            int count = histogram[(size_t)t * n_keys + k];
            histogram[(size_t)t * n_keys + k] = sum;
            sum += count;
        }
    }
    start[n_keys] = sum;
#pragma omp parallel for schedule(static, 1) num_threads(parts)
    for (int t = 0; t < parts; t++) {
        int* cursor = histogram + (size_t)t * n_keys;
        for (int a = (int)((int64_t)n * t / parts); a < (int)((int64_t)n * (t + 1) / parts); a++)
            permutation[cursor[key[a]]++] = a;
    }
    return NNP_OK;
}
