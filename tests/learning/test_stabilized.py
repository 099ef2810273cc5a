"""The stabilised method: its order, its stability polynomial, and what it costs on stiff problems.

`polynomial` is the method's formula from its paper, in NumPy; the library evaluates it by other recurrences.
"""

import diffrax
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.integrate import solve_ivp

from localgrad.learning.solvers.stabilized import _REACH, _SAFETY, RungeKuttaChebyshev, _chebyshev_stages, _num_stages

DAMPING = 10.0


def polynomial(num_stages: int, z: np.ndarray) -> np.ndarray:
    """`a + b T_s(w₀ + w₁ z)`, with `T_s` as a Chebyshev series and its derivatives as NumPy takes them."""
    T = np.polynomial.chebyshev.Chebyshev.basis(num_stages)
    w0 = 1 + DAMPING / num_stages**2
    slope, curvature = (T.deriv(k)(w0) for k in (1, 2))
    b = curvature / slope**2
    return 1 - b * T(w0) + b * T(w0 + slope / curvature * z)


class TestStabilityPolynomial:
    @pytest.mark.parametrize("num_stages", [2, 3, 4, 7, 20, 60])
    def test_the_stages_evaluate_it(self, num_stages):
        """Of `dy/dt = λ y` one step of length 1 gives `R(λ)`; with `λ` a grid, all at once."""
        z = np.linspace(-_REACH * num_stages**2, 0, 101)
        one = np.ones_like(z)
        values = _chebyshev_stages(lambda y: z * y, one, z * one, jnp.array(1.0), jnp.array(num_stages))
        # s steps of a recurrence whose coefficients are of order 1.
        np.testing.assert_allclose(values, polynomial(num_stages, z), atol=1e-14 * num_stages**2)

    def test_is_of_second_order(self):
        """`R(z) = 1 + z + z²/2 + O(z³)` for any number of stages."""
        for num_stages in range(2, 61):
            z = np.array([-1e-3, -1e-2])
            rest = np.abs(polynomial(num_stages, z) - (1 + z + z**2 / 2))
            assert np.all(rest <= np.abs(z) ** 3 / 6)

    def test_enough_stages_are_taken_on_the_axis(self):
        """The safety margin included, `|R| ≤ 1` for every number of stages from 2 to 60, and inside it damped."""
        taken = set()
        for stiffness in np.linspace(0.01, np.sqrt(0.98 * _REACH * 60**2 / _SAFETY), 300) ** 2:
            num_stages = int(_num_stages(jnp.array(stiffness)))
            taken.add(num_stages)
            values = np.abs(polynomial(num_stages, np.linspace(-_SAFETY * stiffness, 0, 4001)[:-1]))
            assert values.max() < 1
        assert taken == set(range(2, 61))

    def test_no_more_stages_are_taken_than_needed(self):
        """A tenth fewer would be unstable, from where a tenth is a stage."""
        for stiffness in (100.0, 300.0, 1000.0):
            fewer = int(0.9 * int(_num_stages(jnp.array(_SAFETY * stiffness))))
            assert np.abs(polynomial(fewer, np.linspace(-(_SAFETY**2) * stiffness, 0, 4001))).max() > 1

    def test_has_width_about_the_axis(self):
        """At 160° 20 stages reach 44, where the least damping of the method's paper reaches 5."""
        z = 44 * np.linspace(0, 1, 1001)[1:] * np.exp(1j * np.deg2rad(160))
        assert np.abs(polynomial(20, z)).max() < 1


def harmonic_tree(y: dict) -> dict:
    """A linear flow on a tree: a damped rotation of `turning`, and `fading` driven by it."""
    turning, (fading,) = y["turning"], y["rest"]
    spin = jnp.array([[-0.5, 3.0], [-3.0, -0.5]])
    return {"turning": spin @ turning, "rest": (-2 * fading + turning.sum(),)}


HARMONIC_START = {"turning": np.array([1.0, 0.5]), "rest": (np.array(0.25),)}


def van_der_pol(y: jax.Array) -> jax.Array:
    return jnp.stack([y[1], (1 - y[0] ** 2) * y[1] - y[0]])


def after(flow, start, duration: float, num_steps: int):
    """The state after equal steps, by the solver itself."""
    solver, term, h = RungeKuttaChebyshev(), diffrax.ODETerm(lambda t, y, args: flow(y)), duration / num_steps

    def step(k, state):
        y, memory = state
        y, _, _, memory, _ = solver.step(term, k * h, (k + 1) * h, y, None, memory, False)
        return y, memory

    start = jax.tree.map(jnp.asarray, start)
    memory = solver.init(term, 0.0, h, start, None)
    return jax.jit(lambda state: jax.lax.fori_loop(0, num_steps, step, state))((start, memory))[0]


def reference(flow, start, duration: float) -> np.ndarray:
    flat, restore = jax.flatten_util.ravel_pytree(start)
    compiled = jax.jit(lambda y: jax.flatten_util.ravel_pytree(flow(restore(y)))[0])
    solution = solve_ivp(lambda _, y: compiled(y), (0, duration), flat, method="DOP853", rtol=1e-12, atol=1e-13)
    return solution.y[:, -1]


@pytest.mark.parametrize(
    ("flow", "start"),
    [
        pytest.param(harmonic_tree, HARMONIC_START, id="linear", marks=pytest.mark.slow),
        pytest.param(van_der_pol, np.array([2.0, 0.5]), id="curved"),
    ],
)
def test_error_falls_with_the_square_of_the_step(flow, start):
    exact = reference(flow, start, 2.0)
    errors = [
        np.linalg.norm(jax.flatten_util.ravel_pytree(after(flow, start, 2.0, n))[0] - exact) for n in (64, 128, 256)
    ]
    orders = np.log2(np.array(errors[:-1]) / errors[1:])
    np.testing.assert_allclose(orders, 2, atol=0.15)
    assert errors[-1] < 1e-3


def solve(flow, start, duration: float, rtol: float, solver=None):
    return diffrax.diffeqsolve(
        diffrax.ODETerm(lambda t, y, args: flow(y)),
        RungeKuttaChebyshev() if solver is None else solver,
        0.0,
        duration,
        1e-6,
        start,
        stepsize_controller=diffrax.PIDController(rtol=rtol, atol=1e-2 * rtol, pcoeff=0.2, icoeff=0.4),
        max_steps=20_000,
    )


@pytest.mark.slow
def test_stiff_problems_take_few_evaluations():
    """Rates from 1 to 1e5: an explicit method of order 5 needs six evaluations for each 3.3 / 1e5 units of time."""
    rates = jnp.geomspace(1.0, 1e5, 40)
    count = []

    def flow(y):
        jax.debug.callback(lambda _: count.append(1), y[0])
        return -rates * (y - 1) - 0.5 * (y - 1) ** 3

    solution = solve(flow, jnp.zeros(40), 5.0, 1e-4)
    jax.effects_barrier()
    slow = np.exp(-5.0) / np.sqrt(1 + 0.5 * (1 - np.exp(-10.0)))  # Bernoulli's equation for the rate 1
    np.testing.assert_allclose(np.asarray(solution.ys[0])[0], 1 - slow, atol=1e-4)
    np.testing.assert_allclose(solution.ys[0][1:], 1, atol=2e-2)
    assert len(count) < 1e5 * 5 / 3.3 * 6 / 50


@pytest.mark.slow
def test_complex_eigenvalues_cost_steps_but_not_accuracy():
    """Decays by 1, turning 20 times as fast: 93° from the positive axis, where the polynomial is hardly stable."""
    A = jnp.array([[-1.0, 20.0], [-20.0, -1.0]])
    solution = solve(lambda y: A @ y, jnp.array([1.0, 0.0]), 2.0, 1e-5)
    exact = np.exp(-2.0) * np.array([np.cos(40.0), -np.sin(40.0)])
    # 6.4 turns' worth of local errors of 1e-5 each step, a few hundred of them.
    np.testing.assert_allclose(solution.ys[0], exact, atol=2e-3)


def one_step(y):
    """A step of 0.1 of `dy/dt = −y`, with its error and what it hands on."""
    solver, term, times = RungeKuttaChebyshev(), diffrax.ODETerm(lambda t, y, args: -y), jnp.array([0.0, 0.1], y.dtype)
    memory = solver.init(term, *times, y, None)
    y, error, _, memory, _ = solver.step(term, *times, y, None, memory, False)
    return y, error, memory


def test_single_precision_stays_single():
    y, error, memory = jax.jit(one_step)(jnp.ones(3, jnp.float32))
    assert {x.dtype for x in jax.tree.leaves((y, error, memory))} == {np.dtype(np.float32)}
    np.testing.assert_allclose(y, np.exp(-0.1), atol=2e-4)


def test_a_flow_at_rest_stays_there():
    y, error, memory = jax.jit(one_step)(jnp.zeros(3))
    np.testing.assert_array_equal(np.r_[y, error], 0)
    np.testing.assert_allclose(memory.rate, 1, rtol=1e-6)
