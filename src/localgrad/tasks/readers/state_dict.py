"""PyTorch's weights as safetensors: the recurrent layer of a `state_dict`, its input weights and its readout.

`torch.nn.RNN` computes `h_t = f(W_ih x_t + b_ih + W_hh h_{t−1} + b_hh)`: `weight_hh` is `W`, `weight_ih` is `B`, and
the weight of the one other layer with as many columns as hidden units is the readout `A`. A pickle (`.pt`, `.pth`) is
never read. Limits: one layer, one direction, no gates, and no biases, which a linear teacher has not.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from localgrad.tasks.readers.weights import Weights, check_entries_claimed, check_matrix, from_named, real_array

_TYPES = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "I64": "<i8", "I32": "<i4", "I16": "<i2", "I8": "i1", "U8": "u1",
          "BOOL": "?"}  # fmt: skip
_RECURRENT = re.compile(r"(?:.*\.)?weight_hh(_l\d+(?:_reverse)?)?")


def read_safetensors(data: bytes) -> Weights:
    """The recurrent layer in a `state_dict`; without one, `A, W, B` or the one square array."""
    try:
        from safetensors import deserialize
    except ImportError:
        raise ValueError("safetensors files need the package safetensors; pip install 'localgrad[files]'") from None
    try:
        tensors: dict[str, Any] = dict(deserialize(data))
    except Exception:  # SafetensorError, and what its parser lets through
        raise ValueError("it is damaged, half-written or no safetensors file; write the file again") from None
    shapes = {name: tuple(map(int, tensor["shape"])) for name, tensor in tensors.items()}
    recurrent = [name for name in tensors if _RECURRENT.fullmatch(name)]
    if not recurrent:
        return from_named(shapes, lambda name: _array(tensors[name], name))
    if len(recurrent) > 1:
        listed = ", ".join(repr(name[:40]) for name in recurrent[:4])
        raise ValueError(f"it has {len(recurrent)} recurrent layers or directions ({listed}); a teacher has one")
    return _layer(tensors, shapes, recurrent[0])


def _layer(tensors: Mapping[str, Any], shapes: Mapping[str, tuple[int, ...]], name: str) -> Weights:
    arrays = {key: _array(tensor, key) for key, tensor in tensors.items() if _is_float(tensor)}
    for key, array in arrays.items():
        if "bias" in key and np.any(array):
            raise ValueError(f"{key[:40]!r} is not 0, but a linear teacher has no biases; leave the biases out")
    W = arrays.get(name)
    if W is None:
        raise ValueError(f"{name[:40]!r} holds no real numbers; write the file again")
    check_matrix(W, "W")
    if W.shape[0] in (3 * W.shape[1], 4 * W.shape[1]):
        raise ValueError(f"{name[:40]!r} is {W.shape[0]} × {W.shape[1]}, that of gated units; a teacher is a plain RNN")
    drive = name.replace("weight_hh", "weight_ih")
    others = [
        key for key, array in arrays.items()
        if key not in (name, drive) and key.endswith("weight") and array.ndim == 2 and array.shape[1] == W.shape[0]
    ]  # fmt: skip
    if len(others) > 1:
        listed = ", ".join(repr(key[:40]) for key in others[:4])
        raise ValueError(f"it is open which of {listed} is the readout; keep the one that reads the recurrent layer")
    if not others and drive not in arrays:
        return Weights(W)
    identity = np.eye(len(W), dtype=W.dtype)
    return Weights(W, arrays[others[0]] if others else identity, arrays.get(drive, identity))


def _is_float(tensor: Mapping[str, Any]) -> bool:
    return tensor["dtype"] in (*_TYPES, "BF16")


def _array(tensor: Mapping[str, Any], name: str) -> np.ndarray:
    shape, kind = tuple(tensor["shape"]), tensor["dtype"]
    check_entries_claimed(shape, name)
    if kind == "BF16":  # the upper half of a float32
        wide = np.frombuffer(bytes(tensor["data"]), "<u2").astype("<u4") << 16
        return wide.view("<f4").reshape(shape).astype(np.float32)
    if kind not in _TYPES or math.prod(shape) * np.dtype(_TYPES[kind]).itemsize != len(tensor["data"]):
        raise ValueError(f"{name[:40]!r} has entries of type {str(kind)[:20]}; save it as float32 or float64")
    return real_array(np.frombuffer(bytes(tensor["data"]), _TYPES[kind]).reshape(shape), name)
