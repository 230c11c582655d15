/* pair_nnpcore.cpp - LAMMPS' pair_style nnpcore.
 *
 *   pair_style nnpcore [precision float64|float32] [threads N] [mass check|ignore] [list auto|lammps]
 *   pair_coeff * * GST.nnp Ge Sb Te            one element, or NULL, for each atom type
 *
 * Atoms and ghosts go to nnp_compute_ghosts(), which makes the neighbour list faster than LAMMPS does. Where
 * pairs may be missing from LAMMPS' list on purpose (hybrid styles, excluded pairs, bonded atoms), LAMMPS'
 * full list goes to nnp_compute(), and to nnp_compute_moved() until there is a new one. Forces on ghosts come
 * back to their owners by LAMMPS' reverse communication, therefore newton on. Virials are the core's, not
 * sums of x.f: W_j = -sum_i (x_j - x_i) (x) dE_i/dx_j, what acts on atom j credited to j, first index the
 * position's. That is what compute centroid/stress/atom and compute heat/flux want of a many-body potential:
 * Fan et al., Phys. Rev. B 92, 094301 (2015); Boone, Babaei and Wilmer, J. Chem. Theory Comput. 15, 5579
 * (2019).
 */
#include "pair_nnpcore.h"

#include <atom.h>
#include <comm.h>
#include <error.h>
#include <force.h>
#include <memory.h>
#include <neigh_list.h>
#include <neighbor.h>
#include <update.h>

#include <cmath>
#include <cstring>

using namespace LAMMPS_NS;

namespace
{
// CODATA 2018, as in nnpcore/data.py
constexpr double HARTREE = 27.211386245988;                             // eV
constexpr double BOHR = 0.529177210903;                                 // Angstrom
constexpr double KCAL_MOL = 4184.0 / (6.02214076e23 * 1.602176634e-19); // eV
constexpr double MASS_TOLERANCE = 0.03;                                 // isotopes of heavy elements pass
constexpr double MOST_SKIN = 1.0; // Angstrom: a longer list costs more each step than a new one now and then
constexpr bigint MAX_MESSAGE = 1 << 30;                    // bytes of one broadcast
constexpr int FULL_ORDER[9] = {0, 4, 8, 1, 2, 5, 3, 6, 7}; // xx yy zz xy xz yz yx zx zy of a row-major tensor
} // namespace

/* ---- life ---- */

PairNNPCore::PairNNPCore(LAMMPS* lmp)
    : Pair(lmp), model(nullptr), work(nullptr), precision(NNP_F64), threads(0), check_mass(1), want_lammps(0),
      own_list(0), run_checked(0), atoms_computed(-1), extrapolation_flag(0), length(1.0), energy(1.0),
      total_virial{}
{
    manybody_flag = 1;
    single_enable = 0;
    restartinfo =
        0; // the model stays in its file: pair_style and pair_coeff are given again after read_restart
    one_coeff = 1;
    no_virial_fdotr_compute = 1;
    centroidstressflag = CENTROID_AVAIL;
}

PairNNPCore::~PairNNPCore()
{
    nnp_workspace_free(work);
    nnp_model_free(model);
    if (copymode) return;
    if (allocated) {
        memory->destroy(setflag);
        memory->destroy(cutsq);
    }
}

/* Called by all ranks with the same text. */
void PairNNPCore::fail(const std::string& text) { error->all(FLERR, "pair_style nnpcore: " + text); }

/* ---- input ---- */

void PairNNPCore::settings(int narg, char** arg)
{
    precision = NNP_F64;
    threads = 0;
    check_mass = 1;
    want_lammps = 0;
    for (int k = 0; k < narg; k += 2) {
        if (k + 1 == narg) fail(std::string("option ") + arg[k] + " needs a value");
        option(arg[k], arg[k + 1]);
    }
}

void PairNNPCore::option(const std::string& key, const std::string& value)
{
    if (key == "precision") {
        if (value != "float64" && value != "float32") fail("precision is float64 or float32, not " + value);
        precision = value == "float32" ? NNP_F32 : NNP_F64;
    } else if (key == "threads") {
        char* end = nullptr;
        const long n = std::strtol(value.c_str(), &end, 10);
        if (*end || n < 1 || n > 4096) fail("threads is a number from 1 to 4096, not " + value);
        threads = (int)n;
    } else if (key == "mass") {
        if (value != "check" && value != "ignore") fail("mass is check or ignore, not " + value);
        check_mass = value == "check";
    } else if (key == "list") {
        if (value != "auto" && value != "lammps") fail("list is auto or lammps, not " + value);
        want_lammps = value == "lammps";
    } else
        fail("unknown option " + key + ", expected precision, threads, mass or list");
}

void PairNNPCore::coeff(int narg, char** arg)
{
    const int ntypes = atom->ntypes;
    if (!allocated) {
        allocated = 1;
        memory->create(setflag, ntypes + 1, ntypes + 1, "pair:setflag");
        memory->create(cutsq, ntypes + 1, ntypes + 1, "pair:cutsq");
    }
    set_units();
    if (narg < 3 || strcmp(arg[0], "*") != 0 || strcmp(arg[1], "*") != 0)
        fail("expected pair_coeff * * FILE.nnp and one element, or NULL, for each atom type");
    if (narg != 3 + ntypes)
        fail("pair_coeff needs one element, or NULL, for each of the " + std::to_string(ntypes) +
             " atom types, got " + std::to_string(narg - 3));
    read_model(arg[2]);
    map_species(narg - 3, arg + 3);
}

/* eV and Angstrom in LAMMPS' units. */
void PairNNPCore::set_units()
{
    const std::string style = update->unit_style;
    length = energy = 1.0;
    if (style == "real")
        energy = 1.0 / KCAL_MOL;
    else if (style == "electron") {
        length = 1.0 / BOHR;
        energy = 1.0 / HARTREE;
    } else if (style != "metal")
        fail("units " + style +
             " are not possible, the model is in eV and Angstrom: use units metal, real or electron");
}

namespace
{
/* Whole file into bytes; text of the error, or an empty string. */
std::string slurp(const std::string& name, std::vector<char>& bytes)
{
    const std::string found = utils::get_potential_file_path(name);
    FILE* const stream = found.empty() ? nullptr : fopen(found.c_str(), "rb");
    if (!stream) return "model file " + name + " cannot be opened (looked here and in LAMMPS_POTENTIALS)";
    char buffer[1 << 16];
    size_t n;
    while ((n = fread(buffer, 1, sizeof buffer, stream)) > 0) bytes.insert(bytes.end(), buffer, buffer + n);
    const bool good = !ferror(stream);
    fclose(stream);
    return good ? "" : "model file " + name + " cannot be read";
}
} // namespace

/* Rank 0 reads; all ranks get the bytes, or the same error. */
void PairNNPCore::read_model(const std::string& name)
{
    std::vector<char> bytes;
    std::string text;
    if (comm->me == 0) text = slurp(name, bytes);
    bigint sizes[2] = {(bigint)bytes.size(), (bigint)text.size()};
    MPI_Bcast(sizes, 2, MPI_LMP_BIGINT, 0, world);
    text.resize(sizes[1]);
    if (sizes[1]) {
        MPI_Bcast(&text[0], (int)sizes[1], MPI_CHAR, 0, world);
        fail(text);
    }
    bytes.resize(sizes[0]);
    for (bigint done = 0; done < sizes[0]; done += MAX_MESSAGE)
        MPI_Bcast(bytes.data() + done, (int)MIN(MAX_MESSAGE, sizes[0] - done), MPI_CHAR, 0, world);
    nnp_workspace_free(work);
    nnp_model_free(model);
    work = nullptr;
    model = nullptr;
    path = name;
    const int status = nnp_model_parse(bytes.data(), bytes.size(), &model);
    int worst;
    MPI_Allreduce(&status, &worst, 1, MPI_INT, MPI_MAX, world);
    if (worst) fail(name + ": " + (status ? nnp_last_error() : "another rank could not read it"));
}

void PairNNPCore::map_species(int n, char** names)
{
    const bool hybrid = utils::strmatch(force->pair_style, "^hybrid");
    int used = 0;
    species_of_type.assign(n + 1, -1);
    for (int t = 1; t <= n; ++t) {
        const std::string name = names[t - 1];
        if (name == "NULL") continue;
        std::string known;
        for (int s = 0; s < nnp_model_n_species(model); ++s) {
            known += std::string(s ? " " : "") + nnp_model_species(model, s);
            if (name == nnp_model_species(model, s)) species_of_type[t] = s;
        }
        if (species_of_type[t] < 0)
            fail("element " + name + " of atom type " + std::to_string(t) + " is not in " + path +
                 ", which has " + known);
        ++used;
    }
    if (!used) fail("pair_coeff names no element: all atom types are NULL");
    if (used < n && !hybrid && comm->me == 0)
        error->warning(FLERR, "pair_style nnpcore: atoms of the types given as NULL feel no force");
    for (int i = 1; i <= n; ++i)
        for (int j = 1; j <= n; ++j)
            setflag[i][j] = !hybrid || (species_of_type[i] >= 0 && species_of_type[j] >= 0);
}

/* ---- setup of a run ---- */

void PairNNPCore::init_style()
{
    set_units();
    if (!model) fail("pair_coeff * * FILE.nnp and the elements are missing");
    if (!force->newton_pair) fail("newton off is not possible, use newton on");
    if (atom->molecular != Atom::ATOMIC)
        for (int k = 1; k < 4; ++k)
            if (force->special_lj[k] == 0.0 && force->special_coul[k] == 0.0)
                fail("special_bonds leaves bonded neighbours out of the list, use special_bonds lj/coul 1 1 "
                     "1");
    if (check_mass) check_masses();
    choose_list();
    new_workspace();
    run_checked = 0;
    if (!own_list) neighbor->add_request(this, NeighConst::REQ_FULL);
}

/* Whether all pairs within the cutoff are wanted, so that the core may find them. */
void PairNNPCore::choose_list()
{
    const bool hybrid = utils::strmatch(force->pair_style, "^hybrid");
    const bool excluded = neighbor->nex_type || neighbor->nex_group || neighbor->nex_mol;
    own_list = !want_lammps && !hybrid && !excluded && atom->molecular == Atom::ATOMIC &&
               neighbor->includegroup == 0;
}

void PairNNPCore::check_masses()
{
    if (!atom->mass) return; // masses of single atoms
    for (int t = 1; t <= atom->ntypes; ++t) {
        const int s = species_of_type[t];
        if (s < 0 || !atom->mass_setflag[t]) continue;
        const double expected = nnp_model_mass(model, s);
        if (!(std::fabs(atom->mass[t] - expected) <= MASS_TOLERANCE * expected)) {
            char text[256];
            snprintf(text, sizeof text,
                     "mass of atom type %d is %g, but %s has %g in the model: check the order of elements in "
                     "pair_coeff, or allow it with pair_style nnpcore mass ignore",
                     t, atom->mass[t], nnp_model_species(model, s), expected);
            fail(text);
        }
    }
}

void PairNNPCore::new_workspace()
{
    nnp_options options;
    nnp_default_options(&options);
    options.precision = precision;
    options.n_threads = threads ? threads : comm->nthreads;
    options.skin = own_list ? MIN(neighbor->skin / length, MOST_SKIN) : 0.0;
    nnp_workspace_free(work);
    work = nullptr;
    atoms_computed = -1;
    if (nnp_workspace_new(model, &options, &work))
        error->one(FLERR, std::string("pair_style nnpcore: ") + nnp_last_error());
}

double PairNNPCore::init_one(int i, int j)
{
    if (!setflag[i][j])
        fail("pair_coeff is missing for atom types " + std::to_string(i) + " and " + std::to_string(j));
    return species_of_type[i] < 0 || species_of_type[j] < 0 ? 0.0 : nnp_model_cutoff(model) * length;
}

/* ---- a step ---- */

/* What is known only after all of LAMMPS is set up; all ranks find the same. */
void PairNNPCore::check_run()
{
    if (comm->get_comm_cutoff() < nnp_model_cutoff(model) * length)
        fail("the communication cutoff is shorter than the model's cutoff: remove or enlarge comm_modify "
             "cutoff");
    if (own_list && neighbor->exclude)
        fail("a fix leaves pairs out of the neighbour list: use pair_style nnpcore list lammps");
    run_checked = 1;
}

void PairNNPCore::compute(int eflag, int vflag)
{
    ev_init(eflag, vflag);
    const int n = atom->nlocal + atom->nghost;
    if (!run_checked) check_run();
    atoms_computed = -1;
    if (own_list ? atom->nlocal == 0 : list->inum == 0) return; // such a rank may have no list at all
    gather_atoms(n);
    double e = 0.0;
    memset(total_virial, 0, sizeof total_virial);
    const bool plain = energy == 1.0; // metal: added in place
    const bool virials = vflag_atom || cvflag_atom;
    if (!plain) forces.assign(3 * (size_t)n, 0.0);
    if (!plain && eflag_atom) energies.assign(n, 0.0);
    if (virials) per_atom.assign(9 * (size_t)n, 0.0);
    const nnp_results results = {eflag_global ? &e : nullptr,
                                 eflag_atom ? (plain ? eatom : energies.data()) : nullptr,
                                 n == 0  ? nullptr
                                 : plain ? atom->f[0]
                                         : forces.data(),
                                 vflag_global ? total_virial : nullptr, virials ? per_atom.data() : nullptr};
    const double* const x = n == 0 ? nullptr : length == 1.0 ? atom->x[0] : x_a.data();
    const int status = call_core(n, x, results);
    if (status) error->one(FLERR, "pair_style nnpcore: " + explain());
    atoms_computed = n;
    add_results(n, e);
}

/* neighbor->ago counts the steps since LAMMPS made its lists, or would have. */
int PairNNPCore::call_core(int n, const double* x, const nnp_results& results)
{
    if (own_list) {
        if (neighbor->ago == 0) nnp_workspace_renew(work); // the same bits after a restart
        return nnp_compute_ghosts(model, work, atom->nlocal, n, species.data(), x, &results);
    }
    const nnp_neighbors neighbors = {list->inum, list->ilist, list->numneigh, list->firstneigh, NEIGHMASK};
    int status = NNP_ERR_CHANGED;
    if (neighbor->ago > 0)
        status = nnp_compute_moved(model, work, n, species.data(), x, &neighbors, &results);
    if (status == NNP_ERR_CHANGED)
        status = nnp_compute(model, work, n, species.data(), x, &neighbors, &results);
    return status;
}

void PairNNPCore::gather_atoms(int n)
{
    species.resize(n);
    for (int i = 0; i < n; ++i) species[i] = species_of_type[atom->type[i]];
    if (length == 1.0) return;
    x_a.resize(3 * (size_t)n);
    for (int i = 0; i < n; ++i)
        for (int c = 0; c < 3; ++c) x_a[3 * (size_t)i + c] = atom->x[i][c] / length;
}

void PairNNPCore::add_results(int n, double e)
{
    if (eflag_global) eng_vdwl += energy * e;
    if (vflag_global)
        for (int c = 0; c < 6; ++c) virial[c] += energy * total_virial[c];
    if (vflag_atom || cvflag_atom) add_virials(n);
    if (energy == 1.0) return;
    if (eflag_atom)
        for (int i = 0; i < n; ++i) eatom[i] += energy * energies[i];
    const double scale = energy / length;
    for (int i = 0; i < n; ++i)
        for (int c = 0; c < 3; ++c) atom->f[i][c] += scale * forces[3 * (size_t)i + c];
}

/* The 6 components of stress/atom are those of the symmetric part. */
void PairNNPCore::add_virials(int n)
{
    for (int i = 0; i < n; ++i) {
        const double* const w = &per_atom[9 * (size_t)i];
        if (cvflag_atom)
            for (int c = 0; c < 9; ++c) cvatom[i][c] += energy * w[FULL_ORDER[c]];
        if (vflag_atom)
            for (int c = 0; c < 6; ++c)
                vatom[i][c] +=
                    energy * (c < 3 ? w[FULL_ORDER[c]] : 0.5 * (w[FULL_ORDER[c]] + w[FULL_ORDER[c + 3]]));
    }
}

/* The core counts atoms of this rank from 0: its text with IDs instead, where it is about positions. */
std::string PairNNPCore::explain() const
{
    const int n = atom->nlocal + atom->nghost;
    for (int i = 0; i < n; ++i)
        for (int c = 0; c < 3; ++c)
            if (!std::isfinite(atom->x[i][c]))
                return "position of atom ID " + id(i) + " is not a number" + when();
    int i, j;
    if (sscanf(nnp_last_error(), "atoms %d and %d are closer", &i, &j) == 2) return close_pair(i, j) + when();
    return std::string(nnp_last_error()) + " (counted on this rank)" + when();
}

std::string PairNNPCore::when() const { return ", on step " + std::to_string(update->ntimestep); }

std::string PairNNPCore::id(int i) const { return std::to_string(atom->tag_enable ? atom->tag[i] : i); }

std::string PairNNPCore::close_pair(int i, int j) const
{
    double d2 = 0.0;
    for (int c = 0; c < 3; ++c) d2 += std::pow(atom->x[j][c] - atom->x[i][c], 2);
    char distance[32];
    snprintf(distance, sizeof distance, "%g", std::sqrt(d2) / length);
    return "atoms with IDs " + id(i) + " and " + id(j) + " are " + distance + " Angstrom apart";
}

/* ---- fix pair: symmetry functions of each atom outside their training range ---- */

void* PairNNPCore::extract(const char* name, int& dim)
{
    dim = 0;
    return strcmp(name, "extrapolation_flag") == 0 ? &extrapolation_flag : nullptr;
}

void* PairNNPCore::extract_peratom(const char* name, int& ncol)
{
    if (strcmp(name, "extrapolation") != 0) return nullptr;
    ncol = 0;
    extrapolation.assign(MAX(atom->nlocal, 1), 0.0);
    if (atoms_computed < 0) return extrapolation.data();
    outside.resize(atoms_computed);
    if (nnp_workspace_outside_atoms(work, atoms_computed, outside.data()))
        error->one(FLERR, "pair_style nnpcore: " + path + ": " + nnp_last_error());
    for (int i = 0; i < atom->nlocal && i < atoms_computed; ++i) extrapolation[i] = outside[i];
    return extrapolation.data();
}

double PairNNPCore::memory_usage()
{
    const size_t reals = x_a.capacity() + forces.capacity() + energies.capacity() + per_atom.capacity() +
                         extrapolation.capacity();
    return Pair::memory_usage() +
           (double)(reals * sizeof(double) + (species.capacity() + outside.capacity()) * sizeof(int));
}
