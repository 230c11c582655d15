"""Symmetry functions against n2p2's own values: every type, cutoff function and inner radius; three structures."""

import numpy as np
import pytest
from reference import bp as reference

from nnpcore import Model, _core

FOLDERS = [f"cutoff{c}_alpha{a}" for c, a in ((0, 0), (1, 0), (1, 0.3), (2, 0), (3, 0), (5, 0), (6, 0), (8, 0))]
N_PARTNERS = {2: 1, 20: 1, 3: 2, 9: 2, 21: 2, 22: 2}
PARAMETERS = {
    2: ("eta", "rs", "rc"),
    12: ("eta", "rs", "rc"),
    3: ("eta", "lambda", "zeta", "rc", "rs"),
    9: ("eta", "lambda", "zeta", "rc", "rs"),
    13: ("eta", "rs", "lambda", "zeta", "rc"),
    20: ("r_low", "r_high", "subtype"),
    23: ("r_low", "r_high", "subtype"),
    21: ("r_low", "r_high", "theta_left", "theta_right", "subtype"),
}
PARAMETERS |= {kind: PARAMETERS[21] for kind in (22, 24, 25)}


def read_functions(folder):
    """(elements, {element: {line number: function dict}}) of an input.nn."""
    lines = (folder / "input.nn").read_text().splitlines()
    words = [line.split("#")[0].split() for line in lines]
    cutoff = next(w[1:] for w in words if w and w[0] == "cutoff_type")
    common = {"cutoff": int(cutoff[0]), "alpha": float(cutoff[1]) if len(cutoff) > 1 else 0.0}
    elements = next(w[1:] for w in words if w and w[0] == "elements")
    table = {element: {} for element in elements}
    for number, w in enumerate(words):
        if not w or w[0] != "symfunction_short":
            continue
        kind, n = int(w[2]), N_PARTNERS.get(int(w[2]), 0)
        values = [v if v[0] in "pe" else float(v) for v in w[3 + n :]]
        f = {"type": kind, **dict(zip(PARAMETERS[kind], values, strict=False)), **(common if kind < 20 else {})}
        table[w[1]][number] = {**f, **({"partners": w[3 : 3 + n]} if n else {})}
    return elements, table


@pytest.mark.parametrize("name", FOLDERS)
def test_symmetry_functions(name, shared):
    """1e-10 relative; 1e-13 absolute, what n2p2's own polynomials lose to cancellation near their ends."""
    folder = shared / "golden/n2p2/sftypes" / name
    if not folder.is_dir():
        pytest.skip(f"no {folder}")
    elements, table = read_functions(folder)
    z = np.load(folder / "golden.npz")
    functions = {e: [table[e][int(line)] for line in z[f"sf_line_{e}"]] for e in elements}
    model = Model.bp(elements, functions, hidden=())
    numbers = [reference.NUMBERS[e] for e in elements]
    worst = compared = 0
    for k in range(3):
        species = np.array([numbers.index(int(n)) for n in z[f"s{k}_Z"]], dtype=np.int32)
        cell = z[f"s{k}_cell"] if len(z[f"s{k}_cell"]) else None
        trainer = _core.Trainer(model.to_bytes(), 1, 0)
        pbc = np.full(3, cell is not None, dtype=np.int32)
        trainer.add(species, np.ascontiguousarray(z[f"s{k}_pos"]), cell, pbc, None, None, None, 1.0)
        g, offset = trainer.fingerprints(model.theta, 0), z[f"s{k}_G_offset"].astype(int)
        for i, s in enumerate(species):
            expected = z[f"s{k}_G_raw"][offset[i] : offset[i + 1]]
            own = functions[elements[s]]
            # n2p2 leaves out exactly collinear triplets, which the periodic images of s1 have
            good = np.array([not (k == 1 and f["type"] == 22 and f["subtype"] == "p4a") for f in own])
            error = np.abs(g[i][: len(own)] - expected) / (np.abs(expected) + 1e-3)
            worst, compared = max(worst, error[good].max()), compared + good.sum()
    assert compared > 8000
    assert worst <= 1e-10
