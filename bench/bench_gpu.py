"""MD and training on a GPU: steps a second, memory, and each kernel's time against its roofline.

    python bench/bench_gpu.py [--work msr sw bp narrow train] [--sizes 1000 10000 100000 1000000] [--steps 100]
                              [--precision float32] [--skin 1.0] [--json FILE]

    sw, msr   mW liquid at 298 K, 5 fs: Stillinger-Weber, and MSR 5 + 5, 25-25 (nnpcore/mw_msr.nnp)
    bp        silicon at 300 K, 0.5 fs: 8 radial and 40 wide symmetry functions, 6 A, 40-40 (bench_bp.py: "wide")
    narrow    the same with 27 narrow functions, 5.5 A, 24-24
    train     loss and gradient of 8 frames of 256 water molecules, MSR 20 + 40, 140-140 (bench_train.py)

First the loop as users run it; then some steps with a wait after every kernel, for the table by kernel. Both peaks are
measured in the same run: bandwidth of a large copy, rate of fused multiply-adds. "share" is the larger of bytes /
bandwidth and operations / rate over the time that the kernel took. Bytes: the arrays that a kernel reads and writes,
once each (gathers that the cache serves not included). Operations: what the formulas as implemented need for the
neighbours and triplets that 2048 atoms of the run have (a fused multiply-add is 2, exp 14 or 24, a square root or
division 1), not padding, masked lanes, index arithmetic, loads. --sizes 10000000: some 15 GB with sw.
"""

import argparse
import json
import sys
import time
from collections import defaultdict
from itertools import pairwise
from pathlib import Path

import numpy as np

MD_WORK = ("sw", "msr", "bp", "narrow")
SAMPLE = 64  # slices of 32 rows whose neighbours are counted
EXP, CUT = {"float32": 14, "float64": 24}, {"float32": 24, "float64": 38}


class Timed:
    """A backend whose kernels are waited for and timed; everything else is the backend's."""

    def __init__(self, backend):
        self.backend, self.seconds, self.calls = backend, defaultdict(float), defaultdict(int)

    def __getattr__(self, name):
        return getattr(self.backend, name)

    def kernel(self, file, name, precision="float64"):
        run = self.backend.kernel(file, name, precision)

        def call(grid, block, args, shared_mem=0):
            self.backend.synchronize()
            began = time.perf_counter()
            run(grid, block, args, shared_mem=shared_mem)
            self.backend.synchronize()
            self.seconds[name] += time.perf_counter() - began
            self.calls[name] += 1

        return call

    def launch(self, file, name, n, args, precision="float64", block=128, shared_mem=0):
        if n > 0:
            self.kernel(file, name, precision)((-(-int(n) // block),), (block,), args, shared_mem=shared_mem)


# ---- peaks ----


def bandwidth(backend, size=1 << 27):
    """Bytes a second of a copy."""
    source = backend.xp.zeros(size // 8)
    target = backend.xp.empty(size // 8)
    target[:] = source
    backend.synchronize()
    began = time.perf_counter()
    for _ in range(10):
        target[:] = source
    backend.synchronize()
    return 20 * size / (time.perf_counter() - began)


def fma_rate(backend, precision, blocks=8192, loops=4096):
    """Operations a second of fused multiply-adds."""
    real = np.dtype(precision).type
    out = backend.xp.empty(256 * blocks, dtype=real)
    kernel = backend.kernel("cuda/peak.cu", "nnp_peak_fma", precision)
    for n in (8, loops):  # the first one compiles and warms up
        backend.synchronize()
        began = time.perf_counter()
        kernel((blocks,), (256,), (np.int32(n), real(0.999), real(1e-3), out))
        backend.synchronize()
    return 2.0 * 8 * loops * 256 * blocks / (time.perf_counter() - began)


# ---- counting ----


def sample(system, cutoff, near):
    """Of some rows, a mean an atom: listed neighbours, those within cutoff and near, ordered pairs of near ones, and
    those of them that are nearer than near to one another."""
    host, n_slices = system.backend.host, min(SAMPLE, system.n_slices)
    first = host(system.slice_first[: n_slices + 1])
    rows = min(32 * n_slices, system.n)
    count, index = host(system.count[:rows]), host(system.index[: first[-1]])
    used = np.unique(index[index >= 0])
    place = np.zeros(system.n_total, dtype=np.int32)
    place[used] = np.arange(len(used))
    x, own = host(system.x[system.backend.device(used)])[:, :3], host(system.x[:rows])[:, :3]
    sums = np.zeros(5)
    for i in range(rows):
        d = x[place[index[first[i // 32] + i % 32 + 32 * np.arange(count[i])]]] - own[i]
        r = np.linalg.norm(d, axis=1)
        d = d[r < near]
        apart = np.linalg.norm(d[:, None] - d[None], axis=-1)
        pairs = len(d) * (len(d) - 1)
        sums += [count[i], (r < cutoff).sum(), len(d), pairs, (apart < near).sum() - len(d)]
    return dict(zip(("listed", "n", "near", "pairs", "close"), sums / max(rows, 1), strict=True))


def operations_of(model, system, precision):
    """{kernel: operations an atom}, of one species."""
    e, cut = EXP[precision], CUT[precision]
    spec = model.metadata
    if model.method == "baseline":
        return {"nnp_sw_rows": 2 * 23 + sample(system, model.cutoff, model.cutoff)["n"] * (13 + 2 * (2 * e + 30) + 71)}
    widths = [model.n_fingerprints[0], *spec["network"][0]["hidden"], 1]
    weights = sum(a * b for a, b in pairwise(widths))
    out = {"nnp_net_evaluate": 4 * weights + sum(widths[1:-1]) * (e + 9)}
    if model.method == "msr":
        m, n2, n3 = spec["msr"], spec["msr"]["n2"][0][0], spec["msr"]["n3"][0][0]
        s = sample(system, m["rc"], m["rc3"])
        both = s["listed"] * 9 + s["n"] * (cut + 6) + s["near"] * (cut + 26 + 2 * n3 * e)
        out["nnp_msr_inputs"] = both + s["n"] * n2 * (e + 3) + s["pairs"] / 2 * (7 + n3 * (e + 10))
        out["nnp_msr_gradient"] = both + s["n"] * n2 * (e + 6) + s["pairs"] * (7 + n3 * (e + 12))
    else:
        counts = operations_bp(model, system, precision, e, cut)
        out |= dict(zip(("nnp_bp_values", "nnp_bp_gradient"), counts, strict=True))
    return out


def operations_bp(model, system, precision, e, cut):
    """(values, gradient): operations an atom of a one-species model, by the tables that the kernels read."""
    from nnpcore.gpu.bp import GROUP, SWEEP, Tables

    tables = Tables(model, precision)
    near = float(max(tables.rows["near"]))
    s, c = sample(system, model.cutoff, near), tables.centres[0]
    listed = s["listed"] * (12 + (cut + c["max_own"] * (e + 8) if c["max_own"] else 0))
    values = gradient = listed + s["near"] * (cut + c["n_terms"] * (e + 8))
    moments = s["near"] * c["n_sets"] * 2 * 26 + s["near"] * 3 * 26
    values, gradient = values + moments, gradient + moments + s["near"] * (c["n_sets"] * 100 + 150)
    for row in tables.rows["sweep"]:
        sweep = dict(zip(SWEEP, row, strict=False))
        groups = [dict(zip(GROUP, g, strict=True)) for g in tables.rows["group"][sweep["first"] :][: sweep["n"]]]
        if sweep["by_moments"]:
            values, gradient = values + len(groups) * 140, gradient + len(groups) * 110
            continue
        narrow = groups[0]["narrow"]
        pairs = s["close"] if narrow else s["pairs"]
        far = cut + e + 10 if narrow else 2
        values += s["pairs"] / 2 * 9 + pairs / 2 * (9 + sum(far + 4.5 * g["n"] for g in groups))
        each = (far + 10 + 4 * g["degree"] + 12 * (g["n"] - g["n_poly"]) for g in groups)
        gradient += s["pairs"] * 9 + pairs * (30 + sum(each))
    return values, gradient


def bytes_of(system, real, inputs):
    """{kernel: bytes that one call reads and writes}: arrays once, list entries as stored; inputs: of the network."""
    n, ghosts, entries = system.n, system.n_ghost, int(system.backend.host(system.count.sum()))
    row = 4 + 4 * system.n_species + 32  # count, segments, position
    return {
        "nnp_md_drift": n * (3 * 24 + 8 + 2 * 24 + 2 * 24 + 24),
        "nnp_md_kick": n * (2 * 24 + 2 * 8 + 24),
        "nnp_refresh_ghosts": ghosts * (4 + 24 + 24 + 4 + 32),
        "nnp_forces": n * (4 + 24) + entries * (4 + 3 * real),
        "nnp_sw_rows": n * (row + 8) + entries * (4 + 3 * real),
        "nnp_row_virials": n * (4 + 32 + 48) + entries * (4 + 3 * real),
        "nnp_add_e0": n * (32 + 16),
        "nnp_fill": n * (4 + 32 + 4) + entries * 4,
        "nnp_reverse": n * row + entries * (4 + 4 + 4),
        "nnp_msr_inputs": n * (row + 2 * inputs * real) + entries * 4,
        "nnp_msr_gradient": n * (row + 2 * inputs * real) + entries * (4 + 3 * real),
        "nnp_bp_values": n * (row + inputs * real + 4) + entries * 4,
        "nnp_bp_gradient": n * (row + inputs * real) + entries * (4 + 3 * real),
        "nnp_net_evaluate": n * (4 + 2 * inputs * real + 8),
    }


# ---- what is run ----


def silicon(n):
    """(positions, None, cell) of about n atoms, shaken by 0.1 A."""
    from nnpcore.bench import repeats
    from nnpcore.structures import diamond, tile

    x, cell = diamond(5.431, 1)
    x, cell = tile(x, cell, repeats(max(1, round(n / 8))))
    return x + np.random.default_rng(1).normal(0, 0.1, x.shape), None, cell


def loop(model, start, steps, precision, skin, dt):
    """The MD loop: a row of results, and the MD object."""
    from nnpcore.gpu import backend as gpu
    from nnpcore.md import MD

    backend, (x, v, cell) = gpu.get("gpu"), start
    free, _ = backend.memory()
    options = {"dt": dt, "precision": precision, "skin": skin, "device": "gpu"}
    options |= {"temperature": 300.0} if v is None else {"velocities": v}
    md = MD(model, x, model.species[0], cell, **options)
    md.run(max(1, steps // 10))
    before, builds = md.thermo(stress=False)["total"], md.n_builds
    backend.synchronize()
    began = time.perf_counter()
    md.run(steps)
    backend.synchronize()
    seconds = time.perf_counter() - began
    row = {
        "atoms[1]": len(md),
        "ms/step": 1e3 * seconds / steps,
        "atom-steps/s": len(md) * steps / seconds,
        "list builds[1]": md.n_builds - builds,
        "memory[bytes/atom]": (free - backend.memory()[0]) / len(md),
        "energy change[eV/atom]": (md.thermo(stress=False)["total"] - before) / len(md),
    }
    return row, md


def by_kernel(md, model, precision, peaks, steps=10):
    """[row] a kernel, slowest first, over some steps and one list."""
    core = md._core
    timed = Timed(core.backend)
    for owner in (core, core.system, core.evaluator, core.evaluator.baseline, core.evaluator.networks):
        if owner is not None:
            owner.backend = timed
    if core.evaluator.fingerprints is not None:
        core.evaluator.fingerprints.backend = timed
    md.run(steps).rebuild()
    inputs = model.n_fingerprints[0] if model.method != "baseline" else 0
    moved = bytes_of(core.system, np.dtype(precision).itemsize, inputs)
    done = operations_of(model, core.system, precision)
    return table(timed, len(md), moved, done, peaks)


def table(timed, n, moved, done, peaks):
    """Rows of kernels by their time; moved: bytes, done: operations an atom of n."""
    rows = []
    for name, seconds in sorted(timed.seconds.items(), key=lambda item: -item[1]):
        each = seconds / timed.calls[name]
        row = {"kernel": name, "calls[1]": timed.calls[name], "us": 1e6 * each}
        if name in moved:
            bounds = {"memory": moved[name] / peaks[0], "arithmetic": n * done.get(name, 0.0) / peaks[1]}
            row |= {"bytes/atom": moved[name] / n, "operations/atom": done.get(name, 0.0)}
            row |= {"bound": max(bounds, key=bounds.get), "share": max(bounds.values()) / each}
        rows.append(row)
    return rows


def training(precision, frames, runs, peaks):
    """A row of results of loss and gradient over a batch of frames."""
    from nnpcore import Model
    from nnpcore.gpu.train import Trainer

    case = beside("bench_train").CASES["water 768, MSR 20+40 140-140"]
    rng = np.random.default_rng(1)
    made = [case[0](rng) for _ in range(frames)]
    model = Model.msr(sorted(set(made[0][0])), seed=1, cutoff="smooth", **case[1])
    trainer = Trainer(model, precision)
    for species, x, cell in made:
        kinds = np.array([model.species.index(s) for s in species], dtype=np.int32)
        trainer.add(kinds, x, cell, np.ones(3, dtype=np.int32), 0.0, np.zeros_like(x), None, 1.0)
    theta, batch = np.array(model.theta), np.arange(frames, dtype=np.int32)
    times = []
    for _ in range(runs + 1):  # the first one compiles
        began = time.perf_counter()
        trainer.gradient(theta, batch, w_energy=1.0, w_force=1.0)
        times.append(time.perf_counter() - began)
    timed = Timed(trainer.backend)
    evaluator = trainer.evaluator
    for owner in (trainer, evaluator, evaluator.fingerprints, evaluator.networks):
        owner.backend = timed
    trainer.gradient(theta, batch, w_energy=1.0, w_force=1.0)
    ms = 1e3 * float(np.median(times[1:])) / frames
    row = {"potential": "train", "frames[1]": frames, "atoms[1]": len(made[0][1]), "ms/frame": ms}
    return {**row, "kernels": table(timed, frames * len(made[0][1]), {}, {}, peaks)}


def beside(name):
    """A module of this folder."""
    sys.path.insert(0, str(Path(__file__).parent))
    try:
        return __import__(name)
    finally:
        sys.path.pop(0)


def starts(work, sizes):
    """(name, model, start, dt) of every MD run."""
    import nnpcore
    from nnpcore.bench import enlarge, seed_box
    from nnpcore.model import Model, load

    water = {
        "sw": lambda: Model.stillinger_weber("mW"),
        "msr": lambda: load(Path(nnpcore.__file__).parent / "mw_msr.nnp"),
    }
    box = seed_box(water["sw"]()) if set(work) & set(water) else None
    bp = beside("bench_bp") if set(work) & {"bp", "narrow"} else None
    solid = {"bp": lambda: bp.wide((1, 2, 3, 4)), "narrow": lambda: bp.narrow()}
    for n in sizes:
        for name in work:
            if name in water:
                yield name, water[name](), enlarge(box, n), 5.0
            elif name in solid:
                yield name, bp.small_weights(solid[name](), np.random.default_rng(0)), silicon(n), 0.5


def bench(sizes, steps, precision="float32", skin=1.0, say=print, work=MD_WORK, frames=8):
    """What main() writes: a dict."""
    import nnpcore
    from nnpcore.gpu import backend as gpu

    backend = gpu.get("gpu")
    peaks = bandwidth(backend), fma_rate(backend, precision)
    out = {"version": nnpcore.__version__, "device": backend.name, "precision": precision}
    out |= {"copy[GB/s]": peaks[0] / 1e9, "fma[GFLOP/s]": peaks[1] / 1e9, "runs": []}
    say(f"{out['device']}, {precision}, copy {peaks[0] / 1e9:.0f} GB/s, fma {peaks[1] / 1e9:.0f} GFLOP/s")
    for name, model, start, dt in starts(work, sizes):
        row, md = loop(model, start, steps, precision, skin, dt)
        out["runs"].append({"potential": name, **row, "kernels": by_kernel(md, model, precision, peaks)})
        del md
        say(f"{name:7s}{row['atoms[1]']:>10d} atoms {row['ms/step']:9.3f} ms/step {row['atom-steps/s']:.3g} a.-s./s")
        show(out["runs"][-1], say)
    if "train" in work:
        out["runs"].append(training(precision, frames, 7, peaks))
        say(f"train  {frames:>6d} frames of 768 atoms {out['runs'][-1]['ms/frame']:9.3f} ms a frame")
        show(out["runs"][-1], say)
    return out


def show(run, say):
    """The slowest kernels, a line each."""
    for k in run["kernels"][:8]:
        share = f"{100 * k['share']:5.1f} % of {k['bound']}" if "share" in k else "      -"
        say(f"      {k['kernel']:24s}{k['us']:12.1f} us {share}")


def main():
    from nnpcore.validate import InputError

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--work", nargs="+", choices=[*MD_WORK, "train"], default=[*MD_WORK, "train"])
    parser.add_argument("--sizes", type=int, nargs="+", default=[1000, 10_000, 100_000, 1_000_000])
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--precision", choices=["float32", "float64"], default="float32")
    parser.add_argument("--skin", type=float, default=1.0)
    parser.add_argument("--frames", type=int, default=8, help="of a training batch")
    parser.add_argument("--json", metavar="FILE")
    options = parser.parse_args()
    try:
        result = bench(
            options.sizes, options.steps, options.precision, options.skin, print, options.work, options.frames
        )
    except InputError as error:
        raise SystemExit(f"bench_gpu: {error}") from None
    if options.json:
        Path(options.json).write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
