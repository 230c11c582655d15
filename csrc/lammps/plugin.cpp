/* plugin.cpp - entry point of nnpcoreplugin.so: registers pair_style nnpcore with a LAMMPS that has PLUGIN.
 *
 * The classes of LAMMPS have no stable layout: what was compiled for one version must not run in another.
 * Only C functions are called before that is known. A plugin of the wrong version registers too, and says so
 * when the style is used; input that does not use it runs undisturbed.
 */
#include "pair_nnpcore.h"

#include <cstdio>

#ifndef NNPCORE_LAMMPS_VERSION
#error                                                                                                       \
    "compile with -DNNPCORE_LAMMPS_VERSION='\"22 Jul 2025\"' -DNNPCORE_LAMMPS_NUMBER=20250722: nnpcore lammps build"
#endif

using namespace LAMMPS_NS;

namespace
{

// the interface between LAMMPS and a plugin: what lammpsplugin.h of its PLUGIN package describes
struct registration {
    const char* version;
    const char* style;
    const char* name;
    const char* info;
    const char* author;
    Pair* (*creator)(LAMMPS*);
    void* handle;
};
typedef void (*register_function)(registration*, void*);

char why[400]; // the plugin does not fit this LAMMPS; empty: it does

} // namespace

// LAMMPS' C interface; weak, as an older one or a static program may lack some
extern "C" {
__attribute__((weak)) int lammps_version(void* handle);
__attribute__((weak)) int lammps_extract_setting(void* handle, const char* name);
__attribute__((weak)) void lammps_error(void* handle, int kind, const char* text);
}

namespace
{

void compare(void* lmp)
{
    const int running = lammps_version ? lammps_version(lmp) : NNPCORE_LAMMPS_NUMBER;
    const int tagint_bytes =
        lammps_extract_setting ? lammps_extract_setting(lmp, "tagint") : (int)sizeof(tagint);
    if (running != NNPCORE_LAMMPS_NUMBER)
        snprintf(why, sizeof why,
                 "pair_style nnpcore: nnpcoreplugin.so was built for LAMMPS %d and this is LAMMPS %d: run "
                 "nnpcore lammps build",
                 NNPCORE_LAMMPS_NUMBER, running);
    else if (tagint_bytes != (int)sizeof(tagint))
        snprintf(why, sizeof why,
                 "pair_style nnpcore: nnpcoreplugin.so was built for atom IDs of %d bytes and this LAMMPS "
                 "has %d: run "
                 "nnpcore lammps build",
                 (int)sizeof(tagint), tagint_bytes);
    else
        why[0] = '\0';
}

Pair* create(LAMMPS* lmp)
{
    if (!why[0]) return new PairNNPCore(lmp);
    const int error_all = 2; // LMP_ERROR_ALL: on all ranks at once
    if (lammps_error) lammps_error(lmp, error_all, why);
    int rank = 0;
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    if (rank == 0) fprintf(stderr, "ERROR: %s\n", why);
    MPI_Abort(MPI_COMM_WORLD, 1);
    return nullptr;
}

} // namespace

extern "C" __attribute__((visibility("default"))) void lammpsplugin_init(void* lmp, void* handle,
                                                                         void* function)
{
    compare(lmp);
    registration plugin = {NNPCORE_LAMMPS_VERSION,
                           "pair",
                           "nnpcore",
                           "neural-network potentials from .nnp files",
                           "nnpcore",
                           create,
                           handle};
    ((register_function)function)(&plugin, lmp);
}
