"""`localgrad train`: sampled training of students on a teacher."""

from __future__ import annotations

import time
from pathlib import Path
from statistics import median
from typing import Annotated, Any, cast

import typer

from localgrad.cli.base import JsonOption, MissingOption, SubjectOption, SymmetrizeOption, TaskOption, app, print_json
from localgrad.cli.rules import DecayOption, DelayOption, LagsOption, RuleCommand, RuleOption, ThroughPlantOption
from localgrad.cli.targets import check_one_source, check_targets


@app.command(cls=RuleCommand)
def train(
    rule: RuleOption,
    teacher: Annotated[
        str | None,
        typer.Option(metavar="TEACHER", help="A file with A, W and B, or a bare matrix W (docs/files.md); or "
                     "random:OUTPUT,HIDDEN,INPUT; or modes:W,W,... with a* = b* = 1 and these w*."),
    ] = None,
    task: TaskOption = None,
    spectral_radius: Annotated[
        float | None,
        typer.Option(metavar="RHO", help="Scale the teacher's W to this spectral radius. [default: 0.9 if random]"),
    ] = None,
    symmetrize: SymmetrizeOption = None,
    missing: MissingOption = None,
    subject: SubjectOption = None,
    feedback_scale: Annotated[
        float | None,
        typer.Option(metavar="SCALE", help="Draw a fixed feedback with standard deviation SCALE / √hidden. "
                     "[default: 1 where needed]"),
    ] = None,
    decay: DecayOption = None,
    lags: LagsOption = None,
    delay: DelayOption = None,
    through_plant: ThroughPlantOption = False,
    hidden: Annotated[
        int | None, typer.Option(metavar="N", help="Hidden units of a student. [default: as many as "
                            "the teacher has, or the task state variables]", min=1)
    ] = None,
    model: Annotated[str, typer.Option(metavar="MODEL", help="What learns: network, leaky (units that leak), or layer "
                     "(a diagonal state-space layer).")] = "network",
    leak: Annotated[
        float | None, typer.Option(metavar="LEAK", help="Leak α of the units of --model leaky, above 0 and up to 1.")
    ] = None,
    poles: Annotated[
        str | None,
        typer.Option(metavar="POLES", help="What --model layer trains its poles by: direct, tanh, lru or s4d. "
                     "[default: direct]"),
    ] = None,
    scale: Annotated[float, typer.Option(metavar="SCALE", help="Scale of a student's Gaussian initial weights.")] = 0.3,
    learning_rate: Annotated[float, typer.Option(metavar="RATE", help="Learning rate, positive.")] = 0.01,
    steps: Annotated[int, typer.Option(metavar="N", help="Updates.", min=1)] = 2000,
    batch: Annotated[int, typer.Option(metavar="N", help="Sequences in a batch.", min=1)] = 64,
    horizon: Annotated[int, typer.Option(metavar="N", help="Steps in a sequence.", min=1)] = 100,
    loss: Annotated[str, typer.Option(metavar="KIND", help="What is learned: the error of the final step, final, or "
                     "the mean over all steps, sequence.")] = "final",
    method: Annotated[str, typer.Option(metavar="METHOD", help="How updates are computed, which are the same: "
                     "correlation (fastest), recorded, or online.")] = "correlation",
    seeds: Annotated[int, typer.Option(metavar="N", help="Students trained side by side.", min=1)] = 1,
    seed: Annotated[
        int, typer.Option(metavar="N", help="Where all random numbers come from.", min=0)
    ] = 0,
    target: Annotated[
        float,
        typer.Option(metavar="LOSS", help="Expected loss, relative to that of a student without output, at or below "
                     "which a student counts as converged.")
    ] = 0.01,
    double: Annotated[bool, typer.Option("--double", help="Compute in 64 bits instead of 32.")] = False,
    checkpoint: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Store the run here (.npz); if the file exists, go on from it.")
    ] = None,
    checkpoint_every: Annotated[int, typer.Option(metavar="N", help="Steps between two checkpoints.", min=1)] = 1000,
    out: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Final weights and losses (.npz); of 1 network, a teacher.")
    ] = None,
    figure: Annotated[Path | None, typer.Option(metavar="FILE", help="Loss curves (.png or .svg).")] = None,
    as_json: JsonOption = False,
) -> None:  # fmt: skip
    """Train students on a teacher or another linear task, with updates sampled from noisy sequences.

    A run stopped at any time goes on from its checkpoint, and ends exactly as if it had never stopped.

    Examples:

    - `localgrad train --rule bptt --teacher random:4,64,4 --seeds 5 --figure bptt.png`
    - `localgrad train --rule rflo --decay 0.5 --teacher modes:0.9,0.7,0.5 --hidden 20 --out student.npz`
    - `localgrad train --rule eprop --teacher connectome.csv --spectral-radius 0.9 --steps 100000 --checkpoint run.npz`
    - `localgrad train --rule rflo --decay 0.5 --task oscillator --hidden 8`
    - `localgrad train --rule eprop-bellec --model leaky --leak 0.2 --teacher modes:0.9,0.7 --hidden 20`
    - `localgrad train --rule bptt --model layer --poles lru --teacher modes:0.9,0.7 --hidden 20`
    """
    given = {"--teacher": teacher, "--task": task}
    source = check_one_source(given)
    check_targets({"--checkpoint": checkpoint, "--out": out, "--figure": figure},
                  inputs={option: text for option, text in given.items() if text is not None})  # fmt: skip
    import jax

    jax.config.update("jax_enable_x64", True)
    from localgrad.cli import students as work
    from localgrad.learning.runs import save
    from localgrad.learning.train import train as run_training

    if seed >= 2**63:
        raise ValueError(f"--seed {seed} must be below 2**63; give a smaller one")
    work.check_counts(
        teacher or "",
        hidden=hidden,
        seeds=seeds,
        steps=steps,
        batch=batch,
        horizon=horizon,
        method=method,
        double=double,
    )
    cleaning: dict[str, Any] = {"symmetrize": symmetrize, "missing": missing, "subject": subject}
    found = work.make_task(teacher, task, spectral_radius=spectral_radius, seed=seed, **cleaning)
    dtype = "float64" if double else "float32"
    kind = work.Kind.of(model, leak, poles)
    width = hidden or found.sizes[1]
    batch_of = work.make_students(found, width, kind=kind, scale=scale, seeds=seeds, seed=seed, dtype=dtype)
    chosen = work.make_training_rule(rule, batch_of, feedback_scale=feedback_scale, decay=decay, lags=lags,
                                     through_plant=through_plant, delay=delay, seed=seed)  # fmt: skip
    started = time.perf_counter()
    try:
        run = run_training(
            chosen, batch_of, found, key=jax.random.fold_in(jax.random.key(seed), 4), learning_rate=learning_rate,
            num_steps=steps, batch_size=batch, horizon=horizon, loss=cast(Any, loss), method=method, poles=kind.poles,
            target_loss=target,
            checkpoint=checkpoint, checkpoint_every=checkpoint_every, progress=True,
        )  # fmt: skip
    except KeyboardInterrupt as interruption:
        if checkpoint is not None and checkpoint.exists():
            interruption.args = (f"interrupted; the same command goes on from {str(checkpoint)!r}",)
        raise
    seconds = time.perf_counter() - started
    if out is not None:
        save(run, out)
    if figure is not None:
        work.draw_losses(run, figure)
    files = {"out": out, "figure": figure, "checkpoint": checkpoint}
    written = {kind: None if path is None else str(path) for kind, path in files.items()}
    document = {source: given[f"--{source}"]} | work.describe_run(run) | {"seconds": seconds} | written
    if as_json:
        print_json(document)
    else:
        _print(document)


def _print(document: dict[str, Any]) -> None:
    seeds, silent = document["seeds"], document["silent_loss"]
    plural = "s" * (len(seeds) > 1)
    source = "teacher" if "teacher" in document else "task"
    print(f"{document['rule']}; {source} {document[source]}: {len(seeds)} seed{plural}, "
          f"{document['num_steps']:,} steps, batches of {document['batch_size']} × {document['horizon']}")  # fmt: skip
    outcomes = [seed["outcome"] for seed in seeds]
    counts = ", ".join(f"{name} {outcomes.count(name)}" for name in ("converged", "unfinished", "diverged"))
    finals = sorted(seed["final_loss"] / silent for seed in seeds)
    spread = f" (median; {finals[0]:.3g} to {finals[-1]:.3g})" if len(seeds) > 1 else ""
    print(f"{counts}. Exact loss over a silent student's: {median(finals):.3g}{spread}.")
    names = {"out": "Weights", "figure": "Figure", "checkpoint": "Checkpoint"}
    where = "".join(f" {name}: {document[kind]}." for kind, name in names.items() if document[kind])
    print(f"{document['seconds']:.1f} s.{where}")
