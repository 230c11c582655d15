"""Energies, forces and virials of a model on the device; what Model.compute(device="gpu") and MD call."""

import weakref

import numpy as np

from .. import _core
from . import gather
from .backend import REAL, check_memory, get
from .baseline import Baseline
from .net import Networks
from .system import CLASH, System

LEAST = 1e-3  # Å: atoms closer than this are an error


class Places:
    """Rows of one species, in the order that a launch takes them: rows [n] int32 on the device (-1: none).

    capacity: the most neighbours that any row of the system has.
    """

    def __init__(self, species, rows, capacity):
        self.species, self.rows, self.n, self.capacity = species, rows, len(rows), capacity


class Evaluator:
    """A model with its parameters on the device. Raises InputError, NnpError (exponents), GpuError.

    clash (Å): a system's atoms closer than this are an error; pass it to System.
    """

    def __init__(self, backend, model, precision="float64"):
        self.backend, self.precision = backend, precision
        self.n_species, self.cutoff = len(model.species), model.cutoff
        self.baseline = Baseline(backend, model, precision)
        self.e0 = backend.device(model.e0, np.float64)
        self.fingerprints = self.networks = None
        if model.method == "msr":
            from .msr import Msr

            self.fingerprints = Msr(backend, model, precision)
        elif model.method == "bp":
            from .bp import Bp

            self.fingerprints = Bp(backend, model, precision)
        if self.fingerprints is not None:
            self.networks = Networks(backend, model, precision)
        self._of, self._places = (None, 0), []  # (weak reference to a system, its list's number), and its places

    @property
    def clash(self):
        """Least distance of two atoms, Å."""
        return getattr(self.fingerprints, "clash", LEAST)

    def set_theta(self, theta):
        """Take other parameters [P] over, float64 in NumPy. Raises NnpError."""
        self.fingerprints.set_theta(theta)
        self.networks.set_theta(theta)

    def system(self, structures, skin=0.0):
        """An empty system.System that fits the model: build() it at positions."""
        return System(self.backend, structures, self.n_species, self.cutoff, skin, self.clash)

    def places(self, system):
        """[Places] of all rows of a system by species; kept until its list is built again."""
        known, number = self._of
        if known is None or known() is not system or number != system.n_builds:
            xp = self.backend.xp
            capacity = int(system.count.max()) if system.n else 0
            rows = [xp.flatnonzero(system.species == s).astype(np.int32) for s in range(self.n_species)]
            self._places = [Places(s, r, capacity) for s, r in enumerate(rows) if len(r)]
            self._of = weakref.ref(system), system.n_builds
        return self._places

    def evaluate(self, system, energy=None, gradient=None):
        """(energy [n] of the rows with E0, float64, eV; pair gradients [3, entries], see gather.py); overwritten where
        arrays are given. Atoms that are too close are in system.status: system.check(CLASH)."""
        xp = self.backend.xp
        energy = xp.empty(system.n) if energy is None else energy
        gradient = gather.pair_array(system, self.precision) if gradient is None else gradient
        if self.fingerprints is not None:
            for places in self.places(system):
                self.network_part(system, places, energy, gradient)
        self.baseline.evaluate(system, energy, gradient, add=self.fingerprints is not None)
        arguments = (np.int32(system.n), system.x, self.e0, energy)
        self.backend.launch(gather.FORCE, "nnp_add_e0", system.n, arguments, self.precision)
        return energy, gradient

    def network_part(self, system, places, energy, gradient):
        """What the network of a species gives its rows: written to energy [n] and gradient [3, entries]."""
        inputs, more = self.fingerprints.inputs(system, places)
        de_dg = self.networks.evaluate(places, inputs, energy)
        self.fingerprints.gradient(system, places, de_dg, more, gradient, False)

    def bytes_per_atom(self, neighbours):
        """Estimate for MD and compute(), of a list with that many entries an atom."""
        real = np.dtype(REAL[self.precision]).itemsize
        widest = max(self.networks.nets, key=lambda net: net.units).layout if self.networks else None
        inputs = 0 if widest is None else max(self.fingerprints.size)
        return 250 + 1.3 * neighbours * (8 + 3 * real) + 3 * inputs * real


class Workspace:
    """Model.compute() on the device, with the interface of _core.Workspace. Raises InputError, GpuError, NnpError.

    model: an nnpcore.Model; skin (Å): > 0 keeps the list until an atom has moved half of it.
    """

    def __init__(self, model, precision="float64", skin=0.0, device="gpu"):
        self.backend = get(device)
        self.model = model.core
        self.evaluator = Evaluator(self.backend, model, precision)
        self.precision, self.skin = precision, float(skin)
        self.system = self._made = self._key = self._x = None

    @property
    def outside(self):
        """(atoms, functions of atoms) outside the training range in the last evaluation."""
        count = getattr(self.evaluator.fingerprints, "outside", None)
        return count() if count else (0, 0)

    def _update(self, species, x, cell, pbc):
        """List and positions up to date."""
        key = (species.tobytes(), None if cell is None else cell.tobytes(), pbc.tobytes())
        if self.skin > 0 and key == self._key:
            moved = np.sqrt(((x - self._x) ** 2).sum(axis=1).max())
            if 2 * moved <= self.skin:
                self.system.refresh(self.backend.device(x)[self.system.order])
                return
        self._key = None
        if self.system is None or key != self._made:
            self.system = self.evaluator.system([(species, cell, pbc)], self.skin)
            self._made = key
        volume = abs(np.linalg.det(cell)) if cell is not None and all(pbc) else np.inf
        neighbours = len(x) / volume * 4 / 3 * np.pi * self.system.range**3
        check_memory(self.backend, self.evaluator.bytes_per_atom(neighbours), len(x), "positions")
        self.system.build(x)
        self._key, self._x = key, np.array(x)

    def compute(self, species, x, cell, pbc, forces=True, virials=False):
        """(energy, energies [n], forces [n, 3] or None, virial [6], virials [n, 9] or None), as _core.Workspace."""
        if len(x) == 0:
            none = np.zeros((0, 3)) if forces else None
            return 0.0, np.zeros(0), none, np.zeros(6), np.zeros((0, 9)) if virials else None
        self._update(species, x, cell, pbc)
        system, host, xp = self.system, self.backend.host, self.backend.xp
        energy, gradient = self.evaluator.evaluate(system)
        f = gather.forces(system, gradient, self.precision)
        columns = xp.concatenate([energy[None], gather.row_virials(system, gradient, self.precision)])
        total = host(gather.sums(system, columns))[:, 0]
        energies, f_host = host(system.to_caller(energy)), host(system.to_caller(f))
        system.check(CLASH)
        _check_finite(energies, f_host)
        w = gather.atom_virials(system, gradient, self.precision) if virials else None
        w = None if w is None else host(system.to_caller(w))
        return float(total[0]), energies, f_host if forces else None, total[1:], w


def _check_finite(energies, forces):
    """NnpError (diverged) naming the first atom with a number that is not finite; as csrc/workspace.c."""
    for i in np.flatnonzero(~(np.isfinite(energies) & np.isfinite(forces).all(axis=1)))[:1]:
        what = f"the energy of atom {i} is {energies[i]:g} eV" if not np.isfinite(energies[i]) else None
        raise _core.NnpError(8, f"{what or f'a force on atom {i} is not finite'}: atoms too close?")
