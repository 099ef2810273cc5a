"""GraphML: the network of a graph's nodes, in the order in which the file names them.

An edge from node `j` to node `i` is `W[i, j]`; in an undirected graph it counts in both directions. Its weight is the
attribute `weight`, or the one attribute of edges that is a number; in a graph without any, each edge weighs 1. The
text is parsed by Expat with document types forbidden, so that no entity expands or leads out of the file. Limits: one
graph, without hyperedges; two edges between the same nodes are refused.
"""

from __future__ import annotations

from typing import Any
from xml.parsers import expat

import numpy as np

from localgrad.tasks.readers.weights import MAX_ENTRIES, Weights
from localgrad.tasks.text_matrix import as_number

_NUMBERS = ("int", "long", "float", "double")
_MAX_DEPTH = 64


def read_graphml(data: bytes) -> Weights:
    """The weights of the one graph in a file."""
    graph = _Graph()
    parser = expat.ParserCreate()
    parser.StartDoctypeDeclHandler = _refuse_doctype
    parser.StartElementHandler, parser.EndElementHandler = graph.start, graph.end
    parser.CharacterDataHandler = graph.text
    try:
        parser.Parse(data, True)
    except expat.ExpatError as error:
        what = expat.ErrorString(error.code)
        raise ValueError(f"line {error.lineno}: it is no well-formed XML ({what}); write the file again") from None
    except (LookupError, UnicodeError):
        raise ValueError("its encoding is not known; write the file again in UTF-8") from None
    return Weights(graph.matrix())


def _refuse_doctype(*_: Any) -> None:
    raise ValueError("it declares a document type, whose entities are never read; leave out the line <!DOCTYPE …>")


class _Graph:
    """What the parser has met: keys of edges, nodes and edges."""

    def __init__(self) -> None:
        self.keys: dict[str, str] = {}  # of edges that are numbers: id → name
        self.defaults: dict[str, str] = {}
        self.nodes: dict[str, int] = {}
        self.edges: list[tuple[str, str, bool, dict[str, str]]] = []
        self.directed: bool | None = None
        self._path: list[str] = []
        self._into: dict[str, str] | None = None
        self._key = ""

    def start(self, tag: str, attributes: dict[str, str]) -> None:
        tag = tag.rpartition(":")[2]
        self._path.append(tag)
        if len(self._path) > _MAX_DEPTH:
            raise ValueError(f"its elements are nested more than {_MAX_DEPTH} deep; write the file again")
        if tag in ("hyperedge", "port"):
            raise ValueError(f"it has a {tag}, which no weight matrix can hold; leave it out")
        if tag == "key" and attributes.get("for") in ("edge", "all") and attributes.get("attr.type") in _NUMBERS:
            self._key = attributes.get("id", "")
            self.keys[self._key] = attributes.get("attr.name", self._key)
        elif tag == "graph":
            if self.directed is not None:
                raise ValueError("it holds more than one graph; keep one")
            self.directed = attributes.get("edgedefault", "directed") != "undirected"
        elif tag == "node":
            self._add_node(attributes.get("id"))
        elif tag == "edge":
            self._add_edge(attributes)
        elif tag == "default" and self._path[-2:-1] == ["key"]:
            self._into = self.defaults
        elif tag == "data" and self._path[-2:-1] == ["edge"]:
            self._key, self._into = attributes.get("key", ""), self.edges[-1][3]

    def end(self, _: str) -> None:
        self._path.pop()
        self._into = None

    def text(self, text: str) -> None:
        if self._into is not None:
            self._into[self._key] = self._into.get(self._key, "") + text

    def _add_node(self, name: str | None) -> None:
        if name is None or name in self.nodes:
            raise ValueError(f"node {(name or '')[:30]!r} has no id, or one that stands twice; give each node its own")
        self.nodes[name] = len(self.nodes)
        if len(self.nodes) ** 2 > MAX_ENTRIES:
            raise ValueError(f"it has more than {len(self.nodes) - 1:,} nodes, too many for a dense W")

    def _add_edge(self, attributes: dict[str, str]) -> None:
        source, target = attributes.get("source", ""), attributes.get("target", "")
        directed = {"true": True, "false": False}.get(attributes.get("directed", ""), self.directed is not False)
        self.edges.append((source, target, directed, {}))

    def matrix(self) -> np.ndarray:
        """`W[target, source]`."""
        if not self.nodes:
            raise ValueError("it holds no graph with nodes; write the file again as GraphML")
        key = self._weight_key()
        W = np.zeros((len(self.nodes), len(self.nodes)))
        placed = np.zeros(W.shape, bool)
        for source, target, directed, data in self.edges:
            value = 1.0 if key is None else self._value(data.get(key, self.defaults.get(key)), source, target)
            if source not in self.nodes or target not in self.nodes:
                raise ValueError(
                    f"the edge from {source[:30]!r} to {target[:30]!r} has an end that is no node; mend it"
                )
            j, i = self.nodes[source], self.nodes[target]
            for place in {(i, j)} if directed else {(i, j), (j, i)}:
                if placed[place]:
                    raise ValueError(f"two edges connect {source[:30]!r} and {target[:30]!r}; keep one, or their sum")
                placed[place], W[place] = True, value
        return W

    def _weight_key(self) -> str | None:
        named = [key for key, name in self.keys.items() if name == "weight"] or list(self.keys)
        if len(named) > 1:
            listed = ", ".join(repr(self.keys[key][:30]) for key in named[:6])
            raise ValueError(
                f"its edges have several numbers ({listed}), and none is called weight; rename the one meant"
            )
        return named[0] if named else None

    def _value(self, text: str | None, source: str, target: str) -> float:
        value = None if text is None else as_number(text.strip())
        if value is None:
            raise ValueError(f"the edge from {source[:30]!r} to {target[:30]!r} has no number as its weight; give one")
        return value
