/* md_thermo.c - energies, temperature, stress of the state at hand. */
#include "md_internal.h"
#include <math.h>

static double volume(const nnp_md* md)
{
    const double* a = md->cell;
    return fabs(a[0] * (a[4] * a[8] - a[5] * a[7]) - a[1] * (a[3] * a[8] - a[5] * a[6]) +
                a[2] * (a[3] * a[7] - a[4] * a[6]));
}

/* out is [6] Voigt xx yy zz yz xz xy of sum m v (x) v, summed in blocks of rows. */
static void kinetic_tensor(const nnp_md* md, double* out)
{
    static const int row[6] = {0, 1, 2, 1, 0, 0}, column[6] = {0, 1, 2, 2, 2, 1};
    for (int k = 0; k < 6; k++) out[k] = 0;
    for (int first = 0; first < md->n; first += NNP_MD_BLOCK) {
        int end = first + NNP_MD_BLOCK < md->n ? first + NNP_MD_BLOCK : md->n;
        double sum[6] = {0};
        for (int i = first; i < end; i++) {
            const double* v = md->v + 3 * (size_t)i;
            for (int k = 0; k < 6; k++) sum[k] += md->row_mass[i] * v[row[k]] * v[column[k]];
        }
        for (int k = 0; k < 6; k++) out[k] += sum[k];
    }
}

/* The forces stay as they are: only the virial is computed, at the positions the list holds. */
static int need_virial(nnp_md* md)
{
    if (md->virial_valid) return NNP_OK;
    nnp_results r = {0};
    r.virial = md->virial;
    int status = nnp_work_evaluate(md->work, &r, NULL);
    if (!status) md->virial_valid = 1;
    return status;
}

/* sigma = -(W + sum m v (x) v)/V, p = -tr sigma/3. */
static int stress(nnp_md* md, nnp_thermo* out)
{
    static const int voigt[6] = {0, 1, 2, 5, 4, 3}; /* from xx yy zz xy xz yz */
    double kinetic[6];
    int status = need_virial(md);
    if (status) return status;
    kinetic_tensor(md, kinetic);
    for (int k = 0; k < 6; k++) out->stress[k] = -(md->virial[voigt[k]] + kinetic[k]) / out->volume;
    out->pressure = -(out->stress[0] + out->stress[1] + out->stress[2]) / 3;
    return NNP_OK;
}

int nnp_md_thermo(nnp_md* md, int want_stress, nnp_thermo* out)
{
    if (!md || !out) return nnp_fail(NNP_ERR_ARGUMENT, "nnp_md_thermo: NULL argument");
    int status = nnp_md_ready(md);
    if (status) return status;
    double degrees = nnp_md_degrees(md);
    out->step = md->step;
    out->potential = md->potential;
    out->kinetic = nnp_md_kinetic(md);
    out->temperature = degrees > 0 ? 2 * out->kinetic / (degrees * NNP_KB) : 0;
    out->conserved = out->potential + out->kinetic - md->heat;
    out->volume = md->has_cell ? volume(md) : 0;
    out->pressure = NAN;
    for (int k = 0; k < 6; k++) out->stress[k] = NAN;
    return want_stress && out->volume > 0 ? stress(md, out) : NNP_OK;
}
