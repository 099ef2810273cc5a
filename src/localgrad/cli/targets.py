"""What a command will write, tried before it works.

Limit: nothing heavy may be imported here, since a target that cannot be written should be refused at once.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from localgrad.files import FIGURE_SUFFIXES, check_different, check_new_folder, check_target

_SUFFIXES = {"--figure": FIGURE_SUFFIXES, "--out": (".npz",), "--checkpoint": (".npz",)}


def check_targets(files: Mapping[str, Path | None], *, store: Path | None = None, inputs: Mapping[str, str]) -> None:
    """Refuse what could not be written, and what would overwrite an input or another of these files.

    **Arguments:** `files` by option; `store`: the new folder of `--store`; `inputs` by option, files or other words.
    """
    check_different({**files, "--store": store}, {option: text for option, text in inputs.items() if _is_file(text)})
    for option, path in files.items():
        if path is not None:
            check_target(path, option, _SUFFIXES[option])
    if store is not None:
        check_new_folder(store, "--store")


def check_one_source(given: Mapping[str, str | None]) -> str:
    """Which of the options `--teacher` and `--task` is given, without its dashes; `ValueError` unless it is one."""
    options = [option for option, text in given.items() if text is not None]
    if len(options) != 1:
        what = "both --teacher and --task are given" if options else "there is nothing to learn from"
        raise ValueError(f"{what}; give exactly one of --teacher and --task")
    return options[0].removeprefix("--")


def task_without(text: str, options: Mapping[str, Any]) -> Any:
    """The task of `--task`; `ValueError` where options are given that are for a teacher's matrix."""
    from localgrad.tasks.task_files import load_task

    if surplus := [f"--{name}" for name, value in options.items() if value is not None]:
        raise ValueError(f"{surplus[0]} is for a teacher's matrix, but --task {text} is none; leave it out")
    return load_task(text)


def _is_file(text: str) -> bool:
    try:
        return Path(text).exists()
    except (OSError, ValueError):  # words longer than a file name, or with characters that no name has
        return False
