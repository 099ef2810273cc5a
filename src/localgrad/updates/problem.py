"""Whether rule, student and task fit together, told from kinds and shapes alone."""

from __future__ import annotations

from typing import Any

import jax

from localgrad.checks import check_kind, warn_if_cut
from localgrad.models.linear import LinearRNN
from localgrad.rules.rule import Rule
from localgrad.tasks.linear_task import LinearTask


def check_problem(student: LinearRNN, task: LinearTask) -> None:
    """Raise the `ValueError` that says why a student, a single network, and a task do not fit together."""
    check_kind("student", student, LinearRNN, "use LinearRNN(A, W, B)")
    who = named(task)
    for what, tree, matrix in (("student", student, student.W), (who, task, task.dynamics)):
        leaves = jax.tree.leaves(tree)
        if max(x.ndim for x in leaves) > 2:
            raise ValueError(f"the {what} is a batch, with W of shape {matrix.shape}; map over it with jax.vmap")
        warn_if_cut(f"the {what}", *leaves)
    (output, hidden, input), (output_star, _, input_star) = student.sizes, task.sizes
    if (output, input) != (output_star, input_star):
        raise ValueError(
            f"student has {output} outputs and {input} inputs, {who} {output_star} and {input_star}; "
            "they must agree (hidden sizes may differ)"
        )
    if task.student_noise is not None and len(task.student_noise) != hidden:
        raise ValueError(
            f"the task puts noise on {len(task.student_noise)} hidden units, but the student has {hidden}; the two "
            "must agree"
        )


def named(task: LinearTask) -> str:
    """What errors call a task: a teacher, where it is no more than that."""
    return "teacher" if task.is_white_teacher else "task"


def check_rule(rule: Rule, student: LinearRNN) -> None:
    """Raise the `ValueError` that says why a rule does not fit a student, which may have leading axes."""
    check_kind("rule", rule, Rule)
    Rule.check_fits(rule, student.A.shape[-2], student.W.shape[-1])  # not bound, which equinox does slowly
    warn_if_cut("a matrix of the rule", *(x for x in jax.tree.leaves(rule) if getattr(x, "ndim", 0)))


def is_traced(*trees: Any) -> bool:
    """Whether any number is known only while a program is made."""
    return any(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves(trees))
