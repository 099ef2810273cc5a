"""The named rules."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

from localgrad.rules.rule import Rule
from localgrad.rules.terms import Propagator


def BPTT() -> Rule:
    """Backpropagation through time: `F = A`, `M = J`, all lags; in the expected update also RTRL.

    Source: Williams & Zipser 1989; the paper's reference rule.
    """
    return Rule("symmetric", "full", name="BPTT")


def TruncatedBPTT(lags: int = 1) -> Rule:
    """Truncated BPTT: `F = A`, `M = J`, the first `lags` lags (steps, at least 1). The paper's is `lags=1`.

    Source: Williams & Peng 1990; the paper's case is one lag.
    """
    return Rule("symmetric", "full", lags, name=f"tBPTT({lags})")


def RFLO(feedback: Any, decay: Any) -> Rule:
    """Random feedback local online learning: `F` fixed, `M = decay · I`, all lags.

    **Arguments:** `feedback`: fixed `R` of shape `"output hidden"` (a scalar `â` for modes), or `"symmetric"`;
    `decay`: `ŵ`, dimensionless, a number or one a unit (the form of KeRNL's kernel).

    Source: Murray 2019; docs/theory.md, section 2.
    """
    return Rule(feedback, decay, name="RFLO")


def EProp(feedback: Any = "symmetric") -> Rule:
    """e-prop: `M = diag J`, all lags; feedback symmetric by default (then SnAp-1) or a fixed `"output hidden"`.

    Source: Bellec et al. 2020; Menick et al. 2021 for SnAp-1.
    """
    kind = "symmetric" if isinstance(feedback, str) else "random"
    return Rule(feedback, "diagonal", name=f"e-prop ({kind})")


def FeedbackAlignment(feedback: Any) -> Rule:
    """BPTT with a fixed feedback (shape `"output hidden"`, a scalar for modes): `M = J`, all lags.

    Source: Lillicrap et al. 2016.
    """
    return Rule(feedback, "full", name="feedback alignment")


def ThreeFactor(feedback: Any) -> Rule:
    """A three-factor rule without an eligibility trace: fixed feedback and the first lag only.

    Source: Gerstner et al. 2018.
    """
    return Rule(feedback, Propagator(), lags=1, name="three-factor")


PRESETS: dict[str, Callable[..., Rule]] = {
    "bptt": BPTT,
    "tbptt": TruncatedBPTT,
    "rflo": RFLO,
    "eprop": EProp,
    "feedback-alignment": FeedbackAlignment,
    "three-factor": ThreeFactor,
}


def parameters_of(name: str) -> Mapping[str, inspect.Parameter]:
    """The parameters that the preset called `name` takes; `ValueError` for an unknown name."""
    if name not in PRESETS:
        raise ValueError(f"unknown rule {name!r}; known rules: {', '.join(PRESETS)}")
    return inspect.signature(PRESETS[name]).parameters


def make_rule(name: str, **parameters: Any) -> Rule:
    """The preset called `name` (see `PRESETS`), from those of its parameters that are not `None`.

    **Raises:** `ValueError` for an unknown name, a parameter the rule does not take, or one it lacks.

    >>> make_rule("rflo", feedback=1.0, decay=0.5, lags=None).name
    'RFLO'
    """
    given = {key: value for key, value in parameters.items() if value is not None}
    accepted = parameters_of(name)
    if surplus := sorted(set(given) - set(accepted)):
        takes = ", ".join(accepted) or "no parameters"
        raise ValueError(f"rule {name!r} takes {takes}; leave out {', '.join(surplus)}")
    required = {key for key, p in accepted.items() if p.default is inspect.Parameter.empty}
    if missing := sorted(required - set(given)):
        raise ValueError(f"rule {name!r} needs {', '.join(missing)}; give a value for each")
    return PRESETS[name](**given)
