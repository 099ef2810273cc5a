"""A derivation as text, as LaTeX, and as strings that SymPy reads back.

Both forms list the same equations in the same order (`_sections`); sums are broken between their terms.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import sympy as sp
from sympy.printing.latex import latex_escape

from localgrad.models.aligned import Mode
from localgrad.models.poles import DIRECT
from localgrad.modes.notation import (
    NU,
    SECOND_INVARIANT,
    STUDENT,
    TRACE,
    closed_eigenvalues,
    factored,
    ordered_terms,
    to_latex,
    to_text,
)
from localgrad.rules.rule import in_steps

if TYPE_CHECKING:
    from localgrad.modes.derivation import Derivation, Linearisation


def as_text(found: Derivation, width: int) -> str:
    """Plain Unicode text, one equation a line, broken between terms at `width` characters."""
    blocks = ["\n".join([title, *(x.text(width) for x in section)]) for title, section in _sections(found)]
    return "\n\n".join([f"{title_of(found)}; c = a* b*", *blocks])


def as_latex(found: Derivation) -> str:
    """A LaTeX snippet, one `align*` a section; the document needs `amsmath`."""
    blocks = ["% needs \\usepackage{amsmath}", rf"\paragraph{{{latex_escape(title_of(found))}}} ($c = a^* b^*$)"]
    for title, section in _sections(found):
        lines = " \\\\\n".join(x.latex() for x in section)
        title = re.sub(r"\b([fmJTQ])\b", r"$\1$", title)
        blocks.append(f"{title}:\n\\begin{{align*}}\n{lines}\n\\end{{align*}}")
    return "\n\n".join(blocks)


def as_dict(found: Derivation) -> dict[str, Any]:
    """Everything as strings that SymPy reads back (`a_star`, `b_star`, `w_star`, `a_hat`, `w_hat`, `c`, `s`)."""
    return {
        "rule": found.rule.name,
        "key": found.rule.key,
        "lags": found.rule.lags,
        "delay": found.rule.delay,
        "poles": found.poles.key,
        "feedback": str(found.feedback),
        "propagator": str(found.propagator),
        "update": _mode_strings(found.update),
        "flow": _mode_strings(found.flow),
        "loss": str(found.loss),
        "jacobian": _matrix_strings(found.jacobian),
        "optimal_manifold": _manifold_strings(found.optimal),
        "non_optimal_manifold": None if found.non_optimal is None else _manifold_strings(found.non_optimal),
    }


def title_of(found: Derivation) -> str:
    """The rule's name, lags, delay and poles."""
    lags = "all lags" if found.rule.lags is None else f"{found.rule.lags} lag{'s' * (found.rule.lags > 1)}"
    poles = f", {found.poles.key} poles {found.poles.formula}" if found.poles.key != DIRECT.key else ""
    late = f", errors {in_steps(found.rule.delay)} late" if found.rule.delay else ""
    return f"{found.rule.name}, {lags}{late}{poles}"


def _sections(found: Derivation) -> list[tuple[str, list[_Equation]]]:
    credit = [_Equation("f", "f", found.feedback), _Equation("m", "m", found.propagator)]
    sections = [
        ("Feedback f and propagator m", credit),
        *_on_poles(found),
        ("Expected update", _updates(found)),
        ("Learning flow", _of_mode("d{}/dk", r"\frac{{d{}}}{{dk}}", found.flow)),
        ("Loss", [_Equation("L", "L", found.loss)]),
        ("Jacobian J of the flow (entries not listed are 0)", _matrix_equations(found.jacobian)),
        ("On the optimal manifold, with T the trace of J and Q its second invariant", _on_manifold(found.optimal)),
    ]
    if found.non_optimal is not None:
        sections.append(("On the non-optimal manifold", _on_manifold(found.non_optimal)))
    return sections


def _of_mode(text: str, latex: str, mode: Mode) -> list[_Equation]:
    return [_Equation(text.format(x), latex.format(x), y) for x, y in zip("abw", mode, strict=True)]


def _updates(found: Derivation) -> list[_Equation]:
    """With poles that are not direct `w` moves by `ρ Δw`."""
    *others, last = _of_mode("Δ{}", r"\Delta {}", found.update)
    return [*others, last if found.poles.key == DIRECT.key else _Equation("ρ Δw", r"\rho \Delta w", last.value)]


def _on_poles(found: Derivation) -> list[tuple[str, list[_Equation]]]:
    """What is trained, where that is not the pole itself."""
    if found.poles.key == DIRECT.key:
        return []
    pole, speed = sp.sympify(found.poles.pole(NU)), factored(found.poles.speed(STUDENT.w))
    return [
        (
            "Poles w, of which ν is trained, and their speed ρ",
            [_Equation("w", "w", pole), _Equation("ρ", r"\rho", speed)],
        )
    ]


class _Equation(NamedTuple):
    """`left = value`, with the left side as text and as LaTeX."""

    left: str
    left_latex: str
    value: sp.Basic

    def text(self, width: int) -> str:
        """A sum is broken between its terms, and within a term only where that is longer than a line."""
        start, indent = f"  {self.left} =", " " * (len(self.left) + 4)
        terms = [f" {x}" for x in self._signed(to_text, "−")]
        lines = _fill([start + terms[0], *terms[1:]], width, indent)
        return "\n".join(x for line in lines for x in _fill(re.split(r"(?= [+−] )", line), width, indent + "  "))

    def latex(self, width: int = 100) -> str:
        """A row of `align*`; a sum is broken where, as text, it would be longer than `width`."""
        line, filled = f"{self.left_latex} &=", 0
        for size, piece in zip(map(len, self._signed(to_text, "−")), self._signed(to_latex, "-"), strict=True):
            if filled and filled + size > width:
                line, filled = line + " \\\\\n&\\quad", 0
            line, filled = f"{line} {piece}", filled + size
        return line

    def _signed(self, write: Callable[[sp.Basic], str], minus: str) -> list[str]:
        """The terms as written, each but the first led by its sign."""
        terms = ordered_terms(self.value) if isinstance(self.value, sp.Add) else [self.value]
        first, *others = (write(x) for x in terms)
        signed = [f"{minus} {x[1:].lstrip()}" if x.startswith(minus) else f"+ {x}" for x in others]
        return [first, *signed]


def _fill(pieces: list[str], width: int, indent: str) -> list[str]:
    """Lines of at most `width` characters where the pieces allow it."""
    lines = pieces[:1]
    for piece in pieces[1:]:
        if len(lines[-1]) + len(piece) <= width:
            lines[-1] += piece
        else:
            lines.append(indent + piece.lstrip())
    return lines


def _matrix_equations(matrix: sp.ImmutableMatrix) -> list[_Equation]:
    pairs = [(i, j) for i in range(3) for j in range(3) if matrix[i, j] != 0]
    return [_Equation("J_" + "abw"[i] + "abw"[j], f"J_{{{'abw'[i]}{'abw'[j]}}}", matrix[i, j]) for i, j in pairs]


def _on_manifold(at: Linearisation) -> list[_Equation]:
    eigenvalues = at.eigenvalues if at.trace == 0 else closed_eigenvalues(TRACE, SECOND_INVARIANT)
    names = (("λ₀", r"\lambda_0"), ("λ₊", r"\lambda_+"), ("λ₋", r"\lambda_-"))
    return [
        _Equation("(a, b, w)", "(a, b, w)", sp.Tuple(*at.point)),
        _Equation("L", "L", at.loss),
        *_matrix_equations(at.jacobian),
        _Equation("T", "T", at.trace),
        _Equation("Q", "Q", at.second_invariant),
        *(_Equation(*name, value) for name, value in zip(names, eigenvalues, strict=True)),
    ]


def _mode_strings(mode: Mode) -> dict[str, str]:
    return {letter: str(x) for letter, x in mode._asdict().items()}


def _matrix_strings(matrix: sp.ImmutableMatrix) -> list[list[str]]:
    return [[str(x) for x in row] for row in matrix.tolist()]


def _manifold_strings(at: Linearisation) -> dict[str, Any]:
    return {
        "point": _mode_strings(at.point),
        "loss": str(at.loss),
        "jacobian": _matrix_strings(at.jacobian),
        "trace": str(at.trace),
        "second_invariant": str(at.second_invariant),
        "eigenvalues": [str(x) for x in at.eigenvalues],
    }
