/* baseline.cuh - what the kernels of classical potentials share.
 *
 * The first term of a model writes energy and gradient of all rows and entries (add 0), the others add to
 * them; under a network all of them add to what the network wrote.
 */
#ifndef NNP_BASELINE_CUH
#define NNP_BASELINE_CUH

#include "../math/vecmath.h"
#include "common.cuh"

#define NNP_BASELINE_ARGS                                                                                    \
    int n, int64_t entries, const double *NNP_RESTRICT x, const int64_t *NNP_RESTRICT slice_first,           \
        const int *NNP_RESTRICT count, const int *NNP_RESTRICT segment, const int *NNP_RESTRICT index,       \
        double least, int add, double *NNP_RESTRICT energy, nnp_real *NNP_RESTRICT gradient,                 \
        int *NNP_RESTRICT status

struct nnp_neighbour {
    nnp_real ux, uy, uz, r; /* unit vector, distance */
};

NNP_FN nnp_neighbour nnp_neighbour_of(const nnp_atom* a, const double* x, int j)
{
    const nnp_vector d = nnp_displacement(a, x, j);
    const nnp_real r = nnp_sqrt(d.x * d.x + d.y * d.y + d.z * d.z), q = NNP_R(1.0) / r;
    nnp_neighbour out;
    out.ux = d.x * q;
    out.uy = d.y * q;
    out.uz = d.z * q;
    out.r = r;
    return out;
}

/* out += radial u */
NNP_FN void nnp_along(const nnp_neighbour* d, nnp_real radial, nnp_vector* out)
{
    out->x += radial * d->ux;
    out->y += radial * d->uy;
    out->z += radial * d->uz;
}

NNP_FN void nnp_baseline_energy(double* energy, int i, nnp_real value, int add)
{
    energy[i] = (add ? energy[i] : 0.0) + (double)value;
}

NNP_FN void nnp_baseline_gradient(nnp_real* gradient, int64_t entries, int64_t p, const nnp_vector* g,
                                  int add)
{
    if (add) {
        gradient[p] += g->x;
        gradient[entries + p] += g->y;
        gradient[2 * entries + p] += g->z;
    } else {
        gradient[p] = g->x;
        gradient[entries + p] = g->y;
        gradient[2 * entries + p] = g->z;
    }
}

#endif /* NNP_BASELINE_CUH */
