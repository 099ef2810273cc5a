"""Rules on the command line: their names in every help text, and how words become rules.

Limit: nothing heavy may be imported at the top; the list of presets, which needs JAX, is read from its source for help.
"""

from __future__ import annotations

import ast
import math
from collections.abc import Sequence
from importlib.metadata import entry_points
from importlib.util import find_spec
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperCommand

if TYPE_CHECKING:
    from localgrad.rules.rule import Rule

RULES = "RULES"
"""In a help text, stands for the names of all rules."""


class RuleCommand(TyperCommand):
    """A command whose help lists the rules."""

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Put the rules' names where `RULES` stands, only now that they are asked for."""
        names = ", ".join(rule_names())
        for parameter in self.params:
            described: Any = parameter
            if described.help:
                described.help = described.help.replace(RULES, names)
        super().format_help(ctx, formatter)


def rule_names() -> list[str]:
    """The names of all rules: those of `rules.presets.PRESETS`, then those that installed packages add."""
    spec: Any = find_spec("localgrad.rules.presets")
    found: dict[str, Any] = {}
    for statement in ast.parse(spec.loader.get_source(spec.name)).body:
        match statement:
            case (
                ast.AnnAssign(target=ast.Name(id=name), value=value)
                | ast.Assign(targets=[ast.Name(id=name)], value=value)
            ):
                found[name] = value
    others = entry_points(group=ast.literal_eval(found["ENTRY_POINTS"]))
    return [ast.literal_eval(key) for key in found["PRESETS"].keys] + [point.name.lower() for point in others]


RuleOption = Annotated[str, typer.Option("--rule", metavar="RULE", help=f"One of {RULES}.")]
FeedbackOption = Annotated[
    float | None, typer.Option("--feedback", metavar="NUMBER", help="Fixed feedback â of a mode, not 0.")
]
DecayOption = Annotated[
    float | None,
    typer.Option("--decay", metavar="NUMBER", help="Decay ŵ of the traces of a rule such as rflo, between -1 and 1."),
]
ThroughPlantOption = Annotated[
    bool,
    typer.Option("--through-plant", help="Let bptt carry credit through the plant of a closed loop, as the gradient "
                 "does."),
]  # fmt: skip
LagsOption = Annotated[
    int | None,
    typer.Option(
        "--lags",
        metavar="N",
        help="How many steps back a truncated rule looks, at least 1. [default: its own, 1 for tbptt]",
    ),
]

DelayOption = Annotated[
    int | None, typer.Option("--delay", metavar="N", help="How many steps late errors arrive. [default: 0]")
]

PolesOption = Annotated[
    str,
    typer.Option(
        "--poles", metavar="POLES", help="What of a pole w is trained: direct (w itself), tanh (w = tanh ν), or lru "
        "(w = exp(−exp ν), between 0 and 1)."
    ),
]  # fmt: skip


def make_rules(
    names: Sequence[str], *, feedback: float | None = None, decay: float | None = None, lags: int | None = None
) -> list[Rule]:
    """The rules named, each once and given those of the parameters that it takes, for an infinite horizon.

    **Raises:** `ValueError` for an unknown name, a required parameter that is missing, one that no rule takes, or a
    value that no rule can use.
    """
    from localgrad.rules.presets import make_rule, parameters_of

    names = list(dict.fromkeys(name.lower() for name in names))
    given = {"feedback": feedback, "decay": decay, "lags": lags}
    taken = {name: set(parameters_of(name)) for name in names}
    for parameter, value in given.items():
        if value is not None and not any(parameter in accepted for accepted in taken.values()):
            raise ValueError(f"--{parameter} {value:g} is not a parameter of {', '.join(names)}; leave it out")
        if isinstance(value, float) and not math.isfinite(value):
            raise ValueError(f"--{parameter} {value} is not finite; give a finite number")
    if feedback == 0:
        raise ValueError("--feedback 0 teaches the hidden units nothing; give a number other than 0")
    if decay is not None and abs(decay) >= 1:
        raise ValueError(f"--decay {decay:g} lets traces grow without bound; give a number strictly between -1 and 1")
    check_lags(lags)
    for name in names:
        needed = [key for key, found in parameters_of(name).items() if found.default is found.empty]
        if missing := sorted(key for key in needed if key in given and given[key] is None):
            options = " and ".join(f"--{key}" for key in missing)
            raise ValueError(f"rule {name!r} needs {', '.join(missing)}; give {options}")
    return [make_rule(name, **{key: given[key] for key in taken[name] if key in given}) for name in names]  # type: ignore[arg-type]


def check_lags(lags: int | None) -> None:
    """`ValueError` for a number of lags that no rule can keep, with a remedy that can be typed."""
    if lags is not None and not 1 <= lags < 2**31:
        raise ValueError(f"--lags {lags} must be at least 1 and below 2147483648; to keep all lags, take the rule bptt")
