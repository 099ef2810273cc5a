"""A stand-in for scikit-learn's digits, which tests do not install: random images of the form that it returns."""

import importlib.util
import sys
import types

import numpy as np

IMAGES = np.random.default_rng(0).integers(0, 17, (1797, 8, 8)).astype(float)
CLASSES = np.random.default_rng(1).integers(0, 10, 1797)


def modules():
    """Name → module."""
    datasets, package = types.ModuleType("sklearn.datasets"), types.ModuleType("sklearn")
    datasets.load_digits = lambda: types.SimpleNamespace(images=IMAGES, target=CLASSES)
    package.__spec__ = types.SimpleNamespace()
    return {"sklearn": package, "sklearn.datasets": datasets}


def install_where_missing():
    """Let the stand-in be found where there is no scikit-learn."""
    if "sklearn" not in sys.modules and importlib.util.find_spec("sklearn") is None:
        sys.modules.update(modules())
