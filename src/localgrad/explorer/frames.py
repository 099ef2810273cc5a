"""Binary frames: what the server sends.

A frame is a header in JSON, then arrays as they lie in memory, so that a page can look at them without a copy:

    4 bytes   length of the header, little-endian
    header    JSON in UTF-8, filled up with spaces so that what follows begins at a multiple of 8
    arrays    one after the other, each at a multiple of 8; the header's `arrays` has their names, kinds, shapes, places

Places are counted from the end of the header. All numbers are little-endian.
"""

import json
from typing import Any

import numpy as np

_KINDS = {"uint8": "|u1", "float32": "<f4", "float64": "<f8", "int32": "<i4"}


def pack(header: dict[str, Any], arrays: dict[str, np.ndarray] | None = None) -> bytes:
    """One frame; `ValueError` for an array of another kind than the page knows.

    >>> frame = pack({"id": 1}, {"x": np.array([1.0, 2.0])})
    >>> unpack(frame)[1]["x"].tolist()
    [1.0, 2.0]
    """
    parts = {name: _plain(name, array) for name, array in (arrays or {}).items()}

    places, place = {}, 0
    for name, array in parts.items():
        places[name] = {"kind": array.dtype.name, "shape": list(array.shape), "place": place}
        place += _filled(array.nbytes)
    text = json.dumps(header | {"arrays": places}, allow_nan=False).encode()
    head = len(text).to_bytes(4, "little") + text
    body = [array.tobytes() + bytes(_filled(array.nbytes) - array.nbytes) for array in parts.values()]
    return b"".join([head.ljust(_filled(len(head)), b" "), *body])


def unpack(frame: bytes) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """The header and the arrays of a frame."""
    length = int.from_bytes(frame[:4], "little")
    header = json.loads(frame[4 : 4 + length])
    start = _filled(4 + length)
    found = {}
    for name, about in header.pop("arrays").items():
        count = int(np.prod(about["shape"], dtype=int))
        array = np.frombuffer(frame, _KINDS[about["kind"]], count, start + about["place"])
        found[name] = array.reshape(about["shape"])
    return header, found


def _plain(name: str, array: np.ndarray) -> np.ndarray:
    if array.dtype.name not in _KINDS:
        raise ValueError(f"the array {name} is of {array.dtype}; give one of {', '.join(_KINDS)}")
    return np.asarray(array, _KINDS[array.dtype.name], order="C")


def _filled(length: int) -> int:
    return -(-length // 8) * 8
