r"""Networks of the experiment on e-prop's rank, of many sizes in one shape, and their exact updates.

Units, outputs and inputs that a network lacks are silent: rows and columns of zeros. So one compiled program serves
random students with a given diagonal and the students of a learning curve.

Source: docs/theory.md, section 3.
"""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.linalg import block_diag
from jaxtyping import Array

from localgrad.learning.flow import LearningCurve, learn
from localgrad.models.linear import LinearRNN, random_network, spectral_radius
from localgrad.reproduction.networks.eprop_rank.law import certified_blocks, coarser_rates, diameter, modulus
from localgrad.rules.presets import EProp
from localgrad.rules.rule import Rule
from localgrad.updates.expected import expected_update
from localgrad.updates.stein import sum_first_lags

LAGS = 512
"""How many `C_j` are computed."""


class Sizes(NamedTuple):
    """The one shape."""

    hidden: int
    teacher_hidden: int
    outputs: int
    inputs: int


class Case(NamedTuple):
    """A student, a teacher and a feedback in that shape, and how many outputs and units are not silent."""

    student: tuple[Any, Any, Any]
    teacher: tuple[Any, Any, Any]
    feedback: Any
    outputs: int
    hidden: int

    @property
    def diagonal(self) -> np.ndarray:
        """`diag W` of the units that are not silent."""
        return np.diagonal(self.student[1])[: self.hidden]

    @property
    def R(self) -> np.ndarray:
        """The feedback to them."""
        return self.feedback[: self.outputs, : self.hidden]

    @property
    def radius(self) -> float:
        """`r = max(ρ(W), ρ(W*))`."""
        return max(spectral_radius(self.student[1]), spectral_radius(self.teacher[1]))

    @property
    def diameter(self) -> float:
        """`t`, how far apart `diag W` lies in the disc `|z| < 1/r`."""
        return diameter(self.diagonal, self.radius)


def random_case(sizes: Sizes, rng: np.random.Generator, d: np.ndarray, r: float, outputs: int) -> Case:
    """Gaussian matrices; `ρ(W*) = r`; `diag W = d` and the rest of `W` such that `ρ(W)` is about `r`, below 0.95."""
    n, m = sizes.hidden, sizes.teacher_hidden
    rest = rng.standard_normal((n, n)) / np.sqrt(n) * (r - abs(d).max() + 0.1)
    np.fill_diagonal(rest, 0)
    while spectral_radius(np.diag(d) + rest) > 0.95:
        rest *= 0.8
    W_star = rng.standard_normal((m, m))
    present = (np.arange(sizes.outputs) < outputs)[:, None]
    A, A_star, R = (present * rng.standard_normal((sizes.outputs, size)) / np.sqrt(size) for size in (n, m, n))
    B, B_star = (rng.standard_normal((size, sizes.inputs)) for size in (n, m))
    return Case((A, np.diag(d) + rest, B), (A_star, W_star * r / spectral_radius(W_star), B_star), R, outputs, n)


def distinct_case(sizes: Sizes, rng: np.random.Generator, distinct: int, outputs: int) -> Case:
    """A random network with `distinct` values on `diag W`, among -0.2, 0.2 and 0.6; at most 3."""
    return random_case(sizes, rng, np.resize([0.6, 0.2, -0.2][:distinct], sizes.hidden), 0.8, outputs)


def general_case(sizes: Sizes, rng: np.random.Generator) -> Case:
    """One with a diagonal uniform in a random interval: half-width 0.02 … 0.6, all of it within 0.95 r of 0."""
    r, outputs = rng.uniform(0.4, 0.9), int(rng.integers(1, sizes.outputs + 1))
    half = min(np.exp(rng.uniform(np.log(0.02), np.log(0.6))), 0.9 * r)
    centre = rng.uniform(-1, 1) * (0.95 * r - half)
    return random_case(sizes, rng, rng.uniform(centre - half, centre + half, sizes.hidden), r, outputs)


def learned_cases(sizes: Sizes, curve: LearningCurve, stride: int) -> list[Case]:
    """The networks that a batch of learning curves passes through: every `stride`-th snapshot, seed by seed."""
    teacher = _padded(sizes, curve.teacher.matrices, sizes.teacher_hidden)
    outputs, hidden, _ = curve.initial.sizes
    cases = []
    for seed, R in enumerate(np.asarray(curve.rule.feedback.fixed)):
        for k in range(0, len(curve.snapshot_times), stride):
            student = _padded(sizes, (x[seed, k] for x in curve.snapshots.matrices), sizes.hidden)
            cases.append(Case(student, teacher, _pad(R, sizes.outputs, sizes.hidden), outputs, hidden))
    return cases


def _padded(sizes: Sizes, matrices: Any, hidden: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    A, W, B = (np.asarray(x) for x in matrices)
    return _pad(A, sizes.outputs, hidden), _pad(W, hidden, hidden), _pad(B, hidden, sizes.inputs)


def _pad(matrix: np.ndarray, rows: int, columns: int) -> np.ndarray:
    return np.pad(matrix, ((0, rows - matrix.shape[0]), (0, columns - matrix.shape[1])))


def learning_runs(hidden: int, teacher_hidden: int, seeds: int, *, key: Any, **settings: Any) -> list[LearningCurve]:
    """Three batches of runs, one input and output: e-prop from an equal diagonal (0) and from a Gaussian one, and from
    the latter with the constant decays 0.2 and 0.5 in place of `diag W`. `settings` are those of `learn`.
    """
    keys, sizes = jax.random.split(key, 3), (1, hidden, 1)
    students = jax.vmap(lambda k: random_network(*sizes, key=k, scale=0.3))(jax.random.split(keys[0], seeds))
    equal = LinearRNN(students.A, students.W * (1 - jnp.eye(hidden)), students.B)
    teacher = random_network(1, teacher_hidden, 1, key=keys[1], spectral_radius=0.9)
    R = jax.random.normal(keys[2], (seeds, 1, hidden)) / np.sqrt(hidden)
    runs = ((EProp(R), equal), (EProp(R), students), (Rule(R, np.resize([0.2, 0.5], hidden)), students))
    return [learn(rule, student, teacher, **settings) for rule, student in runs]


def exact_updates(cases: list[Case]) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """`ΔW`, `ΔB`, the norms `‖C_j‖_F`, and how far `Σ_j D^j Rᵀ C_j` is from `ΔW`, relative to it; for each case."""
    stacked = jax.tree.map(lambda *x: np.stack(x), *(case[:3] for case in cases))
    dW, dB, norms, mismatch = (np.asarray(x) for x in _updates(*stacked))
    return dW, dB, norms, mismatch


@jax.jit
@partial(jax.vmap, in_axes=(0, 0, 0))
def _updates(student: Any, teacher: Any, R: Array) -> tuple[Array, Array, Array, Array]:
    """`ΔW`, `ΔB`, the norms `‖C_j‖` and how far `Σ_j D^j Rᵀ C_j` is from `ΔW`, relative to it."""
    (A, W, B), (A_star, W_star, B_star) = student, teacher
    update = expected_update(EProp(R), LinearRNN(*student), LinearRNN(*teacher))
    # C_j = 𝐀 𝐖^{j+1} Q in the error system of `expected.py`, here summed by powers as a second way to ΔW.
    whole, readout = block_diag(W, W_star), jnp.concatenate([A, -A_star], axis=1)
    both = jnp.concatenate([B, B_star]) @ B.mT
    states = whole @ sum_first_lags(lambda powers, Q: powers[0] @ Q @ powers[1], (whole, W.mT), both, 2 * LAGS)

    def lag(state: tuple[Array, Array, Array], _: None) -> tuple[tuple[Array, Array, Array], Array]:
        rows, powers, total = state
        C = rows @ states
        return (rows @ whole, powers * jnp.diagonal(W), total + powers[:, None] * (R.mT @ C)), jnp.linalg.norm(C)

    start = (readout, jnp.ones(len(W)), jnp.zeros_like(W))
    (_, _, total), norms = jax.lax.scan(lag, start, None, length=LAGS)
    return update.W, update.B, norms, jnp.linalg.norm(total - update.W) / jnp.linalg.norm(update.W)


def ranks_of(cases: list[Case], sigma: np.ndarray, norms: np.ndarray, tolerances: np.ndarray) -> dict[str, np.ndarray]:
    """Numerical ranks of updates, the theorem's bound on them and the law without a constant, `"cases tolerances"`."""
    certified, law = [], []
    for case, values, norm in zip(cases, sigma, norms, strict=True):
        blocks = certified_blocks(norm, case.R, case.diagonal, case.radius, tolerances * values[0])
        expected = 1 + np.ceil(-np.log(tolerances) / modulus(case.diameter))
        certified.append(np.minimum(case.outputs * blocks, case.hidden).astype(int))
        law.append(np.minimum(case.outputs * expected, case.hidden).astype(int))
    rank = np.stack([numerical_rank(sigma, tolerance) for tolerance in tolerances], axis=-1)
    return {"rank": rank, "certified": np.array(certified), "law": np.array(law)}


def rates_of(case: Case) -> np.ndarray:
    """`μ(t)`, and the rates of the two coarser laws."""
    return np.array([modulus(case.diameter), *coarser_rates(case.diagonal, case.radius)])


def relative(sigma: np.ndarray) -> np.ndarray:
    """Singular values over the largest; of no change at all, zeros."""
    return np.divide(sigma, sigma[..., :1], out=np.zeros_like(sigma), where=sigma[..., :1] > 0)


def numerical_rank(sigma: np.ndarray, tolerance: float) -> np.ndarray:
    """How many singular values exceed `tolerance` times the largest."""
    return np.sum(relative(sigma) > tolerance, axis=-1)
