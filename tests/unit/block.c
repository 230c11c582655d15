/* block.c - a block of csrc/block_impl.h gathered, for test_block.py; NNP_REAL_BITS and NNP_ISA are set. */
#if NNP_ISA == 2
#pragma GCC target("avx512f,avx512dq,avx512vl,avx512bw,avx2,fma,popcnt,prefer-vector-width=512")
#elif NNP_ISA == 1
#pragma GCC target("avx2,fma")
#endif
#include "block_impl.h"
#include <stdlib.h>

enum { CANARY = 0x5a, GUARD = 4096 };

int width(void) { return NNP_W; }

/* Gathers the block of `rows` [NNP_W] (-1: an empty lane) of atoms x [n][4] with their lists by species.
 * count [NNP_W][2S], length [2S], out [NNP_W][2S][room][5]: u r, r, number of the neighbour. Returns how many
 * bytes were written past the block's memory. */
int gather(int n, int n_species, const double* x, const int64_t* first, const int* list, const int* segment,
           const int* rows, const int* capacity, double near, double cut, int room, int* count, int* length,
           double* out)
{
    nnp_chunk chunks[2] = {{0, 0, 0}, {n, 1, 0}};
    nnp_system system = {.n = n, .n_total = n, .x = x, .first = first, .index = list, .clash = 0};
    nnp_plan plan = {.width = NNP_W, .n_species = n_species, .n_chunks = 1, .n_blocks = 1};
    plan.chunks = chunks;
    plan.rows = (int*)rows;
    plan.capacity = (int*)capacity;
    plan.local = (int*)list;
    plan.segment = (int*)segment;
    size_t total = 0, largest = 0;
    for (int t = 0; t < n_species; ++t) {
        const size_t lane = (size_t)capacity[t] + NNP_FIND;
        total += 2 * (size_t)capacity[t];
        largest = lane > largest ? lane : largest;
    }
    const size_t part = (largest * NNP_W * sizeof(nnp_quad) + 63) / 64 * 64;
    const size_t arrays = total * 9 * sizeof(nnp_vec) + (size_t)((3 + 2 * NNP_W) * n_species) * sizeof(int);
    const size_t size = ((size_t)(2 * n + 16) * 64 + arrays + 2 * part + GUARD) / 64 * 64;
    char* const memory = aligned_alloc(64, size);
    memset(memory, CANARY, size);
    nnp_arena arena = {memory};
    const nnp_local local = local_load(&system, &plan, 0, &arena, 0);
    nnp_block b;
    block_gather(&b, &arena, &local, &system, &plan, 0, near, cut);
    int spoilt = 0;
    for (int i = 0; i < GUARD; ++i) spoilt += arena.next[2 * part + (size_t)i] != CANARY;
    memcpy(count, b.count, (size_t)(NNP_W * 2 * n_species) * sizeof(int));
    NNP_EACH_PART(&b, p)
    {
        const nnp_span span = nnp_block_span(&b, p);
        length[p] = span.hi - span.lo;
        for (int w = 0; w < NNP_W; ++w)
            for (int k = span.lo; k < span.hi && k - span.lo < room; ++k) {
                double* const to = out + ((w * 2 * n_species + p) * room + k - span.lo) * 5;
                to[0] = (double)(b.ux[k][w] * b.r[k][w]);
                to[1] = (double)(b.uy[k][w] * b.r[k][w]);
                to[2] = (double)(b.uz[k][w] * b.r[k][w]);
                to[3] = (double)b.r[k][w];
                to[4] = (double)b.id[k][w];
            }
    }
    free(memory);
    return spoilt;
}
