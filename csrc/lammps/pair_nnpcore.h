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
    double memory_usage() override;

  private:
    [[noreturn]] void fail(const std::string& text);
    void option(const std::string& key, const std::string& value);
    void set_units();
    void read_model(const std::string& name);
    void map_species(int n, char** names);
    void check_masses();
    void new_workspace();
    void gather_atoms(int n);
    void add_results(int n, double energy);
    void add_virials(int n);
    std::string explain(int status) const;
    std::string nearest_pair() const;
    std::string id(int i) const;
    std::string when() const;

    nnp_model* model;
    nnp_workspace* work;
    std::string path;   // as given to pair_coeff
    int precision;      // NNP_F64 or NNP_F32
    int threads;        // 0: as many as LAMMPS uses
    int check_mass;     // refuse masses that are not the model's
    int ghosts_checked; // since the last init_style()
    double length;      // Angstrom in LAMMPS' units
    double energy;      // eV in LAMMPS' units
    std::vector<int> species_of_type;
    std::vector<int> species;                            // [nlocal + nghost]
    std::vector<double> x_a, forces, energies, per_atom; // scratch, where units or layout differ
    double total_virial[6];
};

} // namespace LAMMPS_NS

#endif
