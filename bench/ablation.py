"""What every part of an MSR network is worth: errors of a trained model with some of its inputs held at their mean.

    python bench/ablation.py MODEL.nnp DATA.xyz [--csv FILE] [--json FILE] [--markdown]

For every centre species, every channel (2-body: a partner species; 3-body: a pair of them) and every fingerprint, its
inputs of that species' network are frozen at their mean over the atoms of DATA, and the rise of the energy and force
RMSE on DATA is shown. Nothing is trained again: a rise says how much the network relies on that input, not how much
worse a network that never had it would be. What changes the force RMSE by less than DEAD is listed as idle.
float64, one thread.
"""

import argparse
import csv
import io
import json

import numpy as np

from nnpcore import load
from nnpcore.data import read_frames
from nnpcore.evaluate import Labels, strict_json, summary
from nnpcore.initial import inputs
from nnpcore.training import make_trainer
from nnpcore.validate import InputError

DEAD = 1e-3  # relative change of the force RMSE
COLUMNS = ("energy_rmse[meV/atom]", "energy_rise[meV/atom]", "force_rmse[meV/A]", "force_rise[meV/A]")


def channels(model, s):
    """[(name, inputs of centre species s)] of every channel: "Ge:Te" pairs, "Ge:Sb-Te" triplets."""
    symbols, counts, start, out = model.species, model.metadata["msr"], 0, []
    pairs = [f"{t}-{u}" for k, t in enumerate(symbols) for u in symbols[k:]]
    for names, row in ((symbols, counts["n2"][s]), (pairs, counts["n3"][s])):
        for name, count in zip(names, row, strict=True):
            out.append((f"{symbols[s]}:{name}", np.arange(start, start + count)))
            start += count
    return out


def parts(model):
    """[(kind, name, centre species, inputs)] of everything that is frozen in turn, channels without inputs left out."""
    out = []
    for s, symbol in enumerate(model.species):
        groups = [(name, columns) for name, columns in channels(model, s) if len(columns)]
        out.append(("species", symbol, s, np.arange(model.n_fingerprints[s])))
        out += [("triplets" if "-" in name else "pairs", name, s, columns) for name, columns in groups]
        out += [
            ("fingerprint", f"{name}[{k}]", s, columns[k : k + 1])
            for name, columns in groups
            for k in range(len(columns))
        ]
    return out


def frozen(model, s, columns, mean):
    """The model with these inputs of centre species s held at mean: b_0 + mean . W_0, and no W_0 of theirs."""
    symbol = model.species[s]
    tensors = {name: np.array(value) for name, value in model.tensors.items()}
    weight = tensors[f"net.{symbol}.0.weight"]
    tensors[f"net.{symbol}.0.bias"] += mean[columns] @ weight[columns]
    weight[columns] = 0
    return model.replace(tensors=tensors)


class Errors:
    """RMSE of models of one architecture on frames: neighbour lists are made once."""

    def __init__(self, model, frames):
        self.labels = Labels(frames)
        self.trainer = make_trainer(model, 1, "float64")
        self.means = [g.mean(axis=0) if len(g) else None for g in inputs(model, frames, lambda _: self.trainer)]
        self.frames = np.arange(len(frames), dtype=np.int32)

    def __call__(self, model):
        """(energy RMSE in meV/atom, force RMSE in meV/A)"""
        row = summary(self.labels.differences(*self.trainer.predict(model.theta, self.frames)))
        return row["rmse_energy[meV/atom]"], row["rmse_force[meV/A]"]


def ablation(model, frames):
    """[{"kind", "part", "inputs", *COLUMNS}], the whole model first ("all": rises are 0). InputError."""
    if model.method != "msr":
        raise InputError("ablation: the model has no fingerprints")
    errors = Errors(model, frames)
    whole = errors(model)

    def row(kind, name, count, found):
        values = (found[0], found[0] - whole[0], found[1], found[1] - whole[1])
        return {"kind": kind, "part": name, "inputs": count, **dict(zip(COLUMNS, values, strict=True))}

    rows = [row("all", "all", sum(model.n_fingerprints), whole)]
    for kind, name, s, columns in parts(model):
        if errors.means[s] is not None:  # a species that the frames do not have
            found = errors(frozen(model, s, columns, errors.means[s]))
            rows.append(row(kind, name, len(columns), found))
    return rows


def idle(rows):
    """Names of channels and fingerprints (with brackets) without which the force RMSE changes by less than DEAD."""
    least = DEAD * rows[0]["force_rmse[meV/A]"]
    return [r["part"] for r in rows[1:] if not abs(r["force_rise[meV/A]"]) >= least]


def markdown(rows):
    """Rows of species and channels as a Markdown table."""
    lines = [
        "| held at the mean | inputs | energy RMSE rises by, meV/atom | force RMSE rises by, meV/Å |",
        "|---|---|---|---|",
    ]
    for r in rows:
        if r["kind"] not in ("all", "fingerprint"):
            rises = " | ".join(f"{r[c]:+.1f}" for c in (COLUMNS[1], COLUMNS[3]))
            lines.append(f"| {r['part']} | {r['inputs']} | {rises} |")
    return "\n".join(lines)


def report(rows):
    """The whole table as text, and what is dead."""
    lines = [f"{'kind':<12} {'part':<16} {'inputs':>6} " + " ".join(f"{c:>22}" for c in COLUMNS)]
    for r in rows:
        lines.append(f"{r['kind']:<12} {r['part']:<16} {r['inputs']:>6} " + " ".join(f"{r[c]:>22.4f}" for c in COLUMNS))
    lines.append(f"idle (force RMSE changes by less than {100 * DEAD:g} %): {', '.join(idle(rows)) or 'none'}")
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model")
    parser.add_argument("data")
    parser.add_argument("--csv")
    parser.add_argument("--json")
    parser.add_argument("--markdown", action="store_true", help="print species and channels as a Markdown table")
    args = parser.parse_args()
    rows = ablation(load(args.model), read_frames(args.data))
    print(markdown(rows) if args.markdown else report(rows))
    if args.csv:
        text = io.StringIO()
        writer = csv.DictWriter(text, rows[0].keys(), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        with open(args.csv, "w", encoding="utf-8") as file:
            file.write(text.getvalue())
    if args.json:
        with open(args.json, "w", encoding="utf-8") as file:
            json.dump({"rows": strict_json(rows), "idle": idle(rows)}, file, indent=1)


if __name__ == "__main__":
    main()
