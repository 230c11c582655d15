/* bp_private.h - what bp.c and bp_rows.c share. */
#ifndef NNP_BP_PRIVATE_H
#define NNP_BP_PRIVATE_H

#include "model.h"

int nnp_bp_is_integer(double zeta); /* small enough for products, too */
int nnp_bp_same_window(const nnp_bp_window* a, const nnp_bp_window* b);

/* Places of rows in the channel that is being filled, made where they are missing; -1: out of memory. */
int nnp_bp_power_row(nnp_bp* bp, nnp_bp_channel* c, double lambda, int n);      /* p^n */
int nnp_bp_real_row(nnp_bp* bp, nnp_bp_channel* c, double lambda, double zeta); /* p^zeta */
int nnp_bp_window_row(nnp_bp* bp, nnp_bp_channel* c,
                      const nnp_bp_window* window); /* its derivative: the next */

/* Mark row k and what it is made of as wanted by sweeps (NNP_BP_FORWARD | ..). */
void nnp_bp_use_row(nnp_bp* bp, const nnp_bp_channel* c, int k, int use);

/* The channel's exponentials, if all of its narrow terms are Gaussians at the origin with one cutoff. */
void nnp_bp_make_chain(nnp_bp* bp, nnp_bp_channel* c);

#endif /* NNP_BP_PRIVATE_H */
