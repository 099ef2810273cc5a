r"""RFLO's bound tried wherever it applies: rank of `W_K − W_0` and `B_K − B_0` ≤ number of outputs.

1, 2 and 3 outputs, aligned or not, expected updates (infinite horizon; five steps, both losses) and sampled ones, on 8
hidden units. One shape serves all, hence one compiled program an update: a network of fewer outputs is one of 3 with
rows of zeros in `A`, `A*` and `R`; the errors of these outputs are zero for ever, and so are their updates.

Source: the paper's proposition 3.1; docs/theory.md, section 9.
"""

import itertools
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

from localgrad.diagnostics.rank import singular_spectrum
from localgrad.learning.trainer import Trainer
from localgrad.models.aligned import Frames, Mode, align_matrix, aligned_network
from localgrad.models.linear import LinearRNN
from localgrad.rules.compiled import in_general_form
from localgrad.rules.presets import BPTT, RFLO
from localgrad.rules.rule import Rule
from localgrad.updates.expected import expected_update
from localgrad.updates.horizon import Loss

UPDATES: tuple[tuple[str, Any, Loss], ...] = (
    ("infinite", None, "final"), ("T = 5, final", 5, "final"), ("T = 5, sequence", 5, "sequence"),
    ("sampled", 5, "final"),
)  # fmt: skip


@dataclass(frozen=True)
class BoundParameters:
    """Sizes, RFLO's decay, and how many steps of which size; dimensionless."""

    outputs: tuple[int, ...] = (1, 2, 3)
    hidden: int = 8
    decay: float = 0.5
    num_steps: int = 6
    learning_rate: float = 0.05
    seed: int = 0


def bound_of_rank(p: BoundParameters) -> dict[str, Any]:
    """Rank of what RFLO (unaligned, aligned) and BPTT learn in a few steps, for every update and number of outputs."""
    dims, shape = ("outputs", "update"), (len(p.outputs), len(UPDATES))
    ranks = {name: np.zeros((2, *shape), dtype=int) for name in ("unaligned", "aligned", "full")}
    outside = np.zeros(shape)
    for row, o in enumerate(p.outputs):
        cases = {"unaligned": _unaligned(p, o), "aligned": _aligned(p, o), "full": _unaligned(p, o)}
        for (name, (student, teacher, R)), column in itertools.product(cases.items(), range(len(UPDATES))):
            rule = BPTT() if name == "full" else RFLO(R, p.decay)
            found = singular_spectrum(student, _after_steps(rule, student, teacher, column, p), feedback=R)
            ranks[name][:, row, column] = found.W.rank, found.B.rank
            if name != "full":
                outside[row, column] = max(outside[row, column], found.W.outside_feedback, found.B.outside_feedback)
    return {f"rank_{name}": (("change", *dims), value) for name, value in ranks.items()} | {
        "outside_feedback": (dims, outside)
    }


def _unaligned(p: BoundParameters, outputs: int) -> tuple[LinearRNN, LinearRNN, Any]:
    """Student, teacher and feedback with independent Gaussian weights, `ρ ≈ 0.5`."""
    rng, n, most = np.random.default_rng((p.seed, outputs)), p.hidden, max(p.outputs)
    shown = (np.arange(most) < outputs)[:, None]

    def network() -> LinearRNN:
        A, W, B = (rng.standard_normal(shape) / np.sqrt(n) for shape in ((most, n), (n, n), (n, most)))
        return LinearRNN(shown * A, 0.5 * W, B)

    return network(), network(), shown * rng.standard_normal((most, n)) / np.sqrt(n)


def _aligned(p: BoundParameters, outputs: int) -> tuple[LinearRNN, LinearRNN, Any]:
    """Student, teacher and feedback aligned with each other; modes beyond the outputs are not read out."""
    rng, n, most = np.random.default_rng((p.seed, outputs)), p.hidden, max(p.outputs)
    shown = np.arange(most) < outputs
    V = np.linalg.qr(rng.standard_normal((most, most)))[0]
    own, of_teacher = (Frames(np.eye(most), np.linalg.qr(rng.standard_normal((n, n)))[0], V) for _ in range(2))
    (a, b, w), (a_star, b_star, w_star) = rng.uniform(0.2, 0.8, (2, 3, most))
    return (
        aligned_network(Mode(shown * a, b, w), own),
        aligned_network(Mode(shown * a_star, b_star, w_star), of_teacher),
        align_matrix(shown * rng.uniform(0.2, 0.8, most), own),
    )


def _after_steps(rule: Rule, student: LinearRNN, teacher: LinearRNN, update: int, p: BoundParameters) -> LinearRNN:
    """The student after a few steps with the update `UPDATES[update]`."""
    rule = in_general_form(rule, *student.sizes[:2])  # one compiled program for both rules
    name, horizon, loss = UPDATES[update]
    for k in range(p.num_steps):
        if name == "sampled":
            trainer = Trainer(rule, teacher, learning_rate=p.learning_rate, batch_size=16, horizon=horizon, loss=loss)
            change, _ = trainer.update(jax.random.key(k), student)
        else:
            change = expected_update(rule, student, teacher, horizon=horizon, loss=loss)
        student = jax.tree.map(lambda x, d: x - p.learning_rate * d, student, change)
    return student
