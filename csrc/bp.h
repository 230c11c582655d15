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
    int chained; /* whether a channel's chain has it */
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

/* What a row of a channel's triplets holds: powers of p = (1 + lambda cos)/2 and windows of the angle. */
enum {
    NNP_BP_BLOCK,   /* p^1, 2, 3, 4, 7, 8, 15 or 16: all of a lambda at once */
    NNP_BP_PRODUCT, /* row a times row b */
    NNP_BP_REAL,    /* row a to the power zeta */
    NNP_BP_WINDOW,  /* compact function of the angle; the next row is its derivative by cos */
    NNP_BP_SLOPE
};

enum { NNP_BP_FORWARD = 1, NNP_BP_BACKWARD = 2, NNP_BP_RATES = 4 };

typedef struct nnp_bp_row {
    int kind, a, b;
    int use;             /* NNP_BP_FORWARD | ...: which sweep wants it */
    double lambda, zeta; /* zeta: the row's exponent */
    nnp_bp_window window;
} nnp_bp_row;

typedef struct nnp_bp_radial {
    int input, term; /* term: place in the list nnp_bp.own of the partner species */
    double scale;    /* 1, or Z of the partner */
} nnp_bp_radial;

enum { NNP_BP_MAX_DEGREE = 6, NNP_BP_MAX_CHAIN = 24 };

/* Rows of the powers 1, 2, 3, 4, 7, 8, 15, 16 of one lambda; -1: none. */
typedef struct nnp_bp_block {
    double lambda;
    int row[8];
} nnp_bp_block;

typedef struct nnp_bp_member { /* a function of a group */
    int input;
    int row, slope_row;                 /* A; its derivative by cos is slope times slope_row, -1: times 1 */
    double scale, slope;                /* weight; times 2 for powers of p */
    int degree;                         /* 1 .. 6: A is a polynomial of this degree in cos, else 0 */
    double poly[NNP_BP_MAX_DEGREE + 1]; /* its coefficients, scale included */
} nnp_bp_member;

/* Moments sum_j R_j u_j (x) .. (x) u_j over the near neighbours of a species, up to a degree. */
typedef struct nnp_bp_set {
    int term;
    int degree; /* 1, 2, 4 */
} nnp_bp_set;

typedef struct nnp_bp_group {
    int term;   /* index in nnp_bp.term */
    int narrow; /* place in the channel's list of terms of r_jk, -1: wide */
    int first, n;
    int n_poly;       /* members that are polynomials come first */
    int degree;       /* largest of them */
    int set_t, set_u; /* moment groups: in nnp_bp.set */
} nnp_bp_group;

/* exp(-eta S) as a function of S or a product of exponentials before it: of the latest and itself, the latest
 * and number b, numbers a and b */
enum { NNP_BP_EXPONENTIAL, NNP_BP_SQUARE, NNP_BP_TIMES, NNP_BP_BOTH };

typedef struct nnp_bp_link {
    int kind, a, b;
    int keep;   /* whether it is an a or b later */
    int narrow; /* place of the term whose weight it gives in nnp_bp.narrow of the channel, -1: of none */
    double eta;
} nnp_bp_link;

typedef struct nnp_bp_channel {
    int first_group, n_groups; /* summed over triplets; behind them those summed by moments */
    int n_moments;
    int first_row, n_rows;
    int first_block, n_blocks;
    int first_narrow, n_narrow; /* in nnp_bp.narrow: terms of r_jk */
    int has_extra;              /* some member is no polynomial */
    /* all terms of narrow functions are exp(-eta r^2) fc(r) with one fc: their exponentials, in order */
    int n_chain; /* 0: they are not */
    int chain_cut;
    nnp_bp_link chain[NNP_BP_MAX_CHAIN];
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
    int *first_radial, *first_own, *first_side, *first_set; /* [S + 1] */
    nnp_bp_radial* radial;
    int* own;                /* terms of the radial functions of a partner species */
    int* side;               /* terms of its angular functions */
    nnp_bp_channel* channel; /* [S(S+1)/2] */
    nnp_bp_group* group;
    nnp_bp_member* member;
    nnp_bp_set* set; /* of the partner species, one after the other */
    nnp_bp_row* row;
    size_t n_row, cap_row;
    nnp_bp_block* block; /* room for one a function and channel */
    int n_block;
    int* narrow;
    int max_own;                                       /* most of any partner species */
    int max_rows, max_narrow, max_groups, max_members; /* of any channel */
} nnp_bp;

#endif /* NNP_BP_H */
