/* host.c - the smallest host of nnpcore: energy and forces of two atoms, and how an error is told.
 *
 *   cc $(python -m nnpcore.library --cflags) host.c $(python -m nnpcore.library --libs) -o host
 *   ./host model.nnp
 */
#include <nnpcore.h>
#include <stdio.h>

static int fail(void)
{
    fprintf(stderr, "host: %s\n", nnp_last_error());
    return 1;
}

int main(int argc, char** argv)
{
    const double x[2][3] = {{0, 0, 0}, {0, 0, 2.8}}; /* Angstrom */
    const int species[2] = {0, 0};                   /* the model's first */
    double energy = 0, forces[2][3] = {{0, 0, 0}};   /* results are added to what stands here */
    nnp_results results = {NULL, NULL, NULL, NULL, NULL};
    nnp_model* model = NULL;
    nnp_workspace* work = NULL;

    if (argc != 2) return fprintf(stderr, "usage: host model.nnp\n"), 2;
    if (nnp_model_load(argv[1], &model)) return fail();
    if (nnp_workspace_new(model, NULL, &work)) return fail();
    results.energy = &energy;
    results.forces = forces[0];
    if (nnp_compute_cell(model, work, 2, species, x[0], NULL, NULL, &results))
        return fail(); /* no cell: isolated */
    printf("%s-%s at 2.8 A: %.12g eV, %.12g eV/A\n", nnp_model_species(model, 0), nnp_model_species(model, 0),
           energy, forces[1][2]);
    nnp_workspace_free(work);
    nnp_model_free(model);
    return 0;
}
