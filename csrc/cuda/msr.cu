/* msr.cu - MSR fingerprints of a list of atoms, and the gradient of their energies by pair.
 *
 *   nnp_msr_inputs     G = ln(F + 1e-3) - mu, and dG/dF = 1/(F + 1e-3)
 *   nnp_msr_gradient   from dE/dG: g_ij = dE_i/dr_ij of every entry of the list
 *
 * Formulas and notation: math/msr.h; how the work is shared out: cuda/msr.cuh. The second kernel computes the
 * exponentials again instead of storing pairs x fingerprints numbers.
 */
#include "msr.cuh"

/* Neighbours within rc and rc3 to shared memory, in the order of the list. */
NNP_FN void inputs_stage(const nnp_team* m, const nnp_list* list, const nnp_msr_range* range, int n_species,
                         nnp_real clash, int* status)
{
    const nnp_atom own = msr_own(m, list);
    int n_near = 0, n_pair = 0;
    for (int t = 0; t < n_species; ++t) {
        int begin;
        const int end = msr_run(m, list, t, &begin);
        const int rounds = msr_warp_max((end - begin + m->size - 1) / m->size);
        for (int i = 0; i < rounds; ++i) {
            const int k = begin + i * m->size + m->lane;
            nnp_bond b;
            nnp_real x = 0, y = 0, unused;
            b.r = range->rc;
            if (k < end) b = msr_bond(m, list, &own, k);
            if (b.r < clash) nnp_report(status, NNP_STATUS_CLASH, m->row);
            int n;
            const bool pair = b.r < range->rc;
            int at = n_pair + msr_rank(m, pair, &n);
            n_pair += n;
            if (pair) {
                msr_cutoff(range, b.r, &x, &unused);
                m->x[at] = x;
            }
            const bool near = b.r < range->rc3;
            at = n_near + msr_rank(m, near, &n);
            n_near += n;
            if (near) {
                msr_smooth(range, b.r, range->rc3, &y, &unused);
                m->near[at] = msr_four(y, &b);
            }
        }
        if (m->lane == 0) {
            m->near_end[t] = n_near;
            m->pair_end[t] = n_pair;
        }
    }
    __syncwarp();
}

/* F and G of n fingerprints whose sums over the team's threads are s [n]. */
NNP_FN void inputs_store(const nnp_team* m, const int n, nnp_real* s, const nnp_real* mu, int n_places,
                         nnp_real* inputs, nnp_real* slope)
{
    for (int f = 0; f < n; ++f) s[f] = msr_sum(m, s[f]);
    if (m->lane || m->place >= n_places) return;
    for (int f = 0; f < n; ++f) {
        const nnp_real v = s[f] + NNP_MSR_FLOOR;
        inputs[(int64_t)f * n_places] = nnp_log(v) - mu[f];
        slope[(int64_t)f * n_places] = NNP_R(1.0) / v;
    }
}

/* F2 of n fingerprints of partner species t */
NNP_FN void pairs_forward(const nnp_team* m, const int n, int t, const nnp_real* alpha, nnp_real* s)
{
    nnp_real a[NNP_MSR_CHUNK], f, unused;
    for (int c = 0; c < n; ++c) {
        s[c] = 0;
        a[c] = alpha[c];
    }
    for (int j = msr_pair_begin(m, t) + m->lane; j < m->pair_end[t]; j += m->size)
        for (int c = 0; c < n; ++c) {
            nnp_msr_pair(m->x[j], a[c], &f, &unused);
            s[c] += f;
        }
}

/* F3 of n fingerprints abb [n][3] of channel (t, u): 1/2 sum_j (A_j P_j + B_j Q_j) over j of species t; half
 * of it where u is t, as each pair is met twice. */
NNP_FN void triplets_forward(const nnp_team* m, const int n, int t, int u, const nnp_real* abb, nnp_real* s)
{
    const nnp_real half = t == u ? NNP_R(0.25) : NNP_R(0.5);
    const int begin = msr_near_begin(m, u), end = m->near_end[u];
    nnp_real a[NNP_MSR_CHUNK], b[NNP_MSR_CHUNK], beta[NNP_MSR_CHUNK];
    for (int c = 0; c < n; ++c) {
        a[c] = abb[3 * c] * NNP_LOG2E;
        b[c] = abb[3 * c + 1] * NNP_LOG2E;
        beta[c] = abb[3 * c + 2] * NNP_LOG2E;
        s[c] = 0;
    }
    msr_factors(m, u, abb, n);
    for (int j = msr_near_begin(m, t) + m->lane; j < m->near_end[t]; j += m->size) {
        const nnp_four v = m->near[j];
        nnp_real p[NNP_MSR_CHUNK], q[NNP_MSR_CHUNK];
        for (int c = 0; c < n; ++c) p[c] = q[c] = 0;
        for (int k = begin; k < end; ++k) {
            const nnp_real angle = msr_angle(v, m->near[k], k != j);
            for (int c = 0; c < n; ++c) {
                const nnp_two e = m->ab[c * m->capacity + k];
                const nnp_real h = angle * nnp_exp2(beta[c] * angle);
                p[c] += h * e.b;
                q[c] += h * e.a;
            }
        }
        for (int c = 0; c < n; ++c)
            s[c] += half * (nnp_exp2(a[c] * v.y) * p[c] + nnp_exp2(b[c] * v.y) * q[c]);
    }
}

NNP_KERNEL nnp_msr_inputs(int n_places, const int* NNP_RESTRICT rows, int n, const double* NNP_RESTRICT x,
                          const int64_t* NNP_RESTRICT first, const int* NNP_RESTRICT index,
                          const int* NNP_RESTRICT segment, int capacity, const int* NNP_RESTRICT layout,
                          const nnp_real* NNP_RESTRICT geometry, const nnp_real* NNP_RESTRICT theta,
                          nnp_real clash, nnp_real* NNP_RESTRICT inputs, nnp_real* NNP_RESTRICT slope,
                          int* NNP_RESTRICT status)
{
    NNP_DYN_SHARED(unsigned char, shared);
    const nnp_msr_range range = msr_range(layout, geometry);
    const nnp_msr_centre centre = msr_centre(layout);
    const nnp_list list = {x, first, index, segment, n};
    const nnp_team m = msr_team(NNP_MSR_INPUTS, shared, &list, rows, n_places, capacity, &centre);
    inputs_stage(&m, &list, &range, centre.n_species, clash, status);
    const nnp_real *alpha = theta + centre.alpha, *abb = theta + centre.triplet, *mu = theta + centre.mu;
    nnp_real s[NNP_MSR_CHUNK];
    nnp_real *g = inputs + m.place, *d = slope + m.place;
    for (int t = 0; t < centre.n_species; ++t)
        for (int left = centre.n2[t], part; left > 0; left -= part) {
            part = msr_chunk(left);
#define CALL(c)                                                                                              \
    pairs_forward(&m, c, t, alpha, s);                                                                       \
    inputs_store(&m, c, s, mu, n_places, g, d)
            NNP_MSR_EACH_CHUNK(part, CALL)
#undef CALL
            alpha += part;
            mu += part;
            g += (int64_t)part * n_places;
            d += (int64_t)part * n_places;
        }
    const int* n3 = centre.n3;
    for (int t = 0; t < centre.n_species; ++t)
        for (int u = t; u < centre.n_species; ++u, ++n3)
            for (int left = *n3, part; left > 0; left -= part) {
                part = msr_chunk(left);
#define CALL(c)                                                                                              \
    triplets_forward(&m, c, t, u, abb, s);                                                                   \
    inputs_store(&m, c, s, mu, n_places, g, d)
                NNP_MSR_EACH_CHUNK(part, CALL)
#undef CALL
                abb += 3 * part;
                mu += part;
                g += (int64_t)part * n_places;
                d += (int64_t)part * n_places;
            }
}

/* ---- gradient ---- */

/* Where g goes: [3][entries]; added to what is there, or put in its place. */
typedef struct nnp_msr_out {
    nnp_real* g;
    int64_t entries;
    int add;
} nnp_msr_out;

NNP_FN void gradient_store(const nnp_team* m, const nnp_msr_out* out, int k, nnp_real x, nnp_real y,
                           nnp_real z)
{
    nnp_real* const g = out->g + m->base + NNP_SLICE * (int64_t)k;
    const int64_t n = out->entries;
    g[0] = out->add ? g[0] + x : x;
    g[n] = out->add ? g[n] + y : y;
    g[2 * n] = out->add ? g[2 * n] + z : z;
}

/* Near neighbours to shared memory, with dE/dr of their 2-body part in x; what is farther is done with here.
 * d [n_fingerprints] holds dE/dF. */
NNP_FN void gradient_stage(const nnp_team* m, const nnp_list* list, const nnp_msr_range* range, int n_species,
                           const int* n2, const nnp_real* alpha, const nnp_msr_out* out)
{
    const nnp_atom own = msr_own(m, list);
    const nnp_real* d = m->d;
    int n_near = 0;
    for (int t = 0; t < n_species; ++t) {
        int begin;
        const int end = msr_run(m, list, t, &begin);
        const int rounds = msr_warp_max((end - begin + m->size - 1) / m->size);
        for (int i = 0; i < rounds; ++i) {
            const int k = begin + i * m->size + m->lane;
            nnp_bond b;
            nnp_real x, dx, f, df, y = 0, unused, radial = 0;
            b.r = range->rc;
            b.x = b.y = b.z = 0;
            if (k < end) b = msr_bond(m, list, &own, k);
            if (b.r < range->rc) {
                msr_cutoff(range, b.r, &x, &dx);
                for (int a = 0; a < n2[t]; ++a) {
                    nnp_msr_pair(x, alpha[a], &f, &df);
                    radial += d[a] * df;
                }
                radial *= dx;
            }
            int n;
            const bool near = b.r < range->rc3;
            const int at = n_near + msr_rank(m, near, &n);
            n_near += n;
            if (near) {
                msr_smooth(range, b.r, range->rc3, &y, &unused);
                m->near[at] = msr_four(y, &b);
                const nnp_four zero = {0, 0, 0, 0};
                m->more[at] = zero;
                m->x[at] = radial;
                m->entry[at] = k;
            } else if (k < end && (b.r < range->rc || !out->add)) {
                gradient_store(m, out, k, radial * b.x, radial * b.y, radial * b.z);
            }
        }
        if (m->lane == 0) m->near_end[t] = n_near;
        alpha += n2[t];
        d += n2[t];
    }
    __syncwarp();
}

/* dE/d(y, w)_j of species t's neighbours through n fingerprints of channel (t, u). With p = A_j B_k, q = B_j
 * A_k, all times dE/dF: dE/dT = 1/2 (e + beta h)(p + q), dE/dy_j through A and B: 1/2 h (a p + b q). */
NNP_FN void triplets_backward(const nnp_team* m, const int n, int t, int u, const nnp_real* abb,
                              const nnp_real* d)
{
    const int begin = msr_near_begin(m, u), end = m->near_end[u];
    nnp_real a[NNP_MSR_CHUNK], b[NNP_MSR_CHUNK], beta[NNP_MSR_CHUNK], half[NNP_MSR_CHUNK];
    for (int c = 0; c < n; ++c) {
        a[c] = abb[3 * c];
        b[c] = abb[3 * c + 1];
        beta[c] = abb[3 * c + 2];
        half[c] = NNP_R(0.5) * d[c];
    }
    msr_factors(m, u, abb, n);
    for (int j = msr_near_begin(m, t) + m->lane; j < m->near_end[t]; j += m->size) {
        const nnp_four v = m->near[j];
        nnp_real aj[NNP_MSR_CHUNK], bj[NNP_MSR_CHUNK], p[NNP_MSR_CHUNK], q[NNP_MSR_CHUNK];
        nnp_four g = {0, 0, 0, 0};
        for (int c = 0; c < n; ++c) {
            aj[c] = half[c] * nnp_exp2(a[c] * NNP_LOG2E * v.y);
            bj[c] = half[c] * nnp_exp2(b[c] * NNP_LOG2E * v.y);
            p[c] = q[c] = 0;
        }
        for (int k = begin; k < end; ++k) {
            const nnp_four w = m->near[k];
            const nnp_real angle = msr_angle(v, w, k != j);
            const nnp_real scaled = NNP_LOG2E * angle;
            nnp_real g_angle = 0;
            for (int c = 0; c < n; ++c) {
                const nnp_two f = m->ab[c * m->capacity + k];
                const nnp_real e = nnp_exp2(beta[c] * scaled);
                const nnp_real h = angle * e;
                p[c] += h * f.b;
                q[c] += h * f.a;
                g_angle += (e + beta[c] * h) * (aj[c] * f.b + bj[c] * f.a);
            }
            g_angle = k != j ? NNP_R(0.5) * g_angle : NNP_R(0.0); /* dT/dy_j = y_k / 2 */
            g.y += g_angle * w.y;
            g.u += g_angle * w.u;
            g.v += g_angle * w.v;
            g.w += g_angle * w.w;
        }
        for (int c = 0; c < n; ++c) g.y += a[c] * (aj[c] * p[c]) + b[c] * (bj[c] * q[c]);
        nnp_four sum = m->more[j];
        sum.y += g.y;
        sum.u += g.u;
        sum.v += g.v;
        sum.w += g.w;
        m->more[j] = sum;
    }
}

/* From (y, w = y u) to r: dE/dr = u y' (gy + u.gw) + (y/r) (gw - u (u.gw)), and the 2-body part */
NNP_FN void near_backward(const nnp_team* m, const nnp_list* list, const nnp_msr_range* range, int n_near,
                          const nnp_msr_out* out)
{
    const nnp_atom own = msr_own(m, list);
    __syncwarp(); /* a neighbour may now be another thread's */
    for (int j = m->lane; j < n_near; j += m->size) {
        const int k = m->entry[j];
        const nnp_bond b = msr_bond(m, list, &own, k);
        const nnp_four g = m->more[j];
        nnp_real y, dy;
        msr_smooth(range, b.r, range->rc3, &y, &dy);
        const nnp_real along = b.x * g.u + (b.y * g.v + b.z * g.w), q = y * b.r_inv;
        const nnp_real radial = m->x[j] + (dy * (g.y + along) - q * along);
        gradient_store(m, out, k, radial * b.x + q * g.u, radial * b.y + q * g.v, radial * b.z + q * g.w);
    }
}

NNP_KERNEL nnp_msr_gradient(int n_places, const int* NNP_RESTRICT rows, int n, const double* NNP_RESTRICT x,
                            const int64_t* NNP_RESTRICT first, const int* NNP_RESTRICT index,
                            const int* NNP_RESTRICT segment, int capacity, const int* NNP_RESTRICT layout,
                            const nnp_real* NNP_RESTRICT geometry, const nnp_real* NNP_RESTRICT theta,
                            const nnp_real* NNP_RESTRICT de_dg, const nnp_real* NNP_RESTRICT slope,
                            int64_t entries, nnp_real* NNP_RESTRICT gradient, int add)
{
    NNP_DYN_SHARED(unsigned char, shared);
    const nnp_msr_range range = msr_range(layout, geometry);
    const nnp_msr_centre centre = msr_centre(layout);
    const nnp_list list = {x, first, index, segment, n};
    const nnp_team m = msr_team(NNP_MSR_GRADIENT, shared, &list, rows, n_places, capacity, &centre);
    const nnp_msr_out out = {gradient, entries, add};
    for (int f = m.lane; f < centre.n_fingerprints; f += m.size) {
        const int64_t p = (int64_t)f * n_places + m.place;
        m.d[f] = m.row < 0 ? NNP_R(0.0) : de_dg[p] * slope[p];
    }
    __syncwarp();
    gradient_stage(&m, &list, &range, centre.n_species, centre.n2, theta + centre.alpha, &out);
    const nnp_real *abb = theta + centre.triplet, *d = m.d + centre.n_pair;
    const int* n3 = centre.n3;
    for (int t = 0; t < centre.n_species; ++t)
        for (int u = t; u < centre.n_species; ++u, ++n3)
            for (int left = *n3, part; left > 0; left -= part) {
                part = msr_chunk(left);
#define CALL(c)                                                                                              \
    triplets_backward(&m, c, t, u, abb, d);                                                                  \
    if (t != u) triplets_backward(&m, c, u, t, abb, d)
                NNP_MSR_EACH_CHUNK(part, CALL)
#undef CALL
                abb += 3 * part;
                d += part;
            }
    near_backward(&m, &list, &range, m.near_end[centre.n_species - 1], &out);
}
