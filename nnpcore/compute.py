"""Energies, forces and stresses of one configuration: what Model.compute() does."""

from dataclasses import dataclass

import numpy as np

from . import _core
from .validate import InputError, check_cell, check_pbc, check_positions, check_species

PRECISIONS = {"float64": 0, "float32": 1}


@dataclass
class Results:
    """Energies in eV, forces in eV/Å, stress in eV/Å³ (Voigt xx yy zz yz xz xy, tension positive), virials in eV.

    virial = -sum r_ij (x) dE/dr_ij = -V stress. virials: what acts on atom i is credited to it; they sum to virial.
    """

    energy: float
    energies: np.ndarray  # [n]
    forces: np.ndarray | None  # [n,3]
    stress: np.ndarray | None  # [6]; None without a cell
    virial: np.ndarray  # [3,3]
    virials: np.ndarray | None  # [n,3,3]


def precision_number(precision):
    """0 or 1 of "float64" or "float32". Raises InputError."""
    if precision not in PRECISIONS:
        raise InputError(f"precision: {precision!r} is not one of {', '.join(PRECISIONS)}")
    return PRECISIONS[precision]


def make_workspace(model, precision="float64", n_threads=0, skin=0.0, device="cpu"):
    """What computes a model's energies on a device: a _core.Workspace, or a gpu.model.Workspace, which has its
    interface. Raises InputError, NnpError."""
    number = precision_number(precision)
    if device == "cpu":
        return _core.Workspace(model.core, n_threads, number, skin)
    if device != "gpu":
        raise InputError(f'device: {device!r} is not one of "cpu", "gpu"')
    if not (skin >= 0 and np.isfinite(skin)):
        raise InputError(f"skin: {skin!r} Å, expected a finite number >= 0")
    from .gpu.model import Workspace

    return Workspace(model, precision, skin)


def core_error(error):
    """What the core refuses (NnpError) as the exception a user sees: InputError for arguments, atoms, cells."""
    return InputError(str(error)) if error.code in (1, 6, 7) else error


def compute(workspace, positions, species, cell=None, pbc=None, forces=True, virials=False):
    """Results of one configuration with a workspace (make_workspace); arguments as Model.compute()."""
    positions = check_positions(positions)
    species = check_species(species, workspace.model.species, n=len(positions))
    cell = check_cell(cell)
    pbc = check_pbc(pbc, cell)
    try:
        energy, energies, f, w, per_atom = workspace.compute(species, positions, cell, pbc, forces, virials)
    except _core.NnpError as error:
        raise core_error(error) from None
    virial = np.array([[w[0], w[3], w[4]], [w[3], w[1], w[5]], [w[4], w[5], w[2]]])
    volume = abs(np.linalg.det(cell)) if cell is not None else 0.0
    stress = -w[[0, 1, 2, 5, 4, 3]] / volume if volume > 0 else None
    return Results(energy, energies, f, stress, virial, None if per_atom is None else per_atom.reshape(-1, 3, 3))
