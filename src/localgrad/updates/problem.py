"""Whether rule, student and teacher fit together, told from kinds and shapes alone."""

from __future__ import annotations

from typing import Any

import jax

from localgrad.checks import warn_if_cut
from localgrad.models.linear import LinearRNN
from localgrad.rules.rule import Rule


def check_problem(student: LinearRNN, teacher: LinearRNN) -> None:
    """Raise the `ValueError` that says why student and teacher, single networks both, do not fit together."""
    for who, network in (("student", student), ("teacher", teacher)):
        if not isinstance(network, LinearRNN):
            raise ValueError(f"the {who} is a {type(network).__name__}, not a LinearRNN; use LinearRNN(A, W, B)")
        if max(x.ndim for x in network.matrices) > 2:
            raise ValueError(f"the {who} is a batch, with W of shape {network.W.shape}; map over it with jax.vmap")
        warn_if_cut(f"the {who}", *network.matrices)
    (output, _, input), (output_star, _, input_star) = student.sizes, teacher.sizes
    if (output, input) != (output_star, input_star):
        raise ValueError(
            f"student has {output} outputs and {input} inputs, teacher {output_star} and {input_star}; "
            "they must agree (hidden sizes may differ)"
        )


def check_rule(rule: Rule, student: LinearRNN) -> None:
    """Raise the `ValueError` that says why a rule does not fit a student, which may have leading axes."""
    if not isinstance(rule, Rule):
        raise ValueError(f"rule is a {type(rule).__name__}, not a Rule; the order is rule, student, teacher")
    Rule.check_fits(rule, student.A.shape[-2], student.W.shape[-1])  # not bound, which equinox does slowly
    warn_if_cut("a matrix of the rule", *(x for x in jax.tree.leaves(rule) if getattr(x, "ndim", 0)))


def is_traced(*trees: Any) -> bool:
    """Whether any number is known only while a program is made."""
    return any(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves(trees))
