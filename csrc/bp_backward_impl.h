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

/* A group of a channel on the way back: its arrays at the channel's first k, and its polynomial. */
typedef struct nnp_bp_pull {
    int kind, n_extra;
    nnp_real eta2; /* 2 eta, of a chain of exponentials */
    const nnp_vec *rj, *rk, *far, *dfar;
    nnp_vec *gj, *gk; /* dE/dR */
    nnp_vec u[NNP_BP_MAX_DEGREE + 1], v[NNP_BP_MAX_DEGREE];
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

/* All groups of a channel, ready for the triplet loop. */
static nnp_bp_pull* pull_groups(const nnp_bp* bp, const nnp_bp_triplets* x, const nnp_bp_near* near,
                                const nnp_vec* d, nnp_arena* arena)
{
    const nnp_bp_channel* const c = x->c;
    nnp_bp_pull* const pull = (nnp_bp_pull*)nnp_take(arena, (size_t)c->n_groups * sizeof(nnp_bp_pull));
    for (int i = 0; i < c->n_groups; ++i) {
        const nnp_bp_group* const g = &bp->group[c->first_group + i];
        nnp_bp_pull* const out = &pull[i];
        const size_t row = (size_t)g->term * (size_t)near->n, far = (size_t)(g->narrow < 0 ? 0 : g->narrow);
        out->kind = 6 * g->degree + (g->narrow < 0 ? 0 : c->n_chain ? 4 : 2) + (g->n > g->n_poly);
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
            if (m) out->v[m - 1] = (nnp_real)m * out->u[m];
        }
        out->row = (const nnp_vec**)nnp_take(arena, 2 * (size_t)out->n_extra * sizeof(nnp_vec*));
        out->d = nnp_take_vec(arena, 2 * (size_t)out->n_extra);
        pull_extra(bp, g, near->rows, d, out);
    }
    return pull;
}

/* Q groups of one kind at the triplets j, k0 .. k0 + n - 1, the first being number p: dE/dR of both
 * neighbours, turn += dE/dcos, stretch += (dE/dr_jk)/r_jk. narrow: 0, 1, or 2 for a chain of exponentials;
 * extra: whether functions that are no polynomials are looked for. */
NNP_FN void pull_row(const int Q, const int degree, const int narrow, const int extra, const nnp_bp_pull* g,
                     const nnp_vec* c, size_t p, int j, int k0, int n, nnp_vec* turn, nnp_vec* stretch)
{
    const nnp_vec* const dfar = g->dfar + p;
    const nnp_vec *rk[3], *far[3];
    nnp_vec *gk[3], gj[3], rj[3], u[3][NNP_BP_MAX_DEGREE + 1], v[3][NNP_BP_MAX_DEGREE + 1];
    nnp_real eta2[3];
    for (int q = 0; q < Q; ++q) {
        rk[q] = g[q].rk + k0;
        gk[q] = g[q].gk + k0;
        far[q] = g[q].far + p;
        rj[q] = g[q].rj[j];
        gj[q] = nnp_splat(0);
        eta2[q] = g[q].eta2;
        for (int m = 0; m <= degree; ++m) u[q][m] = g[q].u[m];
        for (int m = 0; m < degree; ++m) v[q][m] = g[q].v[m];
    }
    for (int k = 0; k < n; ++k) {
        const nnp_vec slope = narrow ? dfar[k] : nnp_splat(0);
        nnp_vec turn_k = turn[k], stretch_k = narrow ? stretch[k] : nnp_splat(0);
        for (int q = 0; q < Q; ++q) {
            nnp_vec a = u[q][degree], d = degree ? v[q][degree - 1] : nnp_splat(0);
            for (int m = degree - 1; m >= 0; --m) a = a * c[k] + u[q][m];
            for (int m = degree - 2; m >= 0; --m) d = d * c[k] + v[q][m];
            for (int i = 0; extra && i < 2 * g[q].n_extra; i += 2) {
                a += g[q].d[i] * g[q].row[i][k];
                d += g[q].d[i + 1] * g[q].row[i + 1][k];
            }
            const nnp_vec ra = rj[q] * a;
            if (narrow) {
                const nnp_vec nk = far[q][k] * rk[q][k];
                gj[q] += nk * a;
                gk[q][k] += far[q][k] * ra;
                turn_k += rj[q] * nk * d;
                stretch_k += (narrow == 2 ? nk * (slope - eta2[q]) : rk[q][k] * slope) * ra;
            } else {
                gj[q] += rk[q][k] * a;
                gk[q][k] += ra;
                turn_k += rj[q] * rk[q][k] * d;
            }
        }
        turn[k] = turn_k;
        if (narrow) stretch[k] = stretch_k;
    }
    for (int q = 0; q < Q; ++q) g[q].gj[j] += gj[q];
}

#define NNP_BP_PULL_CHAIN(degree, extra)                                                                     \
    if (Q == 3)                                                                                              \
        pull_row(3, degree, 2, extra, g, c, p, j, k0, n, turn, stretch);                                     \
    else if (Q == 2)                                                                                         \
        pull_row(2, degree, 2, extra, g, c, p, j, k0, n, turn, stretch);                                     \
    else                                                                                                     \
        pull_row(1, degree, 2, extra, g, c, p, j, k0, n, turn, stretch);

#define NNP_BP_PULL(degree)                                                                                  \
    case 6 * degree:                                                                                         \
        pull_row(1, degree, 0, 0, g, c, p, j, k0, n, turn, stretch);                                         \
        break;                                                                                               \
    case 6 * degree + 1:                                                                                     \
        pull_row(1, degree, 0, 1, g, c, p, j, k0, n, turn, stretch);                                         \
        break;                                                                                               \
    case 6 * degree + 2:                                                                                     \
    case 6 * degree + 3:                                                                                     \
        pull_row(1, degree, 1, 1, g, c, p, j, k0, n, turn, stretch);                                         \
        break;                                                                                               \
    case 6 * degree + 4:                                                                                     \
        NNP_BP_PULL_CHAIN(degree, 0)                                                                         \
        break;                                                                                               \
    case 6 * degree + 5:                                                                                     \
        NNP_BP_PULL_CHAIN(degree, 1)                                                                         \
        break;

/* The groups g[0] .. of a kind, up to three at once; returns how many. */
static int pull_any(const nnp_bp_pull* g, int left, const nnp_vec* c, size_t p, int j, int k0, int n,
                    nnp_vec* turn, nnp_vec* stretch)
{
    int Q = 1;
    while (Q < 3 && Q < left && g->kind % 6 >= 4 && g[Q].kind == g->kind) ++Q;
    switch (g->kind) {
        NNP_BP_PULL(0)
        NNP_BP_PULL(1)
        NNP_BP_PULL(2)
        NNP_BP_PULL(3)
        NNP_BP_PULL(4)
        NNP_BP_PULL(5)
        NNP_BP_PULL(6)
    }
    return Q;
}
#undef NNP_BP_PULL
#undef NNP_BP_PULL_CHAIN

/* From dE/dcos and (dE/dr_jk)/r_jk, which are cleared, to directions and distances:
 * r_jk dr_jk = (r_j - r_k c) dr_j + (r_k - r_j c) dr_k - r_j r_k dc. */
static void vectors_backward(const nnp_bp_triplets* x, const nnp_block* b, nnp_bp_near* near, int j, int k0,
                             int n, const nnp_vec* c, nnp_vec* turn, nnp_vec* stretch)
{
    const int narrow = x->c->n_narrow > 0, q = x->k0 + k0, s = x->bk + k0;
    const int bj = x->j0 + j, sj = x->bj + j;
    const nnp_vec xj = b->ux[bj], yj = b->uy[bj], zj = b->uz[bj], rj = b->r[bj];
    const nnp_vec *const ux = b->ux + q, *const uy = b->uy + q, *const uz = b->uz + q, *const r = b->r + q;
    nnp_vec *const kx = near->gx + s, *const ky = near->gy + s, *const kz = near->gz + s;
    nnp_vec* const kr = near->gr + s;
    nnp_vec gx = nnp_splat(0), gy = gx, gz = gx, gr = gx;
    for (int k = 0; k < n; ++k) {
        nnp_vec t = turn[k];
        turn[k] = nnp_splat(0);
        if (narrow) {
            const nnp_vec rk = r[k], pj = stretch[k] * rj, pk = stretch[k] * rk;
            stretch[k] = nnp_splat(0);
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

/* Gradient of a channel with respect to R, directions and distances of its neighbours. */
static void bp_triplets_backward(const nnp_bp* bp, const nnp_bp_triplets* x, const nnp_block* b,
                                 nnp_bp_near* near, const nnp_vec* d, nnp_arena arena)
{
    const nnp_bp_pull* const pull = pull_groups(bp, x, near, d, &arena);
    const nnp_bp_channel* const channel = x->c;
    nnp_vec c[NNP_BP_TILE], turn[NNP_BP_TILE], stretch[NNP_BP_TILE];
    size_t p = 0;
    for (int k = 0; k < NNP_BP_TILE; ++k) turn[k] = stretch[k] = nnp_splat(0);
    for (int j = 0; j < x->nj; ++j)
        for (int k0 = 0, n, end = x->same ? j : x->nk; k0 < end; k0 += n, p += (size_t)n) {
            n = end - k0 < NNP_BP_TILE ? end - k0 : NNP_BP_TILE;
            cosine_row(b, x->j0 + j, x->k0 + k0, n, c);
            if (channel->has_extra) channel_rows(bp, channel, NNP_BP_BACKWARD, n, c, near->rows);
            for (int i = 0; i < channel->n_groups;)
                i += pull_any(&pull[i], channel->n_groups - i, c, p, j, k0, n, turn, stretch);
            vectors_backward(x, b, near, j, k0, n, c, turn, stretch);
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
                const size_t at = (size_t)bp->side[i] * (size_t)v->n + (size_t)s;
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
