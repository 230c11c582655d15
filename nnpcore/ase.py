"""ASE calculator: `atoms.calc = nnpcore.ase.Calculator("gst.nnp")`. Needs ASE (pip install 'nnpcore[ase]')."""

import copy
import operator
from pathlib import Path

import numpy as np

try:
    from ase.calculators.calculator import Calculator as _Base
    from ase.calculators.calculator import all_changes
except ModuleNotFoundError:
    raise ModuleNotFoundError("nnpcore.ase needs ASE: pip install 'nnpcore[ase]'", name="ase") from None

from . import _core
from .compute import core_error, make_workspace
from .model import Model
from .validate import InputError, check_cell, check_numbers, check_pbc

TO_VOIGT = [0, 1, 2, 5, 4, 3]  # xx yy zz yz xz xy of the core's xx yy zz xy xz yz
VOIGT, TRANSPOSED = [0, 4, 8, 5, 2, 1], [0, 4, 8, 7, 6, 3]  # of a row-major tensor


class Calculator(_Base):
    """A model as an ASE calculator; eV, Å and eV/Å³ are ASE's own units.

    Properties: energy and free_energy (the same), energies [n], forces [n,3], stress [6] and stresses [n,6] (Voigt xx
    yy zz yz xz xy, tension positive). One pass gives all of them, stresses where they are asked for. energies sum to
    energy; stresses sum to stress, as in ASE's own potentials: atom i has -W_i/V, symmetrised, with W_i the virial of
    what acts on i (the convention of LAMMPS' centroid/stress/atom). stress and stresses need a cell with a volume.

    Any cell and any mix of periodic axes. Copies (pickle, copy.deepcopy, multiprocessing) carry the model. Calculators
    in different threads may share one Model; a calculator is for one thread at a time.
    """

    implemented_properties = ["energy", "free_energy", "energies", "forces", "stress", "stresses"]  # noqa: RUF012
    default_parameters = {"precision": "float64", "n_threads": 0, "skin": 1.0, "device": "cpu"}  # noqa: RUF012
    discard_results_on_any_change = True

    def __init__(self, model, *, atoms=None, **parameters):
        """model: a .nnp file's path or an nnpcore.Model.

        precision: "float64" or "float32". n_threads: 0 for all processors (as OMP_NUM_THREADS says). skin (Å): the
        neighbour list serves until an atom has moved half of it or cell or species changed; 0 makes a new one for
        every call. device: "cpu" or "gpu" (needs CuPy). All four can be changed with set(). Raises InputError,
        ModelFileError, OSError.
        """
        self.model = model if isinstance(model, Model) else Model.load(_path(model))
        self._check_names(parameters)
        self._spares, self._fixed, self._computed_with = [], None, None
        self._atoms = self._last = None
        super().__init__(atoms=atoms, **parameters)
        if not self._spares:
            self._spares.append(self._workspace())

    @classmethod
    def from_n2p2(cls, directory, units=None, **parameters):
        """Of an n2p2 potential's folder (input.nn, scaling.data, weights.*.data) and its units (n2p2.load);
        parameters as Calculator()."""
        from .n2p2 import load

        return cls(load(directory, units), **parameters)

    def _get_name(self):
        return "nnpcore"

    @property
    def name(self):
        return "nnpcore"

    def set(self, **parameters):
        """Change precision, n_threads, skin or device; returns what changed. Raises InputError."""
        self._check_names(parameters)
        before = dict(self.parameters)
        changed = super().set(**parameters)
        if changed:
            try:
                self._spares = [self._workspace()]
            except Exception:
                self.parameters.update(before)
                raise
        return changed

    def _check_names(self, parameters):
        unknown = sorted(parameters.keys() - self.default_parameters.keys())
        if unknown:
            raise InputError(f"{unknown[0]}: not a parameter; there are {', '.join(self.default_parameters)}")

    def _workspace(self):
        p = self.parameters
        try:
            n_threads, skin = operator.index(p["n_threads"]), float(p["skin"])
        except (TypeError, ValueError):
            raise InputError(f"n_threads, skin: expected numbers, got {p['n_threads']!r}, {p['skin']!r}") from None
        try:
            return make_workspace(self.model, p["precision"], n_threads, skin, p["device"])
        except _core.NnpError as error:
            raise InputError(str(error)) from None

    @property
    def atoms(self):
        """The atoms of the last calculation, a copy made when asked for; None before the first."""
        if self._atoms is None and self._last is not None:
            self._atoms = self._last.atoms()
        return self._atoms

    @atoms.setter
    def atoms(self, atoms):
        self._atoms, self._last = atoms, None

    def check_state(self, atoms, tol=None):
        """What changed since the last calculation, among the four things that matter; tol is not used: any bit counts.

        ASE's own comparison of all arrays takes a tenth of the time that a thousand atoms' forces do.
        """
        if self._last is None or self._computed_with is not self.model.core:
            return list(all_changes)
        names = ("positions", "numbers", "cell", "pbc")
        return [name for name, a, b in zip(names, _bits(atoms), self._last.bits, strict=True) if a != b]

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
        """Fill self.results. Raises InputError (species the model lacks, singular cell, atoms on top of each other),
        NnpError (energies or forces that are not finite)."""
        atoms = self.atoms if atoms is None else atoms
        if atoms is None:
            raise InputError("atoms: none given, and none known from before")
        core, fixed, bits = self.model.core, self._fixed, _bits(atoms)
        self.results = {}  # an error below leaves none
        if fixed is None or fixed.core is not core or fixed.bits != bits[1:]:
            fixed = self._fixed = _Fixed(atoms, bits[1:], self.model)
        self._atoms, self._last = None, _Last(atoms, bits, fixed.template)
        try:  # taken out while in use: two threads that share a calculator get two workspaces
            work = self._spares.pop()
        except IndexError:
            work = None
        if work is None or work.model is not core:
            work = self._workspace()
        positions = np.ascontiguousarray(atoms.positions, dtype=np.float64)
        try:
            energy, energies, forces, virial, virials = work.compute(
                fixed.species, positions, fixed.cell, fixed.pbc, True, "stresses" in (properties or ())
            )
        except _core.NnpError as error:
            raise core_error(error) from None
        finally:
            self._spares[:] = [work]
        results = {"energy": energy, "free_energy": energy, "energies": energies, "forces": forces}
        if fixed.volume > 0:
            results["stress"] = virial.take(TO_VOIGT) / -fixed.volume
            if virials is not None:
                results["stresses"] = -0.5 / fixed.volume * (virials[:, VOIGT] + virials[:, TRANSPOSED])
        self.results, self._computed_with = results, core

    def set_masses(self, atoms):
        """Give atoms the masses (amu) of the model, which mW's water molecules, filed under "O", need for dynamics."""
        atoms.set_masses(self.model.mass[check_numbers(atoms.numbers, self.model.species)])

    def __getstate__(self):
        return {**self.__dict__, "_spares": [], "_fixed": None, "_computed_with": None}


def _path(model):
    try:
        return Path(model)
    except TypeError:
        raise InputError(f"model: expected a file's path or an nnpcore.Model, got {type(model).__name__}") from None


def _bits(atoms):
    """Positions, numbers, cell, pbc as bytes: compared ten times as fast as arrays of a thousand atoms."""
    return tuple(a.tobytes() for a in (atoms.positions, atoms.numbers, atoms.cell.array, atoms.pbc))


class _Fixed:
    """What stays from step to step: species indices [n], cell [3,3] or None, pbc [3], volume (Å³; 0: none)."""

    def __init__(self, atoms, bits, model):
        self.bits, self.core, self.template = bits, model.core, atoms.copy()
        self.species = check_numbers(atoms.numbers, model.species)
        self.pbc = check_pbc(atoms.pbc, atoms.cell)
        self.cell = check_cell(atoms.cell.complete().array) if self.pbc.any() else None
        self.volume = atoms.cell.volume if atoms.cell.rank == 3 else 0.0


class _Last:
    """Atoms as they were: their arrays. ASE's copy() takes five times as long, and is seldom wanted."""

    def __init__(self, atoms, bits, template):
        self.bits, self.template = bits, template
        known = ("positions", "numbers")  # in bits
        self.arrays = {name: array.copy() for name, array in atoms.arrays.items() if name not in known}
        self.info, self.constraints = dict(atoms.info), list(atoms.constraints)

    def atoms(self):
        atoms = self.template.copy()
        positions = np.frombuffer(self.bits[0], dtype=atoms.positions.dtype).reshape(-1, 3)
        arrays = {"numbers": self.template.numbers, "positions": positions, **self.arrays}
        atoms.arrays = {name: array.copy() for name, array in arrays.items()}
        atoms.info = copy.deepcopy(self.info)
        atoms.set_constraint(copy.deepcopy(self.constraints))
        return atoms
