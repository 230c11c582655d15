"""Conversion factors, CODATA 2018 unless said; inside nnpcore everything is eV, Å, amu, fs and K.

1 eV = 1.602176634e-19 J and 1 mol = 6.02214076e23 are exact. The C core has its own two, k_B and the amu, in
csrc/md_internal.h.
"""

HARTREE = 27.211386245988  # eV
BOHR = 0.529177210903  # Å
KCAL_MOL = 4184 / (6.02214076e23 * 1.602176634e-19)  # eV, thermochemical calorie
GPA = 160.2176634  # GPa of 1 eV/Å³
AMU_PER_A3 = 1.66053906660  # g/cm³ of 1 amu/Å³

KCAL_MOL_MW = 0.0433641153087705
"""eV of 1 kcal/mol in mW's epsilon, 6.189 kcal/mol: the factor of the LAMMPS runs whose numbers mW is compared with.

It comes from older constants and is 2.6e-7 (relative) larger than KCAL_MOL: 1e-7 eV a molecule of ice. All of mW's
energies go with it, so with KCAL_MOL nothing would agree with those runs to more than seven digits.
"""
