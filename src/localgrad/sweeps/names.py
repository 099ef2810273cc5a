"""Names of axes and labels of their values: what a store can hold as folders and coordinates, and people can type.

An axis has a folder in the store beside those of the variables, so it must be a plain word and none of their names.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

_PLAIN = re.compile(r"[^\W_][\w -]{0,63}")
_LONGEST_LABEL = 200


def check_axis_name(name: str, taken: Iterable[str]) -> None:
    """`ValueError` for a name that is no plain word, or one of the variables that are `taken`."""
    if not _PLAIN.fullmatch(name) or name != name.strip():
        raise ValueError("an axis is called by letters, digits, - and _, 64 at most, the first a letter; rename it")
    if name in taken:
        raise ValueError(
            "the store has a variable of that name; name the axis otherwise, with tables that have a label and set "
            f"the parameter, such as {name}_axis = [{{label = …, {name} = …}}]"
        )


def label_of(value: Any) -> str:
    """The label of a value of an axis: its own, or how the value is written; `ValueError` for what reads as none."""
    if not is_setting(value):
        return str(getattr(value, "key", value))
    label = value["label"]
    if isinstance(label, bool) or not isinstance(label, str | int | float):
        raise ValueError(f"a label is a word, not {label!r:.40}; give one in quotes")
    if not str(label).strip() or not str(label).isprintable() or len(str(label)) > _LONGEST_LABEL:
        raise ValueError(f"the label {str(label)!r:.40} is no word of one line; give another")
    return str(label)


def is_setting(value: Any) -> bool:
    """Whether a value of an axis is a table with a label, which sets several parameters."""
    return isinstance(value, dict) and "label" in value
