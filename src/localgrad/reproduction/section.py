"""What an experiment leaves for the report, and what many of them say together.

    sections → claims, checks → a verdict on every statement of the paper

A section holds finished pieces only (JSON values, image files, rows of text), so it travels between processes.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import xarray as xr

from localgrad.reproduction.paper import STATEMENTS
from localgrad.reproduction.verdicts import VERDICTS, Evidence, judge

LARGEST_EMBEDDED_SVG = 600_000
"""Figures whose SVG is larger than this many bytes are embedded as PNG."""


@dataclass(frozen=True)
class RenderedFigure:
    """A finished figure: its file name without ending, what to see in it, and both files."""

    name: str
    caption: str
    svg: bytes
    png: bytes

    @property
    def source(self) -> str:
        """The image as a `data:` address: the SVG, or the PNG if the SVG is very large."""
        is_small = len(self.svg) <= LARGEST_EMBEDDED_SVG
        kind, content = ("svg+xml", self.svg) if is_small else ("png", self.png)
        return f"data:image/{kind};base64,{base64.b64encode(content).decode('ascii')}"


@dataclass(frozen=True)
class Section:
    """An experiment as the report shows it.

    `claims` and `checks` are as `Claim.as_json` gives them, `numbers` are by full name; `table` is rows of text, the
    header first; `seconds` is wall time.
    """

    name: str
    title: str
    question: str
    parameters: dict[str, Any]
    claims: list[dict[str, Any]]
    figures: tuple[RenderedFigure, ...]
    dataset: xr.Dataset
    quick: bool
    seconds: float
    checks: list[dict[str, Any]] = field(default_factory=list)
    numbers: dict[str, float] = field(default_factory=dict)
    table: list[list[str]] | None = None
    table_caption: str = ""

    @property
    def command(self) -> str:
        """What makes this section again."""
        return f"localgrad reproduce {self.name}" + " --quick" * self.quick


def all_claims(sections: Sequence[Section]) -> list[dict[str, Any]]:
    """The claims of all sections in order."""
    return [claim for section in sections for claim in section.claims]


def all_checks(sections: Sequence[Section]) -> list[dict[str, Any]]:
    """The checks of the paper in order."""
    return [check for section in sections for check in section.checks]


def judge_paper(sections: Sequence[Section]) -> list[dict[str, Any]]:
    """A verdict on every statement of the paper, from what the sections measured."""
    evidence = Evidence(
        claims={claim["id"]: claim for claim in all_claims(sections)},
        checks={check["id"]: check for check in all_checks(sections)},
        numbers={name: value for section in sections for name, value in section.numbers.items()},
    )
    return [judge(statement, evidence) for statement in STATEMENTS]


def count_claims(sections: Sequence[Section]) -> str:
    """How many claims hold, in words.

    >>> count_claims([])
    'No claims were checked'
    """
    claims = all_claims(sections)
    held = sum(claim["holds"] for claim in claims)
    if not claims:
        return "No claims were checked"
    if held == len(claims):
        return "The claim holds" if held == 1 else f"All {held} claims hold"
    return f"{held} of {len(claims)} claims hold"


def count_verdicts(paper: Sequence[dict[str, Any]]) -> str:
    """How many statements of the paper have which verdict, in words.

    >>> count_verdicts([{"verdict": "reproduced"}, {"verdict": "partly"}, {"verdict": "reproduced"}])
    '2 reproduced, 1 partly'
    """
    counts = {word: sum(item["verdict"] == word for item in paper) for word in VERDICTS}
    return ", ".join(f"{count} {word}" for word, count in counts.items() if count)
