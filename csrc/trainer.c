/* trainer.c - frames with labels, predictions and the closed-form gradient of the loss.
 *
 * Two sweeps over the neighbours of a batch: energies, forces and virials give the residuals; their
 * derivatives lambda = dL/dF, M = dL/dW, c = dL/dE make a tangent of every pair vector, rdot_ij = lambda_i -
 * lambda_j - M r_ij, and dL/dtheta = d/dtheta sum_i (c E_i + dE_i/dt) is the second sweep. Nothing of size
 * pairs x fingerprints is stored.
 */
#include "trainer_private.h"
#include "nnp_threads.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_WORKERS = 16, BLOCKS_PER_WORKER = 6 };

void nnp_batch_free(nnp_batch* b)
{
    nnp_free(b->row);
    nnp_free(b->total);
    nnp_free(b->halo);
    nnp_free(b->pair);
    nnp_free(b->chunk);
}

/* theta in working precision. */
static int take_theta(nnp_trainer* t, const double* theta)
{
    if (!theta) return nnp_fail(NNP_ERR_ARGUMENT, "theta is NULL");
    const int status = nnp_check_exponents(&t->model, theta, t->precision);
    if (!status) t->k->pack(&t->model, theta, t->packed);
    return status;
}

/* exp(alpha x) of the short-range branch is bounded by the closest pair: a matter of the present exponents.
 */
static int check_closest(const nnp_trainer* t, const double* theta, int n, const int* frames)
{
    if (!(t->model.rs > 0)) return NNP_OK;
    nnp_model now = t->model;
    now.theta = (double*)theta;
    const double least = nnp_clash_distance(&now, t->precision);
    for (int i = 0; i < n; ++i)
        if (!(t->frames[frames[i]]->closest >= least))
            return nnp_fail(NNP_ERR_DIVERGED,
                            "frame %d has atoms %g Angstrom apart: with these exponents %s holds %g",
                            frames[i], t->frames[frames[i]]->closest,
                            t->precision == NNP_F32 ? "float32" : "float64", least);
    return NNP_OK;
}

int nnp_batch_layout(nnp_trainer* t, const double* theta, int n, const int* frames, int training,
                     nnp_batch* b)
{
    memset(b, 0, sizeof *b);
    if (!t || n < 1 || !frames) return nnp_fail(NNP_ERR_ARGUMENT, "an empty batch, or a NULL argument");
    for (int i = 0; i < n; ++i)
        if (frames[i] < 0 || frames[i] >= t->n_frames)
            return nnp_fail(NNP_ERR_ARGUMENT, "frame %d of %d", frames[i], t->n_frames);
    const size_t m = (size_t)n + 1;
    b->n = n;
    b->frames = frames;
    b->row = (int64_t*)nnp_alloc(m, sizeof(int64_t));
    b->total = (int64_t*)nnp_alloc(m, sizeof(int64_t));
    b->halo = (int64_t*)nnp_alloc(m, sizeof(int64_t));
    b->pair = (int64_t*)nnp_alloc(m, sizeof(int64_t));
    b->chunk = (int*)nnp_alloc(m, sizeof(int));
    if (!b->row || !b->total || !b->halo || !b->pair || !b->chunk) {
        nnp_batch_free(b);
        return nnp_fail(NNP_ERR_MEMORY, "out of memory: batch of %d frames", n);
    }
    b->row[0] = b->total[0] = b->halo[0] = b->pair[0] = b->chunk[0] = 0;
    for (int i = 0; i < n; ++i) {
        const nnp_frame* const f = t->frames[frames[i]];
        b->row[i + 1] = b->row[i] + f->n;
        b->total[i + 1] = b->total[i] + f->n_total;
        b->halo[i + 1] = b->halo[i] + frame_halo(f);
        b->pair[i + 1] = b->pair[i] + (f->cache ? f->list.first[f->n] : 0);
        b->chunk[i + 1] = b->chunk[i] + f->plan.n_chunks;
        b->n_blocks += f->plan.n_blocks;
    }
    t->n_threads = nnp_thread_count(t->n_threads);
    int status = nnp_trainer_reserve(t, b->row[n], b->total[n], b->halo[n], training);
    if (!status) status = nnp_reserve(&t->pair, &t->cap_pair, 3 * (size_t)b->pair[n] + 1, sizeof(float));
    if (!status) status = take_theta(t, theta);
    if (!status) status = check_closest(t, theta, n, frames);
    b->threads = b->n_blocks > 8 ? t->n_threads : 1;
    if (status) nnp_batch_free(b);
    return status;
}

static int frame_of_chunk(const nnp_batch* b, int chunk)
{
    int lo = 0, hi = b->n;
    while (hi - lo > 1) {
        const int mid = (lo + hi) / 2;
        if (b->chunk[mid] <= chunk)
            lo = mid;
        else
            hi = mid;
    }
    return lo;
}

/* Energies, forces and virials of all rows. */
static void batch_evaluate(nnp_trainer* t, const nnp_batch* b)
{
    const int n_chunks = b->chunk[b->n];
#pragma omp parallel num_threads(b->threads) if (b -> threads > 1)
    {
#pragma omp for schedule(dynamic, 1)
        for (int i = 0; i < n_chunks; ++i) {
            const int q = frame_of_chunk(b, i);
            const nnp_frame* const f = t->frames[b->frames[q]];
            const nnp_system s = frame_system(f);
            if (f->cache) {
                nnp_cache_evaluate(t, f, i - b->chunk[q], nnp_trainer_scratch(t), t->pair + 3 * b->pair[q],
                                   t->energy + b->row[q], t->virial + 6 * b->row[q]);
                continue;
            }
            const nnp_output out = {t->energy + b->row[q],
                                    t->force + 3 * b->row[q],
                                    t->part + 4 * b->halo[q],
                                    t->virial + 6 * b->row[q],
                                    NULL,
                                    NULL,
                                    NULL,
                                    0,
                                    NULL};
            t->k->evaluate(&t->model, t->packed, &s, &f->plan, i - b->chunk[q], nnp_trainer_scratch(t), &out);
        }
#pragma omp for schedule(dynamic, 1)
        for (int q = 0; q < b->n; ++q) {
            const nnp_frame* const f = t->frames[b->frames[q]];
            if (f->cache) {
                nnp_cache_forces(f, t->pair + 3 * b->pair[q], t->force + 3 * b->row[q]);
                continue;
            }
            nnp_plan_gather(&f->plan, t->part + 4 * b->halo[q], 4, 3, 0, f->n, t->force + 3 * b->row[q]);
        }
    }
}

/* l(d) and dl/dd */
static double loss_of(const nnp_loss* loss, double d, double delta, double* slope)
{
    if (loss->kind == NNP_LOSS_SQUARE) {
        *slope = 2 * d;
        return d * d;
    }
    if (fabs(d) <= delta) {
        *slope = d;
        return 0.5 * d * d;
    }
    *slope = d > 0 ? delta : -delta;
    return delta * (fabs(d) - 0.5 * delta);
}

/* Loss terms of frame q of the batch (energy, force, stress), and its derivatives as a tangent. */
static void frame_loss(nnp_trainer* t, const nnp_batch* b, int q, const nnp_loss* loss, double* terms,
                       nnp_tangent* tangent)
{
    const nnp_frame* const f = t->frames[b->frames[q]];
    const double scale = f->weight / b->n;
    double* const lambda = t->lambda + 3 * b->total[q];
    double slope;
    memset(tangent, 0, sizeof *tangent);
    tangent->lambda = lambda;
    terms[0] = terms[1] = terms[2] = 0;
    if (f->has_energy) {
        const double d = (nnp_block_sum(t->energy + b->row[q], f->n, 1) - f->energy) / f->n;
        terms[0] = scale * loss->w_energy * loss_of(loss, d, loss->delta_energy, &slope);
        tangent->c = scale * loss->w_energy * slope / f->n;
    }
    memset(lambda, 0, 3 * (size_t)f->n_total * sizeof(double));
    if (f->forces && loss->w_force != 0) {
        const double* const force = t->force + 3 * b->row[q];
        const double each = scale * loss->w_force / (3.0 * f->n);
        double sum = 0;
        for (int i = 0; i < 3 * f->n; ++i) {
            sum += loss_of(loss, force[i] - f->forces[i], loss->delta_force, &slope);
            lambda[i] = each * slope;
        }
        terms[1] = each * sum;
        for (int i = f->n; i < f->n_total; ++i)
            memcpy(lambda + 3 * (int64_t)i, lambda + 3 * (int64_t)f->list.owner[i - f->n],
                   3 * sizeof(double));
    }
    if (f->has_stress && loss->w_stress != 0) {
        const int row[6] = {0, 1, 2, 1, 0, 0}, column[6] = {0, 1, 2, 2, 2, 1};
        double w[6], stress[6];
        for (int c = 0; c < 6; ++c) w[c] = nnp_block_sum(t->virial + 6 * b->row[q] + c, f->n, 6);
        nnp_virial_to_stress(w, f->volume, stress);
        const double each = scale * loss->w_stress / 6;
        for (int c = 0; c < 6; ++c) { /* sigma = -W/V; an off-diagonal W is shared by its two entries */
            terms[2] += each * loss_of(loss, stress[c] - f->stress[c], loss->delta_stress, &slope);
            const double m = -each * slope / f->volume;
            tangent->m[3 * row[c] + column[c]] += 0.5 * m;
            tangent->m[3 * column[c] + row[c]] += 0.5 * m;
        }
    }
}

static void chunk_gradient(const nnp_trainer* t, const nnp_frame* f, int chunk, const nnp_tangent* tangent,
                           void* acc)
{
    if (f->cache) {
        nnp_cache_gradient(t, f, chunk, nnp_trainer_scratch(t), tangent, acc);
        return;
    }
    const nnp_system s = frame_system(f);
    t->k->gradient(&t->model, t->packed, &s, &f->plan, chunk, nnp_trainer_scratch(t), tangent, acc);
}

void nnp_frame_gradient(const nnp_trainer* t, const nnp_frame* f, const nnp_tangent* tangent, void* acc)
{
    for (int c = 0; c < f->plan.n_chunks; ++c) chunk_gradient(t, f, c, tangent, acc);
}

/* The second sweep: contiguous shares of the chunks have an accumulator each; their number does not depend on
 * the threads, so neither does a bit of the sum. */
static int batch_gradient(nnp_trainer* t, const nnp_batch* b, const nnp_tangent* tangents, double* grad)
{
    const int n_chunks = b->chunk[b->n], lanes = t->k->width;
    int n_workers = b->n_blocks / BLOCKS_PER_WORKER;
    n_workers = n_workers < 1 ? 1 : n_workers > MAX_WORKERS ? MAX_WORKERS : n_workers;
    n_workers = n_workers > n_chunks ? n_chunks : n_workers;
    const int64_t np = t->model.n_parameters;
    const size_t share = (size_t)np * (size_t)lanes * (size_t)t->k->real_bytes;
    const int status = nnp_reserve(&t->acc, &t->cap_acc, share * (size_t)n_workers, 1);
    if (status) return status;
    const int slice = 256, n_slices = (int)((np + slice - 1) / slice);
#pragma omp parallel num_threads(b->threads) if (b -> threads > 1 && n_workers > 1)
    {
#pragma omp for schedule(dynamic, 1)
        for (int v = 0; v < n_workers; ++v) {
            char* const acc = (char*)t->acc + (size_t)v * share;
            memset(acc, 0, share);
            const int end = (int)((int64_t)n_chunks * (v + 1) / n_workers);
            for (int i = (int)((int64_t)n_chunks * v / n_workers); i < end; ++i) {
                const int q = frame_of_chunk(b, i);
                chunk_gradient(t, t->frames[b->frames[q]], i - b->chunk[q], &tangents[q], acc);
            }
        }
#pragma omp for schedule(static)
        for (int j = 0; j < n_slices; ++j) {
            const int64_t lo = (int64_t)j * slice, n = np - lo < slice ? np - lo : slice;
            memset(grad + lo, 0, (size_t)n * sizeof(double));
            for (int v = 0; v < n_workers; ++v)
                t->k->reduce(n, (char*)t->acc + (size_t)v * share + (size_t)lo * lanes * t->k->real_bytes,
                             grad + lo);
        }
    }
    return NNP_OK;
}

static int check_loss(const nnp_loss* l)
{
    if (!l || l->size != sizeof *l)
        return nnp_fail(NNP_ERR_ARGUMENT, "nnp_loss: NULL, or its size is not set");
    if (l->kind != NNP_LOSS_SQUARE && l->kind != NNP_LOSS_HUBER)
        return nnp_fail(NNP_ERR_ARGUMENT, "nnp_loss.kind is %d", l->kind);
    if (l->kind == NNP_LOSS_HUBER && !(l->delta_energy > 0 && l->delta_force > 0 && l->delta_stress > 0))
        return nnp_fail(NNP_ERR_ARGUMENT, "nnp_loss: Huber's deltas must be > 0");
    return NNP_OK;
}

int nnp_trainer_gradient(nnp_trainer* t, const double* theta, const nnp_loss* loss, int n_batch,
                         const int* frames, double* terms, double* grad)
{
    nnp_batch b;
    int status = check_loss(loss);
    if (!status) status = nnp_batch_layout(t, theta, n_batch, frames, grad != NULL, &b);
    if (status) return status;
    nnp_tangent* const tangents = (nnp_tangent*)nnp_alloc((size_t)n_batch, sizeof(nnp_tangent));
    double* const parts = (double*)nnp_alloc((size_t)n_batch, 3 * sizeof(double));
    if (!tangents || !parts) {
        status = nnp_fail(NNP_ERR_MEMORY, "out of memory: batch of %d frames", n_batch);
    } else {
        batch_evaluate(t, &b);
#pragma omp parallel for schedule(dynamic, 1) num_threads(b.threads) if (b.threads > 1 && n_batch > 1)
        for (int q = 0; q < n_batch; ++q) frame_loss(t, &b, q, loss, parts + 3 * q, &tangents[q]);
        memset(terms, 0, 4 * sizeof(double));
        for (int q = 0; q < n_batch; ++q)
            for (int c = 0; c < 3; ++c) terms[c + 1] += parts[3 * q + c];
        terms[0] = terms[1] + terms[2] + terms[3];
        if (grad) status = batch_gradient(t, &b, tangents, grad);
    }
    nnp_free(tangents);
    nnp_free(parts);
    nnp_batch_free(&b);
    return status;
}

/* splitmix64: the bits behind the random signs of a sketch */
static uint64_t mix(uint64_t z)
{
    z += 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

static double random_sign(uint64_t seed, uint64_t frame, uint64_t i)
{
    return mix(seed ^ mix(frame << 32 ^ i)) >> 63 ? 1 : -1;
}

/* A tangent of random signs, scaled such that its square is on average the loss' curvature in the
 * predictions. Signs of forces go by the caller's numbers of the atoms: the order of the rows does not
 * matter. */
static void sketch_tangent(const nnp_trainer* t, const nnp_batch* b, int q, const nnp_loss* loss,
                           uint64_t seed, nnp_tangent* tangent)
{
    const nnp_frame* const f = t->frames[b->frames[q]];
    const uint64_t frame = (uint64_t)b->frames[q];
    double* const lambda = t->lambda + 3 * b->total[q];
    memset(tangent, 0, sizeof *tangent);
    memset(lambda, 0, 3 * (size_t)f->n_total * sizeof(double));
    tangent->lambda = lambda;
    if (f->has_energy)
        tangent->c = sqrt(f->weight * loss->w_energy) / f->n * random_sign(seed, frame, UINT32_MAX);
    if (f->forces) {
        const double each = sqrt(f->weight * loss->w_force / (3.0 * f->n));
        for (int i = 0; i < f->n; ++i)
            for (int c = 0; c < 3; ++c)
                lambda[3 * i + c] =
                    each * random_sign(seed, frame, 3 * (uint64_t)f->list.order[i] + (uint64_t)c);
        for (int i = f->n; i < f->n_total; ++i)
            memcpy(lambda + 3 * (int64_t)i, lambda + 3 * (int64_t)f->list.owner[i - f->n],
                   3 * sizeof(double));
    }
    if (f->has_stress && loss->w_stress != 0) {
        const int row[6] = {0, 1, 2, 1, 0, 0}, column[6] = {0, 1, 2, 2, 2, 1};
        for (int c = 0; c < 6; ++c) {
            const double m = sqrt(f->weight * loss->w_stress / 6) / f->volume *
                             random_sign(seed, frame, (uint64_t)UINT32_MAX - 1 - (uint64_t)c);
            tangent->m[3 * row[c] + column[c]] += 0.5 * m;
            tangent->m[3 * column[c] + row[c]] += 0.5 * m;
        }
    }
}

int nnp_trainer_sketch(nnp_trainer* t, const double* theta, const nnp_loss* loss, int n_batch,
                       const int* frames, uint64_t seed, double* rows)
{
    nnp_batch b;
    int status = check_loss(loss);
    if (!status) status = nnp_batch_layout(t, theta, n_batch, frames, 1, &b);
    if (status) return status;
    const int64_t np = t->model.n_parameters;
    const size_t share = (size_t)np * (size_t)t->k->width * (size_t)t->k->real_bytes;
    status = nnp_reserve(&t->acc, &t->cap_acc, share * (size_t)t->n_threads, 1);
    if (!status) {
#pragma omp parallel for schedule(dynamic, 1) num_threads(b.threads) if (b.threads > 1 && n_batch > 1)
        for (int q = 0; q < n_batch; ++q) {
            const nnp_frame* const f = t->frames[frames[q]];
            char* const acc = (char*)t->acc + (size_t)omp_get_thread_num() * share;
            double* const row = rows + np * q;
            nnp_tangent tangent;
            sketch_tangent(t, &b, q, loss, seed, &tangent);
            memset(acc, 0, share);
            nnp_frame_gradient(t, f, &tangent, acc);
            memset(row, 0, (size_t)np * sizeof(double));
            t->k->reduce(np, acc, row);
        }
    }
    nnp_batch_free(&b);
    return status;
}

int nnp_trainer_predict(nnp_trainer* t, const double* theta, int n_batch, const int* frames, double* energies,
                        double* forces, double* stresses)
{
    nnp_batch b;
    const int status = nnp_batch_layout(t, theta, n_batch, frames, 0, &b);
    if (status) return status;
    batch_evaluate(t, &b);
    for (int q = 0; q < n_batch; ++q) {
        const nnp_frame* const f = t->frames[frames[q]];
        if (energies) energies[q] = nnp_block_sum(t->energy + b.row[q], f->n, 1) + f->energy0;
        for (int i = 0; forces && i < f->n; ++i)
            for (int c = 0; c < 3; ++c)
                forces[3 * (b.row[q] + f->list.order[i]) + c] =
                    t->force[3 * (b.row[q] + i) + c] + (f->forces0 ? f->forces0[3 * i + c] : 0);
        if (!stresses) continue;
        double w[6];
        for (int c = 0; c < 6; ++c) w[c] = nnp_block_sum(t->virial + 6 * b.row[q] + c, f->n, 6);
        for (int c = 0; c < 6; ++c) stresses[6 * q + c] = 0;
        if (f->volume > 0) nnp_virial_to_stress(w, f->volume, stresses + 6 * q);
        for (int c = 0; c < 6; ++c) stresses[6 * q + c] += f->stress0[c];
    }
    nnp_batch_free(&b);
    return NNP_OK;
}

int nnp_trainer_fingerprints(nnp_trainer* t, const double* theta, int frame, double* out)
{
    nnp_batch b;
    const int status = nnp_batch_layout(t, theta, 1, &frame, 0, &b);
    if (status) return status;
    const nnp_frame* const f = t->frames[frame];
    const nnp_system s = frame_system(f);
    int stride = 0;
    for (int i = 0; i < t->model.n_species; ++i)
        if (nnp_n_inputs(&t->model, i) > stride) stride = nnp_n_inputs(&t->model, i);
    double* const rows = (double*)nnp_alloc((size_t)f->n * (size_t)stride, sizeof(double));
    if (!rows) {
        nnp_batch_free(&b);
        return nnp_fail(NNP_ERR_MEMORY, "out of memory: fingerprints of %d atoms", f->n);
    }
    memset(rows, 0, (size_t)f->n * (size_t)stride * sizeof(double));
    const nnp_output all = {t->energy, t->force, t->part, NULL, NULL, NULL, rows, stride, NULL};
    nnp_run_chunks(t->k, &t->model, t->packed, &s, &f->plan, &t->scratch, t->n_threads, &all);
    for (int i = 0; i < f->n; ++i)
        memcpy(out + (int64_t)f->list.order[i] * stride, rows + (int64_t)i * stride,
               (size_t)stride * sizeof(double));
    nnp_free(rows);
    nnp_batch_free(&b);
    return NNP_OK;
}
