/* md_step.c - one time step: velocity Verlet or BAOAB, the guard, the thermostat. */
#include "md_internal.h"
#include "math/philox.h"
#include "nnp_threads.h"
#include <math.h>
#include <stdio.h>

/* Furthest that an atom may go in one step, A: beyond it the run has diverged. */
static const double STEP_MAX = 1e3;

static int block_kick_drift(const nnp_md* md, int first, int end)
{
    const size_t k = 3 * (size_t)first;
    return md->kernels->drift(end - first, md->options.dt, STEP_MAX, md->row_inverse + first, md->f + k,
                              md->v_old + k, md->x_old + k, md->v + k, md->x + k);
}

/* B A O A: v = v_old + dt/2 f/m; x = x_old + dt/2 v; v <- c v + sqrt(1-c^2) sqrt(kB T/m) R; x += dt/2 v,
 * c = exp(-friction dt). gain: the kinetic energy that O has put in, eV. */
static int block_baoa(const nnp_md* md, int first, int end, double* gain)
{
    const double half = 0.5 * md->options.dt, c = exp(-md->options.friction * md->options.dt);
    const double noise = (1 - c * c) * NNP_KB * md->options.temperature;
    double normals[3][NNP_MD_BLOCK], twice = 0;
    int bad = 0;
    nnp_md_normals(md, NNP_STREAM_LANGEVIN, first, end - first, normals[0]);
    for (int i = first; i < end; i++) {
        double h = half * md->row_inverse[i], s = sqrt(noise * md->row_inverse[i]), v2 = 0;
        for (int k = 0; k < 3; k++) {
            size_t j = 3 * (size_t)i + k;
            double before = md->v_old[j] + h * md->f[j], after = c * before + s * normals[k][i - first];
            md->x[j] = md->x_old[j] + half * before + half * after;
            md->v[j] = after;
            v2 += after * after - before * before;
            bad |= !(fabs(md->x[j] - md->x_old[j]) <= STEP_MAX);
        }
        twice += md->row_mass[i] * v2;
    }
    *gain = 0.5 * twice;
    return bad;
}

static int any_bad(const nnp_md* md)
{
    int bad = 0;
    for (int b = 0; b < md->n_blocks; b++) bad |= md->bad[b];
    return bad;
}

/* The new positions go to the list at once, as if it were still good: sums [1] is how far they are from it.
 */
static int first_half(nnp_md* md)
{
    const int langevin = md->options.ensemble == NNP_MD_LANGEVIN, n_ghost = md->list->n_ghost;
    const int threads = md->threads;
#pragma omp parallel num_threads(threads) if (threads > 1)
    {
#pragma omp for schedule(static)
        for (int b = 0; b < md->n_blocks; b++) {
            int first = b * NNP_MD_BLOCK, end = nnp_md_block_end(md, b);
            double* sums = md->sums + b * NNP_MD_SUMS;
            md->bad[b] = langevin ? block_baoa(md, first, end, sums) : block_kick_drift(md, first, end);
            sums[1] = nnp_neigh_move(md->list, md->x, NULL, first, end);
        }
#pragma omp for schedule(static)
        for (int g = 0; g < n_ghost; g += NNP_MD_BLOCK)
            nnp_neigh_move_ghosts(md->list, md->x, NULL, g,
                                  n_ghost - g < NNP_MD_BLOCK ? n_ghost : g + NNP_MD_BLOCK);
    }
    return any_bad(md);
}

/* The second half of the step for rows whose forces have just been summed; rescale() wants the kinetic
 * energy. */
static void second_half(void* of, int first, int end)
{
    const nnp_md* md = of;
    const int b = first / NNP_MD_BLOCK;
    const size_t k = 3 * (size_t)first;
    double* kinetic = md->options.ensemble == NNP_MD_BUSSI ? md->sums + b * NNP_MD_SUMS : NULL;
    md->bad[b] = md->kernels->kick(end - first, md->options.dt, md->options.f_max, md->row_inverse + first,
                                   md->row_mass + first, md->f + k, md->v + k, kinetic);
}

static int diverged_force(const nnp_md* md)
{
    int worst = 0;
    double largest = -1;
    for (int i = 0; i < md->n; i++) {
        const double* f = md->f + 3 * (size_t)i;
        double size = sqrt(f[0] * f[0] + f[1] * f[1] + f[2] * f[2]);
        if (!(size <= largest)) {
            worst = i;
            largest = size;
        }
        if (!isfinite(size)) break;
    }
    return nnp_fail(
        NNP_ERR_DIVERGED, "step %lld: force on atom %d is %.3g eV/A, limit %.3g (state of step %lld kept)",
        (long long)md->step + 1, md->list->order[worst], largest, md->options.f_max, (long long)md->step);
}

static int diverged_position(const nnp_md* md)
{
    size_t k = 0;
    while (fabs(md->x[k] - md->x_old[k]) <= STEP_MAX) k++;
    const int first_bad = (int)(k / 3);
    const double* x = md->x + 3 * (size_t)first_bad;
    return nnp_fail(
        NNP_ERR_DIVERGED, "step %lld: atom %d would move to (%.4g, %.4g, %.4g) A (state of step %lld kept)",
        (long long)md->step + 1, md->list->order[first_bad], x[0], x[1], x[2], (long long)md->step);
}

static void swap_states(nnp_md* md)
{
    double *x = md->x, *v = md->v;
    md->x = md->x_old;
    md->v = md->v_old;
    md->x_old = x;
    md->v_old = v;
}

static int bad_step(nnp_md* md, int status)
{
    swap_states(md);
    md->forces_valid = md->virial_valid = 0;
    return status;
}

/* What the list or the forces refuse (atoms on top of each other, too far away, an energy that is not finite)
 * is the step's divergence; want of memory is not. */
static int refused(const nnp_md* md, int status)
{
    char text[256];
    if (status == NNP_ERR_MEMORY) return status;
    snprintf(text, sizeof text, "%s", nnp_last_error());
    return nnp_fail(NNP_ERR_DIVERGED, "step %lld: %s (state of step %lld kept)", (long long)md->step + 1,
                    text, (long long)md->step);
}

static void rescale(nnp_md* md)
{
    double kinetic = nnp_md_sum(md, 0), alpha = nnp_md_bussi_factor(md, kinetic);
    nnp_md_scale_velocities(md, alpha);
    md->heat += kinetic * (alpha * alpha - 1);
}

/* The list is kept while no atom is skin/2 from its place in it. The step counts as taken only when energy
 * and forces have passed the guard. */
int nnp_md_step(nnp_md* md)
{
    swap_states(md);
    if (first_half(md)) return bad_step(md, diverged_position(md));
    double heat = md->options.ensemble == NNP_MD_LANGEVIN ? nnp_md_sum(md, 0) : 0;
    const nnp_row_hook kick = {second_half, md};
    md->step++; /* the step whose forces follow: nnp_md_forces() asks which ones want a virial */
    int status = nnp_md_forces(md, nnp_md_largest(md, 1), 1, &kick);
    md->step--;
    if (status) return bad_step(md, refused(md, status));
    if (any_bad(md)) return bad_step(md, diverged_force(md));
    if (!isfinite(md->potential)) {
        status = nnp_fail(NNP_ERR_DIVERGED, "step %lld: energy is %g (state of step %lld kept)",
                          (long long)md->step + 1, md->potential, (long long)md->step);
        return bad_step(md, status);
    }
    md->heat += heat;
    if (md->options.ensemble == NNP_MD_BUSSI) rescale(md);
    md->step++;
    int64_t every = md->options.momentum_every;
    if (every > 0 && md->step % every == 0) md->heat -= nnp_md_momentum_to_zero(md);
    return NNP_OK;
}
