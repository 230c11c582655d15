/* nnpcore.h - neural-network interatomic potentials (Behler-Parrinello, MSR): the public C interface.
 *
 *   nnp_model* m;  nnp_workspace* w;
 *   if (nnp_model_load("si.nnp", &m) || nnp_workspace_new(m, NULL, &w)) die(nnp_last_error());
 *   nnp_results r = {0};  r.energy = &e;  r.forces = f;           (outputs not wanted stay NULL)
 *   nnp_compute(m, w, n_total, species, x, &neigh, &r);           (host's list, ghosts included)
 *   nnp_compute_ghosts(m, w, n, n_total, species, x, &r);         (own list among the host's ghosts)
 *   nnp_compute_cell(m, w, n, species, x, cell, pbc, &r);         (own list, periodic images)
 *
 * Conventions
 *   arrays      row-major, owned by the caller, read or written during the call only
 *   units       eV, Angstrom, amu, fs, K; nothing is converted
 *   outputs     of nnp_compute* are ADDED to what the arrays hold, so that potentials can be stacked
 *   errors      every int function returns NNP_OK (0) or an NNP_ERR_* code, and leaves its outputs
 *               unspecified on error; nnp_last_error() has the text for the calling thread
 *   threads     an nnp_model never changes after loading: share it freely. An nnp_workspace (nnp_md,
 *               nnp_trainer) is scratch for one caller at a time. No global state besides the error text.
 *   determinism the same inputs and options give bitwise equal results for any number of threads
 *   versions    names and numbers below never change meaning; structs grow at their end only
 */
#ifndef NNPCORE_H
#define NNPCORE_H

#include <stddef.h>
#include <stdint.h>

#define NNP_VERSION_MAJOR 0
#define NNP_VERSION_MINOR 1
#define NNP_VERSION_PATCH 0
#define NNP_VERSION       (NNP_VERSION_MAJOR * 10000 + NNP_VERSION_MINOR * 100 + NNP_VERSION_PATCH)

#if defined(_WIN32) && defined(NNP_SHARED)
#ifdef NNP_BUILD
#define NNP_API __declspec(dllexport)
#else
#define NNP_API __declspec(dllimport)
#endif
#elif defined(__GNUC__)
#define NNP_API __attribute__((visibility("default")))
#else
#define NNP_API
#endif

#ifdef __cplusplus
extern "C" {
#endif

/* ---- status ------------------------------------------------------------------------------- */

enum {
    NNP_OK = 0,
    NNP_ERR_ARGUMENT = 1, /* a NULL, negative or non-finite argument */
    NNP_ERR_MEMORY = 2,   /* allocation failed */
    NNP_ERR_FILE = 3,     /* cannot open or read */
    NNP_ERR_FORMAT = 4,   /* not a model file, or a damaged one */
    NNP_ERR_VERSION = 5,  /* a model file newer than this library */
    NNP_ERR_SPECIES = 6,  /* an atom's species is not in the model */
    NNP_ERR_GEOMETRY = 7, /* singular cell, or atoms on top of each other */
    NNP_ERR_DIVERGED = 8, /* energies, forces or positions stopped being finite or reasonable */
    NNP_ERR_CHANGED = 9,  /* nnp_compute_moved(): not the atoms or the list of the last nnp_compute() */
    NNP_ERR_INTERNAL = 255
};

/* Text of the calling thread's last error; valid until its next nnp_ call. Never NULL. */
NNP_API const char* nnp_last_error(void);

/* NNP_VERSION of the library in use; compare with the header's. */
NNP_API int nnp_version(void);

/* Threads an unset n_threads stands for; 1 in a serial build. */
NNP_API int nnp_max_threads(void);
NNP_API int nnp_has_openmp(void);

/* "baseline", "avx2" or "avx512": the instruction set in use (environment: NNPCORE_ISA). */
NNP_API const char* nnp_isa(void);

/* ---- model -------------------------------------------------------------------------------- */

typedef struct nnp_model nnp_model;

/* Read a model; *out is set only on success. Release with nnp_model_free(). */
NNP_API int nnp_model_load(const char* path, nnp_model** out);

/* The same from memory, for hosts whose rank 0 reads the file and broadcasts it. */
NNP_API int nnp_model_parse(const void* data, size_t size, nnp_model** out);

/* Gives the caller's hold up; NULL is allowed. Workspaces, trainers and nnp_md hold their model themselves,
 * so that a host may free the model first: it lives until the last of them is freed, and until then the
 * pointer is still good for nnp_compute*() with them. */
NNP_API void nnp_model_free(nnp_model* model);

NNP_API double nnp_model_cutoff(const nnp_model* model); /* largest cutoff radius, Angstrom */
NNP_API int nnp_model_n_species(const nnp_model* model);
NNP_API const char* nnp_model_species(const nnp_model* model, int s); /* "Si"; lives with model */
NNP_API double nnp_model_mass(const nnp_model* model, int s);         /* amu */
NNP_API const char* nnp_model_units(const nnp_model* model);          /* "eV Angstrom" */

/* Trainable numbers as one vector; order: docs/model-file.md. */
NNP_API int64_t nnp_model_n_parameters(const nnp_model* model);
NNP_API const double* nnp_model_parameters(const nnp_model* model);
NNP_API int nnp_model_n_fingerprints(const nnp_model* model, int s);

/* ---- workspace ---------------------------------------------------------------------------- */

typedef struct nnp_workspace nnp_workspace;

enum { NNP_F64 = 0, NNP_F32 = 1 }; /* F32: float arithmetic, double sums and outputs */

typedef struct nnp_options {
    size_t size;   /* sizeof(nnp_options), set by nnp_default_options() */
    int n_threads; /* 0: OpenMP's default */
    int precision; /* NNP_F64 or NNP_F32 */
    double skin;   /* own lists serve until an atom moved skin/2; 0: for one call */
} nnp_options;

NNP_API void nnp_default_options(nnp_options* options);

/* options may be NULL for the defaults. The workspace keeps the model alive. */
NNP_API int nnp_workspace_new(const nnp_model* model, const nnp_options* options, nnp_workspace** out);
NNP_API void nnp_workspace_free(nnp_workspace* work);

/* Extrapolation in the last evaluation: atoms that had a symmetry function outside its training range, and
 * how many functions of atoms did; 0 where the model keeps no range. */
NNP_API void nnp_workspace_outside(const nnp_workspace* work, int64_t* atoms, int64_t* functions);

/* The same of each of the n atoms (all those given, ghosts included) of the last evaluation: functions [n] is
 * overwritten. An error where the model keeps no range. */
NNP_API int nnp_workspace_outside_atoms(const nnp_workspace* work, int n, int* functions);

/* The next evaluation makes a new list and plan, whatever the skin: its bits depend on nothing before. */
NNP_API void nnp_workspace_renew(nnp_workspace* work);

/* ---- energies and forces ------------------------------------------------------------------ */

/* Full list of the neighbours of the n_rows atoms whose energy is wanted: LAMMPS' layout. */
typedef struct nnp_neighbors {
    int n_rows;              /* list->inum */
    const int* rows;         /* list->ilist, or NULL for 0 .. n_rows-1 */
    const int* count;        /* list->numneigh, by atom */
    const int* const* index; /* list->firstneigh, by atom */
    int mask;                /* ANDed with every index: NEIGHMASK in LAMMPS, -1 elsewhere */
} nnp_neighbors;

/* What to compute: each pointer may be NULL. Everything is added to. */
typedef struct nnp_results {
    double* energy;   /* [1] */
    double* energies; /* [n] of each atom */
    double* forces;   /* [n][3] minus the gradient of the summed energy */
    double* virial;   /* [6] xx yy zz xy xz yz of W = -sum r_ij (x) dE/dr_ij; stress = -W/V */
    double* virials;  /* [n][9] of each atom, row-major: what acts on atom i is credited to i */
} nnp_results;

/* Host's own list. species[i] is 0 .. n_species-1, or -1 for an atom to be ignored;
 * x is [n_total][3] with ghost atoms in place; forces on ghosts are written too. */
NNP_API int nnp_compute(const nnp_model* model, nnp_workspace* work, int n_total, const int* species,
                        const double* x, const nnp_neighbors* neighbors, const nnp_results* results);

/* The same where only positions are new: atoms, species and list are those of the last nnp_compute() with
 * this workspace, whose preparations serve again (a fifth to a third of a step). What differs is found, list
 * entries included, and is NNP_ERR_CHANGED, with results untouched: call nnp_compute() then. */
NNP_API int nnp_compute_moved(const nnp_model* model, nnp_workspace* work, int n_total, const int* species,
                              const double* x, const nnp_neighbors* neighbors, const nnp_results* results);

/* Own list among the host's atoms, ghosts in place: energies of atoms 0 .. n-1, whose neighbours are any of
 * the n_total (nothing is periodic: images are ghosts). With options.skin the list serves until an atom or a
 * ghost has moved skin/2 or n, n_total or species differ. Faster than most lists a host could give. */
NNP_API int nnp_compute_ghosts(const nnp_model* model, nnp_workspace* work, int n, int n_total,
                               const int* species, const double* x, const nnp_results* results);

/* Own list. cell is [3][3], one lattice vector a row, or NULL for an isolated system;
 * pbc is [3] booleans or NULL for all true. Cells smaller than the cutoff are handled. */
NNP_API int nnp_compute_cell(const nnp_model* model, nnp_workspace* work, int n, const int* species,
                             const double* x, const double* cell, const int* pbc, const nnp_results* results);

/* ---- loss gradient ------------------------------------------------------------------------ */

typedef struct nnp_trainer nnp_trainer;

enum { NNP_LOSS_SQUARE = 0, NNP_LOSS_HUBER = 1 };

/* L = 1/n_b sum_b weight_b [ w_energy l(dE/N) + w_force mean l(dF) + w_stress mean l(dsigma) ] over the
 * n_b frames b of a batch; l(d) = d^2, or Huber's with its delta in the units of the residual
 * (l = d^2/2 below delta, delta (|d| - delta/2) above). Means run over 3N components and 6 Voigt ones. */
typedef struct nnp_loss {
    size_t size; /* sizeof(nnp_loss) */
    int kind;
    double w_energy, w_force, w_stress;
    double delta_energy, delta_force, delta_stress; /* eV, eV/A, eV/A^3 */
} nnp_loss;

/* The labels a frame has; missing ones are NULL and take no part in the loss. */
typedef struct nnp_labels {
    const double* energy; /* [1] eV, total */
    const double* forces; /* [n][3] eV/A */
    const double* stress; /* [6] eV/A^3, Voigt xx yy zz yz xz xy, tension positive */
    double weight;
} nnp_labels;

/* Frames are kept with their neighbour lists; model gives architecture, E0 and baseline. */
NNP_API int nnp_trainer_new(const nnp_model* model, const nnp_options* options, nnp_trainer** out);
NNP_API void nnp_trainer_free(nnp_trainer* trainer);
NNP_API int nnp_trainer_add(nnp_trainer* trainer, int n, const int* species, const double* x,
                            const double* cell, const int* pbc, const nnp_labels* labels);
NNP_API int nnp_trainer_n_frames(const nnp_trainer* trainer);
NNP_API size_t nnp_trainer_bytes(const nnp_trainer* trainer);

/* Loss and its gradient with respect to theta [n_parameters], of the frames listed.
 * terms is [4]: total, energy, force, stress part. grad [n_parameters] is overwritten; may be NULL. */
NNP_API int nnp_trainer_gradient(nnp_trainer* trainer, const double* theta, const nnp_loss* loss, int n_batch,
                                 const int* frames, double* terms, double* grad);

/* One random projection of the loss' Gauss-Newton matrix per frame: rows is [n_batch][n_parameters], row q is
 * h_q = sum_r v_r sqrt(w_r) d(residual r)/dtheta over frame q's residuals r, v_r = +-1 from (seed, frame, r),
 * so that the mean of h h^T over seeds is half the second derivative of a square loss without its residual
 * term. */
NNP_API int nnp_trainer_sketch(nnp_trainer* trainer, const double* theta, const nnp_loss* loss, int n_batch,
                               const int* frames, uint64_t seed, double* rows);

/* Keep the symmetry functions of a Behler-Parrinello model and their derivatives (float32) for the frames so
 * far, in their order, as long as all of it fits into max_bytes: gradient, sketch, predict and jacobian then
 * take them from there. *used: bytes kept. Does nothing for other models. */
NNP_API int nnp_trainer_keep(nnp_trainer* trainer, size_t max_bytes, size_t* used);

/* Rows of the Jacobian d prediction/dtheta of a frame of n atoms: out is [n_rows][n_parameters]. Row 3 i + c
 * is the force on atom i along axis c, 3 n the energy, 3 n + 1 .. 3 n + 6 the stress (Voigt). */
NNP_API int nnp_trainer_jacobian(nnp_trainer* trainer, const double* theta, int frame, int n_rows,
                                 const int* rows, float* out);

/* One step of an extended Kalman filter on m residuals (label - prediction) with the rows h [m][n] of the
 * Jacobian, all with the variance `noise`. Blocks of parameters edges [n_blocks+1] (0 .. n) are independent
 * of each other: covariance holds one [size][size] matrix after the other and is updated; step [n] is what to
 * add to the parameters. NNP_ERR_DIVERGED where the covariance has lost its positivity; it is then as it was.
 */
NNP_API int nnp_kalman_step(int n_blocks, const int* edges, float* covariance, int m, const float* h,
                            const double* residual, double noise, double* step, int n_threads);

/* y = Q x (transpose: Q^T x), q [n][n], x and y [n] and apart: what an optimiser in a rotated basis does each
 * step. */
NNP_API int nnp_rotate(int n, const float* q, const float* x, float* y, int transpose, int n_threads);

/* Predictions for the frames listed, one after the other; each may be NULL. Overwritten, not added to.
 * energies [n_batch], forces [sum n][3], stresses [n_batch][6] Voigt. */
NNP_API int nnp_trainer_predict(nnp_trainer* trainer, const double* theta, int n_batch, const int* frames,
                                double* energies, double* forces, double* stresses);

/* Network inputs G of every atom of one frame: out is [n][max n_fingerprints], rows padded with 0. */
NNP_API int nnp_trainer_fingerprints(nnp_trainer* trainer, const double* theta, int frame, double* out);

/* ---- molecular dynamics ------------------------------------------------------------------- */

typedef struct nnp_md nnp_md;

enum {
    NNP_MD_NVE = 0,      /* velocity Verlet */
    NNP_MD_LANGEVIN = 1, /* BAOAB: Leimkuhler and Matthews, J. Chem. Phys. 138, 174102 (2013) */
    NNP_MD_BUSSI = 2     /* stochastic velocity rescaling: Bussi et al., J. Chem. Phys. 126, 014101 (2007) */
};

typedef struct nnp_md_options {
    size_t size;            /* sizeof(nnp_md_options), set by nnp_md_default_options() */
    int ensemble;           /* NNP_MD_* */
    double dt;              /* fs */
    double temperature;     /* K, of the thermostat */
    double friction;        /* 1/fs (Langevin) */
    double tau;             /* fs (Bussi) */
    uint64_t seed;          /* random numbers depend on (seed, step, atom) alone */
    double f_max;           /* eV/A: a larger force stops the run */
    int64_t momentum_every; /* steps between removals of the total momentum; 0: never */
    int64_t virial_every;   /* steps whose virial is computed along with the forces; 0: when asked for */
} nnp_md_options;

NNP_API void nnp_md_default_options(nnp_md_options* options);

/* What moves. x, v are [n][3]; v NULL: at rest; mass [n] or NULL: the model's; cell, pbc as
 * nnp_compute_cell(). */
typedef struct nnp_md_system {
    int n;
    const int* species;
    const double* x;
    const double* v; /* A/fs */
    const double* mass;
    const double* cell;
    const int* pbc;
} nnp_md_system;

/* Everything a run continues from, to the last bit; arrays [n][3] in the caller's order, positions unwrapped.
 * nnp_md_get() skips NULL pointers. In nnp_md_set() x and v are needed, x_list may be NULL (x), f is ignored.
 */
typedef struct nnp_md_state {
    int64_t step;
    double heat;    /* eV that thermostat and momentum removal have put in */
    double cell[9]; /* read only as yet */
    double* x;
    double* v;
    double* x_list; /* positions that the neighbour list in use was built at */
    double* f;      /* eV/A */
} nnp_md_state;

/* eV, K, A^3, eV/A^3. Stress is Voigt xx yy zz yz xz xy, tension positive, kinetic part included;
 * stress and pressure are NaN where no volume is defined or they were not asked for. */
typedef struct nnp_thermo {
    int64_t step;
    double potential, kinetic, temperature;
    double conserved; /* potential + kinetic - heat */
    double volume, pressure, stress[6];
} nnp_thermo;

/* options: threads, precision, skin (0: 1 A). The nnp_md keeps the model alive. */
NNP_API int nnp_md_new(const nnp_model* model, const nnp_options* options, const nnp_md_system* system,
                       const nnp_md_options* md_options, nnp_md** out);
NNP_API void nnp_md_free(nnp_md* md);

/* Advance by n_steps, or until *stop (may be NULL) is not 0, looked at before each step.
 * NNP_ERR_DIVERGED: the state is that before the bad step; the text names step and atom. */
NNP_API int nnp_md_run(nnp_md* md, int64_t n_steps, const volatile int* stop);

NNP_API int nnp_md_get(nnp_md* md, nnp_md_state* state);
NNP_API int nnp_md_set(nnp_md* md, const nnp_md_state* state);
NNP_API int nnp_md_thermo(nnp_md* md, int want_stress, nnp_thermo* out);
NNP_API int nnp_md_set_options(nnp_md* md, const nnp_md_options* md_options);
NNP_API int nnp_md_rebuild(nnp_md* md); /* a new neighbour list now */
NNP_API int64_t nnp_md_n_builds(const nnp_md* md);

/* nnp_workspace_outside() of the last forces. */
NNP_API void nnp_md_outside(const nnp_md* md, int64_t* atoms, int64_t* functions);

/* Maxwell-Boltzmann velocities from the seed, no total momentum, exactly this kinetic temperature. */
NNP_API int nnp_md_draw_velocities(nnp_md* md, double temperature);
NNP_API int nnp_md_remove_momentum(nnp_md* md);

/* ---- pair distribution -------------------------------------------------------------------- */

typedef struct nnp_rdf nnp_rdf;

/* Ordered pairs (i, j), images included, with r < r_max in n_bins bins, by species of i and of j. */
NNP_API int nnp_rdf_new(int n_species, double r_max, int n_bins, nnp_rdf** out);
NNP_API void nnp_rdf_free(nnp_rdf* rdf);
NNP_API int nnp_rdf_add(nnp_rdf* rdf, int n, const int* species, const double* x, const double* cell,
                        const int* pbc, int n_threads);
enum { NNP_RDF_BLOCKS = 32 };

/* counts is [NNP_RDF_BLOCKS][n_species][n_species][n_bins]: frames in consecutive blocks of L, the smallest
 * power of 2 for which all fit, for error estimates; samples [1] frames added; inverse_volume [1] their sum
 * of 1/V, A^-3. */
NNP_API int nnp_rdf_get(const nnp_rdf* rdf, int64_t* counts, int64_t* samples, double* inverse_volume);
NNP_API int nnp_rdf_set(nnp_rdf* rdf, const int64_t* counts, int64_t samples, double inverse_volume);

/* Let nnp_md_run() add every frame whose step is a multiple of every and >= start. rdf NULL: stop that. */
NNP_API int nnp_md_sample_rdf(nnp_md* md, nnp_rdf* rdf, int64_t every, int64_t start);

/* ---- neighbour list ----------------------------------------------------------------------- */

typedef struct nnp_neighbor_list nnp_neighbor_list;

/* Full list of all pairs closer than cutoff; cell and pbc as in nnp_compute_cell(), any finite positions.
 * Both (i, j, S) and (j, i, -S) are in it; images of an atom itself are, the atom itself is not. */
NNP_API int nnp_neighbor_list_new(int n, const double* x, const double* cell, const int* pbc, double cutoff,
                                  int n_threads, nnp_neighbor_list** out);
NNP_API void nnp_neighbor_list_free(nnp_neighbor_list* list);
NNP_API int64_t nnp_neighbor_list_count(const nnp_neighbor_list* list); /* n_pairs */

/* In the caller's numbering, ascending i: i, j, d [n_pairs]; vectors [n_pairs][3] = x_j - x_i + shifts .
 * cell; shifts [n_pairs][3] lattice vectors. Each may be NULL. */
NNP_API int nnp_neighbor_list_pairs(const nnp_neighbor_list* list, int n_threads, int* i, int* j, double* d,
                                    double* vectors, int* shifts);

#ifdef __cplusplus
}
#endif

#endif /* NNPCORE_H */
