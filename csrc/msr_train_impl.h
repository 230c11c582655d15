/* msr_train_impl.h - second sweep of the loss gradient: d/dtheta of sum_i (c E_i + dE_i/dt) along pair
 * tangents.
 *
 * For every fingerprint F and its exponents phi one pass over neighbours and triplets accumulates F, dF/dt,
 * dF/dphi and d2F/dt dphi in registers; the network's adjoints p (of G) and q (of dG/dt) come afterwards:
 *   dJ/dphi = p dG/dphi + q d(dG/dt)/dphi,   G = ln(F + f0) - mu,  dG/dt = F' / (F + f0)
 *           = [p - q F'/(F + f0)] F_phi / (F + f0) + q F'_phi / (F + f0),   dJ/dmu = -p.
 * Notation: dots are d/dt. With k = h' T., h' = e (1 + beta T):
 *   P = sum_k h B_k,  P. = sum_k (k B_k + h B_k.)   (Q with A)
 *   F = 1/2 sum A P,  F. = 1/2 sum (A. P + A P.),  F_a = 1/2 sum y A P,  F_a. = 1/2 sum [(y A). P + y A P.]
 *   F_beta = sum T h S,  F_beta. = sum T. h S + T (k S + h S.)
 */
#ifndef NNP_MSR_TRAIN_IMPL_H
#define NNP_MSR_TRAIN_IMPL_H

#include "msr_impl.h"

/* Tangents of a block's neighbours. */
typedef struct nnp_rates {
    nnp_vec *r, *ux, *uy, *uz; /* dr/dt, du/dt */
    nnp_vec *y, *wx, *wy, *wz; /* of the three-body variables */
} nnp_rates;

/* Sums of one fingerprint and its derivatives; dot: d/dt. */
typedef struct nnp_sums {
    nnp_vec f, f_dot, a, a_dot, b, b_dot, beta, beta_dot;
} nnp_sums;

typedef struct nnp_side_rates {
    nnp_vec *a, *b, *p, *q; /* [n] of one fingerprint */
} nnp_side_rates;

/* lambda of a chunk's atoms, and zeros for what pads. */
static const nnp_point* local_lambda(const nnp_local* l, const nnp_system* system, const nnp_tangent* tangent,
                                     nnp_arena* arena)
{
    nnp_point* const lambda = (nnp_point*)nnp_take(arena, ((size_t)l->n + 1) * sizeof(nnp_point));
    for (int i = 0; i < l->n; ++i) {
        const double* const v = tangent->lambda + 3 * (int64_t)local_atom(l, system, i);
        const nnp_point p = {v[0], v[1], v[2], 0};
        lambda[i] = p;
    }
    const nnp_point zero = {0};
    lambda[l->n] = zero;
    return lambda;
}

/* rdot_ij = lambda_i - lambda_j - M r_ij, split into dr/dt and du/dt. first: the chunk's first row. */
static nnp_rates block_rates(const nnp_block* b, int first, const nnp_point* lambda,
                             const nnp_tangent* tangent, nnp_arena* arena)
{
    nnp_rates v;
    nnp_vec** const fields[] = {&v.r, &v.ux, &v.uy, &v.uz, &v.y, &v.wx, &v.wy, &v.wz};
    for (size_t i = 0; i < sizeof fields / sizeof *fields; ++i)
        *fields[i] = nnp_take_vec(arena, (size_t)block_size(b));
    nnp_real m[9];
    for (int c = 0; c < 9; ++c) m[c] = (nnp_real)tangent->m[c];
    nnp_point own[NNP_W];
    for (int w = 0; w < NNP_W; ++w) own[w] = lambda[b->rows[w] < 0 ? 0 : b->rows[w] - first];
    NNP_EACH_PART(b, part) NNP_EACH_NEIGHBOUR(b, part, n)
    {
        nnp_vec l[3];
        for (int w = 0; w < NNP_W; ++w) {
            const nnp_point d = own[w] - lambda[b->id[n][w]];
            for (int c = 0; c < 3; ++c) ((nnp_real*)&l[c])[w] = (nnp_real)d[c];
        }
        const nnp_vec x = b->ux[n] * b->r[n], y = b->uy[n] * b->r[n], z = b->uz[n] * b->r[n];
        for (int c = 0; c < 3; ++c) l[c] -= m[3 * c] * x + m[3 * c + 1] * y + m[3 * c + 2] * z;
        v.r[n] = b->ux[n] * l[0] + b->uy[n] * l[1] + b->uz[n] * l[2];
        v.ux[n] = (l[0] - v.r[n] * b->ux[n]) * b->r_inv[n];
        v.uy[n] = (l[1] - v.r[n] * b->uy[n]) * b->r_inv[n];
        v.uz[n] = (l[2] - v.r[n] * b->uz[n]) * b->r_inv[n];
    }
    return v;
}

static void near_rates(const nnp_block* b, const nnp_near* v, nnp_rates* rate)
{
    for (int part = 0; part < 2 * b->n_species; part += 2) NNP_EACH_NEIGHBOUR(b, part, n)
        {
            rate->y[n] = v->dy[n] * rate->r[n];
            rate->wx[n] = rate->y[n] * b->ux[n] + v->y[n] * rate->ux[n];
            rate->wy[n] = rate->y[n] * b->uy[n] + v->y[n] * rate->uy[n];
            rate->wz[n] = rate->y[n] * b->uz[n] + v->y[n] * rate->uz[n];
        }
}

/* dT/dt of every pair, in the order of triplet_t */
static void triplet_t_dot(const nnp_triplets* c, const nnp_near* v, const nnp_rates* rate, nnp_vec* t)
{
    for (int j = 0; j < c->j.n; ++j) {
        const int nj = c->j.begin + j, nk = c->k.begin, end = c->same ? j : c->k.n;
        const nnp_vec y = v->y[nj], x = v->wx[nj], yy = v->wy[nj], z = v->wz[nj];
        const nnp_vec dy = rate->y[nj], dx = rate->wx[nj], dyy = rate->wy[nj], dz = rate->wz[nj];
        for (int k = 0; k < end; ++k)
            t[k] = NNP_R(0.5) * (y * rate->y[nk + k] + x * rate->wx[nk + k] + yy * rate->wy[nk + k] +
                                 z * rate->wz[nk + k] + dy * v->y[nk + k] + dx * v->wx[nk + k] +
                                 dyy * v->wy[nk + k] + dz * v->wz[nk + k]);
        t += end;
    }
}

static nnp_side_rates side_rates_take(const nnp_side* s, nnp_arena* arena)
{
    nnp_side_rates r;
    r.a = nnp_take_vec(arena, (size_t)s->n);
    r.b = nnp_take_vec(arena, (size_t)s->n);
    r.p = nnp_take_vec(arena, (size_t)s->n);
    r.q = nnp_take_vec(arena, (size_t)s->n);
    return r;
}

/* A. = a y. A, B. = b y. B of fingerprint f; clears the sums. */
static void side_rates(const nnp_side* s, const nnp_triplets* c, int f, const nnp_vec* y_dot,
                       nnp_side_rates* r)
{
    const nnp_real a = c->abb[3 * f], b = c->abb[3 * f + 1];
    for (int n = 0; n < s->n; ++n) {
        r->a[n] = a * y_dot[s->begin + n] * s->a[f * s->n + n];
        r->b[n] = b * y_dot[s->begin + n] * s->b[f * s->n + n];
        r->p[n] = r->q[n] = nnp_splat(0);
    }
}

/* F_a, F_a. (F_b, F_b.) of one side: 1/2 sum y A P and its rate */
static void side_sums(const nnp_side* s, int f, const nnp_vec* y, const nnp_vec* y_dot,
                      const nnp_side_rates* r, nnp_sums* sums)
{
    for (int n = 0; n < s->n; ++n) {
        const int i = f * s->n + n;
        const nnp_vec yn = y[s->begin + n], yd = y_dot[s->begin + n];
        const nnp_vec ya = yn * s->a[i], yb = yn * s->b[i];
        sums->a += NNP_R(0.5) * ya * s->p[i];
        sums->b += NNP_R(0.5) * yb * s->q[i];
        sums->a_dot += NNP_R(0.5) * ((yd * s->a[i] + yn * r->a[n]) * s->p[i] + ya * r->p[n]);
        sums->b_dot += NNP_R(0.5) * ((yd * s->b[i] + yn * r->b[n]) * s->q[i] + yb * r->q[n]);
    }
}

/* All sums of fingerprint f of channel c. rj == rk where the two sides are the same. */
static nnp_sums triplet_sums(const nnp_triplets* c, int f, const nnp_vec* t_dot, const nnp_vec* y,
                             const nnp_vec* y_dot, nnp_side_rates* rj, nnp_side_rates* rk)
{
    const nnp_real beta = c->abb[3 * f + 2], beta2 = beta * NNP_LOG2E;
    const nnp_side* const sj = &c->j;
    const nnp_side* const sk = &c->k;
    const nnp_vec *ak = sk->a + f * sk->n, *bk = sk->b + f * sk->n;
    nnp_vec *pk = sk->p + f * sk->n, *qk = sk->q + f * sk->n;
    const nnp_vec *akd = rk->a, *bkd = rk->b;
    nnp_vec *pkd = rk->p, *qkd = rk->q;
    const nnp_vec* t = c->t;
    nnp_sums s;
    memset(&s, 0, sizeof s);
    side_rates(sj, c, f, y_dot, rj);
    if (!c->same) side_rates(sk, c, f, y_dot, rk);
    for (int j = 0; j < sj->n; ++j) {
        const int end = c->same ? j : sk->n;
        const nnp_vec a = sj->a[f * sj->n + j], b = sj->b[f * sj->n + j], ad = rj->a[j], bd = rj->b[j];
        nnp_vec p = nnp_splat(0), q = p, pd = p, qd = p;
        for (int k = 0; k < end; ++k) {
            const nnp_vec e = nnp_exp2(beta2 * t[k]);
            const nnp_vec h = t[k] * e;
            const nnp_vec hd = (e + beta * h) * t_dot[k];
            const nnp_vec p1 = h * bk[k], q1 = h * ak[k];
            const nnp_vec p2 = hd * bk[k] + h * bkd[k], q2 = hd * ak[k] + h * akd[k];
            p += p1;
            q += q1;
            pd += p2;
            qd += q2;
            pk[k] += h * b;
            qk[k] += h * a;
            pkd[k] += hd * b + h * bd;
            qkd[k] += hd * a + h * ad;
            const nnp_vec value = a * p1 + b * q1;                    /* 2 h S */
            const nnp_vec rate = ad * p1 + bd * q1 + a * p2 + b * q2; /* 2 (h S). */
            s.f += value;
            s.f_dot += rate;
            s.beta += t[k] * value;
            s.beta_dot += t_dot[k] * value + t[k] * rate;
        }
        sj->p[f * sj->n + j] += p;
        sj->q[f * sj->n + j] += q;
        rj->p[j] += pd;
        rj->q[j] += qd;
        t += end;
        t_dot += end;
    }
    s.f *= NNP_R(0.5);
    s.f_dot *= NNP_R(0.5);
    s.beta *= NNP_R(0.5);
    s.beta_dot *= NNP_R(0.5);
    side_sums(sj, f, y, y_dot, rj, &s);
    if (!c->same) side_sums(sk, f, y, y_dot, rk, &s);
    return s;
}

/* Sums of all fingerprints of channel (t, u) into s[first ..]. Scratch is given back. */
static void triplets_sums(nnp_triplets* c, const nnp_block* b, const nnp_near* v, const nnp_rates* rate,
                          int t, int u, nnp_arena arena, nnp_sums* s)
{
    c->same = t == u;
    c->n_pairs = c->same ? b->near[t] * (b->near[t] - 1) / 2 : b->near[t] * b->near[u];
    if (c->n_pairs == 0 || c->nf == 0) return;
    c->j = side_take(b, t, c->nf, 1, &arena);
    c->k = c->same ? c->j : side_take(b, u, c->nf, 1, &arena);
    side_factors(&c->j, c, v->y);
    if (!c->same) side_factors(&c->k, c, v->y);
    c->t = nnp_take_vec(&arena, (size_t)c->n_pairs);
    nnp_vec* const t_dot = nnp_take_vec(&arena, (size_t)c->n_pairs);
    triplet_t(c, v);
    triplet_t_dot(c, v, rate, t_dot);
    nnp_side_rates rj = side_rates_take(&c->j, &arena);
    nnp_side_rates rk = c->same ? rj : side_rates_take(&c->k, &arena);
    for (int f = 0; f < c->nf; ++f)
        s[c->first + f] = triplet_sums(c, f, t_dot, v->y, rate->y, &rj, c->same ? &rj : &rk);
}

/* 2-body sums of channel by channel; alpha's derivatives in .a, .a_dot */
static void pairs_sums(const nnp_model* model, const nnp_real* theta, const nnp_block* b,
                       const nnp_rates* rate, nnp_sums* s)
{
    const nnp_msr* const m = &model->msr[b->species];
    const nnp_short_range sr = msr_short_range(model);
    const nnp_real* alpha = theta + m->alpha;
    for (int t = 0; t < b->n_species; alpha += m->n2[t], s += m->n2[t], ++t)
        for (int part = 2 * t; part < 2 * t + 2; ++part) NNP_EACH_NEIGHBOUR(b, part, n)
            {
                nnp_vec x, dx, f, df_dx, df_da, d2f;
                msr_cutoff(model, sr, b->r[n], &x, &dx);
                const nnp_vec x_dot = dx * rate->r[n];
                for (int a = 0; a < m->n2[t]; ++a) {
                    nnp_msr_pair(x, alpha[a], &f, &df_dx);
                    nnp_msr_pair_alpha(x, f, df_dx, &df_da, &d2f);
                    s[a].f += f;
                    s[a].f_dot += df_dx * x_dot;
                    s[a].a += df_da;
                    s[a].a_dot += d2f * x_dot;
                }
            }
}

/* acc += p dG/dphi + q d(dG/dt)/dphi for one exponent */
NNP_FN void add_exponent(nnp_vec* acc, nnp_vec p_eff, nnp_vec q_eff, nnp_vec f_phi, nnp_vec f_dot_phi)
{
    *acc += p_eff * f_phi + q_eff * f_dot_phi;
}

static void msr_gradient(const nnp_model* model, const nnp_real* theta, nnp_block* b, int first,
                         const nnp_point* lambda, const nnp_tangent* tangent, nnp_mask live, nnp_arena* arena,
                         nnp_vec* acc)
{
    const nnp_msr* const m = &model->msr[b->species];
    const int s = model->n_species, nf = m->n_fingerprints;
    nnp_rates rate = block_rates(b, first, lambda, tangent, arena);
    const nnp_near v = near_variables(model, b, arena);
    near_rates(b, &v, &rate);
    nnp_sums* const sums = (nnp_sums*)nnp_take(arena, (size_t)nf * sizeof(nnp_sums));
    memset(sums, 0, (size_t)nf * sizeof(nnp_sums));
    pairs_sums(model, theta, b, &rate, sums);
    int n3 = 0;
    for (int i = 0; i < nnp_n_channels(s); ++i) n3 += m->n3[i];
    const int n2 = nf - n3;
    const nnp_real* abb = theta + m->triplet;
    for (int t = 0, i = 0, first = n2; t < s; ++t)
        for (int u = t; u < s; abb += 3 * m->n3[i], first += m->n3[i], ++i, ++u) {
            nnp_triplets c = {.nf = m->n3[i], .first = first, .abb = abb};
            triplets_sums(&c, b, &v, &rate, t, u, *arena, sums);
        }

    nnp_vec *g = nnp_take_vec(arena, (size_t)nf), *g_dot = nnp_take_vec(arena, (size_t)nf);
    nnp_vec *p = nnp_take_vec(arena, (size_t)nf), *q = nnp_take_vec(arena, (size_t)nf);
    for (int i = 0; i < nf; ++i) {
        g[i] = nnp_log(sums[i].f + NNP_MSR_FLOOR) - theta[m->mu + i];
        g_dot[i] = sums[i].f_dot / (sums[i].f + NNP_MSR_FLOOR);
    }
    const nnp_vec c = nnp_where(live, nnp_splat((nnp_real)tangent->c));
    net_gradient(&model->net[b->species], theta, g, g_dot, c, nnp_where(live, nnp_splat(NNP_R(1.0))), p, q,
                 arena, acc);
    for (int i = 0; i < nf; ++i) {
        const nnp_vec inv = NNP_R(1.0) / (sums[i].f + NNP_MSR_FLOOR);
        const nnp_vec q_eff = q[i] * inv, p_eff = (p[i] - q[i] * g_dot[i]) * inv;
        acc[m->mu + i] -= p[i];
        if (i < n2) {
            add_exponent(&acc[m->alpha + i], p_eff, q_eff, sums[i].a, sums[i].a_dot);
        } else {
            nnp_vec* const t = acc + m->triplet + 3 * (i - n2);
            add_exponent(&t[0], p_eff, q_eff, sums[i].a, sums[i].a_dot);
            add_exponent(&t[1], p_eff, q_eff, sums[i].b, sums[i].b_dot);
            add_exponent(&t[2], p_eff, q_eff, sums[i].beta, sums[i].beta_dot);
        }
    }
}

#endif /* NNP_MSR_TRAIN_IMPL_H */
