/* trainer_rows.c - rows of the Jacobian: how each prediction of a frame changes with the parameters. A row is
 * the second sweep of the loss gradient (trainer.c) with a tangent that picks this prediction.
 */
#include "trainer_private.h"
#include <string.h>

/* What a thread works with. */
typedef struct row_room {
    char* acc;      /* [n_parameters][width] */
    double* g_dot;  /* [n][stride], with kept symmetry functions */
    double* lambda; /* [n_total][3], zeros between two rows */
    char* touched;  /* [n] */
} row_room;

static size_t padded(size_t bytes) { return (bytes + 63) / 64 * 64; }

static row_room room_of(const nnp_trainer* t, const nnp_frame* f, char* base, size_t bytes, int thread)
{
    char* p = base + (size_t)thread * bytes;
    row_room r;
    r.acc = p;
    p += padded((size_t)t->model.n_parameters * (size_t)t->k->width * (size_t)t->k->real_bytes);
    r.g_dot = (double*)p;
    p += padded((size_t)f->n * (size_t)t->stride * sizeof(double));
    r.lambda = (double*)p;
    p += padded(3 * (size_t)f->n_total * sizeof(double));
    r.touched = p;
    return r;
}

static size_t room_bytes(const nnp_trainer* t, const nnp_frame* f)
{
    return padded((size_t)t->model.n_parameters * (size_t)t->k->width * (size_t)t->k->real_bytes) +
           padded((size_t)f->n * (size_t)t->stride * sizeof(double)) +
           padded(3 * (size_t)f->n_total * sizeof(double)) + padded((size_t)f->n);
}

/* lambda of a unit force on row a and its images */
static void unit_force(const nnp_frame* f, int a, int axis, double value, double* lambda)
{
    lambda[3 * (int64_t)a + axis] = value;
    for (int i = f->n; i < f->n_total; ++i)
        if (f->list.owner[i - f->n] == a) lambda[3 * (int64_t)i + axis] = value;
}

static void force_row(const nnp_trainer* t, const nnp_frame* f, int a, int axis, const row_room* r)
{
    nnp_tangent tangent = {r->lambda, {0}, 0};
    if (f->cache) {
        nnp_cache_force_row(t, f, a, axis, r->g_dot, r->touched, nnp_trainer_scratch(t), r->acc);
        return;
    }
    unit_force(f, a, axis, 1, r->lambda);
    nnp_frame_gradient(t, f, &tangent, r->acc);
    unit_force(f, a, axis, 0, r->lambda);
}

/* which: 0 energy, 1 .. 6 stress, Voigt */
static void global_row(const nnp_trainer* t, const nnp_frame* f, int which, const row_room* r)
{
    static const int row[6] = {0, 1, 2, 1, 0, 0}, column[6] = {0, 1, 2, 2, 2, 1};
    nnp_tangent tangent = {r->lambda, {0}, which ? 0 : 1};
    if (which) { /* sigma = -W/V; an off-diagonal W is shared by its two entries */
        tangent.m[3 * row[which - 1] + column[which - 1]] -= 0.5 / f->volume;
        tangent.m[3 * column[which - 1] + row[which - 1]] -= 0.5 / f->volume;
    }
    nnp_frame_gradient(t, f, &tangent, r->acc);
}

static int check_rows(const nnp_frame* f, int n_rows, const int* rows)
{
    const int most = 3 * f->n + (f->volume > 0 ? 7 : 1);
    for (int i = 0; i < n_rows; ++i)
        if (rows[i] < 0 || rows[i] >= most)
            return nnp_fail(NNP_ERR_ARGUMENT, "row %d of the Jacobian is %d, expected 0 .. %d", i, rows[i],
                            most - 1);
    return NNP_OK;
}

static void all_rows(const nnp_trainer* t, const nnp_frame* f, const int* place, int n_rows, const int* rows,
                     char* base, float* out)
{
    const int64_t np = t->model.n_parameters;
    const size_t bytes = room_bytes(t, f);
#pragma omp parallel num_threads(t->n_threads) if (t -> n_threads > 1 && n_rows > 1)
    {
        const row_room r = room_of(t, f, base, bytes, omp_get_thread_num());
        memset(r.lambda, 0, 3 * (size_t)f->n_total * sizeof(double));
#pragma omp for schedule(dynamic, 4)
        for (int i = 0; i < n_rows; ++i) {
            memset(r.acc, 0, (size_t)np * (size_t)t->k->width * (size_t)t->k->real_bytes);
            if (rows[i] < 3 * f->n)
                force_row(t, f, place[rows[i] / 3], rows[i] % 3, &r);
            else
                global_row(t, f, rows[i] - 3 * f->n, &r);
            for (int64_t k = 0; k < np; ++k) {
                double value = 0;
                t->k->reduce(1, r.acc + (size_t)k * (size_t)t->k->width * (size_t)t->k->real_bytes, &value);
                out[np * i + k] = (float)value;
            }
        }
    }
}

int nnp_trainer_jacobian(nnp_trainer* t, const double* theta, int frame, int n_rows, const int* rows,
                         float* out)
{
    nnp_batch b;
    if (!t || n_rows < 1 || !rows || !out)
        return nnp_fail(NNP_ERR_ARGUMENT, "nnp_trainer_jacobian: a NULL argument or no rows");
    int status = nnp_batch_layout(t, theta, 1, &frame, 1, &b);
    if (status) return status;
    nnp_batch_free(&b);
    const nnp_frame* const f = t->frames[frame];
    status = check_rows(f, n_rows, rows);
    if (status) return status;
    char* const base = (char*)nnp_alloc((size_t)t->n_threads, room_bytes(t, f));
    int* const place = (int*)nnp_alloc((size_t)f->n, sizeof(int)); /* row of the caller's atom */
    if (!base || !place) {
        status = nnp_fail(NNP_ERR_MEMORY, "out of memory: %d rows of the Jacobian", n_rows);
    } else {
        for (int i = 0; i < f->n; ++i) place[f->list.order[i]] = i;
        all_rows(t, f, place, n_rows, rows, base, out);
    }
    nnp_free(base);
    nnp_free(place);
    return status;
}
