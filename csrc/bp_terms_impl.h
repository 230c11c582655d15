/* bp_terms_impl.h - rows of the functions of one variable that symmetry functions are made of: cutoffs,
 * radial factors, windows, powers (math/bp.h), for the n <= NNP_BP_TILE lanes-wide numbers of a tile.
 */
#ifndef NNP_BP_TERMS_IMPL_H
#define NNP_BP_TERMS_IMPL_H

#include "block_impl.h"
#include "math/bp.h"

/* Long chains of operations run NNP_BP_ABREAST at a time, to fill the pipelines. */
enum { NNP_BP_TILE = 32, NNP_BP_ABREAST = 8 };

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

/* fc and (dfc/dr)/(r fc) at any number of distances */
static void ratio_row(const nnp_bp_cut* cut, int n, const nnp_vec* r, nnp_vec* f, nnp_vec* h)
{
    const nnp_bp_cutoff_p p = {(nnp_real)cut->rc, (nnp_real)cut->inner,
                               (nnp_real)(1 / (cut->rc - cut->inner))};
    switch (cut->kind) {
        NNP_BP_ROW(0, nnp_bp_cutoff_ratio(0, 1, &r[k], p, &f[k], &h[k]))
        NNP_BP_ROW(1, nnp_bp_cutoff_ratio(1, 1, &r[k], p, &f[k], &h[k]))
        NNP_BP_ROW(2, nnp_bp_cutoff_ratio(2, 1, &r[k], p, &f[k], &h[k]))
        NNP_BP_ROW(3, nnp_bp_cutoff_ratio(3, 1, &r[k], p, &f[k], &h[k]))
        NNP_BP_ROW(4, nnp_bp_cutoff_ratio(4, 1, &r[k], p, &f[k], &h[k]))
        NNP_BP_ROW(5, nnp_bp_cutoff_ratio(5, 1, &r[k], p, &f[k], &h[k]))
        NNP_BP_ROW(6, nnp_bp_cutoff_ratio(6, 1, &r[k], p, &f[k], &h[k]))
        NNP_BP_ROW(7, nnp_bp_cutoff_ratio(7, 1, &r[k], p, &f[k], &h[k]))
        NNP_BP_ROW(8, nnp_bp_cutoff_ratio(8, 1, &r[k], p, &f[k], &h[k]))
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

/* The powers of one lambda whose bits are set in wanted, side by side in registers. */
NNP_FN void power_rows(const int wanted, nnp_real lambda, int n, const nnp_vec* c, nnp_vec* const* out)
{
    for (int k = 0; k < n; ++k) {
        const nnp_vec p = nnp_bp_base(c[k], lambda);
        const nnp_vec p2 = p * p, p3 = p2 * p, p4 = p2 * p2, p7 = p4 * p3, p8 = p4 * p4;
        if (wanted & 1) out[0][k] = p;
        if (wanted & 2) out[1][k] = p2;
        if (wanted & 4) out[2][k] = p3;
        if (wanted & 8) out[3][k] = p4;
        if (wanted & 16) out[4][k] = p7;
        if (wanted & 32) out[5][k] = p8;
        if (wanted & 64) out[6][k] = p8 * p7;
        if (wanted & 128) out[7][k] = p8 * p8;
    }
}

#define NNP_BP_POWERS(wanted)                                                                                \
    case wanted:                                                                                             \
        power_rows(wanted, lambda, n, c, out);                                                               \
        break;

static void power_block(const nnp_bp_row* list, const nnp_bp_block* block, int use, int n, const nnp_vec* c,
                        nnp_vec* rows)
{
    const nnp_real lambda = (nnp_real)block->lambda;
    nnp_vec* out[8] = {NULL};
    int wanted = 0;
    for (int i = 0; i < 8; ++i) {
        const int r = block->row[i];
        if (r < 0 || !(list[r].use & use)) continue;
        out[i] = rows + (size_t)r * NNP_BP_TILE;
        wanted |= 1 << i;
    }
    switch (wanted) { /* sets of zeta that are in use; the rest one by one */
        NNP_BP_POWERS(0x01)
        NNP_BP_POWERS(0x02)
        NNP_BP_POWERS(0x03)
        NNP_BP_POWERS(0x08)
        NNP_BP_POWERS(0x09)
        NNP_BP_POWERS(0x0b)
        NNP_BP_POWERS(0x0f)
        NNP_BP_POWERS(0x8b)
        NNP_BP_POWERS(0xc0)
    default:
        if (wanted & 0x01) power_rows(0x01, lambda, n, c, out);
        if (wanted & 0x02) power_rows(0x02, lambda, n, c, out);
        if (wanted & 0x04) power_rows(0x04, lambda, n, c, out);
        if (wanted & 0x08) power_rows(0x08, lambda, n, c, out);
        if (wanted & 0x10) power_rows(0x10, lambda, n, c, out);
        if (wanted & 0x20) power_rows(0x20, lambda, n, c, out);
        if (wanted & 0x40) power_rows(0x40, lambda, n, c, out);
        if (wanted & 0x80) power_rows(0x80, lambda, n, c, out);
    }
}
#undef NNP_BP_POWERS

/* Rows that the sweep wants, [n_rows][NNP_BP_TILE], for n cosines. */
static void channel_rows(const nnp_bp* bp, const nnp_bp_channel* channel, int use, int n, const nnp_vec* c,
                         nnp_vec* rows)
{
    const nnp_bp_row* const list = bp->row + channel->first_row;
    for (int i = 0; i < channel->n_blocks; ++i)
        power_block(list, &bp->block[channel->first_block + i], use, n, c, rows);
    for (int i = 0; i < channel->n_rows; ++i) {
        const nnp_bp_row* const r = &list[i];
        nnp_vec* const out = rows + (size_t)i * NNP_BP_TILE;
        const nnp_vec* const a = rows + (size_t)r->a * NNP_BP_TILE;
        const nnp_vec* const b = rows + (size_t)r->b * NNP_BP_TILE;
        if (!(r->use & use)) continue;
        switch (r->kind) {
            NNP_BP_ROW(NNP_BP_PRODUCT, out[k] = a[k] * b[k])
            NNP_BP_ROW(NNP_BP_REAL, out[k] = nnp_bp_power(a[k], (nnp_real)r->zeta))
        case NNP_BP_WINDOW:
            angle_window_row(&r->window, n, c, out, out + NNP_BP_TILE);
            break;
        default:
            break;
        }
    }
}

#endif /* NNP_BP_TERMS_IMPL_H */
