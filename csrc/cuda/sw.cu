/* sw.cu - Stillinger-Weber on the GPU: one thread a row, by moments as baseline_impl.h does it.
 *
 * With M0 = sum g, M1 = sum g u, M2 = sum g u (x) u over the neighbours of a centre, sum_{j<k} g_j g_k
 * (u_j.u_k - c0)^2 = 1/2 [M2:M2 - 2 c0 M1.M1 + c0^2 M0^2 - (1 - c0)^2 sum g^2]. Two sweeps over the
 * neighbours; the second computes the radial functions again, which is cheaper than keeping them.
 */
#include "../math/sw.h"
#include "baseline.cuh"

struct nnp_sw_moments {
    nnp_real m0, x, y, z, xx, yy, zz, xy, xz, yz, gg;
};

NNP_FN void nnp_sw_add(nnp_sw_moments* m, nnp_real g, const nnp_neighbour* d)
{
    const nnp_real gx = g * d->ux, gy = g * d->uy, gz = g * d->uz;
    m->m0 += g;
    m->x += gx;
    m->y += gy;
    m->z += gz;
    m->xx += gx * d->ux;
    m->yy += gy * d->uy;
    m->zz += gz * d->uz;
    m->xy += gx * d->uy;
    m->xz += gx * d->uz;
    m->yz += gy * d->uz;
    m->gg += g * g;
}

NNP_FN nnp_real nnp_sw_angular(const nnp_sw_moments* m, nnp_real c0)
{
    const nnp_real own = (NNP_R(1.0) - c0) * (NNP_R(1.0) - c0);
    const nnp_real m22 = m->xx * m->xx + m->yy * m->yy + m->zz * m->zz +
                         NNP_R(2.0) * (m->xy * m->xy + m->xz * m->xz + m->yz * m->yz);
    const nnp_real m11 = m->x * m->x + m->y * m->y + m->z * m->z;
    return NNP_R(0.5) * (m22 - NNP_R(2.0) * c0 * m11 + c0 * c0 * m->m0 * m->m0 - own * m->gg);
}

/* Gradient of the triplets by one neighbour: dE/dg = le [u.M2.u - 2 c0 u.M1 + c0^2 M0 - (1 - c0)^2 g],
 * dE/du = 2 le g (M2 u - c0 M1). */
NNP_FN void nnp_sw_slope(const nnp_sw_moments* m, nnp_real le, nnp_real c0, const nnp_neighbour* d,
                         nnp_real g, nnp_real dg, nnp_vector* out)
{
    const nnp_real own = (NNP_R(1.0) - c0) * (NNP_R(1.0) - c0);
    const nnp_real hx = m->xx * d->ux + m->xy * d->uy + m->xz * d->uz - c0 * m->x;
    const nnp_real hy = m->xy * d->ux + m->yy * d->uy + m->yz * d->uz - c0 * m->y;
    const nnp_real hz = m->xz * d->ux + m->yz * d->uy + m->zz * d->uz - c0 * m->z;
    const nnp_real along = hx * d->ux + hy * d->uy + hz * d->uz;
    const nnp_real m1 = m->x * d->ux + m->y * d->uy + m->z * d->uz;
    const nnp_real q = NNP_R(2.0) * le * g / d->r;
    const nnp_real radial = le * (along - c0 * m1 + c0 * c0 * m->m0 - own * g) * dg - q * along;
    out->x += radial * d->ux + q * hx;
    out->y += radial * d->uy + q * hy;
    out->z += radial * d->uz + q * hz;
}

/* parameter: epsilon sigma a lambda gamma cos_theta0 A B p q. */
NNP_KERNEL __launch_bounds__(128)
    nnp_sw_rows(NNP_BASELINE_ARGS, int species, const double* NNP_RESTRICT parameter)
{
    const int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= n) return;
    const nnp_atom a = nnp_load_atom(x, i);
    const int64_t first = nnp_first_entry(slice_first, i);
    const nnp_sw s = {(nnp_real)parameter[0], (nnp_real)parameter[1], (nnp_real)parameter[2],
                      (nnp_real)parameter[3], (nnp_real)parameter[4], (nnp_real)parameter[5],
                      (nnp_real)parameter[6], (nnp_real)parameter[7], (nnp_real)parameter[8],
                      (nnp_real)parameter[9]};
    const nnp_real cutoff = s.a * s.sigma, le = s.lambda * s.epsilon;
    nnp_sw_moments m = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0};
    nnp_real sum = 0, v2, dv2, g, dg;
    bool clash = false;
    int begin, end = nnp_run(segment, n, i, species, &begin);
    if (a.species != species) begin = end;
    for (int k = begin; k < end; ++k) {
        const nnp_neighbour d = nnp_neighbour_of(&a, x, index[first + (int64_t)NNP_SLICE * k]);
        clash = clash || d.r < (nnp_real)least;
        if (!(d.r < cutoff)) continue;
        nnp_sw_radial(d.r, s, &v2, &dv2, &g, &dg);
        sum += NNP_R(0.5) * v2;
        nnp_sw_add(&m, g, &d);
    }
    if (clash) nnp_report(status, NNP_STATUS_CLASH, i);
    sum += le * nnp_sw_angular(&m, s.cos0);
    nnp_baseline_energy(energy, i, sum, add);
    for (int k = 0; k < (add ? end : count[i]); ++k) {
        const int64_t p = first + (int64_t)NNP_SLICE * k;
        nnp_vector out = {0, 0, 0};
        if (k >= begin && k < end) {
            const nnp_neighbour d = nnp_neighbour_of(&a, x, index[p]);
            if (d.r < cutoff) {
                nnp_sw_radial(d.r, s, &v2, &dv2, &g, &dg);
                nnp_along(&d, NNP_R(0.5) * dv2, &out);
                nnp_sw_slope(&m, le, s.cos0, &d, g, dg, &out);
            }
        }
        nnp_baseline_gradient(gradient, entries, p, &out, add);
    }
}
