"""report.html: one self-contained page of tables and figures (PNG inside), plain enough for any browser."""

import base64
import html
import io
import sys
from pathlib import Path

import numpy as np

from . import __version__, plot
from .checkpoint import write_atomic
from .evaluate import QUANTITIES, UNIT

STYLE = """
body{font:15px/1.5 system-ui,sans-serif;max-width:62rem;margin:2rem auto;padding:0 1rem;color:#222}
h1{font-size:1.5rem}h2{font-size:1.15rem;margin-top:2rem}img{max-width:100%}
table{border-collapse:collapse}td,th{padding:.2rem .7rem;text-align:right;border-bottom:1px solid #ddd}
td:first-child,th:first-child{text-align:left}footer{color:#777;margin-top:3rem;font-size:.85rem}
@media(prefers-color-scheme:dark){body{background:#181818;color:#ddd}td,th{border-color:#444}img{background:#fff}}
"""


class Report:
    """A page built from top to bottom: text(), table(), figure(), then write()."""

    def __init__(self, title):
        self.title, self.parts = title, []

    def heading(self, text):
        """A section's title."""
        self.parts.append(f"<h2>{html.escape(text)}</h2>")

    def text(self, text):
        """A paragraph."""
        self.parts.append(f"<p>{html.escape(text)}</p>")

    def table(self, header, rows):
        """header: [str]; rows: [[str or number]]; numbers are shown with four digits."""
        head = "".join(f"<th>{html.escape(str(h))}</th>" for h in header)
        body = "".join("<tr>" + "".join(f"<td>{_cell(c)}</td>" for c in row) + "</tr>" for row in rows)
        self.parts.append(f"<table><tr>{head}</tr>{body}</table>")

    def errors(self, table):
        """The table of evaluate.by_config_type()."""
        columns = [(q, how) for q in QUANTITIES for how in ("mae", "rmse")]
        columns = [c for c in columns if any(np.isfinite(row[_column(*c)]) for row in table.values())]
        header = ["config_type", "frames", "atoms", *(f"{q} {how.upper()} ({UNIT[q]})" for q, how in columns)]
        rows = [[k, row["frames"], row["atoms"], *(row[_column(*c)] for c in columns)] for k, row in table.items()]
        self.table(header, rows)

    def figure(self, make, *args, caption="", path=None, **kwargs):
        """The figure make(*args, **kwargs) as PNG, also into the file path; where it cannot be drawn, a line that says
        why. Returns success."""
        try:
            buffer = io.BytesIO()
            make(*args, **kwargs).savefig(buffer, format="png", dpi=110, metadata={"Software": None})
        except Exception as error:  # a report without one picture is better than none
            self.text(f"(no figure: {type(error).__name__}: {error})")
            return False
        if path is not None:
            write_atomic(path, buffer.getvalue())
        data = base64.b64encode(buffer.getvalue()).decode()
        alt = html.escape(caption or make.__name__.replace("_", " "))
        self.parts.append(f'<figure><img alt="{alt}" src="data:image/png;base64,{data}"></figure>')
        if caption:
            self.parts.append(f"<p>{html.escape(caption)}</p>")
        return True

    def write(self, path):
        """Write the page, whole or not at all."""
        title = html.escape(self.title)
        text = (
            f'<!DOCTYPE html><html lang="en"><head><meta charset="utf-8"><title>{title}</title><style>{STYLE}</style>'
            f"</head><body><h1>{title}</h1>{''.join(self.parts)}<footer>nnpcore {__version__}</footer></body></html>\n"
        )
        write_atomic(path, text.encode())


def _column(quantity, how):
    return f"{how}_{quantity}[{UNIT[quantity]}]"


def _cell(value):
    if isinstance(value, float):
        return f"{value:.4g}" if np.isfinite(value) else "–"
    return html.escape(str(value))


def write_training_report(folder, result, tables):
    """report.html of a run folder: errors of each set, learning curves, parity, learned pair functions."""
    folder, model = Path(folder), result.model
    report = Report(f"Training: {folder.resolve().name}")
    report.text(
        f"{'-'.join(model.species)}, {model.n_parameters} parameters; best validation loss {result.score:.4g} "
        f"at epoch {result.epoch:g}; stopped by: {result.stopped}."
    )
    for name, table in tables.items():
        report.heading(f"Errors: {name}")
        report.errors(table)
    if plot.available():
        report.heading("Figures")
        if result.history:
            report.figure(plot.learning_curves, result.history)
        sets = {name: np.load(folder / f"parity_{name}.npz", allow_pickle=False) for name in tables}
        report.figure(plot.parity, sets)
        if model.method == "msr":
            report.figure(plot.pair_functions, model)
    else:
        report.text("Figures need matplotlib: pip install nnpcore[plot]")
        print("no figures: matplotlib is not installed (pip install nnpcore[plot])", file=sys.stderr)
    report.write(folder / "report.html")
