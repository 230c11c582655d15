/* neigh_grid.c - lattice, wrapping, bins, periodic images, counting sort. */
#include "neigh_private.h"
#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Rounding is covered by searching a little farther than the cutoff; the pair test itself is exact. */
static const double MARGIN = 1e-9;
static const double FARTHEST = 1e12;  /* Angstrom: beyond it a double no longer resolves 1e-3 */
static const double MOST_CELLS = 1e9; /* an unwrapped atom's image must fit an int with room */
static const double FLATTEST = 1e-6;  /* volume / (a b c) of a usable cell */

static void cross(const double* a, const double* b, double* c)
{
    c[0] = a[1] * b[2] - a[2] * b[1];
    c[1] = a[2] * b[0] - a[0] * b[2];
    c[2] = a[0] * b[1] - a[1] * b[0];
}

static double dot(const double* a, const double* b) { return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]; }

static double normalise(double* a)
{
    double length = sqrt(dot(a, a));
    for (int c = 0; c < 3; c++) a[c] /= length;
    return length;
}

/* Unit vectors for the non-periodic axes, perpendicular to the periodic ones whatever the caller gave. */
static void complete(double unit[3][3], const int* periodic)
{
    int n = periodic[0] + periodic[1] + periodic[2];
    if (n == 0) {
        for (int d = 0; d < 3; d++)
            for (int c = 0; c < 3; c++) unit[d][c] = c == d;
    } else if (n == 1) {
        int d = periodic[0] ? 0 : periodic[1] ? 1 : 2;
        const double* a = unit[d];
        int least = fabs(a[0]) <= fabs(a[1]) ? 0 : 1;
        if (fabs(a[2]) < fabs(a[least])) least = 2;
        double axis[3] = {0, 0, 0};
        axis[least] = 1;
        cross(a, axis, unit[(d + 1) % 3]);
        normalise(unit[(d + 1) % 3]);
        cross(a, unit[(d + 1) % 3], unit[(d + 2) % 3]);
    } else if (n == 2) {
        int d = !periodic[0] ? 0 : !periodic[1] ? 1 : 2;
        cross(unit[(d + 1) % 3], unit[(d + 2) % 3], unit[d]);
        if (dot(unit[d], unit[d]) > 0) normalise(unit[d]);
    }
}

static int check_vector(int axis, const double* vector)
{
    double largest = 0;
    for (int c = 0; c < 3; c++) {
        if (!(fabs(vector[c]) <= FARTHEST))
            return nnp_fail(NNP_ERR_GEOMETRY, "cell vector %d is not finite or too long: component %d is %g",
                            axis, c, vector[c]);
        if (fabs(vector[c]) > largest) largest = fabs(vector[c]);
    }
    if (!(largest >= 1e-12))
        return nnp_fail(NNP_ERR_GEOMETRY, "cell vector %d of a periodic axis has zero length", axis);
    return NNP_OK;
}

/* Volume of the parallelepiped over the product of its edges, from unit vectors. */
static double openness(double unit[3][3])
{
    double normal[3];
    cross(unit[1], unit[2], normal);
    return dot(unit[0], normal);
}

/* basis = combine . cell, afresh from the integers so that no rounding piles up. */
static void combine_row(const nnp_grid* grid, int d, double* vector)
{
    nnp_grid_shift(grid, grid->combine[d], vector);
}

/* Shortens each vector by whole multiples of the others until none is shorter (Lagrange, in turn for each
 * pair): the planes of the new basis are about as far apart as the lattice allows. */
static void reduce(nnp_grid* grid, const int* periodic, double basis[3][3])
{
    int changed = 1;
    for (int sweep = 0; changed && sweep < 200; sweep++) {
        changed = 0;
        for (int pair = 0; pair < 6; pair++) {
            int d = pair % 3, e = (d + 1 + pair / 3) % 3;
            if (!periodic[d] || !periodic[e]) continue;
            double ratio = dot(basis[d], basis[e]) / dot(basis[e], basis[e]);
            if (!(fabs(ratio) > 0.5 + 1e-6) || !(fabs(ratio) < 1e7)) continue;
            double times = rint(ratio);
            int fits = 1;
            for (int k = 0; k < 3; k++) fits &= fabs(grid->combine[d][k] - times * grid->combine[e][k]) < 1e7;
            if (!fits) return;
            for (int k = 0; k < 3; k++) grid->combine[d][k] -= (int)times * grid->combine[e][k];
            combine_row(grid, d, basis[d]);
            grid->reduced = changed = 1;
        }
    }
}

static int set_cell(nnp_grid* grid, const double* cell, const int* periodic, double unit[3][3])
{
    double largest = 1;
    for (int d = 0; d < 3; d++) {
        grid->combine[d][d] = 1;
        if (!periodic[d]) continue;
        if (check_vector(d, cell + 3 * d)) return NNP_ERR_GEOMETRY;
        memcpy(grid->cell + 3 * d, cell + 3 * d, 3 * sizeof(double));
        memcpy(unit[d], cell + 3 * d, 3 * sizeof(double));
        normalise(unit[d]);
    }
    complete(unit, periodic);
    double volume = fabs(openness(unit));
    if (!(volume >= FLATTEST))
        return nnp_fail(NNP_ERR_GEOMETRY,
                        "cell is singular or nearly so: its periodic vectors span volume/(a b c) = %.3g, "
                        "less than %g",
                        volume, FLATTEST);
    for (int d = 0; d < 3; d++)
        if (periodic[d]) memcpy(unit[d], cell + 3 * d, 3 * sizeof(double));
    reduce(grid, periodic, unit);
    for (int d = 0; d < 3; d++)
        for (int k = 0; k < 3; k++) largest = fmax(largest, abs(grid->combine[d][k]));
    grid->most_cells = MOST_CELLS / (3 * largest);
    return NNP_OK;
}

/* s = x H^-1 from unit vectors u_d = a_d/|a_d|: s_d = x . r_d / |a_d| with r_0 = u_1 x u_2 / det u. */
int nnp_grid_lattice(nnp_grid* grid, const double* cell, const int* pbc, double cutoff)
{
    memset(grid, 0, sizeof *grid);
    grid->cutoff = cutoff;
    double basis[3][3], length[3], normal[3];
    int periodic[3];
    if (!cell && pbc && (pbc[0] || pbc[1] || pbc[2]))
        return nnp_fail(NNP_ERR_ARGUMENT, "axis %d is periodic, but there is no cell",
                        pbc[0]   ? 0
                        : pbc[1] ? 1
                                 : 2);
    for (int d = 0; d < 3; d++) periodic[d] = cell && (!pbc || pbc[d]);
    if (set_cell(grid, cell, periodic, basis)) return NNP_ERR_GEOMETRY;
    for (int d = 0; d < 3; d++) length[d] = normalise(basis[d]);
    double volume = openness(basis);
    for (int d = 0; d < 3; d++) {
        grid->width[d] = INFINITY;
        if (!periodic[d]) continue;
        cross(basis[(d + 1) % 3], basis[(d + 2) % 3], normal);
        for (int c = 0; c < 3; c++) grid->inverse[3 * c + d] = normal[c] / volume / length[d];
        grid->width[d] = length[d] * fabs(volume) / sqrt(dot(normal, normal));
    }
    return NNP_OK;
}

static inline double fraction(const nnp_grid* grid, const double* x, int d)
{
    const double* inverse = grid->inverse;
    return x[0] * inverse[d] + x[1] * inverse[3 + d] + x[2] * inverse[6 + d];
}

static inline int floor_int(double s)
{
    int k = (int)s;
    return k - (k > s);
}

/* Lattice vectors of the reduced basis -> of the cell. */
static void to_cell(const nnp_grid* grid, int* image)
{
    int m[3] = {image[0], image[1], image[2]};
    for (int k = 0; k < 3; k++)
        image[k] = m[0] * grid->combine[0][k] + m[1] * grid->combine[1][k] + m[2] * grid->combine[2][k];
}

void nnp_grid_wrap(const nnp_grid* grid, int count, const double* x, int* image)
{
    for (int a = 0; a < count; a++)
        for (int d = 0; d < 3; d++) image[3 * a + d] = -floor_int(fraction(grid, x + 3 * a, d));
    if (grid->reduced)
        for (int a = 0; a < count; a++) to_cell(grid, image + 3 * a);
}

/* First atom that cannot be handled, or n. */
static int first_bad(const nnp_grid* grid, int n, const double* x, int n_threads)
{
    int bad = n;
#pragma omp parallel for schedule(static) num_threads(n_threads) reduction(min : bad) if (n_threads > 1)
    for (int a = 0; a < n; a++) {
        const double* p = x + 3 * (size_t)a;
        int good = 1;
        for (int d = 0; d < 3; d++)
            good &= (fabs(p[d]) <= FARTHEST) & (fabs(fraction(grid, p, d)) <= grid->most_cells);
        if (!good && a < bad) bad = a;
    }
    return bad;
}

static int complain(const nnp_grid* grid, int atom, const double* p)
{
    for (int d = 0; d < 3; d++)
        if (!isfinite(p[d]))
            return nnp_fail(NNP_ERR_ARGUMENT, "atom %d: position is not finite (%g %g %g)", atom, p[0], p[1],
                            p[2]);
    for (int d = 0; d < 3; d++)
        if (!(fabs(p[d]) <= FARTHEST))
            return nnp_fail(NNP_ERR_ARGUMENT, "atom %d: position %g %g %g is beyond %g Angstrom", atom, p[0],
                            p[1], p[2], FARTHEST);
    return nnp_fail(NNP_ERR_ARGUMENT, "atom %d: position %g %g %g is more than %g cells away (%g %g %g)",
                    atom, p[0], p[1], p[2], MOST_CELLS, fraction(grid, p, 0), fraction(grid, p, 1),
                    fraction(grid, p, 2));
}

/* Ranges of the wrapped atoms; min and max are exact, so any split over threads gives the same bits. */
static void measure(nnp_grid* grid, int n, const double* x, int n_threads)
{
    double lo[6], hi[6];
    for (int d = 0; d < 6; d++) lo[d] = INFINITY, hi[d] = -INFINITY;
#pragma omp parallel for schedule(static) num_threads(n_threads) reduction(min : lo[ : 6])                   \
    reduction(max : hi[ : 6]) if (n_threads > 1)
    for (int block = 0; block < n; block += NNP_NEIGH_BLOCK) {
        int count = n - block < NNP_NEIGH_BLOCK ? n - block : NNP_NEIGH_BLOCK;
        int image[NNP_NEIGH_BLOCK][3];
        nnp_grid_wrap(grid, count, x + 3 * (size_t)block, image[0]);
        for (int a = 0; a < count; a++) {
            double p[6];
            nnp_grid_shift(grid, image[a], p);
            for (int c = 0; c < 3; c++) p[c] += x[3 * (size_t)(block + a) + c];
            for (int d = 0; d < 3; d++) p[3 + d] = fraction(grid, p, d);
            for (int d = 0; d < 6; d++) {
                lo[d] = p[d] < lo[d] ? p[d] : lo[d];
                hi[d] = p[d] > hi[d] ? p[d] : hi[d];
            }
        }
    }
    for (int d = 0; d < 3; d++) {
        grid->lo[d] = lo[d], grid->hi[d] = hi[d];
        grid->s_lo[d] = lo[3 + d], grid->s_hi[d] = hi[3 + d];
    }
}

/* Tiles that n bins and the two layers of ghosts take. */
static double tiles_for(double n_bins) { return floor((n_bins + 2 + 3) / 4); }

static void number_bins(nnp_grid* grid)
{
    for (int d = 0; d < 3; d++) grid->tiles[d] = (int)tiles_for(grid->n_bin[d]);
    grid->tile_y = 64 * grid->tiles[0];
    grid->tile_z = grid->tile_y * grid->tiles[1];
    grid->n_bins = grid->tile_z * grid->tiles[2];
}

/* Edges >= cutoff. A sparse system gets wider bins, so that there are never many more bins than atoms. */
static void choose_bins(nnp_grid* grid, int n)
{
    const double most = fmin(2.0 * n + 512, 1e9);
    double edge = grid->cutoff * (1 + MARGIN), count[3], extent[3];
    for (int d = 0; d < 3; d++) {
        double scale = fmax(fabs(grid->lo[d]), fabs(grid->hi[d]));
        extent[d] = grid->hi[d] - grid->lo[d];
        edge = fmax(edge, fmax(grid->cutoff + 1e-13 * scale, extent[d] * 1e-8));
    }
    for (double bins = INFINITY; bins > most; edge *= 1.25) {
        bins = 64;
        for (int d = 0; d < 3; d++) {
            count[d] = fmax(1, floor(extent[d] / edge));
            bins *= tiles_for(count[d]);
            grid->bin[d] = fmax(edge, extent[d] / count[d]);
        }
    }
    for (int d = 0; d < 3; d++) {
        grid->n_bin[d] = (int)count[d];
        grid->inverse_bin[d] = 1 / grid->bin[d];
    }
    number_bins(grid);
}

int nnp_grid_bins(nnp_grid* grid, int n, const double* x, int n_threads)
{
    int bad = first_bad(grid, n, x, n_threads);
    if (bad < n) return complain(grid, bad, x + 3 * (size_t)bad);
    measure(grid, n, x, n_threads);
    double images = 1, scale = 0;
    for (int d = 0; d < 3; d++) scale = fmax(scale, fmax(fabs(grid->lo[d]), fabs(grid->hi[d])));
    double farthest[3] = {0, 0, 0}; /* image of a ghost relative to its atom's */
    for (int d = 0; d < 3; d++) {
        if (!isfinite(grid->width[d])) continue;
        grid->reach[d] = (grid->cutoff * (1 + MARGIN) + 1e-13 * scale) / grid->width[d] + MARGIN;
        images *= 1 + 2 * floor(grid->reach[d]);
        for (int k = 0; k < 3; k++) farthest[k] += (grid->reach[d] + 2) * abs(grid->combine[d][k]);
    }
    /* 2^31 - 4096: loops by blocks must not overflow; nor may images of an oblique cell */
    if (!(n * images <= 2147479552.0 && fmax(farthest[0], fmax(farthest[1], farthest[2])) <= MOST_CELLS))
        return nnp_fail(NNP_ERR_GEOMETRY,
                        "cutoff %g needs more than 2^31 periodic images: lattice planes are %g, %g, %g apart",
                        grid->cutoff, grid->width[0], grid->width[1], grid->width[2]);
    choose_bins(grid, n);
    return NNP_OK;
}

static inline int bin_along(const nnp_grid* grid, double x, int d, int least, int most)
{
    double t = (x - grid->lo[d]) * grid->inverse_bin[d] + 1;
    int b = (int)t;
    return b < least ? least : b > most ? most : b;
}

int nnp_grid_bin_atom(const nnp_grid* grid, const double* x)
{
    const int* n = grid->n_bin;
    return nnp_bin(grid, bin_along(grid, x[0], 0, 1, n[0]), bin_along(grid, x[1], 1, 1, n[1]),
                   bin_along(grid, x[2], 2, 1, n[2]));
}

int nnp_grid_bin_ghost(const nnp_grid* grid, const double* x)
{
    const int* n = grid->n_bin;
    return nnp_bin(grid, bin_along(grid, x[0], 0, 0, n[0] + 1), bin_along(grid, x[1], 1, 0, n[1] + 1),
                   bin_along(grid, x[2], 2, 0, n[2] + 1));
}

/* An image outside the Cartesian range of the atoms by more than a bin cannot be a neighbour. */
static int useful(const nnp_grid* grid, const double* position, const int* m)
{
    double shift[3];
    nnp_grid_shift(grid, m, shift);
    int inside = 1;
    for (int d = 0; d < 3; d++) {
        double p = position[d] + shift[d];
        inside &= (p > grid->lo[d] - grid->bin[d]) & (p < grid->hi[d] + grid->bin[d]);
    }
    return inside;
}

int64_t nnp_grid_images(const nnp_grid* grid, const double* position, int* images)
{
    double below[3], above[3];
    int least[3], most[3], near = 0;
    for (int d = 0; d < 3; d++) {
        double s = fraction(grid, position, d);
        below[d] = s - (grid->s_lo[d] - grid->reach[d]);
        above[d] = grid->s_hi[d] + grid->reach[d] - s;
        near |= (below[d] >= 1) | (below[d] < 0) | (above[d] >= 1) | (above[d] < 0);
    }
    if (!near) return 0; /* most atoms */
    for (int d = 0; d < 3; d++) {
        least[d] = -floor_int(below[d]); /* ceil(q) = -floor(-q) */
        most[d] = floor_int(above[d]);
    }
    int64_t count = 0;
    int m[3];
    for (m[2] = least[2]; m[2] <= most[2]; m[2]++)
        for (m[1] = least[1]; m[1] <= most[1]; m[1]++)
            for (m[0] = least[0]; m[0] <= most[0]; m[0]++) {
                int image[3] = {m[0], m[1], m[2]};
                if (grid->reduced) to_cell(grid, image);
                if (!(m[0] | m[1] | m[2]) || !useful(grid, position, image)) continue;
                if (images) memcpy(images + 3 * count, image, sizeof image);
                count++;
            }
    return count;
}
