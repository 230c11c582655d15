/* md_random.c - random numbers of the MD loop, all of them functions of (seed, step, atom). */
#include "md_internal.h"
#include "math/bussi.h"

void nnp_md_normals(const nnp_md* md, uint32_t stream, int first, int count, double* out)
{
    const int* tag = md->list->order + first;
    const uint64_t seed = md->options.seed, step = (uint64_t)md->step;
    double *gx = out, *gy = out + NNP_MD_BLOCK, *gz = out + 2 * NNP_MD_BLOCK;
    uint32_t bits[4][NNP_MD_BLOCK];
    double unused[NNP_MD_BLOCK];
    for (int i = 0; i < count; i++) {
        uint32_t b[4];
        nnp_philox_draw(seed, step, (uint32_t)tag[i], stream, 0, b);
        for (int k = 0; k < 4; k++) bits[k][i] = b[k];
    }
    for (int i = 0; i < count; i++) nnp_normal2(bits[0][i], bits[1][i], &gx[i], &gy[i]);
    for (int i = 0; i < count; i++) nnp_normal2(bits[2][i], bits[3][i], &gz[i], &unused[i]);
}

double nnp_md_bussi_factor(const nnp_md* md, double kinetic)
{
    const double c = exp(-md->options.dt / md->options.tau);
    return nnp_bussi_alpha(md->options.seed, (uint64_t)md->step, nnp_md_degrees(md), c,
                           0.5 * NNP_KB * md->options.temperature, kinetic);
}
