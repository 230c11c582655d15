/* force.cu - forces, virials and sums from the pair gradients.
 *
 * The kernels of a potential leave g_p = dE_i/dr_ij for every entry p = (i -> j) of the list, r_ij = x_j -
 * x_i, as gradient [3][entries], 0 beyond the cutoff. The opposite entry q of p is reverse[p]. Every sum here
 * has a fixed order, in double: results have the same bits each time, and action equals reaction.
 */
#include "common.cuh"

struct nnp_gradient {
    double x, y, z;
};

NNP_FN nnp_gradient nnp_load_gradient(const nnp_real* gradient, int64_t entries, int64_t p)
{
    nnp_gradient g;
    g.x = (double)gradient[p];
    g.y = (double)gradient[entries + p];
    g.z = (double)gradient[2 * entries + p];
    return g;
}

/* force[n][3]: F_i = -dE/dx_i = sum_p (g_p - g_reverse(p)). */
NNP_KERNEL __launch_bounds__(128)
    nnp_forces(int n, int64_t entries, const int64_t* NNP_RESTRICT slice_first, const int* NNP_RESTRICT count,
               const int* NNP_RESTRICT reverse, const nnp_real* NNP_RESTRICT gradient,
               double* NNP_RESTRICT force)
{
    const int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= n) return;
    const int64_t first = nnp_first_entry(slice_first, i);
    double fx = 0, fy = 0, fz = 0;
    for (int k = 0; k < count[i]; ++k) {
        const int64_t p = first + (int64_t)NNP_SLICE * k;
        const int q = reverse[p];
        nnp_gradient g = nnp_load_gradient(gradient, entries, p);
        if (q >= 0) {
            const nnp_gradient h = nnp_load_gradient(gradient, entries, q);
            g.x -= h.x;
            g.y -= h.y;
            g.z -= h.z;
        }
        fx += g.x;
        fy += g.y;
        fz += g.z;
    }
    force[3 * (int64_t)i] = fx;
    force[3 * (int64_t)i + 1] = fy;
    force[3 * (int64_t)i + 2] = fz;
}

/* virial [6][n], xx yy zz xy xz yz: -sum_j r_ij (x) g_ij of each row's own energy. */
NNP_KERNEL __launch_bounds__(128)
    nnp_row_virials(int n, int64_t entries, const double* NNP_RESTRICT x,
                    const int64_t* NNP_RESTRICT slice_first, const int* NNP_RESTRICT count,
                    const int* NNP_RESTRICT index, const nnp_real* NNP_RESTRICT gradient,
                    double* NNP_RESTRICT virial)
{
    const int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= n) return;
    const nnp_atom a = nnp_load_atom(x, i);
    const int64_t first = nnp_first_entry(slice_first, i);
    double v[6] = {0, 0, 0, 0, 0, 0};
    for (int k = 0; k < count[i]; ++k) {
        const int64_t p = first + (int64_t)NNP_SLICE * k;
        const nnp_gradient g = nnp_load_gradient(gradient, entries, p);
        const nnp_atom b = nnp_load_atom(x, index[p]);
        const double rx = b.x - a.x, ry = b.y - a.y, rz = b.z - a.z;
        v[0] -= rx * g.x;
        v[1] -= ry * g.y;
        v[2] -= rz * g.z;
        v[3] -= rx * g.y;
        v[4] -= rx * g.z;
        v[5] -= ry * g.z;
    }
    for (int c = 0; c < 6; ++c) virial[(int64_t)c * n + i] = v[c];
}

/* virials [n][9]: -r_ij (x) g_ij of all i, credited to j, the atom that it acts on. */
NNP_KERNEL __launch_bounds__(128)
    nnp_atom_virials(int n, int64_t entries, const double* NNP_RESTRICT x,
                     const int64_t* NNP_RESTRICT slice_first, const int* NNP_RESTRICT count,
                     const int* NNP_RESTRICT index, const int* NNP_RESTRICT reverse,
                     const nnp_real* NNP_RESTRICT gradient, double* NNP_RESTRICT virials)
{
    const int j = blockIdx.x * blockDim.x + threadIdx.x;
    if (j >= n) return;
    const nnp_atom a = nnp_load_atom(x, j);
    const int64_t first = nnp_first_entry(slice_first, j);
    double w[9] = {0, 0, 0, 0, 0, 0, 0, 0, 0};
    for (int k = 0; k < count[j]; ++k) {
        const int64_t p = first + (int64_t)NNP_SLICE * k;
        if (reverse[p] < 0) continue;
        const nnp_gradient g = nnp_load_gradient(gradient, entries, reverse[p]);
        const nnp_atom b = nnp_load_atom(x, index[p]);
        const double r[3] = {b.x - a.x, b.y - a.y, b.z - a.z}; /* of the opposite entry: -r */
        for (int c = 0; c < 3; ++c) {
            w[3 * c] += r[c] * g.x;
            w[3 * c + 1] += r[c] * g.y;
            w[3 * c + 2] += r[c] * g.z;
        }
    }
    for (int c = 0; c < 9; ++c) virials[9 * (int64_t)j + c] = w[c];
}

/* Sums of values [n_columns][n] over chunks of rows, one block a chunk: part [n_columns][n_chunks]. Called
 * with the chunks of parts in place of rows it ends at one number a structure. */
NNP_KERNEL __launch_bounds__(256)
    nnp_sums(int64_t n, int n_chunks, int n_columns, const int* NNP_RESTRICT chunk_first,
             const double* NNP_RESTRICT values, double* NNP_RESTRICT part)
{
    __shared__ double shared[32];
    const int chunk = blockIdx.x;
    for (int c = 0; c < n_columns; ++c) {
        double sum = 0;
        for (int i = chunk_first[chunk] + threadIdx.x; i < chunk_first[chunk + 1]; i += blockDim.x)
            sum += values[c * n + i];
        sum = nnp_block_sum(sum, shared);
        if (threadIdx.x == 0) part[(int64_t)c * n_chunks + chunk] = sum;
    }
}

/* energy[i] = that of the network and the baselines + E0 of its species. */
NNP_KERNEL __launch_bounds__(256) nnp_add_e0(int n, const double* NNP_RESTRICT x,
                                             const double* NNP_RESTRICT e0, double* NNP_RESTRICT energy)
{
    const int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n) energy[i] += e0[nnp_load_atom(x, i).species];
}
