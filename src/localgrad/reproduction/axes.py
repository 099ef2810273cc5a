"""The axis of rules in a dataset: by their keys, which programs ask for, with their names beside, which readers see."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import xarray as xr

from localgrad.rules.rule import Rule


def rule_axis(rules: Iterable[Rule], dim: str = "rule") -> dict[str, Any]:
    """Coordinates of a dimension over rules: `dim` holds their keys, `dim_name` their names.

    Of rules with one key the second is told from the first by a mark, `key#2`.

    >>> from localgrad.rules.presets import BPTT, TruncatedBPTT
    >>> rule_axis([BPTT(), TruncatedBPTT(1)])
    {'rule': ['bptt', 'tbptt-1'], 'rule_name': ('rule', ['BPTT', 'tBPTT(1)'])}
    """
    found = list(rules)
    return {
        dim: _distinct([rule.key for rule in found]),
        f"{dim}_name": (dim, _distinct([rule.name for rule in found])),
    }


def _distinct(words: list[str]) -> list[str]:
    counts = [words[: i + 1].count(word) for i, word in enumerate(words)]
    return [word if count == 1 else f"{word}#{count}" for word, count in zip(words, counts, strict=True)]


def name_of(data: xr.Dataset, key: Any, dim: str = "rule") -> str:
    """The name of the rule with this key, on an axis made by `rule_axis`."""
    return str(data[f"{dim}_name"].sel({dim: key}).item())
