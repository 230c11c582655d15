/* trainer_private.h - what trainer.c, trainer_frames.c, trainer_cache.c and trainer_rows.c share. */
#ifndef NNP_TRAINER_PRIVATE_H
#define NNP_TRAINER_PRIVATE_H

#include "engine.h"
#include "nnp_threads.h"

enum { NNP_MAX_WIDTH = 16 }; /* lanes of any table */

typedef struct nnp_range {
    int64_t begin, end;
} nnp_range;

/* Kept symmetry functions; an entry is a row and one of its listed neighbours. */
typedef struct nnp_cache {
    nnp_derivatives kept;
    int* row;            /* [first[n]] of each entry */
    int64_t* at;         /* [first[n]] where its derivatives begin in kept.d */
    int64_t* back_first; /* [n+1] */
    int* back;           /* entries whose neighbour is a row or an image of it, by that row */
} nnp_cache;

typedef struct nnp_frame {
    nnp_neigh list; /* trimmed to what the kernels read */
    nnp_plan plan;
    int n, n_total;
    double volume; /* 0: no cell, no stress */
    double clash;
    double closest; /* Angstrom between any two atoms */
    double weight;
    int has_energy, has_stress;
    double energy, stress[6];   /* labels less E0 and baseline */
    double* forces;             /* [n][3] by row, less baseline; NULL: no label */
    double energy0, stress0[6]; /* E0 and baseline, added to predictions */
    double* forces0;            /* [n][3] by row; NULL: no baseline */
    nnp_cache* cache;           /* NULL: nothing is kept */
} nnp_frame;

struct nnp_trainer {
    const nnp_model* owner;
    nnp_model model; /* shallow copy without baselines: what theta belongs to */
    const nnp_kernels* k;
    int n_threads, precision;
    int n_frames;
    size_t cap_frames;
    nnp_frame** frames;
    nnp_scratch scratch;
    void *packed, *acc;
    double *energy, *force, *part, *virial, *lambda;
    size_t cap_part, cap_acc, cap_energy, cap_force, cap_virial, cap_lambda;
    nnp_plan largest; /* sizes only: the most neighbours and atoms of any frame's chunks */
    /* kept symmetry functions: which depend on a neighbour's species; NULL: nothing was ever kept */
    int stride;               /* most inputs of any species */
    int *n_use, *place, *use; /* [S][S]; [S][S][stride] place among them, or -1; [S][S][stride] their list */
    nnp_net* probe_net;       /* [S] one linear layer */
    float* pair;              /* [entries of the batch][3] */
    size_t cap_pair;
};

static inline int64_t frame_halo(const nnp_frame* f) { return f->plan.chunks[f->plan.n_chunks].halo; }

static inline nnp_system frame_system(const nnp_frame* f)
{
    nnp_system s = {f->n, f->n_total, NULL, f->list.owner, f->list.x, f->list.first, f->list.index, f->clash};
    return s;
}

/* Voigt (xx yy zz yz xz xy) stress of virial (xx yy zz xy xz yz): -W/V */
void nnp_virial_to_stress(const double* w, double volume, double* stress);

/* Scratch of the calling thread. */
static inline char* nnp_trainer_scratch(const nnp_trainer* t)
{
    return t->scratch.base + (size_t)omp_get_thread_num() * t->scratch.bytes;
}

/* A batch laid out: offsets of each frame's rows, atoms, halos, chunks. */
typedef struct nnp_batch {
    int n;
    const int* frames;
    int64_t *row, *total, *halo, *pair; /* [n+1] */
    int* chunk;                         /* [n+1] */
    int n_blocks;
    int threads; /* one where there is too little to share out */
} nnp_batch;

/* Takes theta in; nnp_batch_free() after NNP_OK. */
int nnp_batch_layout(nnp_trainer* trainer, const double* theta, int n, const int* frames, int training,
                     nnp_batch* batch);
void nnp_batch_free(nnp_batch* batch);

/* adds d/dtheta of c E + dE/dt of a frame to acc [n_parameters][width] */
void nnp_frame_gradient(const nnp_trainer* t, const nnp_frame* f, const nnp_tangent* tangent, void* acc);

void nnp_cache_free(nnp_cache* cache);
/* Bytes at the beginning of a thread's scratch that the functions below want. */
size_t nnp_cache_room(const nnp_trainer* t);
/* A chunk's energy [n] and virial [n][6] by row, d energy_i/d r_ij of its entries to pair [first[n]][3] */
void nnp_cache_evaluate(const nnp_trainer* t, const nnp_frame* f, int chunk, char* scratch, float* pair,
                        double* energy, double* virial);
void nnp_cache_forces(const nnp_frame* f, const float* pair, double* force);
/* as nnp_kernels.gradient */
void nnp_cache_gradient(const nnp_trainer* t, const nnp_frame* f, int chunk, char* scratch,
                        const nnp_tangent* tangent, void* acc);
/* adds d/dtheta of the force on row a along an axis to acc; g_dot [n][stride], touched [n] are scratch */
void nnp_cache_force_row(const nnp_trainer* t, const nnp_frame* f, int a, int axis, double* g_dot,
                         char* touched, char* scratch, void* acc);

/* Room for a batch of these sizes. */
int nnp_trainer_reserve(nnp_trainer* trainer, int64_t rows, int64_t total, int64_t halo, int training);

#endif /* NNP_TRAINER_PRIVATE_H */
