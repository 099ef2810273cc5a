"""Interleaved timing: contenders take turns, so that a noisy neighbour hits all of them alike."""

import time
from collections.abc import Callable
from statistics import median


def interleaved(contenders: dict[str, Callable[[], object]], *, rounds: int) -> dict[str, float]:
    """Median seconds of each contender over `rounds` turns, after one warm-up call each."""
    for call in contenders.values():
        call()
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(rounds):
        for name, call in contenders.items():
            start = time.perf_counter()
            call()
            seconds[name].append(time.perf_counter() - start)
    return {name: median(values) for name, values in seconds.items()}
