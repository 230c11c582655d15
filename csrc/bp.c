/* bp.c - symmetry functions sorted into groups that share exponentials, cutoffs and powers (bp.h). */
#include "model.h"
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
    bp->cut[bp->n_cuts] = (nnp_bp_cut){kind, f->rc, inner};
    return bp->n_cuts++;
}

static int same_window(const nnp_bp_window* a, const nnp_bp_window* b)
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
            same_window(&o->window, &t.window))
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
        if (n - bp->first_radial[t] > bp->max_radial) bp->max_radial = n - bp->first_radial[t];
        if (own > bp->max_own) bp->max_own = own;
    }
    bp->first_radial[m->n_species] = n;
    bp->first_own[m->n_species] = n_own;
}

/* ---- angular functions by channel ---- */

typedef struct angular {
    int input, term, narrow;
    nnp_bp_angle angle;
    double scale;
} angular;

static int is_of_channel(const nnp_bp_spec* f, int t, int u)
{
    return !nnp_bp_is_radial(f->type) && (is_weighted(f) || (f->partner[0] == t && f->partner[1] == u));
}

/* Powers by lambda and zeta, then windows: the order in which powers follow from one another. */
static int compare_angles(const nnp_bp_angle* a, const nnp_bp_angle* b)
{
    const double x[] = {a->step == NNP_BP_WINDOW, a->lambda,        a->zeta,        a->window.core,
                        a->window.asymmetric,     a->window.centre, a->window.width};
    const double y[] = {b->step == NNP_BP_WINDOW, b->lambda,        b->zeta,        b->window.core,
                        b->window.asymmetric,     b->window.centre, b->window.width};
    for (size_t k = 0; k < sizeof x / sizeof *x; k++)
        if (x[k] != y[k]) return x[k] < y[k] ? -1 : 1;
    return 0;
}

/* By group, in it by angle, then as in the file. */
static int compare_angular(const void* p, const void* q)
{
    const angular *a = p, *b = q;
    if (a->narrow != b->narrow) return a->narrow - b->narrow;
    if (a->term != b->term) return a->term - b->term;
    const int angle = compare_angles(&a->angle, &b->angle);
    return angle ? angle : a->input - b->input;
}

static int compare_angle_pointers(const void* p, const void* q) { return compare_angles(p, q); }

static angular angular_of(const nnp_bp_spec* f, int input, int term, double weight)
{
    angular a;
    memset(&a, 0, sizeof a);
    a.input = input;
    a.term = term;
    a.narrow = is_narrow(f);
    if (is_compact(f)) {
        a.angle.step = NNP_BP_WINDOW;
        a.angle.window = (nnp_bp_window){f->core, 0, 0.5 * (f->left + f->right), 0.5 * (f->right - f->left)};
        a.scale = weight;
    } else {
        a.angle.lambda = f->lambda;
        a.angle.zeta = f->zeta;
        a.scale = 2 * weight; /* 2^(1 - zeta) (1 + lambda c)^zeta = 2 p^zeta */
    }
    return a;
}

/* How the power follows from that of the angle before. */
static int power_step(const nnp_bp_angle* before, const nnp_bp_angle* now)
{
    if (now->zeta == 1) return NNP_BP_ONE;
    if (now->zeta != floor(now->zeta) || now->zeta > 1024) return NNP_BP_REAL;
    if (!before || before->lambda != now->lambda || before->step == NNP_BP_REAL) return NNP_BP_SQUARE;
    if (now->zeta == before->zeta + 1) return NNP_BP_NEXT;
    if (now->zeta == 2 * before->zeta) return NNP_BP_DOUBLE;
    if (now->zeta == 4 * before->zeta) return NNP_BP_QUAD;
    return NNP_BP_SQUARE;
}

/* Distinct angles of the functions, sorted, to bp->angle; returns their number. */
static int channel_angles(nnp_bp_angle* out, const angular* a, int n)
{
    int distinct = 0;
    for (int k = 0; k < n; k++) out[k] = a[k].angle;
    qsort(out, (size_t)n, sizeof *out, compare_angle_pointers);
    for (int k = 0; k < n; k++)
        if (k == 0 || compare_angles(&out[distinct - 1], &out[k]) != 0) out[distinct++] = out[k];
    for (int k = 0; k < distinct; k++)
        if (out[k].step != NNP_BP_WINDOW) out[k].step = power_step(k ? &out[k - 1] : NULL, &out[k]);
    return distinct;
}

static int find_angle(const nnp_bp_angle* list, int n, const nnp_bp_angle* angle)
{
    for (int k = 0; k < n; k++) {
        nnp_bp_angle own = list[k];
        if (own.step != NNP_BP_WINDOW) own.step = 0;
        if (compare_angles(&own, angle) == 0) return k;
    }
    return 0; /* not reached: the list was made of these */
}

typedef struct places {
    int group, member, angle, narrow;
} places;

static void sort_channel(nnp_bp* bp, nnp_bp_channel* c, angular* a, int n, places* at)
{
    qsort(a, (size_t)n, sizeof *a, compare_angular);
    c->first_group = at->group;
    c->first_angle = at->angle;
    c->first_narrow = at->narrow;
    c->n_angles = n ? channel_angles(bp->angle + at->angle, a, n) : 0;
    for (int k = 0; k < n; k++) {
        nnp_bp_group* g = at->group > c->first_group ? &bp->group[at->group - 1] : NULL;
        if (!g || g->term != a[k].term || (g->narrow >= 0) != a[k].narrow) {
            g = &bp->group[at->group++];
            g->term = a[k].term;
            g->narrow = a[k].narrow ? place_in(bp->narrow + at->narrow, &c->n_narrow, a[k].term) : -1;
            g->first = at->member;
            g->n = 0;
        }
        g->n++;
        nnp_bp_member* const f = &bp->member[at->member++];
        f->input = a[k].input;
        f->angle = find_angle(bp->angle + at->angle, c->n_angles, &a[k].angle);
        f->scale = a[k].scale;
        f->slope = a[k].angle.step == NNP_BP_WINDOW ? 1 : 0.5 * a[k].angle.lambda * a[k].angle.zeta;
    }
    c->n_groups = at->group - c->first_group;
    at->angle += c->n_angles;
    at->narrow += c->n_narrow;
    if (c->n_angles > bp->max_angles) bp->max_angles = c->n_angles;
    if (c->n_narrow > bp->max_narrow) bp->max_narrow = c->n_narrow;
}

static void sort_angular(const nnp_model* m, nnp_bp* bp, const int* term, angular* list)
{
    places at = {0, 0, 0, 0};
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
            sort_channel(bp, c, list, n, &at);
        }
}

/* Terms that the angular functions want of neighbours of each species. */
static void sort_sides(const nnp_model* m, nnp_bp* bp)
{
    int total = 0;
    for (int t = 0; t < m->n_species; t++) {
        int n = 0;
        bp->first_side[t] = total;
        for (int u = 0; u < m->n_species; u++) {
            const nnp_bp_channel* const c =
                &bp->channel[t < u ? nnp_channel(m->n_species, t, u) : nnp_channel(m->n_species, u, t)];
            for (int g = 0; g < c->n_groups; g++)
                place_in(bp->side + total, &n, bp->group[c->first_group + g].term);
        }
        total += n;
    }
    bp->first_side[m->n_species] = total;
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
    bp->first_radial = nnp_alloc(3 * (ns + 1), sizeof(int));
    bp->channel = nnp_alloc((size_t)nnp_n_channels(n_species), sizeof *bp->channel);
    bp->group = nnp_alloc(n_member, sizeof *bp->group);
    bp->member = nnp_alloc(n_member, sizeof *bp->member);
    bp->angle = nnp_alloc(n_member + nt, sizeof *bp->angle);
    bp->narrow = nnp_alloc(n_member, sizeof *bp->narrow);
    int* const term = nnp_alloc(nt, sizeof *term);
    angular* const list = nnp_alloc(nt, sizeof *list);
    const int ok = bp->cut && bp->term && bp->radial && bp->own && bp->side && bp->first_radial &&
                   bp->channel && bp->group && bp->member && bp->angle && bp->narrow && term && list;
    if (ok) {
        bp->first_own = bp->first_radial + ns + 1;
        bp->first_side = bp->first_own + ns + 1;
        memset(bp->channel, 0, (size_t)nnp_n_channels(n_species) * sizeof *bp->channel);
        for (int f = 0; f < nf; f++) term[f] = add_term(bp, &bp->spec[f]);
        sort_radial(m, bp, term);
        sort_angular(m, bp, term, list);
        sort_sides(m, bp);
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
    void* const all[] = {bp->spec,   bp->centre, bp->factor, bp->minimum,     bp->maximum, bp->cut,
                         bp->term,   bp->radial, bp->own,    bp->side,        bp->channel, bp->group,
                         bp->member, bp->angle,  bp->narrow, bp->first_radial};
    for (size_t k = 0; k < sizeof all / sizeof *all; k++) nnp_free(all[k]);
}
