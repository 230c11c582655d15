/* plan.c - chunks of rows in local numbering, which of their rows share a
 * block, and where forces on a halo belong.
 */
#include "kernels.h"
#include "nnp_threads.h"
#include <limits.h>
#include <string.h>

enum {
    LEAST_ROWS = 64, /* of a chunk; all sizes are multiples of every block's width */
    MOST_ROWS = 512,
    CHUNKS = 32,            /* at least, where rows are enough: threads share them out */
    MOST_ENTRIES = 1 << 21, /* of a chunk's list: local numbers fit a float's 24 bits */
};

double nnp_near_cutoff(const nnp_model* model)
{
    return model->msr ? model->rc3 : model->bp ? model->near : model->cutoff;
}

int nnp_scratch_reserve(nnp_scratch* scratch, const nnp_kernels* k, const nnp_model* model,
                        const nnp_plan* plan, int training, int n_threads)
{
    const size_t bytes = k->scratch_bytes(model, plan->max_neighbours, plan->max_local, training);
    scratch->bytes = (bytes + 4095) / 4096 * 4096;
    return nnp_reserve(&scratch->base, &scratch->capacity, scratch->bytes * (size_t)n_threads, 1);
}

void nnp_plan_clear(nnp_plan* plan)
{
    void* arrays[] = {plan->chunks,     plan->rows, plan->capacity, plan->local,  plan->segment,  plan->halo,
                      plan->back_first, plan->back, plan->room,     plan->target, plan->histogram};
    for (size_t k = 0; k < sizeof arrays / sizeof *arrays; ++k) nnp_free(arrays[k]);
    memset(plan, 0, sizeof *plan);
}

void nnp_plan_trim(nnp_plan* plan)
{
    nnp_free(plan->room);
    nnp_free(plan->target);
    nnp_free(plan->histogram);
    plan->room = NULL;
    plan->target = plan->histogram = NULL;
    plan->cap_room = plan->cap_target = plan->cap_histogram = 0;
}

/* One thread's scratch. */
typedef struct plan_room {
    int* mark;           /* [n_total] local number of an atom, -1 where it has none */
    int* halo;           /* [most_halo] */
    int* entries;        /* [most_row] of one row */
    int* near;           /* [MOST_ROWS][S] near neighbours of each species */
    int *sorted, *spare; /* [MOST_ROWS] */
    int* start;
} plan_room;

typedef struct plan_sizes {
    int64_t most_halo, most_row;
    size_t ints; /* of a plan_room */
} plan_sizes;

static int row_atom(const nnp_system* s, int row) { return s->centre ? s->centre[row] : row; }
static int atom_species(const nnp_system* s, int atom) { return (int)s->x[4 * (int64_t)atom + 3]; }

static int chunk_end(const nnp_system* s, int row, int rows)
{
    int end = s->n - row < rows ? s->n : row + rows;
    while (end > row + 1 && s->first[end] - s->first[row] > MOST_ENTRIES) end = row + (end - row) / 2;
    return end;
}

/* Chunks of rows, whose number depends on the system alone. */
static int cut_chunks(nnp_plan* plan, const nnp_system* s)
{
    int rows = (s->n / CHUNKS + 15) / 16 * 16, n = 0;
    rows = rows < LEAST_ROWS ? LEAST_ROWS : rows > MOST_ROWS ? MOST_ROWS : rows;
    for (int row = 0; row < s->n; ++n) row = chunk_end(s, row, rows);
    plan->n_chunks = n;
    const int status = nnp_reserve(&plan->chunks, &plan->cap_chunks, (size_t)n + 1, sizeof(nnp_chunk));
    if (status) return status;
    plan->chunks[0].row = 0;
    for (int c = 0; c < n; ++c) plan->chunks[c + 1].row = chunk_end(s, plan->chunks[c].row, rows);
    return NNP_OK;
}

static plan_sizes plan_room_sizes(const nnp_plan* plan, const nnp_system* s)
{
    plan_sizes z = {0, 0, 0};
    for (int row = 0; row < s->n; ++row)
        if (s->first[row + 1] - s->first[row] > z.most_row) z.most_row = s->first[row + 1] - s->first[row];
    for (int c = 0; c < plan->n_chunks; ++c) {
        const int64_t entries = s->first[plan->chunks[c + 1].row] - s->first[plan->chunks[c].row];
        if (entries > z.most_halo) z.most_halo = entries;
    }
    if (z.most_halo > s->n_total) z.most_halo = s->n_total;
    z.ints = (size_t)s->n_total + (size_t)z.most_halo + 2 * (size_t)z.most_row + 2;
    z.ints += (size_t)(2 + plan->n_species) * MOST_ROWS;
    return z;
}

static plan_room plan_thread_room(const nnp_plan* plan, const nnp_system* s, const plan_sizes* z, int thread)
{
    plan_room r;
    r.mark = (int*)plan->room + (size_t)thread * z->ints;
    r.halo = r.mark + s->n_total;
    r.entries = r.halo + z->most_halo;
    r.start = r.entries + z->most_row;
    r.sorted = r.start + z->most_row + 2;
    r.spare = r.sorted + MOST_ROWS;
    r.near = r.spare + MOST_ROWS;
    return r;
}

static void sort_row(nnp_plan* plan, const nnp_system* s, int row, const plan_room* r)
{
    const int ns = plan->n_species, n = (int)(s->first[row + 1] - s->first[row]);
    const int* const atoms = s->index + s->first[row];
    int* const local = plan->local + s->first[row];
    int* const end = plan->segment + (int64_t)row * ns;
    if (ns == 1) {
        *end = n;
        return;
    }
    memcpy(r->entries, local, (size_t)n * sizeof(int));
    int place = 0;
    for (int t = 0; t < ns; ++t) {
        for (int k = 0; k < n; ++k)
            if (atom_species(s, atoms[k]) == t) local[place++] = r->entries[k];
        end[t] = place;
    }
}

/* Local numbers of the chunk's list, its halo, and each row's near neighbours.
 * Returns the halo's size. */
static int localise(nnp_plan* plan, const nnp_system* s, const nnp_chunk* chunk, double near2,
                    const plan_room* r)
{
    const int row0 = chunk->row, row1 = chunk[1].row, n_own = row1 - row0;
    int n_halo = 0;
    for (int row = row0; row < row1; ++row) r->mark[row_atom(s, row)] = row - row0;
    for (int row = row0; row < row1; ++row) {
        const double* const xi = s->x + 4 * (int64_t)row_atom(s, row);
        int* const near = r->near + (int64_t)(row - row0) * plan->n_species;
        int of_one = 0; /* near[0] where there is one species: a register, no chain of stores and loads */
        for (int t = 0; t < plan->n_species; ++t) near[t] = 0;
        for (int64_t p = s->first[row]; p < s->first[row + 1]; ++p) {
            const int atom = s->index[p];
            const double* const xj = s->x + 4 * (int64_t)atom;
            const double x = xj[0] - xi[0], y = xj[1] - xi[1], z = xj[2] - xi[2];
            const int is_near = x * x + y * y + z * z < near2;
            if (plan->n_species == 1)
                of_one += is_near;
            else
                near[(int)xj[3]] += is_near;
            if (r->mark[atom] < 0) {
                r->mark[atom] = n_own + n_halo;
                r->halo[n_halo++] = atom;
            }
            plan->local[p] = r->mark[atom];
        }
        if (plan->n_species == 1) *near = of_one;
        sort_row(plan, s, row, r);
    }
    for (int row = row0; row < row1; ++row) r->mark[row_atom(s, row)] = -1;
    for (int k = 0; k < n_halo; ++k) r->mark[r->halo[k]] = -1;
    return n_halo;
}

/* Digit t of a row's place: its near neighbours of species t, counted backwards
 * where those of the species before add up to an odd number, so that rows that
 * follow each other have similar numbers of all species. */
static int place_digit(const int* near, int t, int most)
{
    int sum = 0;
    for (int u = 0; u < t; ++u) sum += near[u];
    return sum % 2 ? most - near[t] : near[t];
}

/* Rows of one species by their numbers of near neighbours, appended to sorted;
 * a counting sort, last digit first. */
static int sort_species(const nnp_plan* plan, const nnp_system* s, const nnp_chunk* chunk, int species,
                        int most, const plan_room* r, int n)
{
    const int n_own = chunk[1].row - chunk->row, ns = plan->n_species;
    int* const sorted = r->sorted + n;
    int total = 0;
    for (int i = 0; i < n_own; ++i)
        if (atom_species(s, row_atom(s, chunk->row + i)) == species) sorted[total++] = i;
    for (int t = ns - 1; t >= 0; --t) {
        memcpy(r->spare, sorted, (size_t)total * sizeof(int));
        memset(r->start, 0, ((size_t)most + 2) * sizeof(int));
        for (int k = 0; k < total; ++k) ++r->start[place_digit(r->near + r->spare[k] * ns, t, most) + 1];
        for (int k = 0; k <= most; ++k) r->start[k + 1] += r->start[k];
        for (int k = 0; k < total; ++k)
            sorted[r->start[place_digit(r->near + r->spare[k] * ns, t, most)]++] = r->spare[k];
    }
    return n + total;
}

/* The chunk's rows by (species, near neighbours) in r->sorted; returns the
 * number of its blocks. */
static int sort_chunk(const nnp_plan* plan, const nnp_system* s, const nnp_chunk* chunk, const plan_room* r)
{
    const int n_own = chunk[1].row - chunk->row;
    int most = 0, n = 0, n_blocks = 0;
    for (int i = 0; i < n_own * plan->n_species; ++i) most = r->near[i] > most ? r->near[i] : most;
    for (int t = 0; t < plan->n_species; ++t) {
        const int end = sort_species(plan, s, chunk, t, most, r, n);
        n_blocks += (end - n + plan->width - 1) / plan->width;
        n = end;
    }
    return n_blocks;
}

/* Blocks of the sorted rows, from the chunk's first on. Returns the largest
 * total capacity. */
static int fill_blocks(nnp_plan* plan, const nnp_system* s, const nnp_chunk* chunk, const plan_room* r)
{
    const int width = plan->width, ns = plan->n_species, n_own = chunk[1].row - chunk->row;
    int most = 0;
    for (int i = 0, b = chunk->block; i < n_own; ++b) {
        int* const rows = plan->rows + (int64_t)b * width;
        int* const capacity = plan->capacity + (int64_t)b * ns;
        const int species = atom_species(s, row_atom(s, chunk->row + r->sorted[i]));
        memset(capacity, 0, (size_t)ns * sizeof(int));
        for (int w = 0; w < width; ++w) {
            const int row = i < n_own ? chunk->row + r->sorted[i] : -1;
            rows[w] = row >= 0 && atom_species(s, row_atom(s, row)) == species ? row : -1;
            if (rows[w] < 0) continue;
            ++i;
            const int* const end = plan->segment + (int64_t)row * ns;
            for (int t = 0; t < ns; ++t) {
                const int count = end[t] - (t ? end[t - 1] : 0);
                if (count > capacity[t]) capacity[t] = count;
            }
        }
        int total = 0;
        for (int t = 0; t < ns; ++t) total += capacity[t];
        if (total > most) most = total;
    }
    return most;
}

/* All chunks, in any order by any thread; halos and blocks take their places in
 * order. Returns the halos' total size; where that is beyond plan->cap_halo
 * they are not all written. */
static int64_t fill_chunks(nnp_plan* plan, const nnp_system* s, double near, const plan_sizes* z,
                           int n_threads)
{
    int64_t n_halo = 0;
    int n_blocks = 0, most = 0, most_local = 0;
#pragma omp parallel num_threads(n_threads) reduction(max : most, most_local) if (n_threads > 1)
    {
        const plan_room r = plan_thread_room(plan, s, z, omp_get_thread_num());
        memset(r.mark, 0xff, (size_t)s->n_total * sizeof(int)); /* -1 */
#pragma omp for ordered schedule(dynamic, 1)
        for (int c = 0; c < plan->n_chunks; ++c) {
            nnp_chunk* const chunk = plan->chunks + c;
            const int halo = localise(plan, s, chunk, near * near, &r);
            const int blocks = sort_chunk(plan, s, chunk, &r);
#pragma omp ordered
            {
                chunk->halo = n_halo;
                chunk->block = n_blocks;
                n_halo += halo;
                n_blocks += blocks;
            }
            if (halo && chunk->halo + halo <= (int64_t)plan->cap_halo)
                memcpy(plan->halo + chunk->halo, r.halo, (size_t)halo * sizeof(int));
            const int m = fill_blocks(plan, s, chunk, &r), local = chunk[1].row - chunk->row + halo;
            most = m > most ? m : most;
            most_local = local > most_local ? local : most_local;
        }
    }
    plan->chunks[plan->n_chunks].halo = n_halo;
    plan->chunks[plan->n_chunks].block = plan->n_blocks = n_blocks;
    plan->max_neighbours = most;
    plan->max_local = most_local;
    return n_halo;
}

/* Which places of the halo belong to each target. */
static int fill_back(nnp_plan* plan, const nnp_system* s, int n_threads)
{
    const int n = (int)plan->chunks[plan->n_chunks].halo;
    plan->n_targets = s->owner ? s->n : s->n_total;
    int status = nnp_reserve(&plan->target, &plan->cap_target, (size_t)n + 1, sizeof(int));
    if (!status) status = nnp_reserve(&plan->back, &plan->cap_back, (size_t)n + 1, sizeof(int));
    if (!status)
        status =
            nnp_reserve(&plan->back_first, &plan->cap_back_first, (size_t)plan->n_targets + 1, sizeof(int));
    if (status) return status;
#pragma omp parallel for schedule(static) num_threads(n_threads) if (n_threads > 1)
    for (int k = 0; k < n; ++k) {
        const int atom = plan->halo[k];
        plan->target[k] = s->owner && atom >= s->n ? s->owner[atom - s->n] : atom;
    }
    return nnp_sort_by_key(&plan->histogram, &plan->cap_histogram, n, plan->target, plan->n_targets,
                           plan->back_first, plan->back, n_threads);
}

int nnp_plan_build(nnp_plan* plan, const nnp_system* system, int n_species, int width, double near,
                   int n_threads)
{
    const size_t n = (size_t)system->n, ns = (size_t)n_species, pairs = (size_t)system->first[system->n];
    plan->width = width;
    plan->n_species = n_species;
    int status = cut_chunks(plan, system);
    if (status) return status;
    const plan_sizes z = plan_room_sizes(plan, system);
    const size_t blocks = n / (size_t)width + (size_t)plan->n_chunks * ns;
    status = nnp_reserve(&plan->room, &plan->cap_room, z.ints * (size_t)n_threads, sizeof(int));
    if (!status) status = nnp_reserve(&plan->rows, &plan->cap_rows, blocks * (size_t)width, sizeof(int));
    if (!status) status = nnp_reserve(&plan->capacity, &plan->cap_capacity, blocks * ns, sizeof(int));
    if (!status) status = nnp_reserve(&plan->local, &plan->cap_local, pairs, sizeof(int));
    if (!status) status = nnp_reserve(&plan->halo, &plan->cap_halo, 1, sizeof(int));
    if (!status) status = nnp_reserve(&plan->segment, &plan->cap_segment, n * ns, sizeof(int));
    if (status) return status;
    const int64_t halo = fill_chunks(plan, system, near, &z, n_threads);
    if (halo > INT_MAX) return nnp_fail(NNP_ERR_MEMORY, "%d atoms are too many for one process", system->n);
    if ((size_t)halo > plan->cap_halo) {
        status = nnp_reserve(&plan->halo, &plan->cap_halo, (size_t)halo + (size_t)halo / 16, sizeof(int));
        if (status) return status;
        fill_chunks(plan, system, near, &z, n_threads);
    }
    return fill_back(plan, system, n_threads);
}

enum { GATHER_AHEAD = 32 }; /* parts asked for before their turn: they lie scattered */

/* The same with stride 4 and width 3: forces. */
static void gather_forces(const nnp_plan* plan, const double* part, int t0, int t1, double* value)
{
    const int last = plan->back_first[plan->n_targets] - 1;
    for (int t = t0; t < t1; ++t) {
        double* const to = value + 3 * (int64_t)t;
        double x = to[0], y = to[1], z = to[2];
        for (int q = plan->back_first[t]; q < plan->back_first[t + 1]; ++q) {
            NNP_PREFETCH(part + 4 * (int64_t)plan->back[q < last - GATHER_AHEAD ? q + GATHER_AHEAD : last]);
            const double* const from = part + 4 * (int64_t)plan->back[q];
            x += from[0];
            y += from[1];
            z += from[2];
        }
        to[0] = x;
        to[1] = y;
        to[2] = z;
    }
}

void nnp_plan_gather(const nnp_plan* plan, const double* part, int stride, int width, int t0, int t1,
                     double* value)
{
    if (stride == 4 && width == 3)
        gather_forces(plan, part, t0, t1, value);
    else
        for (int t = t0; t < t1; ++t)
            for (int q = plan->back_first[t]; q < plan->back_first[t + 1]; ++q)
                for (int c = 0; c < width; ++c)
                    value[(int64_t)t * width + c] += part[(int64_t)plan->back[q] * stride + c];
}
