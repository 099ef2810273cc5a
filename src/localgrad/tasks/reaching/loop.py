r"""A closed loop of a network of cells and a plant.

    x_t = sense(p_{t−1}),   y_t = network(x_1 … x_t),   p_t = move(p_{t−1}, y_t),   loss = mean over t of cost(p_t, y_t)

A learning rule needs the error of the output, `ε_t = ∂ loss / ∂ y_t`. How much of it a learner can know is `credit`,
the paths from a command to later costs that are followed:

    "step"     only the cost of the very step:   ∂ cost_t / ∂ y_t with p_{t−1} fixed
    "plant"    also later costs, through the plant's own dynamics p_t → p_{t+1} → …
    "loop"     also through what the network senses of it and does about it: the whole derivative

A batch then holds what the network has heard, and as targets `y − ε`, so that `lg.network_update` under any rule goes
from these errors to the weights. With `"loop"` BPTT's update is the gradient of the closed loop: with `Y(θ, X)` the
network's outputs on given inputs and `X = P(Y)`, both `dL/dθ` and `ε Y_θ` are `L_Y (1 − Y_X P_Y)⁻¹ Y_θ`.

Limits: `sense`, `move` and `cost` are differentiable functions of one trial in `jax.numpy`; all trials have one length.

Source: docs/theory.md, sections 10 and 12.
"""

from __future__ import annotations

import abc
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, PRNGKeyArray

from localgrad.cells.running import at_rest, network_step
from localgrad.cells.stack import Network
from localgrad.checks import check_count, check_kind, in_our_arithmetic
from localgrad.models.arrays import in_precision, precision_of
from localgrad.tasks.sequences import Batch

CREDITS = ("step", "plant", "loop")


class LoopTask(eqx.Module):
    """A task in a closed loop; subclass it with its sizes, `length`, `credit`, `start`, `sense`, `move` and `cost`.

    **Fields:** `num_inputs`, `num_outputs`: what the network hears, and its commands; `length`: steps of a trial;
    `credit`: `"step"`, `"plant"` or `"loop"`, the paths from a command to later costs of which errors know.

    Source: docs/theory.md, section 12.

    >>> import jax, jax.numpy as jnp, localgrad as lg
    >>> class Hold(LoopTask):
    ...     num_inputs: int = 1
    ...     num_outputs: int = 1
    ...     length: int = 10
    ...     credit: str = "plant"
    ...     def start(self, key):
    ...         return jax.random.normal(key, (1,))
    ...     def sense(self, state):
    ...         return state
    ...     def move(self, state, command):
    ...         return 0.9 * state + command
    ...     def cost(self, state, command):
    ...         return (state**2).sum() / 2
    >>> network = lg.Network(lg.cells.LeakyRate([[0.5]], [[1.0]], None, leak=0.5), lg.Readout([[-0.5]]))
    >>> batch, loss = Hold().sample(jax.random.key(0), 4, network)
    >>> update, info = lg.network_update(lg.BPTT(), network, batch.inputs, batch.targets)
    """

    @property
    @abc.abstractmethod
    def num_inputs(self) -> int:
        """Channels of what the network hears."""

    @property
    @abc.abstractmethod
    def num_outputs(self) -> int:
        """Numbers of a command."""

    @property
    @abc.abstractmethod
    def length(self) -> int:
        """Steps of a trial."""

    @property
    @abc.abstractmethod
    def credit(self) -> str:
        """`"step"`, `"plant"` or `"loop"`."""

    @property
    def loss(self) -> str:
        """How `lg.network_update` reads the targets: `"mse"`."""
        return "mse"

    @abc.abstractmethod
    def start(self, key: PRNGKeyArray) -> Any:
        """The state of the plant and of the trial at the beginning: any pytree of arrays."""

    @abc.abstractmethod
    def sense(self, state: Any) -> Any:
        """What the network hears of a state, shape `"input"`."""

    @abc.abstractmethod
    def move(self, state: Any, command: Any) -> Any:
        """The next state, after a command of shape `"output"`."""

    @abc.abstractmethod
    def cost(self, state: Any, command: Any) -> Any:
        """The cost of a step: of the state after it, and of the command; one number."""

    @in_our_arithmetic
    def sample(self, key: PRNGKeyArray, batch: int, network: Network) -> tuple[Batch, Array]:
        r"""Trials of a network: what it heard, with targets that stand for its errors; and its loss.

        The targets are `y_t − ∂ (Σ_s cost_s) / ∂ y_t` along the paths of `credit`. Compiles under `jax.jit`.

        **Arguments:** `key`: a JAX random key; `batch`: how many trials, at least 1; `network`: an `lg.Network`.

        **Returns:** `(batch, loss)`: a `Batch`, and the mean cost of a step.

        **Raises:** `ValueError` where sizes do not fit.
        """
        check_count("batch", batch)
        states = jax.vmap(self.start)(jax.random.split(key, batch))
        return trials_of(self, states, network)

    @in_our_arithmetic
    def run(self, key: PRNGKeyArray, batch: int, network: Network) -> tuple[Any, Array]:
        """What trials with this key come to: the states after each step, and the commands, shape `"batch time output"`.

        **Returns:** `(states, commands)`; arrays of `states` have the axes `"batch time"` before their own.
        """
        check_count("batch", batch)
        states = jax.vmap(self.start)(jax.random.split(key, batch))
        return visited_by(self, states, network)


@eqx.filter_jit
def visited_by(task: LoopTask, states: Any, network: Network) -> tuple[Any, Array]:
    """The states that a network visits from given ones, and its commands."""
    _check_fits(task, network)
    dtype = precision_of(network)
    states = in_precision(dtype, states)
    batch = len(jax.tree.leaves(states)[0])
    found = _run(task, states, network, jnp.zeros((task.length, batch, task.num_outputs), dtype))
    return jax.tree.map(lambda x: x.swapaxes(0, 1), (found[3], found[1]))


@eqx.filter_jit
def trials_of(task: LoopTask, states: Any, network: Network) -> tuple[Batch, Array]:
    """The trials of a network from given states, all compiled."""
    _check_fits(task, network)
    dtype, outputs = precision_of(network), task.num_outputs
    states = in_precision(dtype, states)
    batch = len(jax.tree.leaves(states)[0])

    def total(nudges: Array) -> tuple[Array, Any]:
        inputs, commands, costs, _ = _run(task, states, network, nudges)
        return costs.sum(), (inputs, commands, costs.mean())

    nudges = jnp.zeros((task.length, batch, outputs), dtype)
    errors, (inputs, commands, loss) = jax.grad(total, has_aux=True)(nudges)
    mask = jnp.ones((batch, task.length), dtype)
    return Batch(inputs.swapaxes(0, 1), (commands - errors).swapaxes(0, 1), mask), loss


def _run(task: LoopTask, states: Any, network: Network, nudges: Array) -> tuple[Array, Array, Array, Any]:
    """Inputs, commands, costs and states, time first; `nudges` are added to the commands, to differentiate by them."""
    dtype = nudges.dtype

    def step(now: Any, nudge: Array) -> Any:
        plant, units = now
        sensed = jax.vmap(task.sense)(plant).astype(dtype)
        before = plant
        if task.credit != "loop":
            sensed = jax.lax.stop_gradient(sensed)
        if task.credit == "step":
            before = jax.lax.stop_gradient(plant)
        steps, command = network_step(network, units, sensed)
        command = command + nudge
        after = in_precision(dtype, jax.vmap(task.move)(before, command))
        costs = jax.vmap(task.cost)(after, command)
        return (after, tuple(s.after for s in steps)), (sensed, command, costs, after)

    first = states, at_rest(network, nudges.shape[1], dtype)
    return jax.lax.scan(step, first, nudges)[1]


def _check_fits(task: LoopTask, network: Network) -> None:
    check_kind("network", network, Network, "make one by lg.Network(layers, lg.Readout(A))")
    output, _, channels = network.sizes
    if (channels, output) != (task.num_inputs, task.num_outputs):
        raise ValueError(
            f"the network has {channels} inputs and {output} outputs, but the {type(task).__name__} task "
            f"{task.num_inputs} and {task.num_outputs}; they must agree"
        )
