"""`nnpcore bench`: how fast this machine runs the core. Microseconds an atom, GFLOP/s, share of the FMA peak, memory.

What is timed, on liquid mW water made on the spot: a fresh neighbour list; energy and forces of Stillinger-Weber and of
an MSR network (5 + 5 fingerprints, 25-25) with a list at hand; the gradient of the force loss; a step of dynamics at
298 K with all that belongs to it, rebuilds of the list included. Medians of interleaved runs.

GFLOP/s count what the formulas need for the pairs and triplets inside the cutoffs (count_msr, count_sw: a fused
multiply-add is 2, a division or root 1, an exponential what its polynomial takes), not padding. The peak is
measured in the same run (bench_peak.c, compiled on the spot where there is a C compiler).
"""

import ctypes
import json
import os
import platform
import shutil
import statistics
import subprocess
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise, product
from pathlib import Path

import numpy as np

from . import __version__, _core
from .checkpoint import write_atomic
from .md import MD
from .model import Model, load
from .structures import random_liquid, tile
from .validate import InputError

SEED_BOX = 500  # molecules
DENSITY, TEMPERATURE = 0.9978, 298.0  # g/cm3, K: mW at 1 atm
VECTOR_BYTES = {"baseline": 16, "avx2": 32, "avx512": 64}
LARGEST_FRAME = 20_000  # molecules in a frame of the training gradient


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


# ---- counting ----


def count_environment(x, cell, cutoffs):
    """Mean neighbours and mean unordered neighbour pairs of an atom within each cutoff: [(n, triplets)]."""
    from .neighbors import neighbor_list

    i, d = neighbor_list("id", x, cell, True, max(cutoffs))
    out = []
    for cutoff in cutoffs:
        n = np.bincount(i[d < cutoff], minlength=len(x))
        out.append((n.mean(), (n * (n - 1) / 2).mean()))
    return out


def count_msr(model, x, cell, bits):
    """Floating-point operations an atom of energy and forces of a one-species MSR model (csrc/msr_impl.h)."""
    own = model.describe()
    exp2, cutoff, log = (24, 38, 30) if bits == 64 else (14, 24, 22)
    n2, n3 = own["msr"]["n2"][0][0], own["msr"]["n3"][0][0]
    (n, _), (near, triplets) = count_environment(x, cell, (own["msr"]["rc"], own["msr"]["rc3"]))
    gather = 13 * n + 6 * n  # vectors, lengths; sums of pair gradients into forces
    pairs = n * (cutoff + 6 + n2 * (exp2 + 9))
    sides = near * (cutoff + 26 + n3 * (2 * exp2 + 10))
    threes = triplets * (7 + 16 + n3 * (exp2 + 10 + 8))
    widths = [n2 + n3, *own["hidden"][0], 1]
    weights = sum(a * b for a, b in pairwise(widths))
    network = 4 * weights + sum(widths[1:-1]) * (exp2 + 9) + (n2 + n3) * (log + 3)
    return gather + pairs + sides + threes + network


def count_sw(model, x, cell, bits):
    """Floating-point operations an atom of energy and forces of Stillinger-Weber by moments (csrc/baseline_impl.h)."""
    ((n, _),) = count_environment(x, cell, (model.cutoff,))
    exp = 30 if bits == 64 else 20
    return n * (13 + 6 + 2 * exp + 30 + 21 + 50) + 30


COUNT = {"sw": count_sw, "msr": count_msr}


def fma_peak(isa, bits, threads, seconds=0.1):
    """GFLOP/s of fused multiply-adds on so many threads at once; None where there is no C compiler."""
    compiler = shutil.which(os.environ.get("CC", "cc"))
    if compiler is None:
        return None
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "peak.so")
        command = [compiler, "-O3", "-shared", "-fPIC", str(Path(__file__).with_name("bench_peak.c")), "-o", str(path)]
        if subprocess.run(command, capture_output=True).returncode:
            return None
        peak = ctypes.CDLL(str(path)).nnp_bench_peak
        peak.restype, peak.argtypes = ctypes.c_double, (ctypes.c_int, ctypes.c_int, ctypes.c_double)
        with ThreadPoolExecutor(threads) as pool:  # ctypes lets go of the interpreter
            return sum(pool.map(lambda _: peak(VECTOR_BYTES[isa], bits == 32, seconds), range(threads)))


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
    pbc, cutoff = np.ones(3, dtype=np.intc), models["msr"].cutoff + 1.0
    kept = _core.NeighList()
    return lambda: kept.build(x, cell, pbc, cutoff, threads), len(x)


def time_compute(name):
    def prepare(models, system, precision, threads):
        x, _, cell = system
        species, pbc = np.zeros(len(x), dtype=np.intc), np.ones(3, dtype=np.intc)
        work = _core.Workspace(models[name].core, threads, int(precision == "float32"), 1.0)
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


def time_md(name, steps=20):
    def prepare(models, system, precision, threads):
        x, v, cell = system
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


def rows(models, box, n, threads, runs, tasks, peaks):
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
        for precision, seconds in measure(jobs, runs).items():
            row = {"task": task, "precision": precision, "threads": threads, "n_atoms": len(system[0])}
            atoms, bits = jobs[precision][1], int(precision[5:])
            row["us_per_atom"] = seconds / atoms * 1e6
            row["bytes_per_atom"] = memory[precision]
            if task in COUNT:
                row["flop_per_atom"] = COUNT[task](models[task], box[0], box[2], bits)
                row["gflops"] = row["flop_per_atom"] * atoms / seconds * 1e-9
                peak = peaks[bits, threads]
                row["share_of_peak"] = None if peak is None else row["gflops"] / peak
            yield row


def bench(sizes=(1000, 10_000), threads=(1, 2), runs=5, tasks=None, model=None, say=print):
    """Measure; returns {machine, ..., peak, rows}. sizes: molecules, about; model: an MSR .nnp of one species "O"."""
    tasks = tuple(PREPARE) if tasks is None else tasks
    for task in tasks:
        if task not in PREPARE:
            raise InputError(f"task: {task!r} is not one of {', '.join(PREPARE)}")
    models = {"sw": Model.stillinger_weber("mW"), "msr": load(model or Path(__file__).with_name("mw_msr.nnp"))}
    if models["msr"].method != "msr" or models["msr"].species != ["O"]:
        raise InputError(f"{model}: expected an MSR model of the species O")
    isa = _core.isa()
    peaks = {(bits, t): fma_peak(isa, bits, t) for bits, t in product((64, 32), threads)}
    result = {
        "version": __version__,
        "machine": processor(),
        "cpus": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "load_average": os.getloadavg(),
        "date": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "isa": isa,
        "openmp": bool(_core.has_openmp()),
        "runs": runs,
        "peak": [{"bits": bits, "threads": t, "gflops": peak} for (bits, t), peak in peaks.items()],
        "rows": [],
    }
    say(f"{result['machine']}, {result['cpus']} processors, {isa}, load {result['load_average'][0]:.2f}")
    for (bits, t), peak in peaks.items():
        say(f"FMA peak float{bits}, {t} threads: " + ("no C compiler" if peak is None else f"{peak:.1f} GFLOP/s"))
    box = seed_box(models["sw"])
    say(HEADER)
    for n, t in product(sizes, threads):
        for row in rows(models, box, n, t, runs, tasks, peaks):
            result["rows"].append(row)
            say(line(row))
    return result


HEADER = "task      precision threads    atoms   us/atom  GFLOP/s of peak  B/atom"


def line(row):
    """One row of the table as text."""
    share, memory = row.get("share_of_peak"), row["bytes_per_atom"]
    gflops = f"{row['gflops']:.2f}" if "gflops" in row else ""
    share = "" if share is None else f"{100 * share:.0f} %"
    memory = "" if memory is None else f"{memory:.0f}"
    return (
        f"{row['task']:9s} {row['precision']:9s} {row['threads']:7d} {row['n_atoms']:8d} {row['us_per_atom']:9.3f} "
        f"{gflops:>8s} {share:>7s} {memory:>7s}"
    )


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
