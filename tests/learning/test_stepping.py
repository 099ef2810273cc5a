"""The loop that integrates flows: against exact solutions, and at its ends."""

import diffrax
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from localgrad.learning.solvers.stabilized import RungeKuttaChebyshev
from localgrad.learning.solvers.stepping import Multiples, Path, integrate
from localgrad.outcomes import Outcome

SOLVERS = {
    "stabilized": RungeKuttaChebyshev,
    "explicit": diffrax.Tsit5,
    "implicit": lambda: diffrax.Kvaerno5(root_finder=diffrax.VeryChord(1e-8, 1e-10)),
}
RATES = np.array([1.0, 3.0, 0.0])
START = np.array([1.0, -2.0, 0.5])


def decay(y):
    """Of which `y exp(−rate · time)` is the solution."""
    return -RATES * y


def never(y):
    return y[0], jnp.array(int(Outcome.UNFINISHED))


def path(
    solver="stabilized", flow=decay, observe=never, *, controller=None, duration=2.0, max_steps=4000, at=(0.0, 2.0)
):
    controller = controller or diffrax.PIDController(1e-8, 1e-10, pcoeff=0.2, icoeff=0.4)
    first_step = None if isinstance(controller, Multiples) else jnp.array(1e-4)
    run = jax.jit(
        lambda y: integrate(
            flow,
            observe,
            y,
            SOLVERS[solver]() if isinstance(solver, str) else solver,
            controller,
            duration=jnp.array(duration),
            first_step=first_step,
            snapshot_times=jnp.array(at),
            max_steps=max_steps,
        )
    )
    return jax.tree.map(np.asarray, run(jnp.asarray(START)))


def exact(time) -> np.ndarray:
    return START * np.exp(-RATES * np.asarray(time)[..., None])


def recorded(found: Path) -> np.ndarray:
    return found.time[np.isfinite(found.time)]


@pytest.mark.parametrize("solver", SOLVERS)
def test_follows_the_exact_path(solver):
    """End, snapshots between steps, and what is observed after each; only the start is exact."""
    at = (0.0, 0.3, 1.0, 2.0)
    found = path(solver, at=at)
    assert_allclose(found.final, exact(2.0), atol=1e-6)
    assert_allclose(found.snapshots, exact(at), atol=1e-5)  # of an order less between steps
    assert_array_equal(found.snapshots[0], START)
    time = recorded(found)
    assert time[0] == 0
    assert time[-1] == 2
    assert np.all(np.diff(time) > 0)
    assert_allclose(found.values[: len(time)], exact(time)[:, 0], atol=1e-6)
    assert len(time) - 1 <= found.steps
    assert found.outcome == Outcome.UNFINISHED


def test_speed_is_that_of_the_last_step():
    """At the end `‖dy/dt‖`, of which the mean over a short last step is a little more."""
    found = path()
    slope = np.linalg.norm(RATES * exact(2.0))
    step = np.diff(recorded(found))[-1]
    assert slope < found.speed < slope * (1 + 3 * step)


def test_multiples_end_at_the_duration_and_do_not_drift():
    found = path(diffrax.Euler(), controller=Multiples(jnp.array(0.1)), duration=1.0, at=(0.0, 0.25))
    assert_array_equal(recorded(found), [*(0.1 * np.arange(10)), 1.0])
    assert_allclose(found.final, START * (1 - 0.1 * RATES) ** 10, rtol=1e-14)
    assert_allclose(found.snapshots[1], START * (1 - 0.1 * RATES) ** 2 * (1 - 0.05 * RATES), rtol=1e-12)
    assert found.steps == 10


def test_the_last_of_multiples_is_what_is_left():
    found = path(diffrax.Euler(), controller=Multiples(jnp.array(0.4)), duration=1.0, at=(0.0,))
    assert_allclose(recorded(found), [0, 0.4, 0.8, 1.0], rtol=1e-15)
    assert_allclose(found.final, START * (1 - 0.4 * RATES) ** 2 * (1 - 0.2 * RATES), rtol=1e-14)


def test_ends_where_an_outcome_is_seen():
    """After the first step that ends below a half, not before; later snapshots are left to the caller."""

    def observe(y):
        return y[0], jnp.where(y[0] < 0.5, int(Outcome.CONVERGED), int(Outcome.UNFINISHED))

    found = path(observe=observe, at=(0.0, 0.1, 1.9))
    time = recorded(found)
    assert found.outcome == Outcome.CONVERGED
    assert found.values[len(time) - 2] >= 0.5 > found.values[len(time) - 1]
    assert time[-1] < 1
    assert_array_equal(found.snapshots[2], START)


def test_an_outcome_at_the_start_is_the_only_step():
    found = path(observe=lambda y: (y[0], jnp.array(int(Outcome.DIVERGED))))
    assert_array_equal(recorded(found), [0])
    assert_array_equal(found.final, START)
    assert (found.steps, found.outcome) == (0, Outcome.DIVERGED)


def test_ends_when_the_steps_are_used_up():
    found = path(max_steps=5)
    assert found.steps == 5
    assert found.outcome == Outcome.UNFINISHED
    assert recorded(found)[-1] < 2


def test_a_flow_that_does_not_exist_moves_nothing():
    """A NaN of the flow is an infinite error: steps get shorter until they are used up, and the path stays finite."""
    found = path(flow=lambda y: jnp.where(y[0] > 0.5, -y, jnp.nan), max_steps=300)
    assert 0.5 < found.final[0] < 0.51
    assert found.steps == 300
    assert np.all(np.isfinite(found.final))
