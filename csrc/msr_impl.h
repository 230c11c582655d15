/* msr_impl.h - MSR fingerprints of a block of atoms, their forces, and the sweep of the loss gradient.
 *
 * Formulas and notation: math/msr.h. A channel is a pair of partner species t <= u; j runs over the near
 * neighbours of species t, k over those of u (k < j where t = u). Everything about one neighbour is computed
 * once; the triplet loops run over k, contiguous, with fused multiply-adds and one exp2.
 */
#ifndef NNP_MSR_IMPL_H
#define NNP_MSR_IMPL_H

#include "math/msr.h"
#include "net_impl.h"

/* Three-body variables of all near neighbours: four-vector (y, w), and dE/d of it. */
typedef struct nnp_near {
    nnp_vec *y, *dy, *wx, *wy, *wz;
    nnp_vec *gy, *gwx, *gwy, *gwz;
} nnp_near;

/* Per neighbour and fingerprint factors of one side of a channel, [nf][n]. */
typedef struct nnp_side {
    int begin, n; /* neighbours begin .. begin + n - 1 of the block */
    nnp_vec *a, *b, *p, *q;
} nnp_side;

typedef struct nnp_triplets { /* a channel with triplets in it */
    int nf, first;            /* fingerprints; number of the first among the inputs */
    const nnp_real* abb;      /* [nf][3] a, b, beta */
    int same, n_pairs;
    nnp_side j, k;
    nnp_vec* t;  /* [n_pairs] T */
    nnp_vec* dh; /* [nf][n_pairs] dh/dT */
} nnp_triplets;

static void near_take(nnp_near* v, nnp_arena* arena, int n)
{
    nnp_vec** const fields[] = {&v->y, &v->dy, &v->wx, &v->wy, &v->wz, &v->gy, &v->gwx, &v->gwy, &v->gwz};
    for (size_t i = 0; i < sizeof fields / sizeof *fields; ++i) *fields[i] = nnp_take_vec(arena, (size_t)n);
}

static int block_size(const nnp_block* b)
{
    const int last = b->n_species - 1;
    return b->begin[last] + 2 * b->capacity[last];
}

NNP_FN void msr_smooth(const nnp_model* model, nnp_vec r, nnp_real rc, nnp_vec* x, nnp_vec* dx)
{
    if (model->cutoff_kind == NNP_CUTOFF_COSINE)
        nnp_cutoff_cos(r, rc, x, dx);
    else
        nnp_cutoff_smooth(r, rc, x, dx);
}

static nnp_near near_variables(const nnp_model* model, const nnp_block* b, nnp_arena* arena)
{
    nnp_near v;
    near_take(&v, arena, block_size(b));
    for (int part = 0; part < 2 * b->n_species; part += 2) NNP_EACH_NEIGHBOUR(b, part, n)
        {
            msr_smooth(model, b->r[n], (nnp_real)model->rc3, &v.y[n], &v.dy[n]);
            v.wx[n] = v.y[n] * b->ux[n];
            v.wy[n] = v.y[n] * b->uy[n];
            v.wz[n] = v.y[n] * b->uz[n];
            v.gy[n] = v.gwx[n] = v.gwy[n] = v.gwz[n] = nnp_splat(0);
        }
    return v;
}

static nnp_side side_take(const nnp_block* b, int t, int nf, int with_sums, nnp_arena* arena)
{
    nnp_side s = {b->begin[t], b->near[t], NULL, NULL, NULL, NULL};
    const size_t size = (size_t)nf * (size_t)s.n;
    s.a = nnp_take_vec(arena, size);
    s.b = nnp_take_vec(arena, size);
    if (with_sums) {
        s.p = nnp_take_vec(arena, size);
        s.q = nnp_take_vec(arena, size);
        for (size_t i = 0; i < size; ++i) s.p[i] = s.q[i] = nnp_splat(0);
    }
    return s;
}

/* A = e^{a y}, B = e^{b y} */
static void side_factors(const nnp_side* s, const nnp_triplets* c, const nnp_vec* y)
{
    for (int f = 0; f < c->nf; ++f) {
        const nnp_real a = c->abb[3 * f] * NNP_LOG2E, b = c->abb[3 * f + 1] * NNP_LOG2E;
        for (int n = 0; n < s->n; ++n) {
            s->a[f * s->n + n] = nnp_exp2(a * y[s->begin + n]);
            s->b[f * s->n + n] = nnp_exp2(b * y[s->begin + n]);
        }
    }
}

/* T = 1/2 (y_j y_k + w_j . w_k) of every pair, pairs (j, k) in the order of the loops */
static void triplet_t(const nnp_triplets* c, const nnp_near* v)
{
    nnp_vec* t = c->t;
    for (int j = 0; j < c->j.n; ++j) {
        const int nj = c->j.begin + j, nk = c->k.begin, end = c->same ? j : c->k.n;
        const nnp_vec y = NNP_R(0.5) * v->y[nj], x = NNP_R(0.5) * v->wx[nj];
        const nnp_vec yy = NNP_R(0.5) * v->wy[nj], z = NNP_R(0.5) * v->wz[nj];
        for (int k = 0; k < end; ++k)
            t[k] = y * v->y[nk + k] + x * v->wx[nk + k] + yy * v->wy[nk + k] + z * v->wz[nk + k];
        t += end;
    }
}

/* One fingerprint: dh/dT = (1 + beta T) exp(beta T), and the sums P, Q. Returns F3. */
static nnp_vec triplet_forward(const nnp_triplets* c, int f)
{
    const nnp_real beta = c->abb[3 * f + 2], beta2 = beta * NNP_LOG2E;
    const nnp_side* const sj = &c->j;
    const nnp_side* const sk = &c->k;
    const nnp_vec *aj = sj->a + f * sj->n, *bj = sj->b + f * sj->n;
    const nnp_vec *ak = sk->a + f * sk->n, *bk = sk->b + f * sk->n;
    nnp_vec *pk = sk->p + f * sk->n, *qk = sk->q + f * sk->n;
    const nnp_vec* t = c->t;
    nnp_vec* dh = c->dh + (size_t)f * (size_t)c->n_pairs;
    nnp_vec sum = nnp_splat(0);
    for (int j = 0; j < sj->n; ++j) {
        const int end = c->same ? j : sk->n;
        const nnp_vec a = aj[j], b = bj[j];
        nnp_vec p = nnp_splat(0), q = nnp_splat(0);
        for (int k = 0; k < end; ++k) {
            const nnp_vec exp_k = nnp_exp2(beta2 * t[k]);
            const nnp_vec h = t[k] * exp_k;
            dh[k] = exp_k + beta * h;
            p += h * bk[k];
            q += h * ak[k];
            pk[k] += h * b;
            qk[k] += h * a;
        }
        sj->p[f * sj->n + j] += p;
        sj->q[f * sj->n + j] += q;
        sum += NNP_R(0.5) * (a * p + b * q); /* sum_k h S_jk */
        t += end;
        dh += end;
    }
    return sum;
}

/* Factors and sums of channel (t, u); F3 into inputs[first ..]. Returns 0 if the channel has no triplet. */
static int triplets_build(nnp_triplets* c, const nnp_block* b, const nnp_near* v, int t, int u,
                          nnp_arena* arena, nnp_vec* inputs)
{
    c->same = t == u;
    c->n_pairs = c->same ? b->near[t] * (b->near[t] - 1) / 2 : b->near[t] * b->near[u];
    if (c->n_pairs == 0 || c->nf == 0) return 0;
    c->j = side_take(b, t, c->nf, 1, arena);
    c->k = c->same ? c->j : side_take(b, u, c->nf, 1, arena);
    side_factors(&c->j, c, v->y);
    if (!c->same) side_factors(&c->k, c, v->y);
    c->t = nnp_take_vec(arena, (size_t)c->n_pairs);
    c->dh = nnp_take_vec(arena, (size_t)c->n_pairs * (size_t)c->nf);
    triplet_t(c, v);
    for (int f = 0; f < c->nf; ++f) inputs[c->first + f] += triplet_forward(c, f);
    return 1;
}

/* dE/dy through A and B: sum_f d_f/2 (a A P + b B Q) */
static void side_backward(const nnp_triplets* c, const nnp_side* s, const nnp_vec* d, nnp_vec* gy)
{
    for (int f = 0; f < c->nf; ++f) {
        const nnp_vec da = NNP_R(0.5) * c->abb[3 * f] * d[c->first + f];
        const nnp_vec db = NNP_R(0.5) * c->abb[3 * f + 1] * d[c->first + f];
        for (int n = 0; n < s->n; ++n) {
            const int i = f * s->n + n;
            gy[s->begin + n] += da * (s->a[i] * s->p[i]) + db * (s->b[i] * s->q[i]);
        }
    }
}

/* g[k] (+)= sum_f d_f dh/dT S of fingerprints f .. f+n-1 */
NNP_FN void triplet_row_add(const nnp_triplets* c, int j, int end, size_t first, const nnp_vec* d, int f,
                            const int n, int add, nnp_vec* g)
{
    const nnp_vec* const dh = c->dh + (size_t)f * (size_t)c->n_pairs + first;
    const nnp_vec *ak = c->k.a + f * c->k.n, *bk = c->k.b + f * c->k.n;
    nnp_vec a[3], b[3];
    NNP_UNROLL for (int i = 0; i < n; ++i)
    {
        const nnp_vec half = NNP_R(0.25) * d[c->first + f + i];
        a[i] = half * c->j.a[(f + i) * c->j.n + j];
        b[i] = half * c->j.b[(f + i) * c->j.n + j];
    }
    for (int k = 0; k < end; ++k) {
        nnp_vec sum = add ? g[k] : nnp_splat(0);
        NNP_UNROLL for (int i = 0; i < n; ++i)
        {
            const nnp_vec s = a[i] * bk[i * c->k.n + k] + b[i] * ak[i * c->k.n + k];
            sum += dh[(size_t)i * (size_t)c->n_pairs + k] * s;
        }
        g[k] = sum;
    }
}

/* dE/dT of row j's pairs: sum_f d_f dh/dT S, halved once more for T = 1/2 (...); into g [end] */
static void triplet_row_backward(const nnp_triplets* c, int j, int end, size_t first, const nnp_vec* d,
                                 nnp_vec* g)
{
    int f = 0;
    for (; f + 3 <= c->nf; f += 3) triplet_row_add(c, j, end, first, d, f, 3, f > 0, g);
    for (; f + 2 <= c->nf; f += 2) triplet_row_add(c, j, end, first, d, f, 2, f > 0, g);
    for (; f < c->nf; ++f) triplet_row_add(c, j, end, first, d, f, 1, f > 0, g);
}

/* Gradient of channel c's energy with respect to the four-vectors of its neighbours. */
static void triplets_backward(const nnp_triplets* c, const nnp_near* v, const nnp_vec* d, nnp_vec* row)
{
    size_t first = 0;
    for (int j = 0; j < c->j.n; ++j) {
        const int nj = c->j.begin + j, nk = c->k.begin, end = c->same ? j : c->k.n;
        triplet_row_backward(c, j, end, first, d, row);
        nnp_vec y = nnp_splat(0), wx = y, wy = y, wz = y;
        const nnp_vec yj = v->y[nj], xj = v->wx[nj], yyj = v->wy[nj], zj = v->wz[nj];
        for (int k = 0; k < end; ++k) {
            const nnp_vec g = row[k];
            y += g * v->y[nk + k];
            wx += g * v->wx[nk + k];
            wy += g * v->wy[nk + k];
            wz += g * v->wz[nk + k];
            v->gy[nk + k] += g * yj;
            v->gwx[nk + k] += g * xj;
            v->gwy[nk + k] += g * yyj;
            v->gwz[nk + k] += g * zj;
        }
        v->gy[nj] += y;
        v->gwx[nj] += wx;
        v->gwy[nj] += wy;
        v->gwz[nj] += wz;
        first += (size_t)end;
    }
    side_backward(c, &c->j, d, v->gy);
    if (!c->same) side_backward(c, &c->k, d, v->gy);
}

/* From (y, w = y u) to r: dE/dr = u y' (gy + u.gw) + (y/r) (gw - u (u.gw)) */
static void near_backward(nnp_block* b, const nnp_near* v)
{
    for (int part = 0; part < 2 * b->n_species; part += 2) NNP_EACH_NEIGHBOUR(b, part, n)
        {
            const nnp_vec x = b->ux[n], y = b->uy[n], z = b->uz[n];
            const nnp_vec along = x * v->gwx[n] + y * v->gwy[n] + z * v->gwz[n];
            const nnp_vec q = v->y[n] * b->r_inv[n];
            const nnp_vec radial = v->dy[n] * (v->gy[n] + along) - q * along;
            b->gx[n] += radial * x + q * v->gwx[n];
            b->gy[n] += radial * y + q * v->gwy[n];
            b->gz[n] += radial * z + q * v->gwz[n];
        }
}

static void msr_cutoff(const nnp_model* model, nnp_short_range sr, nnp_vec r, nnp_vec* x, nnp_vec* dx)
{
    msr_smooth(model, r, (nnp_real)model->rc, x, dx);
    if (model->rs > 0) nnp_cutoff_short(r, sr, x, dx);
}

static nnp_short_range msr_short_range(const nnp_model* model)
{
    nnp_short_range p = {0, 0, 0, 0};
    double a, b, c;
    if (!(model->rs > 0)) return p;
    nnp_short_range_coefficients(model, &a, &b, &c);
    p.rs = (nnp_real)model->rs;
    p.a = (nnp_real)a;
    p.b = (nnp_real)b;
    p.c = (nnp_real)c;
    return p;
}

/* 2-body sums into inputs; df [sum over neighbours of their channel's n2] keeps dF2/dr for the way back.
 * Where pairs and triplets have one cutoff, x(r) of near neighbours is the y(r) of v. */
static void pairs_forward(const nnp_model* model, const nnp_real* theta, const nnp_block* b,
                          const nnp_near* v, nnp_vec* inputs, nnp_vec* df)
{
    const nnp_msr* const m = &model->msr[b->species];
    const int same = model->rc == model->rc3 && !(model->rs > 0);
    const nnp_short_range sr = msr_short_range(model);
    const nnp_real* alpha = theta + m->alpha;
    for (int t = 0, first = 0; t < b->n_species; alpha += m->n2[t], first += m->n2[t], ++t)
        for (int part = 2 * t; part < 2 * t + 2; ++part) NNP_EACH_NEIGHBOUR(b, part, n)
            {
                nnp_vec x, dx, f, df_dx;
                if (same && part % 2 == 0) {
                    x = v->y[n];
                    dx = v->dy[n];
                } else {
                    msr_cutoff(model, sr, b->r[n], &x, &dx);
                }
                for (int a = 0; a < m->n2[t]; ++a) {
                    nnp_msr_pair(x, alpha[a], &f, &df_dx);
                    inputs[first + a] += f;
                    *df++ = df_dx * dx;
                }
            }
}

static void pairs_backward(const nnp_msr* m, nnp_block* b, const nnp_vec* d, const nnp_vec* df)
{
    for (int t = 0, first = 0; t < b->n_species; first += m->n2[t], ++t)
        for (int part = 2 * t; part < 2 * t + 2; ++part) NNP_EACH_NEIGHBOUR(b, part, n)
            {
                nnp_vec radial = nnp_splat(0);
                for (int a = 0; a < m->n2[t]; ++a) radial += d[first + a] * *df++;
                b->gx[n] += radial * b->ux[n];
                b->gy[n] += radial * b->uy[n];
                b->gz[n] += radial * b->uz[n];
            }
}

static int msr_max_n2(const nnp_msr* m, int n_species)
{
    int most = 0;
    for (int t = 0; t < n_species; ++t)
        if (m->n2[t] > most) most = m->n2[t];
    return most;
}

/* Energy of the block's atoms (without E0); adds their pair gradients to b; inputs G to out [n][stride] if
 * wanted. */
static nnp_vec msr_evaluate(const nnp_model* model, const nnp_real* theta, nnp_block* b, nnp_arena* arena,
                            nnp_vec** inputs_out)
{
    const nnp_msr* const m = &model->msr[b->species];
    const int s = model->n_species, nf = m->n_fingerprints, n = block_size(b);
    nnp_vec *f = nnp_take_vec(arena, (size_t)nf), *g = nnp_take_vec(arena, (size_t)nf);
    nnp_vec* d = nnp_take_vec(arena, (size_t)nf);
    nnp_vec* df = nnp_take_vec(arena, (size_t)n * (size_t)msr_max_n2(m, s));
    for (int i = 0; i < nf; ++i) f[i] = nnp_splat(0);
    const nnp_near v = near_variables(model, b, arena);
    pairs_forward(model, theta, b, &v, f, df);

    nnp_triplets* const c = (nnp_triplets*)nnp_take(arena, (size_t)nnp_n_channels(s) * sizeof(nnp_triplets));
    int n_live = 0, first = nf;
    for (int i = 0; i < nnp_n_channels(s); ++i) first -= m->n3[i];
    const nnp_real* abb = theta + m->triplet;
    for (int t = 0, i = 0; t < s; ++t)
        for (int u = t; u < s; abb += 3 * m->n3[i], first += m->n3[i], ++i, ++u) {
            c[n_live].nf = m->n3[i];
            c[n_live].first = first;
            c[n_live].abb = abb;
            n_live += triplets_build(&c[n_live], b, &v, t, u, arena, f);
        }

    for (int i = 0; i < nf; ++i) g[i] = nnp_log(f[i] + NNP_MSR_FLOOR) - theta[m->mu + i];
    *inputs_out = g;
    const nnp_vec energy = net_evaluate(&model->net[b->species], theta, g, d, arena);
    for (int i = 0; i < nf; ++i) d[i] *= nnp_inverse(f[i] + NNP_MSR_FLOOR); /* dE/dF */

    pairs_backward(m, b, d, df);
    nnp_vec* const row = nnp_take_vec(arena, (size_t)n);
    for (int i = 0; i < n_live; ++i) triplets_backward(&c[i], &v, d, row);
    near_backward(b, &v);
    return energy;
}

#endif /* NNP_MSR_IMPL_H */
