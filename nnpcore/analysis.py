"""Small statistics of finished simulations: columns of thermo.csv, means with errors, drift."""

import numpy as np

from .validate import InputError


def read_csv(path):
    """{column name with unit: float64 array} of thermo.csv or rdf.csv; empty fields are NaN. Raises InputError."""
    try:
        with open(path, encoding="utf-8") as file:
            names = file.readline().rstrip("\n").split(",")
            table = np.genfromtxt(file, delimiter=",", ndmin=2)
    except (OSError, ValueError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: {error}") from None
    if table.shape[0] and table.shape[1] != len(names):
        raise InputError(f"{path}: rows have {table.shape[1]} fields, expected {len(names)}")
    return {name: table[:, k] if len(table) else np.empty(0) for k, name in enumerate(names)}


def mean_error(series, n_min=16):
    """(mean, standard error) of a correlated series [n] by blocking: the largest estimate of the error over block
    lengths 1, 2, 4, ... that leave n_min blocks. H. Flyvbjerg, H. G. Petersen, J. Chem. Phys. 91, 461 (1989)."""
    series = np.asarray(series, dtype=np.float64)
    if len(series) < 2:
        return float(series.mean()) if len(series) else float("nan"), float("nan")
    mean, error = float(series.mean()), 0.0
    while True:
        error = max(error, float(np.sqrt(series.var(ddof=1) / len(series))))
        if len(series) < 2 * n_min:
            return mean, error
        half = len(series) // 2 * 2
        series = 0.5 * (series[0:half:2] + series[1:half:2])


def drift(time, energy):
    """(slope, standard error) of a straight line through energy [n] over time [n], in energy units per time unit.

    The error counts residuals as correlated: mean_error()'s ratio of blocked to naive error scales it.
    """
    time, energy = np.asarray(time, dtype=np.float64), np.asarray(energy, dtype=np.float64)
    if len(time) < 3:
        raise InputError(f"drift: expected at least 3 points, got {len(time)}")
    t = time - time.mean()
    slope = float(t @ energy / (t @ t))
    rest = energy - energy.mean() - slope * t
    naive = np.sqrt(rest @ rest / (len(t) - 2) / (t @ t))
    white = np.sqrt(rest.var(ddof=1) / len(rest))
    return slope, float(naive * (mean_error(rest)[1] / white if white > 0 else 1.0))
