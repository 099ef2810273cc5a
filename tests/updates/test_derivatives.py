"""Derivatives through the infinite-horizon solve, forwards and backwards, against central differences."""

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


def _inner(one, other):
    return sum(jnp.vdot(x, y) for x, y in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True))
