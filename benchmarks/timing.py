"""Interleaved timing: contenders take turns, so that a noisy neighbour hits all of them alike."""

import time
from collections.abc import Callable
from statistics import median


def interleaved(contenders: dict[str, Callable[[], object]], *, rounds: int, turn: float = 0.02) -> dict[str, float]:
    """Median seconds a call of each contender over `rounds` turns.

    A turn is one call that does not count, in which the previous contender's threads go to sleep and caches fill, and
    then as many as take about `turn` seconds, at least one.
    """
    repeats = {}
    for name, call in contenders.items():
        call()
        repeats[name] = max(1, round(turn / _seconds(call, 1)))
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(rounds):
        for name, call in contenders.items():
            call()
            seconds[name].append(_seconds(call, repeats[name]))
    return {name: median(values) for name, values in seconds.items()}


def _seconds(call: Callable[[], object], count: int) -> float:
    start = time.perf_counter()
    for _ in range(count):
        call()
    return (time.perf_counter() - start) / count
