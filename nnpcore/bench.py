"""`nnpcore bench`: how fast this machine runs the core, and what keeps it from being faster.

What is timed, on liquid mW water made on the spot: a fresh neighbour list; energy and forces of Stillinger-Weber and of
an MSR network (5 + 5 fingerprints, 25-25) with a list at hand; the gradient of the force loss; a step of dynamics at
298 K and 5 fs with all that belongs to it, rebuilds of the list included, and which part of it is not forces. Medians
of interleaved runs.

Operations and bytes are counted by formula (bench_count.py), the peaks they are held against measured in the same
run (bench_native.py): fused multiply-adds, and copies of as many bytes as the task touches. limit says which of
the two bounds is the larger one, "latency" where the time is more than five times both: then instructions that are
neither, or waiting for results, branches and caches, take it.
"""

import json
import os
import platform
import statistics
import time
from itertools import product
from pathlib import Path

import numpy as np

from . import __version__, _core
from . import bench_count as count
from .bench_native import Native
from .checkpoint import write_atomic
from .md import MD
from .model import Model, load
from .structures import random_liquid, tile
from .validate import InputError

SEED_BOX = 500  # molecules
DENSITY, TEMPERATURE = 0.9978, 298.0  # g/cm3, K: mW at 1 atm
LARGEST_FRAME = 20_000  # molecules in a frame of the training gradient
SKIN = 1.0  # Angstrom
LATENCY = 0.2  # share of the nearer bound below which it does not limit


# ---- the system ----


def seed_box(truth):
    """(positions [500, 3], velocities, cell) of liquid mW at 298 K: melted from a random start, 4 ps old."""
    x, cell = random_liquid(SEED_BOX, density=DENSITY, mass=float(truth.mass[0]), rng=1)
    md = MD(truth, x, "O", cell, temperature=1500, ensemble="bussi", dt=2.0, tau=20.0, seed=1)
    md.run(200).set(temperature=TEMPERATURE, dt=5.0)
    md.run(800)
    return md.positions, md.velocities, cell


def repeats(copies):
    """Three factors of copies, as near to a cube as can be."""
    triples = [
        (a, b, copies // (a * b)) for a, b in product(range(1, copies + 1), repeat=2) if copies % (a * b) == 0
    ] if copies <= 4000 else [(20, 10, copies // 200)]  # fmt: skip
    return min(triples, key=lambda t: max(t) / min(t))


def enlarge(box, n):
    """The seed box tiled to about n molecules: (positions, velocities, cell)."""
    times = repeats(max(1, round(n / SEED_BOX)))
    x, cell = tile(box[0], box[2], times)
    return np.ascontiguousarray(x), np.tile(box[1], (int(np.prod(times)), 1)), cell


def resident():
    """Resident memory of this process in bytes; None where /proc does not tell."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except OSError:
        return None
    return pages * os.sysconf("SC_PAGE_SIZE")


# ---- what is timed: task(...) returns (function to time, atoms or atom-steps it does) ----


def time_list(models, system, precision, threads):
    x, _, cell = system
    pbc, cutoff = np.ones(3, dtype=np.intc), models["msr"].cutoff + SKIN
    kept = _core.NeighList()
    return lambda: kept.build(x, cell, pbc, cutoff, threads), len(x)


def time_compute(name):
    def prepare(models, system, precision, threads):
        x, _, cell = system
        species, pbc = np.zeros(len(x), dtype=np.intc), np.ones(3, dtype=np.intc)
        work = _core.Workspace(models[name].core, threads, int(precision == "float32"), SKIN)
        return lambda: work.compute(species, x, cell, pbc, True, False), len(x)

    return prepare


def time_gradient(models, system, precision, threads):
    x, _, cell = system
    species, pbc = np.zeros(len(x), dtype=np.intc), np.ones(3, dtype=np.intc)
    out = models["sw"].compute(x, "O", cell=cell, n_threads=threads)
    trainer = _core.Trainer(models["msr"].to_bytes(), threads, int(precision == "float32"))
    frame = trainer.add(species, x, cell, pbc, energy=out.energy, forces=out.forces)
    theta, frames = np.array(models["msr"].theta), np.array([frame], dtype=np.intc)
    return lambda: trainer.gradient(theta, frames), len(x)


def md_steps(n):
    """Steps of dynamics in a run: four lists' lives, fewer where a step takes long."""
    return 50 if n <= 200_000 else 20


def time_md(name):
    def prepare(models, system, precision, threads):
        x, v, cell = system
        steps = md_steps(len(x))
        md = MD(models[name], x, "O", cell, velocities=v, dt=5.0, precision=precision, threads=threads)
        return lambda: md.run(steps), len(x) * steps

    return prepare


PREPARE = {
    "list": time_list,
    "sw": time_compute("sw"),
    "msr": time_compute("msr"),
    "gradient": time_gradient,
    "md-sw": time_md("sw"),
    "md-msr": time_md("msr"),
}


def measure(jobs, runs):
    """Median seconds of every job, {name: (function, ...)}; the jobs take turns, after one turn that is not counted."""
    times = {name: [] for name in jobs}
    for turn in range(runs + 1):
        for name, job in jobs.items():
            begin = time.perf_counter()
            job[0]()
            if turn:
                times[name].append(time.perf_counter() - begin)
    return {name: statistics.median(t) for name, t in times.items()}


# ---- what it should take ----


class Roofline:
    """Operations and bytes of every task, and the time they take at the machine's peaks."""

    def __init__(self, models, box, threads):
        self.models, self.box, self.native = models, box, Native()
        self.environments = {name: count.model_environment(models[name], box[0], box[2]) for name in models}
        self.peaks = {(bits, t): self.native.fma(_core.isa(), bits, t) for bits, t in product((64, 32), threads)}
        self._splits = {}

    def split(self, task, name, system, precision, threads):
        """Parts of a step of dynamics, from bench_native.py, the median run of three; None without a C compiler.

        Other tasks want the halo alone, which one step tells.
        """
        n, dynamics = len(system[0]), task.startswith("md")
        key = (name, n, dynamics, precision if dynamics else "", threads)
        if key not in self._splits:
            runs, steps = (3 if n < 50_000 else 1, md_steps(n)) if dynamics else (1, 1)
            splits = [self.native.step(self.models[name], system, precision, threads, steps) for _ in range(runs)]
            self._splits[key] = sorted(splits, key=lambda s: s["step"])[runs // 2] if splits[0] else None
        return self._splits[key]

    def count(self, task, system, precision, split):
        """(operations, bytes) an atom; the bytes are None where nothing measured the halo."""
        bits, name = int(precision[5:]), "sw" if task.endswith("sw") else "msr"
        e, model = self.environments[name], self.models[name]
        force = count.flop_sw if name == "sw" else count.flop_msr
        if task == "list":
            flop = count.flop_list(self.models["msr"].cutoff + SKIN, system[2], e.density)
            return flop, count.bytes_list(e.listed)
        halo, builds = (split["halo"], split["builds"]) if split else (None, 0)
        if task == "gradient":
            return count.flop_gradient(model, e, bits), halo and count.bytes_gradient(e, halo)
        if task.startswith("md"):
            flop = force(model, e, bits) + 30 + builds * count.flop_list(model.cutoff + SKIN, system[2], e.density)
            return flop, halo and count.bytes_step(e, halo, builds)
        return force(model, e, bits), halo and count.bytes_compute(e, halo)

    def judge(self, row, system):
        """Add to a row with us_per_atom what was counted, the shares of the peaks, and the limit."""
        task, precision, threads = row["task"], row["precision"], row["threads"]
        name = "sw" if task.endswith("sw") else "msr"
        split = None if task == "list" else self.split(task, name, system, precision, threads)
        flop, traffic = self.count(task, system, precision, split)
        seconds = row["us_per_atom"] * 1e-6
        row.update(flop_per_atom=flop, gflops=flop / seconds * 1e-9, traffic_bytes_per_atom=traffic)
        peak = self.peaks[32 if task == "list" else int(precision[5:]), threads]
        copy = None if traffic is None else self.native.copy(traffic * row["n_atoms"], threads)
        row["share_of_peak"] = peak and row["gflops"] / peak
        row["copy_gb_s"], row["share_of_copy"] = copy, copy and traffic / seconds * 1e-9 / copy
        if peak and copy:
            nearer = max(("compute", row["share_of_peak"]), ("memory", row["share_of_copy"]), key=lambda b: b[1])
            row["limit"] = nearer[0] if nearer[1] >= LATENCY else "latency"
        if task.startswith("md") and split:
            row["split_us"] = {k: v for k, v in split.items() if k not in ("builds", "halo")}
            row["builds_per_step"], row["not_forces"] = split["builds"], 1 - split["forces"] / split["step"]
        return row


def rows(models, box, n, threads, runs, tasks, roofline):
    """One dict for each task and precision, for about n molecules on so many threads."""
    system = enlarge(box, n)
    for task in tasks:
        if task == "gradient" and n > LARGEST_FRAME:
            continue
        jobs, memory = {}, {}
        for precision in ("float64", "float32")[: 1 if task == "list" else 2]:  # the list is the same
            before = resident()
            jobs[precision] = PREPARE[task](models, system, precision, threads)
            jobs[precision][0]()
            memory[precision] = None if before is None else max(0, resident() - before) / len(system[0])
        times = {precision: seconds / jobs[precision][1] for precision, seconds in measure(jobs, runs).items()}
        jobs.clear()
        for precision, seconds in times.items():
            row = {"task": task, "precision": precision, "threads": threads, "n_atoms": len(system[0])}
            row.update(us_per_atom=seconds * 1e6, bytes_per_atom=memory[precision])
            yield roofline.judge(row, system)


def bench(sizes=(1000, 10_000), threads=(1, 2), runs=5, tasks=None, model=None, say=print):
    """Measure; returns {machine, ..., peak, rows}. sizes: molecules, about; model: an MSR .nnp of one species "O"."""
    tasks = tuple(PREPARE) if tasks is None else tasks
    for task in tasks:
        if task not in PREPARE:
            raise InputError(f"task: {task!r} is not one of {', '.join(PREPARE)}")
    models = {"sw": Model.stillinger_weber("mW"), "msr": load(model or Path(__file__).with_name("mw_msr.nnp"))}
    if models["msr"].method != "msr" or models["msr"].species != ["O"]:
        raise InputError(f"{model}: expected an MSR model of the species O")
    box = seed_box(models["sw"])
    roofline = Roofline(models, box, threads)
    result = {
        "version": __version__,
        "machine": processor(),
        "cpus": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "load_average": os.getloadavg(),
        "date": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "isa": _core.isa(),
        "openmp": bool(_core.has_openmp()),
        "runs": runs,
        "peak": [{"bits": bits, "threads": t, "gflops": peak} for (bits, t), peak in roofline.peaks.items()],
        "copy": [{"threads": t, "gb_s": roofline.native.copy(2**28, t)} for t in threads],
        "rows": [],
    }
    say(f"{result['machine']}, {result['cpus']} processors, {result['isa']}, load {result['load_average'][0]:.2f}")
    for t, copy in zip(threads, result["copy"], strict=True):
        say(
            f"{t} threads: " + ("no C compiler, no peaks" if copy["gb_s"] is None else peaks(roofline, t, copy["gb_s"]))
        )
    say(HEADER)
    for n, t in product(sizes, threads):
        for row in rows(models, box, n, t, runs, tasks, roofline):
            result["rows"].append(row)
            say(line(row))
    say(LEGEND)
    return result


def peaks(roofline, threads, copy):
    """The machine's peaks on so many threads as text."""
    double, single = (roofline.peaks[bits, threads] for bits in (64, 32))
    return f"fused multiply-adds {double:.0f} GFLOP/s float64, {single:.0f} float32; copies in memory {copy:.1f} GB/s"


HEADER = (
    "task      precision threads    atoms   us/atom  GFLOP/s of peak  B moved of copy  limit   not forces  B resident"
)
LEGEND = (
    "of peak, of copy: share of the fused multiply-adds and of the copies that this machine does; limit: the nearer of "
    "the two,\nlatency where both are under a fifth; not forces: share of a step of dynamics; B: bytes an atom"
)


def line(row):
    """One row of the table as text."""

    def show(key, form="{:.0f}", scale=1.0):
        value = row.get(key)
        return "" if value is None else form.format(scale * value)

    percent = {"form": "{:.0f} %", "scale": 100}
    return (
        f"{row['task']:9s} {row['precision']:9s} {row['threads']:7d} {row['n_atoms']:8d} {row['us_per_atom']:9.3f} "
        f"{show('gflops', '{:.2f}'):>8s} {show('share_of_peak', **percent):>7s} {show('traffic_bytes_per_atom'):>8s} "
        f"{show('share_of_copy', **percent):>7s}  {row.get('limit', ''):8s} {show('not_forces', **percent):>9s} "
        f"{show('bytes_per_atom'):>11s}"
    ).rstrip()


def processor():
    """The processor's name."""
    try:
        text = Path("/proc/cpuinfo").read_text()
        return next(s.split(":", 1)[1].strip() for s in text.splitlines() if s.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def main(sizes, threads, runs, json_path=None, model=None):
    """The verb `nnpcore bench`."""
    result = bench(sizes, threads, runs, model=model)
    if json_path:
        write_atomic(json_path, (json.dumps(result, indent=1) + "\n").encode())
