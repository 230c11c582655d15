"""Time of full neighbour lists: ours against vesin and matscipy, interleaved in one process.

    python bench/bench_neighbors.py [--sizes 10000 100000 1000000] [--cutoff 6] [--density 0.05] [--runs 5]
                                    [--threads 1] [--what build vesin matscipy] [--seconds 60] [--json FILE]

What is timed: `build` a fresh list as the core uses it (nnp_neigh_build: allocation included), `rebuild` the same
with the arrays of the last build, `refresh` new positions in an unchanged list, `reverse` its reverse index,
`python` nnpcore.neighbors.neighbor_list("ij"); vesin NeighborList.compute(quantities="ij") and matscipy
neighbour_list("ij"), both full lists. Medians and minima in microseconds per atom. A million atoms take a rival some
ten seconds and 2 GB: --what and --seconds keep that short (each is timed once at least).
"""

import argparse
import json
import os
import platform
import statistics
import time

import numpy as np

from nnpcore import _core
from nnpcore.neighbors import neighbor_list


def liquid(n, density, seed=0):
    """A jittered simple cubic lattice in random order: no two atoms overlap, none in memory order."""
    rng = np.random.default_rng(seed)
    edge = int(np.ceil(n ** (1 / 3)))
    spacing = density ** (-1 / 3) * (n / edge**3) ** (1 / 3)
    sites = rng.permutation(edge**3)[:n]
    grid = np.stack(np.unravel_index(sites, (edge,) * 3), axis=1)
    x = (grid + 0.5 + rng.uniform(-0.3, 0.3, (n, 3))) * spacing
    return np.ascontiguousarray(x), np.eye(3) * edge * spacing


NAMES = ("build", "rebuild", "refresh", "python", "vesin", "matscipy")


def candidates(x, cell, cutoff, threads, wanted):
    """name -> function to time, returning the number of pairs."""
    pbc = np.ones(3, dtype=np.intc)
    kept = _core.NeighList()
    moved = x + 1e-3
    if {"rebuild", "refresh"} & set(wanted):
        kept.build(x, cell, pbc, cutoff, threads)

    def build():
        fresh = _core.NeighList()
        fresh.build(x, cell, pbc, cutoff, threads)
        return fresh.n_pairs

    def rebuild():
        kept.build(x, cell, pbc, cutoff, threads)
        return kept.n_pairs

    def refresh():
        kept.refresh(moved, threads)

    functions = {
        "build": build,
        "rebuild": rebuild,
        "refresh": refresh,
        "python": lambda: len(neighbor_list("ij", x, cell, True, cutoff, threads)[0]),
    }
    try:
        from vesin import NeighborList

        functions["vesin"] = lambda: len(
            NeighborList(cutoff=cutoff, full_list=True).compute(points=x, box=cell, periodic=True, quantities="ij")[0]
        )
    except ImportError:
        pass
    try:
        from matscipy.neighbours import neighbour_list

        functions["matscipy"] = lambda: len(
            neighbour_list("ij", positions=x, cell=cell, pbc=np.ones(3, bool), cutoff=cutoff)[0]
        )
    except ImportError:
        pass
    return {name: function for name, function in functions.items() if name in wanted}


def measure(n, options):
    x, cell = liquid(n, options.density)
    functions = candidates(x, cell, options.cutoff, options.threads, options.what)
    times = {name: [] for name in functions}
    pairs, started = {}, time.perf_counter()
    for run in range(options.runs):
        if run and (time.perf_counter() - started) * (run + 1) / run > options.seconds:
            break
        for name, function in functions.items():
            begin = time.perf_counter()
            pairs[name] = function()
            times[name].append((time.perf_counter() - begin) / n * 1e6)
    counts = {p for p in pairs.values() if p is not None}
    if len(counts) != 1:
        raise SystemExit(f"the codes disagree about the number of pairs: {pairs}")
    row = {"n_atoms": n, "pairs_per_atom": counts.pop() / n, "runs": len(next(iter(times.values())))}
    row["median_us_per_atom"] = {name: statistics.median(t) for name, t in times.items()}
    row["min_us_per_atom"] = {name: min(t) for name, t in times.items()}
    rivals = [row["median_us_per_atom"][name] for name in ("vesin", "matscipy") if name in functions]
    if rivals and "build" in functions:
        row["build_over_fastest_rival"] = row["median_us_per_atom"]["build"] / min(rivals)
    return row


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--sizes", type=int, nargs="+", default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--cutoff", type=float, default=6.0)
    parser.add_argument("--density", type=float, default=0.05, help="atoms per cubic Angstrom")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--what", nargs="+", choices=NAMES, default=NAMES, help="default: all")
    parser.add_argument("--seconds", type=float, default=60, help="for one size, about (default: %(default)s)")
    parser.add_argument("--json")
    options = parser.parse_args()
    result = {
        "machine": platform.processor() or platform.machine(),
        "load_average": os.getloadavg(),
        "isa": os.environ.get("NNPCORE_ISA", "default"),
        **vars(options),
        "rows": [],
    }
    for n in options.sizes:
        row = measure(n, options)
        result["rows"].append(row)
        medians = "  ".join(f"{name} {t:.3f}" for name, t in row["median_us_per_atom"].items())
        ratio = f"  build/rival {row['build_over_fastest_rival']:.3f}" if "build_over_fastest_rival" in row else ""
        print(
            f"{n:8d} atoms, {row['pairs_per_atom']:.1f} pairs/atom, {row['runs']} runs, us/atom: {medians}{ratio}",
            flush=True,
        )
    if options.json:
        with open(options.json, "w") as file:
            json.dump(result, file, indent=1)


if __name__ == "__main__":
    main()
