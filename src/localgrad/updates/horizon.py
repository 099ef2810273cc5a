r"""Horizon and loss as one value: the weights of the lags.

A sequence of `T` steps reads the error of lag `k` from every step at which it matters, so horizon and loss only weight
the errors `E_k` in the Markov parameters (docs/theory.md, section 3):

    ω_k = 1 for k < T (final-step loss),   1 − k/T for k < T (sequence loss),   1 throughout for T → ∞.

It is made where a public function is entered, and passed down from there.

Limits: a horizon of more than `MOST_STEPS` is refused, since its lags are summed one by one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from localgrad.checks import check_choice, in_words, is_count

Loss = Literal["final", "sequence"]

# Minutes for one update of a small network; longer horizons differ from the limit by less than rounding, unless ρ(W)
# is within 1e-6 of 1.
MOST_STEPS = 2**24


@dataclass(frozen=True)
class Horizon:
    """The number of steps `T`, or `None` for `T → ∞`, and the loss; hashable, so it shapes compiled programs."""

    steps: int | None = None
    loss: Loss = "final"

    @classmethod
    def of(cls, horizon: Any, loss: Any = "final") -> Horizon:
        """From the arguments `horizon` and `loss` of a public function; `ValueError` for what they may not be."""
        if horizon is not None and not is_count(horizon):
            raise ValueError(
                f"horizon must be a whole number of at least 1 step, or None for infinity; got {in_words(horizon)}"
            )
        if horizon is not None and horizon > MOST_STEPS:
            raise ValueError(
                f"a horizon of {horizon} steps is more than the {MOST_STEPS} that can be summed one by one; "
                "leave it out for the limit of long horizons, which is exact"
            )
        check_choice("loss", loss, ("final", "sequence"))
        return cls(None if horizon is None else int(horizon), "final" if horizon is None else loss)

    @property
    def is_infinite(self) -> bool:
        """Whether `T → ∞`."""
        return self.steps is None

    def weights(self, count: int) -> np.ndarray:
        """`ω_k` for `k = 0 … count − 1`."""
        k = np.arange(count)
        if self.steps is None:
            return np.ones(count)
        return np.where(k < self.steps, 1.0 if self.loss == "final" else 1 - k / self.steps, 0.0)
