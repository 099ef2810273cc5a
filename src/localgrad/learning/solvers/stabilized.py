r"""A stabilised explicit method for learning flows, which are stiff but only mildly so.

Near a solution the flow `dθ/dk = f(θ)` has real, negative eigenvalues that spread over many powers of ten: the fastest
grow like `(1 − ρ(W)²)⁻³`, the slowest tend to zero. An explicit method of fixed order needs `O(h σ)` evaluations of `f`
for a step `h` at spectral radius `σ`, an implicit one a Jacobian of `(n² + n (o + i))²` entries. A method of
Runge–Kutta–Chebyshev type needs `s = O(√(h σ))` evaluations and no Jacobian: its stability polynomial is

    R(z) = a_s + b_s T_s(w₀ + w₁ z),   w₀ = 1 + ε/s²,   |R| ≤ 1 on [−β s², 0],

the Chebyshev polynomial `T_s` stretched along the negative axis, evaluated by its three-term recurrence. The damping
`ε` trades reach `β` along the axis for width about it. The method has order 2. `σ` is followed by one step of the power
method a time step. Limits: autonomous flows; eigenvalues far from the negative axis cost more steps, not accuracy,
since the error is controlled.

Source: Sommeijer, Shampine & Verwer 1998, "RKC: an explicit solver for parabolic PDEs".
"""

from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple

import diffrax
import jax
import jax.numpy as jnp
from diffrax import RESULTS
from jaxtyping import Array

from localgrad.learning.solvers.trees import norm

# Damping of the stability polynomial. RKC takes 2/13, which reaches furthest along the axis (0.65 s²) but leaves it no
# width; local rules have complex eigenvalues. With 10 the reach is 0.35 s², and at 160° from the positive axis it is
# still 44 for 20 stages, where RKC has 5.
_DAMPING = 10.0
_REACH = 0.34
# Safety factor on the estimated spectral radius.
_SAFETY = 1.2
# More stages than this would be a step far too long for its accuracy; the step is rejected and shortened instead.
_MAX_STAGES = 500


class _Memory(NamedTuple):
    """What a step hands to the next: the slope, and the fastest direction with its rate."""

    slope: Any
    direction: Any
    rate: Array  # per unit of time: the flow's spectral radius


class _Chebyshev(NamedTuple):
    """`T_j`, `T_j′` and `T_j″` at `w₀`, for `j − 1` and `j`."""

    before: Any
    now: Any

    def advance(self, w0: Array) -> "_Chebyshev":
        (T0, dT0, ddT0), (T, dT, ddT) = self
        return _Chebyshev((T, dT, ddT), (2 * w0 * T - T0, 2 * (T + w0 * dT) - dT0, 2 * (2 * dT + w0 * ddT) - ddT0))


class _Recurrence(NamedTuple):
    """The stages `j − 1` and `j`, with the coefficients `b` of both and `a` of the latter."""

    chebyshev: _Chebyshev
    b_before: Array
    b: Array
    a: Array
    stage_before: Any
    stage: Any


class RungeKuttaChebyshev(diffrax.AbstractAdaptiveSolver):
    """The second-order Runge–Kutta–Chebyshev method as a solver of diffrax, for autonomous flows.

    The number of stages follows from the step and the flow's spectral radius, at least 2.

    Source: Sommeijer, Shampine & Verwer 1998.
    """

    term_structure: ClassVar = diffrax.ODETerm
    interpolation_cls: ClassVar[Callable] = diffrax.ThirdOrderHermitePolynomialInterpolation

    def order(self, terms: Any) -> int:
        """Two."""
        return 2

    def error_order(self, terms: Any) -> int:
        """The estimated error of a step falls as the third power of its length."""
        return 3

    def init(self, terms: Any, t0: Any, t1: Any, y0: Any, args: Any) -> _Memory:
        """The slope at the start; the first step is tiny, so that the spectral radius may still be found on the way."""
        return _look_around(lambda y: terms.vf(t0, y, args), y0, _Memory(y0, y0, jnp.zeros_like(norm(y0))))

    def func(self, terms: Any, t0: Any, y0: Any, args: Any) -> Any:
        """The flow itself."""
        return terms.vf(t0, y0, args)

    def step(
        self, terms: Any, t0: Any, t1: Any, y0: Any, args: Any, solver_state: _Memory, made_jump: Any
    ) -> tuple[Any, Any, Any, _Memory, Any]:
        """One step with its error estimate `⅘ (y₀ − y₁) + ⅖ h (f₀ + f₁)`."""
        flow = lambda y: terms.vf(t0, y, args)  # noqa: E731
        h, start = t1 - t0, solver_state.slope
        y1 = _chebyshev_stages(flow, y0, start, h, _num_stages(h * solver_state.rate))
        memory = _look_around(flow, y1, solver_state)
        end = memory.slope
        error = _combine((0.8, y0), (-0.8, y1), (0.4 * h, start), (0.4 * h, end))
        dense = {"y0": y0, "y1": y1, "k0": _combine((h, start)), "k1": _combine((h, end))}
        return y1, error, dense, memory, RESULTS.successful


def _num_stages(stiffness: Array) -> Array:
    """As few stages as keep the polynomial stable on `[−stiffness, 0]`."""
    return jnp.clip(1 + jnp.floor(jnp.sqrt(1 + _SAFETY * stiffness / _REACH)), 2, _MAX_STAGES).astype(int)


def _chebyshev_stages(flow: Callable, y0: Any, start: Any, h: Array, num_stages: Array) -> Any:
    """The last of the internal stages; names as in the paper, with `w₀`, `w₁`, `a_j`, `b_j`, `μ_j`, `ν_j`."""
    w0 = 1 + _DAMPING / num_stages**2
    one, zero = jnp.ones_like(w0), jnp.zeros_like(w0)
    first = _Chebyshev((one, zero, zero), (w0, one, zero))
    _, dT, ddT = jax.lax.fori_loop(1, num_stages, lambda _, T: T.advance(w0), first).now
    w1 = dT / ddT
    second = first.advance(w0)
    b2 = second.now[2] / second.now[1] ** 2  # b_0 = b_1 = b_2

    def next_stage(_: Array, r: _Recurrence) -> _Recurrence:
        chebyshev = r.chebyshev.advance(w0)
        T, dT, ddT = chebyshev.now
        b = ddT / dT**2
        mu, nu, mu_slope = 2 * w0 * b / r.b, -b / r.b_before, 2 * w1 * b / r.b
        stage = _combine(
            (1 - mu - nu, y0),
            (mu, r.stage),
            (nu, r.stage_before),
            (mu_slope * h, flow(r.stage)),
            (-r.a * mu_slope * h, start),
        )
        return _Recurrence(chebyshev, r.b, b, 1 - b * T, r.stage, stage)

    stage_1 = _combine((1.0, y0), (b2 * w1 * h, start))
    recurrence = _Recurrence(first, b2, b2, 1 - b2 * w0, y0, stage_1)
    return jax.lax.fori_loop(2, num_stages + 1, next_stage, recurrence).stage


def _look_around(flow: Callable, y: Any, memory: _Memory) -> _Memory:
    """The slope at `y`, and one step of the power method on the flow's Jacobian there, by a difference quotient."""
    scale = jnp.maximum(norm(y), 1e-3)  # a silent network has no scale of its own
    shift = scale * jnp.sqrt(jnp.finfo(scale.dtype).eps)
    direction = _normalised(memory.direction)  # where none is known, all the same
    both = jax.tree.map(lambda x, v: jnp.stack([x, x + shift * v]), y, direction)
    slopes = jax.vmap(flow)(both)
    slope, image = (jax.tree.map(select, slopes) for select in (lambda f: f[0], lambda f: (f[1] - f[0]) / shift))
    rate = norm(image)
    # Next to the border of stability the shifted flow may not exist; the old estimate then serves on.
    usable = jnp.isfinite(rate) & (rate > 0)
    direction = jax.tree.map(lambda new, old: jnp.where(usable, new, old), image, direction)
    return _Memory(slope, direction, jnp.where(usable, rate, memory.rate))


def _combine(*terms: tuple[Any, Any]) -> Any:
    """`Σ coefficient · tree`."""
    coefficients, trees = zip(*terms, strict=True)
    return jax.tree.map(lambda *leaves: sum(c * x for c, x in zip(coefficients, leaves, strict=True)), *trees)


def _normalised(tree: Any) -> Any:
    size = norm(tree)
    return jax.tree.map(lambda x: jnp.where(size > 0, x / jnp.where(size > 0, size, 1), 1 / jnp.sqrt(x.size)), tree)
