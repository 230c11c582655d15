/* model.h - making an nnp_model: for modelfile.c and importers. */
#ifndef NNP_MODEL_H
#define NNP_MODEL_H

#include "nnp_internal.h"

enum { NNP_MAX_ELEMENT = 118 };

/* 1..118 for "H".."Og", 0 for anything else. */
int nnp_atomic_number(const char* symbol);

/* A model with zeroed arrays for n_species (>= 1) of the method; NULL if out of memory. */
nnp_model* nnp_model_new(int method, int n_species);

/* From n2, n3, and the hidden widths: n_fingerprints, width[0] and [n_layers], all offsets, n_parameters. */
void nnp_model_layout(nnp_model* model);

/* Sort the symmetry functions of every species into groups; sets cutoff and near. */
int nnp_bp_build(nnp_model* model);
void nnp_bp_clear(nnp_bp* bp);
int nnp_bp_is_radial(int type);

/* Bound on |alpha|, |a|, |b|, |beta| in a file: exp(300) = 2e130, so that two factors stay finite in float64.
 */
enum { NNP_MAX_EXPONENT = 300 };

#endif /* NNP_MODEL_H */
