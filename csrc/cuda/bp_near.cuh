/* bp_near.cuh - a warp's atom: its neighbours, what the symmetry functions need of each one, and the list of
 * its triplets.
 *
 * One warp does one atom. Neighbours within reach of the angular functions are packed into shared memory,
 * species after species in the list's order, with the radial factors R of each. Triplets are taken from a
 * list of pairs (j, k) whose r_jk is within reach too: about half of the pairs in a sphere are farther apart
 * than its radius, and are not looked at again. A lane takes NNP_BP_ABREAST triplets with the same j.
 */
#ifndef NNP_BP_NEAR_CUH
#define NNP_BP_NEAR_CUH

#include "bp_tables.cuh"
#include "common.cuh"

enum { NNP_BP_SET = 26 }; /* numbers of a set of moments: bp_moments.cuh */
/* triplets a lane: as many as registers hold */
enum { NNP_BP_ABREAST = NNP_REAL_BITS == 64 ? 2 : 4, NNP_BP_BATCH = 32 * NNP_BP_ABREAST };

/* What a sweep over the neighbours keeps of them. */
enum { NNP_BP_VALUES, NNP_BP_PULL, NNP_BP_RATES };

typedef struct nnp_bp_near {
    int lane, n_species, capacity; /* room for neighbours */
    int* base;                     /* [S + 1] where each species begins */
    nnp_real *x, *y, *z, *r;       /* [capacity] unit vector, distance */
    nnp_real *value, *slope;       /* [n_terms][capacity] R, dR/dr */
    nnp_real *gx, *gy, *gz;        /* [capacity] PULL: dE/dr_ij; RATES: du/dt */
    nnp_real* gr;                  /* [capacity] RATES: dr/dt */
    nnp_real* sums;                /* [rows][32] of each lane */
    nnp_real* moments;             /* [n_sets][NNP_BP_SET] */
    nnp_real* slopes;              /* [n_sets][NNP_BP_SET] PULL: dE/d(moments) */
    nnp_real* g;                   /* [n_functions] G, or dE/dG */
    nnp_real* g_dot;               /* [n_functions] RATES: dG/dt */
    int* list;                     /* [NNP_BP_BATCH + capacity + 4] j << 16 | k */
} nnp_bp_near;

/* Entry k of row i of the neighbour list. */
NNP_FN int64_t nnp_bp_entry(const int64_t* slice_first, int i, int k)
{
    return slice_first[i >> 5] + (int64_t)32 * k + (i & 31);
}

/* Rows of sums that a sweep over neighbours or triplets wants at once. */
NNP_FN int nnp_bp_columns(const nnp_bp_tables* t)
{
    return t->c->max_own > t->c->max_members ? t->c->max_own : t->c->max_members;
}

/* Reals and then ints of a warp's room; nnpcore/gpu/bp.py counts the same (`_room`). */
NNP_FN int nnp_bp_room(const nnp_bp_tables* t, int mode, int m, int* reals)
{
    const nnp_bp_centre* const c = t->c;
    int n = (4 + c->n_terms) * m + c->n_functions;
    if (mode != NNP_BP_VALUES) n += (c->n_terms + 3) * m;
    if (mode == NNP_BP_VALUES) n += 32 * nnp_bp_columns(t) + c->n_sets * NNP_BP_SET;
    if (mode == NNP_BP_PULL)
        n += c->max_own + c->max_groups * (NNP_BP_DEGREE + 1) + 2 * c->n_sets * NNP_BP_SET;
    if (mode == NNP_BP_RATES) n += m + c->n_functions + 64 * nnp_bp_columns(t);
    *reals = (n + 3) / 4 * 4;
    const int ints = t->h->n_species + 1 + NNP_BP_BATCH + m + 4;
    return *reals * (int)sizeof(nnp_real) + (ints + 3) / 4 * 4 * (int)sizeof(int);
}

NNP_FN nnp_bp_near nnp_bp_take(const nnp_bp_tables* t, int mode, int m, unsigned char* room, int warp,
                               int lane)
{
    nnp_bp_near v;
    int reals;
    room += warp * nnp_bp_room(t, mode, m, &reals);
    nnp_real* p = (nnp_real*)room;
    const int terms = t->c->n_terms * m, n_functions = t->c->n_functions;
    v.lane = lane;
    v.n_species = t->h->n_species;
    v.capacity = m;
    v.base = (int*)(p + reals);
    v.list = v.base + v.n_species + 1;
    v.x = p, v.y = p + m, v.z = p + 2 * m, v.r = p + 3 * m;
    p += 4 * m;
    v.value = p, p += terms;
    v.g = p, p += n_functions;
    v.slope = v.gx = v.gy = v.gz = v.gr = v.g_dot = p;
    if (mode != NNP_BP_VALUES) {
        p += terms;
        v.gx = p, v.gy = p + m, v.gz = p + 2 * m;
        p += 3 * m;
    }
    if (mode == NNP_BP_RATES) {
        v.gr = p, p += m;
        v.g_dot = p, p += n_functions;
    }
    v.moments = p;
    if (mode != NNP_BP_RATES) p += t->c->n_sets * NNP_BP_SET;
    v.slopes = p;
    if (mode == NNP_BP_PULL) p += t->c->n_sets * NNP_BP_SET;
    v.sums = p; /* PULL: [max_own] and [max_groups][NNP_BP_DEGREE + 1] */
    return v;
}

/* r_ij of an entry: difference of positions in double, the rest in the working precision. */
typedef struct nnp_bp_bond {
    nnp_real x, y, z, r; /* unit vector, distance */
    int other;
} nnp_bp_bond;

NNP_FN nnp_bp_bond nnp_bp_bond_of(const double* x, const int* index, int64_t entry, int i)
{
    nnp_bp_bond b;
    b.other = index[entry];
    const double *const a = x + 4 * (int64_t)i, *const o = x + 4 * (int64_t)b.other;
    const nnp_real dx = (nnp_real)(o[0] - a[0]), dy = (nnp_real)(o[1] - a[1]), dz = (nnp_real)(o[2] - a[2]);
    b.r = nnp_sqrt(dx * dx + dy * dy + dz * dz);
    const nnp_real inverse = NNP_R(1.0) / b.r;
    b.x = dx * inverse, b.y = dy * inverse, b.z = dz * inverse;
    return b;
}

/* Place of this lane among those where yes, counted from *m, which grows; -1: no, or no room. */
NNP_FN int nnp_bp_place(int yes, int lane, int capacity, int* m)
{
    const unsigned mask = __ballot_sync(0xffffffffu, yes);
    const int place = *m + __popc(mask & ((1u << lane) - 1u));
    *m += __popc(mask);
    return yes && place < capacity ? place : -1;
}

/* The atom whose list a warp walks through. */
typedef struct nnp_bp_row {
    int i, n_rows;
    const double* x;
    const int64_t* slice_first;
    const int *index, *segment;
} nnp_bp_row;

NNP_FN int nnp_bp_run_begin(const nnp_bp_row* a, int s)
{
    return s ? a->segment[(int64_t)(s - 1) * a->n_rows + a->i] : 0;
}

NNP_FN int nnp_bp_run_end(const nnp_bp_row* a, int s) { return a->segment[(int64_t)s * a->n_rows + a->i]; }

/* dL/dF of the atoms, dL/dW of the structures: the tangent of a pair is lambda_i - lambda_j - M r_ij. */
typedef struct nnp_bp_tangent {
    const double* lambda; /* [n][3] of the rows */
    const double* m;      /* [n_structures][9] */
    const int* structure; /* [n] */
    const int* owner;     /* [n_total - n] row of each ghost */
    int n;
} nnp_bp_tangent;

NNP_FN void nnp_bp_rate_of(const nnp_bp_tangent* t, int i, const nnp_bp_bond* b, nnp_real* rate)
{
    const int j = b->other < t->n ? b->other : t->owner[b->other - t->n];
    const double *const a = t->lambda + 3 * (int64_t)i, *const o = t->lambda + 3 * (int64_t)j;
    const double* const m = t->m + 9 * (int64_t)t->structure[i];
    const nnp_real x = b->r * b->x, y = b->r * b->y, z = b->r * b->z;
    for (int c = 0; c < 3; ++c)
        rate[c] = (nnp_real)(a[c] - o[c]) -
                  ((nnp_real)m[3 * c] * x + (nnp_real)m[3 * c + 1] * y + (nnp_real)m[3 * c + 2] * z);
}

/* dr/dt and du/dt of a near neighbour */
NNP_FN void nnp_bp_rate_near(const nnp_bp_tangent* t, int i, const nnp_bp_bond* b, nnp_bp_near* v, int place)
{
    nnp_real rate[3];
    nnp_bp_rate_of(t, i, b, rate);
    const nnp_real along = rate[0] * b->x + rate[1] * b->y + rate[2] * b->z, inverse = NNP_R(1.0) / b->r;
    v->gr[place] = along;
    v->gx[place] = (rate[0] - along * b->x) * inverse;
    v->gy[place] = (rate[1] - along * b->y) * inverse;
    v->gz[place] = (rate[2] - along * b->z) * inverse;
}

/* Packs the neighbours within reach; 0 where there is no room for them. Atoms closer than least go to status.
 */
NNP_FN int nnp_bp_pack(const nnp_bp_tables* t, const nnp_bp_row* a, nnp_bp_near* v, nnp_real least,
                       int* status, const nnp_bp_tangent* tangent)
{
    int m = 0, clash = 0;
    for (int s = 0; s < v->n_species; ++s) {
        const nnp_real reach = t->near[s];
        const int end = nnp_bp_run_end(a, s);
        if (v->lane == 0) v->base[s] = m < v->capacity ? m : v->capacity;
        for (int k0 = nnp_bp_run_begin(a, s); k0 < end; k0 += 32) {
            const int in = k0 + v->lane < end;
            const int64_t entry = nnp_bp_entry(a->slice_first, a->i, in ? k0 + v->lane : k0);
            const nnp_bp_bond b = nnp_bp_bond_of(a->x, a->index, entry, a->i);
            const int place = nnp_bp_place(in && b.r < reach, v->lane, v->capacity, &m);
            clash |= in && b.r < least;
            if (place < 0) continue;
            v->x[place] = b.x, v->y[place] = b.y, v->z[place] = b.z, v->r[place] = b.r;
            if (tangent) nnp_bp_rate_near(tangent, a->i, &b, v, place);
        }
    }
    if (clash) nnp_report(status, NNP_STATUS_CLASH, a->i);
    if (v->lane == 0) v->base[v->n_species] = m < v->capacity ? m : v->capacity;
    __syncwarp();
    return m <= v->capacity;
}

/* The radial factors of the angular functions at all near neighbours. */
NNP_FN void nnp_bp_terms(const nnp_bp_tables* t, nnp_bp_near* v, int with_slopes)
{
    for (int s = 0; s < v->n_species; ++s)
        for (int k = v->base[s] + v->lane; k < v->base[s + 1]; k += 32) {
            nnp_bp_kept kept;
            kept.cut = -1;
            for (int i = t->span[t->c->side + s]; i < t->span[t->c->side + s + 1]; ++i) {
                nnp_vec r[1] = {v->r[k]}, f[1], df[1];
                nnp_bp_radius_rows(1, t->radius + t->term[t->side[i]], r, &kept, f, df);
                v->value[t->side[i] * v->capacity + k] = f[0];
                if (with_slopes) v->slope[t->side[i] * v->capacity + k] = df[0];
            }
        }
    __syncwarp();
}

/* ---- triplets ---- */

NNP_FN nnp_real nnp_bp_distance2(const nnp_bp_near* v, int j, int k)
{
    const nnp_real rj = v->r[j], rk = v->r[k];
    const nnp_real x = rk * v->x[k] - rj * v->x[j], y = rk * v->y[k] - rj * v->y[j],
                   z = rk * v->z[k] - rj * v->z[j];
    return nnp_max(x * x + y * y + z * z, NNP_R(1e-12));
}

/* The next batch of pairs, rows j one after the other, each padded with (j, j) to whole lanes. */
typedef struct nnp_bp_queue {
    int j, j_end, k0, k_end, half; /* half: k < j only, of one species */
    nnp_real reach2;
    int n, at; /* listed pairs; those before at are done */
} nnp_bp_queue;

NNP_FN nnp_bp_queue nnp_bp_pairs(const nnp_bp_near* v, int t, int u, int half, nnp_real reach2)
{
    nnp_bp_queue q;
    q.j = v->base[t];
    q.j_end = v->base[t + 1];
    q.k0 = v->base[u];
    q.k_end = v->base[u + 1];
    q.half = half;
    q.reach2 = reach2;
    q.n = q.at = 0;
    return q;
}

NNP_FN void nnp_bp_list_row(const nnp_bp_near* v, nnp_bp_queue* q)
{
    const int j = q->j++, end = q->half ? j : q->k_end;
    for (int first = q->k0; first < end; first += 32) {
        const int k = first + v->lane, in = k < end;
        const int yes = in && k != j && nnp_bp_distance2(v, j, in ? k : j) < q->reach2;
        const int place = nnp_bp_place(yes, v->lane, 0x7fffffff, &q->n);
        if (place >= 0) v->list[place] = j << 16 | k;
    }
    const int pad = -q->n & (NNP_BP_ABREAST - 1);
    if (v->lane < pad) v->list[q->n + v->lane] = j << 16 | j;
    q->n += pad;
}

/* Up to NNP_BP_BATCH pairs; their number, and *first, where they stand in the list. 0: no more. */
NNP_FN int nnp_bp_next(const nnp_bp_near* v, nnp_bp_queue* q, int* first)
{
    if (q->n - q->at < NNP_BP_BATCH && q->j < q->j_end) { /* what is left to the front, and more rows */
        const int left = q->n - q->at;
        int keep[NNP_BP_ABREAST];
        __syncwarp();
        for (int i = 0; i < NNP_BP_ABREAST; ++i) {
            const int slot = v->lane + 32 * i;
            keep[i] = slot < left ? v->list[q->at + slot] : 0;
        }
        __syncwarp();
        for (int i = 0; i < NNP_BP_ABREAST; ++i) {
            const int slot = v->lane + 32 * i;
            if (slot < left) v->list[slot] = keep[i];
        }
        q->n = left;
        q->at = 0;
        while (q->n < NNP_BP_BATCH && q->j < q->j_end) nnp_bp_list_row(v, q);
        __syncwarp();
    }
    const int left = q->n - q->at, n = left < NNP_BP_BATCH ? left : NNP_BP_BATCH;
    *first = q->at;
    q->at += n;
    return n;
}

/* A lane's triplets of a batch. */
typedef struct nnp_bp_triplets {
    int j, k[NNP_BP_ABREAST]; /* j -1: none */
    int live[NNP_BP_ABREAST];
    nnp_vec c[NNP_BP_ABREAST], r[NNP_BP_ABREAST], r_inv[NNP_BP_ABREAST]; /* cos, r_jk, 1/r_jk */
} nnp_bp_triplets;

NNP_FN nnp_bp_triplets nnp_bp_geometry(const nnp_bp_near* v, int first, int n)
{
    nnp_bp_triplets x;
    const int slot = NNP_BP_ABREAST * v->lane, some = slot < n;
    const int j = some ? v->list[first + slot] >> 16 : 0;
    for (int q = 0; q < NNP_BP_ABREAST; ++q) {
        const int k = some ? v->list[first + slot + q] & 0xffff : 0;
        x.k[q] = k;
        x.live[q] = some && k != j;
        x.c[q] = v->x[j] * v->x[k] + v->y[j] * v->y[k] + v->z[j] * v->z[k];
        const nnp_real s = nnp_bp_distance2(v, j, k);
        x.r_inv[q] = nnp_rsqrt(s);
        x.r[q] = s * x.r_inv[q];
    }
    x.j = some ? j : -1;
    return x;
}

#endif /* NNP_BP_NEAR_CUH */
