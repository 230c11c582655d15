"""A small potential in n2p2's format with random tables, for tests."""

import zlib
from itertools import pairwise

import numpy as np

FUNCTIONS = """symfunction_short O 2 H 0.5 0.0 9.0
symfunction_short O 2 H 0.03 1.5 11.0
symfunction_short O 2 O 0.5 0.0 9.0
symfunction_short O 3 O H 0.1 -1 4.0 10.0
symfunction_short O 9 H H 0.2 1 1 10.0 1.0
symfunction_short H 2 O 0.5 0.0 9.0
symfunction_short H 12 0.4 0.5 8.0
symfunction_short H 13 0.2 0.5 1 2.5 8.0
symfunction_short H 20 O 0.5 8.0 p2
symfunction_short H 21 O H 0.0 8.0 30 150 p3a
symfunction_short H 25 0.0 9.0 -90 90 e
"""
COUNTS = {"H": 6, "O": 5}
HEAD = """# a potential
number_of_elements 2
elements O H
cutoff_type 2 0.25  # tanh
scale_symmetry_functions
scale_min_short -0.5
scale_max_short 1.5
global_hidden_layers_short 2
global_nodes_short 4 3
global_activation_short t p l
"""


def write_folder(path, head=HEAD, functions=FUNCTIONS, counts=COUNTS, hidden=(4, 3), columns=True):
    """A folder with random tables; returns (G range table {symbol: [n][4]}, layers {symbol: [(W, b)]})."""
    path.mkdir(exist_ok=True)
    rng = np.random.default_rng(zlib.crc32(head.encode()))
    (path / "input.nn").write_text(head + functions)
    table, layers, lines = {}, {}, ["# comment", ""]
    for e, (symbol, n) in enumerate(counts.items(), 1):
        low = rng.uniform(0, 1, n)
        table[symbol] = np.stack([low, low + rng.uniform(1, 2, n), low + 0.5, rng.uniform(0.1, 0.4, n)], axis=1)
        lines += [f"{e} {k} " + " ".join(map(repr, map(float, row))) for k, row in enumerate(table[symbol], 1)]
        widths = [n, *hidden, 1]
        layers[symbol] = [(rng.normal(size=(i, o)), rng.normal(size=o)) for i, o in pairwise(widths)]
        rows = []
        for l, (w, b) in enumerate(layers[symbol]):
            places = [f"a {{}} {l} {i + 1} {l + 1} {o + 1}" for i, o in np.ndindex(w.shape)]
            places += [f"b {{}} {l + 1} {o + 1}" for o in range(len(b))]
            values = [*w.ravel().tolist(), *b.tolist()]
            rows += [f"{v!r} {p.format(len(rows) + k)}" for k, (v, p) in enumerate(zip(values, places, strict=True), 1)]
        text = "\n".join(rows if columns else [row.split()[0] for row in rows]) + "\n"
        (path / f"weights.{ {'H': 1, 'O': 8, 'Si': 14}[symbol]:03d}.data").write_text(text)
    (path / "scaling.data").write_text("\n".join([*lines, "-1.5 -0.5", ""]))
    return table, layers
