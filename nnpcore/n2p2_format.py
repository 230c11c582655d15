"""What n2p2's and RuNNer's files say, both ways: symmetry function lines, activation letters, keywords, units."""

import math
import re

from .data import BOHR, HARTREE, KCAL_MOL
from .elements import NUMBERS
from .validate import InputError


class N2p2Error(InputError):
    """A folder that is not a potential, or one that cannot be represented: file, line, keyword, expectation."""


# arguments of a symmetry function after central element, type and neighbour elements (n2p2's documentation)
_EXPONENTIAL = ("eta", "lambda", "zeta", "rc")
_WINDOW = ("r_low", "r_high", "theta_left", "theta_right", "subtype")
FUNCTIONS = {
    2: (1, ("eta", "rs", "rc")),
    3: (2, _EXPONENTIAL),
    9: (2, _EXPONENTIAL),
    12: (0, ("eta", "rs", "rc")),
    13: (0, ("eta", "rs", "lambda", "zeta", "rc")),
    20: (1, ("r_low", "r_high", "subtype")),
    21: (2, _WINDOW),
    22: (2, _WINDOW),
    23: (0, ("r_low", "r_high", "subtype")),
    24: (0, _WINDOW),
    25: (0, _WINDOW),
}
# RuNNer's other types: 1 is type 2 with eta = 0, the rest has no counterpart
RUNNER_TYPES = {4: "cos(eta r)", 5: "Cartesian coordinate", 6: "bond length", 7: "unused", 8: "angle with a shift"}
LENGTH_POWER = {"eta": -2, "rs": 1, "rc": 1, "r_low": 1, "r_high": 1}
UNKNOWN = 1e30  # minimum and maximum in a scaling.data of ours whose model has no training range
SUBTYPE = re.compile(r"p[1-4]a?|e")

ACTIVATIONS = {
    "l": "linear",
    "t": "tanh",
    "s": "logistic",
    "p": "softplus",
    "r": "relu",
    "g": "gaussian",
    "c": "cos",
    "S": "revlogistic",
    "e": "exp",
    "h": "harmonic",
}
LETTERS = {name: letter for letter, name in ACTIVATIONS.items()}

ENERGY_UNITS = {"ev": 1.0, "ha": HARTREE, "hartree": HARTREE, "ry": HARTREE / 2, "kcal/mol": KCAL_MOL}
LENGTH_UNITS = {"a": 1.0, "ang": 1.0, "angstrom": 1.0, "angstroem": 1.0, "å": 1.0, "bohr": BOHR, "a0": BOHR, "nm": 10.0}

# keywords that the potential depends on; everything else is named as ignored
HONOURED = {
    "number_of_elements", "elements", "atom_energy", "remove_atom_energies", "cutoff_type", "cutoff_alpha",
    "symfunction_short", "element_symfunction_short", "global_symfunction_short",
    "scale_symmetry_functions", "center_symmetry_functions", "scale_symmetry_functions_sigma",
    "scale_min_short", "scale_max_short", "normalize_nodes",
    "global_hidden_layers_short", "global_nodes_short", "global_activation_short",
    "element_hidden_layers_short", "element_nodes_short", "element_activation_short",
    "mean_energy", "conv_energy", "conv_length",
    "nnp_type", "nn_type", "nnp_gen", "nn_type_short", "runner_mode", "use_short_nn",
    "use_electrostatics", "use_vdw", "use_hamiltonian", "use_ensemble", "dftd3_func",
}  # fmt: skip
ALIASES = {
    "symfunction_short_atomic": "symfunction_short",
    "global_symfunction_short_atomic": "global_symfunction_short",
}
REPEATED = {
    "atom_energy", "symfunction_short", "element_symfunction_short", "global_symfunction_short",
    "element_hidden_layers_short", "element_nodes_short", "element_activation_short",
}  # fmt: skip
# parts of the energy that a short-range network does not have
REFUSED = {
    "use_electrostatics": "electrostatics",
    "use_vdw": "dispersion corrections",
    "use_hamiltonian": "tight-binding networks",
    "use_ensemble": "ensembles of networks",
    "dftd3_func": "D3 dispersion",
}
# first words of n2p2's and RuNNer's training, output and bookkeeping keywords, unknown to a finished network
# fmt: off
HARMLESS = {
    "analyze", "atom", "bond", "biasweights", "calculate", "charge", "check", "conv", "damp", "data", "debug",
    "detailed", "dont", "dynamic", "electrostatic", "elec", "element", "energy", "enforce", "epochs", "ewald", "find",
    "fitting", "fix", "fixed", "force", "forces", "global", "gradient", "growth", "initial", "initialization", "ion",
    "jacobian", "joint", "kalman", "light", "main", "max", "md", "memorize", "memory", "mix", "mode", "nblock",
    "nguyen", "nn", "noise", "normalize", "optmode", "parallel", "points", "precondition", "prepare", "print",
    "quadratic", "random", "read", "regularize", "remove", "repeated", "reset", "restart", "rmse", "save", "screen",
    "selection", "separate", "short", "shuffle", "silent", "steepest", "symfunction", "task", "test", "total",
    "update", "updater", "use", "vdw", "weight", "weights", "write",
}
# fmt: on


def number(text):
    """A finite float; Fortran's D exponents too. ValueError."""
    value = float(re.sub(r"[dD]", "e", text, count=1) if re.fullmatch(r"[-+.\d]+[dD][-+\d]+", text) else text)
    if not math.isfinite(value):
        raise ValueError(text)
    return value


def sort_key(f):
    """n2p2's order of an element's functions (its operator<); for RuNNer's types it is RuNNer's order as well."""
    partners = [NUMBERS[s] for s in f.get("partners", ())]
    if f["type"] >= 20:
        angles = [f["theta_left"], f["theta_right"]] if "theta_left" in f else []
        return (f["type"], f["subtype"], *partners, f["r_high"], f["r_low"], *angles)
    angular = [f["zeta"], f["lambda"]] if "zeta" in f else []
    return (f["type"], f["cutoff"], f["alpha"], f["rc"], f["eta"], f["rs"], *angular, *partners)


def in_units(f, length):
    """The function with lengths multiplied by length."""
    return {key: value * length ** LENGTH_POWER[key] if key in LENGTH_POWER else value for key, value in f.items()}
