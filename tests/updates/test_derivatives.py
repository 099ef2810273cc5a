"""Derivatives through the infinite-horizon solve, forwards and backwards, against central differences."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import BY_ID, FEEDBACK, GAMMA, STUDENT, TEACHER, assert_close, matrices, network

import localgrad as lg

ROUNDING = 1e-12


class TestDerivatives:
    """Through the infinite-horizon solve, forwards and backwards, against central differences along a direction."""

    @staticmethod
    def direction(seed: int) -> lg.LinearRNN:
        rng = np.random.default_rng(seed)
        return lg.LinearRNN(*(rng.standard_normal(x.shape) for x in STUDENT))

    @staticmethod
    def along(function, x, dx, step=1e-5):
        up, down = (function(jax.tree.map(lambda a, b: a + sign * step * b, x, dx)) for sign in (1, -1))  # noqa: B023
        return jax.tree.map(lambda a, b: (a - b) / (2 * step), up, down)

    def test_loss_in_student_and_teacher(self):
        pair = (network(STUDENT), network(TEACHER))
        rng = np.random.default_rng(5)
        tangent = jax.tree.map(lambda x: jnp.asarray(rng.standard_normal(x.shape)), pair)
        loss = lambda p: lg.expected_loss(*p)  # noqa: E731
        expected = self.along(loss, pair, tangent)
        gradient = jax.jit(jax.grad(loss))(pair)
        backwards = sum(jnp.vdot(g, t) for g, t in zip(*map(jax.tree.leaves, (gradient, tangent)), strict=True))
        forwards = jax.jit(lambda p, t: jax.jvp(loss, (p,), (t,))[1])(pair, tangent)
        # As above: central differences with step 1e-5.
        np.testing.assert_allclose([backwards, forwards], float(expected), rtol=1e-8)

    @pytest.mark.parametrize(
        "name", ["eprop", *(pytest.param(name, marks=pytest.mark.slow) for name in ("rflo", "tbptt"))]
    )
    def test_update_in_student(self, name):
        rule, student, tangent = BY_ID[name](), network(STUDENT), self.direction(6)
        update = lambda s: lg.expected_update(rule, s, network(TEACHER), method="doubling")  # noqa: E731
        expected = self.along(update, student, tangent)
        forwards = jax.jit(lambda s, t: jax.jvp(update, (s,), (t,))[1])(student, tangent)
        assert_close(matrices(forwards), matrices(expected), 1e-8)
        weights = self.direction(7)
        backwards = jax.jit(jax.grad(lambda s: _inner(weights, update(s))))(student)
        np.testing.assert_allclose(_inner(backwards, tangent), _inner(weights, expected), rtol=1e-7)

    def test_update_in_the_rule(self):
        """Feedback, decays and blends are numbers like others: differentiable too."""

        def size(numbers):
            phi, R, gamma = numbers
            rule = lg.Rule(lg.Feedback(phi, R), lg.Propagator(decay=gamma))
            return _inner(self.direction(8), lg.expected_update(rule, network(STUDENT), network(TEACHER)))

        numbers = (jnp.array(0.4), jnp.asarray(FEEDBACK), jnp.asarray(GAMMA))
        rng = np.random.default_rng(9)
        tangent = jax.tree.map(lambda x: jnp.asarray(rng.standard_normal(x.shape)), numbers)
        gradient = jax.jit(jax.grad(size))(numbers)
        along = sum(jnp.vdot(g, t) for g, t in zip(gradient, tangent, strict=True))
        np.testing.assert_allclose(along, self.along(size, numbers, tangent), rtol=1e-7)

    @pytest.mark.slow
    def test_jacobians_and_hessians_in_every_order(self):
        """`jax.jacfwd` maps over tangents, and what does not depend on them must stay unmapped."""
        student, teacher = lg.LinearRNN([[0.7]], [[0.4]], [[0.9]]), lg.LinearRNN([[1.0]], [[0.8]], [[1.0]])
        update = lambda s: lg.expected_update(lg.RFLO([[0.8]], 0.5), s, teacher)  # noqa: E731
        forwards, backwards = (jax.tree.leaves(jax.jit(d(update))(student)) for d in (jax.jacfwd, jax.jacrev))
        assert_close(forwards, backwards, ROUNDING)
        loss = lambda s: lg.expected_loss(s, teacher)  # noqa: E731
        hessians = [
            jax.tree.leaves(jax.jit(outer(inner(loss)))(student))
            for outer in (jax.jacfwd, jax.jacrev)
            for inner in (jax.jacfwd, jax.jacrev)
        ]
        for hessian in hessians[1:]:
            assert_close(hessian, hessians[0], ROUNDING)

    @pytest.mark.slow
    def test_second_derivative_of_the_loss_is_the_derivative_of_bptt(self):
        student, tangent = network(STUDENT), self.direction(10)
        loss = lambda s: lg.expected_loss(s, network(TEACHER))  # noqa: E731
        hessian = jax.jit(lambda s, t: jax.jvp(jax.grad(loss), (s,), (t,))[1])(student, tangent)
        update = lambda s: lg.expected_update(lg.BPTT(), s, network(TEACHER))  # noqa: E731
        slope = jax.jit(lambda s, t: jax.jvp(update, (s,), (t,))[1])(student, tangent)
        assert_close(matrices(hessian), matrices(slope), ROUNDING)


A, W, B = map(jnp.asarray, STUDENT)
MASK = jnp.asarray(np.random.default_rng(11).random(W.shape) < 0.7)
U, V = (jnp.asarray(np.random.default_rng(seed).standard_normal((len(W), 2)) / 4) for seed in (12, 13))
OWN, GIVEN = lg.LinearRNN, network(TEACHER)


def size_of(rule):
    return jnp.sum(lg.expected_update(rule, OWN(A, W, B), GIVEN).W ** 3)


# A scalar of some of the inputs, the others held; and where it is taken.
SUBSETS = {
    "W": (lambda W: lg.expected_loss(OWN(A, W, B), GIVEN), W),
    "A": (lambda A: lg.expected_loss(OWN(A, W, B), GIVEN), A),
    "B": (lambda B: lg.expected_loss(OWN(A, W, B), GIVEN), B),
    "A and W": (lambda x: lg.expected_loss(OWN(x[0], x[1], B), GIVEN), (A, W)),
    "a gain": (lambda g: lg.expected_loss(OWN(A, g * W, B), GIVEN), jnp.array(0.9)),
    "masked W": (lambda W: lg.expected_loss(OWN(A, W * MASK, B), GIVEN), W),
    "low-rank factors": (lambda x: lg.expected_loss(OWN(A, x[0] @ x[1].T, B), GIVEN), (U, V)),
    "the teacher's W": (lambda x: lg.expected_loss(OWN(A, W, B), OWN(GIVEN.A, x, GIVEN.B)), GIVEN.W),
    "the teacher's A": (lambda x: lg.expected_loss(OWN(A, W, B), OWN(x, GIVEN.W, GIVEN.B)), GIVEN.A),
    "a decay": (lambda d: size_of(lg.RFLO(FEEDBACK, d)), jnp.array(0.4)),
    "decays of units": (lambda d: size_of(lg.RFLO(FEEDBACK, d)), jnp.asarray(GAMMA)),
    "a fixed feedback": (lambda R: size_of(lg.FeedbackAlignment(R)), jnp.asarray(FEEDBACK)),
    "W under e-prop": (lambda W: jnp.sum(lg.expected_update(lg.EProp(), OWN(A, W, B), GIVEN).W ** 2), W),
}  # fmt: skip
_FEW_SUBSETS = ("W", "a gain", "the teacher's W", "a decay")
subsets = pytest.mark.parametrize(
    ("function", "at"), [pytest.param(*case, id=id, marks=[] if id in _FEW_SUBSETS else pytest.mark.slow)
                         for id, case in SUBSETS.items()]
)  # fmt: skip


def tangent_at(at):
    rng = np.random.default_rng(14)
    return jax.tree.map(lambda x: jnp.asarray(rng.standard_normal(x.shape)), at)


@subsets
def test_any_subset_of_the_inputs(function, at):
    """Both modes against central differences."""
    tangent = tangent_at(at)
    expected = float(TestDerivatives.along(function, at, tangent))
    gradient = jax.jit(jax.grad(function))(at)
    forwards = jax.jit(lambda x, t: jax.jvp(function, (x,), (t,))[1])(at, tangent)
    np.testing.assert_allclose([_inner(gradient, tangent), forwards], expected, rtol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("id", ["W", "low-rank factors", "the teacher's W", "a decay", "W under e-prop"])
def test_second_derivatives_in_a_subset_of_the_inputs(id):
    """The same in every order of the modes, against central differences of the gradient."""
    function, at = SUBSETS[id]
    tangent = tangent_at(at)
    second = lambda x: jax.jvp(jax.grad(function), (x,), (tangent,))[1]  # noqa: E731
    back = lambda x: jax.grad(lambda y: jax.jvp(function, (y,), (tangent,))[1])(x)  # noqa: E731
    twice = lambda x: jax.grad(lambda y: _inner(jax.grad(function)(y), tangent))(x)  # noqa: E731
    expected = TestDerivatives.along(jax.jit(jax.grad(function)), at, tangent)
    for derivative in (second, back, twice):
        found, scale = jax.jit(derivative)(at), max(float(jnp.abs(x).max()) for x in jax.tree.leaves(expected))
        for one, other in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
            np.testing.assert_allclose(one, other, rtol=0, atol=1e-5 * scale)


@pytest.mark.slow
def test_a_stopped_input_counts_as_held():
    stopped = lambda x: lg.expected_loss(OWN(jax.lax.stop_gradient(x[0]), x[1], B), GIVEN) + jnp.sum(x[0])  # noqa: E731
    of_A, of_W = jax.grad(stopped)((A, W))
    np.testing.assert_array_equal(of_A, np.ones(A.shape))
    np.testing.assert_allclose(of_W, lg.expected_update(lg.BPTT(), network(STUDENT), GIVEN).W, rtol=1e-9)


@pytest.mark.slow
def test_through_a_partition():
    """As equinox users do it: some leaves of a network are parameters, the others are not."""
    student = network(STUDENT)
    chosen = eqx.tree_at(lambda s: s.W, jax.tree.map(lambda _: False, student), True)
    trained, held = eqx.partition(student, chosen)
    gradient = jax.grad(lambda x: lg.expected_loss(eqx.combine(x, held), GIVEN))(trained)
    assert gradient.A is None
    np.testing.assert_allclose(gradient.W, lg.expected_update(lg.BPTT(), student, GIVEN).W, rtol=1e-9)


def _inner(one, other):
    return sum(jnp.vdot(x, y) for x, y in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True))
