"""Small systems and models that the engine's tests share, each with its reference."""

from dataclasses import dataclass

import numpy as np

import nnpcore
from nnpcore import structures

from . import bp, classical, msr
from .neighbors import Result

SYMBOLS = ["O", "Si", "Ge"]
NUMBERS = [8, 14, 32]
TRICLINIC = np.array([[7.0, 0.4, -0.3], [1.1, 6.5, 0.2], [-0.6, 0.9, 7.4]])
MASKS = [(a, b, c) for a in (False, True) for b in (False, True) for c in (False, True)]
RC, RC3, RS = 4.8, 4.0, 1.8  # multiples of 0.004: dimer grids have the kinks of the cutoffs on their nodes

SW_TERMS = {"kind": "sw", "species": ["O"]} | {k: float(v) for k, v in classical.MW.items()}
LJ_TERMS = [
    {"kind": "lj", "species": ["O", "Si"], "epsilon": 0.08, "sigma": 2.1, "cutoff": 4.4, "switch_on": 3.2},
    {"kind": "lj", "species": ["Si", "Si"], "epsilon": 0.05, "sigma": 2.4, "cutoff": 4.0, "switch_on": 2.4},
]
ZBL_TERM = {"kind": "zbl", "inner": 1.2, "outer": 3.2}


def spec(n_species, rs=0.0, uneven=True):
    """An architecture with other counts in every channel (some of them zero from two species on)."""
    n_channels = n_species * (n_species + 1) // 2
    if n_species == 1:
        n2, n3 = [[3]], [[4]]
    elif uneven:
        n2 = [[(s + 2 * t) % 3 + (t == 0) for t in range(n_species)] for s in range(n_species)]
        n3 = [[(2 * s + c) % 3 for c in range(n_channels)] for s in range(n_species)]
    else:
        n2, n3 = [[2] * n_species] * n_species, [[2] * n_channels] * n_species
    e0, cutoff = tuple(-1.5 - s for s in range(n_species)), "cosine" if n_species == 1 else "septic"
    return msr.Spec(n_species, RC, RC3, n2, n3, hidden=(8, 6), rs=rs, e0=e0, cutoff=cutoff)


@dataclass
class Case:
    """A model of the engine and a function with the reference's Result for (x, s, cell, pbc)."""

    model: nnpcore.Model
    reference: object
    n_species: int


def _classical(terms, x, s, cell, pbc):
    s = np.asarray(s, dtype=int)
    total = None
    for k in terms:
        if k["kind"] == "sw":
            part = _embedded_sw(k, x, s == SYMBOLS.index(k["species"][0]), cell, pbc)
        elif k["kind"] == "lj":
            between = [SYMBOLS.index(symbol) for symbol in k["species"]]
            part = classical.lennard_jones(
                k["epsilon"], k["sigma"], k["switch_on"], k["cutoff"], between, x, s, cell, pbc
            )
        else:
            part = classical.zbl(NUMBERS, k["inner"], k["outer"], x, s, cell, pbc)
        total = part if total is None else total + part
    return total


def _embedded_sw(k, x, mine, cell, pbc):
    """Stillinger-Weber among the atoms `mine` only."""
    inner = classical.stillinger_weber(k, x[mine], cell, pbc)
    n = len(x)
    out = Result(np.zeros(n), np.zeros((n, 3)), np.zeros((n, 3, 3)), inner.volume)
    out.energies[mine], out.forces[mine], out.virials[mine] = inner.energies, inner.forces, inner.virials
    return out


def msr_case(n_species, rs=0.0, terms=(), seed=0, uneven=True):
    """MSR with moderate random parameters, classical terms (dicts as in docs/model-file.md) under it."""
    architecture = spec(n_species, rs, uneven)
    theta = msr.random_theta(architecture, np.random.default_rng([seed, n_species]))
    model = nnpcore.Model.msr(
        species=SYMBOLS[:n_species],
        rc=architecture.rc,
        rc3=architecture.rc3,
        rs=rs,
        cutoff=architecture.cutoff,
        n2=architecture.n2,
        n3=architecture.n3,
        hidden=architecture.hidden,
        e0=list(architecture.e0),
        baseline=list(terms) or None,
    )
    model.theta = theta

    def reference(x, s, cell=None, pbc=False):
        out = msr.compute(architecture, theta, x, s, cell, pbc)
        return out + _classical(terms, x, s, cell, pbc) if terms else out

    return Case(model, reference, n_species)


def bp_functions(symbols, centre):
    """Symmetry functions of every type, every cutoff function and partner, more for some centres than for others."""

    def gaussian(kind, k, **more):
        # not the tanh cutoffs 0 (a jump at rc) and 2, 3 and 1 with an inner radius alone
        cutoff = (1, 4, 5, 6, 7, 8, 1)[k % 7]
        rc = RC if k % 3 else RC3
        return {
            "type": kind,
            "rc": rc,
            "cutoff": cutoff,
            "alpha": (0.0, 0.2)[k % 2],
            "rs": (0.0, 0.4)[k // 2 % 2],
            **more,
        }

    out, k = [], centre
    for a, t in enumerate(symbols):
        for eta in (0.05, 0.8):
            out.append(gaussian(2, k := k + 1, partners=[t], eta=eta))
        out.append({"type": 20, "partners": [t], "r_low": -1.0, "r_high": RC, "subtype": "p4a" if a else "e"})
        for u in symbols[a:]:
            for kind in (3, 9):
                k += 1
                for zeta, sign in ((1.0, 1), (2.0, -1), (3.0, -1), (8.0, 1), (2.5, -1))[: 5 - 2 * centre]:
                    more = {"partners": [u, t], "eta": 0.08, "lambda": sign, "zeta": zeta}
                    out.append(gaussian(kind, k, **more))
            window = {"r_low": 0.2, "theta_left": 20.0, "theta_right": 200.0, "subtype": "p3"}
            out.append({"type": 21 + k % 2, "partners": [t, u], "r_high": RC3, **window})
            for zeta, sign in ((1.0, 1), (1.0, -1), (4.0, -1), (3.0, 1))[: 4 - centre]:  # summed by moments
                more = {"partners": [t, u], "eta": 0.11, "lambda": sign, "zeta": zeta, "rc": RC, "cutoff": 1}
                out.append({"type": 9, "rs": 0.3 * a, "alpha": 0.0, **more})
            for zeta, sign in ((1.0, 1), (2.0, -1), (2.0, 1)):
                more = {"partners": [t, u], "eta": 0.05, "lambda": sign, "zeta": zeta, "rc": RC3, "cutoff": 6}
                out.append({"type": 9, "rs": 0.0, "alpha": 0.0, **more})
            for sign in (0.5, -1.0, 1.0):
                out.append({"type": 9, "partners": [t, u], "eta": 0.2, "lambda": sign, "zeta": 1.0, "rc": RC3})
            for eta in (0.02, 0.04, 0.1):  # exponentials that are products of one another
                for zeta, sign in ((1.0, -1), (6.0, 1), (16.0, -1)):
                    more = {"partners": [t, u], "eta": eta, "lambda": sign, "zeta": zeta, "rc": RC, "cutoff": 1}
                    out.append({"type": 3, "rs": 0.0, "alpha": 0.0, **more})
    out.append(gaussian(12, 1, eta=0.3))
    out.append(gaussian(13, 0, eta=0.02, zeta=4.0, **{"lambda": 1}))
    out.append({"type": 23, "r_low": 0.0, "r_high": RC, "subtype": "p2"})
    for kind in (24, 25):
        window = {"theta_left": -90.0, "theta_right": 110.0, "subtype": "p2a"}
        out.append({"type": kind, "r_low": 0.0, "r_high": RC3, **window})
    return out


def bp_case(n_species, activation=("tanh", "softplus"), seed=0, terms=()):
    """Behler-Parrinello with every type of function, inputs of the order of 1, moderate random weights."""
    rng = np.random.default_rng([seed, n_species, 7])
    symbols = SYMBOLS[:n_species]
    functions = {symbol: bp_functions(symbols, s) for s, symbol in enumerate(symbols)}
    model = nnpcore.Model.bp(
        symbols,
        functions,
        hidden=(6, 5),
        activation=list(activation),
        e0=[-1.5 - s for s in range(n_species)],
        centre={s: rng.uniform(0, 1, len(f)) for s, f in functions.items()},
        factor={s: rng.uniform(0.2, 0.5, len(f)) / (100 if n_species > 1 else 10) for s, f in functions.items()},
        baseline=list(terms) or None,
    )
    model.theta = rng.normal(0, 0.5, model.n_parameters)
    metadata, tensors = model.metadata, model.tensors

    def reference(x, s, cell=None, pbc=False):
        out = bp.compute(metadata, tensors, x, s, cell, pbc)
        return out + _classical(terms, x, s, cell, pbc) if terms else out

    return Case(model, reference, n_species)


def baseline_case(name):
    """A classical potential alone: "mW", "Si", "lj" (two species) or "zbl" (three)."""
    if name in ("mW", "Si"):
        model = nnpcore.Model.stillinger_weber(name)
        k = dict(classical.MW if name == "mW" else classical.SILICON)
        assert abs(model.baseline[0]["epsilon"] / k["epsilon"] - 1) < 5e-7  # kcal/mol to eV: factors differ in use
        k["epsilon"] = model.baseline[0]["epsilon"]
        return Case(model, lambda x, s, cell=None, pbc=False: classical.stillinger_weber(k, x, cell, pbc), 1)
    if name == "lj":
        model = nnpcore.Model.lennard_jones(["O", "Si"], 0.06, [[2.0, 2.2], [2.2, 2.4]], cutoff=4.4, switch_on=3.2)
        terms = [
            {**LJ_TERMS[0], "species": [SYMBOLS[a], SYMBOLS[b]], "epsilon": 0.06, "sigma": sigma}
            for a, b, sigma in ((0, 0, 2.0), (0, 1, 2.2), (1, 1, 2.4))
        ]
    else:
        model = nnpcore.Model.zbl(SYMBOLS, ZBL_TERM["inner"], ZBL_TERM["outer"])
        terms = [ZBL_TERM]
    return Case(model, lambda x, s, cell=None, pbc=False: _classical(terms, x, s, cell, pbc), len(model.species))


CASES = {
    "mW": lambda: baseline_case("mW"),
    "Si": lambda: baseline_case("Si"),
    "lj": lambda: baseline_case("lj"),
    "zbl": lambda: baseline_case("zbl"),
    "msr1": lambda: msr_case(1),
    "msr1-rs": lambda: msr_case(1, RS),
    "msr1-sw": lambda: msr_case(1, 0.0, [SW_TERMS]),
    "msr2": lambda: msr_case(2),
    "msr2-lj-sw": lambda: msr_case(2, 0.0, [*LJ_TERMS, SW_TERMS]),
    "msr3": lambda: msr_case(3),
    "msr3-even": lambda: msr_case(3, uneven=False),
    "bp1": lambda: bp_case(1),
    "bp3-zbl": lambda: bp_case(3, ("gaussian", "logistic"), terms=[ZBL_TERM]),
    "msr3-rs-zbl": lambda: msr_case(3, RS, [ZBL_TERM]),
}
_made = {}


def case(name):
    """The case of the name, made once."""
    if name not in _made:
        _made[name] = CASES[name]()
    return _made[name]


def random_system(rng, n_species, n=12, cell=TRICLINIC, min_distance=1.6):
    """(x [n, 3], s [n]) in the cell, every species present where n allows."""
    x, _ = structures.random_liquid(n, cell, min_distance=min_distance, rng=rng)
    s = np.concatenate([np.arange(n_species), rng.integers(0, n_species, n)])[:n].astype(np.int32)
    return x, s


def distorted(name, n_species, rng, amplitude=0.3):
    """Acceptance.md's oracle systems: distorted fcc, bcc, diamond cells: (x, s, cell)."""
    maker = {"fcc": (structures.fcc, 4.6), "bcc": (structures.bcc, 3.7), "diamond": (structures.diamond, 6.2)}[name]
    x, cell = maker[0](maker[1])
    x = x + rng.uniform(-amplitude, amplitude, x.shape)
    return x, (np.arange(len(x)) % n_species).astype(np.int32), cell


def largest(a):
    return float(np.abs(a).max(initial=0.0))


def agree(a, b, tolerance, what=""):
    """Every number of a within tolerance of b's, relative to max(1, largest of b)."""
    a, b = np.asarray(a, dtype=float), np.asarray(b, dtype=float)
    assert a.shape == b.shape, f"{what}: shapes {a.shape} and {b.shape}"
    error = largest(a - b)
    assert error <= tolerance * max(1.0, largest(b)), f"{what}: differ by {error:.3g} (largest {largest(b):.3g})"
