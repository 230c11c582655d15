/* trainer_cache.c - kept symmetry functions: training does not change them, so a frame whose functions and
 * their derivatives by every neighbour (float32) are kept needs no sum over neighbours and triplets again.
 *
 *   g_ij = sum_f dE_i/dG_f dG_f/dr_ij (pull),   dG_f/dt = sum_j dG_f/dr_ij . dr_ij/dt (push)
 *
 * are what the loss, its gradient and the rows of the Jacobian take from a frame.
 */
#include "trainer_private.h"
#include <stdlib.h>
#include <string.h>

void nnp_cache_free(nnp_cache* c)
{
    if (!c) return;
    nnp_free(c->kept.g);
    nnp_free(c->kept.atom);
    nnp_free(c->kept.d);
    nnp_free((int64_t*)c->kept.offset);
    nnp_free(c->row);
    nnp_free(c->at);
    nnp_free(c->back_first);
    nnp_free(c->back);
    free(c);
}

/* ---- which functions depend on which neighbours ---- */

static int takes_part(const nnp_bp_spec* f, int t)
{
    return f->partner[0] < 0 || f->partner[0] == t || f->partner[1] == t;
}

static int uses_build(nnp_trainer* t)
{
    const int s = t->model.n_species;
    int stride = 0;
    for (int i = 0; i < s; ++i)
        if (t->model.bp[i].n_functions > stride) stride = t->model.bp[i].n_functions;
    const size_t channels = (size_t)s * (size_t)s, all = channels * (size_t)stride;
    t->stride = stride;
    t->n_use = (int*)nnp_alloc(channels + 2 * all, sizeof(int));
    t->probe_net = (nnp_net*)nnp_alloc((size_t)s, sizeof(nnp_net));
    if (!t->n_use || !t->probe_net) {
        nnp_free(t->n_use);
        nnp_free(t->probe_net);
        t->n_use = NULL;
        t->probe_net = NULL;
        return nnp_fail(NNP_ERR_MEMORY, "out of memory: tables of functions");
    }
    t->place = t->n_use + channels;
    t->use = t->place + all;
    for (int i = 0; i < s; ++i)
        for (int u = 0; u < s; ++u) {
            const int channel = i * s + u;
            int n = 0;
            for (int f = 0; f < t->model.bp[i].n_functions; ++f) {
                const int there = takes_part(&t->model.bp[i].spec[f], u);
                t->place[channel * stride + f] = there ? n : -1;
                if (there) t->use[channel * stride + n++] = f;
            }
            t->n_use[channel] = n;
        }
    memset(t->probe_net, 0, (size_t)s * sizeof(nnp_net));
    for (int i = 0; i < s; ++i) {
        nnp_net* const net = &t->probe_net[i];
        net->n_layers = net->width[1] = 1;
        net->width[0] = t->model.bp[i].n_functions;
        net->bias[0] = net->width[0]; /* theta of the probe: weights, and a bias of 0 */
    }
    return NNP_OK;
}

/* ---- filling a frame's cache ---- */

static int species_of(const nnp_frame* f, int atom) { return (int)f->list.x[4 * (int64_t)atom + 3]; }

/* Listed neighbours of a row and species: [begin, end) of the row's entries. */
static nnp_range neighbours(const nnp_frame* f, int row, int t)
{
    const int* const end = f->plan.segment + (int64_t)row * f->plan.n_species + t;
    const nnp_range r = {f->list.first[row] + (t ? end[-1] : 0), f->list.first[row] + *end};
    return r;
}

/* Floats of all derivatives of a frame. */
static int64_t count_floats(const nnp_trainer* t, const nnp_frame* f, int64_t* offset)
{
    int64_t floats = 0;
    for (int row = 0; row < f->n; ++row) {
        if (offset) offset[row] = floats;
        for (int u = 0; u < t->model.n_species; ++u) {
            const nnp_range r = neighbours(f, row, u);
            floats += 3 * (r.end - r.begin) * t->n_use[species_of(f, row) * t->model.n_species + u];
        }
    }
    return floats;
}

static size_t cache_bytes(const nnp_trainer* t, const nnp_frame* f)
{
    return sizeof(nnp_cache) + (size_t)count_floats(t, f, NULL) * sizeof(float) +
           (size_t)f->list.first[f->n] * (3 * sizeof(int) + sizeof(int64_t)) +
           (size_t)f->n * ((size_t)t->stride * sizeof(double) + 2 * sizeof(int64_t));
}

static int cache_take(const nnp_trainer* t, const nnp_frame* f, nnp_cache* c)
{
    const size_t n = (size_t)f->n, entries = (size_t)f->list.first[f->n] + 1;
    int64_t* const offset = (int64_t*)nnp_alloc(n, sizeof(int64_t));
    c->kept.offset = offset;
    if (!offset) return NNP_ERR_MEMORY;
    const size_t floats = (size_t)count_floats(t, f, offset);
    c->kept.stride = t->stride;
    c->kept.n_use = t->n_use;
    c->kept.place = t->place;
    c->kept.g = (double*)nnp_alloc(n * (size_t)t->stride, sizeof(double));
    c->kept.atom = (int*)nnp_alloc(entries, sizeof(int));
    c->kept.d = (float*)nnp_alloc(floats + 1, sizeof(float));
    c->row = (int*)nnp_alloc(entries, sizeof(int));
    c->at = (int64_t*)nnp_alloc(entries, sizeof(int64_t));
    c->back_first = (int64_t*)nnp_alloc(n + 1, sizeof(int64_t));
    c->back = (int*)nnp_alloc(entries, sizeof(int));
    if (!c->kept.g || !c->kept.atom || !c->kept.d || !c->row || !c->at || !c->back_first || !c->back)
        return NNP_ERR_MEMORY;
    memset(c->kept.g, 0, n * (size_t)t->stride * sizeof(double));
    memset(c->kept.d, 0, (floats + 1) * sizeof(float));
    return NNP_OK;
}

static int owner_of(const nnp_frame* f, int atom) { return atom < f->n ? atom : f->list.owner[atom - f->n]; }

/* Where each entry's numbers are, and the entries whose neighbour is an image of each row. */
static void cache_index(const nnp_trainer* t, const nnp_frame* f, nnp_cache* c)
{
    const int s = t->model.n_species;
    memset(c->back_first, 0, ((size_t)f->n + 1) * sizeof(int64_t));
    for (int row = 0; row < f->n; ++row) {
        int64_t at = c->kept.offset[row];
        for (int u = 0; u < s; ++u) {
            const nnp_range r = neighbours(f, row, u);
            for (int64_t e = r.begin; e < r.end; ++e, at += 3 * t->n_use[species_of(f, row) * s + u]) {
                c->row[e] = row;
                c->at[e] = at;
                c->back_first[owner_of(f, c->kept.atom[e]) + 1]++;
            }
        }
    }
    for (int row = 0; row < f->n; ++row) c->back_first[row + 1] += c->back_first[row];
    for (int64_t e = f->list.first[f->n] - 1; e >= 0; --e) /* from behind: each row's entries ascend */
        c->back[--c->back_first[owner_of(f, c->kept.atom[e]) + 1]] = (int)e;
    for (int row = 0; row < f->n; ++row) c->back_first[row] = c->back_first[row + 1];
    c->back_first[f->n] = f->list.first[f->n];
}

/* Every listed neighbour; the kernels put those inside the cutoff first, so that an entry which rounding
 * leaves out is some atom of the right species with derivatives of zero. */
static void cache_atoms(const nnp_frame* f, nnp_cache* c)
{
    for (int i = 0; i < f->plan.n_chunks; ++i) {
        const nnp_chunk *const chunk = f->plan.chunks + i, *const next = chunk + 1;
        const int n_own = next->row - chunk->row;
        for (int64_t e = f->list.first[chunk->row]; e < f->list.first[next->row]; ++e) {
            const int id = f->plan.local[e];
            c->kept.atom[e] = id < n_own ? chunk->row + id : f->plan.halo[chunk->halo + id - n_own];
        }
    }
}

static int cache_build(nnp_trainer* t, nnp_frame* f)
{
    nnp_cache* const c = (nnp_cache*)calloc(1, sizeof *c);
    if (!c || cache_take(t, f, c)) {
        nnp_cache_free(c);
        return nnp_fail(NNP_ERR_MEMORY, "out of memory: kept symmetry functions");
    }
    cache_atoms(f, c);
    nnp_model probe = t->model;
    probe.net = t->probe_net;
    const nnp_system s = frame_system(f);
    t->n_threads = nnp_thread_count(t->n_threads);
    const int status = nnp_trainer_reserve(t, f->n, f->n_total, frame_halo(f), 1);
    if (status) {
        nnp_cache_free(c);
        return status;
    }
#pragma omp parallel for schedule(dynamic, 1) num_threads(t->n_threads) if (t->n_threads > 1)
    for (int i = 0; i < f->plan.n_chunks; ++i)
        t->k->derivatives(&probe, &s, &f->plan, i, nnp_trainer_scratch(t), &c->kept);
    cache_index(t, f, c);
    f->cache = c;
    return NNP_OK;
}

int nnp_trainer_keep(nnp_trainer* t, size_t max_bytes, size_t* used)
{
    if (!t || !used) return nnp_fail(NNP_ERR_ARGUMENT, "nnp_trainer_keep: trainer or used is NULL");
    *used = 0;
    if (!t->model.bp) return NNP_OK;
    if (!t->n_use) {
        const int status = uses_build(t);
        if (status) return status;
    }
    for (int i = 0; i < t->n_frames; ++i) {
        nnp_frame* const f = t->frames[i];
        const size_t bytes = cache_bytes(t, f);
        if (*used + bytes > max_bytes || f->list.first[f->n] > INT32_MAX) return NNP_OK;
        const int status = f->cache ? NNP_OK : cache_build(t, f);
        if (status) return status;
        *used += bytes;
    }
    return NNP_OK;
}

/* ---- sweeps ---- */

size_t nnp_cache_room(const nnp_trainer* t)
{
    if (!t->n_use) return 0;
    const size_t lanes = (size_t)t->k->width, stride = (size_t)t->stride;
    const size_t row = (size_t)t->largest.max_neighbours + 1;
    return (lanes * stride * (sizeof(double) + sizeof(float)) + (stride + 3 * row) * sizeof(float)) / 64 *
               64 +
           64;
}

/* Inputs of a block's atoms by lane; returns its species. */
static int block_lanes(const nnp_trainer* t, const nnp_frame* f, int block, const double** g)
{
    const int* const rows = f->plan.rows + (int64_t)block * t->k->width;
    for (int w = 0; w < t->k->width; ++w)
        g[w] = rows[w] < 0 ? NULL : f->cache->kept.g + (int64_t)rows[w] * t->stride;
    return species_of(f, rows[0]);
}

static void row_virial(const nnp_frame* f, int row, const float* pair, double* virial)
{
    memset(virial, 0, 6 * sizeof(double));
    const double* const xi = f->list.x + 4 * (int64_t)row;
    for (int64_t e = f->list.first[row]; e < f->list.first[row + 1]; ++e) {
        const double* const xj = f->list.x + 4 * (int64_t)f->cache->kept.atom[e];
        const float* const g = pair + 3 * e;
        const double x = xj[0] - xi[0], y = xj[1] - xi[1], z = xj[2] - xi[2];
        virial[0] -= x * g[0];
        virial[1] -= y * g[1];
        virial[2] -= z * g[2];
        virial[3] -= x * g[1];
        virial[4] -= x * g[2];
        virial[5] -= y * g[2];
    }
}

void nnp_cache_evaluate(const nnp_trainer* t, const nnp_frame* f, int chunk, char* scratch, float* pair,
                        double* energy, double* virial)
{
    const nnp_cache* const c = f->cache;
    const int s = t->model.n_species, lanes = t->k->width;
    float* const d = (float*)scratch;
    float* const p = d + lanes * t->stride;
    const double* g[NNP_MAX_WIDTH];
    double e[NNP_MAX_WIDTH];
    for (int i = f->plan.chunks[chunk].block; i < f->plan.chunks[chunk + 1].block; ++i) {
        const int species = block_lanes(t, f, i, g), n = nnp_n_inputs(&t->model, species);
        t->k->network(&t->model, t->packed, species, g, scratch + nnp_cache_room(t), e, d);
        for (int w = 0; w < lanes; ++w) {
            const int row = f->plan.rows[(int64_t)i * lanes + w];
            if (row < 0) continue;
            energy[row] = e[w];
            for (int u = 0; u < s; ++u) {
                const nnp_range r = neighbours(f, row, u);
                const int channel = species * s + u, n_use = t->n_use[channel];
                if (r.begin == r.end) continue;
                for (int k = 0; k < n_use; ++k) p[k] = d[w * n + t->use[channel * t->stride + k]];
                t->k->pull((int)(r.end - r.begin), n_use, c->kept.d + c->at[r.begin], p, pair + 3 * r.begin);
            }
            row_virial(f, row, pair, virial + 6 * (int64_t)row);
        }
    }
}

void nnp_cache_forces(const nnp_frame* f, const float* pair, double* force)
{
    const nnp_cache* const c = f->cache;
    for (int row = 0; row < f->n; ++row) {
        double sum[3] = {0, 0, 0};
        for (int64_t e = f->list.first[row]; e < f->list.first[row + 1]; ++e)
            for (int k = 0; k < 3; ++k) sum[k] += (double)pair[3 * e + k];
        for (int64_t b = c->back_first[row]; b < c->back_first[row + 1]; ++b)
            for (int k = 0; k < 3; ++k) sum[k] -= (double)pair[3 * (int64_t)c->back[b] + k];
        memcpy(force + 3 * (int64_t)row, sum, sizeof sum);
    }
}

/* Rates of a row's inputs: dr_ij/dt = lambda_i - lambda_j - M r_ij. */
static void row_rates(const nnp_trainer* t, const nnp_frame* f, int row, const nnp_tangent* tangent, float* v,
                      float* part, double* g_dot)
{
    const nnp_cache* const c = f->cache;
    const int s = t->model.n_species, species = species_of(f, row);
    const double *const xi = f->list.x + 4 * (int64_t)row, *const li = tangent->lambda + 3 * (int64_t)row;
    for (int k = 0; k < t->stride; ++k) g_dot[k] = 0;
    for (int u = 0; u < s; ++u) {
        const nnp_range r = neighbours(f, row, u);
        const int channel = species * s + u, n_use = t->n_use[channel];
        for (int64_t e = r.begin; e < r.end; ++e) {
            const int j = c->kept.atom[e];
            const double *const xj = f->list.x + 4 * (int64_t)j, *const lj = tangent->lambda + 3 * (int64_t)j;
            for (int k = 0; k < 3; ++k) {
                double rate = li[k] - lj[k];
                for (int l = 0; l < 3; ++l) rate -= tangent->m[3 * k + l] * (xj[l] - xi[l]);
                v[3 * (e - r.begin) + k] = (float)rate;
            }
        }
        if (r.begin == r.end) continue;
        for (int k = 0; k < n_use; ++k) part[k] = 0;
        t->k->push((int)(r.end - r.begin), n_use, c->kept.d + c->at[r.begin], v, part);
        for (int k = 0; k < n_use; ++k) g_dot[t->use[channel * t->stride + k]] += (double)part[k];
    }
}

void nnp_cache_gradient(const nnp_trainer* t, const nnp_frame* f, int chunk, char* scratch,
                        const nnp_tangent* tangent, void* acc)
{
    const int lanes = t->k->width;
    double* const g_dot = (double*)scratch;
    float* const part = (float*)(g_dot + lanes * t->stride);
    float* const v = part + t->stride;
    const double *g[NNP_MAX_WIDTH], *dot[NNP_MAX_WIDTH];
    for (int i = f->plan.chunks[chunk].block; i < f->plan.chunks[chunk + 1].block; ++i) {
        const int species = block_lanes(t, f, i, g);
        for (int w = 0; w < lanes; ++w) {
            dot[w] = g[w] ? g_dot + w * t->stride : NULL;
            if (g[w])
                row_rates(t, f, f->plan.rows[(int64_t)i * lanes + w], tangent, v, part,
                          g_dot + w * t->stride);
        }
        t->k->network_gradient(&t->model, t->packed, species, g, dot, tangent->c, scratch + nnp_cache_room(t),
                               acc);
    }
}

/* Rates of all inputs while row a moves along axis k, forces as in nnp_tangent; touched [n] marks rows. */
static void move_rates(const nnp_trainer* t, const nnp_frame* f, int a, int k, double* g_dot, char* touched)
{
    const nnp_cache* const c = f->cache;
    const int s = t->model.n_species;
    memset(g_dot, 0, (size_t)f->n * (size_t)t->stride * sizeof(double));
    memset(touched, 0, (size_t)f->n);
    for (int pass = 0; pass < 2; ++pass) {
        const int64_t begin = pass ? c->back_first[a] : f->list.first[a];
        const int64_t end = pass ? c->back_first[a + 1] : f->list.first[a + 1];
        for (int64_t b = begin; b < end; ++b) {
            const int64_t e = pass ? c->back[b] : b;
            const int row = c->row[e], channel = species_of(f, row) * s + species_of(f, c->kept.atom[e]);
            const int n_use = t->n_use[channel];
            const int* const use = t->use + channel * t->stride;
            const float* const d = c->kept.d + c->at[e] + (int64_t)k * n_use;
            double* const dot = g_dot + (int64_t)row * t->stride;
            touched[row] = 1;
            for (int l = 0; l < n_use; ++l) dot[use[l]] += pass ? -(double)d[l] : (double)d[l];
        }
    }
}

void nnp_cache_force_row(const nnp_trainer* t, const nnp_frame* f, int a, int axis, double* g_dot,
                         char* touched, char* scratch, void* acc)
{
    const int lanes = t->k->width;
    const double *g[NNP_MAX_WIDTH], *dot[NNP_MAX_WIDTH];
    move_rates(t, f, a, axis, g_dot, touched);
    for (int i = 0; i < f->plan.n_blocks; ++i) {
        const int species = block_lanes(t, f, i, g);
        int live = 0;
        for (int w = 0; w < lanes; ++w) {
            const int row = f->plan.rows[(int64_t)i * lanes + w];
            dot[w] = row < 0 ? NULL : g_dot + (int64_t)row * t->stride;
            live |= row >= 0 && touched[row];
        }
        if (live)
            t->k->network_gradient(&t->model, t->packed, species, g, dot, 0, scratch + nnp_cache_room(t),
                                   acc);
    }
}
