"""What the functions of modes accept: rules, modes and counts, checked at the door and brought into one form.

Numbers of any real kind become floating-point numbers of at least single precision, so that whole numbers do not wrap
and half precision does not overflow. What is no real number is refused in one sentence (`rules/numbers.py`).
"""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from localgrad.checks import in_words
from localgrad.models.aligned import Mode
from localgrad.rules.numbers import as_numbers, is_absent
from localgrad.rules.rule import Rule


def as_rule(rule: Any) -> Rule:
    """The rule with its numbers as floating-point ones; `ValueError` for what is no rule, or learns."""
    if hasattr(rule, "why_not"):
        raise ValueError(rule.why_not("Rule"))
    if not isinstance(rule, Rule):
        raise ValueError(f"the rule is {in_words(rule)}, not a localgrad.Rule; the order is rule, student, teacher")
    if rule.learns:
        term = next(type(term).__name__ for term in rule.feedback.terms if term.learns)
        raise ValueError(
            f"the term {term} learns, so a mode has more than its three numbers; "
            "use localgrad.learn on an aligned network"
        )
    return jax.tree.map(_widened, rule)


def as_single_rule(rule: Any) -> Rule:
    """The rule of one mode, as `as_rule`; `ValueError` where feedback or propagator are several numbers."""
    rule = as_rule(rule)
    for name, value in (("feedback", rule.feedback.on_mode(1.0)), ("propagator", rule.propagator.on_mode(0.5))):
        if np.ndim(value) > 0:
            raise ValueError(
                f"the rule's {name} has shape {np.shape(value)} on a mode; give one number, or one rule each"
            )
    return rule


def as_mode(value: Any, owner: str) -> Mode:
    """Three numbers as a `Mode`; a tuple or list will do. `owner` names it in errors."""
    if not isinstance(value, Sequence) or isinstance(value, str | bytes) or len(value) != 3:
        raise ValueError(f"the {owner} is {in_words(value)}; give a localgrad.Mode of the three numbers a, b, w")
    return Mode(*(as_float(x, f"{owner} {letter}") for letter, x in zip("abw", value, strict=True)))


def as_float(value: Any, what: str) -> Any:
    """A real number, array or symbol in floating point; `ValueError` naming `what` for anything else."""
    if is_absent(value):
        raise ValueError(f"{what} is {in_words(value)}; give a number or an array of numbers")
    return _widened(as_numbers(value, what))


def as_scalar(value: Any, what: str) -> float:
    """One real number, as a Python float."""
    number = as_float(value, what)
    if np.ndim(number) > 0:
        raise ValueError(f"{what} has shape {np.shape(number)}; give one number")
    return float(number)


def check_positive(**values: Any) -> None:
    """`ValueError` unless each is one positive, finite number."""
    for name, value in values.items():
        if not 0 < as_scalar(value, name) < np.inf:
            raise ValueError(f"{name} must be positive and finite, got {in_words(value)}")


def check_count(value: Any, name: str) -> int:
    """A whole number of at least 1, as an `int`."""
    is_number = isinstance(value, int | float | np.integer | np.floating) and not isinstance(value, bool)
    if not is_number or not 1 <= value < np.inf or value != int(value):
        raise ValueError(f"{name} must be a whole number of at least 1, got {in_words(value)}")
    return int(value)


def check_times(times: np.ndarray, duration: float, name: str) -> None:
    """`ValueError` unless these are ascending times from 0 to the duration."""
    if (
        times.ndim != 1
        or not times.size
        or not (times[0] >= 0 and times[-1] <= duration and np.all(np.diff(times) >= 0))
    ):
        raise ValueError(f"{name} must hold ascending times between 0 and the duration {duration:g}, got {times}")


def is_traced(*trees: Any) -> bool:
    """Whether any number is one of JAX's tracers, whose value is not known yet."""
    return any(isinstance(x, jax.core.Tracer) for x in jax.tree.leaves(trees))


def _widened(value: Any) -> Any:
    if isinstance(value, bool | int):
        return float(value)
    if isinstance(value, jax.Array):
        return value.astype(jnp.promote_types(value.dtype, jnp.float32))
    if isinstance(value, np.ndarray | np.generic) and value.dtype.kind == "f":
        return value.astype(np.promote_types(value.dtype, np.float64), copy=False)
    return value
