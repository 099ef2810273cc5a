"""Rules in the form in which they are compiled: where networks are small, one program serves all rules.

A rule is data. Which of its parts are present, which numbers are whole (the 1 of `M = J`), and which terms of one's own
it has, shapes the program; other numbers do not. In general form all rules without terms have the same shape, and
differ in numbers only.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from localgrad.rules.parts import Feedback, Propagator
from localgrad.rules.rule import Rule

# Up to this many hidden units all rules share one program: seconds saved a rule, up to twice the time a step.
_SHARED_UP_TO = 128


def split_rule(tree: Any) -> tuple[Any, tuple[Any, ...], tuple[Any, ...]]:
    """The structure, whole numbers and other numbers of a rule, or of a tree that holds one.

    The first two shape the compiled program.
    """
    leaves, structure = jax.tree.flatten(tree)
    whole = tuple(x if isinstance(x, int) else None for x in leaves)
    return structure, whole, tuple(None if isinstance(x, int) else x for x in leaves)


def join_rule(structure: Any, whole: tuple[Any, ...], numbers: tuple[Any, ...]) -> Any:
    """The inverse of `split_rule`."""
    leaves = [number if fixed is None else fixed for fixed, number in zip(whole, numbers, strict=True)]
    return jax.tree.unflatten(structure, leaves)


def in_general_form(rule: Rule, output: int, hidden: int) -> Rule:
    """The same rule with every part present as a float: rules of this form differ in numbers only.

    So one compiled program serves them all; the price is that every propagator is dense. A rule of one lag is the one
    with `M = 0`, since `M⁰ = I`. For networks of `output` and `hidden` units; leading axes of the feedback stay, and so
    do terms, whose rules therefore have a program of their own.
    """
    one_lag = rule.lags == 1 and not rule.through_plant  # through a plant, M = 0 is not all that carries credit
    feedback, propagator = rule.feedback, Propagator() if one_lag else rule.propagator

    def number(value: Any, shape: tuple[int, ...] = ()) -> np.ndarray:  # NumPy's, which compiles nothing
        value = np.asarray(0.0 if value is None else value, dtype=float)
        return np.broadcast_to(value, np.broadcast_shapes(value.shape, shape))

    full, diagonal, decay = number(propagator.full), number(propagator.diagonal), number(propagator.decay, (hidden,))
    terms = Feedback(number(feedback.symmetric), number(feedback.fixed, (output, hidden)), with_arrays(feedback.terms))
    carried = Propagator(full, diagonal, decay, with_arrays(propagator.terms), number(propagator.internal))
    lags = None if one_lag else rule.lags
    return Rule(terms, carried, lags, through_plant=rule.through_plant, delay=rule.delay, name="", key="")


def in_compiled_form(rule: Rule, output: int, hidden: int) -> Rule:
    """The rule as it is best compiled: where networks are small in general form, else with a structure of its own.

    Numbers become arrays, so that a new decay does not compile anew; whole ones (the 1 of `M = J`) shape the program.
    """
    return in_general_form(rule, output, hidden) if hidden <= _SHARED_UP_TO else with_arrays(rule)


def with_arrays(tree: Any) -> Any:
    """A rule, or part of one, with numbers as arrays, so that new ones do not compile anew; whole numbers stay."""
    return jax.tree.map(lambda x: x if isinstance(x, int) else jnp.asarray(x), tree)
