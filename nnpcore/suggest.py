"""`nnpcore suggest`: look at labelled structures and write a commented configuration for `nnpcore train`."""

import os
import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from . import data
from .checkpoint import write_atomic
from .initial import add_frame, inputs
from .model import Model
from .neighbors import neighbor_list
from .suggest_functions import candidates, select
from .training import make_trainer
from .validate import InputError

REACH = 8.0  # A, how far g(r) is looked at
BIN = 0.05  # A
ATOMS = 3000  # environments that are looked at
NEIGHBOURS = {"pairs": 40, "triplets": 16}  # within the cutoffs, about
RANGE = (5.5, 7.5)  # A, where the cutoffs of published potentials lie
LARGE_FORCE = 30.0  # eV/A
STEPS = 20_000  # of training


@dataclass
class Survey:
    """What the structures are like. Distances in A."""

    species: list
    frames: int
    atoms: int
    counts: dict  # atoms of each species
    shortest: dict  # {(s, t): (distance, frame)}
    density: np.ndarray  # neighbours an atom in bins of BIN
    g: np.ndarray  # smoothed density / r^2, the shape of g(r)
    remarks: list = field(default_factory=list)

    def within(self, r):
        """Mean number of neighbours closer than r."""
        return float(self.density[: round(r / BIN)].sum())


def survey(frames):
    """Survey of a list of data.Frame; g(r) from about ATOMS atoms, evenly chosen frames."""
    species = data.species_of(frames)
    chosen = sample(frames)
    bins = round(REACH / BIN)
    histogram = np.zeros(bins)
    for f in chosen:
        histogram += np.histogram(neighbor_list("d", f.positions, f.cell, f.pbc, REACH), bins, (0, REACH))[0]
    density = histogram / max(sum(map(len, chosen)), 1)
    r = (np.arange(bins) + 0.5) * BIN
    kernel = np.exp(-0.5 * (np.arange(-8, 9) * BIN / 0.1) ** 2)
    g = np.convolve(density / r**2, kernel / kernel.sum(), mode="same")
    counts = {s: sum(f.species.count(s) for f in frames) for s in species}
    found = shortest(frames, species)
    return Survey(species, len(frames), sum(map(len, frames)), counts, found, density, g, remarks(frames, species))


def shortest(frames, species, reach=4.0):
    """{(s, t): (distance, source of the frame)} of all pairs of species that come closer than reach (A)."""
    found, size = {}, len(species)
    for f in frames:
        kind = data.indices(f, species)
        i, j, d = neighbor_list("ijd", f.positions, f.cell, f.pbc, reach)
        least = np.full(size * size, np.inf)
        np.minimum.at(least, kind[i] * size + kind[j], d)
        for s in range(size):
            for t in range(s, size):
                if least[s * size + t] < np.inf:
                    own = (float(least[s * size + t]), f.source)
                    found[species[s], species[t]] = min(found.get((species[s], species[t]), own), own)
    return found


def sample(frames, atoms=ATOMS):
    """Frames chosen evenly, of together about so many atoms."""
    mean = sum(map(len, frames)) / len(frames)
    n = int(np.clip(atoms / max(mean, 1), 1, len(frames)))
    chosen = [frames[k] for k in np.unique(np.linspace(0, len(frames) - 1, n).astype(int))]
    missing = set(data.species_of(frames)) - set(data.species_of(chosen))
    for s in sorted(missing):
        chosen.append(next(f for f in frames if s in f.species))
    return chosen


def remarks(frames, species):
    """Texts on labels: missing, extraordinary, unphysical."""
    texts = []
    for name in ("energy", "forces"):
        lacking = [f for f in frames if getattr(f, name) is None]
        if lacking:
            texts.append(f"{len(lacking)} of {len(frames)} frames have no {name}: {data.names(lacking, 3)}")
    wild = [f for f in frames if f.forces is not None and np.abs(f.forces).max(initial=0) > LARGE_FORCE]
    if wild:
        texts.append(f"forces above {LARGE_FORCE:g} eV/A in {len(wild)} frames: {data.names(wild, 3)}")
    labelled = [f for f in frames if f.energy is not None]
    if labelled:
        e0 = data.reference_energies(labelled, species)
        left = np.array([(f.energy - sum(e0[s] for s in f.species)) / len(f) for f in labelled])
        texts.append(f"energy per atom after E0: {left.min():.3f} to {left.max():.3f} eV, rms {left.std():.3f}")
        far = np.flatnonzero(np.abs(left - np.median(left)) > 10 * (np.median(np.abs(left - np.median(left))) + 0.01))
        if far.size:
            texts.append(
                f"energies far from the others in {far.size} frames: {data.names([labelled[k] for k in far], 3)}"
            )
    return texts


def cutoff(found, neighbours, least, most):
    """Radius that holds about so many neighbours: the closest minimum of g(r) if there is one within 0.6 A."""
    total = np.cumsum(found.density)
    reached = np.flatnonzero(total >= neighbours)
    r = (reached[0] + 1) * BIN if reached.size else most
    r = float(np.clip(r, least, most))
    k = np.arange(1, len(found.g) - 1)
    minima = (k[(found.g[k] < found.g[k - 1]) & (found.g[k] <= found.g[k + 1])] + 0.5) * BIN
    near = [m for m in minima if abs(m - r) <= 0.6 and least <= m <= most]
    return round(min(near, key=lambda m: abs(m - r)) if near else r, 1)


def behler_parrinello(found, chosen, rc, n, grid, how):
    """({symbol: [function dict]}, {symbol: fraction of the pool's variance explained}, size of the pool)."""
    first = max(0.5, round(min((d for d, _ in found.shortest.values()), default=1.0), 1))
    pool = {s: candidates(s, found.species, rc, first, grid) for s in found.species}
    model = Model.bp(found.species, pool, hidden=[1])
    table, share = {}, {}
    for s, g in zip(found.species, inputs(model, chosen, _trainer), strict=True):
        kept, share[s] = select(g, n, how)
        if not kept:
            raise InputError(f"suggest: no symmetry function of {s} varies on the data within {rc} A")
        table[s] = [pool[s][k] for k in kept]
    return table, share, sum(map(len, pool.values()))


def msr_counts(found, chosen, rc, rc3, n, how):
    """(n2 [S][S], n3 [S][S(S+1)/2], {symbol: fraction explained}): channels of the n most telling of many at random."""
    many, size = 16, len(found.species)
    model = Model.msr(found.species, rc, rc3, n2=many, n3=many, hidden=[1], seed=1)
    n2, n3, share = [], [], {}
    for s, g in zip(found.species, inputs(model, chosen, _trainer), strict=True):
        kept, share[s] = select(g, n, how)
        counts = np.bincount(np.array(kept, dtype=int) // many, minlength=size + size * (size + 1) // 2)
        n2.append([max(1, int(c)) for c in counts[:size]])
        n3.append([max(1, int(c)) for c in counts[size:]])
    return n2, n3, share


def _trainer(model):
    return make_trainer(model, 0, "float64")


def costs(model, chosen, atoms):
    """{"md", "epoch", "kept", "gradients", "frames"}: microseconds an atom, seconds, and bytes, measured here.

    md: energy and forces of the largest frame; epoch: the loss gradient over all atoms; frames: memory of the trainer;
    kept, gradients: of fingerprints in float64 and their derivatives in float32, if they were stored.
    """
    largest = max(chosen, key=len)

    def evaluate():
        model.compute(largest.positions, largest.species, cell=largest.cell, pbc=largest.pbc, skin=0.3)

    trainer, some = _trainer(model), chosen[:20]
    for f in some:
        add_frame(trainer, model, f)
    batch, theta = np.arange(len(some), dtype=np.int32), np.array(model.theta)
    seen = sum(map(len, some))
    neighbours = np.mean([len(neighbor_list("i", f.positions, f.cell, f.pbc, model.cutoff)) / len(f) for f in some])
    counts = max(model.n_fingerprints)
    return {
        "md": _best(evaluate) * 1e6 / len(largest),
        "epoch": _best(lambda: trainer.gradient(theta, batch)) * atoms / seen,
        "frames": trainer.bytes * atoms / seen,
        "kept": 8.0 * counts * atoms,
        "gradients": 12.0 * counts * (neighbours + 1) * atoms,
    }


def _best(run, times=3):
    """Seconds of the fastest of some runs after a first one."""
    run()
    best = np.inf
    for _ in range(times):
        start = time.perf_counter()
        run()
        best = min(best, time.perf_counter() - start)
    return best


def suggest(
    paths, method="bp", rc=None, n=None, grid="both", how="cur", units=None, out="suggest.toml", hidden=(30, 30)
):
    """Text of the configuration for the structures in the files; see suggest_main(). Raises DataError, InputError."""
    frames = [f for path in paths for f in data.read_frames(path, units=units)]
    frames = [f for f in frames if len(f)]
    if not frames:
        raise data.DataError(f"{paths[0]}: no atoms in it")
    found = survey(frames)
    chosen = sample(frames)
    given = rc is not None
    rc = rc if given else cutoff(found, NEIGHBOURS["pairs"], *RANGE)
    if not 1.0 <= rc <= 20.0:
        raise InputError(f"suggest: the cutoff is {rc:g} A, expected 1 to 20")
    size = len(found.species)
    n = n or 24 + 4 * size * (size + 1)
    e0 = data.reference_energies(frames, found.species)
    text = _head(paths, found, rc, given)
    if method == "bp":
        table, share, pool = behler_parrinello(found, chosen, rc, n, grid, how)
        model = Model.bp(found.species, table, list(hidden), e0=e0)
        section = _bp_section(table, share, pool, rc, hidden, how)
    else:
        rc3 = min(rc, cutoff(found, NEIGHBOURS["triplets"], 3.0, rc))
        n2, n3, share = msr_counts(found, chosen, rc, rc3, n, how)
        model = Model.msr(found.species, rc, rc3, n2=n2, n3=n3, hidden=list(hidden), e0=e0, seed=1)
        section = _msr_section(found, rc, rc3, n2, n3, share, hidden)
    text += _data_section(paths, found, frames, e0, units, out) + section
    text += _training_sections(frames, costs(model, chosen, found.atoms), found)
    return "\n".join(text) + "\n"


def _head(paths, found, rc, given):
    lines = [f"# Suggested by nnpcore for {', '.join(map(str, paths))}. Every number is a proposal.", "#"]
    composition = ", ".join(f"{n} {s}" for s, n in found.counts.items())
    lines += [f"# {found.frames} frames, {found.atoms} atoms: {composition}"]
    pairs = [f"{s}-{t} {d:.2f} ({where})" for (s, t), (d, where) in sorted(found.shortest.items())]
    lines += [f"# shortest distances, A: {', '.join(pairs)}"] if pairs else []
    lines += [f"# WARNING: {s}-{t} at {d:.2f} A" for (s, t), (d, _) in found.shortest.items() if d < 0.5]
    lines += [f"# {text}" for text in found.remarks]
    why = f"{RANGE[0]} to {RANGE[1]} A, for about {NEIGHBOURS['pairs']} neighbours, at a minimum of g(r) if one is near"
    lines += [f"# cutoff {rc:g} A: {'as asked for' if given else why}"]
    return [*lines, f"# neighbours an atom within it: {found.within(min(rc, REACH)):.0f}", ""]


def _data_section(paths, found, frames, e0, units, out):
    folder = Path(out).resolve().parent
    names = [Path(os.path.relpath(Path(p).resolve(), folder)).as_posix() for p in paths]
    isolated = all(any(f.species == (s,) and f.energy is not None for f in frames) for s in found.species)
    lines = ["[data]", f"train = {_toml(names if len(names) > 1 else names[0])}"]
    lines += [_line("valid = 0.1", "fraction held back, or a file")]
    lines += [f"units = {_toml(units)}"] if units else []
    values = ", ".join(f"{s} {v:.4f}" for s, v in e0.items())
    lines += [_line(f'e0 = "{"isolated" if isolated else "fit"}"', f"a fit gives {values} eV")]
    if any(f.energy is None or f.forces is None for f in frames):
        lines += [_line('missing = "skip"', "frames without a label train on those that they have")]
    return [*lines, ""]


def _bp_section(table, share, pool, rc, hidden, how):
    names = {"cur": "CUR", "fps": "farthest-point"}
    lines = ["[model]", 'method = "bp"', f"hidden = {_toml(list(hidden))}", ""]
    lines += [
        f"# chosen by {names[how]} selection from a pool of {pool}; eta in 1/A^2, rs and rc in A, cutoff 6: polynomial"
    ]
    lines += ["[model.functions]"]
    for s, own in table.items():
        radial = sum(f["type"] == 2 for f in own)
        lines += [f"# {radial} radial, {len(own) - radial} angular; {1 - share[s]:.2g} of the pool's variance is left"]
        lines += [f"{s} = [", *(f"    {_toml(_brief(f))}," for f in own), "]"]
    return [*lines, ""]


def _brief(function):
    """Without what nnpcore/bp.py takes by default."""
    return {key: value for key, value in function.items() if key not in ("alpha", "rs") or value != 0}


def _msr_section(found, rc, rc3, n2, n3, share, hidden):
    lines = ["[model]", 'method = "msr"', _line(f"rc = {rc:g}", "A, pairs")]
    lines += [_line(f"rc3 = {rc3:g}", f"A, triplets; {found.within(min(rc3, REACH)):.0f} neighbours within")]
    pairs = [f"{s}-{t}" for k, s in enumerate(found.species) for t in found.species[k:]]
    lines += [_line(f"n2 = {_toml(n2)}", f"rows: centre {', '.join(found.species)}; columns: the neighbour, alike")]
    lines += [_line(f"n3 = {_toml(n3)}", f"columns: neighbour pairs {', '.join(pairs)}")]
    lines += [f"hidden = {_toml(list(hidden))}"]
    left = ", ".join(f"{1 - share[s]:.2g} ({s})" for s in share)
    return [*lines, f"# part of the variance of 16 random fingerprints a channel that so many leave: {left}", ""]


def _training_sections(frames, cost, found):
    batch = 4
    epochs = max(1, round(STEPS * batch / max(1, round(0.9 * len(frames)))))
    lines = ["[loss]"]
    lines += [_line("energy = [0.5, 10.0]", "weights at the start and at the end"), "force = 1.0"]
    if any(f.stress is not None for f in frames):
        lines += ["stress = [1.0, 100.0]"]
    lines += ["", "[train]", f"batch = {batch}", _line(f"epochs = {epochs}", f"about {STEPS} steps")]
    lines += ["", "# measured on this machine, all threads, float64: energy and forces of the largest frame"]
    lines += [f"# {cost['md']:.3g} us an atom; gradients of an epoch {cost['epoch']:.3g} s, of the whole training"]
    lines += [
        f"# {cost['epoch'] * epochs / 60:.2g} min. Memory: structures and neighbours {cost['frames'] / 2**20:.3g} MB;"
    ]
    lines += [f"# to keep all fingerprints {cost['kept'] / 2**20:.3g} MB, their derivatives (float32) "]
    lines[-1] += f"{cost['gradients'] / 2**20:.3g} MB"
    return lines


def _line(setting, comment):
    return f"{setting:<32} # {comment}"


def _toml(value):
    from .config import _toml as text

    return text(value)


def suggest_main(paths, out="suggest.toml", **options):
    """`nnpcore suggest`: write the configuration and say what was seen."""
    text = suggest(paths, out=out, **options)
    write_atomic(Path(out), text.encode())
    print("\n".join(line[2:] for line in text.splitlines() if line.startswith("# ")))
    print(f"{out}: written; nnpcore train {out} --dry-run checks it")
