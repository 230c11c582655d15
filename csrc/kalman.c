/* kalman.c - one step of an extended Kalman filter for the parameters of a model, on several predictions at
 * once: T. B. Blank, S. D. Brown, J. Chemometrics 8, 391 (1994); for potentials A. Singraber et al., J. Chem.
 * Theory Comput. 15, 3075 (2019), there one prediction at a time. Parameters of different blocks count as
 * uncorrelated (G. V. Puskorius, L. A. Feldkamp, IEEE Trans. Neural Netw. 5, 279 (1994)).
 *
 *   S = H P H^T + r = L L^T,   step = P H^T S^-1 residual,   P <- P - P H^T S^-1 H P
 *
 * With X = L^-1 H P this is step = X^T L^-1 residual, P <- P - X^T X: P stays symmetric to the last bit.
 */
#include "kernels.h"
#include "nnp_threads.h"
#include <math.h>
#include <string.h>

enum {
    SLICE = 128
}; /* columns of a product that one thread does at a time; a multiple of all vector widths */

/* The products' columns, shared out. c [m][n] = a^T b or c -= a^T b */
typedef struct product {
    int m, n, n_k;
    const float *a, *b;
    float* c;
    int64_t ak, aq, bk, cq;
    int subtract;
} product;

static void multiply(const nnp_kernels* k, const product* p, int threads)
{
    const int n_slices = (p->n + SLICE - 1) / SLICE;
#pragma omp parallel for schedule(dynamic, 1) num_threads(threads) if (threads > 1)
    for (int i = 0; i < n_slices; ++i) {
        const int lo = i * SLICE, n = p->n - lo < SLICE ? p->n - lo : SLICE;
        k->product(p->m, n, p->n_k, p->a, p->ak, p->aq, p->b + lo, p->bk, p->c + lo, p->cq, p->subtract);
    }
}

/* s [m][m] += H X^T, lower triangle; long sums go on in double. */
static void add_innovation(const nnp_kernels* k, int m, int n, const float* h, const float* x, int64_t row,
                           double* s, int threads)
{
#pragma omp parallel for schedule(dynamic, 1) num_threads(threads) if (threads > 1)
    for (int i = 0; i < m; ++i)
        for (int j = 0; j <= i; ++j) s[(int64_t)i * m + j] += k->dot(n, h + row * i, x + row * j);
}

/* Lower triangle of s [m][m] to L; 0 where it is not positive definite. */
static int cholesky(int m, double* s)
{
    for (int i = 0; i < m; ++i)
        for (int j = 0; j <= i; ++j) {
            double sum = s[(int64_t)i * m + j];
            for (int k = 0; k < j; ++k) sum -= s[(int64_t)i * m + k] * s[(int64_t)j * m + k];
            if (i == j && !(sum > 0)) return 0;
            s[(int64_t)i * m + j] = i == j ? sqrt(sum) : sum / s[(int64_t)j * m + j];
        }
    return 1;
}

/* Transpose of L^-1, [m][m], of the lower triangle l. */
static void invert(int m, const double* l, float* inverse)
{
    memset(inverse, 0, (size_t)m * (size_t)m * sizeof(float));
    for (int c = 0; c < m; ++c) /* column c of L^-1 by forward substitution */
        for (int i = c; i < m; ++i) {
            double sum = i == c;
            for (int k = c; k < i; ++k) sum -= l[(int64_t)i * m + k] * (double)inverse[(int64_t)c * m + k];
            inverse[(int64_t)c * m + i] = (float)(sum / l[(int64_t)i * m + i]);
        }
}

/* P -= X^T X, the tiles on and below the diagonal; then the others by symmetry. p [n][n], x [m][row] */
static void reduce_covariance(const nnp_kernels* k, int m, int n, const float* x, int64_t row, float* p,
                              int threads)
{
    const int n_slices = (n + SLICE - 1) / SLICE;
#pragma omp parallel for schedule(dynamic, 1) num_threads(threads) if (threads > 1)
    for (int i = n_slices - 1; i >= 0; --i) {
        const int lo = i * SLICE, n_rows = n - lo < SLICE ? n - lo : SLICE;
        k->product(n_rows, lo + n_rows, m, x + lo, row, 1, x, row, p + (int64_t)lo * n, n, 1);
    }
#pragma omp parallel for schedule(dynamic, 1) num_threads(threads) if (threads > 1)
    for (int i = 0; i < n_slices; ++i)
        for (int j = i * SLICE; j < n && j < (i + 1) * SLICE; ++j)
            for (int l = j + 1; l < n; ++l) p[(int64_t)j * n + l] = p[(int64_t)l * n + j];
}

static void take_step(int m, int n, const float* x, const double* y, double* step, int threads)
{
#pragma omp parallel for schedule(static) num_threads(threads) if (threads > 1)
    for (int k = 0; k < n; ++k) {
        double sum = 0;
        for (int i = 0; i < m; ++i) sum += (double)x[(int64_t)n * i + k] * y[i];
        step[k] = sum;
    }
}

/* What a step works with: rows W = H P and X = L^-1 W [m][n], L and L^-1 residual. */
typedef struct room {
    float *w, *x, *inverse;
    double *s, *y;
} room;

static int room_take(int m, int n, room* r)
{
    r->w = (float*)nnp_alloc((size_t)m * (size_t)n, sizeof(float));
    r->x = (float*)nnp_alloc((size_t)m * (size_t)n, sizeof(float));
    r->inverse = (float*)nnp_alloc((size_t)m * (size_t)m, sizeof(float));
    r->s = (double*)nnp_alloc((size_t)m * (size_t)m, sizeof(double));
    r->y = (double*)nnp_alloc((size_t)m, sizeof(double));
    if (r->w && r->x && r->inverse && r->s && r->y) return NNP_OK;
    return nnp_fail(NNP_ERR_MEMORY, "out of memory: Kalman step with %d rows", m);
}

static void room_free(room* r)
{
    nnp_free(r->w);
    nnp_free(r->x);
    nnp_free(r->inverse);
    nnp_free(r->s);
    nnp_free(r->y);
}

static void whiten(int m, const double* l, const double* residual, double* y)
{
    for (int i = 0; i < m; ++i) {
        y[i] = residual[i];
        for (int j = 0; j < i; ++j) y[i] -= l[(int64_t)i * m + j] * y[j];
        y[i] /= l[(int64_t)i * m + i];
    }
}

int nnp_kalman_step(int n_blocks, const int* edges, float* covariance, int m, const float* h,
                    const double* residual, double noise, double* step, int n_threads)
{
    if (n_blocks < 1 || m < 1 || !edges || !covariance || !h || !residual || !step || !(noise > 0))
        return nnp_fail(NNP_ERR_ARGUMENT, "nnp_kalman_step: a NULL argument, no rows or noise <= 0");
    const nnp_kernels* const k = nnp_get_kernels(NNP_F32);
    if (!k) return NNP_ERR_ARGUMENT;
    const int n = edges[n_blocks], threads = nnp_thread_count(n_threads);
    room r;
    int status = room_take(m, n, &r);
    if (!status) {
        memset(r.s, 0, (size_t)m * (size_t)m * sizeof(double));
        float* p = covariance;
        for (int b = 0; b < n_blocks; ++b) {
            const int lo = edges[b], size = edges[b + 1] - lo;
            const product hp = {m, size, size, h + lo, p, r.w + lo, 1, n, size, n, 0};
            multiply(k, &hp, threads);
            add_innovation(k, m, size, h + lo, r.w + lo, n, r.s, threads);
            p += (int64_t)size * size;
        }
        for (int i = 0; i < m; ++i) r.s[(int64_t)i * m + i] += noise;
        if (!cholesky(m, r.s))
            status = nnp_fail(NNP_ERR_DIVERGED, "the filter's covariance has lost its positivity");
    }
    if (!status) {
        invert(m, r.s, r.inverse);
        const product solve = {m, n, m, r.inverse, r.w, r.x, m, 1, n, n, 0};
        multiply(k, &solve, threads);
        whiten(m, r.s, residual, r.y);
        take_step(m, n, r.x, r.y, step, threads);
        float* p = covariance;
        for (int b = 0; b < n_blocks; ++b) {
            const int lo = edges[b], size = edges[b + 1] - lo;
            reduce_covariance(k, m, size, r.x + lo, n, p, threads);
            p += (int64_t)size * size;
        }
    }
    room_free(&r);
    return status;
}
