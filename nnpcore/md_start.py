"""Structures to start a simulation from: lattices, a disordered box, any file that ASE reads."""

from dataclasses import dataclass

import numpy as np

from .validate import InputError

AMU_A3 = 1.66053906660  # g/cm3 per amu/A^3, CODATA 2018

BASIS = {
    "sc": [[0, 0, 0]],
    "bcc": [[0, 0, 0], [0.5, 0.5, 0.5]],
    "fcc": [[0, 0, 0], [0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]],
}
BASIS["diamond"] = BASIS["fcc"] + [[x + 0.25, y + 0.25, z + 0.25] for x, y, z in BASIS["fcc"]]


@dataclass
class Structure:
    """symbols: list of n; positions [n, 3] Å; cell [3, 3] Å or None; pbc [3]; velocities [n, 3] Å/fs or None."""

    symbols: list
    positions: np.ndarray
    cell: np.ndarray | None
    pbc: np.ndarray
    velocities: np.ndarray | None = None
    masses: np.ndarray | None = None


def lattice(kind, cells, symbol, a=None, density=None, mass=None):
    """Cubic crystal of `cells` conventional cells along each axis ([3] or one number).

    a: lattice constant in Å; or density in g/cm3 with mass in amu. Raises InputError.
    """
    if kind not in BASIS:
        raise InputError(f"lattice: {kind!r} is not one of {', '.join(sorted(BASIS))}")
    cells = np.broadcast_to(cells, 3)
    basis = np.array(BASIS[kind], dtype=float)
    if a is None:
        a = (len(basis) * mass * AMU_A3 / density) ** (1 / 3)
    grid = np.stack(np.meshgrid(*map(np.arange, cells), indexing="ij"), axis=-1).reshape(-1, 1, 3)
    positions = ((grid + basis) * a).reshape(-1, 3)
    return Structure([symbol] * len(positions), positions, np.diag(cells * float(a)), np.ones(3, dtype=bool))


def random_box(n, symbol, density, mass, seed=0):
    """n atoms in a cubic box, disordered but with no two close: random sites of the smallest simple cubic grid that holds
    them, each displaced by up to a tenth of the grid constant. density in g/cm3, mass in amu."""
    rng = np.random.default_rng(seed)
    length = (n * mass * AMU_A3 / density) ** (1 / 3)
    m = int(np.ceil(n ** (1 / 3) - 1e-9))
    sites = rng.permutation(m**3)[:n]
    grid = np.stack(np.unravel_index(np.sort(sites), (m, m, m)), axis=-1)
    positions = (grid + 0.5 + rng.uniform(-0.1, 0.1, size=(n, 3))) * (length / m)
    return Structure([symbol] * n, positions, np.diag([length] * 3), np.ones(3, dtype=bool))


def displaced(structure, sigma, seed=0):
    """A copy with normal random displacements of standard deviation sigma (Å)."""
    noise = np.random.default_rng([seed, 1]).normal(scale=sigma, size=structure.positions.shape)
    return Structure(
        structure.symbols, structure.positions + noise, structure.cell, structure.pbc, structure.velocities, structure.masses
    )


def from_atoms(atoms):
    """Of an ase.Atoms: velocities from its momenta, if it has some."""
    from ase import units

    velocities = atoms.get_velocities() * units.fs if atoms.has("momenta") else None
    cell = np.array(atoms.cell) if abs(np.array(atoms.cell)).sum() > 0 else None
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
