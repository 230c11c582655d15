/* net.cu - the network of one species for tiles of atoms, and its part of the loss gradient.
 *
 *   z_l = h_l W_l + b_l,  h_{l+1} = a(z_l),  energy = z_last        (W_l is [in][out], as in net_impl.h)
 *
 * A block takes a tile of T atoms, which stand side by side in shared memory, [unit][T]. A thread owns
 * outputs o = thread, thread + threads, ... of a layer and keeps T sums in registers: one number of W from
 * memory serves T atoms, T / 4 reads of shared memory serve T multiplications. theta_t holds every W
 * transposed, so that the way back reads in order too.
 *
 * net is [1 + 4 L + 1] integers: L layers, width [L+1], activation [L], weight [L], bias [L] (offsets in
 * theta).
 */
#include "../math/vecmath.h"
#include "../nnp_kinds.h"
#include "../math/activation.h"

#define NNP_NET_TILE   16 /* atoms a block: energies and forces */
#define NNP_TRAIN_TILE 8  /* training: four numbers a unit instead of two */

typedef struct __align__(16) nnp_four {
    nnp_real a, b, c, d;
} nnp_four;

typedef struct nnp_net {
    int n_layers;
    const int *width, *activation, *weight, *bias;
} nnp_net;

NNP_FN nnp_net net_read(const int* p)
{
    nnp_net net;
    net.n_layers = p[0];
    net.width = p + 1;
    net.activation = net.width + net.n_layers + 1;
    net.weight = net.activation + net.n_layers;
    net.bias = net.weight + net.n_layers;
    return net;
}

/* acc [T] += sum_i w[i stride] in[i][T] */
NNP_FN void net_column(const int T, const nnp_real* NNP_RESTRICT w, int stride, int n, const nnp_real* in,
                       nnp_real* acc)
{
    for (int i = 0; i < n; ++i) {
        const nnp_real wi = w[(int64_t)i * stride];
        const nnp_four* const v = (const nnp_four*)(in + i * T);
        for (int k = 0; k < T / 4; ++k) {
            const nnp_four q = v[k];
            acc[4 * k] += wi * q.a;
            acc[4 * k + 1] += wi * q.b;
            acc[4 * k + 2] += wi * q.c;
            acc[4 * k + 3] += wi * q.d;
        }
    }
}

NNP_FN void net_store(const int T, const nnp_real* acc, nnp_real* out)
{
    for (int k = 0; k < T / 4; ++k) {
        const nnp_four q = {acc[4 * k], acc[4 * k + 1], acc[4 * k + 2], acc[4 * k + 3]};
        ((nnp_four*)out)[k] = q;
    }
}

/* Energies of tiles of atoms, to energy [n] by row, and de_dg [inputs][n_places]. Shared: two buffers of the
 * widest layer, and a slope for every hidden unit, T numbers each. */
NNP_KERNEL nnp_net_evaluate(int n_places, const int* NNP_RESTRICT rows, const int* NNP_RESTRICT layers,
                            int widest, const nnp_real* NNP_RESTRICT theta,
                            const nnp_real* NNP_RESTRICT theta_t, const nnp_real* NNP_RESTRICT inputs,
                            double* NNP_RESTRICT energy, nnp_real* NNP_RESTRICT de_dg)
{
    NNP_DYN_SHARED(nnp_real, shared);
    enum { T = NNP_NET_TILE };
    const nnp_net net = net_read(layers);
    const int thread = (int)threadIdx.x, threads = (int)blockDim.x;
    const int place = (int)blockIdx.x * T;
    nnp_real *h = shared, *next = shared + widest * T, *slope = next + widest * T;
    for (int i = thread; i < net.width[0] * T; i += threads) {
        const int p = place + i % T;
        h[i] = p < n_places && rows[p] >= 0 ? inputs[(int64_t)(i / T) * n_places + p] : NNP_R(0.0);
    }
    __syncthreads();
    for (int l = 0; l < net.n_layers - 1; ++l) {
        const int n_in = net.width[l], n_out = net.width[l + 1], kind = net.activation[l];
        for (int o = thread; o < n_out; o += threads) {
            nnp_real acc[T], value, first, second;
            for (int a = 0; a < T; ++a) acc[a] = theta[net.bias[l] + o];
            net_column(T, theta + net.weight[l] + o, n_out, n_in, h, acc);
            net_store(T, acc, next + o * T);
#pragma unroll 1
            for (int i = o * T; i < (o + 1) * T; ++i) {
                nnp_activate(kind, next[i], &value, &first, &second);
                next[i] = value;
                slope[i] = first;
            }
        }
        nnp_real* const swap = h;
        h = next;
        next = swap;
        slope += n_out * T;
        __syncthreads();
    }
    const int top = net.n_layers - 1;
    if (thread < T && place + thread < n_places && rows[place + thread] >= 0) {
        nnp_real e = theta[net.bias[top]];
        for (int k = 0; k < net.width[top]; ++k) e += theta[net.weight[top] + k] * h[k * T + thread];
        energy[rows[place + thread]] = (double)e;
    }
    for (int i = thread; i < T; i += threads) next[i] = NNP_R(1.0); /* dE/dz of the last layer */
    for (int l = top; l >= 0; --l) {
        const int n_in = net.width[l], n_out = net.width[l + 1];
        nnp_real* const swap = h;
        h = next;
        next = swap;
        if (l) slope -= n_in * T;
        __syncthreads();
        for (int k = thread; k < n_in; k += threads) {
            nnp_real acc[T];
            for (int a = 0; a < T; ++a) acc[a] = 0;
            net_column(T, theta_t + net.weight[l] + k, n_in, n_out, h, acc);
            if (l) {
                for (int a = 0; a < T; ++a) acc[a] *= slope[k * T + a];
                net_store(T, acc, next + k * T);
            } else {
                for (int a = 0; a < T; ++a)
                    if (place + a < n_places) de_dg[(int64_t)k * n_places + place + a] = acc[a];
            }
        }
    }
}

/* ---- loss gradient ---- */

/* Units of the layers below the last, [unit][T]: h, its tangent t; of the hidden ones slope a' and bend a''
 * z., whose places take q = dJ/d z. and p = dJ/dz on the way back. J = c energy + energy., as in net_impl.h.
 */
typedef struct nnp_net_tile {
    nnp_real *h, *t, *slope, *bend, *p_top, *q_top;
} nnp_net_tile;

NNP_FN void train_forward(const nnp_net* net, const nnp_real* theta, const nnp_net_tile* tile)
{
    enum { T = NNP_TRAIN_TILE };
    nnp_real *h = tile->h, *t = tile->t, *slope = tile->slope, *bend = tile->bend;
    for (int l = 0; l < net->n_layers - 1; ++l) {
        const int n_in = net->width[l], n_out = net->width[l + 1], kind = net->activation[l];
        nnp_real *const h_out = h + n_in * T, *const t_out = t + n_in * T;
        for (int o = (int)threadIdx.x; o < n_out; o += (int)blockDim.x) {
            nnp_real z[T], dz[T], value, first, second;
            for (int a = 0; a < T; ++a) {
                z[a] = theta[net->bias[l] + o];
                dz[a] = 0;
            }
            net_column(T, theta + net->weight[l] + o, n_out, n_in, h, z);
            net_column(T, theta + net->weight[l] + o, n_out, n_in, t, dz);
            net_store(T, z, h_out + o * T);
            net_store(T, dz, t_out + o * T);
#pragma unroll 1
            for (int i = o * T; i < (o + 1) * T; ++i) {
                nnp_activate(kind, h_out[i], &value, &first, &second);
                bend[i] = second * t_out[i];
                t_out[i] *= first;
                h_out[i] = value;
                slope[i] = first;
            }
        }
        __syncthreads();
        h = h_out;
        t = t_out;
        slope += n_out * T;
        bend += n_out * T;
    }
}

NNP_FN nnp_real train_dot(const nnp_real* x, const nnp_real* y)
{
    nnp_real s = 0;
    for (int a = 0; a < NNP_TRAIN_TILE; ++a) s += x[a] * y[a];
    return s;
}

/* slab [weight] (+)= h_in (x) p + t_in (x) q,  slab [bias] (+)= p */
NNP_FN void train_accumulate(int n_in, int n_out, const nnp_real* h, const nnp_real* t, const nnp_real* p,
                             const nnp_real* q, nnp_real* weight, nnp_real* bias, int add)
{
    enum { T = NNP_TRAIN_TILE };
    const int threads = (int)blockDim.x;
    for (int o = (int)threadIdx.x; o < n_out; o += threads) {
        nnp_real sum = 0;
        for (int a = 0; a < T; ++a) sum += p[o * T + a];
        bias[o] = add ? bias[o] + sum : sum;
    }
    if (n_out < 8) { /* too few outputs for the threads: they share the inputs too */
        for (int i = (int)threadIdx.x; i < n_in * n_out; i += threads) {
            const int k = i / n_out, o = i % n_out;
            const nnp_real g = train_dot(h + k * T, p + o * T) + train_dot(t + k * T, q + o * T);
            weight[i] = add ? weight[i] + g : g;
        }
        return;
    }
    for (int o = (int)threadIdx.x; o < n_out; o += threads) {
        nnp_real po[T], qo[T];
        for (int a = 0; a < T; ++a) {
            po[a] = p[o * T + a];
            qo[a] = q[o * T + a];
        }
        for (int k = 0; k < n_in; ++k) {
            const nnp_four *const hk = (const nnp_four*)(h + k * T), *const tk = (const nnp_four*)(t + k * T);
            nnp_real g = 0, gt = 0;
            for (int i = 0; i < T / 4; ++i) {
                const nnp_four x = hk[i], y = tk[i];
                g += x.a * po[4 * i];
                gt += y.a * qo[4 * i];
                g += x.b * po[4 * i + 1];
                gt += y.b * qo[4 * i + 1];
                g += x.c * po[4 * i + 2];
                gt += y.c * qo[4 * i + 2];
                g += x.d * po[4 * i + 3];
                gt += y.d * qo[4 * i + 3];
            }
            g += gt;
            nnp_real* const w = weight + k * n_out + o;
            *w = add ? *w + g : g;
        }
    }
}

/* From (p, q) of layer l's outputs to those of its inputs: hidden units, or the network's inputs (to memory).
 */
NNP_FN void train_back(const nnp_net* net, int l, const nnp_real* theta_t, const nnp_real* p,
                       const nnp_real* q, nnp_real* slope, nnp_real* bend, int place, int n_places,
                       nnp_real* p0, nnp_real* q0)
{
    enum { T = NNP_TRAIN_TILE };
    const int n_in = net->width[l], n_out = net->width[l + 1];
    for (int k = (int)threadIdx.x; k < n_in; k += (int)blockDim.x) {
        nnp_real pk[T], qk[T];
        for (int a = 0; a < T; ++a) pk[a] = qk[a] = 0;
        net_column(T, theta_t + net->weight[l] + k, n_in, n_out, p, pk);
        net_column(T, theta_t + net->weight[l] + k, n_in, n_out, q, qk);
        for (int a = 0; a < T; ++a) {
            if (l) {
                const int i = k * T + a;
                const nnp_real s = slope[i];
                bend[i] = s * pk[a] + bend[i] * qk[a];
                slope[i] = s * qk[a];
            } else if (place + a < n_places) {
                p0[(int64_t)k * n_places + place + a] = pk[a];
                q0[(int64_t)k * n_places + place + a] = qk[a];
            }
        }
    }
}

NNP_FN void train_backward(const nnp_net* net, const nnp_real* theta_t, const nnp_net_tile* tile, int place,
                           int n_places, nnp_real* slab, int add, nnp_real* p0, nnp_real* q0)
{
    enum { T = NNP_TRAIN_TILE };
    int below = 0, hidden = 0; /* units of the layers under the present one, with the inputs and without */
    for (int l = 0; l < net->n_layers; ++l) below += net->width[l];
    hidden = below - net->width[0];
    const nnp_real *p = tile->p_top, *q = tile->q_top;
    for (int l = net->n_layers - 1; l >= 0; --l) {
        below -= net->width[l];
        if (l) hidden -= net->width[l];
        train_accumulate(net->width[l], net->width[l + 1], tile->h + below * T, tile->t + below * T, p, q,
                         slab + (net->weight[l] - net->weight[0]), slab + (net->bias[l] - net->weight[0]),
                         add);
        nnp_real *const slope = tile->slope + hidden * T, *const bend = tile->bend + hidden * T;
        train_back(net, l, theta_t, p, q, slope, bend, place, n_places, p0, q0);
        __syncthreads();
        p = bend;
        q = slope;
    }
}

/* Block b takes tiles tile_first[b] .. tile_first[b+1] - 1 of T places and sums d/dtheta sum (c E + E.) of
 * its network into slab b of slabs [blocks][n_net]. p, q [inputs][n_places]: the same with respect to G and
 * G. */
NNP_KERNEL nnp_net_gradient(int n_places, const int* NNP_RESTRICT rows, const int* NNP_RESTRICT structure,
                            const double* NNP_RESTRICT c, const int* NNP_RESTRICT tile_first,
                            const int* NNP_RESTRICT layers, int n_units, const nnp_real* NNP_RESTRICT theta,
                            const nnp_real* NNP_RESTRICT theta_t, const nnp_real* NNP_RESTRICT inputs,
                            const nnp_real* NNP_RESTRICT rates, int n_net, nnp_real* NNP_RESTRICT slabs,
                            nnp_real* NNP_RESTRICT p, nnp_real* NNP_RESTRICT q)
{
    NNP_DYN_SHARED(nnp_real, shared);
    enum { T = NNP_TRAIN_TILE };
    const nnp_net net = net_read(layers);
    const int n_hidden = n_units - net.width[0];
    nnp_net_tile tile;
    tile.h = shared;
    tile.t = tile.h + n_units * T;
    tile.slope = tile.t + n_units * T;
    tile.bend = tile.slope + n_hidden * T;
    tile.p_top = tile.bend + n_hidden * T;
    tile.q_top = tile.p_top + T;
    const int begin = tile_first[blockIdx.x], end = tile_first[blockIdx.x + 1];
    for (int i = begin; i < end; ++i) {
        const int place = i * T;
        for (int k = (int)threadIdx.x; k < net.width[0] * T; k += (int)blockDim.x) {
            const int at = place + k % T;
            const int64_t from = (int64_t)(k / T) * n_places + at;
            const bool live = at < n_places && rows[at] >= 0;
            tile.h[k] = live ? inputs[from] : NNP_R(0.0);
            tile.t[k] = live ? rates[from] : NNP_R(0.0);
        }
        for (int a = (int)threadIdx.x; a < T; a += (int)blockDim.x) {
            const int row = place + a < n_places ? rows[place + a] : -1;
            tile.p_top[a] = row < 0 ? NNP_R(0.0) : (nnp_real)c[structure[row]];
            tile.q_top[a] = row < 0 ? NNP_R(0.0) : NNP_R(1.0);
        }
        __syncthreads();
        train_forward(&net, theta, &tile);
        train_backward(&net, theta_t, &tile, place, n_places, slabs + (int64_t)blockIdx.x * n_net, i > begin,
                       p, q);
        __syncthreads();
    }
}

/* grad [group][stride] at offset: sums of the slabs of each group, in double, in order. */
NNP_KERNEL nnp_net_reduce(int n_net, const int* NNP_RESTRICT group_first, const nnp_real* NNP_RESTRICT slabs,
                          int64_t stride, int64_t offset, double* NNP_RESTRICT grad)
{
    const int i = (int)(blockIdx.x * blockDim.x + threadIdx.x), group = (int)blockIdx.y;
    if (i >= n_net) return;
    double sum = 0;
    for (int s = group_first[group]; s < group_first[group + 1]; ++s)
        sum += (double)slabs[(int64_t)s * n_net + i];
    grad[group * stride + offset + i] = sum;
}
