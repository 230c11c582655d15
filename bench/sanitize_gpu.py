"""NVIDIA's compute-sanitizer over every kind of kernel, on systems of some tens of atoms.

    python bench/sanitize_gpu.py [--tool memcheck racecheck initcheck synccheck] [--precision float32 float64]

memcheck: reads and writes out of bounds; racecheck: threads that meet in shared memory without a barrier; initcheck:
device memory read before it was written; synccheck: barriers that not all reach. Needs a GPU, CuPy and NVIDIA's
compute-sanitizer (of the CUDA toolkit); without one of them it says so and does nothing. Ends with 1 where a tool finds
something.
"""

import argparse
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np

TOOLS = ("memcheck", "racecheck", "initcheck", "synccheck")


def functions(partners):
    """Symmetry functions of a centre that take every kernel's branches: radial, narrow, wide by moments and not."""
    pairs = [sorted((a, b)) for k, a in enumerate(partners) for b in partners[k:]]
    compact = {"r_low": 0.5, "r_high": 3.5, "theta_left": 30.0, "theta_right": 170.0, "subtype": "p2"}
    out = [{"type": 2, "partners": [a], "eta": 0.2, "rc": 3.6} for a in partners]
    for pair in pairs:
        angle = {"partners": pair, "eta": 0.1, "lambda": 1, "rc": 3.6}
        out += [{"type": 3, "zeta": zeta, **angle} for zeta in (1, 16, 2.5)]
        out += [{"type": 9, "zeta": zeta, **angle} for zeta in (1, 2, 4)]
        out += [{"type": kind, "partners": pair, **compact} for kind in (21, 22)]
    return out


def models():
    """{name: model}: every potential that has kernels of its own."""
    from nnpcore import Model

    both = ["Ge", "Si"]
    zbl = Model.zbl(both, 0.8, 1.6)
    lj = Model.lennard_jones(both, 0.05, 1.8, 3.6)
    bp = {symbol: functions(both) for symbol in both}
    return {
        "sw": Model.stillinger_weber("Si"),
        "lj, zbl": lj.replace(baseline=[lj, zbl]),
        "msr": Model.msr(both, 3.8, rc3=3.2, n2=3, n3=6, hidden=[20, 9], baseline=zbl, seed=1),
        "bp": Model.bp(both, bp, hidden=[20, 9], seed=1, factor=[[0.01] * len(bp["Ge"])] * 2),
    }


def system(n_species):
    """36 atoms, two of every direction a cell smaller than twice the cutoff: (positions, species, cell)."""
    from nnpcore.structures import random_liquid

    cell = np.array([[7.0, 0.0, 0.0], [1.1, 6.8, 0.0], [-0.7, 0.9, 7.2]])
    x, _ = random_liquid(36, cell, min_distance=1.7, rng=np.random.default_rng(1))
    return x, np.arange(36, dtype=np.int32) % n_species, cell


def case(precision, say=print):
    """What is run under the tools: energies, dynamics with g(r), a gradient of the loss."""
    from nnpcore.gpu.train import Trainer, Turn
    from nnpcore.md import MD

    for name, model in models().items():
        x, species, cell = system(len(model.species))
        for pbc in (True, (True, True, False)):
            out = model.compute(x, species, cell=cell, pbc=pbc, virials=True, precision=precision, device="gpu")
        say(f"{precision} {name}: {out.energy:.6f} eV")
        for ensemble in ("langevin", "bussi"):
            options = {"ensemble": ensemble, "temperature": 100.0, "dt": 0.2, "momentum_every": 2, "skin": 0.3}
            md = MD(model, x, species, cell, precision=precision, device="gpu", **options)
            md.sample_rdf(r_max=5.0, bins=20, every=2)
            md.run(4).thermo()
        if model.method == "baseline":
            continue
        trainer = Trainer(model, precision)
        for shift in (0.0, 0.05):
            trainer.add(species, x + shift * np.sin(x), cell, np.ones(3, np.int32), 1.0, 0 * x, np.zeros(6), 1.0)
        loss = trainer.gradient(np.array(model.theta), np.arange(2, dtype=np.int32), 0, 1.0, 1.0, 1.0)[0]
        say(f"{precision} {name}: loss {loss[0]:.6g}")
    Turn()([slice(0, 70), slice(70, 100)], [np.eye(70), np.eye(30)], np.arange(100.0))


def missing():
    """What stands in the way, or None."""
    from nnpcore.gpu import backend
    from nnpcore.validate import InputError

    try:
        backend.get("gpu")
    except InputError as error:
        return str(error)
    if shutil.which("compute-sanitizer") is None:
        return "compute-sanitizer is not on the path: it comes with the CUDA toolkit"
    return None


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tool", nargs="+", choices=TOOLS, default=TOOLS)
    parser.add_argument("--precision", nargs="+", choices=["float32", "float64"], default=["float32", "float64"])
    parser.add_argument("--case", action="store_true", help="only the case itself, without a tool")
    options = parser.parse_args()
    if options.case:
        for precision in options.precision:
            case(precision)
        return
    reason = missing()
    if reason:
        print(f"sanitize_gpu: skipped: {reason}")
        return
    bad = []
    for tool in options.tool:
        print(f"== {tool}", flush=True)
        run = [sys.executable, str(Path(__file__)), "--case", "--precision", *options.precision]
        if subprocess.run(["compute-sanitizer", "--tool", tool, "--error-exitcode", "1", *run]).returncode:
            bad.append(tool)
    print(f"== {'found something: ' + ', '.join(bad) if bad else 'nothing found'}")
    sys.exit(1 if bad else 0)


if __name__ == "__main__":
    main()
