"""`localgrad derive`: the equations of a rule, symbolically."""

from __future__ import annotations

from typing import Annotated

import typer

from localgrad.cli.base import JsonOption, app, print_json
from localgrad.cli.rules import RULES, DelayOption, LagsOption, PolesOption, RuleCommand, check_lags

MOST_LAGS = 32
"""Half a minute of algebra; beyond, it takes minutes and then exceeds Python's recursion limit."""

MOST_DELAY = 8


@app.command(cls=RuleCommand)
def derive(
    name: Annotated[
        str,
        typer.Argument(metavar="RULE", help=f"One of {RULES}."),
    ],
    latex: Annotated[bool, typer.Option("--latex", help="Print LaTeX, ready to paste.")] = False,
    lags: LagsOption = None,
    delay: DelayOption = None,
    poles: PolesOption = "direct",
    as_json: JsonOption = False,
) -> None:
    """Derive a rule's learning dynamics symbolically.

    Prints the three differential equations of a mode (a, b, w), the Jacobian on the optimal manifold, and the
    eigenvalues where they have a closed form. Parameters of the rule, such as its feedback, stay symbols.

    Examples:

    - `localgrad derive rflo --latex`
    - `localgrad derive tbptt --lags 2`
    - `localgrad derive rflo --poles lru`
    - `localgrad derive rflo --delay 1`
    """
    if latex and as_json:
        raise ValueError("--latex and --json exclude each other; give one of them")
    check_lags(lags)
    if lags is not None and lags > MOST_LAGS:
        raise ValueError(
            f"--lags {lags} makes equations of thousands of terms; give at most {MOST_LAGS}, or derive bptt, all lags"
        )
    if delay is not None and delay > MOST_DELAY:
        raise ValueError(f"--delay {delay} makes equations of thousands of terms; give at most {MOST_DELAY} steps")
    from localgrad.modes import derivation as symbolic

    derivation = symbolic.derive(symbolic.symbolic_rule(name, lags, delay=delay), poles=poles)
    if as_json:
        print_json(derivation.to_dict())
    else:
        print(derivation.latex() if latex else derivation.text())
