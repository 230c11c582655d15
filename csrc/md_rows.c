/* md_rows.c - the forces, sums over atoms. */
#include "md_internal.h"
#include "nnp_threads.h"
#include <math.h>
#include <string.h>

static int evaluate(nnp_md* md, const nnp_row_hook* hook)
{
    int64_t every = md->options.virial_every;
    int with_virial = every > 0 && md->step % every == 0;
    nnp_results r = {0};
    r.energy = &md->potential;
    r.forces = md->f;
    r.virial = with_virial ? md->virial : NULL;
    md->forces_valid = md->virial_valid = 0;
    int status = nnp_work_evaluate(md->work, &r, hook);
    if (status) return status;
    md->forces_valid = 1;
    md->virial_valid = with_virial;
    return NNP_OK;
}

int nnp_md_forces(nnp_md* md, double moved2, int ahead, const nnp_row_hook* hook)
{
    double limit = 0.5 * md->skin;
    if (!md->sorted || !(moved2 <= limit * limit)) {
        int status = nnp_md_build(md, ahead);
        if (status) return status;
        nnp_neigh_refresh_sorted(md->list, md->x, md->threads);
    }
    return evaluate(md, hook);
}

int nnp_md_update(nnp_md* md)
{
    double moved2 = md->sorted ? nnp_neigh_refresh_sorted(md->list, md->x, md->threads) : 0;
    return nnp_md_forces(md, moved2, 0, NULL);
}

int nnp_md_ready(nnp_md* md) { return md->forces_valid ? NNP_OK : nnp_md_update(md); }

double nnp_md_sum(const nnp_md* md, int k)
{
    double total = 0;
    for (int b = 0; b < md->n_blocks; b++) total += md->sums[b * NNP_MD_SUMS + k];
    return total;
}

double nnp_md_largest(const nnp_md* md, int k)
{
    double largest = 0;
    for (int b = 0; b < md->n_blocks; b++) {
        double value = md->sums[b * NNP_MD_SUMS + k];
        largest = value > largest ? value : largest;
    }
    return largest;
}

static void block_kinetic(const nnp_md* md, int b)
{
    double twice = 0;
    for (int i = b * NNP_MD_BLOCK; i < nnp_md_block_end(md, b); i++) {
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
    for (int i = b * NNP_MD_BLOCK; i < nnp_md_block_end(md, b); i++) {
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
