r"""Sequential digits: an 8 × 8 image, pixel by pixel or row by row; which digit is it?

The 1797 images are those that scikit-learn carries; the first 1437 (four fifths) are for training, the rest for
testing. Grey levels are scaled to [0, 1]. The class counts in the last step.

Source: Alpaydin & Kaynak 1998, through scikit-learn's `load_digits`; Le, Jaitly & Hinton 2015 for pixels in sequence.
"""

from __future__ import annotations

import importlib.util

import jax.numpy as jnp
import numpy as np

from localgrad.checks import check_choice
from localgrad.tasks.sequence.arrays import ArrayTask, from_arrays

_TRAINING = 1437


def digits(by: str = "pixel", part: str = "training") -> ArrayTask:
    r"""The 8 × 8 digits of scikit-learn in sequence, ten classes, told apart in the last step.

    **Arguments:** `by`: `"pixel"`, 64 steps of one input, or `"row"`, 8 steps of eight; `part`: `"training"`, 1437
    images, or `"testing"`, the other 360.

    **Returns:** an `ArrayTask`.

    **Raises:** `ValueError` for other words, and where scikit-learn is not installed.

    Source: Alpaydin & Kaynak 1998, through scikit-learn.
    """
    check_choice("by", by, ("pixel", "row"))
    check_choice("part", part, ("training", "testing"))
    if importlib.util.find_spec("sklearn") is None:
        raise ValueError("the digits come with scikit-learn, which is not installed; pip install 'localgrad[digits]'")
    from sklearn.datasets import load_digits

    found = load_digits()
    chosen = slice(None, _TRAINING) if part == "training" else slice(_TRAINING, None)
    images = np.asarray(found.images, jnp.result_type(float))[chosen] / 16
    inputs = images.reshape(len(images), -1, 1) if by == "pixel" else images
    return from_arrays(inputs, np.asarray(found.target, images.dtype)[chosen], loss="cross_entropy", num_classes=10)
