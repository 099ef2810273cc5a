r"""The natural logarithm in plain arithmetic, so that loops over lanes stay packed; a call would unpack them.

With `x = 2^k m`, `√½ ≤ m < √2`, and `s = (m − 1)/(m + 1)`, so that `s² ≤ 0.0295`,

    ln x = k ln 2 + 2 artanh s,    artanh s = s (1 + s²/3 + s⁴/5 + …),

where ten terms leave `2e-17` of the whole. `k` and `m` are read off the bits of `x`.

Limits: positive numbers of full precision, above 2.3e-308; NaN for all others.
"""

# mypy: ignore-errors

import math

from llvmlite import ir
from numba import config, njit, types
from numba.extending import intrinsic

_LN2 = math.log(2)
_HALF_ROOT = 0x3FE6A09E667F3BCD  # the bits of √½
_BIAS = 1023 << 52
_SMALLEST = 2.3e-308


def _log_in_python(x):
    """`ln x`, where `NUMBA_DISABLE_JIT` leaves the kernels to Python."""
    return math.log(x) if x > _SMALLEST else math.nan


@intrinsic
def _bits(typing_context, x):
    """The bits of a float, as an integer."""

    def build(context, builder, signature, arguments):
        return builder.bitcast(arguments[0], ir.IntType(64))

    return types.int64(types.float64), build


@intrinsic
def _exponent(typing_context, bits):
    """What a float's bits say of its power of two: a small integer, as a float."""

    def build(context, builder, signature, arguments):
        shifted = builder.lshr(arguments[0], ir.Constant(ir.IntType(64), 52))
        return builder.sitofp(builder.trunc(shifted, ir.IntType(32)), ir.DoubleType())

    return types.float64(types.int64), build


@intrinsic
def _scaled(typing_context, bits, shifted):
    """The float of these bits, without the power of two that the second number has in its upper twelve."""

    def build(context, builder, signature, arguments):
        bits, shifted = arguments
        power = builder.and_(shifted, ir.Constant(ir.IntType(64), -(1 << 52)))
        bias = ir.Constant(ir.IntType(64), _BIAS)
        return builder.bitcast(builder.sub(bits, builder.sub(power, bias)), ir.DoubleType())

    return types.float64(types.int64, types.int64), build


def _log_compiled(x):
    bits = _bits(x)
    shifted = bits + (_BIAS - _HALF_ROOT)
    k, m = _exponent(shifted) - 1023.0, _scaled(bits, shifted)
    s = (m - 1.0) / (m + 1.0)
    z = s * s
    total = 1 / 21
    total = total * z + 1 / 19
    total = total * z + 1 / 17
    total = total * z + 1 / 15
    total = total * z + 1 / 13
    total = total * z + 1 / 11
    total = total * z + 1 / 9
    total = total * z + 1 / 7
    total = total * z + 1 / 5
    total = total * z + 1 / 3
    value = k * _LN2 + 2.0 * (s + s * z * total)
    return value if x > _SMALLEST else math.nan


_options = {"error_model": "numpy", "fastmath": {"contract", "nsz"}, "forceinline": True}
log = _log_in_python if config.DISABLE_JIT else njit(**_options)(_log_compiled)
