"""The named rules, each a point of the rule space, and how programs find them by name.

A new named rule is a function here and one entry of `PRESETS`: the command line, its help, the conformance tests and
the figures then know it. An installed package adds its own by an entry point of the group `localgrad.rules`, whose name
is the rule's and whose value a function that returns a `Rule`.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from functools import cache
from importlib.metadata import entry_points
from typing import Any

from localgrad.checks import check_flag, in_words
from localgrad.rules.parts import Propagator
from localgrad.rules.rule import Rule

ENTRY_POINTS = "localgrad.rules"
"""The group of entry points by which other packages add named rules."""


def BPTT(through_plant: bool = False) -> Rule:
    """Backpropagation through time: `F = A`, `M = J`, all lags; in the expected update also RTRL.

    `A` is the readout, `J` the state Jacobian (`W` in a linear network).

    **Arguments:** `through_plant`: in a closed loop, whether credit also passes the environment. With it BPTT is the
    gradient of the loss on every task; without it, it knows its own network only.

    Source: Williams & Zipser 1989; the paper's reference rule; docs/theory.md, section 10.
    """
    check_flag("through_plant", through_plant)
    if through_plant:
        return Rule("symmetric", "full", through_plant=True, name="BPTT through the plant", key="bptt-through-plant")
    return Rule("symmetric", "full", name="BPTT", key="bptt")


def TruncatedBPTT(lags: int = 1) -> Rule:
    """Truncated BPTT: `F = A`, `M = J`, the first `lags` lags only.

    **Arguments:** `lags`: how many steps back credit travels, a whole number of at least 1; 1 in the paper. **Raises:**
    `ValueError` for another number.

    Source: Williams & Peng 1990.

    >>> TruncatedBPTT(3).describe()
    'tBPTT(3): F = A, M = J, 3 lags'
    """
    return Rule("symmetric", "full", lags, name=f"tBPTT({lags})", key=f"tbptt-{lags}")


def RFLO(feedback: Any, decay: Any) -> Rule:
    """Random feedback local online learning: `F` fixed, `M = decay · I`, all lags.

    **Arguments:** `feedback`: fixed `R` of shape `"output hidden"` (a scalar `â` for modes), or `"symmetric"` for
    `F = A`; `decay`: `ŵ`, dimensionless, a number or one for each unit (the form of KeRNL's kernel), or `"internal"`
    for the rule as Murray wrote it, `M = J₀`: the trace keeps what the unit itself keeps, `1 − α` with a leak `α`. For
    an infinite horizon its size times the spectral radii of student and teacher must be below 1, which is checked in
    use.

    Source: Murray 2019; docs/theory.md, section 2.

    >>> RFLO(feedback=-1.0, decay=0.5).describe()
    'RFLO: F = -1.0, M = 0.5·I, all lags'
    """
    if isinstance(decay, str):
        return Rule(feedback, decay, name="RFLO (Murray)", key="rflo-murray")
    if isinstance(feedback, str):
        return Rule(feedback, decay, name="RFLO (symmetric)", key="rflo-symmetric")
    return Rule(feedback, decay, name="RFLO", key="rflo")


def EProp(feedback: Any = "symmetric") -> Rule:
    """What the paper calls e-prop: `M = diag J`, all lags; feedback symmetric by default, or fixed (`"output hidden"`).

    Mind the names. With symmetric feedback this is SnAp-1 of a dense network, and with fixed feedback SnAp-1 up to its
    feedback. Bellec's own eligibility trace holds no self-recurrence `W_aa`: on a leaky cell it is `RFLO` whose decay
    is the leak, and on a cell without a leak it keeps one lag only. Other libraries call other rules e-prop.

    Source: Menick et al. 2021 for SnAp-1; Bellec et al. 2020 for e-prop; the paper for this use of the name.
    """
    kind = "symmetric" if isinstance(feedback, str) else "random"
    return Rule(feedback, "diagonal", name=f"e-prop ({kind})", key="eprop" if kind == "symmetric" else "eprop-random")


def BellecEProp(feedback: Any = "symmetric") -> Rule:
    """E-prop as Bellec et al. wrote it: `M = J₀`, all lags; feedback symmetric, or fixed (`"output hidden"`).

    The trace keeps what a unit carries over by itself, such as `1 − α` with a leak `α`, and no recurrent weight, not
    even `W_aa`. On rate units it is therefore RFLO as Murray wrote it, up to the feedback; without a leak one lag is
    left. What the paper calls e-prop is `EProp`.

    Source: Bellec et al. 2020; docs/names.md.

    >>> BellecEProp().describe()
    'e-prop (Bellec): F = A, M = J₀, all lags'
    """
    return Rule(feedback, "internal", name="e-prop (Bellec)", key="eprop-bellec")


def SnAp1() -> Rule:
    """SnAp-1 of a dense network: `F = A`, `M = diag J`, all lags; the same rule as `EProp()`, by its own name.

    Source: Menick et al. 2021; docs/names.md.
    """
    return Rule("symmetric", "diagonal", name="SnAp-1", key="snap-1")


def FeedbackAlignment(feedback: Any) -> Rule:
    """BPTT with a fixed feedback: `F = R`, `M = J`, all lags.

    **Arguments:** `feedback`: `R` of shape `"output hidden"`, or a scalar for modes; dimensionless.

    Source: Lillicrap et al. 2016.
    """
    return Rule(feedback, "full", name="feedback alignment", key="feedback-alignment")


def ThreeFactor(feedback: Any) -> Rule:
    """A three-factor rule without an eligibility trace: fixed feedback `F = R` and the first lag only.

    **Arguments:** `feedback`: `R` of shape `"output hidden"`, or a scalar for modes; dimensionless.

    Source: Gerstner et al. 2018.
    """
    return Rule(feedback, Propagator(), lags=1, name="three-factor", key="three-factor")


PRESETS: dict[str, Callable[..., Rule]] = {
    "bptt": BPTT,
    "tbptt": TruncatedBPTT,
    "rflo": RFLO,
    "eprop": EProp,
    "eprop-bellec": BellecEProp,
    "feedback-alignment": FeedbackAlignment,
    "three-factor": ThreeFactor,
}
"""The named rules that ship with localgrad, in the order in which they are listed."""

PAPER = ("bptt", "tbptt", "rflo")
"""The names of the three rules that the paper compares, its local one last."""


def paper_rules(feedback: Any, decay: Any) -> list[Rule]:
    """The rules that `PAPER` names, in its order; feedback and decay are RFLO's."""
    return [BPTT(), TruncatedBPTT(1), RFLO(feedback, decay)]


@cache
def known_presets() -> Mapping[str, Callable[..., Rule]]:
    """All named rules by name: those of localgrad, then those of installed packages, loaded when first asked for.

    **Raises:** `ValueError` where a package's rule cannot be loaded or bears the name of another.
    """
    found = dict(PRESETS)
    for point in entry_points(group=ENTRY_POINTS):
        where = f"the rule {point.name!r} of the entry point {point.value!r}"
        if point.name.lower() in found:
            raise ValueError(f"{where} bears a name that is taken; uninstall its package or rename the rule")
        try:
            found[point.name.lower()] = point.load()
        except Exception as error:
            raise ValueError(f"{where} cannot be loaded ({type(error).__name__}: {error})") from error
    return found


def find_preset(name: str) -> Callable[..., Rule]:
    """The function that makes the rule of this name, whatever its case; `ValueError` for an unknown name."""
    known = known_presets()
    if not isinstance(name, str) or name.lower() not in known:
        raise ValueError(f"unknown rule {in_words(name)}; known rules: {', '.join(known)}")
    return known[name.lower()]


def parameters_of(name: str) -> Mapping[str, inspect.Parameter]:
    """The parameters that the rule of this name takes; `ValueError` for an unknown name."""
    return inspect.signature(find_preset(name)).parameters


def make_rule(name: str, *, delay: int | None = None, **parameters: Any) -> Rule:
    """The rule of this name, as the command line calls it, from those of its parameters that are not `None`.

    **Arguments:** `name`: `"bptt"`, `"tbptt"`, `"rflo"`, `"eprop"`, … in any case, or that of a rule of an installed
    package; `delay`: how many steps late its errors arrive; `parameters`: those of the function that makes it, such as
    `feedback`, `decay`, `lags`.

    **Raises:** `ValueError` for an unknown name, a delay below 0, a parameter the rule does not take, or one it lacks.

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
        raise ValueError(f"rule {name!r} needs {', '.join(missing)}; give a value{' for each' * (len(missing) > 1)}")
    rule = find_preset(name)(**given)
    if not isinstance(rule, Rule):
        raise ValueError(f"the rule {name!r} is a {type(rule).__name__}, not a localgrad.Rule; mend its package")
    return rule if delay is None else rule.with_delay(delay)
