/* bp.c - symmetry functions sorted into groups that share exponentials, cutoffs and powers (bp.h). */
#include "bp_private.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

static int is_weighted(const nnp_bp_spec* f) { return f->partner[0] < 0; }
static int is_compact(const nnp_bp_spec* f) { return f->type >= 20; }

int nnp_bp_is_radial(int type) { return type == 2 || type == 12 || type == 20 || type == 23; }

static int is_narrow(const nnp_bp_spec* f)
{
    return f->type == 3 || f->type == 13 || f->type == 21 || f->type == 24;
}

/* ---- terms ---- */

static int add_cut(nnp_bp* bp, const nnp_bp_spec* f)
{
    const int kind = f->cutoff;
    /* the tanh ones know no inner radius */
    const double inner = kind == 2 || kind == 3 ? 0 : f->alpha * f->rc;
    for (int k = 0; k < bp->n_cuts; k++)
        if (bp->cut[k].kind == kind && bp->cut[k].rc == f->rc && bp->cut[k].inner == inner) return k;
    bp->cut[bp->n_cuts] = (nnp_bp_cut){kind, f->rc, inner, 0};
    return bp->n_cuts++;
}

int nnp_bp_same_window(const nnp_bp_window* a, const nnp_bp_window* b)
{
    return a->core == b->core && a->asymmetric == b->asymmetric && a->centre == b->centre &&
           a->width == b->width;
}

static int add_term(nnp_bp* bp, const nnp_bp_spec* f)
{
    nnp_bp_term t;
    memset(&t, 0, sizeof t);
    t.compact = is_compact(f);
    t.cut = t.compact ? -1 : add_cut(bp, f);
    if (t.compact) {
        t.window = (nnp_bp_window){f->core, f->asymmetric, 0.5 * (f->low + f->rc), 0.5 * (f->rc - f->low)};
    } else {
        t.eta = f->eta;
        t.rs = f->eta == 0 ? 0 : f->rs;
    }
    for (int k = 0; k < bp->n_terms; k++) {
        const nnp_bp_term* const o = &bp->term[k];
        if (o->compact == t.compact && o->cut == t.cut && o->eta == t.eta && o->rs == t.rs &&
            nnp_bp_same_window(&o->window, &t.window))
            return k;
    }
    bp->term[bp->n_terms] = t;
    return bp->n_terms++;
}

static int place_in(int* list, int* n, int value)
{
    for (int k = 0; k < *n; k++)
        if (list[k] == value) return k;
    list[*n] = value;
    return (*n)++;
}

/* ---- radial functions by partner species ---- */

static int is_of_species(const nnp_bp_spec* f, int t) { return is_weighted(f) || f->partner[0] == t; }

static void sort_radial(const nnp_model* m, nnp_bp* bp, const int* term)
{
    int n = 0, n_own = 0;
    for (int t = 0; t < m->n_species; t++) {
        int own = 0;
        bp->first_radial[t] = n;
        bp->first_own[t] = n_own;
        for (int f = 0; f < bp->n_functions; f++) {
            const nnp_bp_spec* const s = &bp->spec[f];
            if (!nnp_bp_is_radial(s->type) || !is_of_species(s, t)) continue;
            nnp_bp_radial* const r = &bp->radial[n++];
            r->input = f;
            r->term = place_in(bp->own + n_own, &own, term[f]);
            r->scale = is_weighted(s) ? m->atomic_number[t] : 1;
        }
        n_own += own;
        if (own > bp->max_own) bp->max_own = own;
    }
    bp->first_radial[m->n_species] = n;
    bp->first_own[m->n_species] = n_own;
}

/* ---- angular functions by channel ---- */

typedef struct angular {
    int input, term, narrow, moment;
    double lambda, zeta; /* zeta 0: a window */
    nnp_bp_window window;
    double scale;
} angular;

static int is_of_channel(const nnp_bp_spec* f, int t, int u)
{
    return !nnp_bp_is_radial(f->type) && (is_weighted(f) || (f->partner[0] == t && f->partner[1] == u));
}

static int poly_degree(const angular* a)
{
    return nnp_bp_is_integer(a->zeta) && a->zeta <= NNP_BP_MAX_DEGREE ? (int)a->zeta : 0;
}

/* By group, those of moments last; in it polynomials first, then as in the file. */
static int compare_angular(const void* p, const void* q)
{
    const angular *a = p, *b = q;
    if (a->moment != b->moment) return a->moment - b->moment;
    if (a->narrow != b->narrow) return a->narrow - b->narrow;
    if (a->term != b->term) return a->term - b->term;
    const int extra = (poly_degree(a) == 0) - (poly_degree(b) == 0);
    return extra ? extra : a->input - b->input;
}

static angular angular_of(const nnp_bp_spec* f, int input, int term, double weight)
{
    angular a;
    memset(&a, 0, sizeof a);
    a.input = input;
    a.term = term;
    a.narrow = is_narrow(f);
    if (is_compact(f)) { /* n2p2's asymmetric forms leave the angle as it is */
        a.window = (nnp_bp_window){f->core, 0, 0.5 * (f->left + f->right), 0.5 * (f->right - f->left)};
        a.scale = weight;
    } else {
        a.lambda = f->lambda;
        a.zeta = f->zeta;
        a.scale = 2 * weight; /* 2^(1 - zeta) (1 + lambda c)^zeta = 2 p^zeta */
    }
    return a;
}

/* p^n = 2^-n sum_m (n over m) lambda^m cos^m */
static void set_polynomial(nnp_bp_member* f, const angular* a)
{
    double binomial = 1;
    f->degree = poly_degree(a);
    for (int m = 0; m <= f->degree; m++) {
        f->poly[m] = a->scale * binomial * pow(a->lambda, m) / pow(2, f->degree);
        binomial = binomial * (f->degree - m) / (m + 1);
    }
    if (f->degree == 0) f->poly[0] = 0;
}

static int same_group(const angular* a, const angular* b)
{
    return a->term == b->term && a->narrow == b->narrow;
}

/* Wide groups of at least this many functions, integer zeta <= 4 all of them, are summed by moments: exact,
 * in O(neighbours), but to rounding of the sum over j = k too, which single small functions would feel. */
enum { LEAST_FOR_MOMENTS = 3 };

/* Marks the functions of such groups; a is sorted by group. Returns the number of groups. */
static int mark_moments(angular* a, int n)
{
    int count = 0;
    for (int k = 0, end; k < n; k = end) {
        int poly = 1;
        for (end = k; end < n && same_group(&a[k], &a[end]); end++)
            poly = poly && poly_degree(&a[end]) && a[end].zeta <= 4;
        if (!poly || a[k].narrow || end - k < LEAST_FOR_MOMENTS) continue;
        for (int f = k; f < end; f++) a[f].moment = 1;
        count++;
    }
    return count;
}

static int set_member(nnp_bp* bp, nnp_bp_channel* c, const angular* a, nnp_bp_member* f)
{
    memset(f, 0, sizeof *f);
    f->input = a->input;
    f->scale = a->scale;
    f->slope_row = -1;
    if (a->zeta == 0) {
        f->slope = 1;
        f->row = nnp_bp_window_row(bp, c, &a->window);
        f->slope_row = f->row + 1;
    } else {
        f->slope = 0.5 * a->lambda * a->zeta;
        const int whole = nnp_bp_is_integer(a->zeta);
        f->row = whole ? nnp_bp_power_row(bp, c, a->lambda, (int)a->zeta)
                       : nnp_bp_real_row(bp, c, a->lambda, a->zeta);
        if (f->row >= 0 && a->zeta > 1) {
            f->slope_row = whole ? nnp_bp_power_row(bp, c, a->lambda, (int)a->zeta - 1)
                                 : nnp_bp_real_row(bp, c, a->lambda, a->zeta - 1);
            if (f->slope_row < 0) return 0;
        }
    }
    if (f->row < 0) return 0;
    set_polynomial(f, a);
    nnp_bp_use_row(bp, c, f->row, a->moment ? NNP_BP_RATES : NNP_BP_FORWARD | NNP_BP_RATES);
    if (f->slope_row >= 0) nnp_bp_use_row(bp, c, f->slope_row, NNP_BP_RATES);
    if (f->degree == 0) {
        c->has_extra = 1;
        nnp_bp_use_row(bp, c, f->row, NNP_BP_BACKWARD);
        if (f->slope_row >= 0) nnp_bp_use_row(bp, c, f->slope_row, NNP_BP_BACKWARD);
    }
    return 1;
}

typedef struct places {
    int group, member, narrow;
} places;

static int sort_channel(nnp_bp* bp, nnp_bp_channel* c, angular* a, int n, places* at)
{
    qsort(a, (size_t)n, sizeof *a, compare_angular);
    c->n_moments = mark_moments(a, n);
    if (c->n_moments) qsort(a, (size_t)n, sizeof *a, compare_angular);
    c->first_group = at->group;
    c->first_row = (int)bp->n_row;
    c->first_block = bp->n_block;
    c->first_narrow = at->narrow;
    for (int k = 0; k < n; k++) {
        nnp_bp_group* g = &bp->group[k ? at->group - 1 : 0];
        if (k == 0 || !same_group(&a[k], &a[k - 1])) {
            g = &bp->group[at->group++];
            memset(g, 0, sizeof *g);
            g->term = a[k].term;
            g->narrow = a[k].narrow ? place_in(bp->narrow + at->narrow, &c->n_narrow, a[k].term) : -1;
            g->first = at->member;
        }
        nnp_bp_member* const f = &bp->member[at->member++];
        if (!set_member(bp, c, &a[k], f)) return 0;
        g->n++;
        g->n_poly += f->degree > 0;
        if (f->degree > g->degree) g->degree = f->degree;
    }
    nnp_bp_make_chain(bp, c);
    c->n_groups = at->group - c->first_group - c->n_moments;
    at->narrow += c->n_narrow;
    if (c->n_rows > bp->max_rows) bp->max_rows = c->n_rows;
    if (c->n_narrow > bp->max_narrow) bp->max_narrow = c->n_narrow;
    if (c->n_groups + c->n_moments > bp->max_groups) bp->max_groups = c->n_groups + c->n_moments;
    if (n > bp->max_members) bp->max_members = n;
    return 1;
}

static int sort_angular(const nnp_model* m, nnp_bp* bp, const int* term, angular* list)
{
    places at = {0, 0, 0};
    nnp_bp_channel* c = bp->channel;
    for (int t = 0; t < m->n_species; t++)
        for (int u = t; u < m->n_species; u++, c++) {
            int n = 0;
            for (int f = 0; f < bp->n_functions; f++) {
                const nnp_bp_spec* const s = &bp->spec[f];
                if (!is_of_channel(s, t, u)) continue;
                const double weight =
                    is_weighted(s) ? (double)m->atomic_number[t] * (double)m->atomic_number[u] : 1;
                list[n++] = angular_of(s, f, term[f], weight);
            }
            if (!sort_channel(bp, c, list, n, &at)) return 0;
        }
    return 1;
}

/* Terms that the angular functions want of neighbours of each species; chains do without (bp_gauss_impl.h).
 */
static void sort_sides(const nnp_model* m, nnp_bp* bp)
{
    int total = 0;
    for (int t = 0; t < m->n_species; t++) {
        int n = 0;
        bp->first_side[t] = total;
        for (int u = 0; u < m->n_species; u++) {
            const nnp_bp_channel* const c =
                &bp->channel[t < u ? nnp_channel(m->n_species, t, u) : nnp_channel(m->n_species, u, t)];
            const nnp_bp_group* const group = bp->group + c->first_group;
            for (int g = 0; g < c->n_groups + c->n_moments; g++)
                if (group[g].narrow < 0 || c->n_chain == 0) place_in(bp->side + total, &n, group[g].term);
        }
        total += n;
    }
    bp->first_side[m->n_species] = total;
}

/* Place of the moments of a term among the sets [from, *n) of a species. */
static int place_set(nnp_bp* bp, int from, int* n, int term, int degree)
{
    degree = degree == 3 ? 4 : degree;
    int k = from;
    while (k < *n && bp->set[k].term != term) k++;
    if (k == *n) bp->set[(*n)++] = (nnp_bp_set){term, degree};
    if (degree > bp->set[k].degree) bp->set[k].degree = degree;
    return k;
}

/* The moments that the groups want of each species. */
static void sort_sets(const nnp_model* m, nnp_bp* bp)
{
    int n = 0;
    for (int s = 0; s < m->n_species; s++) {
        const int from = bp->first_set[s] = n;
        nnp_bp_channel* c = bp->channel;
        for (int t = 0; t < m->n_species; t++)
            for (int u = t; u < m->n_species; u++, c++)
                for (int g = c->first_group + c->n_groups; g < c->first_group + c->n_groups + c->n_moments;
                     g++) {
                    nnp_bp_group* const group = &bp->group[g];
                    if (t == s) group->set_t = place_set(bp, from, &n, group->term, group->degree);
                    if (u == s) group->set_u = place_set(bp, from, &n, group->term, group->degree);
                }
    }
    bp->first_set[m->n_species] = n;
}

static int build(const nnp_model* m, nnp_bp* bp)
{
    const int n_species = m->n_species, nf = bp->n_functions;
    size_t n_radial = 0, n_member = 0;
    for (int f = 0; f < nf; f++) {
        const nnp_bp_spec* const s = &bp->spec[f];
        const size_t all = (size_t)(nnp_bp_is_radial(s->type) ? n_species : nnp_n_channels(n_species));
        *(nnp_bp_is_radial(s->type) ? &n_radial : &n_member) += is_weighted(s) ? all : 1;
    }
    const size_t nt = (size_t)nf, ns = (size_t)n_species;
    bp->cut = nnp_alloc(nt, sizeof *bp->cut);
    bp->term = nnp_alloc(nt, sizeof *bp->term);
    bp->radial = nnp_alloc(n_radial, sizeof *bp->radial);
    bp->own = nnp_alloc(n_radial, sizeof *bp->own);
    bp->side = nnp_alloc(ns * nt, sizeof *bp->side);
    bp->set = nnp_alloc(ns * nt, sizeof *bp->set);
    bp->first_radial = nnp_alloc(4 * (ns + 1), sizeof(int));
    bp->channel = nnp_alloc((size_t)nnp_n_channels(n_species), sizeof *bp->channel);
    bp->group = nnp_alloc(n_member, sizeof *bp->group);
    bp->member = nnp_alloc(n_member, sizeof *bp->member);
    bp->narrow = nnp_alloc(n_member, sizeof *bp->narrow);
    bp->block = nnp_alloc(n_member, sizeof *bp->block);
    int* const term = nnp_alloc(nt, sizeof *term);
    angular* const list = nnp_alloc(nt, sizeof *list);
    int ok = bp->cut && bp->term && bp->radial && bp->own && bp->side && bp->first_radial && bp->channel &&
             bp->group && bp->member && bp->set && bp->block && bp->narrow && term && list;
    if (ok) {
        bp->first_own = bp->first_radial + ns + 1;
        bp->first_side = bp->first_own + ns + 1;
        bp->first_set = bp->first_side + ns + 1;
        memset(bp->channel, 0, (size_t)nnp_n_channels(n_species) * sizeof *bp->channel);
        for (int f = 0; f < nf; f++) term[f] = add_term(bp, &bp->spec[f]);
        sort_radial(m, bp, term);
        ok = sort_angular(m, bp, term, list);
        if (ok) sort_sides(m, bp);
        if (ok) sort_sets(m, bp);
    }
    nnp_free(term);
    nnp_free(list);
    return ok ? NNP_OK : nnp_fail(NNP_ERR_MEMORY, "out of memory: %d symmetry functions", nf);
}

int nnp_bp_build(nnp_model* m)
{
    m->near = m->cutoff = 0;
    for (int s = 0; s < m->n_species; s++) {
        const int status = build(m, &m->bp[s]);
        if (status) return status;
        for (int f = 0; f < m->bp[s].n_functions; f++) {
            const nnp_bp_spec* const spec = &m->bp[s].spec[f];
            m->cutoff = fmax(m->cutoff, spec->rc);
            if (!nnp_bp_is_radial(spec->type)) m->near = fmax(m->near, spec->rc);
        }
    }
    return NNP_OK;
}

void nnp_bp_clear(nnp_bp* bp)
{
    void* const all[] = {bp->spec,   bp->centre, bp->factor, bp->minimum, bp->maximum, bp->cut,
                         bp->term,   bp->radial, bp->own,    bp->side,    bp->channel, bp->group,
                         bp->member, bp->set,    bp->block,  bp->row,     bp->narrow,  bp->first_radial};
    for (size_t k = 0; k < sizeof all / sizeof *all; k++) nnp_free(all[k]);
}
