"""A small sweep of each kind, and a store that all tests of a file may read."""

import copy
from pathlib import Path

import pytest

MODES = {
    "kind": "modes",
    "run": {
        "a": {"normal": [0.0, 1.0]},
        "b": {"normal": [0.0, 1.0]},
        "w": {"uniform": [-0.9, 0.9]},
        "teacher_w": {"uniform": [-0.9, 0.9]},
        "feedback": 1.0,
        "duration": 200.0,
    },
    "axes": {
        "rule": [
            "bptt",
            {"label": "fast", "rule": "rflo", "decay": 0.1},
            {"label": "slow", "rule": "rflo", "decay": 0.9},
        ],
        "scale": [0.3, 1.0],
        "seed": 12,
    },
}


def changed(document, **keys):
    """A copy of a document with values at `table__key` replaced; `None` removes."""
    found = copy.deepcopy(document)
    for path, value in keys.items():
        *tables, key = path.split("__")
        place = found
        for table in tables:
            place = place.setdefault(table, {})
        if value is None:
            place.pop(key, None)
        else:
            place[key] = value
    return found


def data_files(store: Path) -> dict[str, bytes]:
    """The bytes of everything in a store but for the group's own file and the receipts, which tell how it came."""
    files = {p.relative_to(store).as_posix(): p.read_bytes() for p in sorted(store.rglob("*")) if p.is_file()}
    return {name: data for name, data in files.items() if not name.startswith(".localgrad") and name != "zarr.json"}


@pytest.fixture
def modes():
    return copy.deepcopy(MODES)
