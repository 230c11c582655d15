/* neigh_search.c - the pairs of a binned system.
 *
 * The 27 bins around a bin are packed once into floats relative to its centre; each of its atoms then tests
 * them many at a time. A float r^2 below inner or not below outer decides; between the two (a few parts per
 * million) the row is redone in double from list->x. So the result is that of the double test
 * |x_j - x_i|^2 < cutoff^2 on every instruction set.
 */
#include "neigh_private.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

#if defined(__x86_64__) && defined(__GNUC__)
#define NNP_NEIGH_X86 1
#include <immintrin.h>
#endif

enum { LANES = 16 };
static const float FAR_AWAY = 1e15f; /* its square is finite and above any cutoff */

/* Candidates of one bin: [capacity] each, padded to LANES with points far away. */
typedef struct pack {
    float *x, *y, *z;
    int* id;
    int n, self; /* self: where the bin's own atoms begin */
    int bin;
    float inner, outer; /* r^2 */
    unsigned char (*lane_order)[8];
} pack;

/* Appends the neighbours of candidate self to out (room for n + LANES) and returns their number;
 * *doubtful is set when some candidate is between inner and outer. */
typedef int search_row(const pack* p, int self, int* out, int* doubtful);

/* Appends points begin .. end-1 of x [][4] to the candidates; NNP_NEIGH_BEHIND more may be read, and written.
 */
typedef void append_points(pack* p, const double* x, int begin, int end, const double* centre);

typedef struct variant {
    search_row* row;
    append_points* append;
} variant;

static void append_baseline(pack* p, const double* x, int begin, int end, const double* centre)
{
    float *px = p->x + p->n, *py = p->y + p->n, *pz = p->z + p->n;
    int* id = p->id + p->n;
    x += 4 * (size_t)begin;
    for (int k = 0; k < end - begin; k++) {
        px[k] = (float)(x[4 * k] - centre[0]);
        py[k] = (float)(x[4 * k + 1] - centre[1]);
        pz[k] = (float)(x[4 * k + 2] - centre[2]);
        id[k] = begin + k;
    }
    p->n += end - begin;
}

static int row_baseline(const pack* p, int self, int* out, int* doubtful)
{
    const float *x = p->x, *y = p->y, *z = p->z, inner = p->inner, outer = p->outer;
    const float xi = x[self], yi = y[self], zi = z[self];
    float r2[64];
    int found = 0, unsure = 0;
    for (int begin = 0; begin < p->n; begin += 64) {
        int count = p->n - begin < 64 ? p->n - begin : 64;
        for (int k = 0; k < count; k++) {
            float dx = x[begin + k] - xi, dy = y[begin + k] - yi, dz = z[begin + k] - zi;
            r2[k] = dx * dx + dy * dy + dz * dz;
            unsure |= (r2[k] < outer) & !(r2[k] < inner);
        }
        for (int k = 0; k < count; k++) {
            out[found] = p->id[begin + k];
            found += (r2[k] < outer) & (begin + k != self);
        }
    }
    *doubtful = unsure;
    return found;
}

#ifdef NNP_NEIGH_X86
__attribute__((target("avx512f,avx512vl,avx512bw,avx512dq,popcnt"))) static int
row_avx512(const pack* p, int self, int* out, int* doubtful)
{
    const __m512 xi = _mm512_set1_ps(p->x[self]), yi = _mm512_set1_ps(p->y[self]),
                 zi = _mm512_set1_ps(p->z[self]);
    const __m512 inner = _mm512_set1_ps(p->inner), outer = _mm512_set1_ps(p->outer);
    int found = 0;
    unsigned unsure = 0;
    for (int k = 0; k < p->n; k += 16) {
        __m512 dx = _mm512_sub_ps(_mm512_load_ps(p->x + k), xi);
        __m512 dy = _mm512_sub_ps(_mm512_load_ps(p->y + k), yi);
        __m512 dz = _mm512_sub_ps(_mm512_load_ps(p->z + k), zi);
        __m512 r2 = _mm512_fmadd_ps(dz, dz, _mm512_fmadd_ps(dy, dy, _mm512_mul_ps(dx, dx)));
        __mmask16 in = _mm512_cmp_ps_mask(r2, outer, _CMP_LT_OQ);
        unsure |= _mm512_mask_cmp_ps_mask(in, r2, inner, _CMP_GE_OQ);
        if ((self & ~15) == k) in &= ~(1u << (self & 15));
        _mm512_storeu_si512(out + found, _mm512_maskz_compress_epi32(in, _mm512_load_si512(p->id + k)));
        found += _mm_popcnt_u32(in);
    }
    *doubtful = unsure != 0;
    return found;
}

/* Four points at a time: x y z species of each, transposed. Up to three behind the last are overwritten
 * later. */
__attribute__((target("avx2"))) static void append_avx2(pack* p, const double* x, int begin, int end,
                                                        const double* centre)
{
    const __m256d c = _mm256_setr_pd(centre[0], centre[1], centre[2], 0);
    __m128i id = _mm_add_epi32(_mm_set1_epi32(begin), _mm_setr_epi32(0, 1, 2, 3));
    for (int k = 0; k < end - begin; k += 4) {
        const double* from = x + 4 * (size_t)(begin + k);
        __m128 a = _mm256_cvtpd_ps(_mm256_sub_pd(_mm256_load_pd(from), c));
        __m128 b = _mm256_cvtpd_ps(_mm256_sub_pd(_mm256_load_pd(from + 4), c));
        __m128 d = _mm256_cvtpd_ps(_mm256_sub_pd(_mm256_load_pd(from + 8), c));
        __m128 e = _mm256_cvtpd_ps(_mm256_sub_pd(_mm256_load_pd(from + 12), c));
        _MM_TRANSPOSE4_PS(a, b, d, e);
        _mm_storeu_ps(p->x + p->n + k, a);
        _mm_storeu_ps(p->y + p->n + k, b);
        _mm_storeu_ps(p->z + p->n + k, d);
        _mm_storeu_si128((__m128i*)(p->id + p->n + k), id);
        id = _mm_add_epi32(id, _mm_set1_epi32(4));
    }
    p->n += end - begin;
}

__attribute__((target("avx2,fma,popcnt"))) static int row_avx2(const pack* p, int self, int* out,
                                                               int* doubtful)
{
    const __m256 xi = _mm256_set1_ps(p->x[self]), yi = _mm256_set1_ps(p->y[self]),
                 zi = _mm256_set1_ps(p->z[self]);
    const __m256 inner = _mm256_set1_ps(p->inner), outer = _mm256_set1_ps(p->outer);
    __m256 unsure = _mm256_setzero_ps();
    int found = 0;
    for (int k = 0; k < p->n; k += 8) {
        __m256 dx = _mm256_sub_ps(_mm256_load_ps(p->x + k), xi);
        __m256 dy = _mm256_sub_ps(_mm256_load_ps(p->y + k), yi);
        __m256 dz = _mm256_sub_ps(_mm256_load_ps(p->z + k), zi);
        __m256 r2 = _mm256_fmadd_ps(dz, dz, _mm256_fmadd_ps(dy, dy, _mm256_mul_ps(dx, dx)));
        __m256 in = _mm256_cmp_ps(r2, outer, _CMP_LT_OQ);
        unsure = _mm256_or_ps(unsure, _mm256_and_ps(in, _mm256_cmp_ps(r2, inner, _CMP_GE_OQ)));
        unsigned bits = (unsigned)_mm256_movemask_ps(in);
        if ((self & ~7) == k) bits &= ~(1u << (self & 7));
        __m256i order = _mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i*)p->lane_order[bits]));
        __m256i id = _mm256_permutevar8x32_epi32(_mm256_load_si256((const __m256i*)(p->id + k)), order);
        _mm256_storeu_si256((__m256i*)(out + found), id);
        found += _mm_popcnt_u32(bits);
    }
    *doubtful = _mm256_movemask_ps(unsure) != 0;
    return found;
}
#endif

/* NNPCORE_ISA=baseline|avx2|avx512 lowers what the processor offers. */
static variant choose(void)
{
#ifdef NNP_NEIGH_X86
    const char* wanted = getenv("NNPCORE_ISA");
    if (wanted && !strcmp(wanted, "baseline")) return (variant){row_baseline, append_baseline};
    int narrow = wanted && !strcmp(wanted, "avx2");
    __builtin_cpu_init();
    if (!narrow && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") &&
        __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq"))
        return (variant){row_avx512, append_avx2};
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"))
        return (variant){row_avx2, append_avx2};
#endif
    return (variant){row_baseline, append_baseline};
}

/* The exact test, for rows in doubt. */
static int row_exact(const nnp_neigh* list, const pack* p, int row, int* out)
{
    const double *xi = list->x + 4 * (size_t)row, limit = list->cutoff * list->cutoff;
    int found = 0;
    for (int k = 0; k < p->n; k++) {
        const double* xj = list->x + 4 * (size_t)p->id[k];
        double dx = xj[0] - xi[0], dy = xj[1] - xi[1], dz = xj[2] - xi[2];
        double r2 = dx * dx + dy * dy + dz * dz;
        if (r2 < limit && p->id[k] != row) out[found++] = p->id[k];
    }
    return found;
}

/* r^2 that the float test cannot mistake: coordinates are within 3/2 of a bin (2 with room) of the centre,
 * each rounded to 2^-24 of that, and so is each of the few operations on r^2 (2^-20 in all). */
static void set_limits(pack* p, const nnp_grid* grid)
{
    double largest = fmax(grid->bin[0], fmax(grid->bin[1], grid->bin[2]));
    double error = ldexp(2 * largest, -21) + 1e-15, inner = fmax(0, grid->cutoff - error);
    double outer = grid->cutoff + error;
    p->inner = (float)(inner * inner * (1 - 0x1p-20));
    p->outer = (float)(outer * outer * (1 + 0x1p-20));
}

/* The 27 bins around a bin as runs of consecutive ones: three along x, in two pieces at the edge of a tile.
 */
typedef struct runs {
    int place[3], n, begin[18], end[18];
} runs;

static void find_runs(runs* r, const nnp_grid* grid, int bin)
{
    const int tile = bin / 64, *tiles = grid->tiles;
    int* place = r->place;
    place[0] = tile % tiles[0] * 4 + bin % 4;
    place[1] = tile / tiles[0] % tiles[1] * 4 + bin / 4 % 4;
    place[2] = tile / tiles[0] / tiles[1] * 4 + bin / 16 % 4;
    const int x = nnp_bin_x(place[0] - 1), split = place[0] % 4 == 0 ? 1 : place[0] % 4 == 3 ? 2 : 3;
    r->n = 0;
    for (int dz = -1; dz <= 1; dz++)
        for (int dy = -1; dy <= 1; dy++) {
            int line = nnp_bin_y(grid, place[1] + dy) + nnp_bin_z(grid, place[2] + dz);
            r->begin[r->n] = line + x;
            r->end[r->n++] = line + x + split;
            if (split == 3) continue;
            r->begin[r->n] = line + nnp_bin_x(place[0] - 1 + split);
            r->end[r->n] = r->begin[r->n] + 3 - split;
            r->n++;
        }
}

static void fill_pack(pack* p, const nnp_neigh* list, append_points* append, int bin)
{
    const nnp_neigh_scratch* scratch = list->scratch;
    const nnp_grid* grid = &scratch->grid;
    const int *atoms = scratch->atom_start, *ghosts = scratch->ghost_start, n = list->n;
    runs r;
    find_runs(&r, grid, bin);
    double centre[3];
    for (int d = 0; d < 3; d++) centre[d] = grid->lo[d] + (r.place[d] - 0.5) * grid->bin[d];
    p->n = 0;
    for (int k = 0; k < r.n; k++) {
        int begin = r.begin[k], end = r.end[k];
        if (begin <= bin && bin < end) p->self = p->n + atoms[bin] - atoms[begin];
        if (atoms[begin] < atoms[end]) append(p, list->x, atoms[begin], atoms[end], centre);
        if (ghosts[begin] < ghosts[end]) append(p, list->x, n + ghosts[begin], n + ghosts[end], centre);
    }
    for (int k = p->n; k % LANES; k++) p->x[k] = p->y[k] = p->z[k] = FAR_AWAY, p->id[k] = 0;
    p->bin = bin;
}

/* Most candidates any bin has, and an estimate of the number of pairs: the sphere's share of 27 bins. */
static int count_candidates(const nnp_neigh* list, int n_threads, double* pairs)
{
    const nnp_neigh_scratch* scratch = list->scratch;
    const nnp_grid* grid = &scratch->grid;
    const int *atoms = scratch->atom_start, *ghosts = scratch->ghost_start;
    int most = 0;
    int64_t sum = 0;
#pragma omp parallel for schedule(static) num_threads(n_threads) reduction(max : most)                       \
    reduction(+ : sum) if (n_threads > 1)
    for (int bin = 0; bin < grid->n_bins; bin++) {
        int own = atoms[bin + 1] - atoms[bin], count = 0;
        if (own == 0) continue;
        runs r;
        find_runs(&r, grid, bin);
        for (int k = 0; k < r.n; k++)
            count += atoms[r.end[k]] - atoms[r.begin[k]] + ghosts[r.end[k]] - ghosts[r.begin[k]];
        most = count > most ? count : most;
        sum += (int64_t)own * count;
    }
    double share = 4.18879 * pow(grid->cutoff, 3) / (27 * grid->bin[0] * grid->bin[1] * grid->bin[2]);
    *pairs = (double)sum * share;
    return most;
}

/* One thread's scratch: the packed candidates and the pairs of one chunk of rows. */
typedef struct chunk_room {
    int rows; /* of a chunk */
    size_t lane, pairs, bytes;
} chunk_room;

static chunk_room plan_room(int most)
{
    chunk_room room;
    room.lane = ((size_t)most + NNP_NEIGH_BEHIND + LANES) / LANES * LANES;
    size_t rows = ((size_t)1 << 24) / room.lane;
    room.rows = rows < 1 ? 1 : rows > NNP_NEIGH_BLOCK ? NNP_NEIGH_BLOCK : (int)rows;
    room.pairs = (size_t)room.rows * room.lane + LANES;
    room.bytes = 4 * room.lane * sizeof(float) + (room.pairs * sizeof(int) + 63) / 64 * 64;
    return room;
}

/* Pairs of the rows begin .. end-1: out, and in first[row+1] their running number. */
static int64_t search_chunk(const nnp_neigh* list, const variant* use, pack* p, const int* bins, int begin,
                            int end, int* out)
{
    const nnp_neigh_scratch* scratch = list->scratch;
    int64_t found = 0;
    for (int row = begin; row < end; row++) {
        if (bins[row] != p->bin) fill_pack(p, list, use->append, bins[row]);
        int doubtful, self = p->self + row - scratch->atom_start[p->bin];
        int count = use->row(p, self, out + found, &doubtful);
        if (doubtful) count = row_exact(list, p, row, out + found);
        found += count;
        list->first[row + 1] = found;
    }
    return found;
}

/* Chunks are searched in any order by any thread and take their places in order. */
static int64_t search_all(nnp_neigh* list, const chunk_room* room, int n_threads)
{
    nnp_neigh_scratch* scratch = list->scratch;
    const variant use = choose();
    const int n = list->n, n_chunks = (n - 1) / room->rows + 1;
    const int64_t capacity = (int64_t)list->cap_pairs;
    int64_t total = 0;
#pragma omp parallel num_threads(n_threads) if (n_threads > 1)
    {
        char* base = (char*)scratch->pack + room->bytes * omp_get_thread_num();
        pack p = {.x = (float*)base, .bin = -1, .lane_order = scratch->lane_order};
        p.y = p.x + room->lane, p.z = p.y + room->lane, p.id = (int*)(p.z + room->lane);
        int* out = p.id + room->lane;
        set_limits(&p, &scratch->grid);
#pragma omp for ordered schedule(dynamic, 1)
        for (int chunk = 0; chunk < n_chunks; chunk++) {
            int begin = chunk * room->rows, end = n - begin < room->rows ? n : begin + room->rows;
            int64_t found = search_chunk(list, &use, &p, scratch->key, begin, end, out), offset;
#pragma omp ordered
            {
                offset = total;
                total += found;
            }
            for (int row = begin; row < end; row++) list->first[row + 1] += offset;
            if (offset + found <= capacity) memcpy(list->index + offset, out, (size_t)found * sizeof(int));
        }
    }
    list->first[0] = 0;
    return total;
}

int nnp_neigh_search(nnp_neigh* list, int n_threads)
{
    nnp_neigh_scratch* scratch = list->scratch;
    double estimate;
    memset(list->x + 4 * (size_t)list->n_total, 0, NNP_NEIGH_BEHIND * 4 * sizeof(double));
    chunk_room room = plan_room(count_candidates(list, n_threads, &estimate));
    size_t wanted = (size_t)(estimate * 1.06) + 1024;
    if (nnp_reserve(&scratch->pack, &scratch->cap_pack, room.bytes * n_threads, 1)) return NNP_ERR_MEMORY;
    if (list->cap_pairs == 0 && nnp_reserve(&list->index, &list->cap_pairs, wanted, sizeof(int)))
        return NNP_ERR_MEMORY;
    int64_t total = search_all(list, &room, n_threads);
    if ((size_t)total <= list->cap_pairs) return NNP_OK;
    if (nnp_reserve(&list->index, &list->cap_pairs, (size_t)total + (size_t)total / 32, sizeof(int)))
        return NNP_ERR_MEMORY;
    search_all(list, &room, n_threads);
    return NNP_OK;
}
