"""Derived equations: equal to the computed ones in numbers, and to the theory's closed forms in symbols."""

import functools
import json
import re

import numpy as np
import pytest
import sympy as sp

import localgrad as lg
from localgrad.modes.derivation import Derivation, derive, symbolic_rule
from localgrad.modes.notation import DECAY, FEEDBACK, STUDENT, TEACHER, C, S, to_latex, to_text
from localgrad.rules.presets import PRESETS

# Both sides are the same few dozen operations in float64, in another order; no cancellation is forced.
TOLERANCE = {"rtol": 1e-10, "atol": 1e-12}
WIDTH = 100

A_HAT, W_HAT = 0.7, 0.4
ALPHA, BETA = sp.symbols("alpha beta", real=True)
BLEND = lg.Rule(lg.Feedback.blend(ALPHA, FEEDBACK), lg.Propagator.blend(BETA, DECAY), name="blend")
RULES = {
    **{name: symbolic_rule(name) for name in PRESETS},
    "tbptt, 6 lags": symbolic_rule("tbptt", lags=6),
    "eprop, random": symbolic_rule("eprop", feedback="random"),
    "rflo, symmetric": symbolic_rule("rflo", feedback="symmetric"),
    "rflo, numbers": lg.RFLO(feedback=A_HAT, decay=W_HAT),
    "blend": BLEND,
}
STALLING = [name for name, rule in RULES.items() if rule.feedback.is_symmetric]  # their feedback vanishes with a
VALUES = {FEEDBACK: A_HAT, DECAY: W_HAT, ALPHA: 0.3, BETA: 0.6}


@functools.cache
def derived(name: str) -> Derivation:
    return derive(RULES[name])


@pytest.fixture(params=RULES)
def derivation(request: pytest.FixtureRequest) -> Derivation:
    return derived(request.param)


@pytest.fixture
def bptt() -> Derivation:
    return derived("bptt")


@pytest.fixture
def rflo() -> Derivation:
    return derived("rflo")


def with_numbers(rule: lg.Rule) -> lg.Rule:
    """The same rule with `VALUES` for its symbols."""

    def number(x):
        return None if x is None else float(sp.sympify(x).subs(VALUES))

    feedback = lg.Feedback(number(rule.feedback.symmetric), number(rule.feedback.fixed))
    M = rule.propagator
    return lg.Rule(feedback, lg.Propagator(number(M.full), number(M.diagonal), number(M.decay)), rule.lags)


def evaluate(expression, **values):
    """The expression in numbers: `VALUES` and what is given, by the symbols' names."""
    by_name = {x.name: x for x in (*STUDENT, *TEACHER, C, S)}
    numbers = VALUES | {by_name[name]: value for name, value in values.items()}
    symbols = list(numbers)
    return np.array(sp.lambdify(symbols, expression, "numpy")(*numbers.values()))


def random_modes(count: int = 5):
    rng = np.random.default_rng(0)
    for a, b, a_star, b_star in rng.uniform(-2, 2, (count, 4)):
        w, w_star = rng.uniform(-0.9, 0.9, 2)
        yield lg.Mode(a, b, w), lg.Mode(a_star, b_star, w_star)


def point_values(student: lg.Mode, teacher: lg.Mode) -> dict[str, float]:
    return student._asdict() | {f"{name}_star": x for name, x in teacher._asdict().items()}


def is_zero(expression: sp.Expr) -> bool:
    return sp.simplify(expression) == 0


def roots_factored(expression: sp.Expr) -> sp.Expr:
    """What stands under a square root brought to one form, so that equal roots are the same expression."""
    return expression.replace(
        lambda x: x.is_Pow and x.exp == sp.S.Half, lambda x: sp.sqrt(sp.factor(sp.together(x.base)))
    )


# --- Numbers: the derived equations are the computed ones ------------------------------------------------------------


def test_update_loss_and_jacobian_are_those_computed(derivation: Derivation) -> None:
    rule = with_numbers(derivation.rule)
    for student, teacher in random_modes():
        at = point_values(student, teacher)
        update = lg.mode_update(rule, student, teacher)
        np.testing.assert_allclose([evaluate(x, **at) for x in derivation.update], update, **TOLERANCE)
        np.testing.assert_allclose([evaluate(x, **at) for x in derivation.flow], -np.array(update), **TOLERANCE)
        np.testing.assert_allclose(evaluate(derivation.loss, **at), lg.mode_loss(student, teacher), **TOLERANCE)
        jacobian = lg.mode_jacobian(rule, student, teacher)
        np.testing.assert_allclose(evaluate(derivation.jacobian, **at), jacobian, **TOLERANCE)


def test_optimal_manifold_has_the_computed_jacobian_and_eigenvalues(derivation: Derivation) -> None:
    rule = with_numbers(derivation.rule)
    for student, teacher in random_modes():
        c, s = teacher.a * teacher.b, student.a
        jacobian = lg.mode_jacobian(rule, lg.Mode(s, c / s, teacher.w), teacher)
        at = {"s": s, "c": c, "w_star": teacher.w}
        np.testing.assert_allclose(evaluate(derivation.optimal.jacobian, **at), jacobian, **TOLERANCE)
        derived = np.sort_complex([complex(x.subs(VALUES).subs({S: s, C: c, TEACHER.w: teacher.w}))
                                   for x in derivation.optimal.eigenvalues])  # fmt: skip
        # The zero eigenvalue of a numerical matrix is zero up to rounding times the matrix's size.
        scale = np.abs(jacobian).max()
        computed = np.sort_complex(np.linalg.eigvals(jacobian))
        np.testing.assert_allclose(derived / scale, computed / scale, rtol=0, atol=1e-8)


@pytest.mark.parametrize("name", STALLING)
def test_non_optimal_manifold_has_the_computed_jacobian_and_loss(name: str) -> None:
    derivation = derived(name)
    rule = with_numbers(derivation.rule)
    for student, teacher in random_modes():
        there = lg.Mode(0.0, 0.0, student.w)
        at = {"w": student.w, "c": teacher.a * teacher.b, "w_star": teacher.w}
        np.testing.assert_allclose(lg.mode_update(rule, there, teacher), 0, atol=0)
        np.testing.assert_allclose(
            evaluate(derivation.non_optimal.jacobian, **at), lg.mode_jacobian(rule, there, teacher), **TOLERANCE
        )
        np.testing.assert_allclose(
            evaluate(derivation.non_optimal.loss, **at), lg.mode_loss(there, teacher), **TOLERANCE
        )


# --- Symbols: the theory's closed forms ------------------------------------------------------------------------------


def test_loss_vanishes_and_one_eigenvalue_is_zero_on_the_optimal_manifold(derivation: Derivation) -> None:
    assert derivation.optimal.loss == 0
    assert is_zero(derivation.optimal.jacobian.det())
    assert derivation.optimal.eigenvalues[0] == 0


def test_eigenvalues_of_bptt_on_the_optimal_manifold(bptt: Derivation) -> None:
    w = TEACHER.w
    r_squared = S**2 + C**2 / S**2
    S0, S1, S2 = 1 / (1 - w**2), w / (1 - w**2) ** 2, (1 + w**2) / (1 - w**2) ** 3
    mean = -(r_squared * S0 + C**2 * S2) / 2
    half_gap = sp.sqrt((r_squared * S0 - C**2 * S2) ** 2 + 4 * r_squared * C**2 * S1**2) / 2
    _, plus, minus = bptt.optimal.eigenvalues
    assert is_zero(roots_factored(plus) - roots_factored(mean + half_gap))
    assert is_zero(roots_factored(minus) - roots_factored(mean - half_gap))


def test_trace_of_rflo_on_the_optimal_manifold(rflo: Derivation) -> None:
    w, m = TEACHER.w, DECAY
    own = C**2 / S**2 / (1 - w**2)
    carried = S**2 / (1 - m * w) + C**2 * (1 - m * w**3) / ((1 - m * w) ** 2 * (1 - w**2) ** 2)
    assert is_zero(rflo.optimal.trace + own + FEEDBACK / S * carried)


def test_saddle_eigenvalues_on_the_non_optimal_manifold(bptt: Derivation) -> None:
    cross = 1 - STUDENT.w * TEACHER.w
    for manifold, rate in (
        (bptt.non_optimal, abs(C) / cross),
        (derived("tbptt").non_optimal, abs(C) / sp.sqrt(cross)),
    ):
        expected = (0, rate, -rate)
        assert all(is_zero(x - y) for x, y in zip(manifold.eigenvalues, expected, strict=True))
        assert is_zero(manifold.loss - C**2 / (2 * (1 - TEACHER.w**2)))


def test_only_symmetric_feedback_has_a_non_optimal_manifold() -> None:
    assert [name for name in RULES if derived(name).non_optimal is not None] == STALLING


def test_bptt_is_the_gradient_and_conserves_the_balance_of_gains(bptt: Derivation) -> None:
    for update, x in zip(bptt.update, STUDENT, strict=True):
        assert is_zero(update - sp.diff(bptt.loss, x))
    assert is_zero(STUDENT.a * bptt.flow.a - STUDENT.b * bptt.flow.b)


def test_which_rules_coincide_on_a_mode(bptt: Derivation) -> None:
    symmetric = derived("eprop")
    for name in ("update", "loss", "jacobian", "optimal", "non_optimal"):
        assert getattr(symmetric, name) == getattr(bptt, name)
    random = derived("eprop, random")
    assert random.update == derived("feedback-alignment").update
    assert random.update != derived("rflo").update
    assert derive(lg.TruncatedBPTT(2)).update != bptt.update


def test_numbers_are_exact_decimals() -> None:
    numeric = derive(lg.RFLO(feedback=0.1, decay=0.1 + 0.2))
    assert (numeric.feedback, numeric.propagator) == (sp.Rational(1, 10), sp.Rational(3, 10))
    assert not any(x.atoms(sp.Float) for x in (*numeric.update, *numeric.jacobian))


# --- Renderings ------------------------------------------------------------------------------------------------------


def test_equations_read_like_the_paper(bptt: Derivation, rflo: Derivation) -> None:
    lines = bptt.text().splitlines()
    assert "  Δa = a b²/(1 − w²) − a* b b*/(1 − w w*)" in lines
    assert "  Δw = a² b² w/(1 − w²)² − a a* b b* w*/(1 − w w*)²" in lines
    assert "  L = a² b²/(2 (1 − w²)) − a a* b b*/(1 − w w*) + a*² b*²/(2 (1 − w*²))" in lines
    assert "  λ₊ = |c|/(1 − w w*)" in lines
    assert "  Δb = a â b/(1 − w ŵ) − â a* b*/(1 − ŵ w*)" in rflo.text().splitlines()


def test_many_lags_stay_a_sum() -> None:
    text = derived("tbptt, 6 lags").text()
    assert "a² b (1 + w² + w⁴ + w⁶ + w⁸ + w¹⁰) − a a* b* (1 + w w* + w² w*²" in text


@pytest.mark.parametrize("width", [60, WIDTH])
def test_text_keeps_to_its_width(derivation: Derivation, width: int) -> None:
    lines = derivation.text(width).splitlines()
    equations = [x for x in lines if x.startswith("  ")]
    assert max(map(len, equations)) <= width
    assert not re.search(r"_star|_hat|\*\*|-", "\n".join(equations))


def align_bodies(latex: str) -> list[str]:
    return re.findall(r"\\begin\{align\*\}\n(.*?)\n\\end\{align\*\}", latex, re.DOTALL)


def test_latex_is_balanced(derivation: Derivation) -> None:
    latex = derivation.latex()
    assert latex.count("{") == latex.count("}")
    assert latex.count(r"\left") == latex.count(r"\right")
    bodies = align_bodies(latex)
    assert len(bodies) == latex.count(r"\begin{align*}") == latex.count(r"\end{align*}")
    for body in bodies:
        assert not body.endswith("\\\\")
        assert all(row.count("&") == 1 for row in body.split("\\\\\n"))


@pytest.mark.parametrize("name", ["bptt", "tbptt, 6 lags", "rflo, numbers"])
def test_latex_parses(name: str) -> None:
    mathtext = pytest.importorskip("matplotlib.mathtext")
    parser = mathtext.MathTextParser("path")
    for body in align_bodies(derived(name).latex()):
        for row in body.split("\\\\\n"):
            parser.parse(f"${row.replace('&', '').strip()}$")


def test_latex_uses_the_papers_names(rflo: Derivation) -> None:
    latex = rflo.latex()
    for name in (r"\hat{a}", r"\hat{w}", "a^{*}", "b^{*}", "w^{*}", "c = a^* b^*", r"\frac{da}{dk} &="):
        assert name in latex
    assert "hat}}" not in latex
    assert "star" not in latex


def test_dictionary_survives_json_and_reads_back(derivation: Derivation) -> None:
    read = json.loads(json.dumps(derivation.to_dict()))
    names = {x.name: x for x in (*STUDENT, *TEACHER, FEEDBACK, DECAY, ALPHA, BETA, C, S)}
    for letter, x in derivation.update._asdict().items():
        assert is_zero(sp.sympify(read["update"][letter], locals=names) - x)
    optimal = read["optimal_manifold"]
    assert is_zero(sp.sympify(optimal["trace"], locals=names) - derivation.optimal.trace)
    assert (read["non_optimal_manifold"] is None) == (derivation.non_optimal is None)


@pytest.mark.parametrize(
    ("expression", "text"),
    [
        (sp.Integer(-1), "−1"),
        (sp.Rational(-1, 2) * STUDENT.a, "−a/2"),
        (1 / (2 * STUDENT.a), "1/(2 a)"),
        (2 / (1 - STUDENT.w), "2/(1 − w)"),
        (sp.Rational(-1, 2) / (1 - STUDENT.w), "−1/(2 (1 − w))"),
        ((1 - STUDENT.w) ** -2, "1/(1 − w)²"),
        (STUDENT.a * (STUDENT.b - TEACHER.b), "a (b − b*)"),
        (sp.sqrt(STUDENT.a), "√a"),
        (1 / sp.sqrt(1 - STUDENT.w), "1/√(1 − w)"),
        (STUDENT.a ** sp.Rational(1, 3), "a^(1/3)"),
        (abs(C) / 2, "|c|/2"),
        (sp.Symbol("phi_0") * STUDENT.a**10, "a¹⁰ φ₀"),
    ],
)
def test_one_line_forms(expression: sp.Expr, text: str) -> None:
    assert to_text(expression) == text


def test_latex_of_starred_powers() -> None:
    assert to_latex(TEACHER.w**2 * TEACHER.a) == "a^{*} w^{*2}"
    assert to_latex(sp.Symbol("a_hat") ** 2) == r"\hat{a}^{2}"


# --- Misuse ----------------------------------------------------------------------------------------------------------


def test_symbols_stand_only_where_a_preset_needs_them() -> None:
    assert symbolic_rule("rflo").feedback.fixed == FEEDBACK
    assert symbolic_rule("rflo", feedback=2.0).feedback.fixed == 2.0
    assert symbolic_rule("rflo").propagator.decay == DECAY
    assert symbolic_rule("eprop").feedback.fixed is None
    assert symbolic_rule("tbptt", lags=3).lags == 3


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: symbolic_rule("hebb"), "unknown rule 'hebb'; known rules"),
        (lambda: symbolic_rule("bptt", lags=2), "leave out lags"),
        (lambda: symbolic_rule("tbptt", lags=0), "lags must be a whole number"),
        (lambda: derive(lg.RFLO(feedback=np.ones(3), decay=0.5)), r"array of shape \(3,\)"),
        (lambda: derive(lg.RFLO(feedback=1.0, decay=np.nan)), "is nan; derive needs finite numbers"),
        (lambda: derive(lg.RFLO(feedback=np.inf, decay=0.5)), "is inf; derive needs finite numbers"),
    ],
)
def test_misuse_is_named(call, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()


# --- terms of one's own -----------------------------------------------------------------------------------------------


class Squared(lg.Term):
    def __call__(self, matrix):
        return matrix**2

    def on_mode(self, x):
        return x**2


class Clipped(Squared):
    def on_mode(self, x):
        return np.clip(x, -1, 1)


class Doubled(Clipped):
    """What does not run on symbols, but says that it is a line."""

    def on_mode(self, x):
        return 2 * np.asarray(x, dtype=float)

    @property
    def affine(self):
        return 0.0, 2.0


def test_a_term_that_runs_on_symbols_is_derived():
    found = derive(lg.Rule(Squared(), 0.5))
    assert found.feedback == STUDENT.a**2
    assert found.non_optimal is not None
    numbers = dict(zip((*STUDENT, *TEACHER), (0.7, 1.1, 0.3, 0.9, -0.8, 0.4), strict=True))
    expected = lg.mode_update(lg.Rule(Squared(), 0.5), lg.Mode(0.7, 1.1, 0.3), lg.Mode(0.9, -0.8, 0.4))
    np.testing.assert_allclose([float(x.subs(numbers)) for x in found.update], expected, rtol=1e-12)


def test_a_term_of_another_kind_is_derived_by_its_line_or_refused():
    assert derive(lg.Rule(Doubled(), 0.5)).feedback == 2 * STUDENT.a
    with pytest.raises(ValueError, match=r"on_mode of Clipped does not run on symbols.*plain arithmetic"):
        derive(lg.Rule(Clipped(), 0.5))


def test_a_feedback_that_jumps_at_zero_has_no_jacobian_there():
    assert derive(lg.Rule(lg.SignSymmetric(), 0.5)).non_optimal is None


@pytest.mark.parametrize("rule", ["rflo", None])
def test_derive_takes_rules_only(rule):
    with pytest.raises(ValueError, match=r"not a localgrad\.Rule"):
        derive(rule)


def test_a_derivation_prints_its_update():
    text = repr(derive(lg.BPTT()))
    assert text.startswith("Derivation(BPTT, all lags: Δa = ")
    assert len(text.splitlines()) == 1
