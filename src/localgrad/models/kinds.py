"""The models that learn here, by name: one list for checks and for files. A new model is one line."""

from __future__ import annotations

from typing import Any

from localgrad.models.diagonal import DiagonalSSM
from localgrad.models.leaky import LeakyRNN
from localgrad.models.linear import LinearRNN

MODELS: dict[str, type] = {kind.__name__: kind for kind in (LinearRNN, LeakyRNN, DiagonalSSM)}
"""All models, by the names of their classes."""


def check_model(student: Any, what: str = "student", remedy: str = "the order is rule, student, task") -> None:
    """`ValueError` unless it is a model with units, or a batch of one."""
    if type(student) not in MODELS.values():
        *names, last = (f"a {name}" for name in MODELS)
        raise ValueError(f"the {what} is a {type(student).__name__}, not {', '.join(names)} or {last}; {remedy}")
    if 0 in student.sizes:
        raise ValueError(f"the {what} has no units, inputs or outputs; give one with at least one of each")
