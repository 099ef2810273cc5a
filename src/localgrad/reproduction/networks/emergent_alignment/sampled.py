"""Sampled training read as a learning curve: snapshots over learning time, for the mode equations to predict.

Learning time is the learning rate times the number of steps. Limit: the equations are those of the expected update, so
that what the batches scatter is part of the error.
"""

from typing import Any, NamedTuple

import jax
import numpy as np

from localgrad.diagnostics.alignment import Alignment, alignment
from localgrad.learning.train import train
from localgrad.models.linear import LinearRNN
from localgrad.rules.rule import Rule


class Course(NamedTuple):
    """What the prediction needs of a learning curve; snapshots have axes "student time" before those of a matrix."""

    rule: Rule
    teacher: LinearRNN
    snapshots: LinearRNN
    snapshot_times: np.ndarray
    alignment: Alignment


def sampled_course(
    rule: Rule, students: LinearRNN, teacher: LinearRNN, *, seed: int, learning_rate: float, **settings: Any
) -> Course:
    """The course of sampled training of several students."""
    run = train(rule, students, teacher, key=jax.random.key(seed), learning_rate=learning_rate, **settings)
    times = np.asarray(run.snapshot_steps) * learning_rate
    return Course(rule, teacher, run.snapshots, times, alignment(run.snapshots, teacher))
