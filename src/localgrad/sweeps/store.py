"""The Zarr store of a sweep: written a chunk at a time, whole or not at all, and believed only where bytes bear it out.

A chunk has a file in each variable's array. They are written one by one, each atomically (`files.py`), and after them a
*receipt* with the SHA-256 of each. A chunk is complete where its receipt is there and every digest fits; all else is
computed again. So a process killed at any moment, a full disk, or a flipped byte cost the chunks they hit and no more.
Axes may grow: what a receipt covers is kept, and only new runs are computed.

One process writes, and holds a lock as long as it does. Nothing is unpickled.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from localgrad.files import build_folder, check_target, only_writer, write_atomically
from localgrad.sweeps.axes import extended
from localgrad.sweeps.definition import Definition
from localgrad.sweeps.layout import ROOT, lay_out, stored_sweep
from localgrad.sweeps.plan import Job, Place, Plan, Result, make_plan
from localgrad.sweeps.provenance import FLAGS, command, different_versions, now, versions

RECEIPTS = ".localgrad/chunks"


class Store:
    """An open store: which of its chunks are complete, and how the next ones are written.

    - `covered`: by chunk, how many values of each axis its files hold.
    - `damaged`: by chunk, what is wrong with its files; such chunks count as not computed.
    - `other_versions`: what was different of the versions that wrote the store, in words; empty for nothing.
    """

    def __init__(self, path: Path, plan: Plan, other_versions: str = ""):
        self.path, self.plan, self.other_versions = path, plan, other_versions
        self.covered: dict[Place, tuple[int, ...]] = {}
        self.damaged: dict[Place, str] = {}
        self._look()

    def pending(self) -> list[Place]:
        """The chunks that are not complete, in order."""
        return [place for place in self.plan.places() if self.covered.get(place) != self.plan.extent(place)]

    def job(self, place: Place) -> Job:
        """The job of a chunk, with its files if it is there in part."""
        covered = self.covered.get(place)
        if covered is None:
            return self.plan.job(place)
        before = {name: self._file(name, place).read_bytes() for name in self.plan.variables}
        return self.plan.job(place, before, covered)

    def write(self, result: Result) -> None:
        """Store a chunk; `OSError` that names the store where it cannot be written."""
        receipt = {"extent": list(result.extent), "files": _digests(result.files), "failures": result.failures}
        content = json.dumps(receipt | {"versions": result.versions})
        sealed = {"receipt": content, "sha256": _digest(content.encode())}
        with _named(self.path):
            for name, data in result.files.items():
                self._put(self._file(name, result.place), data)
            self._put(self._receipt(result.place), json.dumps(sealed).encode())
        self.covered[result.place] = result.extent

    # --- files ---

    def _file(self, name: str, place: Place) -> Path:
        return self.path.joinpath(name, "c", *map(str, place))

    def _receipt(self, place: Place) -> Path:
        return self.path / RECEIPTS / f"{'.'.join(map(str, place))}.json"

    def _put(self, path: Path, data: bytes) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        with write_atomically(path) as stream:
            stream.write(data)

    # --- what is there ---

    def _look(self) -> None:
        for part in self.path.rglob(".*.partial"):  # of a process that was killed
            with suppress(OSError):
                part.unlink()
        for path in sorted((self.path / RECEIPTS).glob("*.json")):
            place = _place_of(path.stem, self.plan)
            if place is None:
                continue
            try:
                self.covered[place] = self._checked(place, path)
            except (ValueError, OSError, KeyError, TypeError, AttributeError) as error:
                self.damaged[place] = str(error) if str(error).startswith("its ") else "its receipt is damaged"

    def _checked(self, place: Place, path: Path) -> tuple[int, ...]:
        """What a chunk covers, by its receipt; an error where the receipt or one of its files is not sound."""
        receipt = read_receipt(path)
        extent = tuple(int(x) for x in receipt["extent"])
        limit = self.plan.extent(place)
        if len(extent) != len(limit) or any(not 0 < x <= most for x, most in zip(extent, limit, strict=True)):
            raise ValueError("its receipt does not fit the axes")
        for name in self.plan.variables:
            try:
                data = self._file(name, place).read_bytes()
            except OSError as error:
                raise ValueError(f"its file of {name} is missing or cannot be read ({error.strerror})") from None
            if _digest(data) != receipt["files"][name]:
                raise ValueError(f"its file of {name} is not what was written ({len(data):,} bytes)")
        return extent

    def note(self, name: str, started: str, **found: Any) -> None:
        """Leave a record of a session in the store: when, by which command and versions, and what was computed."""
        record = {"command": command(), "versions": versions(), "started": started, "ended": now()} | found
        with suppress(OSError):
            self._put(self.path / ".localgrad" / "sessions" / f"{name}.json", json.dumps(record, indent=1).encode())


def read_receipt(path: Path) -> dict[str, Any]:
    """What a receipt says of its chunk: `extent`, digests of `files`, `failures`; an error where it is not sound."""
    sealed = json.loads(path.read_bytes())
    if _digest(sealed["receipt"].encode()) != sealed["sha256"]:
        raise ValueError("its receipt is damaged")
    return json.loads(sealed["receipt"])


@contextmanager
def open_store(path: Path, definition: Definition, computed_by: dict[str, str] | None = None) -> Iterator[Store]:
    """The store at `path` of this sweep, made or continued, and closed to other writers while the block runs.

    `computed_by`: the versions of what computes, by default those of this process.

    **Raises:** `ValueError` where another process writes it, where it is no store of a sweep, or one of another sweep:
    then the message says what differs; `OSError` where it cannot be written.
    """
    path = Path(path)
    with only_writer(path, "store"):
        with _named(path):
            store = _opened(path, definition, computed_by or versions())
        yield store


def _opened(path: Path, definition: Definition, computed_by: dict[str, str]) -> Store:
    if not path.exists():
        plan = make_plan(definition)
        provenance = {"versions": computed_by, "command": command(), "created": now()}
        with build_folder(path) as growing:
            _write_layout(growing, lay_out(plan, provenance))
        return Store(path, plan)
    plan, provenance = continued(path, definition)
    check_target(path / ROOT, "store")
    _write_layout(path, lay_out(plan, provenance))
    begun = _versions_in(provenance)
    if not definition.kind.uses_xla:
        begun[FLAGS] = computed_by[FLAGS]
    return Store(path, plan, different_versions(begun, computed_by))


def continued(path: Path, definition: Definition) -> tuple[Plan, dict[str, Any]]:
    """The plan by which a store goes on, and where it comes from; `ValueError` where the sweep is another one."""
    try:
        root = (path / ROOT).read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        raise ValueError(f"store {str(path)!r} is no store of a sweep; name another one") from None
    try:
        stored = stored_sweep(root)
        if found := differences(stored["identity"], definition.identity):
            raise ValueError(f"holds another sweep: {'; '.join(found[:5])}; name another store, or correct the file")
        axes = tuple(extended(axis, stored["axes"][axis.name]) for axis in definition.axes)
    except ValueError as error:
        words = str(error)
        if words.startswith("axis"):
            words = f"holds another sweep: {words}; put it back, or name another store"
        raise ValueError(f"store {str(path)!r} {words}") from None
    grown = Definition(**{**vars(definition), "axes": axes})
    return make_plan(grown, tuple(int(x) for x in stored["chunk"])), stored["provenance"]


def differences(stored: Any, given: Any, name: str = "") -> list[str]:
    """Where two documents differ, in words: `run.decay is 0.5 in the store, 0.3 in the file`."""
    if isinstance(stored, dict) and isinstance(given, dict):
        keys = sorted(set(stored) | set(given))
        parts = [differences(stored.get(k), given.get(k), f"{name}.{k}" if name else k) for k in keys]
        return [line for part in parts for line in part]
    return [] if stored == given else [f"{name} is {_word(stored)} in the store, {_word(given)} in the file"]


def _versions_in(provenance: dict[str, Any]) -> dict[str, str]:
    found = provenance.get("versions")
    return {str(k): str(v) for k, v in found.items()} if isinstance(found, dict) else {}


def _word(value: Any) -> str:
    return "absent" if value is None else str(value)[:80]


@contextmanager
def _named(path: Path) -> Iterator[None]:
    """Give errors of the system the name of the store, and say that nothing is lost."""
    try:
        yield
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else str(error)
        words = f"could not be written ({reason}); what is stored stays, and the same command goes on when it can"
        raise type(error)(error.errno, words, str(path)) from error


def _write_layout(folder: Path, files: dict[str, bytes]) -> None:
    """Write what is not there as it must be; the group's own file is the last."""
    for name, data in files.items():
        path = folder / name
        try:
            if path.read_bytes() == data:
                continue
        except OSError:
            pass
        path.parent.mkdir(parents=True, exist_ok=True)
        with write_atomically(path) as stream:
            stream.write(data)


def _place_of(stem: str, plan: Plan) -> Place | None:
    """The chunk of a receipt's name; `None` for a name that no chunk has."""
    parts = stem.split(".")
    if len(parts) != len(plan.grid) or not all(part.isdecimal() and len(part) < 19 for part in parts):
        return None
    place = tuple(map(int, parts))
    return place if all(at < size for at, size in zip(place, plan.grid, strict=True)) else None


def _digests(files: dict[str, bytes]) -> dict[str, str]:
    return {name: _digest(data) for name, data in files.items()}


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
