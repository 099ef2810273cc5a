"""What a command will write, tried before it works.

Limit: nothing heavy may be imported here, since a target that cannot be written should be refused at once.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

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


def _is_file(text: str) -> bool:
    try:
        return Path(text).exists()
    except (OSError, ValueError):  # words longer than a file name, or with characters that no name has
        return False
