r"""Random numbers of a run, as functions of the sweep's seed, of what is drawn, and of the run's coordinates.

A *source* is something drawn, such as the student's first weights. Its key in a run is

    key = mix(… mix(mix(seed, source) ⊕ value₁) ⊕ value₂ …)

over the values on those axes that the source is drawn anew for, in the order of the axes' names. Nothing else enters:
not the place of a run in the grid, nor the chunk or the process it is computed in, nor what else is computed. Runs that
agree on these axes share the number drawn: they are paired. `mix` is the finaliser of SplitMix64 (Steele, Lea & Flood
2014), a bijection of 64 bits; the numbers after a key are those of a SplitMix64 generator that starts there.

Limits: 64 bits, so among 10⁹ keys two are the same with a probability of about 3 %. Not for cryptography.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import numpy as np
from scipy.special import ndtri

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)


def mix(x: np.ndarray) -> np.ndarray:
    """The finaliser of SplitMix64, on arrays of unsigned 64-bit integers.

    >>> hex(int(mix(np.uint64(0x9E3779B97F4A7C15))))  # the first number of a generator that starts at 0
    '0xe220a8397b1dcdaf'
    """
    x = np.array(x, np.uint64)
    shifted = np.empty_like(x)
    for bits, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        x ^= np.right_shift(x, np.uint64(bits), out=shifted)
        x *= np.uint64(factor)
    x ^= np.right_shift(x, np.uint64(31), out=shifted)
    return x[()]


def digest(text: str) -> np.uint64:
    """64 bits of the SHA-256 of a text."""
    return np.uint64(int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little"))


def codes_of(values: Any) -> np.ndarray:
    """64 bits for each of an axis's values: whole numbers and floats by their bits, all else by a digest of its text.

    A whole number and the float equal to it have the same code; so have 0.0 and −0.0.
    """
    array = np.asarray(values)
    if array.dtype.kind in "iuf":
        return mix((array.astype(np.float64) + 0.0).view(np.uint64))
    return np.array([digest(str(value)) for value in values], np.uint64)


def keys_of(seed: int, source: str, codes: Mapping[str, np.ndarray], size: int) -> np.ndarray:
    """The key of a source in each of `size` runs.

    **Arguments:** `seed`: of the sweep; `source`: its name; `codes`: by axis that the source is drawn anew for, the
    codes of the runs' values there, shape `"runs"`.
    """
    keys = np.asarray(digest(f"{seed}:{source}"))
    for axis in sorted(codes):
        keys = mix(mix(keys ^ digest(axis)) ^ codes[axis])
    return np.array(np.broadcast_to(keys, size))


def uniforms(keys: np.ndarray, count: int = 1) -> np.ndarray:
    """Numbers uniform in (0, 1), the first `count` after each key: shape `"runs"`, or `"runs count"` beyond 1."""
    steps = np.arange(1, count + 1, dtype=np.uint64) * _GOLDEN
    bits = mix(np.asarray(keys)[..., None] + steps) >> np.uint64(11)
    found = (bits.astype(np.float64) + 0.5) * 2.0**-53
    return found[..., 0] if count == 1 else found


def normals(keys: np.ndarray, count: int = 1) -> np.ndarray:
    """Standard normal numbers, of the same shapes, by the inverse of the normal distribution."""
    return ndtri(uniforms(keys, count))
