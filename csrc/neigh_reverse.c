/* neigh_reverse.c - which list entries point to a row: a stable counting sort of the entries by target row.
 *
 * In a full list row j is pointed to as often as it is long, so reverse_first = first and nothing needs
 * counting. Only where rounding at the cutoff leaves a pair listed one way does the scatter find a row too
 * full; then it is counted. Threads own ranges of target rows, and a mask tells which chunks of entries point
 * there.
 */
#include "neigh_private.h"
#include <string.h>

enum { MOST_SEGMENTS = 64 };

/* Row j is in segment (j scale) >> 32. */
typedef struct plan {
    int n_segments;
    uint64_t scale;
    const uint64_t* mask; /* [chunks of NNP_NEIGH_BLOCK rows]: bit s: some entry points into segment s */
} plan;

static int segment_begin(const plan* plan, int n, int segment)
{
    if (segment == 0 || segment == plan->n_segments) return segment == 0 ? 0 : n;
    return (int)((((uint64_t)segment << 32) + plan->scale - 1) / plan->scale);
}

static inline int target_row(const nnp_neigh* list, int64_t p)
{
    int j = list->index[p];
    return j < list->n ? j : list->owner[j - list->n];
}

static int block_end(const nnp_neigh* list, int begin)
{
    return list->n - begin < NNP_NEIGH_BLOCK ? list->n : begin + NNP_NEIGH_BLOCK;
}

static void find_masks(const nnp_neigh* list, uint64_t* mask, uint64_t scale, int n_threads)
{
#pragma omp parallel for schedule(static) num_threads(n_threads)
    for (int begin = 0; begin < list->n; begin += NNP_NEIGH_BLOCK) {
        uint64_t bits = 0;
        for (int64_t p = list->first[begin]; p < list->first[block_end(list, begin)]; p++)
            bits |= (uint64_t)1 << ((uint64_t)target_row(list, p) * scale >> 32);
        mask[begin / NNP_NEIGH_BLOCK] = bits;
    }
}

static inline int place_entry(nnp_neigh* list, int* filled, int64_t p, int row)
{
    int64_t place = list->reverse_first[row] + filled[row]++;
    if (place >= list->reverse_first[row + 1]) return 0;
    list->reverse[place] = p;
    return 1;
}

/* Entries begin .. end-1 that point to rows lo .. hi-1 take their places. 0: a row has more than its room. */
static int scatter(nnp_neigh* list, int* filled, int64_t begin, int64_t end, int lo, int hi)
{
    for (int64_t p = begin; p < end; p++) {
        int j = target_row(list, p);
        if (j >= lo && j < hi && !place_entry(list, filled, p, j)) return 0;
    }
    return 1;
}

/* The same where all of them do. */
static int scatter_here(nnp_neigh* list, int* filled, int64_t begin, int64_t end)
{
    for (int64_t p = begin; p < end; p++)
        if (!place_entry(list, filled, p, target_row(list, p))) return 0;
    return 1;
}

static int scatter_segment(nnp_neigh* list, const plan* plan, int segment)
{
    const int n = list->n, lo = segment_begin(plan, n, segment), hi = segment_begin(plan, n, segment + 1);
    int* filled = ((nnp_neigh_scratch*)list->scratch)->key;
    if (hi > lo) memset(filled + lo, 0, (size_t)(hi - lo) * sizeof(int));
    if (plan->n_segments == 1) return scatter_here(list, filled, 0, list->first[n]);
    for (int begin = 0; begin < n; begin += NNP_NEIGH_BLOCK) {
        const uint64_t mask = plan->mask[begin / NNP_NEIGH_BLOCK], bit = (uint64_t)1 << segment;
        const int64_t p = list->first[begin], end = list->first[block_end(list, begin)];
        if (!(mask & bit)) continue;
        if (!(mask == bit ? scatter_here(list, filled, p, end) : scatter(list, filled, p, end, lo, hi)))
            return 0;
    }
    return 1;
}

static int scatter_all(nnp_neigh* list, const plan* plan, int n_threads)
{
    int fits = 1;
#pragma omp parallel for schedule(dynamic, 1) num_threads(n_threads) reduction(&& : fits) if (n_threads > 1)
    for (int segment = 0; segment < plan->n_segments; segment++)
        fits = fits && scatter_segment(list, plan, segment);
    return fits;
}

static void count_targets(nnp_neigh* list)
{
    int64_t* first = list->reverse_first;
    memset(first, 0, ((size_t)list->n + 1) * sizeof *first);
    for (int64_t p = 0; p < list->first[list->n]; p++) first[target_row(list, p) + 1]++;
    for (int j = 0; j < list->n; j++) first[j + 1] += first[j];
}

int nnp_neigh_reverse(nnp_neigh* list, int n_threads)
{
    nnp_neigh_scratch* scratch = list->scratch;
    if (!scratch || !list->first)
        return nnp_fail(NNP_ERR_ARGUMENT, "neighbour list: reverse index of a list that was never built");
    const int n = list->n, n_blocks = n / NNP_NEIGH_BLOCK + 1;
    if (nnp_reserve(&list->reverse_first, &scratch->cap_reverse_first, (size_t)n + 1, sizeof(int64_t)) ||
        nnp_reserve(&list->reverse, &scratch->cap_reverse, (size_t)list->first[n], sizeof(int64_t)) ||
        nnp_reserve(&scratch->mask, &scratch->cap_mask, n_blocks, sizeof(uint64_t)))
        return NNP_ERR_MEMORY;
    memcpy(list->reverse_first, list->first, ((size_t)n + 1) * sizeof(int64_t));
    n_threads = nnp_threads_for(n_threads, list->n);
    if (n_threads > n_blocks) n_threads = n_blocks;
    plan plan = {1, 0, scratch->mask};
    if (n_threads > 1) {
        plan.n_segments = n_threads < MOST_SEGMENTS ? n_threads : MOST_SEGMENTS;
        plan.scale = ((uint64_t)plan.n_segments << 32) / (uint64_t)n;
        find_masks(list, scratch->mask, plan.scale, n_threads);
    }
    if (!scatter_all(list, &plan, n_threads)) {
        count_targets(list);
        scatter_all(list, &plan, n_threads);
    }
    return NNP_OK;
}
