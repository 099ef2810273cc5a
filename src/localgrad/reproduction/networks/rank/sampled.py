"""The rank of what is learned in sampled training: the same students and rules, steps on batches of sequences."""

from typing import Any

import jax
import numpy as np

from localgrad.diagnostics.rank import singular_spectrum
from localgrad.learning.train import train
from localgrad.models.linear import LinearRNN
from localgrad.rules.rule import Rule


def sampled_rank(
    rule: Rule, students: LinearRNN, teacher: LinearRNN, silent: float, *, seed: int, **settings: Any
) -> dict[str, np.ndarray]:
    """The final losses of sampled training, over a silent student's, and the spectra of what was learned in `W`."""
    run = train(rule, students, teacher, key=jax.random.key(seed), **settings)
    values = singular_spectrum(run.initial, run.final).W.singular_values
    return {"sampled_loss": np.asarray(run.final_loss) / silent, "sampled_singular_values": values / values[:, :1]}
