"""Where a simulation starts: a lattice, a disordered box, a frame of a file that ASE reads."""

from dataclasses import dataclass

import numpy as np

from . import structures
from .validate import InputError

LATTICES = {"sc": 1, "bcc": 2, "fcc": 4, "diamond": 8}
"""Functions of structures.py and their atoms per cubic cell."""


@dataclass
class Structure:
    """symbols: list of n; positions [n, 3] Å; cell [3, 3] Å or None; pbc [3]; velocities [n, 3] Å/fs or None;
    masses [n] amu, or None for the model's."""

    symbols: list
    positions: np.ndarray
    cell: np.ndarray | None
    pbc: np.ndarray
    velocities: np.ndarray | None = None
    masses: np.ndarray | None = None


def lattice(kind, cells, symbol, a=None, density=None, mass=None):
    """Cubic crystal of `cells` conventional cells along each axis (3 or one number).

    a: lattice constant in Å; or density in g/cm3 with mass in amu. Raises InputError.
    """
    if kind not in LATTICES:
        raise InputError(f"lattice: {kind!r} is not one of {', '.join(LATTICES)}")
    if a is None:
        a = structures.density_to_volume(density, LATTICES[kind] * mass) ** (1 / 3)
    positions, cell = getattr(structures, kind)(float(a), cells)
    return Structure([symbol] * len(positions), positions, cell, np.ones(3, dtype=bool))


def disordered_box(n, symbol, density, mass, seed=0):
    """n atoms in a cubic box, disordered, no two closer than 0.8 grid constants: random sites of the smallest simple
    cubic grid that holds them, each displaced by up to a tenth of the grid constant along each axis. O(n), for any
    density (structures.random_liquid is more random, and O(n^2)). density in g/cm3, mass in amu."""
    rng = np.random.default_rng(seed)
    length = structures.density_to_volume(density, n * mass) ** (1 / 3)
    m = int(np.ceil(n ** (1 / 3) - 1e-9))
    grid = np.stack(np.unravel_index(np.sort(rng.permutation(m**3)[:n]), (m, m, m)), axis=-1)
    positions = (grid + 0.5 + rng.uniform(-0.1, 0.1, size=(n, 3))) * (length / m)
    return Structure([symbol] * n, positions, np.diag([length] * 3), np.ones(3, dtype=bool))


def displace(structure, sigma, seed=0):
    """Add normal random displacements of standard deviation sigma (Å), in place; returns the structure."""
    structure.positions = structure.positions + np.random.default_rng([seed, 1]).normal(
        scale=sigma, size=structure.positions.shape
    )
    return structure


def from_atoms(atoms):
    """Of an ase.Atoms: velocities from its momenta, masses and cell, if it has them."""
    from ase import units

    velocities = atoms.get_velocities() * units.fs if atoms.has("momenta") else None
    cell = np.array(atoms.cell) if np.any(atoms.cell) else None
    masses = atoms.get_masses() if atoms.has("masses") else None
    return Structure(atoms.get_chemical_symbols(), atoms.get_positions(), cell, np.array(atoms.pbc), velocities, masses)


def read(path, index=-1, repeat=(1, 1, 1)):
    """One frame of a file. Raises InputError naming the file."""
    try:
        import ase.io
    except ImportError:
        raise InputError(f"{path}: reading structures needs ASE: pip install nnpcore[ase]") from None
    try:
        atoms = ase.io.read(str(path), index=index)
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except Exception as error:  # ASE's readers raise whatever the damage makes them raise
        text = " ".join(str(error).split()) or type(error).__name__
        raise InputError(f"{path}: frame {index} cannot be read: {text}") from error
    if tuple(repeat) != (1, 1, 1):
        atoms = atoms.repeat(tuple(repeat))
    return from_atoms(atoms)
