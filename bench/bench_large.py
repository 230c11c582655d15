"""Memory and speed of many molecules: a few MD steps of mW liquid, 10 million by default.

    python bench/bench_large.py [--molecules 10000000] [--steps 10] [--threads 2] [--json FILE]

MSR 5 + 5, 25-25 in float32 (nnpcore/mw_msr.nnp) and Stillinger-Weber. The peak of the resident memory is the process'
own, Python and start structure included; each potential runs in a process of its own.
"""

import argparse
import json
import resource
import subprocess
import sys
import time
from pathlib import Path

import numpy as np


def run(potential, molecules, steps, threads):
    import nnpcore
    from nnpcore.bench import enlarge, seed_box
    from nnpcore.md import MD
    from nnpcore.model import Model, load

    truth = Model.stillinger_weber("mW")
    model = truth if potential == "sw" else load(Path(nnpcore.__file__).parent / "mw_msr.nnp")
    x, v, cell = enlarge(seed_box(truth), molecules)
    md = MD(model, x, "O", cell, velocities=v, dt=5.0, precision="float32", threads=threads)
    del x, v
    energies, began = [], time.perf_counter()
    for _ in range(2):
        md.run(steps // 2)
        energies.append(md.thermo(stress=False)["total"] / len(md))
    seconds = time.perf_counter() - began
    return {
        "potential": potential,
        "molecules[1]": len(md),
        "us/atom/step": 1e6 * seconds / (2 * (steps // 2)) / len(md),
        "list builds[1]": md.n_builds,
        "peak resident[GiB]": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20,
        "energy change[eV/atom]": float(np.diff(energies)[0]),
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--molecules", type=int, default=10_000_000)
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json", metavar="FILE")
    parser.add_argument("--only", choices=["sw", "msr"], help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.only:
        print(json.dumps(run(args.only, args.molecules, args.steps, args.threads)))
        return
    rows = []
    for potential in ("msr", "sw"):
        options = ["--molecules", args.molecules, "--steps", args.steps, "--threads", args.threads]
        command = [sys.executable, __file__, "--only", potential, *map(str, options)]
        rows.append(json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout))
        print(rows[-1], flush=True)
    if args.json:
        Path(args.json).write_text(json.dumps(rows, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
