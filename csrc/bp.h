/* bp.h - Behler-Parrinello symmetry functions of a model as the kernels use them: sorted into groups.
 *
 * Every angular function is a sum over triplets of A(cos theta) R(r_j) R(r_k) [R(r_jk)] with one radial
 * factor R (a term): exp(-eta (r - rs)^2) fc(r), or a compact polynomial. Functions of a pair of partner
 * species (channel) that share R make a group; functions of a channel that share A share an angle. Formulas:
 * math/bp.h.
 */
#ifndef NNP_BP_H
#define NNP_BP_H

enum { NNP_BP_MAX_FUNCTIONS = 4096 }; /* of a centre species */

/* One function as the model file gives it; lengths in Angstrom. */
typedef struct nnp_bp_spec {
    int type;            /* n2p2's number: 2 3 9 12 13 20 .. 25 */
    int partner[2];      /* species t <= u; second -1 for radial ones, both -1 for weighted ones */
    double rc;           /* exactly 0 beyond */
    int cutoff;          /* 0 .. 8 */
    double alpha;        /* inner radius / rc */
    double eta, rs;      /* A^-2, A */
    double lambda, zeta; /* 3 9 13 */
    double low;          /* 20 .. 25: 0 below (above: rc) */
    double left, right;  /* 21 22 24 25: radians */
    int core;            /* 20 .. 25: 4 .. 8, the cutoff function of the same shape */
    int asymmetric;
} nnp_bp_spec;

typedef struct nnp_bp_cut {
    int kind;
    double rc, inner;
} nnp_bp_cut;

typedef struct nnp_bp_window { /* compact function of |x - centre| / width */
    int core, asymmetric;
    double centre, width;
} nnp_bp_window;

typedef struct nnp_bp_term {
    int compact;
    int cut; /* its cutoff function: index in nnp_bp.cut */
    double eta, rs;
    nnp_bp_window window;
} nnp_bp_term;

/* How q = p^(zeta - 1), p = (1 + lambda cos)/2, follows from the angle before: see math/bp.h. */
enum {
    NNP_BP_ONE,    /* zeta = 1 */
    NNP_BP_NEXT,   /* one more than before */
    NNP_BP_DOUBLE, /* twice that before */
    NNP_BP_QUAD,   /* four times that before */
    NNP_BP_SQUARE, /* integer, by repeated squaring */
    NNP_BP_REAL,   /* any zeta */
    NNP_BP_WINDOW  /* compact function of the angle */
};

typedef struct nnp_bp_angle {
    int step;
    double lambda, zeta;
    nnp_bp_window window; /* of theta */
} nnp_bp_angle;

typedef struct nnp_bp_radial {
    int input, term; /* term: place in the list nnp_bp.own of the partner species */
    double scale;    /* 1, or Z of the partner */
} nnp_bp_radial;

typedef struct nnp_bp_member { /* a function of a group */
    int input, angle;          /* angle: place in the channel's list */
    double scale;              /* weight; times 2 for powers of p */
    double slope;              /* dA/dcos = slope q (powers), 1 (windows) */
} nnp_bp_member;

typedef struct nnp_bp_group {
    int term;   /* index in nnp_bp.term */
    int narrow; /* place in the channel's list of terms of r_jk, -1: wide */
    int first, n;
} nnp_bp_group;

typedef struct nnp_bp_channel {
    int first_group, n_groups;
    int first_angle, n_angles;
    int first_narrow, n_narrow; /* in nnp_bp.narrow: terms of r_jk */
} nnp_bp_channel;

/* One centre species. Offsets [S + 1] delimit what belongs to a partner species. */
typedef struct nnp_bp {
    int n_functions;
    nnp_bp_spec* spec;         /* [n_functions] in the order of the network's inputs */
    double *centre, *factor;   /* [n_functions] input = (G - centre) factor */
    double *minimum, *maximum; /* [n_functions] training range, or NULL */
    int n_cuts, n_terms;
    nnp_bp_cut* cut;
    nnp_bp_term* term;
    int *first_radial, *first_own, *first_side; /* [S + 1] */
    nnp_bp_radial* radial;
    int* own;                /* terms of the radial functions of a partner species */
    int* side;               /* terms of its angular functions */
    nnp_bp_channel* channel; /* [S(S+1)/2] */
    nnp_bp_group* group;
    nnp_bp_member* member;
    nnp_bp_angle* angle;
    int* narrow;
    int max_radial, max_own; /* most of any partner species */
    int max_angles, max_narrow;
} nnp_bp;

#endif /* NNP_BP_H */
