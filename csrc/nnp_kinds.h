/* nnp_kinds.h - numbers of the kinds of functions, the same on the CPU and on the GPU. */
#ifndef NNP_KINDS_H
#define NNP_KINDS_H

enum { NNP_CUTOFF_COSINE = 0, NNP_CUTOFF_SMOOTH = 1 };
enum {
    NNP_ACT_LINEAR = 0,
    NNP_ACT_TANH = 1,
    NNP_ACT_LOGISTIC = 2, /* 1/(1 + e^-z) */
    NNP_ACT_SOFTPLUS = 3, /* ln(1 + e^z) */
    NNP_ACT_GAUSSIAN = 4, /* e^(-z^2/2) */
    NNP_ACT_COS = 5,      /* cos z */
    NNP_ACT_RELU = 6,     /* max(z, 0) */
    NNP_ACT_EXP = 7,      /* e^-z */
    NNP_ACT_HARMONIC = 8, /* z^2 */
    NNP_N_ACTIVATIONS = 9
};

#endif /* NNP_KINDS_H */
