"""Rules in the form in which they are compiled: where networks are small, one program serves all rules.

A rule is data. Which of its terms are present, and which are whole numbers, shapes the program; in general form all
rules have the same shape and differ in numbers only.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from localgrad.rules.rule import Rule
from localgrad.rules.terms import Feedback, Propagator

# Up to this many hidden units all rules share one program: seconds saved a rule, up to twice the time a step.
_SHARED_UP_TO = 128


def in_general_form(rule: Rule, output: int, hidden: int) -> Rule:
    """The same rule with every term present as a float: rules of this form differ in numbers only.

    So one compiled program serves them all; the price is that every propagator is dense. A rule of one lag is the one
    with `M = 0`, since `M⁰ = I`. For networks of `output` and `hidden` units; leading axes of the feedback stay.
    """
    one_lag = rule.lags == 1
    feedback, propagator = rule.feedback, Propagator() if one_lag else rule.propagator

    def number(value: Any, shape: tuple[int, ...] = ()) -> np.ndarray:  # NumPy's, which compiles nothing
        value = np.asarray(0.0 if value is None else value, dtype=float)
        return np.broadcast_to(value, np.broadcast_shapes(value.shape, shape))

    full, diagonal, decay = number(propagator.full), number(propagator.diagonal), number(propagator.decay, (hidden,))
    terms = Feedback(number(feedback.symmetric), number(feedback.fixed, (output, hidden)))
    return Rule(terms, Propagator(full, diagonal, decay), None if one_lag else rule.lags, name="")


def in_compiled_form(rule: Rule, output: int, hidden: int) -> Rule:
    """The rule as it is best compiled: where networks are small in general form, else with a structure of its own.

    Numbers become arrays, so that a new decay does not compile anew; whole ones (the 1 of `M = J`) shape the program.
    """
    if hidden <= _SHARED_UP_TO:
        return in_general_form(rule, output, hidden)
    return jax.tree.map(lambda x: x if isinstance(x, int) else jnp.asarray(x), rule)
