"""Labelled structures: reading through ASE, units, checks, splits and reference energies.

Inside nnpcore everything is eV and Angstrom; stress is Voigt (xx yy zz yz xz xy), eV/A^3, tension positive.
"""

import hashlib
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from .units import BOHR, HARTREE, KCAL_MOL
from .validate import InputError

# name: (eV per energy unit, A per length unit); forces are energy/length, stresses energy/length^3
UNITS = {
    "eV/A": (1.0, 1.0),
    "Hartree/Bohr": (HARTREE, BOHR),
    "Hartree/A": (HARTREE, 1.0),
    "Ry/Bohr": (HARTREE / 2, BOHR),
    "kcal/mol": (KCAL_MOL, 1.0),
    "kJ/mol/nm": (KCAL_MOL / 4.184, 10.0),
}
VOIGT = ((0, 1, 2, 1, 0, 0), (0, 1, 2, 2, 2, 1))


class DataError(InputError):
    """Unusable data: the message names file, frame and array."""


@dataclass(frozen=True)
class Frame:
    """One structure and its labels; checked when made.

    species [n] element symbols; positions [n][3] A; cell [3][3] A, rows, or None; pbc [3];
    energy eV or None; forces [n][3] eV/A or None; stress [6] Voigt eV/A^3 or None (always None unless periodic
    along all three axes); weight multiplies the frame's loss; source ("train.xyz@12") names it in messages.
    """

    species: tuple
    positions: np.ndarray
    cell: np.ndarray | None = None
    pbc: tuple = (False, False, False)
    energy: float | None = None
    forces: np.ndarray | None = None
    stress: np.ndarray | None = None
    weight: float = 1.0
    config_type: str = ""
    source: str = "frame"

    def __post_init__(self):
        set_ = object.__setattr__
        set_(self, "species", tuple(str(s) for s in self.species))
        set_(self, "pbc", tuple(bool(p) for p in np.broadcast_to(self.pbc, 3)))
        n = len(self.species)
        set_(self, "positions", self._array("positions", (n, 3)))
        if self.cell is not None:
            set_(self, "cell", self._array("cell", (3, 3)))
        elif any(self.pbc):
            raise DataError(f"{self.source}: periodic, but without a cell")
        if self.energy is not None:
            set_(self, "energy", float(self._array("energy", ())))
        if self.forces is not None:
            set_(self, "forces", self._array("forces", (n, 3)))
        if self.stress is not None:
            set_(self, "stress", self._array("stress", (6,)) if all(self.pbc) else None)
        if not (np.isfinite(self.weight) and self.weight >= 0):
            raise DataError(f"{self.source}: weight is {self.weight}, expected a number >= 0")

    def _array(self, name, shape):
        try:
            value = np.ascontiguousarray(getattr(self, name), dtype=np.float64).reshape(np.shape(getattr(self, name)))
        except (TypeError, ValueError):
            raise DataError(f"{self.source}: {name} is not an array of numbers of shape {shape}") from None
        if value.shape != shape:
            raise DataError(f"{self.source}: {name} has shape {value.shape}, expected {shape}")
        if not np.isfinite(value).all():
            where = np.argwhere(~np.isfinite(value))[0] if shape else ""
            raise DataError(
                f"{self.source}: {name} is not finite{f' at index {tuple(map(int, where))}' if shape else ''}"
            )
        return value

    def __len__(self):
        return len(self.species)

    @property
    def volume(self):
        """A^3; None without a cell."""
        return None if self.cell is None else float(abs(np.linalg.det(self.cell)))


def read_frames(path, units=None):
    """Frames of a file that ASE reads (.xyz and .extxyz, also .xz .gz .bz2, best) or an input.data: a list of Frame.

    Labels are looked for as REF_energy, REF_forces, REF_stress, REF_virial, then in the calculator ASE attaches, then
    as energy, forces (or force), stress (or virial: stress = -virial/V). Stress may be 3x3, 9 numbers or Voigt 6.
    units: a key of UNITS, for every number in the file; eV/A by default, Hartree/Bohr for input.data (input_data.py).
    Raises DataError naming file and frame.
    """
    from .input_data import is_input_data, read_input_data

    if is_input_data(path):
        return read_input_data(path, units)
    units = units or "eV/A"
    if units not in UNITS:
        raise DataError(f"units {units!r} not known, expected one of {', '.join(UNITS)}")
    try:
        import ase.io
    except ImportError:
        raise DataError(f"{path}: reading structures needs ASE: pip install nnpcore[ase]") from None
    path = Path(path)
    if not path.is_file():
        raise DataError(f"{path}: no such file")
    suffixes = [s for s in path.suffixes if s not in (".xz", ".gz", ".bz2")]
    form = "extxyz" if suffixes and suffixes[-1] in (".xyz", ".extxyz") else None
    frames = []
    try:
        for atoms in ase.io.iread(str(path), index=":", format=form):
            frames.append(from_atoms(atoms, source=f"{path.name}@{len(frames)}", units=units))
    except DataError:
        raise
    except Exception as error:  # ASE's readers raise whatever the damage makes them raise
        text = " ".join(str(error).split()) or type(error).__name__
        raise DataError(f"{path}: cannot be read at frame {len(frames)} (from 0): {text}") from error
    if not frames:
        raise DataError(f"{path}: no frames in it")
    return frames


def from_atoms(atoms, source="atoms", units="eV/A"):
    """Frame from an ase.Atoms, its labels taken as read_frames() says."""
    energy_unit, length_unit = UNITS[units]
    results = dict(getattr(atoms.calc, "results", None) or {})
    pbc = tuple(bool(p) for p in atoms.pbc)
    cell = None
    if np.any(atoms.cell.array):
        # a missing vector along an open axis is harmless: any independent vector serves
        cell = atoms.cell.complete().array * length_unit
        for axis in range(3):
            if pbc[axis] and not np.any(atoms.cell.array[axis]):
                raise DataError(f"{source}: periodic along axis {axis}, where the cell vector is zero")
    energy = _first(atoms.info.get("REF_energy"), results.get("energy"), atoms.info.get("energy"))
    forces = _first(
        atoms.arrays.get("REF_forces"), results.get("forces"), atoms.arrays.get("forces"), atoms.arrays.get("force")
    )
    stress = _stress(atoms, results, source) if all(pbc) else None
    return Frame(
        species=atoms.get_chemical_symbols(),
        positions=atoms.positions * length_unit,
        cell=cell,
        pbc=pbc,
        energy=None if energy is None else _scaled(energy, energy_unit, source, "energy"),
        forces=None if forces is None else _scaled(forces, energy_unit / length_unit, source, "forces"),
        stress=None if stress is None else stress * (energy_unit / length_unit**3),
        config_type=str(atoms.info.get("config_type", "")),
        source=source,
    )


def _first(*values):
    return next((v for v in values if v is not None), None)


def _scaled(value, factor, source, name):
    try:
        return np.asarray(value, dtype=np.float64) * factor
    except (TypeError, ValueError):
        raise DataError(f"{source}: {name} is not numeric: {value!r}") from None


def _stress(atoms, results, source):
    """Voigt stress in the file's own units; a virial W becomes -W/V."""
    info = atoms.info
    for name, value, sign in (
        ("REF_stress", info.get("REF_stress"), 1.0),
        ("REF_virial", info.get("REF_virial"), -1.0 / atoms.get_volume()),
        ("stress", _first(results.get("stress"), info.get("stress")), 1.0),
        ("virial", _first(results.get("virial"), info.get("virial"), info.get("virials")), -1.0 / atoms.get_volume()),
    ):
        if value is not None:
            return sign * voigt(_scaled(value, 1.0, source, name), f"{source}: {name}")
    return None


def voigt(value, name="stress"):
    """[6] Voigt (xx yy zz yz xz xy) from [3][3], [9] or [6]; DataError for another shape or an asymmetric tensor."""
    value = np.asarray(value, dtype=np.float64)
    if value.size == 6:
        return value.reshape(6)
    if value.size != 9:
        raise DataError(f"{name} has {value.size} numbers, expected 3x3, 9 or 6 (Voigt)")
    matrix = value.reshape(3, 3)
    if not np.allclose(matrix, matrix.T, rtol=0, atol=0.02 * np.abs(matrix).max() + 1e-12, equal_nan=True):
        raise DataError(f"{name} is not symmetric")
    return (0.5 * (matrix + matrix.T))[VOIGT]


def names(frames, limit=8):
    """'a.xyz@3, a.xyz@7 and 5 more' for messages."""
    shown = ", ".join(f.source for f in frames[:limit])
    return shown if len(frames) <= limit else f"{shown} and {len(frames) - limit} more"


def require_labels(frames, energy=True, forces=True, stress=False):
    """DataError naming the frames that lack a wanted label; stress is wanted of fully periodic frames only."""
    for name, wanted in (("energy", energy), ("forces", forces), ("stress", stress)):
        if not wanted:
            continue
        lacking = [f for f in frames if getattr(f, name) is None and (name != "stress" or all(f.pbc))]
        if lacking:
            raise DataError(
                f"{len(lacking)} of {len(frames)} frames have no {name} label: {names(lacking)} "
                f'(their weight in [loss] is not 0; data.missing = "skip" trains on the labels there are)'
            )
        if name == "stress" and frames and not any(all(f.pbc) for f in frames):
            raise DataError("loss.stress is not 0, but no frame is periodic along all three axes")


def species_of(frames):
    """Element symbols in the frames, by atomic number where ASE is there, else alphabetically."""
    found = {s for f in frames for s in f.species}
    try:
        from ase.data import atomic_numbers
    except ImportError:
        atomic_numbers = {}
    return sorted(found, key=lambda s: (atomic_numbers.get(s, 0), s))


def split(frames, fraction, seed):
    """(training frames, validation frames): a random part of the frames, in their order, at least one each.

    The choice depends on seed and the number of frames only (Philox, keyed by the seed).
    """
    if not 0 < fraction < 1:
        raise DataError(f"validation fraction is {fraction}, expected a number between 0 and 1")
    if len(frames) < 2:
        raise DataError(f"{len(frames)} frame cannot be split into training and validation")
    n_valid = min(max(1, round(fraction * len(frames))), len(frames) - 1)
    order = np.random.Generator(np.random.Philox(key=[seed, 0])).permutation(len(frames))
    chosen = set(order[:n_valid].tolist())
    return [f for i, f in enumerate(frames) if i not in chosen], [f for i, f in enumerate(frames) if i in chosen]


def composition(frames, species):
    """[n_frames][n_species] counts of atoms."""
    rows = [Counter(f.species) for f in frames]
    return np.array([[row[s] for s in species] for row in rows], dtype=np.float64).reshape(len(rows), len(species))


def reference_energies(frames, species, how="fit"):
    """E0, eV a species: {symbol: value}.

    how: a table {symbol: eV}; "isolated", the energies of one-atom frames; "none", zero; or "fit", least squares
    of the energy per atom over the compositions x: E/N = c + x . d. A direction of composition is followed only where
    it explains energy differences at least twice as large as what the fit leaves over, and d has minimum norm, so
    that one or nearly one composition gives one constant for all species instead of huge opposite numbers.
    """
    if isinstance(how, dict):
        missing = [s for s in species if s not in how]
        if missing:
            raise DataError(f"data.e0 has no value for {', '.join(missing)}")
        return {s: float(how[s]) for s in species}
    if how == "none":
        return {s: 0.0 for s in species}
    labelled = [f for f in frames if f.energy is not None and len(f)]
    if how == "isolated":
        return _isolated(labelled, species)
    if how != "fit":
        raise DataError(f'data.e0 is {how!r}, expected "fit", "isolated", "none" or a table of eV by species')
    if not labelled:
        return {s: 0.0 for s in species}
    counts = composition(labelled, species)
    size = counts.sum(axis=1)
    energy = np.array([f.energy for f in labelled]) / size
    x = counts / size[:, None]
    centre, mean = x.mean(axis=0), energy.mean()
    u, s, vt = np.linalg.svd(x - centre, full_matrices=False)
    s_min = 1e-6 * np.sqrt(len(labelled))
    amplitude = np.where(s > s_min, u.T @ (energy - mean), 0.0)
    unexplained = ((energy - mean) ** 2).sum() - (amplitude**2).sum()
    kept = (s > s_min) & (amplitude**2 >= 4.0 * max(unexplained, 0.0))
    d = vt.T @ np.where(kept, amplitude / np.where(kept, s, 1.0), 0.0)
    return {name: float(mean + value) for name, value in zip(species, d - centre @ d, strict=True)}


def _isolated(frames, species):
    found = {s: [f.energy for f in frames if len(f) == 1 and f.species[0] == s] for s in species}
    missing = [s for s in species if not found[s]]
    if missing:
        raise DataError(f'data.e0 = "isolated", but no labelled one-atom frame of {", ".join(missing)}')
    for s, values in found.items():
        if max(values) - min(values) > 1e-6 * max(1.0, abs(values[0])):
            raise DataError(
                f'data.e0 = "isolated": the one-atom frames of {s} differ, {min(values)} to {max(values)} eV'
            )
    return {s: float(values[0]) for s, values in found.items()}


def weighted(frames, weights):
    """The frames with weight set by config_type: weights {config_type: number}; DataError for a type not there."""
    unknown = sorted(set(weights) - {f.config_type for f in frames})
    if unknown:
        raise DataError(f"data.weights names config_type {', '.join(map(repr, unknown))}, which no frame has")
    return [replace(f, weight=f.weight * weights.get(f.config_type, 1.0)) for f in frames]


def fingerprint(frames):
    """Hex SHA-256 of structures and labels, in order: tells one data set from another."""
    digest = hashlib.sha256()
    for f in frames:
        digest.update(" ".join(f.species).encode() + bytes(f.pbc))
        for value in (f.positions, f.cell, f.energy, f.forces, f.stress, f.weight):
            digest.update(b"-" if value is None else np.asarray(value, dtype="<f8").tobytes())
    return digest.hexdigest()


def indices(frame, species):
    """[n] int32 positions of the frame's elements in species; DataError for one that is not there."""
    table = {s: i for i, s in enumerate(species)}
    try:
        return np.array([table[s] for s in frame.species], dtype=np.int32)
    except KeyError as error:
        raise DataError(f"{frame.source}: species {error.args[0]} is not in the model ({' '.join(species)})") from None
