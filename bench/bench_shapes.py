"""Energy and forces of MSR networks of other shapes: time an atom, and how near to the processor's peak they run.

    python bench/bench_shapes.py [--molecules 8000] [--threads 1] [--runs 5] [--only TEXT] [--json FILE]

Liquid mW water with a list at hand, random weights; with several species its atoms take them in turn. A + B are the
fingerprints of a centre: A/S for each of S partner species, B/(S (S+1)/2) for each pair of them, or as near as whole
numbers come. Operations: nnpcore/bench_count.py. A shape that runs at a much smaller share of the peak than its
neighbours in the table wastes what it is given.
"""

import argparse
import json
import os
import time
from pathlib import Path

import numpy as np

from nnpcore import __version__, _core
from nnpcore import bench_count as count
from nnpcore.bench import SKIN, enlarge, measure, processor, seed_box
from nnpcore.bench_native import Native
from nnpcore.model import Model

SPECIES = ["O", "S", "Si", "Ge"]
SHAPES = {  # species, two-body, triplet fingerprints in all, hidden layers
    "1 species, 2 + 2, 10-10": (1, 2, 2, [10, 10]),
    "1 species, 2 + 2, 25-25": (1, 2, 2, [25, 25]),
    "1 species, 5 + 5, 25-25": (1, 5, 5, [25, 25]),
    "1 species, 10 + 20, 25-25": (1, 10, 20, [25, 25]),
    "1 species, 10 + 20, 140-140": (1, 10, 20, [140, 140]),
    "2 species, 4 + 6, 25-25": (2, 4, 6, [25, 25]),
    "2 species, 20 + 40, 140-140": (2, 20, 40, [140, 140]),
    "3 species, 3 + 6, 25-25": (3, 3, 6, [25, 25]),
    "3 species, 6 + 6, 25-25": (3, 6, 6, [25, 25]),
    "3 species, 15 + 30, 25-25": (3, 15, 30, [25, 25]),
    "4 species, 8 + 20, 25-25": (4, 8, 20, [25, 25]),
}


def spread(total, parts):
    """Whole numbers that add up to total, as equal as can be."""
    return [total // parts + (k < total % parts) for k in range(parts)]


def shape_model(n_species, n2, n3, hidden, cutoff="cosine"):
    channels = n_species * (n_species + 1) // 2
    return Model.msr(
        SPECIES[:n_species],
        rc=4.54575,
        rc3=4.3065,
        n2=[spread(n2, n_species)] * n_species,
        n3=[spread(n3, channels)] * n_species,
        hidden=hidden,
        cutoff=cutoff,
        seed=1,
    )


def job(model, species, x, cell, precision, threads):
    work = _core.Workspace(model.core, threads, int(precision == "float32"), SKIN)
    pbc = np.ones(3, dtype=np.intc)
    return (lambda: work.compute(species, x, cell, pbc, True, False),)


def shape_rows(name, system, options, native):
    """One dict for each precision of one shape."""
    x, _, cell = system
    n_species = SHAPES[name][0]
    model = shape_model(*SHAPES[name], cutoff=options.cutoff)
    species = np.arange(len(x), dtype=np.intc) % n_species
    e = count.model_environment(model, x, cell, species)
    jobs = {p: job(model, species, x, cell, p, options.threads) for p in ("float64", "float32")}
    for precision, seconds in measure(jobs, options.runs).items():
        bits, us = int(precision[5:]), seconds / len(x) * 1e6
        flop = count.flop_msr(model, e, bits)
        peak = native.fma(_core.isa(), bits, options.threads)
        row = {"shape": name, "precision": precision, "n_atoms": len(x), "us_per_atom": us, "flop_per_atom": flop}
        yield {**row, "gflops": flop / us * 1e-3, "share_of_peak": peak and flop / us * 1e-3 / peak}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--molecules", type=int, default=8000)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--only", default="", metavar="TEXT", help="shapes with this in their names")
    parser.add_argument("--cutoff", choices=["cosine", "smooth"], default="cosine")
    parser.add_argument("--json", metavar="FILE")
    options = parser.parse_args()
    native, system = Native(), enlarge(seed_box(Model.stillinger_weber("mW")), options.molecules)
    result = {
        "version": __version__,
        "machine": processor(),
        "load_average": os.getloadavg(),
        "date": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "isa": _core.isa(),
        **vars(options),
        "rows": [],
    }
    print(f"{result['machine']}, {result['isa']}, load {result['load_average'][0]:.2f}, {options.threads} threads")
    for name in (s for s in SHAPES if options.only in s):
        rows = list(shape_rows(name, system, options, native))
        result["rows"] += rows
        text = "   ".join(
            f"{r['precision']} {r['us_per_atom']:7.3f} us/atom {r['gflops']:6.1f} GFLOP/s"
            + (f" {100 * r['share_of_peak']:3.0f} % of peak" if r["share_of_peak"] else "")
            for r in rows
        )
        print(f"{name:28s} {text}", flush=True)
    if options.json:
        Path(options.json).write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
