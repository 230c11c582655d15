/* bp_backward_impl.h - from the gradient by the symmetry functions to that by the neighbours' vectors: what
 * bp_impl.h includes after the values.
 */
#ifndef NNP_BP_BACKWARD_IMPL_H
#define NNP_BP_BACKWARD_IMPL_H

static void radial_backward(const nnp_bp* bp, nnp_block* b, const nnp_vec* d, const nnp_vec* slopes,
                            nnp_vec* own)
{
    for (int t = 0; t < b->n_species; ++t) {
        const int n_own = bp->first_own[t + 1] - bp->first_own[t];
        if (n_own == 0) continue;
        for (int i = 0; i < n_own; ++i) own[i] = nnp_splat(0);
        for (int i = bp->first_radial[t]; i < bp->first_radial[t + 1]; ++i)
            own[bp->radial[i].term] += (nnp_real)bp->radial[i].scale * d[bp->radial[i].input];
        for (int part = 2 * t; part < 2 * t + 2; ++part) {
            const nnp_span span = nnp_block_span(b, part);
            for (int lo = span.lo; lo < span.hi; lo += NNP_BP_TILE) {
                const int n = span.hi - lo < NNP_BP_TILE ? span.hi - lo : NNP_BP_TILE;
                for (int k = 0; k < n; ++k) {
                    nnp_vec radial = nnp_splat(0);
                    for (int i = 0; i < n_own; ++i) radial += own[i] * slopes[i * n + k];
                    b->gx[lo + k] += radial * b->ux[lo + k];
                    b->gy[lo + k] += radial * b->uy[lo + k];
                    b->gz[lo + k] += radial * b->uz[lo + k];
                }
                slopes += (size_t)n_own * (size_t)n;
            }
        }
    }
}

/* Sums of a tile's triplets over groups that are in no chain: dE/dcos, (dE/dr_jk)/r_jk. */
enum { NNP_BP_TURN, NNP_BP_STRETCH, NNP_BP_SUMS };
typedef nnp_vec nnp_bp_sums[NNP_BP_SUMS][NNP_BP_TILE];

/* A group of a channel on the way back: its arrays at the channel's first k, and its polynomial. */
typedef struct nnp_bp_pull {
    int degree, narrow, n_extra;
    nnp_real eta2; /* 2 eta, of a chain */
    const nnp_vec *rj, *rk, *far, *dfar;
    nnp_vec *gj, *gk; /* dE/dR */
    nnp_vec u[NNP_BP_MAX_DEGREE + 1];
    const nnp_vec** row; /* [n_extra][2] rows of A and of its derivative, NULL: 1 */
    nnp_vec* d;          /* [n_extra][2] their coefficients */
} nnp_bp_pull;

/* Extra functions of a group: not polynomials of the cosine. */
static void pull_extra(const nnp_bp* bp, const nnp_bp_group* g, const nnp_vec* rows, const nnp_vec* d,
                       nnp_bp_pull* out)
{
    for (int i = 0; i < out->n_extra; ++i) {
        const nnp_bp_member* const f = &bp->member[g->first + g->n_poly + i];
        out->row[2 * i] = rows + (size_t)f->row * NNP_BP_TILE;
        out->row[2 * i + 1] = rows + (size_t)f->slope_row * NNP_BP_TILE;
        out->d[2 * i] = (nnp_real)f->scale * d[f->input];
        out->d[2 * i + 1] = (nnp_real)(f->scale * f->slope) * d[f->input];
    }
}

/* The kernels' degrees: 0 1 2 4 6. */
static int pull_degree(int degree) { return degree == 3 || degree == 5 ? degree + 1 : degree; }

/* All groups of a channel, ready for the triplet loop. */
static nnp_bp_pull* pull_groups(const nnp_bp* bp, const nnp_bp_triplets* x, const nnp_bp_near* near,
                                const nnp_vec* d, nnp_arena* arena)
{
    const nnp_bp_channel* const c = x->c;
    nnp_bp_pull* const pull = (nnp_bp_pull*)nnp_take(arena, (size_t)c->n_groups * sizeof(nnp_bp_pull));
    for (int i = 0; i < c->n_groups; ++i) {
        const nnp_bp_group* const g = &bp->group[c->first_group + i];
        nnp_bp_pull* const out = &pull[i];
        const size_t row = (size_t)g->term * near->stride, far = (size_t)(g->narrow < 0 ? 0 : g->narrow);
        out->degree = pull_degree(g->degree);
        out->narrow = g->narrow >= 0;
        out->eta2 = NNP_R(2.0) * (nnp_real)bp->term[g->term].eta;
        out->n_extra = g->n - g->n_poly;
        out->rj = near->value + row + x->bj;
        out->rk = near->value + row + x->bk;
        out->gj = near->grad + row + x->bj;
        out->gk = near->grad + row + x->bk;
        out->far = x->far + far * x->stride;
        out->dfar = x->dfar + (c->n_chain ? 0 : far * x->stride);
        for (int m = 0; m <= NNP_BP_MAX_DEGREE; ++m) {
            out->u[m] = nnp_splat(0);
            for (int f = g->first; f < g->first + g->n_poly; ++f)
                out->u[m] += (nnp_real)bp->member[f].poly[m] * d[bp->member[f].input];
        }
        out->row = (const nnp_vec**)nnp_take(arena, 2 * (size_t)out->n_extra * sizeof(nnp_vec*));
        out->d = nnp_take_vec(arena, 2 * (size_t)out->n_extra);
        pull_extra(bp, g, near->rows, d, out);
    }
    return pull;
}

/* a = sum_m u[m] c^m and its derivative d, at U numbers side by side */
NNP_FN void pull_polynomial(const int U, const int degree, const nnp_vec* u, const nnp_vec* c, nnp_vec* a,
                            nnp_vec* d)
{
    for (int q = 0; q < U; ++q) {
        a[q] = u[degree];
        d[q] = nnp_splat(0);
        if (degree) {
            d[q] = a[q];
            a[q] = a[q] * c[q] + u[degree - 1];
        }
    }
    for (int m = degree - 2; m >= 0; --m)
        for (int q = 0; q < U; ++q) {
            d[q] = d[q] * c[q] + a[q];
            a[q] = a[q] * c[q] + u[m];
        }
}

/* Functions of a group that are no polynomials, at triplets k .. k + U - 1 of the tile whose rows are there
 */
NNP_FN void pull_rest(const int U, const nnp_bp_pull* g, int k, nnp_vec* a, nnp_vec* d)
{
    for (int i = 0; i < 2 * g->n_extra; i += 2)
        for (int q = 0; q < U; ++q) {
            a[q] += g->d[i] * g->row[i][k + q];
            d[q] += g->d[i + 1] * g->row[i + 1][k + q];
        }
}

/* A group at the triplets j, k0 .. k0 + n - 1, the first being number p: dE/dR of both neighbours, and adds
 * to dE/dcos and (dE/dr_jk)/r_jk; before: what these were. */
NNP_FN void pull_row(const int degree, const int narrow, const int extra, const nnp_bp_pull* g,
                     const nnp_vec* c, size_t p, int j, int k0, int n, const nnp_vec* const* before,
                     nnp_bp_sums sums)
{
    const nnp_vec *const rk = g->rk + k0, *const far = g->far + p, *const dfar = g->dfar + p, rj = g->rj[j];
    nnp_vec *const gk = g->gk + k0, gj = nnp_splat(0), u[NNP_BP_MAX_DEGREE + 1];
    for (int m = 0; m <= degree; ++m) u[m] = g->u[m];
    for (int k = 0; k < n; ++k) {
        nnp_vec a, d;
        pull_polynomial(1, degree, u, &c[k], &a, &d);
        if (extra) pull_rest(1, g, k, &a, &d);
        const nnp_vec ra = rj * a;
        nnp_vec nk = rk[k], na = ra;
        if (narrow) {
            nk *= far[k];
            na *= far[k];
        }
        gj += nk * a;
        gk[k] += na;
        sums[NNP_BP_TURN][k] = before[NNP_BP_TURN][k] + rj * nk * d;
        if (narrow) sums[NNP_BP_STRETCH][k] = before[NNP_BP_STRETCH][k] + rk[k] * dfar[k] * ra;
    }
    g->gj[j] += gj;
}

#define NNP_BP_PULL(degree)                                                                                  \
    case 4 * degree:                                                                                         \
        pull_row(degree, 0, 0, g, c, p, j, k0, n, before, sums);                                             \
        break;                                                                                               \
    case 4 * degree + 1:                                                                                     \
        pull_row(degree, 0, 1, g, c, p, j, k0, n, before, sums);                                             \
        break;                                                                                               \
    case 4 * degree + 2:                                                                                     \
    case 4 * degree + 3:                                                                                     \
        pull_row(degree, 1, 1, g, c, p, j, k0, n, before, sums);                                             \
        break;

static void pull_any(const nnp_bp_pull* g, const nnp_vec* c, size_t p, int j, int k0, int n,
                     const nnp_vec* const* before, nnp_bp_sums sums)
{
    switch (4 * g->degree + 2 * g->narrow + (g->n_extra > 0)) {
        NNP_BP_PULL(0)
        NNP_BP_PULL(1)
        NNP_BP_PULL(2)
        NNP_BP_PULL(4)
        NNP_BP_PULL(6)
    }
}
#undef NNP_BP_PULL

/* Groups of a channel that are in no chain, at n triplets, the first being number p; zero where there are
 * none. */
static void pull_tile(const nnp_bp_pull* pull, int n_groups, const nnp_vec* c, size_t p, int j, int k0, int n,
                      const nnp_vec* zero, nnp_bp_sums sums)
{
    const nnp_vec* before[NNP_BP_SUMS] = {zero, zero};
    for (int i = 0; i < n_groups; ++i) {
        pull_any(&pull[i], c, p, j, k0, n, before, sums);
        before[NNP_BP_TURN] = sums[NNP_BP_TURN];
        if (pull[i].narrow) before[NNP_BP_STRETCH] = sums[NNP_BP_STRETCH];
    }
}

/* From a tile's sums to directions and distances: r_jk dr_jk = (r_j - r_k c) dr_j + (r_k - r_j c) dr_k - r_j
 * r_k dc. */
NNP_FN void vectors_backward(const int narrow, const nnp_bp_triplets* x, const nnp_block* b,
                             nnp_bp_near* near, int j, int k0, int n, const nnp_vec* c, nnp_bp_sums sums)
{
    const int q = x->k0 + k0, s = x->bk + k0, bj = x->j0 + j, sj = x->bj + j;
    const nnp_vec xj = b->ux[bj], yj = b->uy[bj], zj = b->uz[bj], rj = b->r[bj];
    const nnp_vec *const ux = b->ux + q, *const uy = b->uy + q, *const uz = b->uz + q, *const r = b->r + q;
    nnp_vec *const kx = near->gx + s, *const ky = near->gy + s, *const kz = near->gz + s;
    nnp_vec* const kr = near->gr + s;
    nnp_vec gx = nnp_splat(0), gy = gx, gz = gx, gr = gx;
    for (int k = 0; k < n; ++k) {
        nnp_vec t = sums[NNP_BP_TURN][k];
        if (narrow) {
            const nnp_vec rk = r[k], pj = sums[NNP_BP_STRETCH][k] * rj, pk = sums[NNP_BP_STRETCH][k] * rk;
            t -= pj * rk;
            gr += pj - pk * c[k];
            kr[k] += pk - pj * c[k];
        }
        gx += t * ux[k];
        gy += t * uy[k];
        gz += t * uz[k];
        kx[k] += t * xj;
        ky[k] += t * yj;
        kz[k] += t * zj;
    }
    near->gx[sj] += gx;
    near->gy[sj] += gy;
    near->gz[sj] += gz;
    near->gr[sj] += gr;
}

/* ---- chains ---- */

/* What the triplets of one neighbour j need in a chain. */
typedef struct nnp_bp_chain_pull {
    const nnp_bp_pull* group; /* [n] */
    int n;
    const nnp_vec *ux, *uy, *uz, *r, *ratio; /* of k = 0 */
    nnp_vec *gx, *gy, *gz, *gr;
    nnp_vec xj, yj, zj, rj;
    nnp_vec jx, jy, jz, jr, ja; /* sums of j: dE/du, dE/dr, A */
} nnp_bp_chain_pull;

#define NNP_BP_CHAIN(degree)                                                                                 \
    case degree:                                                                                             \
        pull_polynomial(U, degree, g->u, c, value, slope);                                                   \
        break;

/* Triplets k .. k + U - 1 of a chain, the first being number p of the channel and number at of the tile whose
 * rows are there: A, B, T (bp_gauss_impl.h; T on top of turn), then as in vectors_backward. */
NNP_FN void chain_some(const int U, nnp_bp_chain_pull* s, int k, size_t p, int at, const nnp_vec* h,
                       const nnp_vec* turn)
{
    nnp_vec c[4], value[4], slope[4], a[4], b[4], t[4];
    for (int q = 0; q < U; ++q) {
        c[q] = s->xj * s->ux[k + q] + s->yj * s->uy[k + q] + s->zj * s->uz[k + q];
        a[q] = b[q] = nnp_splat(0);
        t[q] = turn[at + q];
    }
    for (const nnp_bp_pull* g = s->group; g < s->group + s->n; ++g) {
        const nnp_vec* const w = g->far + p;
        switch (g->degree) {
            NNP_BP_CHAIN(0)
            NNP_BP_CHAIN(1)
            NNP_BP_CHAIN(2)
            NNP_BP_CHAIN(4)
        default:
            pull_polynomial(U, 6, g->u, c, value, slope);
        }
        if (g->n_extra) pull_rest(U, g, at, value, slope);
        for (int q = 0; q < U; ++q) {
            value[q] *= w[q];
            a[q] += value[q];
            b[q] += g->eta2 * value[q];
            t[q] += slope[q] * w[q];
        }
    }
    for (int q = 0; q < U; ++q) {
        const int i = k + q;
        const nnp_vec rk = s->r[i], stretch = a[q] * h[q] - b[q], both = stretch - b[q];
        const nnp_vec pj = stretch * s->rj, pk = stretch * rk;
        t[q] -= pj * rk;
        s->ja += a[q];
        s->jr += both * s->rj - pk * c[q];
        s->jx += t[q] * s->ux[i];
        s->jy += t[q] * s->uy[i];
        s->jz += t[q] * s->uz[i];
        s->gr[i] += (s->ratio[i] * a[q] + both) * rk - pj * c[q];
        s->gx[i] += t[q] * s->xj;
        s->gy[i] += t[q] * s->yj;
        s->gz[i] += t[q] * s->zj;
    }
}
#undef NNP_BP_CHAIN

static void chain_backward(const nnp_bp_pull* group, int n_groups, const nnp_bp_triplets* x,
                           const nnp_block* b, nnp_bp_near* near, int j, int k0, int n, size_t p,
                           const nnp_vec* turn)
{
    const int q = x->k0 + k0, i = x->bk + k0, bj = x->j0 + j, sj = x->bj + j;
    const nnp_vec* const ratio = near->ratio + (size_t)x->c->chain_cut * near->stride;
    const nnp_vec zero = nnp_splat(0);
    nnp_bp_chain_pull s = {group,        n_groups,  b->ux + q,    b->uy + q,    b->uz + q,
                           b->r + q,     ratio + i, near->gx + i, near->gy + i, near->gz + i,
                           near->gr + i, b->ux[bj], b->uy[bj],    b->uz[bj],    b->r[bj],
                           zero,         zero,      zero,         zero,         zero};
    int k = 0;
    for (; k + 4 <= n; k += 4) chain_some(4, &s, k, p + (size_t)k, k, x->dfar + p + k, turn);
    for (; k < n; ++k) chain_some(1, &s, k, p + (size_t)k, k, x->dfar + p + k, turn);
    near->gx[sj] += s.jx;
    near->gy[sj] += s.jy;
    near->gz[sj] += s.jz;
    near->gr[sj] += s.jr + s.ja * (ratio[sj] * s.rj);
}

/* ---- a channel, and the way to pair vectors ---- */

/* Number of a channel's groups that are narrow: the last ones of those summed over triplets. */
static int narrow_groups(const nnp_bp* bp, const nnp_bp_channel* c)
{
    int n = 0;
    for (int i = 0; i < c->n_groups; ++i) n += bp->group[c->first_group + i].narrow >= 0;
    return n;
}

/* Gradient of a channel with respect to R, directions and distances of its neighbours. */
static void bp_triplets_backward(const nnp_bp* bp, const nnp_bp_triplets* x, const nnp_block* b,
                                 nnp_bp_near* near, const nnp_vec* d, nnp_arena arena)
{
    const nnp_bp_pull* const pull = pull_groups(bp, x, near, d, &arena);
    const nnp_bp_channel* const channel = x->c;
    const int n_chained = channel->n_chain ? narrow_groups(bp, channel) : 0;
    const int n_other = channel->n_groups - n_chained;
    nnp_vec c[NNP_BP_TILE], zero[NNP_BP_TILE];
    nnp_bp_sums sums;
    size_t p = 0;
    for (int k = 0; k < NNP_BP_TILE; ++k) zero[k] = nnp_splat(0);
    for (int j = 0; j < x->nj; ++j)
        for (int k0 = 0, n, end = x->same ? j : x->nk; k0 < end; k0 += n, p += (size_t)n) {
            n = end - k0 < NNP_BP_TILE ? end - k0 : NNP_BP_TILE;
            if (channel->has_extra || n_other) cosine_row(b, x->j0 + j, x->k0 + k0, n, c);
            if (channel->has_extra) channel_rows(bp, channel, NNP_BP_BACKWARD, n, c, near->rows);
            if (n_other) pull_tile(pull, n_other, c, p, j, k0, n, zero, sums);
            if (n_chained)
                chain_backward(pull + n_other, n_chained, x, b, near, j, k0, n, p,
                               n_other ? sums[NNP_BP_TURN] : zero);
            else if (channel->n_narrow)
                vectors_backward(1, x, b, near, j, k0, n, c, sums);
            else
                vectors_backward(0, x, b, near, j, k0, n, c, sums);
        }
}

/* To pair vectors: dE/dr_ij = u dE/dr + (dE/du - u (u.dE/du))/r */
static void bp_near_backward(const nnp_bp* bp, nnp_block* b, const nnp_bp_near* v)
{
    for (int t = 0; t < b->n_species; ++t)
        for (int k = 0; k < b->near[t]; ++k) {
            const int s = v->base[t] + k, n = b->begin[t] + k;
            nnp_vec radial = v->gr[s];
            for (int i = bp->first_side[t]; i < bp->first_side[t + 1]; ++i) {
                const size_t at = (size_t)bp->side[i] * v->stride + (size_t)s;
                radial += v->grad[at] * v->slope[at];
            }
            const nnp_vec x = b->ux[n], y = b->uy[n], z = b->uz[n], q = b->r_inv[n];
            radial -= q * (x * v->gx[s] + y * v->gy[s] + z * v->gz[s]);
            b->gx[n] += radial * x + q * v->gx[s];
            b->gy[n] += radial * y + q * v->gy[s];
            b->gz[n] += radial * z + q * v->gz[s];
        }
}

#endif /* NNP_BP_BACKWARD_IMPL_H */
