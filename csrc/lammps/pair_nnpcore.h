/* pair_nnpcore.h - LAMMPS' pair_style nnpcore: a host of the core through its public interface, nnpcore.h. */
#ifndef LMP_PAIR_NNPCORE_H
#define LMP_PAIR_NNPCORE_H

#include <pair.h>

#include "nnpcore.h"

namespace LAMMPS_NS
{

class PairNNPCore : public Pair
{
  public:
    explicit PairNNPCore(class LAMMPS*);
    ~PairNNPCore() override;
    void settings(int, char**) override;
    void coeff(int, char**) override;
    void init_style() override;
    double init_one(int, int) override;
    void compute(int, int) override;
    void* extract(const char*, int&) override;
    void* extract_peratom(const char*, int&) override;
    double memory_usage() override;

  private:
    [[noreturn]] void fail(const std::string& text);
    void option(const std::string& key, const std::string& value);
    void set_units();
    void read_model(const std::string& name);
    void map_species(int n, char** names);
    void check_masses();
    void choose_list();
    void new_workspace();
    void check_run();
    void gather_atoms(int n);
    int call_core(int n, const double* x, const nnp_results& results);
    void add_results(int n, double energy);
    void add_virials(int n);
    std::string explain() const;
    std::string close_pair(int i, int j) const;
    std::string id(int i) const;
    std::string when() const;

    nnp_model* model;
    nnp_workspace* work;
    std::string path;   // as given to pair_coeff
    int precision;      // NNP_F64 or NNP_F32
    int threads;        // 0: as many as LAMMPS uses
    int check_mass;     // refuse masses that are not the model's
    int want_lammps;    // LAMMPS' list, whatever the system
    int own_list;       // the core makes the neighbour list, LAMMPS none
    int run_checked;    // since the last init_style()
    int atoms_computed; // nlocal + nghost of the workspace's last evaluation; -1: none
    int extrapolation_flag;
    double length; // Angstrom in LAMMPS' units
    double energy; // eV in LAMMPS' units
    std::vector<int> species_of_type;
    std::vector<int> species;                            // [nlocal + nghost]
    std::vector<int> outside;                            // [nlocal + nghost]
    std::vector<double> extrapolation;                   // [nlocal] the same for fix pair
    std::vector<double> x_a, forces, energies, per_atom; // scratch, where units or layout differ
    double total_virial[6];
};

} // namespace LAMMPS_NS

#endif
