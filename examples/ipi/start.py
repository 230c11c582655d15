"""Writes start.xyz (64 atoms of silicon, as i-PI reads it) and si.nnp (Stillinger-Weber; any silicon model will do)."""

import nnpcore
from nnpcore import structures

x, cell = structures.diamond(5.431, repeats=2)
lengths = " ".join(f"{cell[k, k]:.6f}" for k in range(3))
with open("start.xyz", "w") as file:
    file.write(f"{len(x)}\n# CELL(abcABC): {lengths} 90.0 90.0 90.0 cell{{angstrom}} positions{{angstrom}}\n")
    for row in x:
        file.write("Si " + " ".join(f"{v:.8f}" for v in row) + "\n")
nnpcore.Model.stillinger_weber("Si").save("si.nnp")
