/* msr_train.cu - MSR's part of the loss gradient: rates of the fingerprints along pair tangents, and the
 * derivatives with respect to the exponents (formulas: msr_train_impl.h).
 *
 *   nnp_msr_rates      G, dG/dt and for every fingerprint sums [8]: F, F., F_a, F_a., F_b, F_b., F_beta,
 * F_beta. (2-body: [4], alpha in the place of a) nnp_msr_exponents  dJ/dphi = sum over atoms of p dG/dphi + q
 * d(dG/dt)/dphi
 */
#include "msr.cuh"

/* Tangents: lambda = dL/dF of each row, m = dL/dW of each structure; owner of the ghosts. */
typedef struct nnp_msr_tangent {
    const double *lambda, *m;
    const int *structure, *owner;
} nnp_msr_tangent;

/* rdot = lambda_i - lambda_j - M r_ij: returns dr/dt and makes v = du/dt */
NNP_FN nnp_real bond_rate(const nnp_list* list, const nnp_msr_tangent* tangent, const nnp_bond* b, int row,
                          nnp_real* v)
{
    const int j = b->atom < list->n ? b->atom : tangent->owner[b->atom - list->n];
    const double *const own = tangent->lambda + 3 * (int64_t)row, *const other =
                                                                      tangent->lambda + 3 * (int64_t)j;
    const double* const m = tangent->m + 9 * (int64_t)tangent->structure[row];
    const nnp_real x = b->x * b->r, y = b->y * b->r, z = b->z * b->r;
    for (int c = 0; c < 3; ++c)
        v[c] = (nnp_real)(own[c] - other[c]) -
               ((nnp_real)m[3 * c] * x + (nnp_real)m[3 * c + 1] * y + (nnp_real)m[3 * c + 2] * z);
    const nnp_real rate = b->x * v[0] + b->y * v[1] + b->z * v[2];
    v[0] = (v[0] - rate * b->x) * b->r_inv;
    v[1] = (v[1] - rate * b->y) * b->r_inv;
    v[2] = (v[2] - rate * b->z) * b->r_inv;
    return rate;
}

/* Neighbours to shared memory: x and its rate x2 within rc, (y, w) and their rates within rc3. */
NNP_FN void rates_stage(const nnp_team* m, const nnp_list* list, const nnp_msr_range* range,
                        const nnp_msr_tangent* tangent, int n_species)
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
            nnp_real x, dx, v[3], rate = 0;
            b.r = range->rc;
            b.x = b.y = b.z = v[0] = v[1] = v[2] = 0;
            if (k < end) b = msr_bond(m, list, &own, k);
            if (b.r < range->rc) rate = bond_rate(list, tangent, &b, m->row, v);
            int n;
            const bool pair = b.r < range->rc;
            int at = n_pair + msr_rank(m, pair, &n);
            n_pair += n;
            if (pair) {
                msr_cutoff(range, b.r, &x, &dx);
                m->x[at] = x;
                m->x2[at] = dx * rate;
            }
            const bool near = b.r < range->rc3;
            at = n_near + msr_rank(m, near, &n);
            n_near += n;
            if (near) {
                msr_smooth(range, b.r, range->rc3, &x, &dx);
                dx *= rate;
                nnp_four w;
                w.y = dx;
                w.u = dx * b.x + x * v[0];
                w.v = dx * b.y + x * v[1];
                w.w = dx * b.z + x * v[2];
                m->near[at] = msr_four(x, &b);
                m->more[at] = w;
            }
        }
        if (m->lane == 0) {
            m->near_end[t] = n_near;
            m->pair_end[t] = n_pair;
        }
    }
    __syncwarp();
}

/* F, F., F_alpha, F_alpha. of n fingerprints of partner species t, into s [n][8] */
NNP_FN void pairs_rates(const nnp_team* m, const int n, int t, const nnp_real* alpha, nnp_real* s)
{
    for (int j = msr_pair_begin(m, t) + m->lane; j < m->pair_end[t]; j += m->size)
        for (int c = 0; c < n; ++c) {
            const nnp_real x = m->x[j], rate = m->x2[j];
            nnp_real f, df, fa, dfa;
            nnp_msr_pair(x, alpha[c], &f, &df);
            nnp_msr_pair_alpha(x, f, df, &fa, &dfa);
            s[8 * c] += f;
            s[8 * c + 1] += df * rate;
            s[8 * c + 2] += fa;
            s[8 * c + 3] += dfa * rate;
        }
}

/* Sums over k of one fingerprint for the neighbour j: P, Q, R = sum T h B, and their rates. */
typedef struct nnp_partner_sums {
    nnp_real p, q, r, pd, qd, rd;
} nnp_partner_sums;

/* What neighbour j adds to the sums s [8] of a fingerprint with exponents a, b. */
NNP_FN void rates_add(const nnp_partner_sums* k, nnp_real a, nnp_real b, nnp_real y, nnp_real yd, nnp_real* s)
{
    const nnp_real half = NNP_R(0.5);
    const nnp_real A = half * nnp_exp2(a * NNP_LOG2E * y), B = half * nnp_exp2(b * NNP_LOG2E * y);
    const nnp_real Ad = a * yd * A, Bd = b * yd * B;
    s[0] += A * k->p;
    s[1] += Ad * k->p + A * k->pd;
    s[2] += y * (A * k->p);
    s[3] += (yd * A + y * Ad) * k->p + y * (A * k->pd);
    s[4] += y * (B * k->q);
    s[5] += (yd * B + y * Bd) * k->q + y * (B * k->qd);
    s[6] += A * k->r;
    s[7] += Ad * k->r + A * k->rd;
}

/* Sums of n fingerprints of channel (t, u) over ordered pairs, j of species t, into s [n][8]. */
NNP_FN void triplets_rates(const nnp_team* m, const int n, int t, int u, const nnp_real* abb, nnp_real* s)
{
    const int begin = msr_near_begin(m, u), end = m->near_end[u];
    nnp_real a[NNP_MSR_RATES_CHUNK], b[NNP_MSR_RATES_CHUNK], beta[NNP_MSR_RATES_CHUNK];
    for (int c = 0; c < n; ++c) {
        a[c] = abb[3 * c];
        b[c] = abb[3 * c + 1];
        beta[c] = abb[3 * c + 2];
    }
    msr_factors(m, u, abb, n);
    for (int j = msr_near_begin(m, t) + m->lane; j < m->near_end[t]; j += m->size) {
        const nnp_four v = m->near[j], vd = m->more[j];
        nnp_partner_sums sum[NNP_MSR_RATES_CHUNK];
        for (int c = 0; c < n; ++c) sum[c].p = sum[c].q = sum[c].r = sum[c].pd = sum[c].qd = sum[c].rd = 0;
        for (int k = begin; k < end; ++k) {
            const nnp_four w = m->near[k], wd = m->more[k];
            const nnp_real angle = msr_angle(v, w, k != j);
            const nnp_real rate = k != j ? NNP_R(0.5) * (msr_dot(v, wd) + msr_dot(vd, w)) : NNP_R(0.0);
            const nnp_real scaled = NNP_LOG2E * angle;
            for (int c = 0; c < n; ++c) {
                const nnp_two f = m->ab[c * m->capacity + k];
                const nnp_real e = nnp_exp2(beta[c] * scaled);
                const nnp_real h = angle * e, hd = (e + beta[c] * h) * rate;
                const nnp_real p = h * f.b, pd = (hd + h * (b[c] * wd.y)) * f.b;
                sum[c].p += p;
                sum[c].q += h * f.a;
                sum[c].r += angle * p;
                sum[c].pd += pd;
                sum[c].qd += (hd + h * (a[c] * wd.y)) * f.a;
                sum[c].rd += rate * p + angle * pd;
            }
        }
        for (int c = 0; c < n; ++c) rates_add(&sum[c], a[c], b[c], v.y, vd.y, s + 8 * c);
    }
}

/* Where the results of a fingerprint go: [..][n_fingerprints][n_places]. */
typedef struct nnp_msr_rates_out {
    nnp_real *inputs, *rates, *sums;
    int n_places;
    int64_t block; /* n_fingerprints n_places */
} nnp_msr_rates_out;

NNP_FN void rates_store(const nnp_team* m, const int n, const int n_sums, nnp_real* s, const nnp_real* mu,
                        const nnp_msr_rates_out* out, int f)
{
    for (int c = 0; c < n; ++c)
        for (int i = 0; i < n_sums; ++i) s[8 * c + i] = msr_sum(m, s[8 * c + i]);
    if (m->lane || m->place >= out->n_places) return;
    for (int c = 0; c < n; ++c) {
        const int64_t at = (int64_t)(f + c) * out->n_places + m->place;
        const nnp_real v = s[8 * c] + NNP_MSR_FLOOR;
        out->inputs[at] = nnp_log(v) - mu[f + c];
        out->rates[at] = s[8 * c + 1] / v;
        for (int i = 0; i < n_sums; ++i) out->sums[i * out->block + at] = s[8 * c + i];
    }
}

NNP_FN int rates_chunk(int left) { return left < NNP_MSR_RATES_CHUNK ? left : NNP_MSR_RATES_CHUNK; }

#define NNP_MSR_EACH_RATES(n, CALL)                                                                          \
    if (n == 1) {                                                                                            \
        CALL(1);                                                                                             \
    } else {                                                                                                 \
        CALL(2);                                                                                             \
    }

NNP_KERNEL nnp_msr_rates(int n_places, const int* NNP_RESTRICT rows, int n, const double* NNP_RESTRICT x,
                         const int64_t* NNP_RESTRICT first, const int* NNP_RESTRICT index,
                         const int* NNP_RESTRICT segment, int capacity, const int* NNP_RESTRICT layout,
                         const nnp_real* NNP_RESTRICT geometry, const nnp_real* NNP_RESTRICT theta,
                         const double* NNP_RESTRICT lambda, const double* NNP_RESTRICT virial_slope,
                         const int* NNP_RESTRICT structure, const int* NNP_RESTRICT owner,
                         nnp_real* NNP_RESTRICT inputs, nnp_real* NNP_RESTRICT rates,
                         nnp_real* NNP_RESTRICT sums)
{
    NNP_DYN_SHARED(unsigned char, shared);
    const nnp_msr_range range = msr_range(layout, geometry);
    const nnp_msr_centre centre = msr_centre(layout);
    const nnp_list list = {x, first, index, segment, n};
    const nnp_msr_tangent tangent = {lambda, virial_slope, structure, owner};
    const nnp_msr_rates_out out = {inputs, rates, sums, n_places, (int64_t)centre.n_fingerprints * n_places};
    const nnp_team m = msr_team(NNP_MSR_RATES, shared, &list, rows, n_places, capacity, &centre);
    rates_stage(&m, &list, &range, &tangent, centre.n_species);
    const nnp_real *alpha = theta + centre.alpha, *abb = theta + centre.triplet, *mu = theta + centre.mu;
    int f = 0;
    for (int t = 0; t < centre.n_species; ++t)
        for (int left = centre.n2[t], part; left > 0; left -= part, alpha += part, f += part) {
            nnp_real s[8 * NNP_MSR_RATES_CHUNK];
            part = rates_chunk(left);
            for (int i = 0; i < 8 * NNP_MSR_RATES_CHUNK; ++i) s[i] = 0;
#define CALL(c)                                                                                              \
    pairs_rates(&m, c, t, alpha, s);                                                                         \
    rates_store(&m, c, 4, s, mu, &out, f)
            NNP_MSR_EACH_RATES(part, CALL)
#undef CALL
        }
    const int* n3 = centre.n3;
    for (int t = 0; t < centre.n_species; ++t)
        for (int u = t; u < centre.n_species; ++u, ++n3)
            for (int left = *n3, part; left > 0; left -= part, abb += 3 * part, f += part) {
                nnp_real s[8 * NNP_MSR_RATES_CHUNK];
                part = rates_chunk(left);
                for (int i = 0; i < 8 * NNP_MSR_RATES_CHUNK; ++i) s[i] = 0;
#define CALL(c)                                                                                              \
    triplets_rates(&m, c, t, u, abb, s);                                                                     \
    if (t != u) triplets_rates(&m, c, u, t, abb, s);                                                         \
    rates_store(&m, c, 8, s, mu, &out, f)
                NNP_MSR_EACH_RATES(part, CALL)
#undef CALL
            }
}

/* Block (i, g): number i of alpha, (a, b, beta) and mu, in theta's order, over the places of group g. */
NNP_KERNEL nnp_msr_exponents(int n_places, const int* NNP_RESTRICT rows, const int* NNP_RESTRICT place_first,
                             const int* NNP_RESTRICT layout, const nnp_real* NNP_RESTRICT rates,
                             const nnp_real* NNP_RESTRICT sums, const nnp_real* NNP_RESTRICT p,
                             const nnp_real* NNP_RESTRICT q, int64_t stride, double* NNP_RESTRICT grad)
{
    __shared__ double part[32];
    const nnp_msr_centre centre = msr_centre(layout);
    const int i = (int)blockIdx.x, group = (int)blockIdx.y, nf = centre.n_fingerprints;
    const int n3 = 3 * (nf - centre.n_pair), is_mu = i >= centre.n_pair + n3;
    const int f = is_mu               ? i - centre.n_pair - n3
                  : i < centre.n_pair ? i
                                      : centre.n_pair + (i - centre.n_pair) / 3;
    const int which = i < centre.n_pair ? 2 : 2 + 2 * ((i - centre.n_pair) % 3); /* of the sums: F_phi */
    const int64_t block = (int64_t)nf * n_places, from = (int64_t)f * n_places;
    double sum = 0;
    for (int k = place_first[group] + (int)threadIdx.x; k < place_first[group + 1]; k += (int)blockDim.x) {
        if (rows[k] < 0) continue;
        const int64_t at = from + k;
        if (is_mu) {
            sum -= (double)p[at];
            continue;
        }
        const nnp_real inv = NNP_R(1.0) / (sums[at] + NNP_MSR_FLOOR);
        const nnp_real q_eff = q[at] * inv, p_eff = (p[at] - q[at] * rates[at]) * inv;
        sum += (double)(p_eff * sums[which * block + at] + q_eff * sums[(which + 1) * block + at]);
    }
    sum = nnp_block_sum(sum, part);
    if (threadIdx.x == 0) grad[group * stride + centre.alpha + i] = sum;
}
