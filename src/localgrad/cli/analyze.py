"""`localgrad analyze`: fixed points, spectra and rates for a teacher."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from localgrad.cli.base import (
    JsonOption,
    MissingOption,
    SubjectOption,
    SymmetrizeOption,
    TaskOption,
    app,
    check_finite,
    print_json,
)
from localgrad.cli.rules import RULES, DecayOption, FeedbackOption, LagsOption, PolesOption, RuleCommand, make_rules
from localgrad.cli.targets import check_one_source, check_targets


@app.command(cls=RuleCommand)
def analyze(
    teacher: Annotated[
        str | None,
        typer.Option(metavar="TEACHER", help="A mode a*,b*,w*, such as 1,1,0.8; or a file with A, W and B, or a bare "
                     "matrix W: text, NumPy, MATLAB, TVB, GraphML, … (docs/files.md)."),
    ] = None,
    task: TaskOption = None,
    rules: Annotated[
        list[str] | None,
        typer.Option("--rule", metavar="RULE", help=f"Rule to analyze, may be repeated: {RULES}. "
                     "[default: bptt, tbptt, and rflo with â = 1, ŵ = 0.5]"),
    ] = None,
    feedback: FeedbackOption = None,
    decay: DecayOption = None,
    lags: LagsOption = None,
    poles: PolesOption = "direct",
    spectral_radius: Annotated[
        float | None, typer.Option(metavar="RHO", help="Scale W to this spectral radius, between 0 and 1.")
    ] = None,
    symmetrize: SymmetrizeOption = None,
    missing: MissingOption = None,
    subject: SubjectOption = None,
    figure: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Draw a network's modes, or its eigenvalues and these cosines, "
                     "into this file (.png or .svg).")
    ] = None,
    as_json: JsonOption = False,
) -> None:  # fmt: skip
    """Analyze how rules learn a teacher or task: fixed points, spectra, convergence rates, critical learning rates.

    A network with symmetric W and identity input and output (any bare symmetric matrix, such as a connectome) is
    exactly data-aligned: each eigenvalue is a mode with its own rates. For other networks the report says how far
    each rule's exact update points along BPTT's, and so for tasks that are more than a teacher.

    Examples:

    - `localgrad analyze --rule rflo --feedback 1 --decay 0.5 --teacher 1,1,0.8`
    - `localgrad analyze --rule rflo --feedback 1 --decay 0.5 --teacher 1,1,0.8 --poles tanh`
    - `localgrad analyze --teacher connectome.csv --spectral-radius 0.95`
    - `localgrad analyze --task point-mass`
    """
    given = {"--teacher": teacher, "--task": task}
    source = check_one_source(given)
    name = str(given[f"--{source}"])
    check_targets({"--figure": figure}, inputs={f"--{source}": name})
    import jax

    jax.config.update("jax_enable_x64", True)
    from localgrad.cli import analysis as work
    from localgrad.models.aligned import Mode
    from localgrad.rules.presets import PAPER

    if rules is None:
        feedback, decay = 1.0 if feedback is None else feedback, 0.5 if decay is None else decay
    chosen = make_rules(rules or PAPER, feedback=feedback, decay=decay, lags=lags)
    reading: dict[str, Any] = {"symmetrize": symmetrize, "missing": missing, "subject": subject}
    found = work.read_source(teacher, task, spectral_radius=spectral_radius, **reading)
    if isinstance(found, Mode):
        if figure is not None:
            raise ValueError(
                f"--figure {figure} shows the modes of a network, but teacher {name!r} is one; leave it out"
            )
        document: dict[str, Any] = {
            "teacher": list(found),
            "analyses": [work.analyze_mode(rule, found, poles) for rule in chosen],
        }
    elif poles != "direct":
        raise ValueError(
            f"--poles {poles} is for a teacher of one mode, such as 1,1,0.8, but {name!r} is a network; leave it out"
        )
    else:
        document = {source: name, **work.analyze_source(chosen, found, figure)}
        if not document["aligned"]:
            document["next"] = work.training_command(name, source, spectral_radius=spectral_radius, **reading)
    check_finite(document, f"this {source}")
    if as_json:
        print_json(document)
    else:
        from localgrad.cli.tables import print_analysis

        print_analysis(document)
