/* pairpot.cu - Lennard-Jones and ZBL on the GPU, one thread a row; formulas in math/pairpot.h. */
#include "../math/pairpot.h"
#include "baseline.cuh"

/* A pair energy of one kind over the run begin .. end of a row: half of it is the row's. */
#define NNP_PAIR_ROW(begin, end, cutoff, EVALUATE)                                                           \
    for (int k = (add ? (begin) : 0); k < (add ? (end) : count[i]); ++k) {                                   \
        const int64_t p = first + (int64_t)NNP_SLICE * k;                                                    \
        nnp_vector out = {0, 0, 0};                                                                          \
        if (k >= (begin) && k < (end)) {                                                                     \
            const nnp_neighbour d = nnp_neighbour_of(&a, x, index[p]);                                       \
            clash = clash || d.r < (nnp_real)least;                                                          \
            if (d.r < (cutoff)) {                                                                            \
                nnp_real phi, dphi;                                                                          \
                EVALUATE;                                                                                    \
                sum += NNP_R(0.5) * phi;                                                                     \
                nnp_along(&d, NNP_R(0.5) * dphi, &out);                                                      \
            }                                                                                                \
        }                                                                                                    \
        nnp_baseline_gradient(gradient, entries, p, &out, add);                                              \
    }

/* parameter: epsilon sigma switch_on cutoff, between species s and t. */
NNP_KERNEL __launch_bounds__(128)
    nnp_lj_rows(NNP_BASELINE_ARGS, int s, int t, const double* NNP_RESTRICT parameter)
{
    const int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= n) return;
    const nnp_atom a = nnp_load_atom(x, i);
    const int64_t first = nnp_first_entry(slice_first, i);
    const nnp_real epsilon = (nnp_real)parameter[0], sigma = (nnp_real)parameter[1],
                   on = (nnp_real)parameter[2], cutoff = (nnp_real)parameter[3];
    int begin = 0, end = 0;
    if (a.species == s || a.species == t) end = nnp_run(segment, n, i, a.species == s ? t : s, &begin);
    nnp_real sum = 0;
    bool clash = false;
    NNP_PAIR_ROW(begin, end, cutoff, nnp_lj(d.r, epsilon, sigma, &phi, &dphi);
                 nnp_switch(d.r, on, cutoff, &phi, &dphi))
    if (clash) nnp_report(status, NNP_STATUS_CLASH, i);
    nnp_baseline_energy(energy, i, sum, add);
}

/* parameter: inner outer, then of every pair of species [S][S] K Zi Zj and 1/a. */
NNP_KERNEL __launch_bounds__(128)
    nnp_zbl_rows(NNP_BASELINE_ARGS, int n_species, const double* NNP_RESTRICT parameter)
{
    const int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= n) return;
    const nnp_atom a = nnp_load_atom(x, i);
    const int64_t first = nnp_first_entry(slice_first, i);
    const nnp_real inner = (nnp_real)parameter[0], outer = (nnp_real)parameter[1];
    nnp_real sum = 0;
    bool clash = false;
    for (int t = 0; t < n_species; ++t) {
        const double* const pair = parameter + 2 + 2 * (a.species * n_species + t);
        const nnp_real strength = (nnp_real)pair[0], inverse = (nnp_real)pair[1];
        int begin;
        const int end = nnp_run(segment, n, i, t, &begin);
        for (int k = begin; k < end; ++k) {
            const int64_t p = first + (int64_t)NNP_SLICE * k;
            const nnp_neighbour d = nnp_neighbour_of(&a, x, index[p]);
            nnp_vector out = {0, 0, 0};
            clash = clash || d.r < (nnp_real)least;
            if (d.r < outer) {
                nnp_real phi, dphi;
                nnp_zbl(d.r, strength, inverse, &phi, &dphi);
                nnp_switch(d.r, inner, outer, &phi, &dphi);
                sum += NNP_R(0.5) * phi;
                nnp_along(&d, NNP_R(0.5) * dphi, &out);
            } else if (add) {
                continue;
            }
            nnp_baseline_gradient(gradient, entries, p, &out, add);
        }
    }
    if (clash) nnp_report(status, NNP_STATUS_CLASH, i);
    nnp_baseline_energy(energy, i, sum, add);
}
