/* net_impl.h - the network of one species for a block of atoms: lanes are atoms, weights are broadcast.
 *
 *   z_l = h_l W_l + b_l,  h_{l+1} = a(z_l),  energy = z_last        (W_l is [in][out])
 */
#ifndef NNP_NET_IMPL_H
#define NNP_NET_IMPL_H

#include "block_impl.h"
#include "math/activation.h"

/* out[q] += sum_i w[i si + q sq] in[i] for Q columns whose accumulators stay in registers. */
NNP_FN void matvec_columns(const nnp_real* w, int64_t si, int64_t sq, int n_in, const nnp_vec* in,
                           nnp_vec* out, const int Q)
{
    nnp_vec acc[8];
    for (int q = 0; q < Q; ++q) acc[q] = out[q];
    for (int i = 0; i < n_in; ++i, w += si)
        for (int q = 0; q < Q; ++q) acc[q] += w[q * sq] * in[i];
    for (int q = 0; q < Q; ++q) out[q] = acc[q];
}

/* out [n_out] += w in [n_in], w strided by si over inputs and sq over outputs: the matrix or its transpose.
 */
static void matvec(const nnp_real* w, int64_t si, int64_t sq, int n_in, int n_out, const nnp_vec* in,
                   nnp_vec* out)
{
    int left = n_out;
    for (int parts = (n_out + 7) / 8; parts > 0; --parts) { /* 25 = 7 + 6 + 6 + 6: no short tail */
        const int q = (left + parts - 1) / parts;
        switch (q) {
        case 1:
            matvec_columns(w, si, sq, n_in, in, out, 1);
            break;
        case 2:
            matvec_columns(w, si, sq, n_in, in, out, 2);
            break;
        case 3:
            matvec_columns(w, si, sq, n_in, in, out, 3);
            break;
        case 4:
            matvec_columns(w, si, sq, n_in, in, out, 4);
            break;
        case 5:
            matvec_columns(w, si, sq, n_in, in, out, 5);
            break;
        case 6:
            matvec_columns(w, si, sq, n_in, in, out, 6);
            break;
        case 7:
            matvec_columns(w, si, sq, n_in, in, out, 7);
            break;
        default:
            matvec_columns(w, si, sq, n_in, in, out, 8);
            break;
        }
        w += q * sq;
        out += q;
        left -= q;
    }
}

static size_t net_scratch(const nnp_net* net) /* nnp_vec of either pass below */
{
    size_t n = 0;
    for (int l = 0; l <= net->n_layers; ++l) n += 8 * (size_t)net->width[l];
    return n;
}

/* h [n] holds z on entry and a(z) on return; slope = a'(z), bend = a''(z), or NULL. */
static void activate(int kind, int n, nnp_vec* h, nnp_vec* slope, nnp_vec* bend)
{
#define NNP_LAYER(k)                                                                                         \
    case k:                                                                                                  \
        for (int o = 0; o < n; ++o) {                                                                        \
            nnp_vec value, first, second;                                                                    \
            nnp_activate(k, h[o], &value, &first, &second);                                                  \
            h[o] = value;                                                                                    \
            slope[o] = first;                                                                                \
            if (bend) bend[o] = second;                                                                      \
        }                                                                                                    \
        break;
    switch (kind) {
        NNP_LAYER(NNP_ACT_TANH)
        NNP_LAYER(NNP_ACT_LOGISTIC)
        NNP_LAYER(NNP_ACT_SOFTPLUS)
        NNP_LAYER(NNP_ACT_GAUSSIAN)
        NNP_LAYER(NNP_ACT_COS)
        NNP_LAYER(NNP_ACT_RELU)
        NNP_LAYER(NNP_ACT_EXP)
        NNP_LAYER(NNP_ACT_HARMONIC)
        NNP_LAYER(NNP_ACT_LINEAR)
    }
#undef NNP_LAYER
}

/* h[l + 1] = a(h[l] W_l + b_l) with slopes a' and, where bend is not NULL, a''; h[0] is given, h[n_layers][0]
 * is the energy. */
static void net_forward(const nnp_net* net, const nnp_real* theta, nnp_vec** h, nnp_vec** slope,
                        nnp_vec** bend)
{
    for (int l = 0; l < net->n_layers; ++l) {
        const int n_in = net->width[l], n_out = net->width[l + 1];
        for (int o = 0; o < n_out; ++o) h[l + 1][o] = nnp_splat(theta[net->bias[l] + o]);
        matvec(theta + net->weight[l], n_out, 1, n_in, n_out, h[l], h[l + 1]);
        activate(net->activation[l], n_out, h[l + 1], slope[l + 1], bend ? bend[l + 1] : NULL);
    }
}

/* Energy, and its gradient with respect to the inputs; in, d_in are [width[0]]. */
static nnp_vec net_evaluate(const nnp_net* net, const nnp_real* theta, const nnp_vec* in, nnp_vec* d_in,
                            nnp_arena* arena)
{
    nnp_vec *h[NNP_MAX_LAYERS + 1], *slope[NNP_MAX_LAYERS + 1];
    h[0] = (nnp_vec*)in;
    for (int l = 1; l <= net->n_layers; ++l) {
        h[l] = nnp_take_vec(arena, (size_t)net->width[l]);
        slope[l] = nnp_take_vec(arena, (size_t)net->width[l]);
    }
    net_forward(net, theta, h, slope, NULL);

    nnp_vec* d = nnp_take_vec(arena, 1); /* dE/dz of the layer above */
    d[0] = nnp_splat(NNP_R(1.0));
    for (int l = net->n_layers - 1; l >= 0; --l) {
        const int n_in = net->width[l], n_out = net->width[l + 1];
        nnp_vec* below = l ? nnp_take_vec(arena, (size_t)n_in) : d_in;
        for (int k = 0; k < n_in; ++k) below[k] = nnp_splat(0);
        matvec(theta + net->weight[l], 1, n_out, n_out, n_in, d, below);
        if (l)
            for (int k = 0; k < n_in; ++k) below[k] *= slope[l][k];
        d = below;
    }
    return h[net->n_layers][0];
}

/* acc[weight] += h_in (x) p + t_in (x) q;  acc[bias] += p */
static void net_accumulate(const nnp_net* net, int l, const nnp_vec* h, const nnp_vec* t, const nnp_vec* p,
                           const nnp_vec* q, nnp_vec* acc)
{
    const int n_in = net->width[l], n_out = net->width[l + 1];
    nnp_vec* w = acc + net->weight[l];
    for (int k = 0; k < n_in; ++k, w += n_out) {
        const nnp_vec hk = h[k], tk = t[k];
        for (int o = 0; o < n_out; ++o) w[o] += hk * p[o] + tk * q[o];
    }
    for (int o = 0; o < n_out; ++o) acc[net->bias[l] + o] += p[o];
}

/* Reverse sweep of J = c energy + one d energy/dt along the input tangent t0 [width[0]]; one is 1 in lanes
 * that hold an atom, else 0 (as is c). Adds dJ/dtheta to acc; p0 = dJ/d in, q0 = dJ/d t0 = d energy/d in.
 * With h = a(z), t = a'(z) z.: adj(z.) = a' adj(t),  adj(z) = a' adj(h) + a'' z. adj(t). */
static void net_gradient(const nnp_net* net, const nnp_real* theta, const nnp_vec* in, const nnp_vec* t0,
                         nnp_vec c, nnp_vec one, nnp_vec* p0, nnp_vec* q0, nnp_arena* arena, nnp_vec* acc)
{
    nnp_vec *h[NNP_MAX_LAYERS + 1], *t[NNP_MAX_LAYERS + 1], *dz[NNP_MAX_LAYERS + 1];
    nnp_vec *slope[NNP_MAX_LAYERS + 1], *bend[NNP_MAX_LAYERS + 1];
    h[0] = (nnp_vec*)in;
    t[0] = (nnp_vec*)t0;
    for (int l = 1; l <= net->n_layers; ++l) {
        h[l] = nnp_take_vec(arena, (size_t)net->width[l]);
        t[l] = nnp_take_vec(arena, (size_t)net->width[l]);
        dz[l] = nnp_take_vec(arena, (size_t)net->width[l]);
        slope[l] = nnp_take_vec(arena, (size_t)net->width[l]);
        bend[l] = nnp_take_vec(arena, (size_t)net->width[l]);
    }
    net_forward(net, theta, h, slope, bend);
    for (int l = 0; l < net->n_layers; ++l) {
        const int n_in = net->width[l], n_out = net->width[l + 1];
        for (int o = 0; o < n_out; ++o) dz[l + 1][o] = nnp_splat(0);
        matvec(theta + net->weight[l], n_out, 1, n_in, n_out, t[l], dz[l + 1]);
        for (int o = 0; o < n_out; ++o) t[l + 1][o] = slope[l + 1][o] * dz[l + 1][o];
    }

    nnp_vec *p = nnp_take_vec(arena, 1), *q = nnp_take_vec(arena, 1);
    p[0] = c;
    q[0] = one;
    for (int l = net->n_layers - 1; l >= 0; --l) {
        const int n_in = net->width[l], n_out = net->width[l + 1];
        net_accumulate(net, l, h[l], t[l], p, q, acc);
        nnp_vec* p_below = l ? nnp_take_vec(arena, (size_t)n_in) : p0;
        nnp_vec* q_below = l ? nnp_take_vec(arena, (size_t)n_in) : q0;
        for (int k = 0; k < n_in; ++k) p_below[k] = q_below[k] = nnp_splat(0);
        matvec(theta + net->weight[l], 1, n_out, n_out, n_in, p, p_below);
        matvec(theta + net->weight[l], 1, n_out, n_out, n_in, q, q_below);
        if (l)
            for (int k = 0; k < n_in; ++k) {
                p_below[k] = slope[l][k] * p_below[k] + bend[l][k] * dz[l][k] * q_below[k];
                q_below[k] *= slope[l][k];
            }
        p = p_below;
        q = q_below;
    }
}

#endif /* NNP_NET_IMPL_H */
