/* neigh.cu - cells, ghosts and the neighbour list of a batch of structures.
 *
 * A structure's lattice B (rows; reduced, so that its planes are as far apart as can be) stands for its cell;
 * axes that are not periodic have unit vectors perpendicular to the others. s = x B^-1 - origin counts cells
 * along periodic axes and Angstrom along others. Atoms are wrapped to 0 <= s < 1, bins are at least a cutoff
 * wide, and images within a cutoff of the cell become ghosts: a neighbour is then an atom or a ghost in one
 * of the 27 bins around, whatever the cell's shape and however small it is.
 */
#include "common.cuh"

/* One structure: what the host computed. */
#define NNP_LATTICE 27
#define NNP_GRID    8

struct nnp_cell {
    const double *basis, *inverse, *origin, *inverse_bin, *reach;
    const int *dims, *periodic;
    int base;
};

NNP_FN nnp_cell nnp_get_cell(const double* lattice, const int* grid, int structure)
{
    const double* const p = lattice + (int64_t)NNP_LATTICE * structure;
    const int* const g = grid + (int64_t)NNP_GRID * structure;
    nnp_cell c;
    c.basis = p;
    c.inverse = p + 9;
    c.origin = p + 18;
    c.inverse_bin = p + 21;
    c.reach = p + 24;
    c.dims = g;
    c.periodic = g + 3;
    c.base = g[6];
    return c;
}

NNP_FN void nnp_fractions(const nnp_cell* c, const double* x, double* s)
{
    for (int d = 0; d < 3; ++d)
        s[d] = x[0] * c->inverse[d] + x[1] * c->inverse[3 + d] + x[2] * c->inverse[6 + d] - c->origin[d];
}

/* Bin of an atom (margin 0) or a ghost (margin 1); the outermost layer holds ghosts alone. */
NNP_FN int nnp_bin(const nnp_cell* c, const double* s, int margin)
{
    int b[3];
    for (int d = 0; d < 3; ++d) {
        const int least = 1 - margin, most = c->dims[d] - 2 + margin;
        const int k = (int)floor(s[d] * c->inverse_bin[d]) + 1;
        b[d] = k < least ? least : k > most ? most : k;
    }
    return c->base + (b[2] * c->dims[1] + b[1]) * c->dims[0] + b[0];
}

/* Range of s over a structure's atoms, one block each: [n_structures][6] low, high. Axes of clusters and
 * slabs. */
NNP_KERNEL __launch_bounds__(256)
    nnp_extent(const double* NNP_RESTRICT x, const int* NNP_RESTRICT first,
               const double* NNP_RESTRICT lattice, const int* NNP_RESTRICT grid, double* NNP_RESTRICT extent)
{
    __shared__ double part[6][32];
    const int structure = blockIdx.x, lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    const nnp_cell c = nnp_get_cell(lattice, grid, structure);
    double e[6] = {1e300, 1e300, 1e300, -1e300, -1e300, -1e300};
    for (int i = first[structure] + threadIdx.x; i < first[structure + 1]; i += blockDim.x) {
        double s[3];
        nnp_fractions(&c, x + 3 * (int64_t)i, s);
        for (int d = 0; d < 3; ++d) {
            e[d] = fmin(e[d], s[d]);
            e[3 + d] = fmax(e[3 + d], s[d]);
        }
    }
    for (int k = 0; k < 6; ++k)
        for (int offset = 16; offset > 0; offset >>= 1) {
            const double other = __shfl_xor_sync(0xffffffffu, e[k], offset);
            e[k] = k < 3 ? fmin(e[k], other) : fmax(e[k], other);
        }
    if (lane == 0)
        for (int k = 0; k < 6; ++k) part[k][warp] = e[k];
    __syncthreads();
    if (threadIdx.x < 6) {
        const int k = threadIdx.x;
        double v = part[k][0];
        for (int w = 1; w < (int)(blockDim.x / 32); ++w)
            v = k < 3 ? fmin(v, part[k][w]) : fmax(v, part[k][w]);
        extent[6 * structure + k] = v;
    }
}

/* Bin of every atom, in the caller's order. */
NNP_KERNEL __launch_bounds__(256)
    nnp_bins(int n, const double* NNP_RESTRICT x, const int* NNP_RESTRICT structure,
             const double* NNP_RESTRICT lattice, const int* NNP_RESTRICT grid, int* NNP_RESTRICT key,
             int* NNP_RESTRICT status)
{
    const int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= n) return;
    const nnp_cell c = nnp_get_cell(lattice, grid, structure[i]);
    const double* const p = x + 3 * (int64_t)i;
    double s[3];
    bool good = true;
    nnp_fractions(&c, p, s);
    for (int d = 0; d < 3; ++d) {
        good = good && fabs(p[d]) <= 1e12 && fabs(s[d]) <= 1e9;
        if (c.periodic[d]) s[d] -= floor(s[d]);
    }
    if (!good) nnp_report(status, NNP_STATUS_POSITION, i);
    key[i] = good ? nnp_bin(&c, s, 0) : c.base;
}

/* Images m of a wrapped atom that are within reach of the cell: least <= m <= most. */
NNP_FN int nnp_images(const nnp_cell* c, const double* s, int* least, int* most)
{
    int count = 1;
    for (int d = 0; d < 3; ++d) {
        least[d] = c->periodic[d] ? -(int)floor(s[d] + c->reach[d]) : 0;
        most[d] = c->periodic[d] ? (int)floor(1.0 + c->reach[d] - s[d]) : 0;
        count *= most[d] - least[d] + 1;
    }
    return count - 1;
}

/* Rows: shift [n][3] that wraps x (rows), and the number of ghosts of each. */
NNP_KERNEL __launch_bounds__(256)
    nnp_wrap(int n, const double* NNP_RESTRICT x, const int* NNP_RESTRICT structure,
             const double* NNP_RESTRICT lattice, const int* NNP_RESTRICT grid, double* NNP_RESTRICT shift,
             int64_t* NNP_RESTRICT n_images)
{
    const int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= n) return;
    const nnp_cell c = nnp_get_cell(lattice, grid, structure[i]);
    double s[3], move[3] = {0, 0, 0};
    int least[3], most[3];
    nnp_fractions(&c, x + 3 * (int64_t)i, s);
    for (int d = 0; d < 3; ++d) {
        const double cells = c.periodic[d] ? floor(s[d]) : 0.0;
        s[d] -= cells;
        for (int k = 0; k < 3; ++k) move[k] -= cells * c.basis[3 * d + k];
    }
    for (int k = 0; k < 3; ++k) shift[3 * (int64_t)i + k] = move[k];
    n_images[i] = nnp_images(&c, s, least, most);
}

/* An image vector in one number: three of +-511; an atom itself has NNP_HOME. */
#define NNP_HOME (512 * (1 + 1024 + 1048576))
NNP_FN int nnp_code(const int* m) { return NNP_HOME + m[0] + 1024 * m[1] + 1048576 * m[2]; }
NNP_FN void nnp_decode(int code, int* m)
{
    m[0] = code % 1024 - 512;
    m[1] = code / 1024 % 1024 - 512;
    m[2] = code / 1048576 - 512;
}

/* Ghosts of each row from ghost_first[row] on: owner, image, bin. */
NNP_KERNEL __launch_bounds__(256)
    nnp_ghosts(int n, const double* NNP_RESTRICT x, const int* NNP_RESTRICT structure,
               const double* NNP_RESTRICT lattice, const int* NNP_RESTRICT grid,
               const int64_t* NNP_RESTRICT ghost_first, int* NNP_RESTRICT owner, int* NNP_RESTRICT image,
               int* NNP_RESTRICT key)
{
    const int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= n) return;
    const nnp_cell c = nnp_get_cell(lattice, grid, structure[i]);
    double s[3];
    int least[3], most[3], m[3];
    nnp_fractions(&c, x + 3 * (int64_t)i, s);
    for (int d = 0; d < 3; ++d)
        if (c.periodic[d]) s[d] -= floor(s[d]);
    nnp_images(&c, s, least, most);
    int64_t g = ghost_first[i];
    for (m[2] = least[2]; m[2] <= most[2]; ++m[2])
        for (m[1] = least[1]; m[1] <= most[1]; ++m[1])
            for (m[0] = least[0]; m[0] <= most[0]; ++m[0]) {
                if (!(m[0] | m[1] | m[2])) continue;
                double p[3];
                for (int d = 0; d < 3; ++d) p[d] = s[d] + m[d];
                owner[g] = i;
                image[g] = nnp_code(m);
                key[g] = nnp_bin(&c, p, 1);
                ++g;
            }
}

/* shift [n + n_ghost][3] of the ghosts, from their owners' and their images. */
NNP_KERNEL __launch_bounds__(256)
    nnp_ghost_shift(int n, int n_ghost, const int* NNP_RESTRICT owner, const int* NNP_RESTRICT image,
                    const int* NNP_RESTRICT structure, const double* NNP_RESTRICT lattice, double* shift)
{
    const int g = blockIdx.x * blockDim.x + threadIdx.x;
    if (g >= n_ghost) return;
    const double* const basis = lattice + (int64_t)NNP_LATTICE * structure[owner[g]];
    int m[3];
    nnp_decode(image[g], m);
    for (int k = 0; k < 3; ++k)
        shift[3 * ((int64_t)n + g) + k] =
            shift[3 * (int64_t)owner[g] + k] + (m[0] * basis[k] + m[1] * basis[3 + k] + m[2] * basis[6 + k]);
}

/* x[i] = position + shift, species, of the rows (their positions, unwrapped, in rows). */
NNP_KERNEL __launch_bounds__(256)
    nnp_refresh_rows(int n, const double* NNP_RESTRICT position, const double* NNP_RESTRICT shift,
                     const int* NNP_RESTRICT species, double* NNP_RESTRICT x)
{
    const int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= n) return;
    for (int k = 0; k < 3; ++k)
        x[4 * (int64_t)i + k] = position[3 * (int64_t)i + k] + shift[3 * (int64_t)i + k];
    x[4 * (int64_t)i + 3] = (double)species[i];
}

NNP_KERNEL __launch_bounds__(256)
    nnp_refresh_ghosts(int n, int n_ghost, const double* NNP_RESTRICT position,
                       const double* NNP_RESTRICT shift, const int* NNP_RESTRICT owner,
                       const int* NNP_RESTRICT species, double* NNP_RESTRICT x)
{
    const int g = blockIdx.x * blockDim.x + threadIdx.x;
    if (g >= n_ghost) return;
    const int64_t from = owner[g], to = (int64_t)n + g;
    for (int k = 0; k < 3; ++k) x[4 * to + k] = position[3 * from + k] + shift[3 * to + k];
    x[4 * to + 3] = (double)species[from];
}

/* A run of atoms next to a row: rows or ghosts of three bins. */
struct nnp_stretch {
    int begin, end;
};

/* Stretch q of the 18 around the bin key: rows and ghosts of each (y, z), three bins along x in one. */
NNP_FN nnp_stretch nnp_around(const nnp_cell* c, int key, int q, int n, const int* row_start,
                              const int* ghost_start)
{
    const int dy = q / 2 % 3 - 1, dz = q / 6 - 1;
    const int bin = key + (dz * c->dims[1] + dy) * c->dims[0] - 1;
    const int* const start = q % 2 ? ghost_start : row_start;
    const int offset = q % 2 ? n : 0;
    nnp_stretch s;
    s.begin = start[bin] + offset;
    s.end = start[bin + 3] + offset;
    return s;
}

NNP_FN double nnp_distance2(const nnp_atom* a, const nnp_atom* b)
{
    const double dx = b->x - a->x, dy = b->y - a->y, dz = b->z - a->z;
    return dx * dx + dy * dy + dz * dz;
}

/* First pass: segment [S][n] = number of neighbours of each species; then where their runs end; count [n]. */
NNP_KERNEL __launch_bounds__(128, 8)
    nnp_count(int n, int n_species, double cut2, double clash2, const double* NNP_RESTRICT x,
              const int* NNP_RESTRICT key, const int* NNP_RESTRICT structure,
              const double* NNP_RESTRICT lattice, const int* NNP_RESTRICT grid,
              const int* NNP_RESTRICT row_start, const int* NNP_RESTRICT ghost_start, int* segment,
              int* NNP_RESTRICT count, int* NNP_RESTRICT status)
{
    const int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= n) return;
    const nnp_cell c = nnp_get_cell(lattice, grid, structure[i]);
    const nnp_atom a = nnp_load_atom(x, i);
    double nearest = cut2;
    int all = 0;
    for (int t = 0; t < n_species; ++t) segment[(int64_t)t * n + i] = 0;
    for (int q = 0; q < 18; ++q) {
        const nnp_stretch s = nnp_around(&c, key[i], q, n, row_start, ghost_start);
        for (int j = s.begin; j < s.end; ++j) {
            const nnp_atom b = nnp_load_atom(x, j);
            const double r2 = nnp_distance2(&a, &b);
            if (!(r2 < cut2) || j == i) continue;
            nearest = fmin(nearest, r2);
            if (n_species == 1)
                ++all;
            else
                ++segment[(int64_t)b.species * n + i];
        }
    }
    if (nearest < clash2) nnp_report(status, NNP_STATUS_CLASH, i);
    if (n_species == 1) segment[i] = all;
    int end = 0;
    for (int t = 0; t < n_species; ++t) segment[(int64_t)t * n + i] = end += segment[(int64_t)t * n + i];
    count[i] = end;
}

/* Second pass: the entries, each species' in the order of the bins. next [S][n]: scratch. */
NNP_KERNEL __launch_bounds__(128)
    nnp_fill(int n, int n_species, double cut2, const double* NNP_RESTRICT x, const int* NNP_RESTRICT key,
             const int* NNP_RESTRICT structure, const double* NNP_RESTRICT lattice,
             const int* NNP_RESTRICT grid, const int* NNP_RESTRICT row_start,
             const int* NNP_RESTRICT ghost_start, const int* NNP_RESTRICT segment,
             const int64_t* NNP_RESTRICT slice_first, int* next, int* NNP_RESTRICT index)
{
    const int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= n) return;
    const nnp_cell c = nnp_get_cell(lattice, grid, structure[i]);
    const nnp_atom a = nnp_load_atom(x, i);
    const int64_t first = nnp_first_entry(slice_first, i);
    int all = 0;
    for (int t = 0; t < n_species && n_species > 1; ++t)
        next[(int64_t)t * n + i] = t ? segment[(int64_t)(t - 1) * n + i] : 0;
    for (int q = 0; q < 18; ++q) {
        const nnp_stretch s = nnp_around(&c, key[i], q, n, row_start, ghost_start);
        for (int j = s.begin; j < s.end; ++j) {
            const nnp_atom b = nnp_load_atom(x, j);
            if (!(nnp_distance2(&a, &b) < cut2) || j == i) continue;
            const int k = n_species == 1 ? all++ : next[(int64_t)b.species * n + i]++;
            index[first + (int64_t)NNP_SLICE * k] = j;
        }
    }
}

/* reverse[entry i -> j]: the entry of j's owner that leads back to i, which is the one whose atom i owns and
 * whose image is the opposite; -1 where rounding at the very edge of the list left it out. */
NNP_KERNEL __launch_bounds__(128)
    nnp_reverse(int n, const double* NNP_RESTRICT x, const int64_t* NNP_RESTRICT slice_first,
                const int* NNP_RESTRICT count, const int* NNP_RESTRICT segment, const int* NNP_RESTRICT index,
                const int* NNP_RESTRICT owner, const int* NNP_RESTRICT image, int* NNP_RESTRICT reverse)
{
    const int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= n) return;
    const int species = nnp_load_atom(x, i).species;
    const int64_t first = nnp_first_entry(slice_first, i);
    for (int k = 0; k < count[i]; ++k) {
        const int j = index[first + (int64_t)NNP_SLICE * k];
        const int row = j < n ? j : owner[j - n];
        const int back = j < n ? NNP_HOME : 2 * NNP_HOME - image[j - n];
        const int64_t other = nnp_first_entry(slice_first, row);
        int place = -1, begin;
        const int end = nnp_run(segment, n, row, species, &begin);
        for (int l = begin; l < end && place < 0; ++l) {
            const int m = index[other + (int64_t)NNP_SLICE * l];
            if ((m < n ? m : owner[m - n]) != i) continue;
            if ((m < n ? NNP_HOME : image[m - n]) == back) place = l;
        }
        reverse[first + (int64_t)NNP_SLICE * k] = place < 0 ? -1 : (int)(other + (int64_t)NNP_SLICE * place);
    }
}

/* Ordered pairs by distance and species, bin = floor(r n_bins/r_max): counts [S][S][n_bins], added to. A
 * block counts in shared memory where n_shared (the size of counts) is not 0. */
NNP_KERNEL __launch_bounds__(128)
    nnp_pair_histogram(int n, int n_species, int n_bins, double r_max, int n_shared,
                       const double* NNP_RESTRICT x, const int* NNP_RESTRICT key,
                       const int* NNP_RESTRICT structure, const double* NNP_RESTRICT lattice,
                       const int* NNP_RESTRICT grid, const int* NNP_RESTRICT row_start,
                       const int* NNP_RESTRICT ghost_start, unsigned long long* NNP_RESTRICT counts)
{
    NNP_DYN_SHARED(unsigned, mine);
    const int i = blockIdx.x * blockDim.x + threadIdx.x;
    const double scale = n_bins / r_max;
    for (int k = threadIdx.x; k < n_shared; k += blockDim.x) mine[k] = 0;
    __syncthreads();
    if (i < n) {
        const nnp_cell c = nnp_get_cell(lattice, grid, structure[i]);
        const nnp_atom a = nnp_load_atom(x, i);
        for (int q = 0; q < 18; ++q) {
            const nnp_stretch s = nnp_around(&c, key[i], q, n, row_start, ghost_start);
            for (int j = s.begin; j < s.end; ++j) {
                const nnp_atom b = nnp_load_atom(x, j);
                const double r2 = nnp_distance2(&a, &b);
                const int bin = r2 < r_max * r_max ? (int)(sqrt(r2) * scale) : n_bins;
                if (bin >= n_bins || j == i) continue;
                const int place = (a.species * n_species + b.species) * n_bins + bin;
                if (n_shared)
                    atomicAdd(mine + place, 1u);
                else
                    atomicAdd(counts + place, 1ull);
            }
        }
    }
    __syncthreads();
    for (int k = threadIdx.x; k < n_shared; k += blockDim.x)
        if (mine[k]) atomicAdd(counts + k, (unsigned long long)mine[k]);
}
