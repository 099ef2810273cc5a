r"""Linear tasks: what a linear system makes a student hear, and what it wants to hear from it.

A task has a state `s`, driven by unit white noise `ξ` and, in a closed loop, by the student's output `y`:

    s_{t+1} = D s_t + N ξ_t + K y_t,   input x_t = X s_t + X₀ ξ_t,   target y*_t = Y s_t,

and it may put noise `N_h ξ_t` on the student's state. A teacher that hears the same white noise as the student is the
case `D = W*, N = B*, Y = A*` with `x = ξ`; coloured inputs, delay lines, integrators, oscillators and plants that hear
the output are others (`builders.py`). What is absent is `None`, so the structure of a task can be asked also where its
numbers are not known yet, inside `jax.jit`.

Limits: linear, Gaussian, stationary. Errors are those of the output, `ε = y − y*`.

Source: docs/theory.md, section 10.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import equinox as eqx
import jax
import numpy as np
from jaxtyping import Array, Float

from localgrad.checks import check_count, check_kind, in_our_arithmetic, warn_if_cut
from localgrad.models.diagonal import DiagonalSSM, real_blocks
from localgrad.models.linear import LinearRNN, as_float_array
from localgrad.tasks.task_matrices import LETTERS, as_matrix, check_noise, check_shapes, without_zeros


class LinearTask(eqx.Module):
    r"""A linear system that makes inputs and targets: `s' = D s + N ξ + K y`, `x = X s + X₀ ξ`, `y* = Y s`.

    **Arguments:** all dimensionless; `state` is the number of the task's own variables, `noise` that of its independent
    unit white noises `ξ`.

    - `dynamics`: `D`, shape `"state state"`.
    - `noise`: `N`, shape `"state noise"`.
    - `to_input`: `X`, shape `"input state"`; `None` if the state is not part of the input.
    - `noise_to_input`: `X₀`, shape `"input noise"`; `None` if the noise is not part of the input. With neither, the
        input is the noise itself, `x = ξ`.
    - `to_target`: `Y`, shape `"output state"`.
    - `from_output`: `K`, shape `"state output"`: how the student's output moves the state; `None` in an open loop.
    - `student_noise`: `N_h`, shape `"hidden noise"`: noise on the state of a student of so many hidden units, or
        `None`.

    Matrices known to be 0 throughout are kept as `None`, and so are `X = 0, X₀ = I`.

    **Raises:** `ValueError` for what is no matrix of real numbers, for shapes that do not fit together, and for a task
    without noise, in which nothing ever happens.

    Source: docs/theory.md, section 10.

    >>> task = LinearTask([[0.5]], [[1.0]], None, None, [[2.0]])  # the teacher LinearRNN([[2.0]], [[0.5]], [[1.0]])
    >>> task.sizes, task.is_white_teacher, task.is_closed_loop
    ((1, 1, 1), True, False)
    """

    dynamics: Float[Array, "state state"]
    noise: Float[Array, "state noise"]
    to_input: Float[Array, "input state"] | None
    noise_to_input: Float[Array, "input noise"] | None
    to_target: Float[Array, "output state"]
    from_output: Float[Array, "state output"] | None
    student_noise: Float[Array, "hidden noise"] | None

    def __init__(
        self,
        dynamics: Any,
        noise: Any,
        to_input: Any,
        noise_to_input: Any,
        to_target: Any,
        from_output: Any = None,
        student_noise: Any = None,
    ):
        given = {
            "dynamics": dynamics, "noise": noise, "to_input": to_input, "noise_to_input": noise_to_input,
            "to_target": to_target, "from_output": from_output, "student_noise": student_noise,
        }  # fmt: skip
        for name in ("dynamics", "noise", "to_target"):
            if given[name] is None:
                raise ValueError(f"{name} ({LETTERS[name]}) of the task is None, but every task has one; give a matrix")
        warn_if_cut("a matrix of the task", *given.values())
        found = {name: None if x is None else as_matrix(x, name) for name, x in given.items()}
        check_shapes({name: x.shape for name, x in found.items() if x is not None})
        check_noise(found)
        for name, x in without_zeros(found).items():
            setattr(self, name, x)

    def __reduce__(self) -> Any:
        """Pickled as NumPy's arrays, as a `LinearRNN` is."""
        if not all(x is None or isinstance(x, jax.Array | np.ndarray) for x in self._matrices.values()):
            return super().__reduce__()
        return LinearTask, tuple(None if x is None else np.asarray(x) for x in self._matrices.values())

    @classmethod
    def of_teacher(cls, teacher: LinearRNN) -> LinearTask:
        """The task of a teacher that hears the student's white noise; its arrays are taken as they are."""
        return jax.tree.unflatten(_structure_of_teachers(), (teacher.W, teacher.B, teacher.A))

    @property
    def sizes(self) -> tuple[int, int, int]:
        """`(output, state, input)`."""
        output, state = self.to_target.shape[-2:]
        inputs = next((x.shape[-2] for x in (self.to_input, self.noise_to_input) if x is not None), self.num_noises)
        return output, state, inputs

    @property
    def num_noises(self) -> int:
        """How many independent white noises drive it."""
        return self.noise.shape[-1]

    @property
    def hears_noise(self) -> bool:
        """Whether the input is the noise itself, `x = ξ`."""
        return self.to_input is None and self.noise_to_input is None

    @property
    def is_closed_loop(self) -> bool:
        """Whether the student's output moves the task's state."""
        return self.from_output is not None

    @property
    def effect(self) -> Float[Array, "state output"]:
        """`K`, what an output does to the state; `ValueError` in an open loop."""
        if self.from_output is None:
            raise ValueError("in an open loop the output has no effect on the task; give it a from_output")
        return self.from_output

    @property
    def is_white_teacher(self) -> bool:
        """Whether it is a teacher that hears the same white noise as the student, and no more."""
        return self.hears_noise and not self.is_closed_loop and self.student_noise is None

    @property
    def teacher(self) -> LinearRNN:
        """The teacher `(Y, D, N)`; `ValueError` where the task is more than a teacher that hears white noise."""
        if not self.is_white_teacher:
            raise ValueError(
                "this task is no teacher that hears the student's white noise, so it has no A, W and B; "
                "ask for its dynamics, noise and to_target"
            )
        return jax.tree.unflatten(_structure_of_networks(), (self.to_target, self.dynamics, self.noise))

    def heard(self, s: Float[Array, "... state"], noise: Float[Array, "... noise"]) -> Float[Array, "... input"]:
        """The input `x = X s + X₀ ξ` at a state and noise, each a row."""
        if self.hears_noise:
            return noise
        parts = [row @ X.mT for row, X in ((s, self.to_input), (noise, self.noise_to_input)) if X is not None]
        return sum(parts[1:], start=parts[0])

    def moved(
        self, s: Float[Array, "... state"], noise: Float[Array, "... noise"], y: Float[Array, "... output"]
    ) -> Float[Array, "... state"]:
        """The next state `D s + N ξ + K y`, after a student's output `y`; all rows."""
        own = s @ self.dynamics.mT + noise @ self.noise.mT
        return own if self.from_output is None else own + y @ self.from_output.mT

    @in_our_arithmetic
    def with_student_noise(self, deviation: Any, hidden: int) -> LinearTask:
        """The same task with independent white noise on every unit of a student, of this standard deviation.

        **Arguments:** `deviation`: a number, or one a unit; `hidden`: the student's hidden units.
        """
        check_count("hidden", hidden, most=2**15)
        deviations = np.asarray(as_float_array(deviation, "deviation"))
        if deviations.ndim > 1 or deviations.size not in (1, hidden):
            raise ValueError(
                f"deviation has shape {deviations.shape}; give one number, or one for each unit of {hidden}"
            )
        own = np.eye(hidden) * deviations

        def wider(x: Any, columns: Any) -> Any:
            return None if x is None else np.concatenate([np.asarray(x), columns], axis=1)

        rows = {name: x.shape[0] for name, x in self._matrices.items() if x is not None}
        into = np.eye(self.num_noises) if self.hears_noise else self.noise_to_input
        before = np.zeros((hidden, self.num_noises)) if self.student_noise is None else np.asarray(self.student_noise)
        return LinearTask(
            self.dynamics,
            wider(self.noise, np.zeros((rows["noise"], hidden))),
            self.to_input,
            wider(into, np.zeros((self.sizes[2], hidden))),
            self.to_target,
            self.from_output,
            wider(before, own),
        )

    @in_our_arithmetic
    def with_error_noise(self, deviation: Any) -> LinearTask:
        """The same task whose errors are heard through independent white noise, of this standard deviation.

        Noise in an error and noise in its target are the same to every rule, so it is put on the target: a state that
        lasts one step. It leaves the mean of every update as it is; losses grow by half the sum of its variances.

        **Arguments:** `deviation`: a number of at least 0, or one an output.
        """
        output, state, inputs = self.sizes
        deviations = np.asarray(as_float_array(deviation, "deviation"))
        if deviations.ndim > 1 or deviations.size not in (1, output):
            raise ValueError(
                f"deviation has shape {deviations.shape}; give one number, or one for each output of {output}"
            )
        if not np.all((deviations >= 0) & np.isfinite(deviations)):
            raise ValueError(f"deviation must be finite and at least 0, got {np.min(deviations):g}")

        def below(x: Any, rows: int) -> Any:
            return None if x is None else np.concatenate([np.asarray(x), np.zeros((rows, x.shape[1]))])

        def beside(x: Any, columns: int) -> Any:
            return None if x is None else np.concatenate([np.asarray(x), np.zeros((x.shape[0], columns))], axis=1)

        noise = below(beside(self.noise, output), output)
        noise[state:, self.num_noises :] = np.eye(output)
        target = beside(self.to_target, output)
        target[:, state:] = np.eye(output) * deviations
        return LinearTask(
            below(beside(self.dynamics, output), output),
            noise,
            beside(self.to_input, output),
            beside(np.eye(inputs) if self.hears_noise else self.noise_to_input, output),
            target,
            below(self.from_output, output),
            beside(self.student_noise, output),
        )

    @property
    def lettered(self) -> dict[str, Array]:
        """Its matrices by the letters of the theory; those of a teacher as `A`, `W` and `B`."""
        letters = {"to_target": "A", "dynamics": "W", "noise": "B"} if self.is_white_teacher else LETTERS
        found = ((letter, getattr(self, name)) for name, letter in letters.items())
        return {letter: x for letter, x in found if x is not None}

    def named_arrays(self) -> dict[str, Any]:
        """What files hold of it: a teacher as `teacher.A`, any other task by the letters of the theory, `task.D`."""
        who = "teacher" if self.is_white_teacher else "task"
        return {f"{who}.{letter}": np.asarray(x) for letter, x in self.lettered.items()}

    @property
    def _matrices(self) -> dict[str, Array | None]:
        return {name: getattr(self, name) for name in LinearTask.__dataclass_fields__}

    def __repr__(self) -> str:
        if self.dynamics is None or not hasattr(self.dynamics, "shape"):  # a skeleton of JAX's
            return f"LinearTask({self._matrices})"
        output, state, inputs = self.sizes
        loop = "closed" if self.is_closed_loop else "open"
        return f"LinearTask({output} outputs, {state} state variables, {inputs} inputs, {loop} loop)"


def as_task(value: Any) -> LinearTask:
    """The task that an argument names: itself, or that of a teacher; `ValueError` with the remedy for anything else."""
    if isinstance(value, LinearTask):
        return value
    if isinstance(value, LinearRNN | DiagonalSSM):
        check_kind("teacher", value, type(value))
        return LinearTask.of_teacher(value if isinstance(value, LinearRNN) else real_blocks(value))
    raise ValueError(
        f"the teacher is a {type(value).__name__}, not a LinearRNN or a LinearTask; the order is rule, student, task"
    )


@cache
def _structure_of_teachers() -> Any:
    """The pytree of a task with three matrices only, in the order `D, N, Y`."""
    return jax.tree.structure(LinearTask([[0.0]], [[1.0]], None, None, [[1.0]]))


@cache
def _structure_of_networks() -> Any:
    """The pytree of a network, in the order `A, W, B`."""
    return jax.tree.structure(LinearRNN([[1.0]], [[0.0]], [[1.0]]))
