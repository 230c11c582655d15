/* md_list.c - rows and the caller's order, and where and when the list is built. */
#include "md_internal.h"
#include "nnp_threads.h"
#include <math.h>
#include <string.h>

/* Share of the skin's half that an atom may be ahead of itself in a new list: found by trial. */
static const double AHEAD = 0.8;

void nnp_md_to_rows(const nnp_md* md, const double* caller, double* rows)
{
    const int* order = md->list->order;
#pragma omp parallel for schedule(static) num_threads(md->threads) if (md->threads > 1)
    for (int i = 0; i < md->n; i++)
        memcpy(rows + 3 * (size_t)i, caller + 3 * (size_t)order[i], 3 * sizeof *rows);
}

void nnp_md_to_caller(const nnp_md* md, const double* rows, double* caller)
{
    const int* order = md->list->order;
#pragma omp parallel for schedule(static) num_threads(md->threads) if (md->threads > 1)
    for (int i = 0; i < md->n; i++)
        memcpy(caller + 3 * (size_t)order[i], rows + 3 * (size_t)i, 3 * sizeof *rows);
}

/* sums of a block: (x - x_list).v, |x - x_list|^2, |v|^2; largest |v|^2 */
static void block_motion(const nnp_md* md, int b)
{
    double sum[NNP_MD_SUMS] = {0};
    for (int i = b * NNP_MD_BLOCK; i < nnp_md_block_end(md, b); i++) {
        double v2 = 0;
        for (size_t k = 3 * (size_t)i; k < 3 * (size_t)i + 3; k++) {
            const double d = md->x[k] - md->list->x_built[k];
            sum[0] += d * md->v[k];
            sum[1] += d * d;
            v2 += md->v[k] * md->v[k];
        }
        sum[2] += v2;
        sum[3] = v2 > sum[3] ? v2 : sum[3];
    }
    memcpy(md->sums + b * NNP_MD_SUMS, sum, sizeof sum);
}

/* An atom that flies leaves the sphere of skin/2 around its place in the list half as soon if that place is
 * ahead of it. tau, how far ahead in time, takes the fastest atom to the share AHEAD of that sphere, times
 * the correlation of displacements and velocities since the last build: nearly 1 in a liquid, whose list is
 * worn out before atoms turn round, 0 where they vibrate inside their spheres. */
static double time_ahead(const nnp_md* md)
{
#pragma omp parallel for schedule(static) num_threads(md->threads) if (md->threads > 1)
    for (int b = 0; b < md->n_blocks; b++) block_motion(md, b);
    const double forward = md->options.dt > 0 ? 1 : -1, dd = nnp_md_sum(md, 1), vv = nnp_md_sum(md, 2);
    const double correlation = forward * nnp_md_sum(md, 0) / sqrt(dd * vv);
    if (!(correlation > 0)) return 0;
    return forward * correlation * AHEAD * 0.5 * md->skin / sqrt(nnp_md_largest(md, 3));
}

/* x + tau v + tau^2/2 f/m, in the caller's order, no farther from x than AHEAD skin/2. */
static void positions_ahead(const nnp_md* md, double tau, double* out)
{
    const double most = AHEAD * 0.5 * md->skin;
#pragma omp parallel for schedule(static) num_threads(md->threads) if (md->threads > 1)
    for (int i = 0; i < md->n; i++) {
        const size_t k = 3 * (size_t)i;
        double *to = out + 3 * (size_t)md->list->order[i], way[3], way2 = 0;
        for (int c = 0; c < 3; c++) {
            way[c] = tau * (md->v[k + c] + 0.5 * tau * md->row_inverse[i] * md->f[k + c]);
            way2 += way[c] * way[c];
        }
        const double scale = way2 > most * most ? most / sqrt(way2) : 1;
        for (int c = 0; c < 3; c++) to[c] = md->x[k + c] + scale * way[c];
    }
}

/* Rows of the list there was -> rows of the new one (place NULL: from the caller's order). One spare array is
 * enough: each array in turn is copied into it and becomes the next spare. */
static void reorder(nnp_md* md, const int* place)
{
    const int* order = md->list->order;
    double** arrays[] = {&md->x, &md->v, &md->x_old, &md->v_old};
    for (int k = 0; k < 4; k++) {
        double *from = *arrays[k], *to = md->swap;
#pragma omp parallel for schedule(static) num_threads(md->threads) if (md->threads > 1)
        for (int i = 0; i < md->n; i++)
            memcpy(to + 3 * (size_t)i, from + 3 * (size_t)(place ? place[order[i]] : order[i]),
                   3 * sizeof *to);
        md->swap = from;
        *arrays[k] = to;
    }
#pragma omp parallel for schedule(static) num_threads(md->threads) if (md->threads > 1)
    for (int i = 0; i < md->n; i++) {
        md->row_mass[i] = md->mass[order[i]] * NNP_AMU_A2_FS2;
        md->row_inverse[i] = 1 / md->row_mass[i];
    }
}

/* Rows of the list there was -> the caller's order. */
static void restore(nnp_md* md)
{
    double** arrays[] = {&md->x, &md->v, &md->x_old, &md->v_old};
    for (int k = 0; k < 4; k++) {
        double *from = *arrays[k], *to = md->swap;
        for (int a = 0; a < md->n; a++)
            memcpy(to + 3 * (size_t)a, from + 3 * (size_t)md->place[a], 3 * sizeof *to);
        md->swap = from;
        *arrays[k] = to;
    }
}

int nnp_md_build(nnp_md* md, int ahead)
{
    const int sorted = md->sorted;
    const double* x_list = md->x;
    if (sorted) {
        const double tau = ahead ? time_ahead(md) : 0;
        if (tau != 0)
            positions_ahead(md, tau, md->swap);
        else
            nnp_md_to_caller(md, md->x, md->swap);
        x_list = md->swap;
#pragma omp parallel for schedule(static) num_threads(md->threads) if (md->threads > 1)
        for (int i = 0; i < md->n; i++) md->place[md->list->order[i]] = i;
    }
    md->sorted = md->forces_valid = md->virial_valid = 0;
    int status =
        nnp_work_build(md->work, md->n, md->species, x_list, md->has_cell ? md->cell : NULL, md->pbc);
    if (status) {
        if (sorted) restore(md);
        return status;
    }
    reorder(md, sorted ? md->place : NULL);
    md->sorted = 1;
    md->n_builds++;
    return NNP_OK;
}
