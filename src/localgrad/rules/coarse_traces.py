r"""Coarse traces: any rule whose eligibility traces are kept in few bits, or decay otherwise than they should.

    e_t = Q((1 + δ_a) M_t e_{t−1} + ∂s_t/∂θ),

with `Q` the rounding to multiples of a step, and `δ_a` the mismatch of unit `a`. A rounded trace is not linear in what
enters it, so that there is no exact expected update: such a rule is sampled, in `network_update`. Rounded at random in
proportion to the distance (stochastic rounding), traces and updates are right in the mean; rounded to the nearest
multiple, a trace that decays by less than half a step a time stays where it is for ever.

Source: docs/cells.md; docs/theory.md, section 12.
"""

from __future__ import annotations

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from localgrad.checks import check_finite, check_flag, check_kind, check_positive
from localgrad.rules.numbers import as_numbers
from localgrad.rules.rule import Rule


class CoarseTraces(eqx.Module):
    r"""A rule whose traces are rounded to multiples of a step, or decay with a mismatch of each unit.

    **Arguments:** `rule`: any `lg.Rule` that keeps every unit to itself; `step`: positive, what traces are multiples
    of, `None` for no rounding; `stochastic`: whether they are rounded at random, up or down in proportion to the
    distance, so that they are right in the mean, or to the nearest multiple; `mismatch`: `δ`, shape `"hidden"` or one
    number, by which traces decay as `(1 + δ) M`, `None` for none.

    **Raises:** `ValueError` for a step that is not positive, and a mismatch that is not finite.

    See Also: `lg.Coarse` for coarse feedback, `lg.rounded_weights` for coarse weights.

    Source: docs/cells.md.

    >>> CoarseTraces(Rule(1.0, 0.5), 0.01).describe()
    'custom: F = 1, M = 0.5·I, all lags, traces in steps of 0.01'
    """

    rule: Rule
    step: Any
    mismatch: Any
    stochastic: bool = eqx.field(static=True)

    def __init__(self, rule: Rule, step: Any = None, *, stochastic: bool = False, mismatch: Any = None):
        check_kind("rule", rule, Rule, "the order is rule, step")
        check_flag("stochastic", stochastic)
        if step is not None:
            check_positive("the step of traces", step)
        elif stochastic:
            raise ValueError("stochastic rounding needs a step to round to; give one")
        self.rule, self.step, self.stochastic = rule, step, stochastic
        found = as_numbers(mismatch, "the mismatch")
        if isinstance(found, int):
            found = float(found) if abs(found) < 2**1000 else np.inf
        self.mismatch = found
        if np.ndim(self.mismatch) > 1:
            raise ValueError(f"the mismatch has shape {np.shape(mismatch)}; give one number, or one for each unit")
        check_finite("mismatch", self.mismatch)

    @property
    def name(self) -> str:
        """That of the rule."""
        return self.rule.name

    def describe(self) -> str:
        """One line: the rule, and what of its traces is coarse."""
        random = ", rounded at random" if self.stochastic else ""
        rounded = "" if self.step is None else f", traces in steps of {self.step:g}{random}"
        return self.rule.describe() + rounded + ("" if self.mismatch is None else ", decays with mismatch")

    def why_not(self, wanted: str) -> str:
        """Why it is no `Rule` to an engine that wants one."""
        return (
            "the rule has coarse traces, which are not linear in the errors and have no exact update; "
            f"sample it by network_update, or give its rule, a {wanted}"
        )


def rounded(x: Any, step: Any, key: Any) -> Any:
    """Multiples of a step: the nearest ones, or with a key those below or above at random."""
    shift = 0.5 if key is None else jax.random.uniform(key, x.shape, x.dtype)
    return step * jnp.floor(x / step + shift)
