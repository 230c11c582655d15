"""input.data, the structures of n2p2 and RuNNer: reading and writing.

Blocks from `begin` to `end` with lines `comment ...`, three `lattice x y z` or none (periodic along all axes, or
not at all), `atom x y z symbol charge unused fx fy fz`, `energy e` and `charge q`. No unit is named; Hartree and Bohr
are usual.
"""

import bz2
import gzip
import io
import lzma
import re
from dataclasses import replace
from pathlib import Path

import numpy as np

from .checkpoint import write_atomic
from .data import UNITS, DataError, Frame, read_frames
from .elements import NUMBERS
from .n2p2_format import number

OPENERS = {".gz": gzip.open, ".xz": lzma.open, ".bz2": bz2.open}
WORDS = {"begin": 0, "end": 0, "lattice": 3, "energy": 1, "charge": 1}
COLUMNS = "x y z element charge unused fx fy fz"
CONFIG_TYPE = re.compile(r'config_type=(?:"([^"]*)"|(\S+))')


def is_input_data(path):
    """Whether a file is read as input.data: by its name, or if it ends on .data or nothing and starts with `begin`."""
    path = Path(path)
    name = path.name.removesuffix(path.suffix) if path.suffix in OPENERS else path.name
    if name == "input.data":
        return True
    if Path(name).suffix not in ("", ".data"):
        return False
    try:
        with OPENERS.get(path.suffix, open)(path, "rb") as file:
            return file.read(256).split()[:1] == [b"begin"]
    except (OSError, EOFError, lzma.LZMAError):
        return False


def read_input_data(path, units=None):
    """Frames of an input.data file (.gz, .xz, .bz2 too), a list of data.Frame. Raises DataError naming file and line.

    units: a key of data.UNITS, Hartree/Bohr by default. A block whose energy and forces are all exactly 0 has no
    labels (the format cannot leave them out); charges are not used; config_type is taken from the comment, written
    `config_type=liquid`.
    """
    path = Path(path)
    units = units or "Hartree/Bohr"
    if units not in UNITS:
        raise DataError(f"units {units!r} not known, expected one of {', '.join(UNITS)}")
    try:
        with OPENERS.get(path.suffix, open)(path, "rb") as file:
            text = io.TextIOWrapper(file, encoding="utf-8", errors="replace")
            frames = list(_blocks(path, text, *UNITS[units]))
    except (OSError, EOFError, lzma.LZMAError) as error:
        raise DataError(f"{path}: {getattr(error, 'strerror', None) or error}") from None
    if not frames:
        raise DataError(f"{path}: no frames in it")
    return frames


def _blocks(path, lines, energy_unit, length_unit):
    block, start, count = None, 0, 0
    for n, line in enumerate(lines, 1):
        words = line.split()
        if not words or words[0].startswith("#"):
            continue
        where = f"{path}:{n}"
        if block is None:
            if words != ["begin"]:
                raise DataError(f"{where}: expected begin, got {line.strip()[:40]!r}")
            block, start = {"atoms": [], "lattice": [], "energy": [], "comment": ""}, n
        elif words[0] == "end":
            source = f"{path.name}@{count}"
            yield _frame(block, f"{path}:{start}", source, energy_unit, length_unit)
            block, count = None, count + 1
        else:
            _add(block, words, line, where)
    if block is not None:
        raise DataError(f"{path}:{start}: begin without end")


def _add(block, words, line, where):
    """One line of a block."""
    keyword, arguments = words[0], words[1:]
    if keyword in ("comment", "c"):
        block["comment"] += line.split(None, 1)[1].strip() if arguments else ""
        return
    if keyword == "atom":
        if len(arguments) < 9:
            raise DataError(f"{where}: atom: {len(arguments)} columns, expected {COLUMNS}")
        if arguments[3] not in NUMBERS:
            raise DataError(f"{where}: atom: {arguments[3]!r} is not an element symbol")
        texts = arguments[:3] + arguments[6:9]
        block["atoms"].append((arguments[3], _numbers(texts, where, keyword)))
        return
    if keyword not in WORDS or keyword == "begin":
        raise DataError(f"{where}: {keyword}: expected comment, lattice, atom, energy, charge or end")
    if len(arguments) < WORDS[keyword]:
        raise DataError(f"{where}: {keyword}: expected {WORDS[keyword]} numbers, got {len(arguments)}")
    values = _numbers(arguments[: WORDS[keyword]], where, keyword)
    if keyword == "lattice":
        block["lattice"].append(values)
        if len(block["lattice"]) > 3:
            raise DataError(f"{where}: lattice: more than three vectors")
    elif keyword == "energy":
        block["energy"] += values
        if len(block["energy"]) > 1:
            raise DataError(f"{where}: energy: given twice")


def _numbers(texts, where, keyword):
    try:
        return [number(text) for text in texts]
    except ValueError:
        bad = next(text for text in texts if not _is_number(text))
        raise DataError(f"{where}: {keyword}: {bad!r} is not a finite number") from None


def _is_number(text):
    try:
        number(text)
    except ValueError:
        return False
    return True


def _frame(block, where, source, energy_unit, length_unit):
    if not block["atoms"]:
        raise DataError(f"{where}: no atoms between begin and end")
    if len(block["lattice"]) not in (0, 3):
        raise DataError(f"{where}: {len(block['lattice'])} lattice vectors, expected three or none")
    values = np.array([row for _, row in block["atoms"]])
    energy = block["energy"][0] if block["energy"] else None
    labelled = energy or values[:, 3:].any()
    cell = np.array(block["lattice"]) * length_unit if block["lattice"] else None
    if cell is not None and not abs(np.linalg.det(cell)) > 0:
        raise DataError(f"{where}: lattice vectors span no volume")
    kind = CONFIG_TYPE.search(block["comment"])
    return Frame(
        species=[symbol for symbol, _ in block["atoms"]],
        positions=values[:, :3] * length_unit,
        cell=cell,
        pbc=cell is not None,
        energy=energy * energy_unit if labelled and energy is not None else None,
        forces=values[:, 3:] * (energy_unit / length_unit) if labelled else None,
        config_type=(kind.group(1) or kind.group(2) or "") if kind else "",
        source=source,
    )


def write_input_data(path, frames, units=None):
    """Write frames as input.data, in Hartree and Bohr by default. Raises DataError for what the format cannot hold.

    Missing energies and forces are written as 0, stress has no place; numbers have 17 digits.
    """
    units = units or "Hartree/Bohr"
    if units not in UNITS:
        raise DataError(f"units {units!r} not known, expected one of {', '.join(UNITS)}")
    energy_unit, length_unit = UNITS[units]
    lines = []
    for f in frames:
        if any(f.pbc) != all(f.pbc):
            raise DataError(f"{f.source}: periodic along some axes only, which input.data cannot say")
        kind = f'config_type="{f.config_type}" ' if f.config_type else ""
        lines += ["begin", f"comment {kind}{' '.join(f.source.split())}"]
        if all(f.pbc):
            lines += [f"lattice {_row(vector / length_unit)}" for vector in f.cell]
        forces = np.zeros((len(f), 3)) if f.forces is None else f.forces * (length_unit / energy_unit)
        for symbol, x, force in zip(f.species, f.positions / length_unit, forces, strict=True):
            lines.append(f"atom {_row(x)} {symbol:2s} 0.0 0.0 {_row(force)}")
        lines += [f"energy {(f.energy or 0.0) / energy_unit!r}", "charge 0.0", "end"]
    write_atomic(Path(path), ("\n".join(lines) + "\n").encode())


def write_predicted(path, frames, predictions, units=None):
    """Write structures with predicted energies and forces (evaluate.predict) instead of their labels, as input.data."""
    ends = np.cumsum([len(f) for f in frames])[:-1]
    forces = np.split(predictions[1], ends)
    energies = map(float, predictions[0])
    changed = [replace(f, energy=e, forces=x) for f, e, x in zip(frames, energies, forces, strict=True)]
    write_input_data(path, changed, units)


def _row(values):
    return " ".join(f"{float(v)!r:>24}" for v in values)


def convert_data(source, target, units=None):
    """Rewrite structures between input.data and extended XYZ by the target's name; (frames, remark). DataError.

    units: of the input.data file(s), Hartree/Bohr by default; extended XYZ is in eV and A.
    """
    frames = read_input_data(source, units) if is_input_data(source) else read_frames(source)
    if Path(target).suffix not in (".xyz", ".extxyz"):
        write_input_data(target, frames, units)
        lost = sum(f.stress is not None for f in frames)
        return len(frames), f", {units or 'Hartree/Bohr'}" + (f"; stress of {lost} left out" if lost else "")
    _write_xyz(target, frames)
    return len(frames), ", eV/A"


def _write_xyz(target, frames):
    from ase import Atoms
    from ase.io import write

    images = []
    for f in frames:
        atoms = Atoms(f.species, f.positions, cell=f.cell, pbc=f.pbc)
        labels = {"config_type": f.config_type or None, "REF_energy": f.energy, "REF_stress": f.stress}
        atoms.info.update({key: value for key, value in labels.items() if value is not None})
        if f.forces is not None:
            atoms.arrays["REF_forces"] = f.forces
        images.append(atoms)
    text = io.StringIO()
    write(text, images, format="extxyz")
    write_atomic(Path(target), text.getvalue().encode())
