"""Potentials of n2p2 and RuNNer: a folder with input.nn, scaling.data and weights.ZZZ.data as a Model, and back.

Formats: n2p2's documentation (compphysvienna.github.io/n2p2) and RuNNer's; docs/n2p2.md has what is read and how.
"""

import json
import math
import os
import sys
from pathlib import Path

from .checkpoint import write_atomic
from .data import UNITS
from .elements import NUMBERS
from .input_data import convert_data, is_input_data
from .model import Model
from .n2p2_format import N2p2Error, in_units
from .n2p2_input import InputNN
from .n2p2_read import read_folder, units_of
from .n2p2_write import write_folder
from .validate import InputError

__all__ = ["N2p2Error", "convert_main", "functions", "load", "save"]


def load(directory, units=None):
    """The potential in a folder as a Model (eV, A). Raises N2p2Error naming file, line and keyword.

    units: of the folder, a key of data.UNITS; by default what comments at the top of input.nn say
    ("# Length unit : Bohr"), or else Hartree and Bohr. info["n2p2"] of the model keeps units and remarks.
    """
    folder = read_folder(directory, units)
    info = {"n2p2": {"units": folder.units, "notes": folder.notes}}
    try:
        return Model.bp(**folder.arguments, info=info)
    except InputError as error:  # bounds that only the core has
        raise N2p2Error(f"{directory}: {error}") from None


def save(model, directory, units=None, drop_baseline=False):
    """Write a Behler-Parrinello model as a folder for n2p2 and LAMMPS' pair_style hdnnp. Raises N2p2Error.

    drop_baseline: write the network alone where the format has no place for a baseline potential, such as the repulsive
    core below the shortest distance of the training data; energies and forces are then others where it acts.

    units: of the folder; those it once came from, or Hartree/Bohr, by default. The folder is made, or must be one that
    this function wrote. Masses are not part of the format.
    """
    if units is None:
        units = model_units(model) or "Hartree/Bohr"
    write_folder(_arguments(model, drop_baseline), directory, units)


def functions(path, units=None):
    """(species, {symbol: [function dict, ...]}) of an input.nn file alone, in A: to train a new network with them."""
    nn = InputNN(Path(path))
    nn.check_kind()
    length = units_of(nn, units)[1]
    species = nn.species()
    return species, {s: [in_units(f, length) for f in own] for s, own in nn.functions(species).items()}


def model_units(model):
    """Units of the folder that a model was read from, a key of data.UNITS, or None."""
    about = model.info.get("n2p2")
    units = about.get("units") if isinstance(about, dict) else None
    return units if units in UNITS else None


def _arguments(model, drop_baseline=False):
    """Arguments of Model.bp() that make this model again, with species by atomic number as n2p2 wants them."""
    if model.method != "bp":
        raise N2p2Error(f"model of method {model.method}: has no symmetry functions, n2p2's format cannot hold it")
    if model.baseline and not drop_baseline:
        kinds = ", ".join(term["kind"] for term in model.baseline)
        raise N2p2Error(f"model: its baseline ({kinds}) has no place in n2p2's format; --drop-baseline leaves it out")
    about, tensors = model.metadata, model.tensors
    own = about["bp"]
    species = sorted(model.species, key=NUMBERS.get)
    place = [model.species.index(s) for s in species]
    layers = {}
    for s, k in zip(species, place, strict=True):
        n = len(about["network"][k]["hidden"]) + 1
        layers[s] = [(tensors[f"net.{s}.{l}.weight"], tensors[f"net.{s}.{l}.bias"]) for l in range(n)]
    table = {key: None if own[key] is None else dict(zip(model.species, own[key], strict=True)) for key in own}
    return {
        **table,
        "species": species,
        "hidden": [about["network"][k]["hidden"] for k in place],
        "activation": [about["network"][k]["activation"] for k in place],
        "e0": dict(zip(model.species, map(float, model.e0), strict=True)),
        "weights": layers,
    }


def convert_main(source, target, units=None, drop_baseline=False):
    """`nnpcore convert`: what is done goes by what source and target are (docs/n2p2.md)."""
    if os.path.isdir(source):
        if os.path.isdir(target):
            raise N2p2Error(f"{target}: is a folder, expected a name for the model file (.nnp)")
        model = load(source, units)
        model.save(target)
        for note in model.info["n2p2"]["notes"]:
            print(note, file=sys.stderr if note.startswith("WARNING") else sys.stdout)
    elif Path(source).suffix == ".nn":
        _write_functions(source, target, units)
        return
    elif Path(source).suffix != ".nnp" and (
        is_input_data(source) or is_input_data(target) or Path(target).suffix == ".data"
    ):
        n, into = convert_data(source, target, units)
        print(f"{source} -> {target}: {n} frames{into}")
        return
    else:
        model = Model.load(source)
        if os.path.isfile(target):
            raise N2p2Error(f"{target}: is a file, expected a folder for n2p2")
        save(model, target, units, drop_baseline)
        _after_writing(model, target, units or model_units(model) or "Hartree/Bohr")
    counts = ", ".join(f"{n} functions of {s}" for s, n in zip(model.species, model.n_fingerprints, strict=True))
    print(f"{source} -> {target}: {counts}, {model.n_parameters} parameters, cutoff {model.cutoff:.6g} A")


def _after_writing(model, target, units):
    """What to tell LAMMPS, and what was left out."""
    energy, length = UNITS[units]
    reach = math.ceil(model.cutoff * 1e4 + 1e-6) / 1e4
    elements = " ".join(sorted(model.species, key=NUMBERS.get))
    factors = f"cflength {1 / length:.12g} cfenergy {1 / energy:.12g}"
    print(f"LAMMPS, units metal: pair_style hdnnp {reach} dir {target} {factors}; pair_coeff * * {elements}")
    if model.baseline:
        terms = ", ".join(
            f"{t['kind']} (acts within {t['outer']:.4g} A)" if "outer" in t else t["kind"] for t in model.baseline
        )
        print(f"WARNING: left out: {terms}", file=sys.stderr)


def _write_functions(source, target, units):
    species, table = functions(source, units)
    lines = [f" {json.dumps(s)}: [\n  " + ",\n  ".join(map(json.dumps, table[s])) + "\n ]" for s in species]
    write_atomic(Path(target), ("{\n" + ",\n".join(lines) + "\n}\n").encode())
    print(f"{source} -> {target}: " + ", ".join(f"{len(table[s])} functions of {s}" for s in species))
