"""Gaussian students and teachers with one input, for the experiments on rank and feedback, and which runs were cut.

Drawn with NumPy, whose numbers do not depend on a compiled program.
"""

import numpy as np

from localgrad.learning.flow import LearningCurve
from localgrad.models.linear import LinearRNN, spectral_radius
from localgrad.outcomes import Outcome


def gaussian_weights(rng: np.random.Generator, leading: tuple[int, ...], outputs: int, hidden: int) -> LinearRNN:
    """Networks with one input and weights of standard deviation `1/√hidden` in `A` and `W`, 1 in `B`."""
    A, W = (rng.standard_normal((*leading, rows, hidden)) / np.sqrt(hidden) for rows in (outputs, hidden))
    return LinearRNN(A, W, rng.standard_normal((*leading, hidden, 1)))


def scaled(networks: LinearRNN, scale: float, largest_radius: float) -> LinearRNN:
    """All weights times `scale`, and `W` scaled down to `largest_radius` where its spectral radius is above."""
    A, W, B = (scale * np.asarray(x) for x in networks.matrices)
    radius = np.abs(np.linalg.eigvals(W)).max(axis=-1)[..., None, None]
    return LinearRNN(A, W * np.minimum(1, largest_radius / radius), B)


def random_teacher(rng: np.random.Generator, hidden: int, radius: float) -> LinearRNN:
    """One Gaussian network with one input and output, `W` scaled to the spectral radius."""
    A, W, B = gaussian_weights(rng, (), 1, hidden).matrices
    return LinearRNN(A, W * (radius / spectral_radius(W)), B)


def out_of_steps(curve: LearningCurve, duration: float) -> np.ndarray:
    """Which runs of a batch used up their steps before the time was over: their losses are not those of that time."""
    return (np.asarray(curve.outcome) == Outcome.UNFINISHED) & (curve.time[:, -1] < duration)
