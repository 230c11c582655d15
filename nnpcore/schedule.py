"""Learning-rate schedules: a factor in [0, 1] that multiplies the optimiser's rate.

Time is counted in epochs, as a real number; progress is epoch/epochs, or the part of the allowed seconds that is spent
when a run is limited by time alone.
"""

import math


def cosine_restarts(epoch, first=2.5, t_mul=1.4, m_mul=0.9, floor=0.0, epochs=None):
    """Cosine cycles of length first * t_mul^i and height m_mul^i: I. Loshchilov, F. Hutter, arXiv:1608.03983.

    In cycle i, which began at t_i, factor = floor + (1 - floor) m_mul^i (1 + cos(pi (epoch - t_i)/T_i)) / 2.
    With epochs given, a last cycle that would be cut off is not begun: the one before it is stretched to the end, so
    that a run ends at a low rate.
    """
    height, start, length = _cycle(epoch, first, t_mul, m_mul, epochs)
    done = min(max((epoch - start) / length, 0.0), 1.0) if length > 0 else 1.0
    return floor + (1.0 - floor) * height * 0.5 * (1.0 + math.cos(math.pi * done))


def _cycle(epoch, first, t_mul, m_mul, epochs):
    """(height, start, length) of the cycle that holds epoch."""
    if t_mul == 1.0:
        n_whole = math.inf if epochs is None else max(int(epochs / first * (1 + 1e-12)), 1)
        i = min(int(epoch / first), n_whole - 1)
        return m_mul**i, i * first, first if i < n_whole - 1 else epochs - i * first
    height, start, length = 1.0, 0.0, first
    while epoch >= start + length:
        if epochs is not None and start + length * (1.0 + t_mul) > epochs * (1 + 1e-12):
            break
        height, start, length = height * m_mul, start + length, length * t_mul
    if epochs is not None and start + length * (1.0 + t_mul) > epochs * (1 + 1e-12):
        length = epochs - start
    return height, start, length


def factor(schedule, epoch, progress, epochs=None):
    """Factor of the rate at a real-valued epoch.

    schedule: config.Schedule; progress in [0, 1]; epochs: the planned number, None when time limits the run.
    constant: 1. exponential: end^progress. cosine: from 1 to end by half a cosine. cosine_restarts: see there.
    A warm-up of `warmup` epochs multiplies any of them by epoch/warmup.
    """
    if schedule.kind == "constant":
        value = 1.0
    elif schedule.kind == "exponential":
        value = schedule.end**progress
    elif schedule.kind == "cosine":
        value = schedule.end + (1.0 - schedule.end) * 0.5 * (1.0 + math.cos(math.pi * min(progress, 1.0)))
    else:
        value = cosine_restarts(
            epoch,
            schedule.first_cycle,
            schedule.t_mul,
            schedule.m_mul,
            schedule.end,
            epochs if schedule.stretch else None,
        )
    if schedule.warmup > 0 and epoch < schedule.warmup:
        value *= epoch / schedule.warmup
    return value


def ramp(value, progress):
    """A weight that is one number, or [start, end] interpolated linearly over the run."""
    if isinstance(value, (int, float)):
        return float(value)
    start, end = value
    return start + (end - start) * min(max(progress, 0.0), 1.0)
