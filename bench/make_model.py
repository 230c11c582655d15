"""Train the small mW network that the benchmarks run: nnpcore/mw_msr.nnp. Some minutes on one core.

    python bench/make_model.py [--seconds 240] [--n2 5] [--n3 5] [--out nnpcore/mw_msr.nnp]

5 + 5 fingerprints unless told otherwise, 25-25, the cutoffs of the published training; frames of 125 molecules from mW
at several temperatures and densities, melted from random starts. Good for timing, and stable in dynamics;
`nnpcore demo` trains better ones.
"""

import argparse

import numpy as np

import nnpcore
from nnpcore import config, data
from nnpcore.md import MD
from nnpcore.structures import random_liquid
from nnpcore.training import Training

MASS = 18.015


def frames(truth, rng):
    """Labelled snapshots of mW between 220 and 600 K, 0.92 and 1.1 g/cm3."""
    out = []
    for density in (0.92, 1.0, 1.07, 1.1):
        x, cell = random_liquid(125, density=density, mass=MASS, rng=rng)
        md = MD(truth, x, "O", cell, temperature=1500, ensemble="bussi", dt=2.0, tau=20.0, seed=1, threads=1)
        md.run(200)
        for temperature in (600, 400, 298, 250, 220):
            md.set(temperature=temperature, dt=5.0)
            for _ in range(12):
                md.run(40)
                e = truth.compute(md.positions, "O", cell=cell, n_threads=1)
                name = f"{density:g} g/cm3"
                out.append(data.Frame(["O"] * 125, md.positions, cell, True, e.energy, e.forces, config_type=name))
    return [out[i] for i in rng.permutation(len(out))]


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seconds", type=float, default=240)
    parser.add_argument("--n2", type=int, default=5, help="two-body fingerprints")
    parser.add_argument("--n3", type=int, default=5, help="triplet fingerprints")
    parser.add_argument("--out", default="nnpcore/mw_msr.nnp")
    options = parser.parse_args()
    rng = np.random.default_rng(1)
    labelled = frames(nnpcore.Model.stillinger_weber("mW"), rng)
    shape = {"n2": options.n2, "n3": options.n3, "hidden": [25, 25]}
    model = nnpcore.Model.msr(species=["O"], rc=4.54575, rc3=4.3065, **shape, mass=MASS, seed=1)
    settings = config.TrainConfig(train=config.Train(max_seconds=options.seconds, threads=1, batch=4, validate_every=5))
    result = Training(model, labelled[:200], labelled[200:], settings).run()
    model = result.model
    model.info.update(name="mW by MSR, for benchmarks", licence="BSD-3-Clause")
    model.save(options.out)
    print(model)
    print({k: v for k, v in result.history[-1].items() if "rmse" in k})


if __name__ == "__main__":
    main()
