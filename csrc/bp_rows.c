/* bp_rows.c - which powers of (1 + lambda cos)/2 and which exponentials of r_jk a channel needs, and how they
 * follow from one another by products (bp.h).
 */
#include "bp_private.h"
#include <math.h>
#include <string.h>

/* ---- rows: powers and windows of a channel's angles ---- */

enum { MAX_INTEGER_ZETA = 64 };

int nnp_bp_is_integer(double zeta) { return zeta == floor(zeta) && zeta <= MAX_INTEGER_ZETA; }

/* Place of a new row in the channel; -1 if out of memory. */
static int add_row(nnp_bp* bp, nnp_bp_channel* c, nnp_bp_row row)
{
    if (bp->n_row == bp->cap_row) {
        const size_t capacity = 2 * bp->cap_row + 64;
        nnp_bp_row* const larger = nnp_alloc(capacity, sizeof *larger);
        if (!larger) return -1;
        if (bp->n_row) memcpy(larger, bp->row, bp->n_row * sizeof *larger);
        nnp_free(bp->row);
        bp->row = larger;
        bp->cap_row = capacity;
    }
    bp->row[bp->n_row++] = row;
    return c->n_rows++;
}

static int find_power(const nnp_bp* bp, const nnp_bp_channel* c, double lambda, double zeta)
{
    for (int k = 0; k < c->n_rows; k++) {
        const nnp_bp_row* const r = &bp->row[c->first_row + k];
        if (r->kind <= NNP_BP_REAL && r->lambda == lambda && r->zeta == zeta) return k;
    }
    return -1;
}

static int add_product(nnp_bp* bp, nnp_bp_channel* c, int a, int b)
{
    const nnp_bp_row *x = &bp->row[c->first_row + a], *y = &bp->row[c->first_row + b];
    const nnp_bp_row row = {NNP_BP_PRODUCT, a, b, 0, x->lambda, x->zeta + y->zeta, {0, 0, 0, 0}};
    return add_row(bp, c, row);
}

/* Place of the power n in a block, -1: it is no member. */
static int block_place(int n)
{
    static const int members[8] = {1, 2, 3, 4, 7, 8, 15, 16};
    for (int k = 0; k < 8; k++)
        if (members[k] == n) return k;
    return -1;
}

static int add_block_row(nnp_bp* bp, nnp_bp_channel* c, double lambda, int n)
{
    const nnp_bp_row row = {NNP_BP_BLOCK, 0, 0, 0, lambda, n, {0, 0, 0, 0}};
    const int place = add_row(bp, c, row);
    int k = c->first_block;
    while (k < c->first_block + c->n_blocks && bp->block[k].lambda != lambda) k++;
    if (k == c->first_block + c->n_blocks) {
        bp->block[k] = (nnp_bp_block){lambda, {-1, -1, -1, -1, -1, -1, -1, -1}};
        c->n_blocks++;
        bp->n_block++;
    }
    bp->block[k].row[block_place(n)] = place;
    return place;
}

/* Row of p^n by as few products as come to mind: an addition chain through the rows at hand. -1: no memory.
 */
int nnp_bp_power_row(nnp_bp* bp, nnp_bp_channel* c, double lambda, int n)
{
    int found = find_power(bp, c, lambda, n), largest = -1;
    if (found >= 0) return found;
    if (block_place(n) >= 0) return add_block_row(bp, c, lambda, n);
    if (nnp_bp_power_row(bp, c, lambda, 1) < 0) return -1;
    for (int k = 0; k < c->n_rows; k++) {
        const nnp_bp_row* const r = &bp->row[c->first_row + k];
        if (r->kind > NNP_BP_PRODUCT || r->lambda != lambda || r->zeta > n) continue;
        const int other = find_power(bp, c, lambda, n - r->zeta);
        if (other >= 0) return add_product(bp, c, k, other);
        if (largest < 0 || r->zeta > bp->row[c->first_row + largest].zeta) largest = k;
    }
    const int e = (int)bp->row[c->first_row + largest].zeta;
    const int half = 2 * e <= n ? n / 2 : e;
    const int a = nnp_bp_power_row(bp, c, lambda, half),
              b = a < 0 ? a : nnp_bp_power_row(bp, c, lambda, n - half);
    return b < 0 ? b : add_product(bp, c, a, b);
}

int nnp_bp_real_row(nnp_bp* bp, nnp_bp_channel* c, double lambda, double zeta)
{
    const int found = find_power(bp, c, lambda, zeta);
    if (found >= 0) return found;
    const int base = nnp_bp_power_row(bp, c, lambda, 1);
    const nnp_bp_row row = {NNP_BP_REAL, base, 0, 0, lambda, zeta, {0, 0, 0, 0}};
    return base < 0 ? base : add_row(bp, c, row);
}

int nnp_bp_window_row(nnp_bp* bp, nnp_bp_channel* c, const nnp_bp_window* w)
{
    for (int k = 0; k < c->n_rows; k++)
        if (bp->row[c->first_row + k].kind == NNP_BP_WINDOW &&
            nnp_bp_same_window(&bp->row[c->first_row + k].window, w))
            return k;
    nnp_bp_row row = {NNP_BP_WINDOW, 0, 0, 0, 0, 0, *w};
    const int value = add_row(bp, c, row);
    row.kind = NNP_BP_SLOPE;
    return value < 0 || add_row(bp, c, row) < 0 ? -1 : value;
}

void nnp_bp_use_row(nnp_bp* bp, const nnp_bp_channel* c, int k, int use)
{
    nnp_bp_row* const r = &bp->row[c->first_row + k];
    if ((r->use & use) == use) return;
    r->use |= use;
    if (r->kind == NNP_BP_PRODUCT || r->kind == NNP_BP_REAL) nnp_bp_use_row(bp, c, r->a, use);
    if (r->kind == NNP_BP_PRODUCT) nnp_bp_use_row(bp, c, r->b, use);
}

/* ---- exponentials that are products of one another ---- */

static int find_link(const nnp_bp_channel* c, double eta)
{
    for (int k = 0; k < c->n_chain; k++)
        if (fabs(c->chain[k].eta - eta) <= 1e-14 * eta) return k;
    return -1;
}

static int add_link(nnp_bp_channel* c, int a, int b, double eta)
{
    c->chain[c->n_chain] = (nnp_bp_link){NNP_BP_BOTH, a, b, 0, -1, eta};
    return c->n_chain++;
}

/* exp(-eta r^2) = e_a e_b, or e_a e_b e_k (e_a e_b e_a e_b) by one more product, or an exponential. */
static int chain_link(nnp_bp_channel* c, double eta)
{
    const int n = c->n_chain;
    if (find_link(c, eta) >= 0) return find_link(c, eta);
    for (int a = 0; a < n; a++)
        for (int b = 0; b <= a; b++)
            if (fabs(c->chain[a].eta + c->chain[b].eta - eta) <= 1e-14 * eta) return add_link(c, a, b, eta);
    for (int a = 0; a < n; a++)
        for (int b = 0; b <= a; b++) {
            const double sum = c->chain[a].eta + c->chain[b].eta;
            if (sum >= eta) continue;
            const int rest = fabs(2 * sum - eta) <= 1e-14 * eta ? n : find_link(c, eta - sum);
            if (rest < 0) continue;
            const int middle = add_link(c, a, b, sum);
            return add_link(c, middle, rest, eta);
        }
    return add_link(c, -1, -1, eta);
}

static int compare_narrow(const nnp_bp_term* a, const nnp_bp_term* b)
{
    return (a->eta > b->eta) - (a->eta < b->eta);
}

/* Which links take the one before from a register, and which are to be kept. */
static void sort_links(nnp_bp_channel* c)
{
    for (int k = 0; k < c->n_chain; k++) {
        nnp_bp_link* const l = &c->chain[k];
        const int a_last = l->a == k - 1, b_last = l->b == k - 1;
        if (l->a < 0) {
            l->kind = NNP_BP_EXPONENTIAL;
            continue;
        }
        l->kind = a_last && b_last ? NNP_BP_SQUARE : a_last || b_last ? NNP_BP_TIMES : NNP_BP_BOTH;
        if (l->kind == NNP_BP_TIMES && b_last) l->b = l->a;
        if (l->kind == NNP_BP_BOTH) c->chain[l->a].keep = 1;
        if (l->kind != NNP_BP_SQUARE) c->chain[l->b].keep = 1;
    }
}

void nnp_bp_make_chain(nnp_bp* bp, nnp_bp_channel* c)
{
    const int* const list = bp->narrow + c->first_narrow;
    int order[NNP_BP_MAX_CHAIN];
    if (c->n_narrow == 0 || 2 * c->n_narrow > NNP_BP_MAX_CHAIN) return;
    for (int k = 0; k < c->n_narrow; k++) {
        const nnp_bp_term* const t = &bp->term[list[k]];
        if (t->compact || t->rs != 0 || t->cut != bp->term[list[0]].cut) return;
        int at = k;
        for (; at > 0 && compare_narrow(&bp->term[list[order[at - 1]]], t) > 0; at--)
            order[at] = order[at - 1];
        order[at] = k;
    }
    c->chain_cut = bp->term[list[0]].cut;
    bp->cut[c->chain_cut].chained = 1;
    for (int k = 0; k < c->n_narrow; k++) {
        const int link = chain_link(c, bp->term[list[order[k]]].eta);
        c->chain[link].narrow = order[k];
    }
    sort_links(c);
}
