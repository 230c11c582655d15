/* plan.c - nnp_plan_build() and nnp_sort_by_key() against what their headers promise, on systems whose lists
 * are made here: every row in one lane, every listed neighbour in local numbering, the halo without an atom
 * twice, and each of its places in the sum of the atom it belongs to. Built with the core's own headers.
 */
#include "kernels.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char* what_runs = "";

static void check(int good, const char* what, int line)
{
    if (good) return;
    fprintf(stderr, "plan.c:%d: %s: %s (last error: %s)\n", line, what_runs, what, nnp_last_error());
    exit(1);
}
#define CHECK(condition) check(condition, #condition, __LINE__)

static void* room(size_t count, size_t size)
{
    void* const p = calloc(count + 1, size);
    CHECK(p != NULL);
    return p;
}

static unsigned long long state = 1;
static double uniform(void)
{
    state = state * 6364136223846793005ull + 1442695040888963407ull;
    return (double)(state >> 11) / 9007199254740992.0;
}
static int below(int n) { return (int)(uniform() * n); }

/* ---- systems ---- */

typedef struct made {
    nnp_system s;
    double* x;
    int *centre, *owner, *index;
    int64_t* first;
} made;

enum {
    NO_GHOST = 0,
    OWNED = 1,
    ORPHANS = 2
}; /* ghosts: images of rows, or atoms of a host with their own forces */

/* Room for n rows, n_ghost other atoms and entries; species below n_species, but never `missing`. */
static made start(int n, int n_ghost, int64_t entries, int n_species, int missing, int ghosts)
{
    made m = {.s = {.n = n, .n_total = n + n_ghost, .clash = 0}};
    m.x = nnp_alloc((size_t)(n + n_ghost) + 1, 4 * sizeof(double));
    m.first = room((size_t)n + 1, sizeof(int64_t));
    m.index = room((size_t)entries, sizeof(int));
    m.owner = ghosts == OWNED ? room((size_t)n_ghost, sizeof(int)) : NULL;
    for (int i = 0; i < n + n_ghost; ++i) {
        int kind = below(n_species);
        if (kind == missing) kind = (kind + 1) % n_species;
        for (int c = 0; c < 3; ++c) m.x[4 * (size_t)i + (size_t)c] = uniform();
        m.x[4 * (size_t)i + 3] = kind;
    }
    for (int g = 0; m.owner && g < n_ghost; ++g) m.owner[g] = below(n);
    m.s.x = m.x, m.s.first = m.first, m.s.index = m.index, m.s.owner = m.owner;
    return m;
}

static void discard(made* m)
{
    nnp_free(m->x);
    free(m->first);
    free(m->index);
    free(m->owner);
    free(m->centre);
}

/* Random points in the unit cube, and all pairs closer than radius. */
static made gas(int n, int n_ghost, int n_species, int missing, int ghosts, double radius)
{
    made m = start(n, n_ghost, (int64_t)n * (n + n_ghost), n_species, missing, ghosts);
    int64_t count = 0;
    for (int i = 0; i < n; ++i) {
        m.first[i] = count;
        for (int j = 0; j < m.s.n_total; ++j) {
            double d2 = 0;
            for (int c = 0; c < 3; ++c) {
                const double d = m.x[4 * (size_t)j + (size_t)c] - m.x[4 * (size_t)i + (size_t)c];
                d2 += d * d;
            }
            if (j != i && d2 < radius * radius) m.index[count++] = j;
        }
    }
    m.first[n] = count;
    return m;
}

/* Each row lists `each` atoms: near rows mostly, ghosts sometimes. Long, and its list is quick to make. */
static made chain(int n, int n_ghost, int each, int n_species, int ghosts)
{
    made m = start(n, n_ghost, (int64_t)n * each, n_species, -1, ghosts);
    for (int i = 0; i < n; ++i) {
        m.first[i] = (int64_t)i * each;
        for (int k = 0; k < each; ++k) {
            const int near = i + below(80) - 40;
            const int other = near >= 0 && near < n && near != i ? near : (i + 1) % n;
            m.index[m.first[i] + k] = n_ghost && below(10) == 0 ? n + below(n_ghost) : other;
        }
    }
    m.first[n] = (int64_t)n * each;
    return m;
}

/* A host's list: row i is about atom centre[i], any order, and not every atom has a row. */
static made with_centres(made m, int n_rows)
{
    int* const order = room((size_t)m.s.n, sizeof(int));
    for (int i = 0; i < m.s.n; ++i) order[i] = i;
    for (int i = m.s.n - 1; i > 0; --i) {
        const int k = below(i + 1), t = order[i];
        order[i] = order[k], order[k] = t;
    }
    int64_t* const first = room((size_t)n_rows + 1, sizeof(int64_t));
    int* const index = room((size_t)m.first[m.s.n], sizeof(int));
    for (int i = 0; i < n_rows; ++i) {
        const int64_t count = m.first[order[i] + 1] - m.first[order[i]];
        memcpy(index + first[i], m.index + m.first[order[i]], (size_t)count * sizeof(int));
        first[i + 1] = first[i] + count;
    }
    free(m.first), free(m.index);
    m.first = first, m.index = index, m.centre = order;
    m.s.n = n_rows, m.s.centre = order, m.s.first = first, m.s.index = index;
    return m;
}

/* ---- what a plan promises ---- */

static int atom_of(const nnp_system* s, int row) { return s->centre ? s->centre[row] : row; }
static int species_of(const nnp_system* s, int atom) { return (int)s->x[4 * (size_t)atom + 3]; }

static int near_of(const nnp_system* s, int row, int species, double near)
{
    int count = 0;
    const double* const a = s->x + 4 * (size_t)atom_of(s, row);
    for (int64_t p = s->first[row]; p < s->first[row + 1]; ++p) {
        const double* const b = s->x + 4 * (size_t)s->index[p];
        const double x = b[0] - a[0], y = b[1] - a[1], z = b[2] - a[2];
        count += (int)b[3] == species && x * x + y * y + z * z < near * near;
    }
    return count;
}

/* Rows go up in their near neighbours of species 0; where those are equal, up or down in those of species 1
 * ... */
static int in_order(const nnp_system* s, int a, int b, int n_species, double near)
{
    for (int t = 0, sum = 0; t < n_species; ++t) {
        const int na = near_of(s, a, t, near), nb = near_of(s, b, t, near);
        if (na != nb) return sum % 2 ? nb < na : nb > na;
        sum += na;
    }
    return 1;
}

static int counted(const nnp_plan* plan, int row, int t)
{
    const int* const end = plan->segment + (size_t)row * (size_t)plan->n_species;
    return end[t] - (t ? end[t - 1] : 0);
}

/* Chunks follow one another; the halo of each holds no atom of its own and none twice. */
static void check_chunks(const nnp_plan* plan, const nnp_system* s)
{
    int* const seen = room((size_t)s->n_total, sizeof(int));
    CHECK(plan->chunks[0].row == 0 && plan->chunks[plan->n_chunks].row == s->n);
    CHECK(plan->n_chunks == 0 || (plan->chunks[0].block == 0 && plan->chunks[0].halo == 0));
    CHECK(plan->chunks[plan->n_chunks].block == plan->n_blocks);
    int most = 0;
    for (int c = 0; c < plan->n_chunks; ++c) {
        const nnp_chunk *const a = plan->chunks + c, *const b = a + 1;
        CHECK(a->row < b->row && b->row - a->row <= 512 && a->block < b->block && a->halo <= b->halo);
        CHECK(s->first[b->row] - s->first[a->row] <= 1 << 21 || b->row == a->row + 1);
        for (int row = a->row; row < b->row; ++row) CHECK(seen[atom_of(s, row)]++ == 0);
        for (int64_t h = a->halo; h < b->halo; ++h) CHECK(seen[plan->halo[h]]++ == 0);
        for (int row = a->row; row < b->row; ++row) seen[atom_of(s, row)] = 0;
        for (int64_t h = a->halo; h < b->halo; ++h) seen[plan->halo[h]] = 0;
        const int local = b->row - a->row + (int)(b->halo - a->halo);
        most = local > most ? local : most;
    }
    CHECK(plan->max_local == most);
    free(seen);
}

/* The list in local numbers: the same atoms, by species, in the order they were listed; the whole halo is
 * used. */
static void check_local(const nnp_plan* plan, const nnp_system* s)
{
    char* const used = room((size_t)plan->chunks[plan->n_chunks].halo, 1);
    for (int c = 0; c < plan->n_chunks; ++c) {
        const nnp_chunk* const a = plan->chunks + c;
        const int n_own = a[1].row - a->row;
        for (int row = a->row; row < a[1].row; ++row) {
            const int* local = plan->local + s->first[row];
            for (int t = 0; t < plan->n_species; ++t)
                for (int64_t p = s->first[row]; p < s->first[row + 1]; ++p) {
                    if (species_of(s, s->index[p]) != t) continue;
                    const int own = *local < n_own;
                    CHECK(*local >= 0 && *local < n_own + (a[1].halo - a->halo));
                    CHECK(s->index[p] ==
                          (own ? atom_of(s, a->row + *local) : plan->halo[a->halo + *local - n_own]));
                    if (!own) used[a->halo + *local - n_own] = 1;
                    ++local;
                }
            CHECK(local == plan->local + s->first[row + 1]);
            CHECK(plan->segment[(size_t)(row + 1) * (size_t)plan->n_species - 1] ==
                  s->first[row + 1] - s->first[row]);
        }
    }
    for (int64_t h = 0; h < plan->chunks[plan->n_chunks].halo; ++h) CHECK(used[h]);
    free(used);
}

/* Every row in one lane of its chunk's blocks; a block is of one species, no longer than its longest lane,
 * and rows of a species are in ascending order of their near neighbours. */
static void check_blocks(const nnp_plan* plan, const nnp_system* s, double near)
{
    int* const lanes = room((size_t)s->n, sizeof(int));
    int most = 0;
    for (int c = 0; c < plan->n_chunks; ++c)
        for (int b = plan->chunks[c].block, last = -1, before = -1; b < plan->chunks[c + 1].block; ++b) {
            const int* const rows = plan->rows + (size_t)b * (size_t)plan->width;
            const int species = rows[0] < 0 ? -1 : species_of(s, atom_of(s, rows[0]));
            CHECK(species >= last); /* so that padding is at most one block a species */
            before = species == last ? before : -1;
            last = species;
            int total = 0, ended = 0;
            for (int w = 0; w < plan->width; ++w) {
                ended |= rows[w] < 0;
                CHECK(!ended || rows[w] < 0);
                if (ended) continue;
                CHECK(rows[w] >= plan->chunks[c].row && rows[w] < plan->chunks[c + 1].row);
                CHECK(species_of(s, atom_of(s, rows[w])) == species);
                CHECK(before < 0 || in_order(s, before, rows[w], plan->n_species, near));
                before = rows[w];
                ++lanes[rows[w]];
            }
            for (int t = 0; t < plan->n_species; ++t) {
                int longest = 0;
                for (int w = 0; w < plan->width && rows[w] >= 0; ++w)
                    if (counted(plan, rows[w], t) > longest) longest = counted(plan, rows[w], t);
                CHECK(plan->capacity[(size_t)b * (size_t)plan->n_species + (size_t)t] == longest);
                total += longest;
            }
            most = total > most ? total : most;
        }
    for (int row = 0; row < s->n; ++row) CHECK(lanes[row] == 1);
    CHECK(plan->max_neighbours == most);
    free(lanes);
}

/* The sum over halos is that of a plain loop, bit for bit: each target's parts in the order of their places.
 */
static void check_gather(const nnp_plan* plan, const nnp_system* s, int stride, int width)
{
    const int targets = s->owner ? s->n : s->n_total;
    const int64_t halo = plan->chunks[plan->n_chunks].halo;
    CHECK(plan->n_targets == targets);
    double* const part = room((size_t)(halo * stride), sizeof(double));
    double* const sum = room((size_t)(targets * width), sizeof(double));
    double* const plain = room((size_t)(targets * width), sizeof(double));
    for (int64_t k = 0; k < halo * stride; ++k) part[k] = uniform() - 0.5;
    for (int k = 0; k < targets * width; ++k) sum[k] = plain[k] = uniform();
    for (int64_t h = 0; h < halo; ++h) {
        const int atom = plan->halo[h], to = s->owner && atom >= s->n ? s->owner[atom - s->n] : atom;
        for (int c = 0; c < width; ++c) plain[to * width + c] += part[h * stride + c];
    }
    const int middle = targets / 3;
    nnp_plan_gather(plan, part, stride, width, middle, targets, sum);
    nnp_plan_gather(plan, part, stride, width, 0, middle, sum);
    CHECK(memcmp(sum, plain, (size_t)(targets * width) * sizeof(double)) == 0);
    free(part), free(sum), free(plain);
}

static int same(const void* a, const void* b, size_t bytes) { return bytes == 0 || memcmp(a, b, bytes) == 0; }

/* Threads change nothing. */
static void check_same(const nnp_plan* a, const nnp_plan* b, const nnp_system* s)
{
    const size_t n = (size_t)s->n, species = (size_t)a->n_species, halo = (size_t)a->chunks[a->n_chunks].halo;
    CHECK(a->n_chunks == b->n_chunks && a->n_blocks == b->n_blocks && a->n_targets == b->n_targets);
    CHECK(a->max_local == b->max_local && a->max_neighbours == b->max_neighbours);
    for (int c = 0; c <= a->n_chunks; ++c)
        CHECK(a->chunks[c].row == b->chunks[c].row && a->chunks[c].halo == b->chunks[c].halo &&
              a->chunks[c].block == b->chunks[c].block);
    CHECK(same(a->rows, b->rows, (size_t)(a->n_blocks * a->width) * sizeof(int)));
    CHECK(same(a->capacity, b->capacity, (size_t)a->n_blocks * species * sizeof(int)));
    CHECK(same(a->local, b->local, (size_t)s->first[n] * sizeof(int)));
    CHECK(same(a->segment, b->segment, n * species * sizeof(int)));
    CHECK(same(a->halo, b->halo, halo * sizeof(int)) && same(a->back, b->back, halo * sizeof(int)));
    CHECK(same(a->back_first, b->back_first, ((size_t)a->n_targets + 1) * sizeof(int)));
}

/* All of it; kept is a plan that was of another system before. */
static void check_system(const nnp_system* s, int n_species, int width, double near, nnp_plan* kept)
{
    CHECK(nnp_plan_build(kept, s, n_species, width, near, 1) == NNP_OK);
    check_chunks(kept, s);
    check_local(kept, s);
    check_blocks(kept, s, near);
    check_gather(kept, s, 4, 3);
    check_gather(kept, s, 9, 9);
    for (int threads = 2; threads <= 3; ++threads) {
        nnp_plan other = {0};
        CHECK(nnp_plan_build(&other, s, n_species, width, near, threads) == NNP_OK);
        nnp_plan_trim(&other);
        check_same(kept, &other, s);
        nnp_plan_clear(&other);
    }
}

static void check_plans(void)
{
    static const int sizes[] = {0, 1, 2, 15, 16, 17, 63, 64, 65, 128, 511, 512, 513};
    static char text[128];
    nnp_plan kept = {0};
    what_runs = text;
    for (size_t k = 0; k < sizeof sizes / sizeof *sizes; ++k)
        for (int n_species = 1; n_species <= 3; ++n_species)
            for (int ghosts = NO_GHOST; ghosts <= ORPHANS; ++ghosts) {
                const int n = sizes[k], n_ghost = ghosts == NO_GHOST || n == 0 ? 0 : n / 2 + 3;
                const int missing = n_species == 3 ? 1 : -1, width = 4 << k % 3;
                snprintf(text, sizeof text, "gas of %d, %d species, ghosts %d", n, n_species, ghosts);
                made m = gas(n, n_ghost, n_species, missing, ghosts, n > 100 ? 0.25 : 0.5);
                check_system(&m.s, n_species, width, 0.2, &kept);
                if (ghosts == ORPHANS && n > 2) {
                    snprintf(text, sizeof text, "host list of %d atoms, %d species", n, n_species);
                    m = with_centres(m, n - n / 3);
                    check_system(&m.s, n_species, width, 0.2, &kept);
                }
                discard(&m);
            }
    static const int lengths[] = {16383, 16384, 16385, 33025};
    for (int k = 0; k < 4; ++k) {
        snprintf(text, sizeof text, "chain of %d", lengths[k]);
        made m = chain(lengths[k], 777, 9, 1 + k % 2, k % 2 ? OWNED : ORPHANS);
        check_system(&m.s, 1 + k % 2, 16, 0.5, &kept);
        discard(&m);
    }
    snprintf(text, sizeof text, "lists too long for a chunk");
    made m = chain(90, 50, 50000, 2, OWNED);
    check_system(&m.s, 2, 8, 0.5, &kept);
    CHECK(kept.n_chunks > 2);
    discard(&m);
    nnp_plan_clear(&kept);
}

/* ---- sort.c ---- */

static void check_sort(int n, int n_keys, int n_threads)
{
    int *const key = room((size_t)n, sizeof(int)), *const start = room((size_t)n_keys + 1, sizeof(int));
    int *const order = room((size_t)n, sizeof(int)), *histogram = NULL;
    size_t capacity = 0;
    for (int i = 0; i < n; ++i) key[i] = n_keys > 2 ? below(n_keys - 1) : 0; /* the last key is nobody's */
    CHECK(nnp_sort_by_key(&histogram, &capacity, n, key, n_keys, start, order, n_threads) == NNP_OK);
    CHECK(start[0] == 0 && start[n_keys] == n);
    for (int k = 0; k < n_keys; ++k)
        for (int i = start[k]; i < start[k + 1]; ++i)
            CHECK(key[order[i]] == k && (i == start[k] || order[i - 1] < order[i]));
    nnp_free(histogram);
    free(key), free(start), free(order);
}

int main(void)
{
    static const int sizes[] = {0, 1, 2, 8191, 8192, 8193, 50001}, keys[] = {1, 2, 3, 1000},
                     threads[] = {1, 2, 3, 20};
    what_runs = "sort";
    for (int i = 0; i < 7; ++i)
        for (int k = 0; k < 4; ++k)
            for (int t = 0; t < 4; ++t) check_sort(sizes[i], keys[k], threads[t]);
    check_plans();
    puts("good");
    return 0;
}
