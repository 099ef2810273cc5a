"""TOML files from users: read as data, and what is wrong with one is a sentence with its line and key.

Pydantic finds what is wrong; here its finding becomes `, line 3: axes.decay: give a number; got 'fast'`. Nothing of a
file is executed.

Limit: a line is found by looking for the key in the text, so a key that stands twice in one table is named once.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from localgrad.tasks.weight_files import read_bytes

MESSAGES = {
    "union_tag_not_found": "give the kind of {what}, one of {kinds}",
    "union_tag_invalid": "there is no {tag!r}; give one of {kinds}",
    "extra_forbidden": "there is no such key in this table; correct or remove it",
    "missing": "it is missing; give it",
    "float_type": "give a number",
    "int_type": "give a whole number",
    "int_parsing": "give a whole number",
    "finite_number": "give a finite number",
    "list_type": "give a list of lists of numbers",
    "string_type": "give a word in quotes",
    "bool_type": "give true or false",
    "dict_type": "give a table",
    "greater_than": "give a number above {gt}",
    "greater_than_equal": "give a number of at least {ge}",
    "less_than": "give a number below {lt}",
    "less_than_equal": "give a number of at most {le}",
    "literal_error": "give one of {expected}",
    "too_short": "it is empty; give at least one value",
    "too_long": "give no more than {max_length} values, not {actual_length}",
}
"""What to do about each kind of fault that Pydantic finds; others are told in its own words."""


def read_toml(path: Path, what: str) -> str:
    """The text of a file of the kind `what`, such as "task file"; `ValueError` where it has none."""
    try:
        return read_bytes(path).decode()
    except UnicodeDecodeError:
        raise ValueError(f"{what} {str(path)!r} is no text in UTF-8; save it as such") from None
    except ValueError as error:  # its remedy is that of a weight file
        raise ValueError(f"{what} {str(path)!r}: {str(error).partition(';')[0]}; give a .toml file") from None


def parse_toml(text: str) -> dict[str, Any]:
    """The document in a text; `ValueError` where it is no TOML."""
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ValueError(
            f"it is no TOML ({error}); a matrix is [[1.0, 0.0], [0.0, 1.0]], a word stands in quotes"
        ) from None


def first_fault(error: ValidationError, text: str, *, what: str, kinds: str, within: Sequence[str] = ()) -> str:
    """`, line 3: leak: …` for the first thing that Pydantic found; a key that is not known explains one that lacks.

    **Arguments:** `what` is described and of which `kinds` it is, for messages; `within`: keys of the tables in which
    the value that was judged stands.
    """
    faults = sorted(error.errors(include_url=False), key=lambda fault: fault["type"] != "extra_forbidden")
    fault = faults[0]
    known = keys_of(text)
    found = [*within, *fault["loc"]]
    keys = [str(x) for x in found if str(x) in known or not text] or [str(x) for x in found[-1:]] or ["kind"]
    if fault["type"] == "missing":
        keys.append(str(fault["loc"][-1]))
    context = dict(fault.get("ctx", {})) | {"what": what, "kinds": kinds}
    message = MESSAGES.get(fault["type"], _braceless(fault["msg"]).removeprefix("Value error, ")).format(**context)
    given = "" if fault["type"] in ("missing", "extra_forbidden", "value_error") or _is_container(fault["input"]) else (
        f"; got {str(fault['input'])[:40]!r}"
    )  # fmt: skip
    keys = list(dict.fromkeys(keys))
    return f"{line_of(keys, text)}: {'.'.join(keys)}: {message}{given}"


def _braceless(text: str) -> str:
    return text.replace("{", "(").replace("}", ")")


def _is_container(value: Any) -> bool:
    return isinstance(value, dict | list)


def keys_of(text: str) -> set[str]:
    """All words that stand as keys in a text."""
    return set(re.findall(r"""["']?([\w-]+)["']?\s*=""", text)) | set(
        re.findall(r"^\s*\[([\w.-]+)\]", text, re.MULTILINE)
    )


def line_of(keys: Sequence[str], text: str) -> str:
    """`, line 3` where the last of the keys stands that is found, in the table of the first where that is one."""
    lines = [line.partition("#")[0] for line in text.splitlines()]
    first = 0
    if len(keys) > 1:
        first = next((i for i, line in enumerate(lines) if line.strip() == f"[{keys[0]}]"), 0)
    for key in reversed(keys):
        for number, line in enumerate(lines[first:], start=first + 1):
            if re.search(rf"""(^|[\s,{{\["'.]){re.escape(key)}["']?\s*(=|\])""", line):
                return f", line {number}"
    return ""
