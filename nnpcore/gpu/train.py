"""The loss and its gradient on the device, with the interface of the C core's trainer (_core.Trainer).

All frames make one batch of structures whose positions and neighbour list stay on the device; a step works on the
rows of its frames, listed by species (model.Places). Two sweeps, as csrc/trainer.c: energies and forces give the
residuals (csrc/cuda/train.cu), whose slopes make a tangent of every pair vector; rates of the fingerprints along it,
the networks' reverse sweep and the exponents' sums (net.cu, msr_train.cu) give the gradient. Sums have a fixed order:
the same batch gives the same bits.
"""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from .. import _core
from ..model import Model
from ..neighbors import neighbor_list
from . import gather
from .backend import REAL, check_memory, get
from .model import Evaluator, Places
from .net import TRAIN_TILE
from .system import System

TRAIN = "cuda/train.cu"
SLABS = 256  # most blocks of a network's gradient, each with a sum of its own
SKETCH = 64  # frames that a sketch takes at a time
VOIGT = ((0, 1, 2, 1, 0, 0), (0, 1, 2, 2, 2, 1))


@dataclass
class Tangent:
    """forces: dL/dF [n, 3] by row; virials: dL/dW [frames, 9]; energies: dL/dE [frames]. Of the batch's frames."""

    forces: object
    virials: object
    energies: object


@dataclass
class Groups:
    """Places whose gradients are summed apart (one group: the batch; or a group a frame), cut into tiles and slabs.

    n, n_slabs; place_first [n + 1] places of each group; slab_first [n + 1] slabs of each; tile_first [n_slabs + 1]
    tiles of net.TRAIN_TILE places of each slab.
    """

    n: int
    n_slabs: int
    place_first: object
    slab_first: object
    tile_first: object


@dataclass
class _Frame:
    """A frame as it was given, labels less E0 and baseline."""

    species: np.ndarray
    x: np.ndarray
    cell: np.ndarray | None
    pbc: np.ndarray
    has: int  # bits: 1 energy, 2 forces, 4 stress
    energy: float
    forces: np.ndarray
    stress: np.ndarray
    weight: float
    volume: float
    closest: float  # Å between any two atoms, inf where none is near
    energy0: float
    forces0: np.ndarray
    stress0: np.ndarray


class Trainer:
    """Frames with labels, and the gradient of the loss over batches of them. model: an nnpcore.Model.

    Raises InputError (frames), GpuError, NnpError (exponents beyond the precision, bad arguments).
    """

    def __init__(self, model, precision="float64", device="gpu"):
        self.backend, self.precision = get(device), precision
        self.full, self.model = model, model.core
        self.evaluator = Evaluator(self.backend, model, precision)
        self.clash = self.evaluator.clash  # of frames that are added; theta may ask for more later
        self.frames, self._system, self._theta = [], None, None
        self.base = None
        if model.baseline:
            spec = {k: v for k, v in model.metadata.items() if k not in ("msr", "bp", "network")}
            self.base = Model({**spec, "method": "baseline"})

    @property
    def n_frames(self):
        return len(self.frames)

    @property
    def n_parameters(self):
        return self.full.n_parameters

    @property
    def bytes(self):
        """Of the frames, on the device."""
        s = self._ready()
        real = np.dtype(REAL[self.precision]).itemsize
        return int(s.entries * (8 + 3 * real) + s.n * 260 + (s.n_total - s.n) * 80)

    # ---- frames ----

    def add(self, species, x, cell, pbc, energy=None, forces=None, stress=None, weight=1.0):
        """Number of the new frame. cell [3,3] or None; energy eV; forces [n,3] eV/Å; stress [6] eV/Å³, Voigt."""
        n = len(x)
        if n == 0 or len(species) != n or x.shape[1] != 3 or len(pbc) != 3:
            raise ValueError("species [n], x [n,3] with n > 0, pbc [3] expected")
        volume = float(abs(np.linalg.det(cell))) if cell is not None else 0.0
        for name, value in (("energy", energy), ("force", forces), ("stress", stress), ("weight", weight)):
            _check_label(name, value)
        if stress is not None and not volume > 0:
            raise _core.NnpError(1, "a stress label needs a cell")
        closest = self._closest(x, cell, pbc)
        energy0, forces0, stress0 = self._baseline(species, x, cell, pbc)
        has = (energy is not None) + 2 * (forces is not None) + 4 * (stress is not None)
        energy = 0.0 if energy is None else float(energy) - energy0
        forces = np.zeros((n, 3)) if forces is None else np.asarray(forces) - forces0
        stress = np.zeros(6) if stress is None else np.asarray(stress) - stress0
        labels = (has, energy, forces, stress, float(weight), volume, closest)
        given = (np.array(species), np.array(x), None if cell is None else np.array(cell), np.array(pbc))
        self.frames.append(_Frame(*given, *labels, energy0, forces0, stress0))
        self._system = None
        return len(self.frames) - 1

    def _closest(self, x, cell, pbc):
        """Shortest distance of two atoms, inf beyond what matters. NnpError below the least one allowed."""
        reach = max(getattr(self.evaluator.fingerprints, "rs", 0.0), 0.5)
        i, j, d = neighbor_list("ijd", x, cell, pbc, reach)
        if not len(d):
            return np.inf
        k = int(np.argmin(d))
        if d[k] < self.clash:
            text = f"atoms {i[k]} and {j[k]} are closer than {self.clash:g} Angstrom"
            raise _core.NnpError(7, text)
        return float(d[k])

    def _baseline(self, species, x, cell, pbc):
        """(energy, forces [n,3], stress [6]) of E0 and the classical potentials."""
        energy = float(self.full.e0[species].sum())
        if self.base is None:
            return energy, np.zeros((len(x), 3)), np.zeros(6)
        out = self.base.compute(x, species, cell, pbc, precision=self.precision)
        return out.energy, out.forces, np.zeros(6) if out.stress is None else out.stress

    def _ready(self):
        """The system of all frames, made when it is first needed."""
        if self._system is not None:
            return self._system
        self._estimate()
        backend, frames = self.backend, self.frames
        e = self.evaluator
        system = System(backend, [(f.species, f.cell, f.pbc) for f in frames], e.n_species, e.cutoff, clash=0.0)
        system.build(np.concatenate([f.x for f in frames]))
        order, species = backend.host(system.order), backend.host(system.species)
        first = system.structure_counts
        self._first = first
        self._inner = [order[a:b] - a for a, b in pairwise(first)]  # row -> atom of its frame
        kinds = range(self.evaluator.n_species)
        self._rows = [  # [frame][species] rows
            [(a + np.flatnonzero(species[a:b] == s)).astype(np.int32) for s in kinds] for a, b in pairwise(first)
        ]
        device, xp = backend.device, backend.xp
        self._labels = (
            device([f.has for f in frames], np.int32),
            device([f.energy for f in frames], np.float64),
            device([f.weight for f in frames], np.float64),
            device([f.volume for f in frames], np.float64),
            device([f.stress for f in frames], np.float64),
            device(np.concatenate([f.forces[k] for f, k in zip(frames, self._inner, strict=True)]), np.float64),
        )
        self._capacity, self._near = int(system.count.max()), {}
        if hasattr(e.fingerprints, "capacity"):  # bp: looked up once, not for every batch
            self._near = {p.species: e.fingerprints.capacity(system, p) for p in e.places(system)}
        self._energy, self._force, self._virial = xp.empty(system.n), xp.empty((system.n, 3)), xp.empty((6, system.n))
        self._gradient = gather.pair_array(system, self.precision)
        n = len(frames)
        self._tangent = Tangent(xp.empty((system.n, 3)), xp.empty((n, 9)), xp.empty(n))
        self._system = system
        return system

    def _estimate(self):
        """GpuError before the start, where the frames do not fit."""
        atoms, pairs = sum(len(f.x) for f in self.frames), 0.0
        for f in self.frames:
            extent = np.prod(np.ptp(f.x, axis=0) + 2.0)
            volume = f.volume if f.volume > 0 and all(f.pbc) else max(extent, 1.0)
            pairs += len(f.x) * min(len(f.x) / volume * 4.19 * self.evaluator.cutoff**3, 1e6)
        if not atoms:
            raise _core.NnpError(1, "an empty batch, or a NULL argument")
        real = np.dtype(REAL[self.precision]).itemsize
        check_memory(self.backend, 600 + 1.2 * pairs / atoms * (16 + 3 * real), atoms, f"{len(self.frames)} frames")

    # ---- batches ----

    def _take(self, theta, frames):
        """Parameters to the device; checks of what the C core checks."""
        if theta.shape != (self.n_parameters,):
            raise ValueError("theta [n_parameters] expected")
        if len(frames) == 0:
            raise ValueError("an empty batch")
        for k in frames:
            if not 0 <= k < len(self.frames):
                raise _core.NnpError(1, f"frame {k} of {len(self.frames)}")
        system = self._ready()
        if self._theta is None or not np.array_equal(theta, self._theta):
            self._theta = None
            self.evaluator.set_theta(np.ascontiguousarray(theta, dtype=np.float64))
            self._theta = np.array(theta)
        for k in frames:
            if not self.frames[k].closest >= self.evaluator.clash:
                raise _core.NnpError(
                    8,
                    f"frame {k} has atoms {self.frames[k].closest:g} Angstrom apart: with these exponents "
                    f"{self.precision} holds {self.evaluator.clash:g}",
                )
        return system

    def _upload(self, arrays):
        """Integer arrays on the device, by one copy."""
        arrays = [np.asarray(a, dtype=np.int32) for a in arrays]
        whole = self.backend.device(np.concatenate([*arrays, np.zeros(1, np.int32)]))
        ends = np.cumsum([len(a) for a in arrays])
        return [whole[end - len(a) : end] for a, end in zip(arrays, ends, strict=True)]

    def _batch(self, frames, apart=False):
        """(rows of all frames, frame numbers, [(Places, Groups)] by species); apart: a group a frame."""
        arrays = [np.concatenate([np.arange(self._first[k], self._first[k + 1]) for k in frames]), frames]
        kinds = []
        for s in range(self.evaluator.n_species):
            rows = [self._rows[k][s] for k in frames]
            if not sum(map(len, rows)):
                continue
            groups = [_padded(r) for r in rows] if apart else [np.concatenate(rows)]
            places = np.concatenate(groups)
            sizes = [len(g) for g in groups]
            tiles = [-(-n // TRAIN_TILE) for n in sizes]
            slabs = [min(n, SLABS if not apart else 4) for n in tiles]
            starts = np.concatenate([[0], np.cumsum(tiles)[:-1]])
            cuts = [start + np.arange(n) * t // n for start, t, n in zip(starts, tiles, slabs, strict=True) if n]
            arrays += [places, _sums(sizes), _sums(slabs), np.concatenate([*cuts, [sum(tiles)]])]
            kinds.append((s, len(groups), int(sum(slabs))))
        device = self._upload(arrays)
        out = []
        for at, (s, n, n_slabs) in enumerate(kinds):
            places, place_first, slab_first, tile_first = device[2 + 4 * at : 6 + 4 * at]
            groups = Groups(n, n_slabs, place_first, slab_first, tile_first)
            places = Places(s, places, self._capacity)
            places.near = self._near.get(s)
            out.append((places, groups))
        return device[0], device[1], out

    def _evaluate(self, system, rows, kinds):
        """Energies, forces and virials of the rows, into self._energy, _force, _virial."""
        for places, _ in kinds:
            self.evaluator.network_part(system, places, self._energy, self._gradient)
        lists = (system.x, system.slice_first, system.count, system.index, system.reverse)
        arguments = (np.int32(len(rows)), rows, np.int32(system.n), np.int64(system.entries), *lists)
        arguments = (*arguments, self._gradient, self._force, self._virial)
        self.backend.launch(TRAIN, "nnp_batch_forces", 8 * len(rows), arguments, self.precision)

    def _loss(self, system, numbers, loss):
        """Results [n_batch, 10] (terms, energy, stress) of the frames, and their slopes into the tangent."""
        t, xp = self._tangent, self.backend.xp
        results = xp.empty((len(numbers), 10))
        values = (self._energy, self._force, self._virial, *self._labels, self.backend.device(loss, np.float64))
        arguments = (np.int32(len(numbers)), numbers, system.structure_first, np.int32(system.n), *values)
        kernel = self.backend.kernel(TRAIN, "nnp_batch_loss", self.precision)
        kernel((len(numbers),), (256,), (*arguments, results, t.energies, t.virials, t.forces))
        return results

    def _second_sweep(self, system, kinds, n_groups):
        """d/dtheta sum (c E + dE/dt) along the tangent, [n_groups, P] float64 in NumPy."""
        grad = self.backend.xp.zeros((n_groups, self.n_parameters))
        own, networks = self.evaluator.fingerprints, self.evaluator.networks
        for places, groups in kinds:
            inputs, rates, more = own.rates(system, places, self._tangent)
            p, q = networks.gradient(system, places, inputs, rates, self._tangent.energies, groups, grad)
            own.parameters(places, rates, more, p, q, groups, grad)
        return self.backend.host(grad)

    # ---- the interface of _core.Trainer ----

    def gradient(
        self,
        theta,
        frames,
        kind=0,
        w_energy=1.0,
        w_force=1.0,
        w_stress=0.0,
        delta_energy=1.0,
        delta_force=1.0,
        delta_stress=1.0,
        with_gradient=True,
    ):
        """(terms [4]: total, energy, force, stress;  gradient [n_parameters], or None). Loss: csrc/nnpcore.h."""
        loss = [kind, w_energy, w_force, w_stress, delta_energy, delta_force, delta_stress]
        _check_loss(kind, loss[4:])
        system = self._take(theta, frames)
        rows, numbers, kinds = self._batch(frames)
        self._evaluate(system, rows, kinds)
        results = self._loss(system, numbers, loss)
        grad = self._second_sweep(system, kinds, 1)[0] if with_gradient else None
        terms = self.backend.host(results)[:, :3].sum(axis=0)
        return np.concatenate([[terms[0] + terms[1] + terms[2]], terms]), grad

    def sketch(self, theta, frames, seed, w_energy=1.0, w_force=1.0, w_stress=0.0):
        """h [n_batch, n_parameters]: one random projection of each frame's residuals' Jacobian. csrc/nnpcore.h."""
        system = self._take(theta, frames)
        out = np.empty((len(frames), self.n_parameters))
        for start in range(0, len(frames), SKETCH):
            chosen = frames[start : start + SKETCH]
            self._random_tangent(system, chosen, int(seed), w_energy, w_force, w_stress)
            _, _, kinds = self._batch(chosen, apart=True)
            out[start : start + SKETCH] = self._second_sweep(system, kinds, len(chosen))
        return out

    def _random_tangent(self, system, frames, seed, w_energy, w_force, w_stress):
        """Random signs as sketch_tangent() of csrc/trainer.c draws them, to the tangent."""
        c, m, force = np.zeros(len(self.frames)), np.zeros((len(self.frames), 9)), np.zeros((system.n, 3))
        for k in frames:
            f, n = self.frames[k], len(self.frames[k].x)
            if f.has & 1:
                c[k] = np.sqrt(f.weight * w_energy) / n * _signs(seed, k, [2**32 - 1])[0]
            if f.has & 2:
                signs = _signs(seed, k, np.arange(3 * n)).reshape(n, 3)
                rows = slice(self._first[k], self._first[k + 1])
                force[rows] = np.sqrt(f.weight * w_force / (3.0 * n)) * signs[self._inner[k]]
            if f.has & 4 and w_stress != 0:
                v = np.sqrt(f.weight * w_stress / 6) / f.volume * _signs(seed, k, 2**32 - 2 - np.arange(6))
                full = np.zeros((3, 3))
                np.add.at(full, VOIGT, 0.5 * v)
                np.add.at(full, VOIGT[::-1], 0.5 * v)
                m[k] = full.ravel()
        device = self.backend.device
        self._tangent = Tangent(device(force), device(m), device(c))

    def predict(self, theta, frames):
        """(energies [n_batch], forces [sum n,3], stresses [n_batch,6] Voigt) of the frames, one after the other."""
        for k in frames:
            if not 0 <= k < len(self.frames):
                raise IndexError(f"frame {k} of {len(self.frames)}")
        system = self._take(theta, frames)
        rows, numbers, kinds = self._batch(frames)
        self._evaluate(system, rows, kinds)
        results = self.backend.host(self._loss(system, numbers, [0, 0, 0, 0, 1, 1, 1]))
        by_row = self.backend.host(self._force[rows])
        forces, at = np.empty((len(rows), 3)), 0
        for k in frames:
            n = len(self.frames[k].x)
            forces[at + self._inner[k]] = by_row[at : at + n]
            forces[at : at + n] += self.frames[k].forces0
            at += n
        energies = results[:, 3] + [self.frames[k].energy0 for k in frames]
        return energies, forces, results[:, 4:] + [self.frames[k].stress0 for k in frames]

    def fingerprints(self, theta, frame):
        """Network inputs G [n, most inputs of any species] of one frame; rows of other species are padded with 0."""
        if not 0 <= frame < len(self.frames):
            raise IndexError(f"frame {frame} of {len(self.frames)}")
        chosen = np.array([frame], dtype=np.int32)
        system = self._take(theta, chosen)
        out = np.zeros((len(self.frames[frame].x), max(self.full.n_fingerprints)))
        for places, _ in self._batch(chosen)[2]:
            g = self.backend.host(self.evaluator.fingerprints.inputs(system, places)[0])
            atoms = self._inner[frame][self._rows[frame][places.species] - self._first[frame]]
            out[atoms, : len(g)] = g.T
        return out


class Turn:
    """Vectors into and out of an optimiser's basis, as adam.turn_on_cpu(); the bases stay on the device."""

    def __init__(self, device="gpu"):
        self.backend, self._known, self._bases = get(device), [], []

    def __call__(self, blocks, basis, x, transpose=False):
        """q x, or q^T x, of every block; float32 [P]."""
        if len(basis) != len(self._known) or any(a is not b for a, b in zip(basis, self._known, strict=True)):
            self._known, self._bases = list(basis), []
            for q in basis:
                self._bases.append([self.backend.device(m, np.float32) for m in (q, q.T)])
        x, y = self.backend.device(x, np.float32), self.backend.xp.empty(len(x), dtype=np.float32)
        kernel = self.backend.kernel(TRAIN, "nnp_turn")
        for block, pair in zip(blocks, self._bases, strict=True):
            n = block.stop - block.start
            kernel((n,), (128,), (np.int32(n), pair[1 if transpose else 0], x[block], y[block]))
        return self.backend.host(y)


def _sums(sizes):
    return np.concatenate([[0], np.cumsum(sizes)])


def _padded(rows):
    """rows and -1 up to whole tiles."""
    return np.concatenate([rows, np.full(-len(rows) % TRAIN_TILE, -1, dtype=np.int32)])


def _check_label(name, value):
    if value is None:
        return
    flat = np.atleast_1d(np.asarray(value, dtype=np.float64)).ravel()
    for k in np.flatnonzero(~np.isfinite(flat) | ((flat < 0) & (name == "weight")))[:1]:
        raise _core.NnpError(1, f"{name} label, number {k} is {flat[k]:g}, expected a finite number")


def _check_loss(kind, deltas):
    if kind not in (0, 1):
        raise _core.NnpError(1, f"nnp_loss.kind is {kind}")
    if kind == 1 and not min(deltas) > 0:
        raise _core.NnpError(1, "nnp_loss: Huber's deltas must be > 0")


def _mix(z):
    """splitmix64 of uint64 [n]: mix() of csrc/trainer.c."""
    z = z + np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


def _signs(seed, frame, i):
    """+-1 for every number in i: random_sign() of csrc/trainer.c."""
    inner = np.uint64(int(frame) << 32) ^ np.asarray(i).astype(np.uint64)
    bits = _mix(np.uint64(seed) ^ _mix(inner))
    return np.where(bits >> np.uint64(63), 1.0, -1.0)
