"""Slow, independent NumPy statements of what the engine computes: written from the formulas, not from its code.

Every potential is a function of (positions, species, cell, pbc) that returns a Result; atoms see one another through
`neighbors.pairs`, a brute-force list over explicit lattice shifts.
"""
