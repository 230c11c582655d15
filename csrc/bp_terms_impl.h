/* bp_terms_impl.h - rows of the functions of one variable that symmetry functions are made of: cutoffs,
 * radial factors, windows, powers (math/bp.h), for the n <= NNP_BP_TILE lanes-wide numbers of a tile.
 */
#ifndef NNP_BP_TERMS_IMPL_H
#define NNP_BP_TERMS_IMPL_H

#include "block_impl.h"
#include "math/bp.h"

/* Long chains of operations run NNP_BP_ABREAST at a time, to fill the pipelines. */
#if NNP_ISA == 2
enum { NNP_BP_TILE = 16, NNP_BP_ABREAST = 4 };
#else
enum { NNP_BP_TILE = 16, NNP_BP_ABREAST = 2 };
#endif

/* ---- rows of functions of one variable ---- */

#define NNP_BP_ROW(kind, call)                                                                               \
    case kind:                                                                                               \
        for (int k = 0; k < n; ++k) call;                                                                    \
        break;

static void cutoff_row(const nnp_bp_cut* cut, int n, const nnp_vec* r, nnp_vec* f, nnp_vec* df)
{
    const nnp_bp_cutoff_p p = {(nnp_real)cut->rc, (nnp_real)cut->inner,
                               (nnp_real)(1 / (cut->rc - cut->inner))};
    switch (cut->kind) {
        NNP_BP_ROW(0, nnp_bp_cutoff(0, r[k], p, &f[k], &df[k]))
        NNP_BP_ROW(1, nnp_bp_cutoff(1, r[k], p, &f[k], &df[k]))
        NNP_BP_ROW(2, nnp_bp_cutoff(2, r[k], p, &f[k], &df[k]))
        NNP_BP_ROW(3, nnp_bp_cutoff(3, r[k], p, &f[k], &df[k]))
        NNP_BP_ROW(4, nnp_bp_cutoff(4, r[k], p, &f[k], &df[k]))
        NNP_BP_ROW(5, nnp_bp_cutoff(5, r[k], p, &f[k], &df[k]))
        NNP_BP_ROW(6, nnp_bp_cutoff(6, r[k], p, &f[k], &df[k]))
        NNP_BP_ROW(7, nnp_bp_cutoff(7, r[k], p, &f[k], &df[k]))
        NNP_BP_ROW(8, nnp_bp_cutoff(8, r[k], p, &f[k], &df[k]))
    }
}

static nnp_bp_window_p window_p(const nnp_bp_window* w)
{
    nnp_bp_window_p p = {(nnp_real)w->centre, (nnp_real)(1 / w->width)};
    return p;
}

static void window_row(const nnp_bp_window* w, int n, const nnp_vec* r, nnp_vec* f, nnp_vec* df)
{
    const nnp_bp_window_p p = window_p(w);
    switch (2 * w->core + w->asymmetric) {
        NNP_BP_ROW(8, nnp_bp_compact(4, 0, r[k], p, &f[k], &df[k]))
        NNP_BP_ROW(9, nnp_bp_compact(4, 1, r[k], p, &f[k], &df[k]))
        NNP_BP_ROW(10, nnp_bp_compact(5, 0, r[k], p, &f[k], &df[k]))
        NNP_BP_ROW(11, nnp_bp_compact(5, 1, r[k], p, &f[k], &df[k]))
        NNP_BP_ROW(12, nnp_bp_compact(6, 0, r[k], p, &f[k], &df[k]))
        NNP_BP_ROW(13, nnp_bp_compact(6, 1, r[k], p, &f[k], &df[k]))
        NNP_BP_ROW(14, nnp_bp_compact(7, 0, r[k], p, &f[k], &df[k]))
        NNP_BP_ROW(15, nnp_bp_compact(7, 1, r[k], p, &f[k], &df[k]))
        NNP_BP_ROW(16, nnp_bp_compact(8, 0, r[k], p, &f[k], &df[k]))
        NNP_BP_ROW(17, nnp_bp_compact(8, 1, r[k], p, &f[k], &df[k]))
    }
}

static void angle_window_row(const nnp_bp_window* w, int n, const nnp_vec* c, nnp_vec* f, nnp_vec* df)
{
    const nnp_bp_window_p p = window_p(w);
    switch (2 * w->core + w->asymmetric) {
        NNP_BP_ROW(8, nnp_bp_angle_window(4, 0, c[k], p, &f[k], &df[k]))
        NNP_BP_ROW(9, nnp_bp_angle_window(4, 1, c[k], p, &f[k], &df[k]))
        NNP_BP_ROW(10, nnp_bp_angle_window(5, 0, c[k], p, &f[k], &df[k]))
        NNP_BP_ROW(11, nnp_bp_angle_window(5, 1, c[k], p, &f[k], &df[k]))
        NNP_BP_ROW(12, nnp_bp_angle_window(6, 0, c[k], p, &f[k], &df[k]))
        NNP_BP_ROW(13, nnp_bp_angle_window(6, 1, c[k], p, &f[k], &df[k]))
        NNP_BP_ROW(14, nnp_bp_angle_window(7, 0, c[k], p, &f[k], &df[k]))
        NNP_BP_ROW(15, nnp_bp_angle_window(7, 1, c[k], p, &f[k], &df[k]))
        NNP_BP_ROW(16, nnp_bp_angle_window(8, 0, c[k], p, &f[k], &df[k]))
        NNP_BP_ROW(17, nnp_bp_angle_window(8, 1, c[k], p, &f[k], &df[k]))
    }
}

/* R and dR/dr of the terms list[0 .. n_list) at n <= NNP_BP_TILE distances; row l goes to value + l stride.
 */
static void term_rows(const nnp_bp* bp, const int* list, int n_list, int n, const nnp_vec* r, nnp_vec* value,
                      nnp_vec* slope, size_t stride)
{
    nnp_vec fc[NNP_BP_TILE], dfc[NNP_BP_TILE];
    int cut = -1;
    for (int l = 0; l < n_list; ++l, value += stride, slope += stride) {
        const nnp_bp_term* const t = &bp->term[list[l]];
        if (t->compact) {
            window_row(&t->window, n, r, value, slope);
            continue;
        }
        if (t->cut != cut) cutoff_row(&bp->cut[cut = t->cut], n, r, fc, dfc);
        const nnp_real eta = (nnp_real)t->eta, rs = (nnp_real)t->rs;
        for (int k = 0; k < n; ++k) nnp_bp_gaussian(r[k], eta, rs, fc[k], dfc[k], &value[k], &slope[k]);
    }
}

/* ---- rows of a channel: powers and windows of the angle ---- */

/* Rows that the sweep wants, [n_rows][NNP_BP_TILE], for n cosines. */
static void channel_rows(const nnp_bp_row* list, int n_rows, int use, int n, const nnp_vec* c, nnp_vec* rows)
{
    for (int i = 0; i < n_rows; ++i) {
        const nnp_bp_row* const r = &list[i];
        nnp_vec* const out = rows + (size_t)i * NNP_BP_TILE;
        const nnp_vec* const a = rows + (size_t)r->a * NNP_BP_TILE;
        const nnp_vec* const b = rows + (size_t)r->b * NNP_BP_TILE;
        if (r->kind == NNP_BP_WINDOW) angle_window_row(&r->window, n, c, out, out + NNP_BP_TILE);
        if (!(r->use & use)) continue;
        switch (r->kind) {
            NNP_BP_ROW(NNP_BP_BASE, out[k] = nnp_bp_base(c[k], (nnp_real)r->lambda))
            NNP_BP_ROW(NNP_BP_PRODUCT, out[k] = a[k] * b[k])
            NNP_BP_ROW(NNP_BP_REAL, out[k] = nnp_bp_power(a[k], (nnp_real)r->zeta))
        default:
            break;
        }
    }
}

#endif /* NNP_BP_TERMS_IMPL_H */
