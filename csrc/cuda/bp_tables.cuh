/* bp_tables.cuh - the symmetry functions of a model as the kernels read them: one buffer, filled by
 * nnpcore/gpu/bp.py, whose dtypes mirror these structs.
 *
 * An angular function is a sum over triplets of A(cos theta) R(r_j) R(r_k) [R(r_jk)]. Functions of a pair of
 * partner species that share R make a group; groups that look at the same triplets make a sweep. What A and R
 * may be: math/bp.h.
 */
#ifndef NNP_BP_TABLES_CUH
#define NNP_BP_TABLES_CUH

#include "../math/bp.h"

enum { NNP_BP_DEGREE = 6 }; /* powers up to this are summed as one polynomial in cos on the way back */

/* R(r) */
typedef struct nnp_bp_radius {
    int kind;         /* 0 .. 8: exp(-eta (r - rs)^2) fc, fc of that kind; 9 + 2 (core - 4) + asymmetric: C */
    int cut;          /* number of fc among the different ones */
    nnp_real eta, rs; /* C: 1/width, centre */
    nnp_real rc, inner; /* of fc */
    nnp_real scale;     /* 1/(rc - inner) */
} nnp_bp_radius;

/* Sum over the neighbours of a species of one R, and the functions [first, first + n) of uses that want it.
 */
typedef struct nnp_bp_radial {
    int radius, first, n;
} nnp_bp_radial;

typedef struct nnp_bp_use {
    int input;
    nnp_real scale; /* 1, or Z of the neighbour */
} nnp_bp_use;

enum { NNP_BP_INTEGER = 0, NNP_BP_REAL = 1 }; /* kind of a member; 4 .. 8: window of the angle */

/* A function of a group. Integer powers: step k of the n_steps squares, and multiplies by p where bit k of
 * bits is set; they begin at p, or at the member before (fresh = 0). lower_*: the same for p^(zeta-1),
 * always from p; n_lower = -1: it is 1. */
typedef struct nnp_bp_member {
    int input, kind;
    int fresh, n_steps, bits;
    int n_lower, lower_bits;
    nnp_real lambda, zeta;            /* windows: 1/width, centre */
    nnp_real scale, slope;            /* dA/dcos = slope p^(zeta-1), or the window's own derivative */
    nnp_real poly[NNP_BP_DEGREE + 1]; /* scale A as a polynomial in cos; members that are one come first */
} nnp_bp_member;

typedef struct nnp_bp_group {
    int term;   /* R at the neighbours: row of nnp_bp_near.value */
    int narrow; /* with R(r_jk) */
    int first, n, n_poly;
    int degree;       /* of the polynomial */
    int set_t, set_u; /* by moments: places of their sets */
} nnp_bp_group;

/* Groups over the triplets of neighbours j of species t, k of species u >= t, with r_jk below reach. */
typedef struct nnp_bp_sweep {
    int t, u, first, n, first_member, n_members;
    int by_moments;  /* all of it, but for the rates */
    nnp_real reach2; /* squared */
} nnp_bp_sweep;

typedef struct nnp_bp_function {
    nnp_real centre, factor;   /* network input = (G - centre) factor */
    nnp_real minimum, maximum; /* training range */
} nnp_bp_function;

/* One centre species; lists of a partner species t are [list[t], list[t + 1]). */
typedef struct nnp_bp_centre {
    int n_functions, first_function;
    int first_term, n_terms;              /* places in term: index of the radius */
    int max_own, max_members, max_groups; /* radii of any partner, members and groups of any sweep */
    int first_sweep, n_sweeps;
    int radial, side, sets; /* places in span of S + 1 numbers each */
    int reach, n_sets;      /* place in near of S numbers; sets of all species */
} nnp_bp_centre;

typedef struct nnp_bp_header {
    int bytes, n_species;
    /* offsets in bytes */
    int centre, span, near, radius, radial, use, side, set, term, sweep, group, member, function;
} nnp_bp_header;

typedef struct nnp_bp_tables {
    const nnp_bp_header* h;
    const nnp_bp_centre* c; /* of this centre species */
    const int* span;
    const nnp_real* near;
    const nnp_bp_radius* radius;
    const nnp_bp_radial* radial;
    const nnp_bp_use* use;
    const int *side, *set, *term; /* set: term of each set of moments */
    const nnp_bp_sweep* sweep;
    const nnp_bp_group* group;
    const nnp_bp_member* member;
    const nnp_bp_function* function;
} nnp_bp_tables;

NNP_FN nnp_bp_tables nnp_bp_open(const unsigned char* b, int species)
{
    nnp_bp_tables t;
    t.h = (const nnp_bp_header*)b;
    t.c = (const nnp_bp_centre*)(b + t.h->centre) + species;
    t.span = (const int*)(b + t.h->span);
    t.near = (const nnp_real*)(b + t.h->near) + t.c->reach;
    t.radius = (const nnp_bp_radius*)(b + t.h->radius);
    t.radial = (const nnp_bp_radial*)(b + t.h->radial);
    t.use = (const nnp_bp_use*)(b + t.h->use);
    t.side = (const int*)(b + t.h->side);
    t.set = (const int*)(b + t.h->set);
    t.term = (const int*)(b + t.h->term) + t.c->first_term;
    t.sweep = (const nnp_bp_sweep*)(b + t.h->sweep) + t.c->first_sweep;
    t.group = (const nnp_bp_group*)(b + t.h->group);
    t.member = (const nnp_bp_member*)(b + t.h->member);
    t.function = (const nnp_bp_function*)(b + t.h->function) + t.c->first_function;
    return t;
}

/* ---- functions of one variable, Q numbers at a time, of a kind that all lanes share ---- */

#define NNP_BP_EACH(kind, call)                                                                              \
    case kind:                                                                                               \
        for (int q = 0; q < Q; ++q) call;                                                                    \
        break;

/* A cutoff function at up to four distances, kept for the next R that has the same. */
typedef struct nnp_bp_kept {
    int cut; /* -1: none */
    nnp_vec f[4], df[4];
} nnp_bp_kept;

/* R and dR/dr at Q distances */
NNP_FN void nnp_bp_radius_rows(const int Q, const nnp_bp_radius* a, const nnp_vec* r, nnp_bp_kept* kept,
                               nnp_vec* f, nnp_vec* df)
{
    const int kind = a->kind;
    if (kind > 8) {
        const nnp_bp_window_p p = {a->rs, a->eta};
        switch (kind - 9) {
            NNP_BP_EACH(0, nnp_bp_compact(4, 0, r[q], p, &f[q], &df[q]))
            NNP_BP_EACH(1, nnp_bp_compact(4, 1, r[q], p, &f[q], &df[q]))
            NNP_BP_EACH(2, nnp_bp_compact(5, 0, r[q], p, &f[q], &df[q]))
            NNP_BP_EACH(3, nnp_bp_compact(5, 1, r[q], p, &f[q], &df[q]))
            NNP_BP_EACH(4, nnp_bp_compact(6, 0, r[q], p, &f[q], &df[q]))
            NNP_BP_EACH(5, nnp_bp_compact(6, 1, r[q], p, &f[q], &df[q]))
            NNP_BP_EACH(6, nnp_bp_compact(7, 0, r[q], p, &f[q], &df[q]))
            NNP_BP_EACH(7, nnp_bp_compact(7, 1, r[q], p, &f[q], &df[q]))
            NNP_BP_EACH(8, nnp_bp_compact(8, 0, r[q], p, &f[q], &df[q]))
            NNP_BP_EACH(9, nnp_bp_compact(8, 1, r[q], p, &f[q], &df[q]))
        }
        return;
    }
    const nnp_real eta = a->eta, rs = a->rs;
    if (a->cut != kept->cut) {
        const nnp_bp_cutoff_p p = {a->rc, a->inner, a->scale};
        kept->cut = a->cut;
        switch (kind) {
            NNP_BP_EACH(0, nnp_bp_cutoff(0, r[q], p, &kept->f[q], &kept->df[q]))
            NNP_BP_EACH(1, nnp_bp_cutoff(1, r[q], p, &kept->f[q], &kept->df[q]))
            NNP_BP_EACH(2, nnp_bp_cutoff(2, r[q], p, &kept->f[q], &kept->df[q]))
            NNP_BP_EACH(3, nnp_bp_cutoff(3, r[q], p, &kept->f[q], &kept->df[q]))
            NNP_BP_EACH(4, nnp_bp_cutoff(4, r[q], p, &kept->f[q], &kept->df[q]))
            NNP_BP_EACH(5, nnp_bp_cutoff(5, r[q], p, &kept->f[q], &kept->df[q]))
            NNP_BP_EACH(6, nnp_bp_cutoff(6, r[q], p, &kept->f[q], &kept->df[q]))
            NNP_BP_EACH(7, nnp_bp_cutoff(7, r[q], p, &kept->f[q], &kept->df[q]))
            NNP_BP_EACH(8, nnp_bp_cutoff(8, r[q], p, &kept->f[q], &kept->df[q]))
        }
    }
    for (int q = 0; q < Q; ++q) nnp_bp_gaussian(r[q], eta, rs, kept->f[q], kept->df[q], &f[q], &df[q]);
}

/* A window of the angle and its derivative by the cosine */
NNP_FN void nnp_bp_window_rows(const int Q, const nnp_bp_member* m, const nnp_vec* c, nnp_vec* f, nnp_vec* df)
{
    const nnp_bp_window_p p = {m->zeta, m->lambda};
    switch (m->kind) { /* the forms that are asymmetric in r are not so in the angle */
        NNP_BP_EACH(4, nnp_bp_angle_window(4, 0, c[q], p, &f[q], &df[q]))
        NNP_BP_EACH(5, nnp_bp_angle_window(5, 0, c[q], p, &f[q], &df[q]))
        NNP_BP_EACH(6, nnp_bp_angle_window(6, 0, c[q], p, &f[q], &df[q]))
        NNP_BP_EACH(7, nnp_bp_angle_window(7, 0, c[q], p, &f[q], &df[q]))
        NNP_BP_EACH(8, nnp_bp_angle_window(8, 0, c[q], p, &f[q], &df[q]))
    }
}
#undef NNP_BP_EACH

/* a -> a's power by squares, and products with p where bits say so */
NNP_FN void nnp_bp_climb(const int Q, int n_steps, int bits, const nnp_vec* p, nnp_vec* a)
{
    for (int i = 0; i < n_steps; ++i, bits >>= 1) {
        for (int q = 0; q < Q; ++q) a[q] *= a[q];
        if (bits & 1)
            for (int q = 0; q < Q; ++q) a[q] *= p[q];
    }
}

/* A without its scale; a: what the member before left here */
NNP_FN void nnp_bp_angle_values(const int Q, const nnp_bp_member* m, const nnp_vec* c, nnp_vec* a)
{
    if (m->kind > NNP_BP_REAL) {
        nnp_vec slope[4];
        nnp_bp_window_rows(Q, m, c, a, slope);
        return;
    }
    nnp_vec p[4];
    const nnp_real lambda = m->lambda;
    for (int q = 0; q < Q; ++q) p[q] = nnp_bp_base(c[q], lambda);
    if (m->kind == NNP_BP_REAL) {
        for (int q = 0; q < Q; ++q) a[q] = nnp_bp_power(p[q], m->zeta);
        return;
    }
    if (m->fresh)
        for (int q = 0; q < Q; ++q) a[q] = p[q];
    nnp_bp_climb(Q, m->n_steps, m->bits, p, a);
}

/* A and dA/dcos without the scale */
NNP_FN void nnp_bp_angle_slopes(const int Q, const nnp_bp_member* m, const nnp_vec* c, nnp_vec* a,
                                nnp_vec* da)
{
    if (m->kind > NNP_BP_REAL) {
        nnp_bp_window_rows(Q, m, c, a, da);
        return;
    }
    nnp_vec p[4];
    const nnp_real lambda = m->lambda, slope = m->slope;
    for (int q = 0; q < Q; ++q) p[q] = nnp_bp_base(c[q], lambda);
    if (m->kind == NNP_BP_REAL) {
        for (int q = 0; q < Q; ++q) {
            a[q] = nnp_bp_power(p[q], m->zeta);
            da[q] = slope * nnp_bp_power(p[q], m->zeta - NNP_R(1.0));
        }
        return;
    }
    for (int q = 0; q < Q; ++q) da[q] = m->n_lower < 0 ? NNP_R(1.0) : p[q];
    nnp_bp_climb(Q, m->n_lower, m->lower_bits, p, da);
    for (int q = 0; q < Q; ++q) {
        a[q] = da[q] * p[q];
        da[q] *= slope;
    }
}

#endif /* NNP_BP_TABLES_CUH */
