"""What `localgrad train` does: teacher, students and rule from words; a run as a document, a weight file and a figure.

Students are Gaussian, `scale / √hidden` in `A` and `W` and `scale / √input` in `B`. Of a layer so are `C` and `B`, and
its poles are spread evenly over the disc of radius 0.9. A fixed feedback is drawn for each seed with standard deviation
`scale / √hidden`; a complex number has half of the variance in each part. Everything comes from one seed number.
"""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from localgrad.checks import check_memory
from localgrad.cli.rules import check_lags
from localgrad.cli.targets import task_without
from localgrad.learning.result import TrainingRun
from localgrad.learning.training_loop import losses_of
from localgrad.models.aligned import Mode, aligned_network
from localgrad.models.arrays import in_precision, readout_of
from localgrad.models.diagonal import DiagonalSSM
from localgrad.models.leaky import LeakyRNN
from localgrad.models.linear import LinearRNN, random_network
from localgrad.outcomes import Outcome
from localgrad.rules.presets import make_rule, parameters_of
from localgrad.rules.rule import Rule
from localgrad.tasks.linear_task import LinearTask, as_task
from localgrad.tasks.teachers import load_teacher

_FORMS = "give a file, random:OUTPUT,HIDDEN,INPUT or modes:W,W,…"


def check_counts(
    teacher: str, *, hidden: int | None, seeds: int, steps: int, batch: int, horizon: int, method: str, double: bool
) -> None:
    """`ValueError` for counts that this machine cannot hold; `teacher` matters where it is of the kind `random:`."""
    size = 8 if double else 4
    given = teacher.removeprefix("random:").split(",") if teacher.startswith("random:") else []
    output, units, input = map(int, given) if len(given) == 3 and all(x.isdigit() for x in given) else (1, 1, 1)
    check_memory("the weights of the teacher", 8 * units * (units + output + input), "give smaller sizes")
    width = hidden or units
    weights = size * seeds * width * (width + output + input)
    check_memory(f"the weights of students, {seeds:,} × {width:,} hidden units,", weights, "lower --hidden or --seeds")
    losses = size * seeds * steps
    check_memory(f"the losses of {seeds:,} × {steps:,} steps", losses, "lower --steps or --seeds")
    drawn = size * batch * input * (1 if method == "online" else horizon)
    check_memory(f"the inputs of {batch:,} sequences of {horizon:,} steps", drawn, "lower --batch or --horizon")


def make_task(teacher: str | None, task: str | None, *, spectral_radius: float | None, seed: int, **cleaning: Any
              ) -> LinearTask:  # fmt: skip
    """The task of a teacher (see `make_teacher`), or a task from a file or by name; one of the two is given."""
    if task is None:
        return as_task(make_teacher(str(teacher), spectral_radius=spectral_radius, seed=seed, **cleaning))
    return task_without(task, {"spectral-radius": spectral_radius} | cleaning)


def make_teacher(text: str, *, spectral_radius: float | None, seed: int, **cleaning: Any) -> LinearRNN:
    """A teacher from a file, `random:OUTPUT,HIDDEN,INPUT` or `modes:W,W,…` (`a* = b* = 1`, each mode its own unit).

    `cleaning` is for a file (see `load_teacher`).

    **Raises:** `ValueError` naming the text and the remedy.
    """
    kind, colon, rest = text.partition(":")
    if not colon or kind not in ("random", "modes") or Path(text).exists():
        if not Path(text).suffix:
            raise ValueError(f"teacher {text[:60]!r} is neither a file nor a kind of teacher; {_FORMS}")
        return load_teacher(text, spectral_radius=spectral_radius, **cleaning)
    if options := [f"--{name}" for name, value in cleaning.items() if value is not None]:
        raise ValueError(f"{options[0]} is for the matrix of a file, but teacher {text[:60]!r} is none; leave it out")
    try:
        values = [float(cell) if kind == "modes" else int(cell) for cell in rest.split(",")]
    except ValueError:
        raise ValueError(f"teacher {text[:60]!r} has a value that is not a number; {_FORMS}") from None
    if kind == "random":
        return _random_teacher(text, values, 0.9 if spectral_radius is None else spectral_radius, seed)
    if spectral_radius is not None:
        raise ValueError(f"--spectral-radius scales a matrix, but teacher {text[:60]!r} states its own; leave it out")
    if not all(abs(w) < 1 for w in values):
        raise ValueError(f"teacher {text[:60]!r} has a mode outside (-1, 1); give each |w*| < 1")
    ones = np.ones(len(values))
    return aligned_network(Mode(ones, ones, np.array(values)))


def _random_teacher(text: str, sizes: list[Any], spectral_radius: float, seed: int) -> LinearRNN:
    if len(sizes) != 3 or min(sizes) < 1:
        raise ValueError(f"teacher {text[:60]!r} must have three sizes of at least 1, such as random:4,64,4")
    if not 0 <= spectral_radius < 1:
        raise ValueError(f"--spectral-radius {spectral_radius} must lie in [0, 1)")
    key = jax.random.fold_in(jax.random.key(seed), 1)
    return random_network(*sizes, key=key, spectral_radius=spectral_radius)


class Kind(NamedTuple):
    """What kind of student `--model` asks for: its class, the leak of its units, what its poles are trained by."""

    model: type
    leak: float
    poles: str

    @classmethod
    def of(cls, model: str, leak: float | None, poles: str | None) -> Kind:
        """From the options; `ValueError` for another word, and for an option that the model has no use for."""
        kinds: dict[str, type] = {"network": LinearRNN, "leaky": LeakyRNN, "layer": DiagonalSSM}
        if model not in kinds:
            raise ValueError(f"--model {model[:40]!r} is unknown; give network, leaky or layer")
        if model != "leaky" and leak is not None:
            raise ValueError(f"--leak {leak:g} is for --model leaky; leave it out or add --model leaky")
        if model == "leaky" and leak is None:
            raise ValueError("--model leaky needs --leak, such as --leak 0.2")
        if model != "layer" and poles is not None:
            raise ValueError(f"--poles {poles[:40]} is for --model layer; leave it out or add --model layer")
        return cls(kinds[model], 1.0 if leak is None else leak, poles or "direct")


def make_students(task: LinearTask, hidden: int, *, kind: Kind, scale: float, seeds: int, seed: int, dtype: Any) -> Any:
    """Random students of a kind, with a leading axis `"seeds"`."""
    output, _, input = task.sizes
    if not 0 < scale < np.inf:
        raise ValueError(f"--scale must be a positive finite number; got {scale}")
    keys = jax.random.split(jax.random.fold_in(jax.random.key(seed), 2), seeds)
    if kind.model is DiagonalSSM:
        return in_precision(dtype, jax.vmap(lambda key: _random_layer((output, hidden, input), scale, key))(keys))
    batch = jax.vmap(lambda key: random_network(output, hidden, input, key=key, scale=scale))(keys)
    batch = jax.tree.map(lambda x: x.astype(dtype), batch)
    A, W, B = batch.matrices
    return LeakyRNN(A, W, B, leak=kind.leak) if kind.model is LeakyRNN else batch


def _random_layer(sizes: tuple[int, int, int], scale: float, key: Any) -> DiagonalSSM:
    output, hidden, input = sizes
    keys = jax.random.split(key, 4)
    poles = 0.9 * jax.numpy.sqrt(jax.random.uniform(keys[0], (hidden,)))
    turned = poles * jax.numpy.exp(2j * np.pi * jax.random.uniform(keys[1], (hidden,)))
    C = scale / np.sqrt(hidden) * jax.random.normal(keys[2], (output, hidden), complex)
    return DiagonalSSM(C, turned, scale / np.sqrt(input) * jax.random.normal(keys[3], (hidden, input), complex))


def make_training_rule(
    name: str,
    students: Any,
    *,
    feedback_scale: float | None,
    decay: float | None,
    lags: int | None,
    through_plant: bool,
    delay: int | None,
    seed: int,
) -> Rule:
    """The preset called `name`, with a fixed feedback drawn for each student where it needs one or a scale is given."""
    check_lags(lags)
    parameter = parameters_of(name).get("feedback")
    if parameter is None and feedback_scale is not None:
        raise ValueError(f"--feedback-scale {feedback_scale} is not a parameter of {name}; leave it out")
    if through_plant and "through_plant" not in parameters_of(name):
        raise ValueError(f"--through-plant is not a parameter of {name}; leave it out")
    feedback = None
    if parameter is not None and (feedback_scale is not None or parameter.default is inspect.Parameter.empty):
        scale = 1.0 if feedback_scale is None else feedback_scale
        if not (np.isfinite(scale) and scale != 0):
            raise ValueError(f"--feedback-scale must be a finite number other than 0; got {scale}")
        key = jax.random.fold_in(jax.random.key(seed), 3)
        A = readout_of(students)
        feedback = scale / np.sqrt(A.shape[-1]) * jax.random.normal(key, A.shape, A.dtype)
    return make_rule(name, feedback=feedback, decay=decay, lags=lags, through_plant=through_plant or None, delay=delay)


def describe_run(run: TrainingRun) -> dict[str, Any]:
    """A run as a document that JSON can hold; losses are exact expected ones."""
    trainer = run.trainer
    names = ("output", "hidden", "input")
    white = isinstance(trainer.task, DiagonalSSM) or trainer.task.is_white_teacher
    task_names = names if white else ("output", "state", "input")
    initial = np.asarray(losses_of(trainer, run.initial))
    rows = zip(run.outcome, initial, run.final_loss, run.diverged_at, strict=True)
    return {
        "rule": trainer.rule.describe(),
        "teacher_sizes" if white else "task_sizes": dict(zip(task_names, trainer.task.sizes, strict=True)),
        "model": type(run.initial).__name__,
        "student_sizes": dict(zip(names, run.initial.sizes, strict=True)),
        "num_steps": run.loss.shape[-1],
        "learning_rate": float(trainer.learning_rate),
        "batch_size": trainer.batch_size,
        "horizon": trainer.horizon,
        "loss": trainer.loss,
        "method": trainer.method,
        "silent_loss": float(trainer.silent_loss),
        "seeds": [
            {
                "outcome": Outcome(int(outcome)).name.lower(),
                "initial_loss": float(first),
                "final_loss": float(last),
                "diverged_at": int(step) if step >= 0 else None,
            }
            for outcome, first, last, step in rows
        ],
    }


def draw_losses(run: TrainingRun, figure: Path) -> None:
    """Loss over steps, a curve a seed up to where it diverged (a cross)."""
    from localgrad.figures.plotting import new_figure, rule_style, save_figure, style, zero_line

    count, name = len(run.loss), run.trainer.rule.name
    look = {"color": rule_style(run.trainer.rule.key)["color"], "alpha": max(0.3, 1 / count)}
    with style():
        drawn, (ax,) = new_figure()
        for losses, diverged_at in zip(run.loss, run.diverged_at, strict=True):
            learned = losses if diverged_at < 0 else losses[: max(1, diverged_at)]
            steps, means = _window_means(learned / float(run.trainer.silent_loss))
            ax.loglog(steps, means, **look)
            if diverged_at >= 0:
                ax.plot(steps[-1], means[-1], "x", color=look["color"])
        zero_line(ax, 1.0)
        ax.set_xlabel("step")
        ax.set_ylabel("loss of the batch / loss of a silent student")
        ax.set_title(f"{name}: sampled training, {count} seed{'s' * (count > 1)}; × diverged")
    save_figure(drawn, figure)


def _window_means(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Middle step (from 1) and mean of windows that widen with the step: a noisy curve, for a logarithmic axis."""
    starts = np.unique(np.geomspace(1, len(values), 100).astype(int)) - 1
    widths = np.diff(np.append(starts, len(values)))
    return starts + (widths + 1) / 2, np.add.reduceat(values, starts) / widths
