"""Liquids of the demo: state points, melts, training frames, the NVT runs that give g(r), energy and pressure."""

import os
import threading
import zlib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np

from . import analysis
from .data import Frame
from .md import MD, Diverged
from .md_start import disordered_box

MASS, SYMBOL = 18.015, "O"  # amu; a molecule of mW is one particle
ICE_LIKE = 0.25  # fraction of ice-like molecules above which a sample is called crystalline; liquids: under 0.1
CAVITY = 5.0  # A, radius of an empty sphere above which a liquid is called cavitated; liquids: 3 to 4.3
ATTEMPTS = 4  # at a liquid that does not cavitate


@dataclass(frozen=True)
class StatePoint:
    """density g/cm3, temperature K, and whether the network is trained there."""

    density: float
    temperature: float
    trained: bool = True

    @property
    def name(self):
        return f"{self.density:.2f} g/cm3 {self.temperature:.1f} K"


# the three of the published training, J. Chem. Phys. 158, 104501 (2023); then densities never shown
STATE_POINTS = (
    StatePoint(1.07, 270.9),
    StatePoint(0.92, 221.1),
    StatePoint(0.92, 270.9),
    StatePoint(1.00, 270.9, trained=False),
    StatePoint(1.22, 270.9, trained=False),
)
TRAINED = tuple(p for p in STATE_POINTS if p.trained)
HOT = 800.0  # K, of a few training frames: molecules come as near to each other as they do in a liquid of 1.3 g/cm3
WARM = 270.9  # K: where a liquid flows fast enough to forget its melt


def stream(seed, *labels):
    """An integer below 2^62 for one use of random numbers: any two (seed, labels) give unrelated ones."""
    words = [zlib.crc32(repr(label).encode()) for label in labels]
    return int(np.random.SeedSequence([seed, *words]).generate_state(1, np.uint64)[0] >> np.uint64(2))


@dataclass
class Sample:
    """What an NVT run of one potential at one state point gave.

    r, g, g_error [bins]; energy, pressure: (mean, standard error) in eV per molecule and GPa; temperature K;
    ice, void: largest fraction of ice-like molecules and largest empty sphere (A) in frames, which are positions along
    the run; cell [3][3] A; attempts: runs it took to get one without a cavity; failure: text, or None.
    """

    r: np.ndarray | None = None
    g: np.ndarray | None = None
    g_error: np.ndarray | None = None
    energy: tuple = (float("nan"),) * 2
    pressure: tuple = (float("nan"),) * 2
    temperature: float = float("nan")
    ice: float = float("nan")
    void: float = float("nan")
    attempts: int = 1
    frames: list = field(default_factory=list)
    cell: np.ndarray | None = None
    failure: str | None = None


_stop = threading.Event()


def check_stop():
    """Leave a simulation where side_by_side() was interrupted."""
    if _stop.is_set():
        raise KeyboardInterrupt


def side_by_side(work, points):
    """[work(point) for point in points], as many at once as there are processors: small systems gain more from
    a processor each than from sharing them. Each result depends on its own seed alone."""
    processors = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    _stop.clear()
    with ThreadPoolExecutor(min(processors, len(points))) as pool:
        jobs = [pool.submit(work, point) for point in points]
        try:
            return [job.result() for job in jobs]
        except BaseException:
            _stop.set()
            for job in jobs:
                job.cancel()
            raise


def melt(model, n, point, seed, scale=1.0):
    """A liquid of n molecules at the point's density and 270.9 K or its own higher temperature: (positions, cell).

    A displaced lattice is melted at 1000 K for 2 ps (times scale), then brought down over 4 ps.
    """
    start = disordered_box(n, SYMBOL, point.density, MASS, stream(seed, "box"))
    options = dict(temperature=1000.0, ensemble="langevin", friction=0.02, seed=stream(seed, "melt"), dt=5.0)
    simulation = MD(model, start.positions, SYMBOL, start.cell, threads=1, **options)
    simulation.run(round(400 * scale))
    for temperature in (600.0, WARM, WARM):
        check_stop()
        simulation.set(temperature=temperature)
        simulation.run(round(270 * scale))
    return simulation.positions, start.cell


def settle(simulation, point, steps):
    """Bring a liquid at 270.9 K to the point's temperature: cooled over the first half of steps, held for the rest."""
    ramp = [*np.linspace(WARM, point.temperature, 11)[1:], *[point.temperature] * 10]
    for temperature in ramp:
        check_stop()
        simulation.set(temperature=float(temperature))
        simulation.run(steps // 20)


def training_frames(model, n, point, plan, seed):
    """plan.frames labelled frames of n molecules: (frames, fraction of ice-like molecules at the end).

    They lie plan.stride steps of 5 fs apart, four times that at temperatures where the liquid is slow. One more in
    twenty, at HOT, shows the network molecules closer than they come at the point's temperature: they will in a denser
    liquid, and what a network makes of them unseen may be a hole that they fall into.
    """
    slow = point.temperature < WARM
    positions, cell = melt(model, n, point, seed)
    options = dict(temperature=HOT, ensemble="bussi", tau=100.0, dt=5.0, seed=stream(seed, "sample"))
    simulation = MD(model, positions, SYMBOL, cell, threads=1, **options)
    frames = []
    for k in range(-(-plan.frames // 20)):
        simulation.run(plan.stride)
        frames.append(labelled(model, simulation.positions, cell, point, f"hot {k}"))
    simulation.set(temperature=WARM)
    settle(simulation, point, plan.settle * (4 if slow else 1))
    for k in range(plan.frames):
        check_stop()
        simulation.run(plan.stride * (4 if slow else 1))
        frames.append(labelled(model, simulation.positions, cell, point, k))
    return frames, ice_like(simulation.positions, cell)


def labelled(model, positions, cell, point, index):
    """A Frame with the model's energy, forces and stress."""
    out = model.compute(positions, SYMBOL, cell=cell)
    return Frame(
        species=(SYMBOL,) * len(positions),
        positions=positions,
        cell=cell,
        pbc=(True,) * 3,
        energy=out.energy,
        forces=out.forces,
        stress=out.stress,
        config_type=point.name,
        source=f"{point.name}@{index}",
    )


def nvt(model, start, point, plan, seed, precision):
    """An NVT run (Bussi, 10 fs) from start = (positions, cell), a liquid at 270.9 K: a Sample.

    Every potential is settled by itself, with the same protocol. At 0.92 g/cm3 the liquid is stretched (-0.27 GPa) and
    metastable: one run in several opens a cavity, after which pressure and g(r) are those of a denser liquid around a
    hole. Such a run is begun again with other random numbers. One that diverges gives Sample.failure.
    """
    positions, cell = start
    slow = point.temperature < WARM
    options = dict(temperature=WARM, ensemble="bussi", tau=100.0, dt=10.0, precision=precision, threads=1)
    try:
        for attempt in range(1, ATTEMPTS + 1):
            simulation = MD(model, positions, SYMBOL, cell, seed=stream(seed, "nvt", attempt), **options)
            settle(simulation, point, plan.settle * (4 if slow else 1))
            steps = plan.steps * (2 if slow else 1)
            sample = _measure(simulation, point, plan, steps, give_up=attempt < ATTEMPTS)
            if sample is not None:
                sample.attempts = attempt
                return sample
    except Diverged as error:
        return Sample(cell=cell, failure=" ".join(str(error).split()))


def _measure(simulation, point, plan, steps, give_up):
    """The Sample of `steps` more steps; with give_up None as soon as there is a cavity."""
    sample = Sample(cell=simulation.cell, ice=0.0, void=0.0)
    r_max = min(plan.r_max, 0.5 * float(np.linalg.norm(sample.cell, axis=1).min()))
    bins = round(r_max / plan.bin_width)
    rdf = simulation.sample_rdf(bins * plan.bin_width, bins, every=plan.every, start=simulation.step)
    rows, n = [], len(simulation)
    for k in range(steps // plan.every):
        check_stop()
        simulation.run(plan.every)
        thermo = simulation.thermo()
        rows.append((thermo["potential"] / n, thermo["pressure"], thermo["temperature"]))
        if (k + 1) % (steps // plan.every // plan.test_frames) == 0:
            positions = simulation.positions
            sample.frames.append(positions)
            sample.ice = max(sample.ice, ice_like(positions, sample.cell))
            sample.void = max(sample.void, largest_void(positions, sample.cell))
            if give_up and sample.void > CAVITY:
                return None
    energy, pressure, temperature = np.array(rows).T
    sample.energy, sample.pressure = analysis.mean_error(energy, 8), analysis.mean_error(pressure, 8)
    sample.temperature = float(temperature.mean())
    result = rdf.result()
    sample.r, sample.g, sample.g_error = result.r, result.total, block_error(rdf)
    return sample


def block_error(rdf, n_min=8):
    """Standard error [bins] of g(r): as analysis.mean_error(), the largest over block lengths, bin by bin."""
    counts, samples, inverse_volume = rdf.core.get()
    length = 1
    while samples > length * len(counts):
        length *= 2
    n = int(rdf.number.sum())
    edges = np.linspace(0, rdf.r_max, rdf.bins + 1)
    ideal = n * (n - 1) * 4 / 3 * np.pi * np.diff(edges**3) * inverse_volume / samples
    blocks = counts[: samples // length].sum(axis=(1, 2)) / (length * ideal)
    if len(blocks) < 2:
        return np.full(rdf.bins, np.nan)
    error = np.zeros(rdf.bins)
    while True:
        error = np.maximum(error, blocks.std(axis=0, ddof=1) / np.sqrt(len(blocks)))
        if len(blocks) < 2 * n_min:
            return error
        half = len(blocks) // 2 * 2
        blocks = 0.5 * (blocks[0:half:2] + blocks[1:half:2])


def ice_like(positions, cell):
    """Fraction of molecules in ice Ic or Ih: all four nearest neighbours staggered, or three and one eclipsed.

    Bonds by the correlation of orders l = 3 of two molecules' four neighbours: staggered c < -0.8, eclipsed
    -0.35 < c < 0.25; E. B. Moore, E. de la Llave, K. Welke, D. A. Scherlis, V. Molinero, Phys. Chem. Chem. Phys. 12,
    4124 (2010). The sums over m are Legendre polynomials of the angles between neighbours. Rectangular cells.
    """
    lengths = np.diag(cell)
    near, unit = np.empty((len(positions), 4), dtype=int), np.empty((len(positions), 4, 3))
    for i, x in enumerate(positions):
        d = positions - x
        d -= lengths * np.round(d / lengths)
        distance = (d * d).sum(axis=1)
        distance[i] = np.inf
        near[i] = np.argpartition(distance, 4)[:4]
        unit[i] = d[near[i]] / np.sqrt(distance[near[i], None])

    def product(a, b):  # sum over m of q_3m q_3m*, up to a factor
        cosine = np.einsum("...kc,...lc->...kl", a, b)
        return (0.5 * cosine * (5 * cosine**2 - 3)).sum(axis=(-1, -2))

    norm = np.sqrt(np.maximum(product(unit, unit), 1e-12))
    c = product(unit[:, None], unit[near]) / (norm[:, None] * norm[near])
    staggered, eclipsed = (c < -0.8).sum(axis=1), ((c > -0.35) & (c < 0.25)).sum(axis=1)
    return float(((staggered == 4) | ((staggered == 3) & (eclipsed == 1))).mean())


def largest_void(positions, cell, spacing=1.8):
    """Radius (A) of the largest sphere without a molecule's centre in it, about points of a grid. Rectangular cells."""
    lengths = np.diag(cell)
    axes = [np.arange(0.0, length, length / np.ceil(length / spacing)) for length in lengths]
    largest = 0.0
    for x in axes[0]:
        squares = []  # along each axis: [points][molecules]
        for axis, points in enumerate(([x], axes[1], axes[2])):
            d = np.subtract.outer(points, positions[:, axis])
            squares.append((d - lengths[axis] * np.round(d / lengths[axis])) ** 2)
        nearest = (squares[1][:, None] + (squares[0] + squares[2])[None]).min(axis=2)
        largest = max(largest, float(nearest.max()))
    return float(np.sqrt(largest))
