r"""Tasks of several delays (Proca et al. 2025), learned by networks of one unit: with a recurrent weight, or without?

The target is `y*_t = x_{t−1} + r x_{t−1−D}`. One unit, `u = ab`, answers a past input with `u w^j` and can fit only one
of the two. With the best u the loss is half of `1 + r² − g(w)`, so that the optimum is the maximum of

    g(w) = (1 + r w^D)² (1 − w²)                   an infinite horizon,
    g(w) = (1 + r w^D)² / Σ_{j≤D} w^{2j}           T = D + 1 steps from rest, as published.

What follows (docs/theory.md, section 15) is `Border`, and for other rules: an update of W is `Σ_k (m^k − w^k)/(m − w)`
times the error of lag k, so that RFLO rests where the error's transfer function vanishes at w and at its decay ŵ, and
tBPTT(1), with `m = 0`, where the last input is answered exactly.

Limits: one unit, one input and output, a start with all weights positive.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import xarray as xr

from localgrad.learning.flow import learn
from localgrad.learning.methods import Flow
from localgrad.models.linear import LinearRNN
from localgrad.reproduction.axes import rule_axis
from localgrad.reproduction.networks.literature.topics import local_rules
from localgrad.rules.presets import BPTT
from localgrad.rules.rule import Rule
from localgrad.tasks.builders import delay_line

_LINE = 12  # steps of all delay lines, so that one compiled program serves them


@dataclass(frozen=True)
class Parameters:
    """Delays D, ratios r, first recurrent weights and their gains a = b; horizons as published; lengths of lines."""

    delays: tuple[int, ...] = (2, 3, 4)
    ratios: tuple[float, ...] = (0.3, 0.85, 2.0, 3.2)
    starts: tuple[float, ...] = (0.02, 0.3, 0.8)
    gain: float = 0.1
    horizons: tuple[int, ...] = (3, 4)
    short_ratios: tuple[float, ...] = (0.4, 0.7, 0.95, 1.05, 1.4)
    lines: tuple[int, ...] = (4, 12)
    strengths: tuple[float, ...] = (0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.6)
    duration: float = 150.0


class Border(NamedTuple):
    """The ratios at which solutions with a recurrent weight begin to exist and become the best, and their w."""

    exists: float
    weight: float
    best: float
    best_weight: float

    @classmethod
    def of_bptt(cls, delay: int) -> "Border":
        """Of the loss itself, in an infinite horizon; without a jump, from w = 0 on, for D = 2."""
        weight = ((delay - 2) / (delay + 1)) ** 0.5
        q = (1 + (1 + 4 * delay) ** 0.5) / (2 * delay)
        best_weight = max(1 - q * q, 0.0) ** 0.5
        best = 0.5 if delay == 2 else (1 / q - 1) / best_weight**delay
        return cls(1 / (2 * weight ** (delay - 2)), weight, best, best_weight)

    @classmethod
    def of_one_lag(cls, delay: int) -> "Border":
        """Of tBPTT(1), which follows no loss: only where they exist."""
        weight = ((delay - 2) / delay) ** 0.5
        ratio = delay / 2 / weight ** (delay - 2)
        return cls(ratio, weight, ratio, weight)


def best_weight(gains: Sequence[float], horizon: int | None = None) -> float:
    """The w of the optimum with `w < 1`, by search, of targets `gains[j]` times the input of lag j."""
    w = np.linspace(0, 0.9999, 20001)
    answered = sum(gain * w**j for j, gain in enumerate(gains))
    energy = 1 / (1 - w**2) if horizon is None else sum(w ** (2 * j) for j in range(horizon))
    return float(w[np.argmax(answered**2 / energy)])


def _students(p: Parameters) -> LinearRNN:
    gain = np.full((len(p.starts), 1, 1), p.gain)
    return LinearRNN(gain, np.reshape(p.starts, gain.shape), gain)


def _ends(p: Parameters, rule: Rule, gains: dict[int, float], horizon: int | None = None) -> np.ndarray:
    """Recurrent weight, gain and loss at the end: shape `"3 start"`."""
    task = delay_line({_LINE: 0.0} | {lag + 1: gain for lag, gain in gains.items()})
    curve = learn(
        rule, _students(p), task, duration=p.duration, horizon=horizon, tolerance=0, method=Flow(rtol=1e-2, atol=1e-4)
    )
    A, W, B = (np.ravel(x) for x in curve.final.matrices)
    return np.stack([W, A * B, curve.loss[:, -1]])


def ratios_of(p: Parameters, delay: int) -> np.ndarray:
    """The ratios for one delay: those of all, and closely around the borders."""
    bptt, short = Border.of_bptt(delay), Border.of_one_lag(delay)
    near = [0.96 * bptt.exists, 1.04 * bptt.exists, 0.98 * bptt.best, 1.02 * bptt.best, 0.96 * short.exists]
    return np.sort([*p.ratios, *near, 1.04 * short.exists])


def compute(p: Parameters) -> xr.Dataset:
    """Where learning ends, by rule, delay, ratio and start; as published; and with many delays."""
    rules = local_rules(np.ones((1, 1)))
    ratios = np.stack([ratios_of(p, delay) for delay in p.delays])
    ends = [
        [[_ends(p, rule, {0: 1.0, delay: r}) for r in row] for delay, row in zip(p.delays, ratios, strict=True)]
        for rule in rules
    ]
    short = [[_ends(p, BPTT(), {0: 1.0, T - 1: r}, T) for r in p.short_ratios] for T in p.horizons]
    many = [[_ends(p, BPTT(), _constant(line, r)) for r in p.strengths] for line in p.lines]
    optima = [[best_weight([1.0] + [r] * (line - 1)) for r in p.strengths] for line in p.lines]
    values, brief = np.moveaxis(np.array(ends), 3, 0), np.moveaxis(np.array(short), 2, 0)
    where = ("rule", "delay", "place", "first_weight")
    return xr.Dataset(
        {
            "ratio": (("delay", "place"), ratios),
            "weight": (where, values[0]), "gain": (where, values[1]), "end_loss": (where, values[2]),
            "short_weight": (("steps", "short_ratio", "first_weight"), brief[0]),
            "short_loss": (("steps", "short_ratio", "first_weight"), brief[2]),
            "line_weight": (("line", "strength", "first_weight"), np.array(many)[:, :, 0]),
            "line_optimum": (("line", "strength"), np.array(optima)),
        },
        {
            **rule_axis(rules), "delay": list(p.delays), "first_weight": list(p.starts), "steps": list(p.horizons),
            "short_ratio": list(p.short_ratios), "line": list(p.lines), "strength": list(p.strengths),
        },
    )  # fmt: skip


def _constant(line: int, strength: float) -> dict[int, float]:
    """The last input counts 1, each of those before it `strength`."""
    return {0: 1.0} | dict.fromkeys(range(1, line), strength)
