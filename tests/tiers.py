"""The default tier takes a few of a family of cases, the slow tier all of them: each compiles programs of its own."""

from collections.abc import Iterable
from typing import Any

import pytest


def some(cases: Iterable[Any], fast: Iterable[str]) -> list[Any]:
    """`cases` (strings, pairs `(id, value)`, or values with an `id`), those not named in `fast` marked slow."""
    fast, marked = set(fast), []
    for case in cases:
        id, value = case if isinstance(case, tuple) else (getattr(case, "id", case), case)
        marked.append(pytest.param(value, id=id, marks=[] if id in fast else pytest.mark.slow))
    assert fast <= {case.id for case in marked}, "a case of the default tier that is not there"
    return marked
