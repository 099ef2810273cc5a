"""What the topics of this experiment share: one-output students of one size, and statements of others as rows."""

from typing import Any, NamedTuple

import numpy as np

from localgrad.models.linear import LinearRNN
from localgrad.rules.presets import BPTT, RFLO, EProp, TruncatedBPTT
from localgrad.rules.rule import Rule
from localgrad.tasks.linear_task import LinearTask

DECAY = 0.5
"""RFLO's decay ŵ in all topics."""

FEW = 6
"""Units of small students, and variables of the tasks they learn, so that one compiled program serves them."""


BPTT_KEY, TBPTT_KEY = BPTT().key, TruncatedBPTT(1).key
RFLO_KEY, EPROP_KEY = RFLO(0.0, DECAY).key, EProp(0.0).key
"""The rules of all topics, as the axes of datasets name them."""


class Published(NamedTuple):
    """A statement of another publication, whether it holds here, and what says so."""

    statement: str
    source: str
    verdict: str
    measured: str

    @classmethod
    def judged(cls, statement: str, source: str, parts: dict[str, bool], measured: str) -> "Published":
        """With its verdict from what the statement is made of: all of it holds, none, or the parts that are named."""
        held = [part for part, holds in parts.items() if holds]
        words = "partly: " + ", ".join(held) if held else "does not hold"
        return cls(statement, source, "holds" if len(held) == len(parts) else words, measured)


def local_rules(feedback: np.ndarray) -> list[Rule]:
    """BPTT, and the local rules with this feedback, shape `"output hidden"`."""
    return [BPTT(), TruncatedBPTT(1), RFLO(feedback, DECAY), EProp(feedback)]


def gaussian_students(rng: np.random.Generator, seeds: int, hidden: int, gain: float, weights: float) -> LinearRNN:
    """Students of one input and output: A and B of norm about `gain`, W of spectral radius about `weights`."""
    A, B = rng.standard_normal((seeds, 1, hidden)), rng.standard_normal((seeds, hidden, 1))
    W = rng.standard_normal((seeds, hidden, hidden))
    return LinearRNN(gain * A / hidden**0.5, weights * W / hidden**0.5, gain * B / hidden**0.5)


def with_few_variables(dynamics: Any, noise: Any, to_target: Any) -> LinearTask:
    """A task of white noise with idle variables added, up to `FEW`."""
    D, N, Y = (np.asarray(x) for x in (dynamics, noise, to_target))
    idle = FEW - len(D)
    return LinearTask(
        np.pad(D, ((0, idle), (0, idle))), np.pad(N, ((0, idle), (0, 0))), None, None, np.pad(Y, ((0, 0), (0, idle)))
    )


def along(snapshots: Any, function: Any) -> np.ndarray:
    """A function of `(A, W, B)`, which are NumPy's with leading axes, at the snapshots of learning curves."""
    return np.asarray(function(*(np.asarray(x) for x in (snapshots.A, snapshots.W, snapshots.B))))
