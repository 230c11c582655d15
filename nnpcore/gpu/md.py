"""The MD loop on the device: what nnpcore._core.MD is on the CPU, with the same interface, numbers and restarts.

Arrays stand in the rows of the neighbour list between two builds and go back to the caller's order for each, so that
the order follows from the positions alone, not from the history. Random numbers are functions of (seed, step, atom).

A step costs one look at the device: after the drift its status says whether the list still holds, and whether the step
before went bad. A bad step's kernels change nothing more; its beginning is still in x_old and v_old. The last step's
status is read at the end of run(). Positions and velocities leave the device for get() alone.
"""

import contextlib
import signal
import threading

import numpy as np

from .. import _core
from ..validate import InputError
from . import gather
from .backend import GpuError, check_memory
from .model import Evaluator
from .sample import add_frame, volume_of
from .system import CLASH, ENERGY, FAR, FINE, FORCE, MOVED, System

MD_FILE = "cuda/md.cu"
AMU_A2_FS2 = 1.66053906660e-17 / 1.602176634e-19  # 1 amu Å^2/fs^2 in eV, CODATA 2018: as csrc/md_internal.h
KB = 8.617333262e-5  # eV/K
HEAT = 0  # places of the device's scalars: csrc/cuda/md.cu
BLOCK = 256
AHEAD = 0.8  # csrc/md_list.c
DIVERGED = 8  # NNP_ERR_DIVERGED
DEFAULTS = {
    "ensemble": "nve",
    "dt": 1.0,
    "temperature": 300.0,
    "friction": 0.01,
    "tau": 100.0,
    "seed": 0,
    "f_max": 1000.0,
    "momentum_every": 0,
    "virial_every": 0,
}


def bytes_per_atom(evaluator, cell, n, skin):
    """Estimate of the device memory that MD takes, bytes an atom: state, list and pair gradients, with the ghosts.

    An open system counts as 0.1 atoms/Å^3.
    """
    volume = abs(np.linalg.det(cell)) if cell is not None else 0.0
    density = n / volume if volume > 0 and n else 0.1
    reach = evaluator.cutoff + skin
    ghosts = (1 + 2 * reach * (density / max(n, 1)) ** (1 / 3)) ** 3 - 1
    return 300 + 60 * min(ghosts, 1e4) + evaluator.bytes_per_atom(4.1888 * reach**3 * density)


class MD:
    """One system under integration; arguments and methods as nnpcore._core.MD, which documents them.

    model: a nnpcore.Model. Raises InputError, GpuError, _core.NnpError (DIVERGED).
    """

    def __init__(self, backend, model, species, x, v, mass, cell, pbc, precision, skin, **options):
        self.backend, self.xp, self.n = backend, backend.xp, len(x)
        self.values = _check({**DEFAULTS, **options})
        skin = float(skin) if skin > 0 else 1.0
        self.evaluator = Evaluator(backend, model, precision)
        check_memory(backend, bytes_per_atom(self.evaluator, cell, self.n, skin), self.n, "MD")
        self.system = self.evaluator.system([(species, cell, pbc)], skin)
        self.precision, self.skin = precision, skin
        self._cell = np.zeros((3, 3)) if cell is None else np.array(cell, dtype=np.float64)
        self.volume = 0.0 if cell is None else volume_of(self._cell)
        self._structure = (species, cell, pbc)
        inverse = 1.0 / (np.asarray(mass, dtype=np.float64) * AMU_A2_FS2)
        self._inverse_caller = backend.device(inverse)
        self.x, self.x_old = backend.device(x, np.float64), backend.device(x, np.float64)
        self.v = backend.device(np.zeros((self.n, 3)) if v is None else v, np.float64)
        self.v_old = backend.device(self.v)
        self.f = backend.device(np.zeros((self.n, 3)))
        self.n_blocks = -(-self.n // BLOCK)
        self.part = backend.device(np.zeros((6, max(self.n_blocks, 1))))
        self.scalars = backend.device(np.zeros(8))
        self._step, self._sorted, self._valid, self._stop, self._busy = 0, False, False, 0, False
        self._pending = False  # a step whose forces and energies nobody has looked at yet
        self._rdf = None
        self._update()

    # ---- list and forces ----

    def _to_caller(self, rows):
        return self.system.to_caller(rows)

    def _build(self, ahead=False):
        """List at x, or (ahead; needs forces) where the atoms are going to be; every array of rows follows."""
        self._valid = False
        self.energy = self.gradient = None  # room for the new list
        arrays = [self.x, self.v, self.x_old, self.v_old]
        x_list = self._positions_ahead() if ahead else self.x
        if self._sorted:
            x_list, *arrays = [self._to_caller(a) for a in (x_list, *arrays)]
            self.x, self.v, self.x_old, self.v_old = arrays
        self._sorted = False
        self.x_list = self.system.build(x_list, check=False)  # _evaluate() looks at x, where atoms may be less close
        order = self.system.order
        self.x, self.v, self.x_old, self.v_old = (a[order] for a in arrays)
        self.inverse = self._inverse_caller[order]
        self.energy = self.xp.empty(self.n)
        self.gradient = gather.pair_array(self.system, self.precision)
        self._sorted = True

    def _positions_ahead(self):
        """x + tau v + tau^2/2 f/m, rows, no farther from x than AHEAD skin/2: csrc/md_list.c says why."""
        xp, v, moved, most = self.xp, self.v, self.x - self.x_list, AHEAD * 0.5 * self.skin
        along, size, speed = (float((a * b).sum()) for a, b in ((moved, v), (moved, moved), (v, v)))
        if not along * self.values["dt"] > 0:
            return self.x
        tau = along / np.sqrt(size * speed) * most / float((v * v).sum(axis=1).max()) ** 0.5
        way = tau * (v + 0.5 * tau * self.inverse[:, None] * self.f)
        length = xp.sqrt((way * way).sum(axis=1, keepdims=True))
        return self.x + way * (most / xp.maximum(length, most))

    def _evaluate(self):
        """Energies, pair gradients and forces at the atoms of the list."""
        self.evaluator.evaluate(self.system, self.energy, self.gradient)
        gather.forces(self.system, self.gradient, self.precision, self.f)
        self._valid = True

    def _update(self):
        """Forces at x, whatever was before; the list is built anew if an atom has left its margin."""
        inside = False
        if self._sorted and self.n:
            moved = float(((self.x - self.x_list) ** 2).sum(axis=1).max())
            inside = moved <= (0.5 * self.skin) ** 2 * (1 + 1e-12)  # the step's own sum may round otherwise
        if not inside:
            self._build()
        self.system.refresh(self.x)
        self.system.status[:] = FINE
        self._evaluate()
        self._check_forces()

    def _check_forces(self):
        self.system.check(CLASH)
        finite = float((self.energy * 0).sum() + (self.f * 0).sum()) == 0
        if not finite:
            self._valid = False
            raise _core.NnpError(DIVERGED, "energy or forces are not finite: atoms too close?")

    def _ready(self):
        if not self._valid:
            self._update()

    # ---- one step ----

    def _kernel(self, name, arguments, blocks=None):
        """A kernel of csrc/cuda/md.cu: one thread an atom, or one block."""
        blocks = self.n_blocks if blocks is None else blocks
        if blocks:
            self.backend.kernel(MD_FILE, name)((blocks,), (BLOCK,), arguments)

    def _swap(self):
        self.x, self.x_old = self.x_old, self.x
        self.v, self.v_old = self.v_old, self.v

    def _advance(self):
        o, system = self.values, self.system
        self._swap()
        self._drift()
        status = self.backend.host(system.status)
        if self._pending:
            self._refuse(status)
        if status[FAR] != FINE:
            self._go_back(self._far_text(int(status[FAR])))
        if status[MOVED] != FINE:
            system.status[:] = FINE
            self._list_again()
        else:
            system.refresh_ghosts(self.x)
        self._evaluate()
        inverse = self.inverse
        limits = (np.float64(0.5 * o["dt"]), np.float64(o["f_max"] ** 2))
        arguments = (np.int32(self.n), *limits, self.f, self.energy, inverse, self.v, self.part[0], system.status)
        gain = self.part[1]
        self._kernel("nnp_md_kick", arguments)
        blocks = np.int32(self.n_blocks)
        if o["ensemble"] == "langevin":
            self._kernel("nnp_md_heat", (blocks, gain, self.scalars, system.status), blocks=1)
        elif o["ensemble"] == "bussi":
            self._bussi()
        self._step += 1
        every = o["momentum_every"]
        if every > 0 and self._step % every == 0:
            self._momentum_to_zero(1.0)
        self._pending = True

    def _drift(self):
        o, system = self.values, self.system
        limit2 = np.float64((0.5 * self.skin) ** 2)
        arguments = (np.int32(self.n), np.float64(o["dt"]), limit2, self.x_old, self.v_old, self.f, self.inverse)
        arguments = (*arguments, self.x_list, system.shift, self.x, self.v, system.x, system.status)
        if o["ensemble"] != "langevin":
            self._kernel("nnp_md_drift", arguments)
            return
        c = np.exp(-o["friction"] * o["dt"])
        noise = (1 - c * c) * KB * o["temperature"]
        random = (np.uint64(o["seed"]), np.uint64(self._step), system.order, self.part[1])
        self._kernel("nnp_md_baoa", (*arguments, np.float64(c), np.float64(noise), *random))

    def _bussi(self):
        o, system = self.values, self.system
        c, half_kt = np.exp(-o["dt"] / o["tau"]), 0.5 * KB * o["temperature"]
        numbers = (np.float64(self._degrees()), np.float64(c), np.float64(half_kt))
        random = (np.uint64(o["seed"]), np.uint64(self._step))
        arguments = (np.int32(self.n_blocks), self.part[0], *numbers, *random, self.scalars, system.status)
        self._kernel("nnp_md_bussi", arguments, blocks=1)
        count = 3 * self.n
        self._kernel("nnp_md_scale", (np.int64(count), self.scalars, self.v, system.status), blocks=-(-count // BLOCK))

    def _momentum_to_zero(self, share):
        """share: of the kinetic energy lost that heat counts, 0 or 1."""
        if not self.n:
            return
        status = self.system.status
        part = self.part.ravel()
        self._kernel("nnp_md_momentum", (np.int32(self.n), self.v, self.inverse, part))
        arguments = (np.int32(self.n_blocks), np.float64(share), part, self.scalars, status)
        self._kernel("nnp_md_centre", arguments, blocks=1)
        self._kernel("nnp_md_subtract", (np.int32(self.n), self.scalars, self.v, status))

    def _list_again(self):
        try:
            self._build(ahead=True)
            self.system.refresh(self.x)
        except GpuError:
            self._swap()
            self._pending = False
            raise
        except InputError as error:
            self._go_back(str(error))

    # ---- steps that went bad ----

    def _refuse(self, status):
        """Raise what is wrong with the step before, taken and not looked at."""
        self._pending = False
        text = None
        if status[CLASH] != FINE:
            text = self.system.clash_text(int(status[CLASH]))
        elif status[FORCE] != FINE:
            text = self._force_text()
        elif status[ENERGY] != FINE:
            row = int(status[ENERGY])
            energy = float(self.backend.host(self.energy[row : row + 1])[0])
            text = f"the energy of atom {self._atom(row)} is {energy:g} eV: atoms too close?"
        if text is not None:
            self._step -= 1
            self._fail(text)

    def _go_back(self, text):
        """The step under way is bad: the state before it."""
        self._swap()
        self._pending = False
        self._fail(text)

    def _fail(self, text):
        self._valid = False
        self.system.status[:] = FINE
        raise _core.NnpError(DIVERGED, f"step {self._step + 1}: {text} (state of step {self._step} kept)")

    def _atom(self, row):
        return int(self.backend.host(self.system.order[row : row + 1])[0])

    def _force_text(self):
        size = self.xp.sqrt((self.f**2).sum(axis=1))
        size = self.xp.where(self.xp.isfinite(size), size, np.inf)
        row = int(size.argmax())
        largest = float(self.backend.host(self.xp.sqrt((self.f[row] ** 2).sum())))
        return f"force on atom {self._atom(row)} is {largest:.3g} eV/A, limit {self.values['f_max']:.3g}"

    def _far_text(self, row):
        x, y, z = self.backend.host(self.x[row])
        return f"atom {self._atom(row)} would move to ({x:.4g}, {y:.4g}, {z:.4g}) A"

    def _settle(self):
        """Look at the last step."""
        if not self._pending:
            return
        status = self.backend.host(self.system.status)
        bad = any(status[k] != FINE for k in (CLASH, FORCE, ENERGY))
        if bad:
            self._swap()
        self._refuse(status)

    # ---- the interface of _core.MD ----

    def _claim(self):
        if self._busy:
            raise RuntimeError("this simulation is running in another thread: one caller at a time")

    def run(self, n_steps):
        """Advance; returns early after stop()."""
        self._claim()
        self._busy = True
        try:
            self._ready()
            with whole_steps(self):
                for _ in range(n_steps):
                    if self._stop:
                        break
                    self._advance()
                    self._sample()
                self._settle()
        finally:
            self._busy = False

    def stop(self, flag=1):
        """Ask run() to return after the step under way; stop(0) takes it back."""
        self._stop = flag

    @property
    def stopped(self):
        return self._stop != 0

    @property
    def step(self):
        return self._step

    @property
    def n_builds(self):
        return self.system.n_builds

    @property
    def outside(self):
        """(atoms, functions of atoms) outside the training range at the last forces"""
        count = getattr(self.evaluator.fingerprints, "outside", None)
        return count() if count else (0, 0)

    @property
    def options(self):
        return dict(self.values)

    def set_options(self, **options):
        self._claim()
        self.values = _check({**self.values, **options})

    def get(self):
        """dict: step, heat, cell [3, 3], x, v, x_list, f, each [n, 3] of NumPy, in the caller's order."""
        self._claim()
        self._ready()
        arrays = {key: getattr(self, key) for key in ("x", "v", "x_list", "f")}
        arrays = {key: self.backend.host(self._to_caller(value)) for key, value in arrays.items()}
        return {"step": self._step, "heat": self._heat(), "cell": self._cell.copy(), **arrays}

    def _heat(self):
        return float(self.backend.host(self.scalars)[HEAT])

    def set(self, step, heat, x, v, x_list=None):
        """A state to go on from: the list is built at x_list, as in the run that is continued."""
        self._claim()
        x_list = x if x_list is None else x_list
        for name, array in (("x", x), ("v", v), ("x_list", x_list)):
            if np.shape(array) != (self.n, 3):
                raise ValueError("x, v, x_list must be [n, 3]")
            if not np.isfinite(array).all():
                raise InputError(f"{name}: a number is not finite")
        device = self.backend.device
        self._sorted = self._pending = False
        self.x, self.v = device(x_list, np.float64), device(v, np.float64)
        self.x_old, self.v_old = device(self.x), device(self.v)
        self._step = int(step)
        self.scalars[HEAT] = float(heat)
        self.system.status[:] = FINE
        try:
            self._build()
        except InputError:
            self.x = device(x, np.float64)  # the new state stands, without a list
            raise
        self.x = device(x, np.float64)[self.system.order]
        self._update()

    def _degrees(self):
        kept = self.values["ensemble"] != "langevin" or self.values["momentum_every"] == 1
        return 3.0 * self.n - (3 if kept and self.n > 1 else 0)

    def _kinetic(self):
        self._kernel("nnp_md_kinetic", (np.int32(self.n), self.v, self.inverse, self.part[0]))
        return float(self.backend.host(self.part[0, : self.n_blocks]).sum()) if self.n else 0.0

    def thermo(self, stress=True):
        """dict in eV, K, A^3, eV/A^3; stress [6] Voigt."""
        self._claim()
        self._ready()
        potential = float(self.backend.host(gather.sums(self.system, self.energy[None]))[0, 0])
        kinetic, degrees = self._kinetic(), self._degrees()
        out = {
            "step": self._step,
            "potential": potential,
            "kinetic": kinetic,
            "temperature": 2 * kinetic / (degrees * KB) if degrees > 0 else 0.0,
            "conserved": potential + kinetic - self._heat(),
            "volume": self.volume,
            "pressure": float("nan"),
            "stress": np.full(6, np.nan),
        }
        if stress and self.volume > 0:
            out["stress"] = -(self._virial() + self._kinetic_tensor())[[0, 1, 2, 5, 4, 3]] / self.volume
            out["pressure"] = float(-out["stress"][:3].sum() / 3)
        return out

    def _virial(self):
        """[6] eV, xx yy zz xy xz yz."""
        rows = gather.row_virials(self.system, self.gradient, self.precision)
        return self.backend.host(gather.sums(self.system, rows))[:, 0]

    def _kinetic_tensor(self):
        part = self.part.ravel()
        self._kernel("nnp_md_kinetic_tensor", (np.int32(self.n), self.v, self.inverse, part))
        return self.backend.host(part[: 6 * self.n_blocks]).reshape(6, -1).sum(axis=1)

    def draw_velocities(self, temperature):
        """Maxwell-Boltzmann velocities without total momentum, scaled to exactly this temperature (K)."""
        self._claim()
        if not (np.isfinite(temperature) and temperature >= 0):
            raise InputError(f"temperature: {temperature} K, expected >= 0")
        self._ready()
        random = (np.uint64(self.values["seed"]), np.uint64(self._step), self.system.order)
        self._kernel("nnp_md_draw", (np.int32(self.n), np.float64(KB * temperature), *random, self.inverse, self.v))
        if self.n > 1:
            self._momentum_to_zero(0.0)
        kinetic, wanted = self._kinetic(), 0.5 * self._degrees() * KB * temperature
        if kinetic > 0:
            self.v *= np.sqrt(wanted / kinetic)

    def remove_momentum(self):
        """Subtract the velocity of the centre of mass."""
        self._claim()
        self._ready()
        self._momentum_to_zero(0.0)

    def rebuild(self):
        """Build a new neighbour list now."""
        self._claim()
        self._build()
        self._update()

    # ---- pair distribution ----

    def sample_rdf(self, rdf, every=1, start=0):
        """Accumulate g(r) into a _core.RDF at multiples of `every` steps from `start` on; None: no more."""
        self._claim()
        if rdf is None:
            self._rdf = None
            return
        cells = System(self.backend, [self._structure], rdf.n_species, rdf.r_max, clash=0.0)
        self._rdf = (rdf, int(every), int(start), cells)

    def _sample(self):
        if self._rdf is None:
            return
        rdf, every, start, cells = self._rdf
        if self._step % every or self._step < start:
            return
        self._settle()
        add_frame(rdf, cells.histogram(self._to_caller(self.x), rdf.r_max, rdf.n_bins), self.volume)


@contextlib.contextmanager
def whole_steps(md):
    """Ctrl-C waits until the step under way is done: a KeyboardInterrupt within it would tear the state apart."""
    usual = threading.current_thread() is threading.main_thread()
    if not (usual and signal.getsignal(signal.SIGINT) is signal.default_int_handler):
        yield
        return
    noted = []

    def note(number, frame):
        noted.append(number)
        md.stop()

    signal.signal(signal.SIGINT, note)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        if noted:
            md.stop(0)
    if noted:
        raise KeyboardInterrupt


def _check(o):
    """The options, if they are good; as check_options() of csrc/md.c. Raises InputError."""
    if not (o["dt"] != 0 and np.isfinite(o["dt"])):
        raise InputError(f"md: dt is {o['dt']} fs")
    if not o["f_max"] > 0:
        raise InputError(f"md: f_max is {o['f_max']} eV/A, expected > 0")
    if o["momentum_every"] < 0 or o["virial_every"] < 0:
        raise InputError("md: momentum_every and virial_every must be >= 0")
    if o["ensemble"] == "nve":
        return o
    if not o["dt"] > 0:
        raise InputError("md: a thermostat needs dt > 0")
    if not (np.isfinite(o["temperature"]) and o["temperature"] >= 0):
        raise InputError(f"md: temperature is {o['temperature']} K, expected >= 0")
    if o["ensemble"] == "langevin" and not (np.isfinite(o["friction"]) and o["friction"] >= 0):
        raise InputError(f"md: friction is {o['friction']} /fs, expected >= 0")
    if o["ensemble"] == "bussi" and not (np.isfinite(o["tau"]) and o["tau"] > 0):
        raise InputError(f"md: tau is {o['tau']} fs, expected > 0")
    return o
