/* trainer_private.h - what trainer.c and trainer_frames.c share. */
#ifndef NNP_TRAINER_PRIVATE_H
#define NNP_TRAINER_PRIVATE_H

#include "engine.h"

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
};

static inline int64_t frame_halo(const nnp_frame* f) { return f->plan.chunks[f->plan.n_chunks].halo; }

static inline nnp_system frame_system(const nnp_frame* f)
{
    nnp_system s = {f->n, f->n_total, NULL, f->list.owner, f->list.x, f->list.first, f->list.index, f->clash};
    return s;
}

/* Voigt (xx yy zz yz xz xy) stress of virial (xx yy zz xy xz yz): -W/V */
void nnp_virial_to_stress(const double* w, double volume, double* stress);

/* Room for a batch of these sizes. */
int nnp_trainer_reserve(nnp_trainer* trainer, int64_t rows, int64_t total, int64_t halo, int training);

#endif /* NNP_TRAINER_PRIVATE_H */
