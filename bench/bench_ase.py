"""What the ASE calculator adds to the C call, and ASE's own loop to that: `python bench/bench_ase.py --json out.json`.

A liquid of n molecules runs under ASE's VelocityVerlet; the positions it passes through are then given to the core
(nnp_compute_cell: forces, virial, own list with the same skin) and to Calculator.get_property(), in blocks by turns.
"""

import argparse
import json
import statistics
import time
from pathlib import Path

import numpy as np
from ase import Atoms, units
from ase.md.verlet import VelocityVerlet

import nnpcore
import nnpcore.ase
from nnpcore import _core, structures

PRECISIONS = {"float64": 0, "float32": 1}
BLOCK = 25


def timed(call, *arguments):
    start = time.perf_counter()
    call(*arguments)
    return time.perf_counter() - start


def liquid(n, model, calc):
    """n molecules at 1 g/cm3 and about 300 K, off a disordered start by 200 steps of a strong thermostat."""
    from nnpcore.md import MD

    edge = structures.density_to_volume(1.0, n * model.mass[0]) ** (1 / 3)
    x, _ = structures.random_liquid(n, edge * np.eye(3), min_distance=2.3, rng=np.random.default_rng(1))
    md = MD(model, x, "O", edge * np.eye(3), temperature=300, ensemble="bussi", dt=2.0, tau=20.0, seed=1)
    md.run(300)
    atoms = Atoms(["O"] * n, md.positions, cell=edge * np.eye(3), pbc=True, calculator=calc)
    calc.set_masses(atoms)
    atoms.set_velocities(md.velocities / units.fs)
    return atoms


def measure(model, n, precision, n_threads, skin, steps):
    """Medians in µs of one call: core, calculator; and of one step of ASE's loop."""
    calc = nnpcore.ase.Calculator(model, precision=precision, n_threads=n_threads, skin=skin)
    atoms = liquid(n, model, calc)
    path, loop = [], []
    dynamics = VelocityVerlet(atoms, 4 * units.fs)
    dynamics.run(5)
    for _ in range(steps):
        loop.append(timed(dynamics.run, 1))
        path.append(atoms.positions.copy())
    work = _core.Workspace(model.core, n_threads, PRECISIONS[precision], skin)
    species, pbc, cell = np.zeros(n, np.int32), np.ones(3, np.int32), atoms.cell.array.copy()

    def core(positions):
        work.compute(species, positions, cell, pbc)

    def calculator(positions):
        atoms.positions[:] = positions
        calc.get_property("forces", atoms)

    times = {"core": [], "calculator": []}
    for start in range(0, steps, BLOCK):  # in turns, a block at a time, so that each finds its own data in the cache
        for call in (core, calculator):
            times[call.__name__].append(statistics.median(timed(call, p) for p in path[start : start + BLOCK]))
    median = {name: 1e6 * statistics.median(values) for name, values in times.items()}
    added = statistics.median(c - w for w, c in zip(times["core"], times["calculator"], strict=True))
    return {
        "n": n,
        "precision": precision,
        "threads": n_threads,
        "skin[A]": skin,
        "core[us]": median["core"],
        "calculator[us]": median["calculator"],
        "added[us]": 1e6 * added,
        "added/core": 1e6 * added / median["core"],
        "step[us]": 1e6 * statistics.median(loop),
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.split(":")[0])
    parser.add_argument("--sizes", type=int, nargs="+", default=[1000])
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--skins", type=float, nargs="+", default=[1.0], metavar="A")
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--json", metavar="FILE")
    args = parser.parse_args()
    models = {
        "MSR": nnpcore.load(Path(nnpcore.__file__).with_name("mw_msr.nnp")),
        "Stillinger-Weber": nnpcore.Model.stillinger_weber("mW"),
    }
    rows = []
    print("model             atoms  precision threads  skin   core  calculator  added  added/core  ASE step   (µs)")
    for name, model in models.items():
        for n in args.sizes:
            for precision in PRECISIONS:
                for threads in args.threads:
                    for skin in args.skins:
                        row = {"model": name, **measure(model, n, precision, threads, skin, args.steps)}
                        rows.append(row)
                        print(
                            f"{name:16s} {n:6d}  {precision:9s} {threads:6d} {skin:6.2f} {row['core[us]']:6.0f} "
                            f"{row['calculator[us]']:11.0f} {row['added[us]']:6.0f} {row['added/core']:10.1%} "
                            f"{row['step[us]']:9.0f}"
                        )
    if args.json:
        Path(args.json).write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
