"""The kinds of runs by name. A new kind is a file beside this one and a line here."""

from __future__ import annotations

from localgrad.sweeps.kinds.flow import FlowKind
from localgrad.sweeps.kinds.kind import Kind
from localgrad.sweeps.kinds.modes import ModesKind
from localgrad.sweeps.kinds.training import TrainingKind

KINDS: dict[str, Kind] = {kind.name: kind for kind in (ModesKind(), FlowKind(), TrainingKind())}
"""All kinds of runs, by the word that a file gives as `kind`."""


def find_kind(name: str) -> Kind:
    """The kind of this name; `ValueError` where there is none."""
    if name not in KINDS:
        raise ValueError(f"there is no kind of run {name!r}; give one of {', '.join(KINDS)}")
    return KINDS[name]
