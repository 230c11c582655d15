"""Silicon (or germanium) with different fingerprints, trained on DFT: errors, crystal, liquid, speed; JSON and a plot.

    python bench/bench_silicon.py DATA [--element Si] [--out DIR] [--methods bp48 suggest msr ..] [--seconds 200]
                                  [--threads 1] [--seed 1] [--model NAME=FILE ..] [--steps 10000]

DATA is a folder with train.xyz and test.xyz of the mlearn set (Y. Zuo et al., J. Phys. Chem. A 124, 731 (2020)):
energies, forces, stresses; config_type and description as there. A method whose DIR/NAME/best.nnp is there is not
trained again. The references come from the same data: the ground-state crystal, the small strains of its Elastic
frames (whose atoms are not relaxed), and g(r) of its hottest AIMD frames, at their temperature and density.
"""

import argparse
import json
import os
import re
import time
from pathlib import Path

import numpy as np

import nnpcore
from nnpcore import __version__, config, data, structures
from nnpcore.bench import processor
from nnpcore.evaluate import evaluate
from nnpcore.md import MD
from nnpcore.sample import RDF
from nnpcore.suggest import suggest
from nnpcore.units import GPA

RADIAL = (0.0035711, 0.0357107, 0.0714214, 0.1249874, 0.2142641, 0.3571068, 0.7142135, 1.4284271)  # 1/A^2
ANGULAR = (0.00035711, 0.0285685, 0.0892767, 0.1606980, 0.2856854)
SMALL = 0.025  # largest strain of the frames that elastic constants are taken from
RDF_BINS = 60


# ---- methods ----


def wide(element, zetas=(1, 2, 4, 16)):
    """48 functions, cosine cutoff 6 A: 8 radial, 40 angular without R(r_jk)."""
    pair = [element, element]
    radial = [{"type": 2, "partners": [element], "eta": eta, "rc": 6.0} for eta in RADIAL]
    angular = [
        {"type": 9, "partners": pair, "eta": eta, "lambda": sign, "zeta": zeta, "rc": 6.0}
        for eta in ANGULAR
        for sign in (1, -1)
        for zeta in zetas
    ]
    return radial + angular


def suggested(folder):
    """The functions that `nnpcore suggest` takes from the training data."""
    return config.tomllib.loads(suggest([folder / "train.xyz"]))["model"]["functions"]


METHODS = {
    "bp48": lambda e, _: {"method": "bp", "functions": wide(e), "hidden": [40, 40]},
    "bp48_kalman": lambda e, _: {"method": "bp", "functions": wide(e), "hidden": [25, 25]},
    "bp48z4": lambda e, _: {"method": "bp", "functions": wide(e, (1, 2, 3, 4)), "hidden": [40, 40]},
    "suggest": lambda e, folder: {"method": "bp", "functions": suggested(folder), "hidden": [30, 30]},
    "msr20": lambda *_: {"rc": 6.0, "rc3": 5.0, "n2": 8, "n3": 12, "hidden": [25, 25]},
    "msr32": lambda *_: {"rc": 6.0, "rc3": 5.0, "n2": 12, "n3": 20, "hidden": [30, 30]},
}
KALMAN = {
    "optimizer": {"kind": "kalman"},
    "loss": {"energy": 100.0, "stress": 10.0},
    "train": {"epochs": 10, "batch": 1},
}
EIGEN = {  # until the time is over
    "schedule": {"kind": "cosine"},
    "loss": {"energy": [1.0, 30.0], "stress": [1.0, 100.0]},
    "train": {"batch": 4, "validate_every": 5},
}


def trained(name, folder, arguments):
    """(model, seconds of training or None) of a method; nothing is done where its model is there."""
    run = arguments.out / name
    if (run / "best.nnp").exists():
        return nnpcore.load(run / "best.nnp"), None
    model = METHODS[name](arguments.element, folder)
    recipe = KALMAN if name.endswith("kalman") else EIGEN
    common = {
        "folder": str(run),
        "max_seconds": arguments.seconds,
        "threads": arguments.threads,
        "precision": "float32",
        "seed": arguments.seed,
    }
    table = {"data": {"train": str(folder / "train.xyz"), "valid": 0.05}, "model": model}
    settings = config.convert({**table, **recipe, "train": {**common, **recipe["train"]}})
    began = time.perf_counter()
    nnpcore.train(settings, quiet=True)
    return nnpcore.load(run / "best.nnp"), time.perf_counter() - began


# ---- crystal ----


def descriptions(path):
    """The description of every frame of an extended XYZ file of the mlearn set."""
    heads = [line for line in Path(path).read_text().splitlines() if "Lattice=" in line]
    return [(re.search(r'description="([^"]*)"', head) or [None, ""])[1] for head in heads]


def strains(frames, texts):
    """[(frame, strain [3,3])] of the Elastic frames with small strains, and the ground state."""
    ground = next(f for f, text in zip(frames, texts, strict=True) if text.startswith("Ground state"))
    inverse, chosen = np.linalg.inv(ground.cell), []
    for f, text in zip(frames, texts, strict=True):
        if "strain" not in text:
            continue
        e = inverse @ f.cell - np.eye(3)
        e = (e + e.T) / 2
        if np.abs(e).max() < SMALL:
            chosen.append((f, e))
    return ground, chosen


def slopes(strained, stresses):
    """{C11, C12, C44} in GPa of a cubic crystal: least squares of stress [6] against the strains of one frame each."""
    rows, values = [], []
    for (_, e), s in zip(strained, stresses, strict=True):
        trace = np.trace(e)
        for k, (i, j) in enumerate(((0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1))):
            unit = [0.0, 0.0, 0.0, *(k == m for m in range(6))]  # and a residual stress of each component
            unit[:3] = [e[i, i], trace - e[i, i], 0.0] if i == j else [0.0, 0.0, 2 * e[i, j]]
            rows.append(unit)
            values.append(s[k] * GPA)
    c = np.linalg.lstsq(np.array(rows), np.array(values), rcond=None)[0]
    return dict(zip(("C11", "C12", "C44"), c[:3], strict=True))


def crystal(model, element, strained, a):
    """Lattice constant, energy, elastic constants: clamped on the data's own strains, and with relaxed atoms."""

    def compute(x, cell):
        out = model.compute(x, element, cell=cell, pbc=True)
        return out.energy, out.forces, out.stress

    x, cell = structures.diamond(a)
    ground = structures.relax(compute, x, cell, vary="isotropic", max_force=1e-6, max_stress=1e-5)
    small, relaxed = [], []
    for k in range(6):
        for sign in (1, -1):
            e = np.zeros((3, 3))
            i, j = ((0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1))[k]
            e[i, j] += 0.0025 * sign
            e[j, i] += 0.0025 * sign
            f = np.eye(3) + e
            state = structures.relax(compute, ground.positions @ f, ground.cell @ f, vary="none", max_force=1e-6)
            small.append((None, e))
            relaxed.append(compute(state.positions, state.cell)[2])
    clamped = [model.compute(f.positions, element, cell=f.cell, pbc=True).stress for f, _ in strained]
    return {
        "a[A]": float(ground.cell[0, 0]),
        "energy[eV/atom]": ground.energy / len(x),
        "clamped[GPa]": slopes(strained, clamped),
        "relaxed[GPa]": slopes(small, relaxed),
    }


# ---- liquid ----


def hottest(frames, texts):
    """(temperature K, frames) of the hottest AIMD of the perfect cell."""
    found = [re.search(r"normal structure at (\d+) K", text) for text in texts]
    top = max(int(m[1]) for m in found if m)
    return top, [f for f, m in zip(frames, found, strict=True) if m and int(m[1]) == top]


def pair_distribution(frames, element, r_max):
    rdf = RDF(np.zeros(len(frames[0]), dtype=np.int32), [element], r_max, RDF_BINS)
    for f in frames:
        rdf.add(f.positions, f.cell)
    return rdf.result()


def liquid(model, element, volume, temperature, r_max, steps):
    """(g(r), {"speed", "extrapolated atoms"}) of 216 atoms at constant volume per atom (A^3) and temperature."""
    x, cell = structures.diamond((8 * volume) ** (1 / 3), repeats=3)
    md = MD(model, x, element, cell, temperature=2 * temperature, ensemble="bussi", dt=1.0, tau=50.0, seed=1, threads=1)
    md.run(steps // 5)  # melts it
    md.set(temperature=temperature)
    md.run(steps // 5)
    rdf, outside, began = md.sample_rdf(r_max, RDF_BINS, 10), 0, time.process_time()
    for _ in range(20):
        md.run(steps // 20)
        outside += md.outside[0]
    spent = time.process_time() - began
    thermo = md.thermo()
    return rdf.result(), {
        "temperature[K]": thermo["temperature"],
        "pressure[GPa]": thermo["pressure"],
        "outside[atoms per frame]": outside / 20,
        "us_per_atom_step, 216 atoms": 1e6 * spent / len(x) / (steps // 20 * 20),
    }


def speed(model, element, volume, precision, steps=60):
    """us of one thread's processor time per atom and step: 1728 atoms of the crystal at 1000 K, dt 1 fs."""
    x, cell = structures.diamond((8 * volume) ** (1 / 3), repeats=6)
    md = MD(model, x, element, cell, temperature=2000.0, dt=1.0, seed=1, threads=1, precision=precision)
    md.run(20)
    best = np.inf
    for _ in range(3):
        began = time.process_time()
        md.run(steps)
        best = min(best, (time.process_time() - began) / steps)
    return 1e6 * best / len(x)


# ---- all of it ----


def table(name, model, seconds, frames, reference):
    """One row: errors on the test set, crystal, liquid, speed."""
    element, r_max, volume = reference["element"], reference["r_max"], reference["volume"]
    errors = evaluate(model, frames)[0]["total"]
    g, state = liquid(model, element, volume, reference["T"], r_max, reference["steps"])
    row = {
        "fingerprints": int(model.n_fingerprints[0]),
        "parameters": int(model.n_parameters),
        "training[s]": seconds,
        **{k: float(v) for k, v in errors.items() if "[" in k},
        "speed[us]": {p: speed(model, element, volume, p) for p in ("float64", "float32")},
        "crystal": crystal(model, element, reference["strained"], reference["a"]),
        "liquid": {**state, "largest difference of g(r)": float(np.abs(g.total - reference["g"].total).max())},
        "g(r)": g.total.tolist(),
    }
    c = row["crystal"]["clamped[GPa]"]
    print(
        f"{name:8} {row['fingerprints']:3} fingerprints  E {row['rmse_energy[meV/atom]']:5.2f} meV/atom"
        f"  F {row['rmse_force[meV/A]']:5.1f} meV/A  S {row['rmse_stress[GPa]']:.2f} GPa"
        f"  {row['speed[us]']['float64']:5.2f} / {row['speed[us]']['float32']:5.2f} us"
        f"  a {row['crystal']['a[A]']:.3f} A  C {c['C11']:.0f} {c['C12']:.0f} {c['C44']:.0f} GPa"
        f"  g(r) {row['liquid']['largest difference of g(r)']:.2f}",
        flush=True,
    )
    return row


def plot(path, rows, reference):
    from nnpcore import plot as figures

    if not figures.available():
        return
    label = f"DFT, {reference['n_frames']} frames of 64 atoms"
    curves = {label: reference["g"].total} | {name: np.array(row["g(r)"]) for name, row in rows.items()}
    title = f"{reference['element']}, {reference['T']} K, {reference['volume']:.1f} Å³/atom"
    figures.rdf_pair(reference["g"].r, curves, title).savefig(path, dpi=150)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--element", default="Si")
    parser.add_argument("--out", type=Path, default=Path("bench-silicon"))
    parser.add_argument(
        "--methods", nargs="*", default=["bp48", "bp48_kalman", "suggest", "msr32"], choices=list(METHODS)
    )
    parser.add_argument("--model", nargs="*", default=[], metavar="NAME=FILE", help="models that are there already")
    parser.add_argument("--seconds", type=float, default=200.0, help="of training, each")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--steps", type=int, default=10000, help="of 1 fs, in the liquid")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    sets = {name: data.read_frames(arguments.data / f"{name}.xyz") for name in ("train", "test")}
    texts = {name: descriptions(arguments.data / f"{name}.xyz") for name in sets}
    everything, all_texts = sets["train"] + sets["test"], texts["train"] + texts["test"]
    ground, strained = strains(everything, all_texts)
    temperature, hot = hottest(everything, all_texts)
    r_max = 0.5 * min(np.linalg.norm(hot[0].cell, axis=1))
    reference = {
        "element": arguments.element,
        "a": float(ground.cell[0, 0]) / round(len(ground) / 8) ** (1 / 3),
        "T": temperature,
        "volume": abs(np.linalg.det(hot[0].cell)) / len(hot[0]),
        "r_max": r_max,
        "steps": arguments.steps,
        "strained": strained,
        "g": pair_distribution(hot, arguments.element, r_max),
        "n_frames": len(hot),
    }
    dft = {
        "a[A]": reference["a"],
        "energy[eV/atom]": ground.energy / len(ground),
        "clamped[GPa]": slopes(strained, [f.stress for f, _ in strained]),
    }
    c = dft["clamped[GPa]"]
    print(f"DFT: a {dft['a[A]']:.3f} A, clamped C {c['C11']:.0f} {c['C12']:.0f} {c['C44']:.0f} GPa", flush=True)
    rows = {}
    for name in arguments.methods:
        model, seconds = trained(name, arguments.data, arguments)
        rows[name] = table(name, model, seconds, sets["test"], reference)
    for text in arguments.model:
        name, _, file = text.partition("=")
        rows[name] = table(name, nnpcore.load(file), None, sets["test"], reference)
    document = {
        "version": __version__,
        "processor": processor(),
        "load": os.getloadavg(),
        "options": {k: str(v) for k, v in vars(arguments).items()},
        "DFT": {
            **dft,
            "temperature[K]": temperature,
            "r[A]": reference["g"].r.tolist(),
            "g(r)": reference["g"].total.tolist(),
        },
        "methods": rows,
    }
    (arguments.out / f"{arguments.element}.json").write_text(json.dumps(document, indent=1))
    plot(arguments.out / f"{arguments.element}.png", rows, reference)


if __name__ == "__main__":
    main()
