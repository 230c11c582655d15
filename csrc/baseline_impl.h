/* baseline_impl.h - classical potentials on a block of atoms: Stillinger-Weber, Lennard-Jones, ZBL.
 *
 * A pair energy is shared half and half by its two atoms. Stillinger-Weber's triplets need no triplet loop:
 * with M0 = sum g, M1 = sum g u, M2 = sum g u (x) u over the neighbours of a centre, sum_{j<k} g_j g_k
 * (u_j.u_k - c0)^2 = 1/2 [ M2:M2 - 2 c0 M1.M1 + c0^2 M0^2 - (1 - c0)^2 sum g^2 ].
 */
#ifndef NNP_BASELINE_IMPL_H
#define NNP_BASELINE_IMPL_H

#include "block_impl.h"
#include "math/pairpot.h"
#include "math/sw.h"

/* Both parts (near, far) of species t. */
#define NNP_EACH_OF_SPECIES(b, t, n)                                                                         \
    for (int part_ = 2 * (t); part_ < 2 * (t) + 2; ++part_) NNP_EACH_NEIGHBOUR(b, part_, n)

static void add_radial(nnp_block* b, int n, nnp_vec radial)
{
    b->gx[n] += radial * b->ux[n];
    b->gy[n] += radial * b->uy[n];
    b->gz[n] += radial * b->uz[n];
}

static nnp_vec lj_evaluate(const nnp_baseline* p, nnp_block* b)
{
    nnp_vec energy = nnp_splat(0), phi, dphi;
    if (b->species != p->s && b->species != p->t) return energy;
    const int other = b->species == p->s ? p->t : p->s;
    NNP_EACH_OF_SPECIES(b, other, n)
    {
        nnp_lj(b->r[n], (nnp_real)p->p[0], (nnp_real)p->p[1], &phi, &dphi);
        nnp_switch(b->r[n], (nnp_real)p->p[2], (nnp_real)p->cutoff, &phi, &dphi);
        energy += NNP_R(0.5) * phi;
        add_radial(b, n, NNP_R(0.5) * dphi);
    }
    return energy;
}

static nnp_vec zbl_evaluate(const nnp_model* model, const nnp_baseline* p, nnp_block* b)
{
    const double coulomb = 14.39964547842567; /* e^2 / (4 pi eps0) in eV Angstrom, CODATA 2018 */
    const double zi = model->atomic_number[b->species];
    nnp_vec energy = nnp_splat(0), phi, dphi;
    if (!((double)b->closest < p->cutoff)) return energy; /* a core: nearly always */
    for (int t = 0; t < b->n_species; ++t) {
        const double zj = model->atomic_number[t];
        const double inv_a = (pow(zi, 0.23) + pow(zj, 0.23)) / 0.46850;
        NNP_EACH_OF_SPECIES(b, t, n)
        {
            nnp_zbl(b->r[n], (nnp_real)(coulomb * zi * zj), (nnp_real)inv_a, &phi, &dphi);
            nnp_switch(b->r[n], (nnp_real)p->p[0], (nnp_real)p->cutoff, &phi, &dphi);
            energy += NNP_R(0.5) * phi;
            add_radial(b, n, NNP_R(0.5) * dphi);
        }
    }
    return energy;
}

typedef struct nnp_moments {
    nnp_vec m0, x, y, z, xx, yy, zz, xy, xz, yz, gg;
} nnp_moments;

NNP_FN void moments_add(nnp_moments* m, nnp_vec g, nnp_vec x, nnp_vec y, nnp_vec z)
{
    const nnp_vec gx = g * x, gy = g * y, gz = g * z;
    m->m0 += g;
    m->x += gx;
    m->y += gy;
    m->z += gz;
    m->xx += gx * x;
    m->yy += gy * y;
    m->zz += gz * z;
    m->xy += gx * y;
    m->xz += gx * z;
    m->yz += gy * z;
    m->gg += g * g;
}

static nnp_vec sw_evaluate(const nnp_baseline* base, nnp_block* b, nnp_arena* arena)
{
    const double* const d = base->p;
    const nnp_sw s = {(nnp_real)d[0], (nnp_real)d[1], (nnp_real)d[2], (nnp_real)d[3], (nnp_real)d[4],
                      (nnp_real)d[5], (nnp_real)d[6], (nnp_real)d[7], (nnp_real)d[8], (nnp_real)d[9]};
    nnp_vec energy = nnp_splat(0);
    if (b->species != base->s) return energy;
    const size_t size = (size_t)(2 * b->capacity[base->s] + 1);
    nnp_vec *g = nnp_take_vec(arena, size), *dg = nnp_take_vec(arena, size);
    const int first = b->begin[base->s];
    nnp_moments m;
    memset(&m, 0, sizeof m);
    NNP_EACH_OF_SPECIES(b, base->s, n)
    {
        nnp_vec v2, dv2;
        nnp_sw_radial(b->r[n], s, &v2, &dv2, &g[n - first], &dg[n - first]);
        energy += NNP_R(0.5) * v2;
        add_radial(b, n, NNP_R(0.5) * dv2);
        if (NNP_ISA == 2) moments_add(&m, g[n - first], b->ux[n], b->uy[n], b->uz[n]);
    }
    if (NNP_ISA < 2) /* 16 registers do not hold these eleven sums beside what two exp want */
        NNP_EACH_OF_SPECIES(b, base->s, n) moments_add(&m, g[n - first], b->ux[n], b->uy[n], b->uz[n]);
    const nnp_real le = s.lambda * s.epsilon, c0 = s.cos0, own = (NNP_R(1.0) - c0) * (NNP_R(1.0) - c0);
    const nnp_vec m22 =
        m.xx * m.xx + m.yy * m.yy + m.zz * m.zz + NNP_R(2.0) * (m.xy * m.xy + m.xz * m.xz + m.yz * m.yz);
    const nnp_vec m11 = m.x * m.x + m.y * m.y + m.z * m.z;
    energy += NNP_R(0.5) * le * (m22 - NNP_R(2.0) * c0 * m11 + c0 * c0 * m.m0 * m.m0 - own * m.gg);
    NNP_EACH_OF_SPECIES(b, base->s, n)
    {
        const nnp_vec x = b->ux[n], y = b->uy[n], z = b->uz[n], gn = g[n - first];
        const nnp_vec hx = m.xx * x + m.xy * y + m.xz * z - c0 * m.x; /* M2 u - c0 M1 */
        const nnp_vec hy = m.xy * x + m.yy * y + m.yz * z - c0 * m.y;
        const nnp_vec hz = m.xz * x + m.yz * y + m.zz * z - c0 * m.z;
        const nnp_vec along = hx * x + hy * y + hz * z;
        /* dE/dg = le [u.M2.u - 2 c0 u.M1 + c0^2 M0 - (1 - c0)^2 g],  dE/du = 2 le g (M2 u - c0 M1) */
        const nnp_vec de_dg = le * (along - c0 * (m.x * x + m.y * y + m.z * z) + c0 * c0 * m.m0 - own * gn);
        const nnp_vec q = NNP_R(2.0) * le * gn * b->r_inv[n];
        const nnp_vec radial = de_dg * dg[n - first] - q * along;
        b->gx[n] += radial * x + q * hx;
        b->gy[n] += radial * y + q * hy;
        b->gz[n] += radial * z + q * hz;
    }
    return energy;
}

/* Energy of all baselines; adds their pair gradients. */
static nnp_vec baseline_evaluate(const nnp_model* model, nnp_block* b, nnp_arena* arena)
{
    nnp_vec energy = nnp_splat(0);
    for (int i = 0; i < model->n_baseline; ++i) {
        const nnp_baseline* const p = &model->baseline[i];
        switch (p->kind) {
        case NNP_BASELINE_SW:
            energy += sw_evaluate(p, b, arena);
            break;
        case NNP_BASELINE_LJ:
            energy += lj_evaluate(p, b);
            break;
        default:
            energy += zbl_evaluate(model, p, b);
            break;
        }
    }
    return energy;
}

#endif /* NNP_BASELINE_IMPL_H */
