/* bp.cu - Behler-Parrinello symmetry functions: values, pair gradients, rates along pair tangents.
 *
 *   E = sum_{j<k} U(cos) R_j R_k N,   U = sum_f d_f A_f,   d_f = dE/dG_f,   N = R(r_jk) or 1
 * The way back goes through all ordered pairs, so that every lane adds to its own j only; nothing is stored
 * between the kernels but G and dE/dG. One warp an atom; blocks of any number of warps. Formulas: math/bp.h.
 */
#include "bp_moments.cuh"

/* ---- values ---- */

/* sum over the lanes' columns of rows [0, n) -> out by a lane a row; columns in the order l, l + 1, .. */
NNP_FN nnp_real nnp_bp_row_sum(const nnp_real* sums, int row)
{
    nnp_real s = 0;
    for (int i = 0; i < 32; ++i) s += sums[row * 32 + ((i + row) & 31)];
    return s;
}

NNP_FN void nnp_bp_clear_sums(const nnp_bp_near* v, nnp_real* sums, int n)
{
    for (int i = 0; i < n; ++i) sums[i * 32 + v->lane] = 0;
}

/* Sums over all neighbours of the radial functions, added to v->g; rates to v->g_dot. */
NNP_FN void nnp_bp_radial_sums(const nnp_bp_tables* t, const nnp_bp_row* a, nnp_bp_near* v,
                               const nnp_bp_tangent* tangent)
{
    nnp_real* const dots = v->sums + 32 * nnp_bp_columns(t);
    for (int s = 0; s < v->n_species; ++s) {
        const int begin = t->span[t->c->radial + s], n = t->span[t->c->radial + s + 1] - begin;
        const int end = nnp_bp_run_end(a, s);
        nnp_bp_clear_sums(v, v->sums, n);
        if (tangent) nnp_bp_clear_sums(v, dots, n);
        for (int k = nnp_bp_run_begin(a, s) + v->lane; k < end && n; k += 32) {
            const nnp_bp_bond b = nnp_bp_bond_of(a->x, a->index, nnp_bp_entry(a->slice_first, a->i, k), a->i);
            nnp_real rate[3] = {0, 0, 0};
            if (tangent) nnp_bp_rate_of(tangent, a->i, &b, rate);
            const nnp_real along = rate[0] * b.x + rate[1] * b.y + rate[2] * b.z;
            nnp_bp_kept kept;
            kept.cut = -1;
            for (int l = 0; l < n; ++l) {
                nnp_vec r[1] = {b.r}, value[1], slope[1];
                nnp_bp_radius_rows(1, t->radius + t->radial[begin + l].radius, r, &kept, value, slope);
                v->sums[32 * l + v->lane] += value[0];
                if (tangent) dots[32 * l + v->lane] += slope[0] * along;
            }
        }
        __syncwarp();
        for (int l = v->lane; l < n; l += 32) {
            const nnp_bp_radial* const o = t->radial + begin + l;
            const nnp_real value = nnp_bp_row_sum(v->sums, l);
            const nnp_real dot = tangent ? nnp_bp_row_sum(dots, l) : NNP_R(0.0);
            for (int i = o->first; i < o->first + o->n; ++i) {
                v->g[t->use[i].input] += t->use[i].scale * value;
                if (tangent) v->g_dot[t->use[i].input] += t->use[i].scale * dot;
            }
        }
        __syncwarp();
    }
}

/* R(r_jk) and its slope; keeping the cutoff function for the next group would cost more registers than it
 * saves */
NNP_FN void nnp_bp_far_rows(const nnp_bp_tables* t, const nnp_bp_group* g, const nnp_vec* r, nnp_vec* f,
                            nnp_vec* df)
{
    nnp_bp_kept kept;
    kept.cut = -1;
    nnp_bp_radius_rows(NNP_BP_ABREAST, t->radius + t->term[g->term], r, &kept, f, df);
}

/* A lane's triplets of a batch into its columns of v->sums: A R_j R_k N of the sweep's members. */
NNP_FN void nnp_bp_values_batch(const nnp_bp_tables* t, const nnp_bp_sweep* s, const nnp_bp_near* v,
                                int first, int n)
{
    enum { Q = NNP_BP_ABREAST };
    const nnp_bp_triplets x = nnp_bp_geometry(v, first, n);
    const int j = x.j < 0 ? 0 : x.j;
    for (int i = s->first; i < s->first + s->n; ++i) {
        const nnp_bp_group* const g = t->group + i;
        const nnp_real* const value = v->value + g->term * v->capacity;
        const nnp_real rj = value[j];
        nnp_vec w[Q], a[Q];
        for (int q = 0; q < Q; ++q) {
            w[q] = x.live[q] ? rj * value[x.k[q]] : NNP_R(0.0);
            a[q] = 0;
        }
        if (g->narrow) {
            nnp_vec f[Q], df[Q];
            nnp_bp_far_rows(t, g, x.r, f, df);
            for (int q = 0; q < Q; ++q) w[q] *= f[q];
        }
        for (int f = g->first; f < g->first + g->n; ++f) {
            nnp_bp_angle_values(Q, t->member + f, x.c, a);
            nnp_real sum = 0;
            for (int q = 0; q < Q; ++q) sum += a[q] * w[q];
            v->sums[32 * (f - s->first_member) + v->lane] += sum;
        }
    }
}

NNP_FN void nnp_bp_sweep_values(const nnp_bp_tables* t, const nnp_bp_sweep* s, nnp_bp_near* v)
{
    nnp_bp_clear_sums(v, v->sums, s->n_members);
    nnp_bp_queue pairs = nnp_bp_pairs(v, s->t, s->u, s->t == s->u, s->reach2);
    for (int first, n; (n = nnp_bp_next(v, &pairs, &first)) > 0;) nnp_bp_values_batch(t, s, v, first, n);
    __syncwarp();
    for (int f = v->lane; f < s->n_members; f += 32) {
        const nnp_bp_member* const m = t->member + s->first_member + f;
        v->g[m->input] += m->scale * nnp_bp_row_sum(v->sums, f);
    }
    __syncwarp();
}

/* Blocks that a multiprocessor shall hold; more would spill, with older compilers in float64 too. */
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 1000
#define NNP_BP_BLOCKS (NNP_REAL_BITS == 64 ? 2 : 3)
#elif defined(__CUDACC_VER_MAJOR__) && __CUDACC_VER_MAJOR__ >= 13
#define NNP_BP_BLOCKS (NNP_REAL_BITS == 64 ? 3 : 4)
#else
#define NNP_BP_BLOCKS (NNP_REAL_BITS == 64 ? 2 : 4)
#endif

NNP_FN nnp_real nnp_bp_nothing(void) { return nnp_sqrt(NNP_R(-1.0)); } /* NaN */

/* Atoms rows [n_places] of one species, -1: none; segment: of all n rows; tables: nnpcore/gpu/bp.py;
 * capacity: room for near neighbours; where that is too little, the results are NaN. */
#define NNP_BP_ARGS                                                                                          \
    int n_places, const int *NNP_RESTRICT rows, int n, const double *NNP_RESTRICT x,                         \
        const int64_t *NNP_RESTRICT slice_first, const int *NNP_RESTRICT index,                              \
        const int *NNP_RESTRICT segment, int capacity, const unsigned char *NNP_RESTRICT tables, int species

/* inputs [functions][n_places] of the network; outside [n]: functions beyond their training range; atoms
 * closer than least are reported. */
NNP_KERNEL __launch_bounds__(128, NNP_BP_BLOCKS)
    nnp_bp_values(NNP_BP_ARGS, double least, nnp_real* NNP_RESTRICT inputs, int* NNP_RESTRICT outside,
                  int* NNP_RESTRICT status)
{
    NNP_DYN_SHARED(unsigned char, room);
    const int warp = (int)threadIdx.x >> 5, lane = (int)threadIdx.x & 31;
    const int place = (int)(blockIdx.x * (blockDim.x >> 5)) + warp;
    if (place >= n_places || rows[place] < 0) return;
    const int i = rows[place];
    const nnp_bp_tables t = nnp_bp_open(tables, species);
    const nnp_bp_row a = {i, n, x, slice_first, index, segment};
    nnp_bp_near v = nnp_bp_take(&t, NNP_BP_VALUES, capacity, room, warp, lane);
    for (int f = lane; f < t.c->n_functions; f += 32) v.g[f] = 0;
    const int fits = nnp_bp_pack(&t, &a, &v, (nnp_real)least, status, nullptr);
    nnp_bp_terms(&t, &v, 0);
    nnp_bp_radial_sums(&t, &a, &v, nullptr);
    if (t.c->n_sets) nnp_bp_sum_moments(&t, &v);
    for (int s = 0; s < t.c->n_sweeps; ++s)
        if (t.sweep[s].by_moments)
            nnp_bp_moment_values(&t, t.sweep + s, &v, v.sums);
        else
            nnp_bp_sweep_values(&t, t.sweep + s, &v);
    int beyond = 0;
    for (int f = lane; f < t.c->n_functions; f += 32) {
        const nnp_bp_function* const o = t.function + f;
        inputs[(int64_t)f * n_places + place] = fits ? (v.g[f] - o->centre) * o->factor : nnp_bp_nothing();
        beyond += v.g[f] < o->minimum || v.g[f] > o->maximum;
    }
    for (int step = 16; step > 0; step >>= 1) beyond += __shfl_xor_sync(0xffffffffu, beyond, step);
    if (lane == 0) outside[i] = beyond;
}

/* *most: the largest number of neighbours that lie within margin of the angular functions' reach. */
NNP_KERNEL nnp_bp_crowd(NNP_BP_ARGS, double margin, int* NNP_RESTRICT most)
{
    const int place = (int)(blockIdx.x * blockDim.x + threadIdx.x);
    if (place >= n_places || rows[place] < 0) return;
    const nnp_bp_tables t = nnp_bp_open(tables, species);
    const nnp_bp_row a = {rows[place], n, x, slice_first, index, segment};
    int m = 0;
    for (int s = 0; s < t.h->n_species; ++s) {
        const nnp_real reach = t.near[s] > 0 ? t.near[s] + (nnp_real)margin : NNP_R(0.0);
        for (int k = nnp_bp_run_begin(&a, s), end = nnp_bp_run_end(&a, s); k < end && reach > 0; ++k)
            m += nnp_bp_bond_of(x, index, nnp_bp_entry(slice_first, a.i, k), a.i).r < reach;
    }
    atomicMax(most, m);
}

/* ---- pair gradients ---- */

/* The sweep's groups as polynomials of the cosine: u [n][NNP_BP_DEGREE + 1] from dE/dG */
NNP_FN void nnp_bp_fold(const nnp_bp_tables* t, const nnp_bp_sweep* s, const nnp_bp_near* v, nnp_real* u)
{
    const int width = NNP_BP_DEGREE + 1;
    for (int e = v->lane; e < s->n * width; e += 32) {
        const nnp_bp_group* const g = t->group + s->first + e / width;
        nnp_real sum = 0;
        for (int f = g->first; f < g->first + g->n_poly; ++f)
            sum += t->member[f].poly[e % width] * v->g[t->member[f].input];
        u[e] = sum;
    }
    __syncwarp();
}

/* U and dU/dcos of a group */
NNP_FN void nnp_bp_angular(const nnp_bp_tables* t, const nnp_bp_group* g, const nnp_bp_near* v,
                           const nnp_real* u, const nnp_vec* c, nnp_vec* value, nnp_vec* slope)
{
    enum { Q = NNP_BP_ABREAST };
    const nnp_real top = u[g->degree];
    for (int q = 0; q < Q; ++q) {
        value[q] = top;
        slope[q] = 0;
    }
    for (int m = g->degree - 1; m >= 0; --m) {
        const nnp_real next = u[m];
        for (int q = 0; q < Q; ++q) {
            slope[q] = slope[q] * c[q] + value[q];
            value[q] = value[q] * c[q] + next;
        }
    }
    for (int f = g->first + g->n_poly; f < g->first + g->n; ++f) {
        const nnp_real d = t->member[f].scale * v->g[t->member[f].input];
        nnp_vec a[Q], da[Q];
        nnp_bp_angle_slopes(Q, t->member + f, c, a, da);
        for (int q = 0; q < Q; ++q) {
            value[q] += d * a[q];
            slope[q] += d * da[q];
        }
    }
}

/* Sums of neighbouring lanes with the same j, and then to v: every j at one lane. */
NNP_FN void nnp_bp_add_rows(const nnp_bp_near* v, int j, nnp_real gx, nnp_real gy, nnp_real gz)
{
    const unsigned all = 0xffffffffu;
    for (int step = 1; step < 32; step <<= 1) {
        const int other = __shfl_down_sync(all, j, step);
        const nnp_real ox = __shfl_down_sync(all, gx, step), oy = __shfl_down_sync(all, gy, step),
                       oz = __shfl_down_sync(all, gz, step);
        if (v->lane + step < 32 && other == j) gx += ox, gy += oy, gz += oz;
    }
    const int before = __shfl_up_sync(all, j, 1);
    if (j >= 0 && (v->lane == 0 || before != j)) v->gx[j] += gx, v->gy[j] += gy, v->gz[j] += gz;
    __syncwarp();
}

/* dE/dr_ij of a lane's triplets. With t = dE/dcos, s = (dE/dr_jk)/r_jk, e = dE/dr_j through R_j:
 * e u_j + t (u_k - c u_j)/r_j + s (r_j u_j - r_k u_k) */
NNP_FN void nnp_bp_pull_batch(const nnp_bp_tables* t, const nnp_bp_sweep* s, const nnp_bp_near* v,
                              const nnp_real* u, int first, int n)
{
    enum { Q = NNP_BP_ABREAST };
    const nnp_bp_triplets x = nnp_bp_geometry(v, first, n);
    const int j = x.j < 0 ? 0 : x.j;
    nnp_vec turn[Q], stretch[Q];
    nnp_real e = 0;
    for (int q = 0; q < Q; ++q) turn[q] = stretch[q] = 0;
    for (int i = 0; i < s->n; ++i) {
        const nnp_bp_group* const g = t->group + s->first + i;
        const nnp_real *const value = v->value + g->term * v->capacity, *const slope =
                                                                            v->slope + g->term * v->capacity;
        const nnp_real rj = value[j], dj = slope[j];
        nnp_vec a[Q], da[Q], f[Q], df[Q];
        nnp_bp_angular(t, g, v, u + i * (NNP_BP_DEGREE + 1), x.c, a, da);
        if (g->narrow) nnp_bp_far_rows(t, g, x.r, f, df);
        for (int q = 0; q < Q; ++q) {
            const nnp_vec rk = x.live[q] ? value[x.k[q]] : NNP_R(0.0);
            const nnp_vec w = g->narrow ? rk * f[q] : rk;
            e += dj * w * a[q];
            turn[q] += rj * w * da[q];
            if (g->narrow) stretch[q] += rj * rk * df[q] * a[q];
        }
    }
    const nnp_real r = v->r[j], r_inv = NNP_R(1.0) / r;
    nnp_real gx = 0, gy = 0, gz = 0;
    for (int q = 0; q < Q; ++q) {
        const int k = x.k[q];
        const nnp_real side = turn[q] * r_inv, along = stretch[q] / x.r[q], far = side - along * v->r[k];
        e += along * r - side * x.c[q];
        gx += far * v->x[k], gy += far * v->y[k], gz += far * v->z[k];
    }
    gx += e * v->x[j], gy += e * v->y[j], gz += e * v->z[j];
    nnp_bp_add_rows(v, x.j, gx, gy, gz);
}

NNP_FN void nnp_bp_sweep_pull(const nnp_bp_tables* t, const nnp_bp_sweep* s, nnp_bp_near* v, nnp_real* u)
{
    nnp_bp_fold(t, s, v, u);
    if (s->by_moments) {
        nnp_bp_push_moments(t, s, v, u);
        return;
    }
    for (int turn = 0; turn < (s->t == s->u ? 1 : 2); ++turn) {
        nnp_bp_queue pairs = nnp_bp_pairs(v, turn ? s->u : s->t, turn ? s->t : s->u, 0, s->reach2);
        for (int first, n; (n = nnp_bp_next(v, &pairs, &first)) > 0;) nnp_bp_pull_batch(t, s, v, u, first, n);
    }
    __syncwarp();
}

/* The radial functions' part, and all of it to the list's entries; own: room for a species' radii. */
NNP_FN void nnp_bp_write(const nnp_bp_tables* t, const nnp_bp_row* a, nnp_bp_near* v, nnp_real* own,
                         nnp_real* gradient, int64_t entries, int add)
{
    int m = 0;
    for (int s = 0; s < v->n_species; ++s) {
        const int begin = t->span[t->c->radial + s], n = t->span[t->c->radial + s + 1] - begin;
        const int end = nnp_bp_run_end(a, s);
        __syncwarp();
        for (int l = v->lane; l < n; l += 32) {
            const nnp_bp_radial* const o = t->radial + begin + l;
            nnp_real d = 0;
            for (int i = o->first; i < o->first + o->n; ++i) d += t->use[i].scale * v->g[t->use[i].input];
            own[l] = d;
        }
        __syncwarp();
        for (int k0 = nnp_bp_run_begin(a, s); k0 < end; k0 += 32) {
            const int in = k0 + v->lane < end;
            const int64_t entry = nnp_bp_entry(a->slice_first, a->i, in ? k0 + v->lane : k0);
            const nnp_bp_bond b = nnp_bp_bond_of(a->x, a->index, entry, a->i);
            const int place = nnp_bp_place(in && b.r < t->near[s], v->lane, v->capacity, &m);
            nnp_real radial = 0;
            nnp_bp_kept kept;
            kept.cut = -1;
            for (int l = 0; l < n; ++l) {
                nnp_vec r[1] = {b.r}, value[1], slope[1];
                nnp_bp_radius_rows(1, t->radius + t->radial[begin + l].radius, r, &kept, value, slope);
                radial += own[l] * slope[0];
            }
            if (!in) continue;
            const nnp_real g[3] = {radial * b.x + (place < 0 ? NNP_R(0.0) : v->gx[place]),
                                   radial * b.y + (place < 0 ? NNP_R(0.0) : v->gy[place]),
                                   radial * b.z + (place < 0 ? NNP_R(0.0) : v->gz[place])};
            for (int c = 0; c < 3; ++c) {
                nnp_real* const out = gradient + c * entries + entry;
                *out = add ? *out + g[c] : g[c];
            }
        }
    }
}

/* gradient [3][entries] = dE_i/dr_ij, or added to what is there, from de_dg [functions][n_places] =
 * dE_i/d(input) */
NNP_KERNEL __launch_bounds__(128, NNP_BP_BLOCKS)
    nnp_bp_gradient(NNP_BP_ARGS, const nnp_real* NNP_RESTRICT de_dg, int64_t entries,
                    nnp_real* NNP_RESTRICT gradient, int add)
{
    NNP_DYN_SHARED(unsigned char, room);
    const int warp = (int)threadIdx.x >> 5, lane = (int)threadIdx.x & 31;
    const int place = (int)(blockIdx.x * (blockDim.x >> 5)) + warp;
    if (place >= n_places || rows[place] < 0) return;
    const int i = rows[place];
    const nnp_bp_tables t = nnp_bp_open(tables, species);
    const nnp_bp_row a = {i, n, x, slice_first, index, segment};
    nnp_bp_near v = nnp_bp_take(&t, NNP_BP_PULL, capacity, room, warp, lane);
    for (int f = lane; f < t.c->n_functions; f += 32)
        v.g[f] = de_dg[(int64_t)f * n_places + place] * t.function[f].factor;
    const int fits = nnp_bp_pack(&t, &a, &v, NNP_R(0.0), nullptr, nullptr);
    nnp_bp_terms(&t, &v, 1);
    const nnp_real zero = fits ? NNP_R(0.0) : nnp_bp_nothing();
    for (int k = lane; k < v.base[v.n_species]; k += 32) v.gx[k] = v.gy[k] = v.gz[k] = zero;
    __syncwarp();
    nnp_real *const own = v.sums, *const u = v.sums + t.c->max_own;
    for (int s = 0; s < t.c->n_sets * NNP_BP_SET; s += 32)
        if (s + lane < t.c->n_sets * NNP_BP_SET) v.slopes[s + lane] = 0;
    if (t.c->n_sets) nnp_bp_sum_moments(&t, &v);
    for (int s = 0; s < t.c->n_sweeps; ++s) nnp_bp_sweep_pull(&t, t.sweep + s, &v, u);
    if (t.c->n_sets) nnp_bp_pull_moments(&t, &v);
    nnp_bp_write(&t, &a, &v, own, gradient, entries, add);
}

/* ---- rates ---- */

/* G and dG/dt of a lane's triplets: dots are d/dt along the tangents of the pair vectors. */
NNP_FN void nnp_bp_rates_batch(const nnp_bp_tables* t, const nnp_bp_sweep* s, const nnp_bp_near* v,
                               nnp_real* dots, int first, int n)
{
    enum { Q = NNP_BP_ABREAST };
    const nnp_bp_triplets x = nnp_bp_geometry(v, first, n);
    const int j = x.j < 0 ? 0 : x.j;
    nnp_vec c_dot[Q], r_dot[Q]; /* of the cosine, of r_jk */
    for (int q = 0; q < Q; ++q) {
        const int k = x.k[q];
        const nnp_real rj = v->r[j], rk = v->r[k];
        c_dot[q] = v->gx[j] * v->x[k] + v->gy[j] * v->y[k] + v->gz[j] * v->z[k] + v->x[j] * v->gx[k] +
                   v->y[j] * v->gy[k] + v->z[j] * v->gz[k];
        r_dot[q] =
            ((rj - rk * x.c[q]) * v->gr[j] + (rk - rj * x.c[q]) * v->gr[k] - rj * rk * c_dot[q]) * x.r_inv[q];
    }
    for (int i = s->first; i < s->first + s->n; ++i) {
        const nnp_bp_group* const g = t->group + i;
        const nnp_real *const value = v->value + g->term * v->capacity, *const slope =
                                                                            v->slope + g->term * v->capacity;
        const nnp_real rj = value[j], rj_dot = slope[j] * v->gr[j];
        nnp_vec w[Q], w_dot[Q];
        for (int q = 0; q < Q; ++q) {
            const int k = x.k[q];
            w[q] = x.live[q] ? rj * value[k] : NNP_R(0.0);
            w_dot[q] = x.live[q] ? rj_dot * value[k] + rj * slope[k] * v->gr[k] : NNP_R(0.0);
        }
        if (g->narrow) {
            nnp_vec f[Q], df[Q];
            nnp_bp_far_rows(t, g, x.r, f, df);
            for (int q = 0; q < Q; ++q) {
                w_dot[q] = w_dot[q] * f[q] + (x.live[q] ? w[q] * df[q] * r_dot[q] : NNP_R(0.0));
                w[q] *= f[q];
            }
        }
        for (int f = g->first; f < g->first + g->n; ++f) {
            nnp_vec a[Q], da[Q];
            nnp_bp_angle_slopes(Q, t->member + f, x.c, a, da);
            nnp_real sum = 0, dot = 0;
            for (int q = 0; q < Q; ++q) {
                sum += a[q] * w[q];
                dot += a[q] * w_dot[q] + da[q] * c_dot[q] * w[q];
            }
            v->sums[32 * (f - s->first_member) + v->lane] += sum;
            dots[32 * (f - s->first_member) + v->lane] += dot;
        }
    }
}

NNP_FN void nnp_bp_sweep_rates(const nnp_bp_tables* t, const nnp_bp_sweep* s, nnp_bp_near* v, nnp_real* dots)
{
    nnp_bp_clear_sums(v, v->sums, s->n_members);
    nnp_bp_clear_sums(v, dots, s->n_members);
    nnp_bp_queue pairs = nnp_bp_pairs(v, s->t, s->u, s->t == s->u, s->reach2);
    for (int first, n; (n = nnp_bp_next(v, &pairs, &first)) > 0;) nnp_bp_rates_batch(t, s, v, dots, first, n);
    __syncwarp();
    for (int f = v->lane; f < s->n_members; f += 32) {
        const nnp_bp_member* const m = t->member + s->first_member + f;
        v->g[m->input] += m->scale * nnp_bp_row_sum(v->sums, f);
        v->g_dot[m->input] += m->scale * nnp_bp_row_sum(dots, f);
    }
    __syncwarp();
}

/* Network inputs and their rates [functions][n_places] along the tangents lambda_i - lambda_j - M r_ij. */
NNP_KERNEL __launch_bounds__(128, NNP_BP_BLOCKS)
    nnp_bp_rates(NNP_BP_ARGS, const double* NNP_RESTRICT lambda, const double* NNP_RESTRICT virial_slope,
                 const int* NNP_RESTRICT structure, const int* NNP_RESTRICT owner,
                 nnp_real* NNP_RESTRICT inputs, nnp_real* NNP_RESTRICT rates)
{
    NNP_DYN_SHARED(unsigned char, room);
    const int warp = (int)threadIdx.x >> 5, lane = (int)threadIdx.x & 31;
    const int place = (int)(blockIdx.x * (blockDim.x >> 5)) + warp;
    if (place >= n_places || rows[place] < 0) return;
    const int i = rows[place];
    const nnp_bp_tables t = nnp_bp_open(tables, species);
    const nnp_bp_row a = {i, n, x, slice_first, index, segment};
    const nnp_bp_tangent tangent = {lambda, virial_slope, structure, owner, n};
    nnp_bp_near v = nnp_bp_take(&t, NNP_BP_RATES, capacity, room, warp, lane);
    for (int f = lane; f < t.c->n_functions; f += 32) v.g[f] = v.g_dot[f] = 0;
    const int fits = nnp_bp_pack(&t, &a, &v, NNP_R(0.0), nullptr, &tangent);
    nnp_bp_terms(&t, &v, 1);
    nnp_bp_radial_sums(&t, &a, &v, &tangent);
    nnp_real* const dots = v.sums + 32 * nnp_bp_columns(&t);
    for (int s = 0; s < t.c->n_sweeps; ++s) nnp_bp_sweep_rates(&t, t.sweep + s, &v, dots);
    for (int f = lane; f < t.c->n_functions; f += 32) {
        const nnp_bp_function* const o = t.function + f;
        inputs[(int64_t)f * n_places + place] = fits ? (v.g[f] - o->centre) * o->factor : nnp_bp_nothing();
        rates[(int64_t)f * n_places + place] = v.g_dot[f] * o->factor;
    }
}

/* Sizes of the structs that nnpcore/gpu/bp.py mirrors, and the room of a warp in each mode. */
NNP_KERNEL nnp_bp_sizes(const unsigned char* NNP_RESTRICT tables, int species, int capacity,
                        int* NNP_RESTRICT out)
{
    const nnp_bp_tables t = nnp_bp_open(tables, species);
    int reals;
    if (threadIdx.x > 0) return;
    out[0] = sizeof(nnp_bp_centre);
    out[1] = sizeof(nnp_bp_radius);
    out[2] = sizeof(nnp_bp_radial);
    out[3] = sizeof(nnp_bp_use);
    out[4] = sizeof(nnp_bp_sweep);
    out[5] = sizeof(nnp_bp_group);
    out[6] = sizeof(nnp_bp_member);
    out[7] = sizeof(nnp_bp_function);
    for (int mode = 0; mode < 3; ++mode) out[8 + mode] = nnp_bp_room(&t, mode, capacity, &reals);
}
