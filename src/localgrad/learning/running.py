"""A run from its step to its last: chunks, its checkpoint, and a bar of progress; whatever it is that learns."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from localgrad.checks import check_count, check_flag, check_path
from localgrad.files import only_writer
from localgrad.learning.checkpoints import check_room, restore_checkpoint, write_checkpoint


class Running(Protocol):
    """What a run on its way can do."""

    step: int

    @property
    def num_steps(self) -> int:
        """The steps asked for."""

    def advance(self, stop: int) -> None:
        """Go on, at most to `stop`."""

    def settings(self) -> dict[str, np.ndarray]:
        """What defines the run, step by step."""

    def progress(self) -> dict[str, np.ndarray]:
        """How far the run has come."""

    def restore(self, found: dict[str, np.ndarray]) -> None:
        """Go on from a `progress`; `ValueError` where it is not one of this run."""

    def bytes_at_end(self) -> int:
        """About how many bytes of progress there will be."""


def check_running(checkpoint: Any, progress: Any, **counts: Any) -> None:
    """`ValueError` for a checkpoint that is no path, a flag that is none, or counts that are none; `None` passes."""
    for name, count in counts.items():
        if count is not None:
            check_count(name, count)
    if checkpoint is not None:
        check_path("checkpoint", checkpoint)
    check_flag("progress", progress)


def run_to_end(
    run: Running,
    checkpoint: str | os.PathLike[str] | None,
    checkpoint_every: int,
    progress: bool,
    *intervals: int | None,
) -> None:
    """Take all steps that are left, stopping at multiples of `intervals`; with a checkpoint, from where that one is."""
    with ExitStack() as held:
        if checkpoint is not None:  # two runs that take turns at one file would each lose the other's steps
            held.enter_context(only_writer(checkpoint, "checkpoint"))
        stored = None if checkpoint is None else _Checkpoint(Path(checkpoint), run)
        show = held.enter_context(_progress_bar(progress, run.step, run.num_steps))
        while run.step < run.num_steps:
            run.advance(_next_multiple(run.step, checkpoint_every if stored else None, *intervals, run.num_steps))
            if stored and (run.step % checkpoint_every == 0 or run.step == run.num_steps):
                stored.write(run)
            show(run.step)


def _next_multiple(step: int, *intervals: int | None) -> int:
    """The next step that is a multiple of one of the intervals."""
    return min((step // interval + 1) * interval for interval in intervals if interval)


class _Checkpoint:
    """The file that a run is stored in. A first one is written at once, so that a bad place shows early."""

    def __init__(self, path: Path, run: Running):
        self.path, self.settings = path, run.settings()
        check_room(path, sum(x.nbytes for x in self.settings.values()) + run.bytes_at_end())
        if path.exists():
            restore_checkpoint(path, self.settings, run.restore)
        else:
            self.write(run)

    def write(self, run: Running) -> None:
        write_checkpoint(self.path, self.settings, run.progress())


@contextmanager
def _progress_bar(wanted: bool, step: int, num_steps: int) -> Iterator[Callable[[int], None]]:
    """A function to call with the step reached; it moves a bar on standard error, where that is a terminal."""
    if not wanted:
        yield lambda step: None
        return
    from rich.console import Console
    from rich.progress import Progress

    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("steps", total=num_steps, completed=step)
        yield lambda step: bar.update(task, completed=step)


# --- what a checkpoint says ------------------------------------------------------------------------------------------


def checked_step(found: Mapping[str, np.ndarray], num_steps: int) -> int:
    """The step of a progress; `ValueError` where there is none, or it is beyond the steps asked for."""
    step = found.get("step")
    if step is None or step.shape != () or step.dtype.kind not in "iu" or step < 0:
        raise ValueError("it has no step number, so it is damaged; delete it")
    if step > num_steps:
        raise ValueError(f"it is at step {step}, beyond the {num_steps} asked for; ask for at least {step} steps")
    return int(step)


def check_progress(found: Mapping[str, np.ndarray], templates: Mapping[str, np.ndarray]) -> None:
    """`ValueError` where an array of a progress is missing, or not as the template of a run at that step."""
    for name, template in templates.items():
        value = found.get(name)
        if value is None or (value.shape, value.dtype) != (template.shape, template.dtype) or not _is_finite(value):
            raise ValueError(f"its {name} is missing, misshapen or not finite, so it is damaged; delete it")


def _is_finite(value: np.ndarray) -> bool:
    return value.dtype.kind in "iu" or bool(np.all(np.isfinite(value)))
