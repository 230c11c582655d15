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
        out->kind = 3 * g->degree + (g->narrow < 0 ? 0 : c->n_chain ? 2 : 1);
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

/* One group at the triplets j, k0 .. k0 + n - 1, the first being number p: dE/dR of both neighbours,
 * turn += dE/dcos, stretch += (dE/dr_jk)/r_jk. narrow: 0, 1, or 2 for a chain of exponentials. */
NNP_FN void pull_row(const int degree, const int narrow, const nnp_bp_pull* g, const nnp_vec* c, size_t p,
                     int j, int k0, int n, nnp_vec* turn, nnp_vec* stretch)
{
    const nnp_vec rj = g->rj[j], *const rk = g->rk + k0;
    const nnp_vec *const far = g->far + p, *const dfar = g->dfar + p;
    nnp_vec* const gk = g->gk + k0;
    nnp_vec u[NNP_BP_MAX_DEGREE + 1], v[NNP_BP_MAX_DEGREE + 1], gj = nnp_splat(0);
    for (int m = 0; m <= degree; ++m) u[m] = g->u[m];
    for (int m = 0; m < degree; ++m) v[m] = g->v[m];
    for (int k = 0; k < n; ++k) {
        nnp_vec a = u[degree], d = degree ? v[degree - 1] : nnp_splat(0);
        for (int m = degree - 1; m >= 0; --m) a = a * c[k] + u[m];
        for (int m = degree - 2; m >= 0; --m) d = d * c[k] + v[m];
        for (int i = 0; i < 2 * g->n_extra; i += 2) {
            a += g->d[i] * g->row[i][k];
            d += g->d[i + 1] * g->row[i + 1][k];
        }
        if (narrow) {
            const nnp_vec nk = far[k] * rk[k], ra = rj * a;
            const nnp_vec pull = narrow == 2 ? nk * (dfar[k] - g->eta2) : rk[k] * dfar[k];
            gj += nk * a;
            gk[k] += far[k] * ra;
            turn[k] += rj * nk * d;
            stretch[k] += pull * ra;
        } else {
            gj += rk[k] * a;
            gk[k] += rj * a;
            turn[k] += rj * rk[k] * d;
        }
    }
    g->gj[j] += gj;
}

#define NNP_BP_PULL(degree)                                                                                  \
    case 3 * degree:                                                                                         \
        pull_row(degree, 0, g, c, p, j, k0, n, turn, stretch);                                               \
        break;                                                                                               \
    case 3 * degree + 1:                                                                                     \
        pull_row(degree, 1, g, c, p, j, k0, n, turn, stretch);                                               \
        break;                                                                                               \
    case 3 * degree + 2:                                                                                     \
        pull_row(degree, 2, g, c, p, j, k0, n, turn, stretch);                                               \
        break;

static void pull_any(const nnp_bp_pull* g, const nnp_vec* c, size_t p, int j, int k0, int n, nnp_vec* turn,
                     nnp_vec* stretch)
{
    switch (g->kind) {
        NNP_BP_PULL(0)
        NNP_BP_PULL(1)
        NNP_BP_PULL(2)
        NNP_BP_PULL(3)
        NNP_BP_PULL(4)
        NNP_BP_PULL(5)
        NNP_BP_PULL(6)
    }
}
#undef NNP_BP_PULL

/* From dE/dcos and (dE/dr_jk)/r_jk, which are cleared, to directions and distances:
 * r_jk dr_jk = (r_j - r_k c) dr_j + (r_k - r_j c) dr_k - r_j r_k dc. */
static void vectors_backward(const nnp_bp_triplets* x, const nnp_block* b, nnp_bp_near* near, int j, int k0,
                             int n, const nnp_vec* c, nnp_vec* turn, nnp_vec* stretch)
{
    const int narrow = x->c->n_narrow > 0, q = x->k0 + k0, s = x->bk + k0;
    const int bj = x->j0 + j, sj = x->bj + j;
    const nnp_vec xj = b->ux[bj], yj = b->uy[bj], zj = b->uz[bj], rj = b->r[bj];
    nnp_vec gx = nnp_splat(0), gy = gx, gz = gx, gr = gx;
    for (int k = 0; k < n; ++k) {
        nnp_vec t = turn[k];
        turn[k] = nnp_splat(0);
        if (narrow) {
            const nnp_vec rk = b->r[q + k], pj = stretch[k] * rj, pk = stretch[k] * rk;
            stretch[k] = nnp_splat(0);
            t -= pj * rk;
            gr += pj - pk * c[k];
            near->gr[s + k] += pk - pj * c[k];
        }
        gx += t * b->ux[q + k];
        gy += t * b->uy[q + k];
        gz += t * b->uz[q + k];
        near->gx[s + k] += t * xj;
        near->gy[s + k] += t * yj;
        near->gz[s + k] += t * zj;
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
            if (channel->has_extra)
                channel_rows(bp->row + channel->first_row, channel->n_rows, NNP_BP_BACKWARD, n, c,
                             near->rows);
            for (int i = 0; i < channel->n_groups; ++i) pull_any(&pull[i], c, p, j, k0, n, turn, stretch);
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
