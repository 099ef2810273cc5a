r"""Sequences of one's own: arrays of inputs, targets and a mask, of which a batch draws rows.

Sequences may end early: a list of arrays of different lengths is filled up with zeros, which have a mask of 0. What no
network can learn from is refused here, once, and not batch by batch.

Source: docs/theory.md, section 12.
"""

from __future__ import annotations

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, PRNGKeyArray

from localgrad.checks import check_choice, check_count, in_our_arithmetic, warn_if_cut
from localgrad.models.linear import as_float_array
from localgrad.tasks.sequences import LOSSES, Batch, SequenceTask


class ArrayTask(SequenceTask):
    r"""A task whose batches are rows of given arrays, drawn with replacement; made by `from_arrays`.

    **Fields:** `inputs`, `targets`, `mask`: as of a `Batch`, with all sequences there are as the first axis.

    Source: docs/theory.md, section 12.
    """

    inputs: Array
    targets: Array
    mask: Array
    classes: int | None = eqx.field(static=True)

    @property
    def num_inputs(self) -> int:
        """Channels of the input."""
        return self.inputs.shape[-1]

    @property
    def num_outputs(self) -> int:
        """Numbers of the output, or classes."""
        return self.targets.shape[-1] if self.classes is None else self.classes

    @property
    def loss(self) -> str:
        """`"mse"`, or `"cross_entropy"` for classes."""
        return "mse" if self.classes is None else "cross_entropy"

    def sample(self, key: PRNGKeyArray, batch: int) -> Batch:
        """See `SequenceTask.sample`."""
        rows = jax.random.randint(key, (batch,), 0, len(self.inputs))
        return Batch(self.inputs[rows], self.targets[rows], self.mask[rows])

    def __len__(self) -> int:
        return len(self.inputs)


@in_our_arithmetic
def from_arrays(
    inputs: Any, targets: Any, mask: Any = None, *, loss: str = "mse", num_classes: int | None = None
) -> ArrayTask:
    r"""A task from arrays of one's own; every batch draws sequences from them, with replacement.

    **Arguments:**

    - `inputs`: shape `"sequences time input"`; or a list of arrays `"time input"`, whose lengths may differ.
    - `targets`: shape `"sequences time output"`; for `"cross_entropy"` classes, whole numbers from 0, of shape
        `"sequences time"`, or `"sequences"` where each sequence has one. Or a list of such, one a sequence.
    - `mask`: weights of the steps in the loss, shape `"sequences time"`, or a list; at least 0 and not all 0 in any
        sequence. `None` counts all steps of a sequence, but where a sequence has one class only its last.
    - `loss`: `"mse"` or `"cross_entropy"`.
    - `num_classes`: how many classes there are; by default one more than the largest.

    **Returns:** an `ArrayTask`.

    **Raises:** `ValueError` for shapes that do not fit, entries that are not finite, classes that are none, and a mask
    that is negative somewhere or 0 throughout a sequence; it names the sequence, counted from 0.

    Source: docs/theory.md, section 12.

    >>> task = from_arrays([[[0.0], [1.0]], [[1.0], [0.0]]], [0, 1], loss="cross_entropy")
    >>> task.num_outputs, task.mask.tolist()
    (2, [[0.0, 1.0], [0.0, 1.0]])
    """
    check_choice("loss", loss, LOSSES)
    if num_classes is not None:
        check_count("num_classes", num_classes)
    warn_if_cut("an array of the sequences", inputs, targets, mask)
    heard = _sequences(inputs, "inputs", 2)
    lengths = [len(x) for x in heard]
    classes = loss == "cross_entropy"
    one_each = classes and _has_one_each(targets)
    wanted = _repeated(targets, lengths) if one_each else _sequences(targets, "targets", 1 if classes else 2)
    _check_lengths("targets", wanted, lengths)
    weights = _weights(mask, lengths, only_last=one_each)
    _check_widths("inputs", heard)
    if classes:
        num_classes = _checked_classes(wanted, num_classes)
    else:
        _check_widths("targets", wanted)
    arrays = (_filled_up(x, max(lengths)) for x in (heard, wanted, weights))
    x, y, m = (jnp.asarray(a, jnp.result_type(float)) for a in arrays)
    return ArrayTask(x, y.astype(int) if classes else y, m, num_classes if classes else None)


def _sequences(value: Any, name: str, axes: int) -> list[np.ndarray]:
    """The sequences of an argument, each with some axes; `ValueError` for what is none."""
    if isinstance(value, list | tuple) and not _is_regular(value):
        found = [_array(row, f"sequence {i} of the {name}") for i, row in enumerate(value)]
    else:
        array = _array(value, f"the {name}")
        found = list(array) if array.ndim else []
    form = "(time, channels)" if axes == 2 else "(time,)"
    if not found:
        raise ValueError(f"the {name} hold no sequences; give an array of them, or a list of arrays {form}")
    for i, row in enumerate(found):
        if row.ndim != axes or 0 in row.shape:
            raise ValueError(f"sequence {i} of the {name} has shape {row.shape}; give {form}, at least one of each")
        if not np.all(np.isfinite(row)):
            raise ValueError(f"sequence {i} of the {name} has an entry that is not finite; give finite numbers")
    return found


def _is_regular(value: Any) -> bool:
    """Whether nested lists are one array: rows of different lengths are not."""
    try:
        return np.asarray(value).dtype != object
    except ValueError:
        return False


def _array(value: Any, name: str) -> np.ndarray:
    kind = getattr(value, "dtype", None)
    return np.asarray(as_float_array(np.asarray(value, float) if kind == np.bool_ else value, name))


def _has_one_each(targets: Any) -> bool:
    return _is_regular(targets) and np.ndim(targets) == 1


def _repeated(targets: Any, lengths: list[int]) -> list[np.ndarray]:
    """The class of every sequence, at all of its steps."""
    found = _array(targets, "the targets")
    if len(found) != len(lengths):
        raise ValueError(f"there are {len(lengths)} sequences of inputs, but {len(found)} targets; give as many")
    return [np.full(length, target) for length, target in zip(lengths, found, strict=True)]


def _check_lengths(name: str, found: list[np.ndarray], lengths: list[int]) -> None:
    if len(found) != len(lengths):
        raise ValueError(f"there are {len(lengths)} sequences of inputs, but {len(found)} of {name}; give as many")
    for i, (row, length) in enumerate(zip(found, lengths, strict=True)):
        if len(row) != length:
            raise ValueError(f"sequence {i} has {length} steps of inputs, but {len(row)} of {name}; give as many")


def _check_widths(name: str, found: list[np.ndarray]) -> None:
    for i, row in enumerate(found):
        if row.shape[1] != found[0].shape[1]:
            raise ValueError(
                f"sequence {i} of the {name} has {row.shape[1]} channels, but sequence 0 has {found[0].shape[1]}; "
                "give all of them as many"
            )


def _weights(mask: Any, lengths: list[int], *, only_last: bool) -> list[np.ndarray]:
    if mask is None:
        return [np.arange(length) == length - 1 if only_last else np.ones(length) for length in lengths]
    found = _sequences(mask, "mask", 1)
    _check_lengths("the mask", found, lengths)
    for i, row in enumerate(found):
        if np.any(row < 0):
            raise ValueError(f"the mask of sequence {i} has a negative entry; give weights of at least 0")
        if not np.any(row > 0):
            raise ValueError(f"the mask of sequence {i} is 0 throughout; give at least one step that counts")
    return found


def _checked_classes(found: list[np.ndarray], num_classes: int | None) -> int:
    """How many classes there are; `ValueError` for a target that is none."""
    count = num_classes or int(max(row.max() for row in found)) + 1
    for i, row in enumerate(found):
        wrong = row[(row != np.round(row)) | (row < 0) | (row >= count)]
        if len(wrong):
            raise ValueError(
                f"a target of sequence {i} is {wrong[0]:g}, no class; give whole numbers from 0 to {max(count, 1) - 1}"
            )
    return max(count, 2)


def _filled_up(rows: list[np.ndarray], length: int) -> np.ndarray:
    """All sequences in one array, those that end early with zeros behind."""
    found = np.zeros((len(rows), length, *rows[0].shape[1:]))
    for i, row in enumerate(rows):
        found[i, : len(row)] = row
    return found
