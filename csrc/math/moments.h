/* math/moments.h - symmetric tensors of unit vectors as monomials, for sums of cos^n over pairs.
 *
 *   sum_{jk} w_j w_k (u_j.u_k)^n = M_n : M_n,   M_n = sum_j w_j u_j (x) .. (x) u_j   (n factors)
 * M_n stands as its distinct components x^a y^b z^c, a + b + c = n, in the order of falling a, then b; in a
 * scalar product each counts n!/(a! b! c!) times. Since |u| = 1, M_{n-2} is a trace of M_n, so that the two
 * highest degrees hold all: NNP_BP_MONOMIALS = 25 numbers up to degree 4 (10 + 15), 9 up to 2, 4 up to 1.
 */
#ifndef NNP_MATH_MOMENTS_H
#define NNP_MATH_MOMENTS_H

#include "vecmath.h"

enum { NNP_BP_MONOMIALS = 25 };

/* Monomials that a degree (1, 2, 4) needs: the lower of the two highest degrees first. */
#define NNP_MONOMIALS(degree) ((degree) == 4 ? 25 : (degree) == 2 ? 9 : 4)

/* Monomials of the unit vector (x, y, z). */
NNP_FN void nnp_monomials(const int degree, nnp_vec x, nnp_vec y, nnp_vec z, nnp_vec* b)
{
    const nnp_vec xx = x * x, xy = x * y, xz = x * z, yy = y * y, yz = y * z, zz = z * z;
    if (degree == 1) {
        b[0] = nnp_splat(NNP_R(1.0));
        b[1] = x, b[2] = y, b[3] = z;
    } else if (degree == 2) {
        b[0] = x, b[1] = y, b[2] = z;
        b[3] = xx, b[4] = xy, b[5] = xz, b[6] = yy, b[7] = yz, b[8] = zz;
    } else {
        b[0] = xx * x, b[1] = xx * y, b[2] = xx * z, b[3] = xy * y, b[4] = xy * z;
        b[5] = xz * z, b[6] = yy * y, b[7] = yy * z, b[8] = yz * z, b[9] = zz * z;
        b[10] = xx * xx, b[11] = xx * xy, b[12] = xx * xz, b[13] = xx * yy, b[14] = xx * yz;
        b[15] = xx * zz, b[16] = xy * yy, b[17] = xy * yz, b[18] = xy * zz, b[19] = xz * zz;
        b[20] = yy * yy, b[21] = yy * yz, b[22] = yy * zz, b[23] = yz * zz, b[24] = zz * zz;
    }
}

/* Gradient by (x, y, z), taken as free numbers, of sum_b s_b b. */
NNP_FN void nnp_monomials_gradient(const int degree, nnp_vec x, nnp_vec y, nnp_vec z, const nnp_vec* s,
                                   nnp_vec* gx, nnp_vec* gy, nnp_vec* gz)
{
    const nnp_real two = NNP_R(2.0), three = NNP_R(3.0), four = NNP_R(4.0);
    if (degree == 1) {
        *gx = s[1], *gy = s[2], *gz = s[3];
    } else if (degree == 2) {
        *gx = s[0] + two * s[3] * x + s[4] * y + s[5] * z;
        *gy = s[1] + s[4] * x + two * s[6] * y + s[7] * z;
        *gz = s[2] + s[5] * x + s[7] * y + two * s[8] * z;
    } else {
        const nnp_vec xx = x * x, xy = x * y, xz = x * z, yy = y * y, yz = y * z, zz = z * z;
        nnp_vec a = three * s[0] * xx + two * (s[1] * xy + s[2] * xz) + s[3] * yy + s[4] * yz + s[5] * zz;
        nnp_vec b = s[1] * xx + two * s[3] * xy + s[4] * xz + three * s[6] * yy + two * s[7] * yz + s[8] * zz;
        nnp_vec c = s[2] * xx + s[4] * xy + two * s[5] * xz + s[7] * yy + two * s[8] * yz + three * s[9] * zz;
        a += x * (four * s[10] * xx + three * (s[11] * xy + s[12] * xz) +
                  two * (s[13] * yy + s[14] * yz + s[15] * zz)) +
             y * (s[16] * yy + s[17] * yz + s[18] * zz) + s[19] * zz * z;
        b += x * (s[11] * xx + two * s[13] * xy + s[14] * xz + three * s[16] * yy + two * s[17] * yz +
                  s[18] * zz) +
             y * (four * s[20] * yy + three * s[21] * yz + two * s[22] * zz) + s[23] * zz * z;
        c += x * (s[12] * xx + s[14] * xy + two * s[15] * xz + s[17] * yy + two * s[18] * yz +
                  three * s[19] * zz) +
             y * (s[21] * yy + two * s[22] * yz + three * s[23] * zz) + four * s[24] * zz * z;
        *gx = a, *gy = b, *gz = c;
    }
}

/* Traces: the components of M_n that sum to each component of M_{n-2}, by place in M_n's own list. */
NNP_TABLE_OF unsigned char nnp_trace2[1][3] = {{0, 3, 5}};
NNP_TABLE_OF unsigned char nnp_trace3[3][3] = {{0, 3, 5}, {1, 6, 8}, {2, 7, 9}};
NNP_TABLE_OF unsigned char nnp_trace4[6][3] = {{0, 3, 5},   {1, 6, 8},   {2, 7, 9},
                                               {3, 10, 12}, {4, 11, 13}, {5, 12, 14}};
/* n!/(a! b! c!) */
NNP_TABLE_OF unsigned char nnp_count1[3] = {1, 1, 1};
NNP_TABLE_OF unsigned char nnp_count2[6] = {1, 2, 2, 1, 2, 1};
NNP_TABLE_OF unsigned char nnp_count3[10] = {1, 3, 3, 3, 6, 3, 1, 3, 3, 1};
NNP_TABLE_OF unsigned char nnp_count4[15] = {1, 4, 4, 6, 12, 6, 4, 12, 12, 4, 1, 4, 6, 4, 1};

/* M_0 .. M_degree, one after the other (1 3 6 10 15 numbers), of the two highest. */
NNP_FN void nnp_moments_unfold(const int degree, const nnp_vec* m, nnp_vec* all)
{
    if (degree == 1) {
        for (int i = 0; i < 4; ++i) all[i] = m[i];
        return;
    }
    if (degree == 2) {
        for (int i = 0; i < 9; ++i) all[1 + i] = m[i];
    } else {
        for (int i = 0; i < 25; ++i) all[10 + i] = m[i];
        for (int i = 0; i < 6; ++i)
            all[4 + i] = m[10 + nnp_trace4[i][0]] + m[10 + nnp_trace4[i][1]] + m[10 + nnp_trace4[i][2]];
        for (int i = 0; i < 3; ++i)
            all[1 + i] = m[nnp_trace3[i][0]] + m[nnp_trace3[i][1]] + m[nnp_trace3[i][2]];
    }
    all[0] = all[4 + nnp_trace2[0][0]] + all[4 + nnp_trace2[0][1]] + all[4 + nnp_trace2[0][2]];
}

/* The adjoint: from dE/dM_0 .. dE/dM_degree (overwritten) to that of the two highest, added to m. */
NNP_FN void nnp_moments_fold(const int degree, nnp_vec* all, nnp_vec* m)
{
    if (degree == 1) {
        for (int i = 0; i < 4; ++i) m[i] += all[i];
        return;
    }
    for (int q = 0; q < 3; ++q) all[4 + nnp_trace2[0][q]] += all[0];
    if (degree == 2) {
        for (int i = 0; i < 9; ++i) m[i] += all[1 + i];
        return;
    }
    for (int i = 0; i < 25; ++i) m[i] += all[10 + i];
    for (int i = 0; i < 6; ++i)
        for (int q = 0; q < 3; ++q) m[10 + nnp_trace4[i][q]] += all[4 + i];
    for (int i = 0; i < 3; ++i)
        for (int q = 0; q < 3; ++q) m[nnp_trace3[i][q]] += all[1 + i];
}

/* Scalar products M_n : N_n of unfolded moments, n = 0 .. degree */
NNP_FN void nnp_moments_product(const int degree, const nnp_vec* m, const nnp_vec* n, nnp_vec* s)
{
    s[0] = m[0] * n[0];
    for (int k = 1; k <= degree; ++k) s[k] = nnp_splat(0);
    for (int i = 0; i < 3; ++i) s[1] += m[1 + i] * n[1 + i];
    for (int i = 0; i < 6 && degree > 1; ++i) s[2] += (nnp_real)nnp_count2[i] * m[4 + i] * n[4 + i];
    for (int i = 0; i < 10 && degree > 2; ++i) s[3] += (nnp_real)nnp_count3[i] * m[10 + i] * n[10 + i];
    for (int i = 0; i < 15 && degree > 2; ++i) s[4] += (nnp_real)nnp_count4[i] * m[20 + i] * n[20 + i];
}

/* g = sum_n u[n] dM_n : N_n/dM_n, unfolded */
NNP_FN void nnp_moments_slope(const int degree, const nnp_vec* u, const nnp_vec* n, nnp_vec* g)
{
    g[0] = u[0] * n[0];
    for (int i = 0; i < 3; ++i) g[1 + i] = (nnp_real)nnp_count1[i] * u[1] * n[1 + i];
    for (int i = 0; i < 6 && degree > 1; ++i) g[4 + i] = (nnp_real)nnp_count2[i] * u[2] * n[4 + i];
    for (int i = 0; i < 10 && degree > 2; ++i) g[10 + i] = (nnp_real)nnp_count3[i] * u[3] * n[10 + i];
    for (int i = 0; i < 15 && degree > 2; ++i) g[20 + i] = (nnp_real)nnp_count4[i] * u[4] * n[20 + i];
}

#endif /* NNP_MATH_MOMENTS_H */
