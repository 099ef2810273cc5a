"""How a verdict on a statement of the paper follows from what was measured.

    every test of the statement agrees   reproduced
    some do                              partly
    none does                            not reproduced
    a test did not run, or there is none not tested

A test is a claim of an experiment (it must hold, or the reproduction fails) or a check (it compares a measurement with
what the paper says, and may disagree). The sentences beside a verdict quote measured values by name, `{rates.crossing}`
or with a format, `{rates.share:.0%}`: no result is written down.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

REPRODUCED, PARTLY, NOT_REPRODUCED, NOT_TESTED = "reproduced", "partly", "not reproduced", "not tested"
VERDICTS = (REPRODUCED, PARTLY, NOT_REPRODUCED, NOT_TESTED)

_PLACEHOLDER = re.compile(r"\{([a-z0-9.-]+)(?::([^}]*))?\}")


@dataclass(frozen=True)
class Statement:
    """A statement of the paper and what decides whether it is found here.

    `sentence` is in our words; `source` says where the paper has it. `tests` are the ids of the claims and checks that
    decide, `findings` those of claims that say more, or what we find instead. `why` quotes the measured numbers, and
    `otherwise` adds the likely reason where the verdict is "partly" or "not reproduced". A statement without tests is
    not tested, and `why` says why not.
    """

    id: str
    sentence: str
    source: str
    tests: tuple[str, ...]
    why: str
    findings: tuple[str, ...] = ()
    otherwise: str = ""

    @property
    def ids(self) -> tuple[str, ...]:
        """The claims and checks that belong to the statement."""
        return (*self.tests, *self.findings)

    @property
    def quoted(self) -> tuple[str, ...]:
        """The names of the measured values that its sentences quote."""
        return tuple(name for name, _ in _PLACEHOLDER.findall(self.why + self.otherwise))


@dataclass(frozen=True)
class Evidence:
    """What a run measured: the claims and the checks as `Claim.as_json` gives them, and numbers, all by name."""

    claims: Mapping[str, Mapping[str, Any]]
    checks: Mapping[str, Mapping[str, Any]]
    numbers: Mapping[str, float]

    def agrees(self, id: str) -> bool | None:
        """Whether a claim holds or a check agrees; None if it did not run."""
        if id in self.claims:
            return bool(self.claims[id]["holds"])
        return bool(self.checks[id]["agrees"]) if id in self.checks else None

    def value(self, name: str) -> Any:
        """The measured value of a claim, a check or a number.

        **Raises:** `KeyError` if nothing of that name was measured.
        """
        if name in self.numbers:
            return self.numbers[name]
        return (self.claims[name] if name in self.claims else self.checks[name])["measured"]

    def lacks(self, statement: Statement) -> list[str]:
        """The experiments that would have to run for a verdict on the statement."""
        needed = (*statement.tests, *statement.quoted)
        absent = [name for name in needed if not (name in self.numbers or name in self.claims or name in self.checks)]
        return list(dict.fromkeys(name.partition(".")[0] for name in absent))

    def fill(self, template: str) -> str:
        """The template with measured values in place of their names, by default to three significant digits."""

        return _PLACEHOLDER.sub(lambda found: _written(self.value(found[1]), found[2] or ".3g"), template)


def _written(value: Any, form: str) -> str:
    """A value in a sentence; 0 and whole shares are exact and look it.

    >>> _written(0.0, ".0e"), _written(1.0, ".2%"), _written(0.791, ".1%"), _written(-1.0, ".2f")
    ('0', '100 %', '79.1 %', '−1.00')
    """
    if isinstance(value, str):
        return value
    if form.endswith("%"):
        text = f"{value:.0%}" if value in (0, 1) else f"{value:{form}}"
        return text[:-1] + " %"
    text = "0" if value == 0 else f"{value:{form}}"
    return "−" + text[1:] if text.startswith("-") else text


def verdict(statement: Statement, evidence: Evidence) -> str:
    """One of `VERDICTS`.

    >>> claims = {"x.a": {"holds": True, "measured": 1.0}, "x.b": {"holds": False, "measured": 2.0}}
    >>> verdict(Statement("s", "…", "paper", ("x.a", "x.b"), ""), Evidence(claims, {}, {}))
    'partly'
    """
    answers = [evidence.agrees(id) for id in statement.tests]
    if not answers or None in answers:
        return NOT_TESTED
    if all(answers):
        return REPRODUCED
    return PARTLY if any(answers) else NOT_REPRODUCED


def judge(statement: Statement, evidence: Evidence) -> dict[str, Any]:
    """The statement with its verdict, as `--json` prints it.

    `claims` are the ids of the claims that ran, `checks` those of comparisons with the paper, which are no claims.
    Of both, `tests` decide and `related` do not.
    """
    missing = evidence.lacks(statement)
    found = NOT_TESTED if missing else verdict(statement, evidence)
    why = (
        f"Needs the experiment{'s' * (len(missing) > 1)} {', '.join(missing)}."
        if missing
        else evidence.fill(statement.why)
    )
    if found in (PARTLY, NOT_REPRODUCED) and statement.otherwise:
        why = f"{why} {evidence.fill(statement.otherwise)}"
    return {
        "statement": statement.sentence,
        "verdict": found,
        "claims": [id for id in statement.ids if id in evidence.claims],
        "why": why,
        "id": statement.id,
        "source": statement.source,
        "checks": [id for id in statement.ids if id in evidence.checks],
        "tests": list(statement.tests),
        "related": [id for id in statement.findings if id in evidence.claims or id in evidence.checks],
    }
