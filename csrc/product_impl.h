/* product_impl.h - products of matrices for the Kalman filter (kalman.c): tiles of ROWS x COLUMNS vectors
 * whose sums stay in registers.
 */
#ifndef NNP_PRODUCT_IMPL_H
#define NNP_PRODUCT_IMPL_H

#include "block_impl.h"

typedef nnp_real nnp_loose __attribute__((vector_size(NNP_VEC_BYTES), aligned(NNP_REAL_BITS / 8), may_alias));

enum { NNP_PRODUCT_ROWS = 8, NNP_PRODUCT_COLUMNS = 2 };

/* c [Q][V vectors] (+)= sign sum_k a[k] (x) b[k] */
NNP_FN void product_tile(const int Q, const int V, int n_k, const nnp_real* a, int64_t ak, int64_t aq,
                         const nnp_real* b, int64_t bk, nnp_real* c, int64_t cq, int subtract)
{
    nnp_vec acc[NNP_PRODUCT_ROWS][NNP_PRODUCT_COLUMNS];
    for (int q = 0; q < Q; ++q)
        for (int v = 0; v < V; ++v) acc[q][v] = nnp_splat(0);
    for (int k = 0; k < n_k; ++k, a += ak, b += bk) {
        nnp_vec bv[NNP_PRODUCT_COLUMNS];
        for (int v = 0; v < V; ++v) bv[v] = (nnp_vec) * (const nnp_loose*)(b + v * NNP_W);
        for (int q = 0; q < Q; ++q)
            for (int v = 0; v < V; ++v) acc[q][v] += a[q * aq] * bv[v];
    }
    for (int q = 0; q < Q; ++q)
        for (int v = 0; v < V; ++v) {
            nnp_loose* const to = (nnp_loose*)(c + q * cq + v * NNP_W);
            if (subtract)
                *to -= (nnp_loose)acc[q][v];
            else
                *to = (nnp_loose)acc[q][v];
        }
}

/* One column of what is left beside whole vectors. */
static void product_column(int m, int n_k, const nnp_real* a, int64_t ak, int64_t aq, const nnp_real* b,
                           int64_t bk, nnp_real* c, int64_t cq, int subtract)
{
    for (int q = 0; q < m; ++q) {
        nnp_real sum = 0;
        for (int k = 0; k < n_k; ++k) sum += a[k * ak + q * aq] * b[k * bk];
        c[q * cq] = subtract ? c[q * cq] - sum : sum;
    }
}

/* c [m][n] = a^T b, or c - a^T b: a is [n_k][m] with strides ak, aq; b [n_k][n], c [m][n] with row strides.
 */
static void kernels_product(int m, int n, int n_k, const void* a_, int64_t ak, int64_t aq, const void* b_,
                            int64_t bk, void* c_, int64_t cq, int subtract)
{
    const nnp_real *const a = (const nnp_real*)a_, *const b = (const nnp_real*)b_;
    nnp_real* const c = (nnp_real*)c_;
    int j = 0;
    for (; j + NNP_PRODUCT_COLUMNS * NNP_W <= n; j += NNP_PRODUCT_COLUMNS * NNP_W) {
        int q = 0;
        for (; q + NNP_PRODUCT_ROWS <= m; q += NNP_PRODUCT_ROWS)
            product_tile(NNP_PRODUCT_ROWS, NNP_PRODUCT_COLUMNS, n_k, a + q * aq, ak, aq, b + j, bk,
                         c + q * cq + j, cq, subtract);
        for (; q < m; ++q)
            product_tile(1, NNP_PRODUCT_COLUMNS, n_k, a + q * aq, ak, aq, b + j, bk, c + q * cq + j, cq,
                         subtract);
    }
    for (; j < n; ++j) product_column(m, n_k, a, ak, aq, b + j, bk, c + j, cq, subtract);
}

/* a.b; pieces of 256 are summed in double */
static double kernels_dot(int n, const void* a_, const void* b_)
{
    const nnp_real *const a = (const nnp_real*)a_, *const b = (const nnp_real*)b_;
    double total = 0;
    int i = 0;
    while (i + NNP_W <= n) {
        nnp_vec sum = nnp_splat(0);
        for (const int end = i + 256 < n ? i + 256 : n; i + NNP_W <= end; i += NNP_W)
            sum += (nnp_vec)(*(const nnp_loose*)(a + i) * *(const nnp_loose*)(b + i));
        total += nnp_lane_sum(sum);
    }
    for (; i < n; ++i) total += (double)a[i] * (double)b[i];
    return total;
}

#endif /* NNP_PRODUCT_IMPL_H */
