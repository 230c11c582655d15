"""MD on a GPU: steps a second, memory, and each kernel's time against the bytes that it has to move.

    python bench/bench_gpu.py [--sizes 1000 10000 100000 1000000] [--steps 100] [--precision float32] [--json FILE]

mW liquid at 298 K, 5 fs, Stillinger-Weber and MSR 5 + 5, 25-25 (nnpcore/mw_msr.nnp). First the loop as users run it;
then some steps with a wait after every kernel, for the table by kernel. "share" is bytes / time over the bandwidth of a
large copy on the same device; bytes are counted from the sizes of the arrays that a kernel reads and writes once
(the gather of opposite entries, which the cache serves, not included). --sizes 10000000: some 15 GB.
"""

import argparse
import json
import time
from collections import defaultdict
from pathlib import Path

import numpy as np


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


def bytes_of(system, real):
    """{kernel: bytes that one call reads and writes}: arrays once, list entries as stored."""
    n, ghosts, entries = system.n, system.n_ghost, int(system.backend.host(system.count).sum())
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
    }


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


def loop(model, start, steps, precision, skin):
    """The MD loop: a row of results, and the MD object."""
    from nnpcore.gpu import backend as gpu
    from nnpcore.md import MD

    backend, (x, v, cell) = gpu.get("gpu"), start
    free, _ = backend.memory()
    options = {"velocities": v, "dt": 5.0, "precision": precision, "skin": skin, "device": "gpu"}
    md = MD(model, x, "O", cell, **options)
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


def by_kernel(md, precision, peak, steps=10):
    """[row] a kernel, slowest first, over some steps and one list."""
    core = md._core
    timed = Timed(core.backend)
    for owner in (core, core.system, core.evaluator, core.evaluator.baseline, core.evaluator.networks):
        if owner is not None:
            owner.backend = timed
    if core.evaluator.fingerprints is not None:
        core.evaluator.fingerprints.backend = timed
    md.run(steps).rebuild()
    counted = bytes_of(core.system, np.dtype(precision).itemsize)
    rows = []
    for name, seconds in sorted(timed.seconds.items(), key=lambda item: -item[1]):
        each, moved = seconds / timed.calls[name], counted.get(name)
        row = {"kernel": name, "calls[1]": timed.calls[name], "us": 1e6 * each}
        if moved is not None:
            row |= {"bytes/atom": moved / len(md), "share": moved / each / peak}
        rows.append(row)
    return rows


def bench(sizes, steps, precision="float32", skin=1.0, say=print):
    """What main() writes: a dict."""
    import nnpcore
    from nnpcore.bench import enlarge, seed_box
    from nnpcore.gpu import backend as gpu
    from nnpcore.model import Model, load

    backend = gpu.get("gpu")
    truth, network = Model.stillinger_weber("mW"), load(Path(nnpcore.__file__).parent / "mw_msr.nnp")
    box, peak = seed_box(truth), bandwidth(backend)
    out = {"version": nnpcore.__version__, "device": backend.name, "precision": precision, "copy[GB/s]": peak / 1e9}
    say(f"{out['device']}, {precision}, copy {peak / 1e9:.0f} GB/s")
    out["runs"] = []
    for n in sizes:
        start = enlarge(box, n)
        for name, model in (("sw", truth), ("msr", network)):
            row, md = loop(model, start, steps, precision, skin)
            row = {"potential": name, **row, "kernels": by_kernel(md, precision, peak)}
            out["runs"].append(row)
            say(
                f"{name:4s}{row['atoms[1]']:>10d} atoms {row['ms/step']:9.3f} ms/step {row['atom-steps/s']:.3g} a.-s./s"
            )
            for k in row["kernels"][:8]:
                share = f"{100 * k['share']:5.1f} %" if "share" in k else "      -"
                say(f"      {k['kernel']:24s}{k['us']:12.1f} us {share}")
            del md
    return out


def main():
    from nnpcore.validate import InputError

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", type=int, nargs="+", default=[1000, 10_000, 100_000, 1_000_000])
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--precision", choices=["float32", "float64"], default="float32")
    parser.add_argument("--skin", type=float, default=1.0)
    parser.add_argument("--json")
    options = parser.parse_args()
    try:
        result = bench(options.sizes, options.steps, options.precision, options.skin)
    except InputError as error:
        raise SystemExit(f"bench_gpu: {error}") from None
    if options.json:
        Path(options.json).write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
