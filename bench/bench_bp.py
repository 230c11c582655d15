"""Behler-Parrinello models timed in MD: one line of JSON per system, precision and number of threads.

    python bench/bench_bp.py [--system water --system narrow ...] [--threads 1] [--steps 10] [--runs 3] [--repeat 1]

Systems: "water", n2p2's RPBE-D3 potential (27 + 30 functions, 6.35 A), "cu2s", its Cu2S potential (72 + 66, 6 A; both
need NNPCORE_SHARED/golden/n2p2);
"narrow", the 27 narrow functions of mlearn's silicon network (24-24, 5.5 A); "wide", 8 radial and 40 wide functions
with zeta = 1 .. 4 (40-40, 6 A) on silicon; "wide16", the same with zeta = 1, 2, 4, 16. Weights are random: the time
does not depend on them. Times are medians, in microseconds an atom: energy and forces with a list at hand, and a
velocity Verlet step of 0.5 fs at 300 K with rebuilds. Memory is the growth of the resident set by the MD object and its
steps, in bytes an atom: one system and precision a process, 10^5 atoms (--repeat, as often along each axis) show it;
small systems show the scratch of a thread, later ones what earlier ones left.
"""

import argparse
import json
import os
import time
from pathlib import Path

import numpy as np

from nnpcore import Model, _core, md, n2p2, structures
from nnpcore.bench import resident

BOHR = 0.529177210903


def power(kind, partners, eta, sign, zeta, rc, **more):
    return {"type": kind, "partners": partners, "eta": eta, "lambda": sign, "zeta": zeta, "rc": rc, **more}


def narrow():
    """3 radial and 24 narrow functions on silicon (mlearn's set)."""
    rc, bohr2 = 5.5, BOHR**-2
    etas = [0.01 * bohr2, 0.02 * bohr2, 0.05 * bohr2]
    functions = [{"type": 2, "partners": ["Si"], "eta": eta, "rs": 4.0, "rc": rc} for eta in etas]
    functions += [power(3, ["Si", "Si"], e, sign, z, rc) for e in etas for sign in (1, -1) for z in (1, 2, 4, 16)]
    return Model.bp(["Si"], functions, hidden=(24, 24))


def wide(zetas):
    """8 radial and 40 wide functions on silicon."""
    radial = (0.0035711, 0.0357107, 0.0714214, 0.1249874, 0.2142641, 0.3571068, 0.7142135, 1.4284271)
    angular = (0.00035711, 0.0285685, 0.0892767, 0.1606980, 0.2856854)
    functions = [{"type": 2, "partners": ["Si"], "eta": eta, "rc": 6.0} for eta in radial]
    functions += [power(9, ["Si", "Si"], e, sign, z, 6.0) for e in angular for sign in (1, -1) for z in zetas]
    return Model.bp(["Si"], functions, hidden=(40, 40))


def water(folder):
    """Functions of input.nn, Bohr to A; the structure is the golden one, 2 x 2 x 2 times."""
    functions = {"H": [], "O": []}
    for line in (folder / "input.nn").read_text().splitlines():
        w = line.split("#")[0].split()
        if not w or w[0] != "symfunction_short":
            continue
        if w[2] == "2":
            eta, rs, rc = (float(v) for v in w[4:7])
            f = {"type": 2, "partners": [w[3]], "eta": eta / BOHR**2, "rs": rs * BOHR, "rc": rc * BOHR}
        else:
            eta, sign, zeta, rc = (float(v) for v in w[5:9])
            f = power(3, w[3:5], eta / BOHR**2, sign, zeta, rc * BOHR)
        functions[w[1]].append({**f, "cutoff": 2})
    return Model.bp(["H", "O"], functions, hidden=(25, 25))


def repeated(x, species, cell, repeat):
    shifts = np.array([(a, b, c) for a in range(repeat) for b in range(repeat) for c in range(repeat)]) @ cell
    return np.concatenate([x + s for s in shifts]), np.tile(species, len(shifts)), repeat * cell


def golden_box(folder, heavy, length=1.0):
    """(positions, species, cell) of the golden structure, 2 x 2 x 2 times; species 1 is the element heavy."""
    z = np.load(folder / "golden.npz")
    return repeated(z["s0_pos"] * length, (z["s0_Z"] == heavy).astype(np.int32), z["s0_cell"] * length, 2)


def silicon(n=10):
    """Diamond, 8 n^3 atoms, shaken by 0.1 A."""
    x, cell = structures.diamond(5.431, n)
    rng = np.random.default_rng(1)
    return x + rng.normal(0, 0.1, x.shape), np.zeros(len(x), dtype=np.int32), cell


def small_weights(model, rng):
    """Forces of a harmless size, whatever the functions: dynamics that stays put."""
    theta = rng.normal(0, 1, model.n_parameters) * 1e-5
    return model.replace(theta=theta)


def systems(names):
    golden = Path(os.environ.get("NNPCORE_SHARED", "../shared"), "golden/n2p2")
    h2o, cu2s = golden / "H2O_RPBE-D3", golden / "Cu2S_PBE"
    made = {
        "water": lambda: (water(h2o), golden_box(h2o, 8, BOHR)),
        "cu2s": lambda: (n2p2.load(cu2s, units="eV/A"), golden_box(cu2s, 29)),
        "narrow": lambda: (narrow(), silicon()),
        "wide": lambda: (wide((1, 2, 3, 4)), silicon()),
        "wide16": lambda: (wide((1, 2, 4, 16)), silicon()),
    }
    for name in names or made:
        model, system = made[name]()
        yield name, small_weights(model, np.random.default_rng(0)), system


def median_seconds(task, runs):
    task()
    times = []
    for _ in range(runs):
        start = time.perf_counter()
        task()
        times.append(time.perf_counter() - start)
    return float(np.median(times))


def measure(model, system, precision, args):
    x, species, cell = system
    n = len(x)
    before = resident()
    run = md.MD(model, *system, temperature=300, dt=0.5, precision=precision, threads=args.threads, skin=args.skin)
    step = median_seconds(lambda: run.run(args.steps), args.runs) / args.steps
    memory = None if before is None else round((resident() - before) / n)
    work = _core.Workspace(model.core, args.threads, int(precision == "float32"), args.skin)
    pbc = np.ones(3, dtype=np.intc)
    seconds = median_seconds(lambda: work.compute(species, x, cell, pbc, True, False), args.runs)
    figures = {"compute[us/atom]": seconds / n * 1e6, "step[us/atom]": step / n * 1e6}
    return {"atoms": n, **{k: round(v, 3) for k, v in figures.items()}, "memory[B/atom]": memory}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--system", action="append", choices=["water", "cu2s", "narrow", "wide", "wide16"])
    parser.add_argument("--precision", action="append", choices=["float64", "float32"])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--repeat", type=int, default=1)
    parser.add_argument("--skin", type=float, default=1.0)
    args = parser.parse_args()
    for name, model, box in systems(args.system):
        for precision in args.precision or ("float64", "float32"):
            figures = measure(model, repeated(*box, args.repeat), precision, args)
            head = {"system": name, "precision": precision, "threads": args.threads}
            print(json.dumps({**head, **figures}), flush=True)


if __name__ == "__main__":
    main()
