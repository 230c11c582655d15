import math

import pytest

from nnpcore import schedule
from nnpcore.config import Schedule


def test_published_cosine_restarts():
    """Cycles 2.5, 3.5, 4.9, ... epochs, heights 1, 0.9, 0.81, ...: floor 0 at the end of each."""
    starts, length, height = [0.0], 2.5, 1.0
    for _ in range(6):
        start = starts[-1]
        assert schedule.cosine_restarts(start) == pytest.approx(height)
        assert schedule.cosine_restarts(start + length / 2) == pytest.approx(height / 2)
        assert schedule.cosine_restarts(start + length * (1 - 1e-9)) == pytest.approx(0.0, abs=1e-12)
        starts.append(start + length)
        length, height = length * 1.4, height * 0.9


@pytest.mark.parametrize("t_mul", [1.0, 1.4, 2.0])
@pytest.mark.parametrize("epochs", [1, 3, 7, 20, 137])
def test_stretched_last_cycle_ends_with_the_run(t_mul, epochs):
    def value(epoch):
        return schedule.cosine_restarts(epoch, 2.5, t_mul, 0.9, 0.1, epochs)

    assert value(epochs * (1 - 1e-9)) == pytest.approx(0.1, abs=1e-6)
    assert value(0) == pytest.approx(1.0)
    grid = [value(epochs * k / 2000) for k in range(2000)]
    jumps = [k for k in range(1, 2000) if grid[k] > grid[k - 1] + 0.2]
    lengths = [b - a for a, b in zip([0, *jumps], [*jumps, 2000], strict=True)]
    unit = 2.5 * 2000 / epochs
    for i, n in enumerate(lengths[:-1]):
        assert n == pytest.approx(unit * t_mul**i, abs=2)
    if jumps:
        assert lengths[-1] >= unit * t_mul ** len(jumps) - 2


def test_kinds_and_warm_up():
    def value(kind, progress, epoch=5.0, **k):
        return schedule.factor(Schedule(kind=kind, **k), epoch, progress, 10)

    assert value("constant", 0.7) == 1.0
    assert value("exponential", 0.5, end=0.01) == pytest.approx(0.1)
    assert value("cosine", 0.0) == 1.0 and value("cosine", 1.0, end=0.2) == pytest.approx(0.2)
    assert value("cosine", 0.25) == pytest.approx(0.5 + 0.5 * math.cos(math.pi / 4))
    assert value("cosine_restarts", 0.0, epoch=0.0) == 1.0
    assert value("constant", 0.1, epoch=1.0, warmup=4.0) == 0.25


def test_ramp():
    assert schedule.ramp(0.3, 0.9) == 0.3
    assert [schedule.ramp([1.0, 3.0], p) for p in (-1, 0, 0.5, 1, 2)] == [1, 1, 2, 3, 3]
