r"""Integrates a flow in one compiled loop: steps, snapshots, and an end on demand.

    y ← step(y)   until   observe(y) is an outcome, time is up, or the steps are used up

Solvers and step size controllers are diffrax's or have its form (`stabilized.py`). The loop is our own, because a flow
costs its compilation at every place where it is written out: `diffrax.diffeqsolve` starts a solver, takes steps, and
observes the start, the steps and the end, each in a place of its own. Here the first step has length 0. It finds out
what is to be known at the start, so that steps and observations stand in one place (docs/decisions.md). Limits:
autonomous flows, forwards in time, solvers that keep nothing but what a step finds out.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import diffrax
import jax
import jax.numpy as jnp
from diffrax import RESULTS
from jaxtyping import Array

from localgrad.learning.solvers.trees import norm
from localgrad.outcomes import Outcome


class Path(NamedTuple):
    """A flow's path, of at most `max_steps` steps."""

    time: Array  # of each step's end, from the start on; infinite beyond the last
    values: Array  # what was observed there
    snapshots: Any  # at the given times; beyond the end, the start
    final: Any
    speed: Array  # mean norm of the slope over the last step
    outcome: Array  # of the end, as observed
    steps: Array  # tried, kept or not


class _State(NamedTuple):
    """A path under way: where it is, what its solver and controller know, what has been recorded."""

    time: Array
    until: Array  # where the next step is to end
    y: Any
    memory: Any
    control: Any
    outcome: Array
    speed: Array
    steps: Array
    points: Array  # of them recorded beyond the start
    times: Array
    values: Array
    due: Array  # the next snapshot
    snapshots: Any


def integrate(
    flow: Callable[[Any], Any],
    observe: Callable[[Any], tuple[Array, Array]],
    start: Any,
    solver: diffrax.AbstractSolver,
    controller: diffrax.AbstractStepSizeController,
    *,
    duration: Array,
    first_step: Array | None,
    snapshot_times: Array,
    max_steps: int,
) -> Path:
    """The path of `dy/dt = flow(y)` from `start`, an array or a tree of arrays.

    **Arguments:** `observe`: from `y` to a number that is recorded, and an `Outcome` as a number, which ends the path
    unless it is `UNFINISHED`; asked at the start and after every step; `first_step`: as the controller wants it;
    `snapshot_times`: increasing, shape `"snapshots"`.
    """
    term = diffrax.ODETerm(lambda _, y, __: flow(y))
    begin, nearly = jnp.zeros_like(duration), duration * (1 - 100 * jnp.finfo(duration.dtype).eps)
    order: Any = solver.error_order(term)
    first_end, control = controller.init(term, begin, duration, start, first_step, None, solver.func, order)

    def advance(s: _State) -> _State:
        looking = s.steps < 0  # a step of length 0
        y, error, dense, memory, result = solver.step(term, s.time, s.until, s.y, None, s.memory, made_jump=False)
        if error is not None:  # a NaN, or a step that could not be solved, is no small error
            solved = result == RESULTS.successful
            error = jax.tree.map(lambda e: jnp.where(solved & ~jnp.isnan(e), e, jnp.inf), error)
        keep, time, until, _, control, _ = controller.adapt_step_size(
            s.time, s.until, s.y, y, None, error, order, s.control
        )
        keep, length = jnp.asarray(keep), s.until - s.time
        moved = keep & ~looking
        until = jnp.where(looking, first_end, until)
        # To the end, not nearly so; and where a step to the end was too long, half of it.
        last = jnp.where(keep, duration, time + (duration - time) / 2)
        control, y = _where(looking, s.control, control), _where(moved, y, s.y)
        due, snapshots = _record(solver, dense, s, jnp.where(moved, time, -1), snapshot_times)
        value, outcome = observe(y)
        points = s.points + moved
        distance = norm(jax.tree.map(jnp.subtract, y, s.y))
        return _State(
            time=jnp.asarray(time),
            until=jnp.where(until > nearly, last, until),
            y=y,
            memory=_where(keep, memory, s.memory),
            control=control,
            outcome=outcome,
            speed=jnp.where(moved, distance / length, s.speed),
            steps=s.steps + 1,
            points=points,
            times=s.times.at[points].set(time),
            values=s.values.at[points].set(value),
            due=due,
            snapshots=snapshots,
        )

    def goes_on(s: _State) -> Array:
        return (s.outcome == Outcome.UNFINISHED) & (s.time < duration) & (s.steps < max_steps)

    unknown = jnp.full(max_steps + 1, jnp.inf, duration.dtype)
    first = _State(
        time=begin,
        until=begin,
        y=start,
        memory=_zeros_as_of(lambda y: solver.init(term, begin, duration, y, None), start),
        control=control,
        outcome=jnp.array(int(Outcome.UNFINISHED)),
        speed=jnp.array(jnp.inf, duration.dtype),
        steps=jnp.array(-1),
        points=jnp.array(0),
        times=unknown,
        values=unknown,
        due=jnp.sum(snapshot_times <= 0),
        snapshots=jax.tree.map(lambda x: jnp.broadcast_to(x, (*snapshot_times.shape, *x.shape)), start),
    )
    end = jax.lax.while_loop(goes_on, advance, first)
    return Path(end.times, end.values, end.snapshots, end.y, end.speed, end.outcome, end.steps)


def _record(solver: diffrax.AbstractSolver, dense: Any, s: _State, time: Array, at: Array) -> tuple[Array, Any]:
    """The snapshots that a step to `time` has passed, and the one that is due next."""
    passed = solver.interpolation_cls(t0=s.time, t1=s.until, **dense)

    def write(state: tuple[Array, Any]) -> tuple[Array, Any]:
        due, snapshots = state
        here = passed.evaluate(at[due])
        return due + 1, jax.tree.map(lambda all_, one: all_.at[due].set(one), snapshots, here)

    def is_due(state: tuple[Array, Any]) -> Array:
        due, _ = state
        return (due < len(at)) & (at[jnp.minimum(due, len(at) - 1)] <= time)

    return jax.lax.while_loop(is_due, write, (s.due, s.snapshots))


class Multiples(diffrax.AbstractStepSizeController[Array, None]):
    """Steps that end at multiples of a length; sums of it would drift."""

    length: Array

    def wrap(self, direction: Any) -> "Multiples":
        """Itself: time runs forwards."""
        return self

    def init(self, terms: Any, t0: Any, t1: Any, y0: Any, dt0: None, *_: Any) -> tuple[Array, Array]:
        """The end of the first step, and its number."""
        return self.length, jnp.array(1)

    def adapt_step_size(
        self, t0: Any, t1: Any, y0: Any, y1_candidate: Any, args: Any, y_error: Any, error_order: Any, state: Array
    ) -> tuple[bool, Any, Array, bool, Array, Any]:
        """The end of the next step; every step is kept."""
        return True, t1, self.length * (state + 1), False, state + 1, RESULTS.successful


def _zeros_as_of(init: Callable, start: Any) -> Any:
    """What `init` would return, with zeros for its numbers, so that the flow need not be compiled for it."""
    return jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), jax.eval_shape(init, start))


def _where(condition: Array, one: Any, other: Any) -> Any:
    return jax.tree.map(lambda a, b: jnp.where(condition, a, b), one, other)
