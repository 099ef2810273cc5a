"""The parameters of a learning rule in a sweep, and how a rule is made of them.

Either a named rule with those of the parameters that it takes,

    rule = "rflo", decay = 0.5

or a point of the cube between BPTT, truncated BPTT, feedback alignment, RFLO and three-factor rules,

    F = (1 − feedback_blend) A + feedback_blend · R,   M = (1 − propagator_blend) J + propagator_blend · decay · I

with its `lags`. A parameter that a rule does not take is left out for it, so that one axis of decays serves several
rules; an axis of one that no rule of a sweep takes is refused. `lags = "all"` keeps all of them; `decay = "internal"`
is RFLO as Murray wrote it, whose traces keep what each unit keeps by itself, for networks.
"""

from __future__ import annotations

import hashlib
import inspect
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import jax
import numpy as np
from pydantic import Field, PlainValidator

from localgrad.rules.parts import Feedback, Propagator
from localgrad.rules.presets import find_preset, make_rule, parameters_of
from localgrad.rules.rule import Rule
from localgrad.sweeps.kinds.kind import Parameter

Share = Annotated[float, Field(ge=0, le=1)]
ALL = "all"
INTERNAL = "internal"
"""The decay that is each unit's own."""


def _check_rule(value: Any) -> Any:
    if isinstance(value, Rule):
        return value
    if not isinstance(value, str):
        raise ValueError(f"give the name of a rule in quotes, not {value!r:.40}")
    find_preset(value)
    return value.lower()


def _check_lags(value: Any) -> int | str:
    if value == ALL or (isinstance(value, int) and not isinstance(value, bool) and value >= 1):
        return value
    raise ValueError(f'give a whole number of at least 1, or "all", not {value!r:.40}')


def _check_decay(value: Any) -> Any:
    if value == INTERNAL or (isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)):
        return value
    raise ValueError(f'give a finite number, or "{INTERNAL}" for what a unit keeps by itself, not {value!r:.40}')


def text_of_arrays(what: str, tree: Any) -> str:
    """A text that tells a tree of numbers from others: a description and a digest of its numbers and structure."""
    leaves, structure = jax.tree.flatten(tree)
    found = hashlib.sha256(str(structure).encode())
    for leaf in leaves:
        array = np.ascontiguousarray(leaf)
        found.update(f"{array.dtype}{array.shape}".encode() + array.tobytes())
    return f"{what} sha256:{found.hexdigest()[:16]}"


def _load_rule(value: Any, folder: Path) -> Any:
    """A rule with its arrays as NumPy's, which keep their precision on the way to a worker."""
    return value if isinstance(value, str) else jax.tree.map(lambda x: np.asarray(x) if np.ndim(x) else x, value)


def _text_of_rule(value: Any) -> str:
    return value if isinstance(value, str) else text_of_arrays(value.describe(), value)


RULE_PARAMETERS = {
    "rule": Parameter(
        Annotated[Any, PlainValidator(_check_rule)],
        "name of the rule",
        "name",
        None,
        load=_load_rule,
        text=_text_of_rule,
    ),
    "feedback_blend": Parameter(Share, "share of the fixed feedback in F", default=None),
    "propagator_blend": Parameter(Share, "share of the decay in M", default=None),
    "decay": Parameter(Annotated[Any, PlainValidator(_check_decay)], "decay ŵ of the traces, a step", default=None),
    "lags": Parameter(Annotated[Any, PlainValidator(_check_lags)], "lags that are kept", "steps", None),
}
"""What a sweep may say of a rule; what its feedback is, each kind of run says in its own way."""


def needs_feedback(row: Mapping[str, Any]) -> bool:
    """Whether the rule of a run needs a fixed feedback; `ValueError` where no rule is given, or two."""
    rule = row["rule"]
    if rule is None:
        if row["feedback_blend"] is None or row["propagator_blend"] is None:
            raise ValueError("there is no rule; give rule, or feedback_blend and propagator_blend")
        return True
    if row["feedback_blend"] is not None or row["propagator_blend"] is not None:
        raise ValueError("both a rule and blends are given; leave one out")
    if isinstance(rule, Rule):
        return False
    feedback = parameters_of(rule).get("feedback")
    return feedback is not None and feedback.default is inspect.Parameter.empty


def takes_feedback(row: Mapping[str, Any]) -> bool:
    """Whether the rule of a run can be given a fixed feedback."""
    rule = row["rule"]
    return rule is None or (isinstance(rule, str) and "feedback" in parameters_of(rule))


def ignored_by_rule(row: Mapping[str, Any]) -> set[str]:
    """Those of `decay` and `lags` that the rule of a run does not take."""
    rule = row["rule"]
    if rule is None:
        return set()
    return {"decay", "lags"} - (set(parameters_of(rule)) if isinstance(rule, str) else set())


def rule_of(row: Mapping[str, Any], feedback: Any) -> Rule:
    """The rule of a run with this feedback, `None` for its own; parameters may be arrays that broadcast."""
    lags = None if row["lags"] in (None, ALL) else int(row["lags"])
    if row["rule"] is None:
        decay = 0.0 if row["decay"] is None else row["decay"]
        if isinstance(decay, str):
            raise ValueError(f"a blend of propagators takes a number for decay, not {decay!r}; give one")
        blended = Feedback.blend(row["feedback_blend"], feedback)
        carried = Propagator.blend(row["propagator_blend"], decay)
        return Rule(blended, carried, lags, name="blend", key="blend")
    if isinstance(row["rule"], Rule):
        return row["rule"]
    given = {"feedback": feedback, "decay": row["decay"], "lags": lags}
    taken = parameters_of(row["rule"])
    return make_rule(row["rule"], **{name: value for name, value in given.items() if name in taken})
