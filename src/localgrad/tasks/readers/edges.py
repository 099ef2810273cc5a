"""Edge lists: a connection a line, as `source target weight`, perhaps under a line of column names.

A connection from unit `j` to unit `i` is `W[i, j]`; one that is not listed is 0. Units are those that are named, in the
order of their numbers, or of their first mention where they are words; a unit without any connection is in no such
list. Most lists do not say whether a connection counts in both directions: one in which no pair stands both ways needs
the user's word (`Weights.once`).

Limits: three columns, or more under names that say which are meant; a connection that stands twice is refused.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from localgrad.tasks.readers.weights import MAX_ENTRIES, Weights
from localgrad.tasks.text_matrix import cells_of_lines, number_in

_SOURCE = ("source", "from", "pre", "i", "node1", "node_1", "src", "u")
_TARGET = ("target", "to", "post", "j", "node2", "node_2", "dst", "v")
_WEIGHT = ("weight", "w", "value", "strength")
_MAX_EDGES = MAX_ENTRIES

Line = tuple[int, list[str]]


def read_edges(data: bytes) -> Weights:
    """The network of an edge list.

    >>> read_edges(b"source,target,weight\\nV1,V2,0.5\\nV2,V1,0.25\\n").W.tolist()
    [[0.0, 0.25], [0.5, 0.0]]
    """
    lines = cells_of_lines(data)
    first = next(lines, None)
    if first is None:
        raise ValueError("it holds no connections; write a line 'source target weight' for each")
    columns = _columns(first[1])
    edges: dict[tuple[str, str], float] = {}
    for line, cells in [first] if columns is None else []:
        _add(edges, line, cells, (0, 1, 2))
    for line, cells in lines:
        _add(edges, line, cells, columns or (0, 1, 2))
    return _network(edges)


def looks_like_edges(data: bytes) -> bool:
    """Whether a text is an edge list rather than a matrix: it names its columns so, or has three that fit no matrix."""
    count, integers = 0, True
    for _, cells in cells_of_lines(data):
        if count == 0 and _columns(cells) is not None:
            return True
        if len(cells) != 3 or number_in(cells[2]) is None:
            return False
        integers = integers and all(re.fullmatch(r"\d+", cell) for cell in cells[:2])
        count += 1
    return count > 4 or (integers and count not in (2, 3) and count > 0)


def _columns(cells: Sequence[str]) -> tuple[int, int, int] | None:
    """Where source, target and weight stand in a line of column names; `None` for any other line."""
    names = [cell.strip().lower() for cell in cells]
    found = [
        next((names.index(name) for name in known if name in names), None) for known in (_SOURCE, _TARGET, _WEIGHT)
    ]
    source, target, weight = found
    return None if source is None or target is None or weight is None else (source, target, weight)


def _add(edges: dict[tuple[str, str], float], line: int, cells: list[str], columns: tuple[int, int, int]) -> None:
    if len(cells) <= max(columns) or (columns == (0, 1, 2) and len(cells) != 3):
        raise ValueError(f"line {line} has {len(cells)} cells, but a connection is 'source target weight'; correct it")
    source, target, text = (cells[column] for column in columns)
    weight = number_in(text)
    if weight is None:
        raise ValueError(f"line {line}, column {columns[2] + 1}: {text[:30]!r} is not a real number; correct it")
    if not source or not target:
        raise ValueError(f"line {line} does not name both ends of its connection; correct it")
    if (source, target) in edges:
        raise ValueError(f"line {line} gives the connection {source[:30]!r} → {target[:30]!r} a second time; keep one")
    if len(edges) == _MAX_EDGES:
        raise ValueError(
            f"line {line} is one of more than {_MAX_EDGES:,}, too many for a dense W; give a smaller network"
        )
    edges[source, target] = weight


def _network(edges: dict[tuple[str, str], float]) -> Weights:
    if not edges:
        raise ValueError("it holds no connections; write a line 'source target weight' for each")
    names = list(dict.fromkeys(name for pair in edges for name in pair))
    if all(re.fullmatch(r"\d{1,18}", name) for name in names):
        names.sort(key=int)
    if len(names) ** 2 > MAX_ENTRIES:
        raise ValueError(f"it names {len(names):,} units, too many for a dense W; give a smaller network")
    place = {name: i for i, name in enumerate(names)}
    W = np.zeros((len(names), len(names)))
    for (source, target), weight in edges.items():
        W[place[target], place[source]] = weight
    pairs = [(source, target) for source, target in edges if source != target]
    return Weights(W, once=bool(pairs) and not any((target, source) in edges for source, target in pairs))
