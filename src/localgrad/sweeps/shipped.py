"""The sweeps that ship with localgrad: files in the folder `files` beside this module, known by their names.

`localgrad sweep NAME` runs one, `localgrad sweep NAME --print` prints its file, to be changed.
"""

from __future__ import annotations

from pathlib import Path

_FOLDER = Path(__file__).parent / "files"


def shipped_sweeps() -> list[str]:
    """The names of all of them."""
    return sorted(path.stem for path in _FOLDER.glob("*.toml"))


def shipped_sweep(name: str) -> Path | None:
    """The file of the sweep of this name; `None` for other words, which are files of the user's."""
    return _FOLDER / f"{name}.toml" if name in shipped_sweeps() else None
