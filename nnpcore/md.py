"""Molecular dynamics: an MD object over the C loop, or the GPU's, and `nnpcore md`, a simulation in a run folder.

    simulation = nnpcore.md.MD(model, positions, "O", cell, temperature=300, ensemble="bussi", dt=5)
    simulation.run(1000);  simulation.thermo()["temperature"]
    nnpcore.md("md.toml")                                            # this module is callable

Units: eV, Å, amu, fs, K; pressure in GPa.
"""

import sys
import time
import types

import numpy as np

from . import _core, validate
from .sample import RDF
from .units import GPA
from .validate import InputError

PRECISION = {"float64": 0, "float32": 1}
DIVERGED = 8  # NNP_ERR_DIVERGED
CHUNK = 0.1  # s between two looks at signals


class Diverged(RuntimeError):
    """Positions, energy or forces stopped being finite or reasonable; the state is that before the bad step."""


class Extrapolated(RuntimeError):
    """More atoms than allowed left the range that the model was trained on; the run ended there."""


class MD:
    """A system of n atoms under time integration.

    model: a nnpcore.Model. positions [n, 3] Å. species: symbol(s) or indices. cell [3, 3] Å, rows, or three lengths;
    pbc: None for periodic where there is a cell. velocities [n, 3] Å/fs; without them they are drawn at temperature
    (K), or zero where that is None. masses [n] amu: the model's by default. ensemble: "nve", "langevin" (friction,
    1/fs) or "bussi" (tau, fs) at temperature. dt in fs. Random numbers depend on seed, step and atom alone. skin (Å):
    margin of the neighbour list. precision "float64" or "float32". threads: 0 for all. f_max (eV/Å): a larger force is
    a Diverged. momentum_every: steps between removals of the total momentum, 0 for never. device: "cpu", or "gpu" for
    a CUDA device (docs/gpu.md); then threads means nothing. Raises InputError, nnpcore._core.NnpError.
    """

    def __init__(
        self,
        model,
        positions,
        species,
        cell=None,
        pbc=None,
        *,
        velocities=None,
        masses=None,
        temperature=None,
        ensemble="nve",
        dt=1.0,
        friction=0.01,
        tau=100.0,
        seed=0,
        skin=1.0,
        precision="float64",
        threads=0,
        f_max=1000.0,
        momentum_every=0,
        virial_every=0,
        device="cpu",
    ):
        positions = validate.check_positions(positions)
        n = len(positions)
        self.model, self.dt = model, float(dt)
        self.names = list(model.species)
        self.species = validate.check_species(species, self.names, n)
        cell = validate.check_cell(cell)
        self.pbc = validate.check_pbc(pbc, cell)
        self.masses = np.asarray(model.mass, dtype=np.float64)[self.species] if masses is None else _masses(masses, n)
        if velocities is not None:
            velocities = validate.check_vectors(velocities, "velocities", n)
        for name, value, known in (("ensemble", ensemble, _core.MD_ENSEMBLES), ("precision", precision, PRECISION)):
            if value not in known:
                raise InputError(f"{name}: {value!r} is not one of {', '.join(known)}")
        if ensemble != "nve" and temperature is None:
            raise InputError(f"temperature: missing, ensemble {ensemble!r} needs it")
        self._cell = cell
        options = {
            "ensemble": ensemble,
            "dt": dt,
            "temperature": 300.0 if temperature is None else temperature,
            "friction": friction,
            "tau": tau,
            "seed": seed,
            "f_max": f_max,
            "momentum_every": momentum_every,
            "virial_every": virial_every,
        }
        system = (self.species, positions, velocities, self.masses, cell, self.pbc)
        self._core = _make_core(device, model, system, threads, precision, skin, options)
        if velocities is None and temperature is not None:
            self._core.draw_velocities(temperature)
        self.rdf = None

    @classmethod
    def from_atoms(cls, model, atoms, **options):
        """Of an ase.Atoms; its momenta, if any, unless velocities are given."""
        from .md_start import from_atoms

        s = from_atoms(atoms)
        options = {"velocities": s.velocities, "masses": s.masses} | options
        return cls(model, s.positions, s.symbols, s.cell, s.pbc, **options)

    def __len__(self):
        return len(self.species)

    # ---- running ----

    def run(self, steps):
        """Advance by steps; Ctrl-C works. Returns self. Raises Diverged; the state is then that before the bad step."""
        last, chunk = self.step + int(steps), 1
        while self.step < last and not self._core.stopped:
            began, before = time.perf_counter(), self.step
            self._guarded(self._core.run, min(chunk, last - before))
            pace = (time.perf_counter() - began) / max(self.step - before, 1)
            chunk = max(1, min(int(CHUNK / max(pace, 1e-9)), 2 * chunk))
        return self

    def stop(self, flag=True):
        """Make run() return after the step under way, also from another thread; stop(False) undoes it."""
        self._core.stop(1 if flag else 0)

    @staticmethod
    def _guarded(call, *args):
        try:
            return call(*args)
        except _core.NnpError as error:
            if error.code == DIVERGED:
                raise Diverged(str(error)) from None
            raise

    def rebuild(self):
        """Build a new neighbour list now."""
        self._core.rebuild()

    def set(self, **options):
        """Change ensemble, dt, temperature, friction, tau, seed, f_max, momentum_every or virial_every."""
        for key, value in options.items():
            if key not in _core.MD_OPTIONS:
                raise InputError(f"{key}: not an option of a running simulation")
            if key == "ensemble" and value not in _core.MD_ENSEMBLES:
                raise InputError(f"ensemble: {value!r} is not one of {', '.join(_core.MD_ENSEMBLES)}")
        self._core.set_options(**options)
        self.dt = float(options.get("dt", self.dt))

    def draw_velocities(self, temperature):
        """Maxwell-Boltzmann velocities without total momentum, scaled to exactly this temperature (K)."""
        self._core.draw_velocities(temperature)

    def remove_momentum(self):
        """Subtract the velocity of the centre of mass."""
        self._core.remove_momentum()

    # ---- state ----

    @property
    def step(self):
        """Steps taken."""
        return self._core.step

    @property
    def outside(self):
        """(atoms, functions of atoms) outside the model's training range at the last forces; zeros without ranges."""
        return self._core.outside

    @property
    def n_builds(self):
        """Neighbour lists built."""
        return self._core.n_builds

    @property
    def cell(self):
        """[3, 3] Å, or None."""
        return None if self._cell is None else self.state["cell"]

    @property
    def state(self):
        """dict of all that a run continues from, to the last bit: step, heat (eV, put in by the thermostat), cell,
        x (Å, unwrapped), v (Å/fs), x_list (Å, where the neighbour list was built), and f (eV/Å), each [n, 3]."""
        return self._core.get()

    @state.setter
    def state(self, state):
        arrays = [np.ascontiguousarray(state[key], dtype=np.float64) for key in ("x", "v", "x_list")]
        self._core.set(int(state["step"]), float(state["heat"]), *arrays)

    @property
    def positions(self):
        """[n, 3] Å, unwrapped."""
        return self.state["x"]

    @property
    def velocities(self):
        """[n, 3] Å/fs."""
        return self.state["v"]

    @property
    def forces(self):
        """[n, 3] eV/Å."""
        return self.state["f"]

    def thermo(self, stress=True):
        """dict: step, time (fs), temperature (K), potential, kinetic, total, conserved (eV), volume (Å^3, 0 without a
        cell), pressure (GPa) and stress [6] (eV/Å^3, Voigt xx yy zz yz xz xy, tension positive), both with their
        kinetic part, NaN without a volume or with stress=False. conserved = total - heat of the thermostat."""
        t = self._core.thermo(stress)
        t["time"] = t["step"] * self.dt
        t["total"] = t["potential"] + t["kinetic"]
        t["pressure"] *= GPA
        return t

    def sample_rdf(self, r_max=10.0, bins=200, every=10, start=0):
        """Accumulate g(r) during run(), at multiples of `every` steps from `start` on. Returns the sample.RDF."""
        if self._cell is None or not self.pbc.all():
            raise InputError("g(r): needs three periodic axes")
        self.rdf = RDF(self.species, self.names, r_max, bins)
        self._core.sample_rdf(self.rdf.core, every, start)
        return self.rdf

    def symbols(self):
        """[n] element symbols."""
        return [self.names[s] for s in self.species]


def _make_core(device, model, system, threads, precision, skin, options):
    """The object that holds the state and takes the steps: _core.MD, or its twin on the device."""
    if device == "cpu":
        return _core.MD(model.core, *system, threads, PRECISION[precision], skin, **options)
    from .gpu import backend, md

    return md.MD(backend.get(device), model, *system, precision, skin, **options)


def _masses(masses, n):
    masses = np.ascontiguousarray(masses, dtype=np.float64)
    if masses.shape != (n,) or not (masses > 0).all():
        raise InputError(f"masses: expected {n} numbers above 0 in amu")
    return masses


def run(settings, overrides=(), resume=False, dry_run=False, quiet=False):
    """Simulate as a configuration says, in a run folder: nnpcore.md_run.run()."""
    from .md_run import run

    return run(settings, overrides, resume, dry_run, quiet)


def md_main(config_path, overrides=(), resume=False, dry_run=False):
    """The verb `nnpcore md`: an exit code. 0 done, 1 error, 2 bad input, 3 diverged or outside the training
    range, 128 + n stopped by signal n."""
    from .checkpoint import CheckpointError, FolderInUse
    from .config import ConfigError

    try:
        result = run(config_path, overrides, resume, dry_run)
    except (ConfigError, InputError) as error:
        print(f"nnpcore md: {error}", file=sys.stderr)
        return 2
    except Diverged as error:
        print(f"nnpcore md: diverged: {error}", file=sys.stderr)
        return 3
    except Extrapolated as error:
        print(f"nnpcore md: {error}", file=sys.stderr)
        return 3
    except (CheckpointError, FolderInUse, OSError, MemoryError, _core.NnpError) as error:
        print(f"nnpcore md: {error}", file=sys.stderr)
        return 1
    return 128 + result.signal if result is not None and result.signal else 0


class _CallableModule(types.ModuleType):
    """Lets nnpcore.md be the function although importing this file binds that name to the module."""

    def __call__(self, *args, **kwargs):
        return run(*args, **kwargs)


sys.modules[__name__].__class__ = _CallableModule
