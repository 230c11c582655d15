/* md_rows.c - orders, the list and the forces, sums over atoms. */
#include "md_internal.h"
#include "nnp_threads.h"
#include <math.h>
#include <string.h>

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

static void set_masses(nnp_md* md)
{
    for (int i = 0; i < md->n; i++) {
        md->row_mass[i] = md->mass[md->list->order[i]] * NNP_AMU_A2_FS2;
        md->row_inverse[i] = 1 / md->row_mass[i];
    }
}

/* One spare array is enough: each array in turn is copied into it and becomes the next spare. */
static void unsort(nnp_md* md)
{
    double** arrays[] = {&md->v, &md->x_old, &md->v_old, &md->x};
    for (int k = 0; k < 4; k++) {
        nnp_md_to_caller(md, *arrays[k], md->swap);
        double* full = md->swap;
        md->swap = *arrays[k];
        *arrays[k] = full;
    }
}

static void resort(nnp_md* md)
{
    double** arrays[] = {&md->x, &md->v, &md->x_old, &md->v_old};
    for (int k = 0; k < 4; k++) {
        nnp_md_to_rows(md, *arrays[k], md->swap);
        double* full = md->swap;
        md->swap = *arrays[k];
        *arrays[k] = full;
    }
    set_masses(md);
}

int nnp_md_build(nnp_md* md)
{
    if (md->sorted) unsort(md);
    md->sorted = md->forces_valid = md->virial_valid = 0;
    int status = nnp_work_build(md->work, md->n, md->species, md->x, md->has_cell ? md->cell : NULL, md->pbc);
    if (status) return status;
    resort(md);
    md->sorted = 1;
    md->n_builds++;
    return NNP_OK;
}

static int evaluate(nnp_md* md)
{
    int64_t every = md->options.virial_every;
    int with_virial = every > 0 && md->step % every == 0;
    nnp_results r = {0};
    r.energy = &md->potential;
    r.forces = md->f;
    r.virial = with_virial ? md->virial : NULL;
    md->forces_valid = md->virial_valid = 0;
    int status = nnp_work_evaluate(md->work, &r);
    if (status) return status;
    md->forces_valid = 1;
    md->virial_valid = with_virial;
    return NNP_OK;
}

int nnp_md_update(nnp_md* md)
{
    double limit = 0.5 * md->skin;
    if (md->sorted) {
        double moved = nnp_neigh_refresh_sorted(md->list, md->x, md->threads);
        if (moved <= limit * limit) return evaluate(md);
    }
    int status = nnp_md_build(md);
    if (status) return status;
    nnp_neigh_refresh_sorted(md->list, md->x, md->threads);
    return evaluate(md);
}

int nnp_md_ready(nnp_md* md) { return md->forces_valid ? NNP_OK : nnp_md_update(md); }

double nnp_md_sum(const nnp_md* md, int k)
{
    double total = 0;
    for (int b = 0; b < md->n_blocks; b++) total += md->sums[b * NNP_MD_SUMS + k];
    return total;
}

static int block_end(const nnp_md* md, int b)
{
    int end = (b + 1) * NNP_MD_BLOCK;
    return end < md->n ? end : md->n;
}

static void block_kinetic(const nnp_md* md, int b)
{
    double twice = 0;
    for (int i = b * NNP_MD_BLOCK; i < block_end(md, b); i++) {
        const double* v = md->v + 3 * (size_t)i;
        twice += md->row_mass[i] * (v[0] * v[0] + v[1] * v[1] + v[2] * v[2]);
    }
    md->sums[b * NNP_MD_SUMS] = 0.5 * twice;
}

double nnp_md_kinetic(const nnp_md* md)
{
#pragma omp parallel for schedule(static) num_threads(md->threads) if (md->threads > 1)
    for (int b = 0; b < md->n_blocks; b++) block_kinetic(md, b);
    return nnp_md_sum(md, 0);
}

double nnp_md_degrees(const nnp_md* md)
{
    int momentum_kept = md->options.ensemble != NNP_MD_LANGEVIN || md->options.momentum_every == 1;
    return 3.0 * md->n - (momentum_kept && md->n > 1 ? 3 : 0);
}

static void block_momentum(const nnp_md* md, int b)
{
    double sum[NNP_MD_SUMS] = {0};
    for (int i = b * NNP_MD_BLOCK; i < block_end(md, b); i++) {
        for (int c = 0; c < 3; c++) sum[c] += md->row_mass[i] * md->v[3 * (size_t)i + c];
        sum[3] += md->row_mass[i];
    }
    memcpy(md->sums + b * NNP_MD_SUMS, sum, sizeof sum);
}

double nnp_md_momentum_to_zero(nnp_md* md)
{
#pragma omp parallel for schedule(static) num_threads(md->threads) if (md->threads > 1)
    for (int b = 0; b < md->n_blocks; b++) block_momentum(md, b);
    double mass = nnp_md_sum(md, 3), drift[3];
    if (!(mass > 0)) return 0;
    for (int c = 0; c < 3; c++) drift[c] = nnp_md_sum(md, c) / mass;
    for (int i = 0; i < md->n; i++)
        for (int c = 0; c < 3; c++) md->v[3 * (size_t)i + c] -= drift[c];
    return 0.5 * mass * (drift[0] * drift[0] + drift[1] * drift[1] + drift[2] * drift[2]);
}

void nnp_md_scale_velocities(nnp_md* md, double factor)
{
    size_t count = 3 * (size_t)md->n;
#pragma omp parallel for simd schedule(static) num_threads(md->threads) if (parallel : md->threads > 1)
    for (size_t i = 0; i < count; i++) md->v[i] *= factor;
}
