"""The mode equations: closed form = sum over Markov parameters = derivatives, and their invariants."""

from fractions import Fraction

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import sympy
from cases import CASES, FEW_CASES
from hypothesis import assume, given
from hypothesis import strategies as st
from oracles import mode_sums

import localgrad as lg
from localgrad.modes.equations import field, geometric_sum

# Values up to 1e4 (near |w| = 0.9 the denominators cube) computed with 1e-16: relative to their largest term.
ROUNDING = 1e-10

weight = st.floats(-2, 2)
recurrent = st.floats(-0.9, 0.9)
mode = st.builds(lg.Mode, weight, weight, recurrent)
any_case = st.sampled_from(CASES)
number = st.floats(-1, 1)


def scale(student, teacher) -> float:
    """The size of the largest term: what rounding is relative to where terms cancel."""
    products = [abs(x.a * x.b) / (1 - x.w**2) for x in (student, teacher)]
    return 1 + max(products) ** 2 + max(abs(x) for x in (*student, *teacher)) * max(products) / 0.19


class TestField:
    @given(any_case, mode, mode, number, number)
    def test_is_the_sum_over_markov_parameters(self, case, student, teacher, r, g):
        update = lg.mode_update(case.rule(r, g), student, teacher)
        expected, _ = mode_sums(*case.on_mode(student, r, g), student, teacher)
        np.testing.assert_allclose(update, expected, rtol=0, atol=ROUNDING * scale(student, teacher))

    @given(any_case, mode, number, number)
    def test_vanishes_at_the_teacher(self, case, student, r, g):
        assert lg.mode_update(case.rule(r, g), student, student) == (0, 0, 0)

    @given(any_case, mode, st.floats(0.2, 3), st.booleans(), number, number)
    def test_vanishes_on_the_optimal_manifold(self, case, teacher, s, negative, r, g):
        s = -s if negative else s
        student = lg.Mode(s, teacher.a * teacher.b / s, teacher.w)
        update = lg.mode_update(case.rule(r, g), student, teacher)
        np.testing.assert_allclose(update, 0, atol=ROUNDING * scale(student, teacher))
        np.testing.assert_allclose(lg.mode_loss(student, teacher), 0, atol=ROUNDING * scale(student, teacher))

    @given(mode, mode)
    def test_symmetric_feedback_rests_where_both_weights_are_zero(self, student, teacher):
        """The non-optimal manifold of BPTT and tBPTT, with the theory's loss; RFLO moves on from there."""
        zero = lg.Mode(0.0, 0.0, student.w)
        assert lg.mode_update(lg.BPTT(), zero, teacher) == (0, 0, 0)
        assert lg.mode_update(lg.TruncatedBPTT(3), zero, teacher) == (0, 0, 0)
        c = teacher.a * teacher.b
        expected = c**2 / (2 * (1 - teacher.w**2))
        np.testing.assert_allclose(lg.mode_loss(zero, teacher), expected, rtol=1e-12, atol=1e-300)
        rflo = lg.mode_update(lg.RFLO(0.7, 0.4), zero, teacher)
        np.testing.assert_allclose(rflo, (0, -0.7 * c / (1 - 0.4 * teacher.w), 0), rtol=1e-12)

    def test_broadcasts(self):
        student = lg.Mode(np.linspace(-1, 1, 4), 0.5, np.array([[0.1], [0.5], [-0.7]]))
        teacher, decays = lg.Mode(1.0, 1.0, 0.8), np.linspace(0, 0.9, 4)
        update = lg.mode_update(lg.RFLO(1.0, decays), student, teacher)
        assert np.broadcast_shapes(*(np.shape(x) for x in update)) == (3, 4)
        one = lg.mode_update(lg.RFLO(1.0, decays[2]), lg.Mode(student.a[2], 0.5, -0.7), teacher)
        np.testing.assert_allclose([np.broadcast_to(x, (3, 4))[2, 2] for x in update], one, rtol=1e-14)

    def test_the_same_definition_runs_on_symbols(self):
        student, teacher = lg.Mode(*sympy.symbols("a b w")), lg.Mode(*sympy.symbols("p q v"))
        r, g = sympy.symbols("r g")
        values = {"a": 0.8, "b": -1.2, "w": 0.5, "p": 1.1, "q": 0.7, "v": -0.6, "r": -0.7, "g": 0.45}
        for case in CASES:
            symbolic = lg.mode_update(case.rule(r, g), student, teacher)
            number = [float(sympy.sympify(x).subs(values)) for x in symbolic]
            numeric = lg.mode_update(case.rule(-0.7, 0.45), lg.Mode(0.8, -1.2, 0.5), lg.Mode(1.1, 0.7, -0.6))
            np.testing.assert_allclose(number, numeric, rtol=ROUNDING)

    def test_jax_agrees_with_numpy_also_compiled(self):
        student, teacher, rules = lg.Mode(0.8, -1.2, 0.5), lg.Mode(1.1, 0.7, -0.6), [x.rule(-0.7, 0.45) for x in CASES]
        updates = jax.jit(lambda s, t: [lg.mode_update(rule, s, t) for rule in rules])(student, teacher)
        for rule, update in zip(rules, updates, strict=True):
            np.testing.assert_allclose(update, lg.mode_update(rule, student, teacher), rtol=1e-13)


class TestLoss:
    @given(mode, mode)
    def test_is_half_the_sum_of_squared_errors(self, student, teacher):
        _, expected = mode_sums(0.0, 0.0, 1, student, teacher)
        np.testing.assert_allclose(
            lg.mode_loss(student, teacher), expected, rtol=ROUNDING, atol=1e-14 * scale(student, teacher)
        )

    @given(mode, mode)
    def test_is_never_negative(self, student, teacher):
        # (x + y)² written out, x² + 2xy + y²: negative only by rounding.
        assert lg.mode_loss(student, teacher) >= -1e-15 * scale(student, teacher)

    @pytest.mark.parametrize("gap", [1e-3, 1e-6, 1e-9])
    def test_keeps_its_relative_accuracy_as_it_vanishes(self, gap):
        """Against section 5's formula in exact fractions; in floats that formula has lost all digits at 1e-8."""
        student, teacher = lg.Mode(1.0 + gap, 1.0, 0.8 - gap), lg.Mode(1.0, 1.0, 0.8)
        a, b, w, p, q, v = map(Fraction, (*student, *teacher))
        exact = ((a * b) ** 2 / (1 - w**2) - 2 * a * b * p * q / (1 - w * v) + (p * q) ** 2 / (1 - v**2)) / 2
        # The gap itself is known to 1e-16/gap.
        np.testing.assert_allclose(lg.mode_loss(student, teacher), float(exact), rtol=1e-14 / gap)

    @given(mode, mode)
    def test_bptt_is_its_gradient(self, student, teacher):
        """`Σ_j E_j ∂E_j`, with `∂E_j = (b w^j, a w^j, a b j w^(j−1))`: section 7."""
        (a, b, w), j = student, np.arange(400)
        E = a * b * w**j - teacher.a * teacher.b * teacher.w**j
        gradient = [np.sum(E * b * w**j), np.sum(E * a * w**j), np.sum((E * a * b * j)[1:] * w ** j[:-1])]
        np.testing.assert_allclose(
            lg.mode_update(lg.BPTT(), student, teacher), gradient, rtol=0, atol=ROUNDING * scale(student, teacher)
        )


class TestConservation:
    @given(mode, mode)
    def test_bptt_conserves_the_difference_of_squares(self, student, teacher):
        update = lg.mode_update(lg.BPTT(), student, teacher)
        rate = student.a * update.a - student.b * update.b
        assert abs(rate) < ROUNDING * scale(student, teacher)

    def test_other_rules_do_not(self):
        student, teacher = lg.Mode(0.9, -1.3, 0.6), lg.Mode(1.0, 1.2, -0.7)
        for rule in (lg.TruncatedBPTT(1), lg.RFLO(0.5, 0.4), lg.EProp(0.5)):
            update = lg.mode_update(rule, student, teacher)
            assert abs(student.a * update.a - student.b * update.b) > 0.1


class TestJacobian:
    @given(any_case, mode, mode, number, number)
    def test_is_the_derivative_of_the_flow(self, case, student, teacher, r, g):
        """Central differences with step 1e-5: error `1e-10 · third derivative`, at most about 1e4 of the scale."""
        rule = case.rule(r, g)
        assume(abs(student.a) > 1e-4 or not rule.terms)  # the sign of a jumps at 0
        jacobian = lg.mode_jacobian(rule, student, teacher)
        for column, step in enumerate(np.eye(3) * 1e-5):
            up, down = (field(rule, lg.Mode(*(np.array(student) + sign * step)), teacher) for sign in (1, -1))
            difference = -(np.array(up) - np.array(down)) / 2e-5
            np.testing.assert_allclose(jacobian[:, column], difference, rtol=1e-5, atol=1e-5 * scale(student, teacher))

    @pytest.mark.parametrize("case", FEW_CASES)
    def test_jax_path_equals_numpy_path(self, case):
        student, teacher = lg.Mode(0.8, -1.2, 0.5), lg.Mode(1.1, 0.7, -0.6)
        numeric = lg.mode_jacobian(case.rule(-0.7, 0.45), student, teacher)
        in_jax = lg.mode_jacobian(case.rule(-0.7, 0.45), lg.Mode(*map(jnp.array, student)), teacher)
        assert isinstance(numeric, np.ndarray)
        assert isinstance(in_jax, jax.Array)
        np.testing.assert_allclose(in_jax, numeric, rtol=1e-12, atol=1e-14)
        jacfwd = jax.jacfwd(lambda s: jnp.stack(field(case.rule(-0.7, 0.45), lg.Mode(*s), teacher)))
        np.testing.assert_allclose(-jacfwd(jnp.array(student)), numeric, rtol=1e-12, atol=1e-14)

    def test_broadcasts(self):
        student = lg.Mode(np.linspace(-1, 1, 4), 0.5, np.array([[0.1], [0.5], [-0.7]]))
        rule, teacher = lg.RFLO(np.linspace(0.5, 1, 4), 0.4), lg.Mode(1.0, 1.0, 0.8)
        jacobian = lg.mode_jacobian(rule, student, teacher)
        assert jacobian.shape == (3, 4, 3, 3)
        one = lg.mode_jacobian(lg.RFLO(rule.feedback.fixed[1], 0.4), lg.Mode(student.a[1], 0.5, -0.7), teacher)
        np.testing.assert_allclose(jacobian[2, 1], one, rtol=1e-14)

    def test_whole_numbers(self):
        jacobian = lg.mode_jacobian(lg.BPTT(), lg.Mode(1, 1, 0), lg.Mode(1, 1, 0))
        # Section 7 with s = c = 1, w = 0: r² S₀ = 2 and c² S₂ = 1 on the diagonal, S₁ = 0.
        np.testing.assert_allclose(np.sort(np.linalg.eigvals(jacobian).real), [-2, -1, 0], atol=1e-14)


@given(st.floats(-0.9, 0.9), st.integers(1, 30))
def test_geometric_sum(z, lags):
    np.testing.assert_allclose(geometric_sum(z, lags), sum(z**j for j in range(lags)), rtol=1e-12, atol=1e-15)
    np.testing.assert_allclose(geometric_sum(z, None), sum(z**j for j in range(500)), rtol=1e-12)


def test_geometric_sum_of_few_lags_needs_no_bound():
    assert geometric_sum(2.0, 4) == 15
    assert geometric_sum(1.0, 4) == 4


class TestFrames:
    def test_projection_undoes_alignment(self):
        modes = lg.Mode(np.array([0.8, -0.6]), np.array([-1.2, 0.9]), np.array([0.5, -0.3]))
        frames = lg.random_frames(2, 4, 3, key=jax.random.key(0))
        found = lg.project_modes(lg.aligned_network(modes, frames), frames)
        np.testing.assert_allclose(found, modes, rtol=1e-13)

    def test_a_rule_without_fixed_feedback_is_aligned_already(self):
        frames = lg.random_frames(2, 4, 3, key=jax.random.key(0))
        assert lg.align_rule(lg.BPTT(), frames) == lg.BPTT()

    def test_decays_that_differ_align_only_along_the_axes(self):
        rule = lg.RFLO(0.7, np.array([0.1, 0.2, 0.3, 0.4]))
        with pytest.raises(ValueError, match=r"decays of shape \(4,\), one a unit, do not keep networks aligned"):
            lg.align_rule(rule, lg.random_frames(2, 4, 3, key=jax.random.key(0)))
        axes = lg.Frames(np.eye(2), np.eye(4)[[2, 0, 3, 1]], np.eye(3))
        assert lg.align_rule(rule, axes).propagator.decay is rule.propagator.decay

    def test_the_aligned_feedback_has_the_modes_feedbacks(self):
        frames = lg.random_frames(2, 4, 3, key=jax.random.key(0))
        for feedback, diagonal in ((0.7, [0.7, 0.7]), (np.array([0.7, -0.2]), [0.7, -0.2])):
            R = lg.align_rule(lg.RFLO(feedback, 0.5), frames).feedback.fixed
            expected = np.c_[np.diag(diagonal), np.zeros((2, 2))]
            np.testing.assert_allclose(frames.U.T @ R @ frames.P, expected, atol=1e-14)


class TestBadInput:
    good = lg.Mode(1.0, 1.0, 0.5)

    @pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
    @pytest.mark.parametrize("letter", ["a", "b", "w"])
    @pytest.mark.parametrize("who", ["student", "teacher"])
    def test_not_finite(self, who, letter, value):
        pair = {"student": self.good, "teacher": self.good}
        pair[who] = self.good._replace(**{letter: np.array([0.1, value])})
        message = f"{who} {letter} = {value:g} is not finite; give finite numbers"
        for call in (lambda: lg.mode_update(lg.BPTT(), **pair), lambda: lg.mode_jacobian(lg.BPTT(), **pair)):
            with pytest.raises(ValueError, match=message):
                call()
        with pytest.raises(ValueError, match=message):
            lg.mode_loss(**pair)

    @pytest.mark.parametrize("w", [1.0, -1.0, 1.3])
    @pytest.mark.parametrize("who", ["student", "teacher"])
    def test_unstable(self, who, w):
        pair = {"student": self.good, "teacher": self.good}
        pair[who] = self.good._replace(w=w)
        message = rf"{who} w = {w:g} must lie strictly between −1 and 1"
        with pytest.raises(ValueError, match=message):
            lg.mode_update(lg.TruncatedBPTT(1), **pair)
        with pytest.raises(ValueError, match=message):
            lg.mode_loss(**pair)

    @pytest.mark.parametrize(("who", "w"), [("student", -0.8), ("teacher", 0.8)])
    def test_decay_too_large(self, who, w):
        pair = {"student": self.good, "teacher": self.good}
        pair[who] = self.good._replace(w=w)
        message = rf"propagator times {who} w = {1.25 * w:g} must have modulus below 1 .*lower the decay or set lags"
        with pytest.raises(ValueError, match=message):
            lg.mode_update(lg.RFLO(1.0, 1.25), **pair)
        assert np.all(np.isfinite(lg.mode_update(lg.Rule(1.0, 1.25, 3), **pair)))  # the remedy works

    @pytest.mark.parametrize(
        ("rule", "name"), [(lg.RFLO(np.nan, 0.5), "feedback"), (lg.RFLO(1.0, np.inf), "propagator")]
    )
    def test_rule_not_finite(self, rule, name):
        with pytest.raises(ValueError, match=rf"{name} = (nan|inf) is not finite"):
            lg.mode_update(rule, self.good, self.good)


def test_outside_the_domain_tracing_gives_nan_not_a_number_that_looks_right():
    w, teacher = jnp.array([0.1, 1.2]), lg.Mode(1.0, 1.0, 0.8)

    def all_three(w):
        student = lg.Mode(1.0, 1.0, w)
        jacobian = lg.mode_jacobian(lg.BPTT(), student, teacher)
        return lg.mode_update(lg.BPTT(), student, teacher), lg.mode_loss(student, teacher), jacobian

    update, losses, jacobians = jax.jit(jax.vmap(all_three))(w)
    for values in (*update, losses, jacobians):
        assert np.isfinite(values[0]).all()
        assert np.isnan(values[1]).all()


def test_geometric_sum_of_very_many_lags():
    z = np.array([-0.9, 0.3, 0.99])
    np.testing.assert_allclose(geometric_sum(z, 1001), (1 - z**1001) / (1 - z), rtol=1e-12)
    np.testing.assert_allclose(geometric_sum(z, 10**20), 1 / (1 - z), rtol=1e-12)
