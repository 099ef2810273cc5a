"""Frames: what is packed comes out again, each array where a page may look at it without a copy."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays_of

from localgrad.explorer.frames import pack, unpack

KINDS = st.sampled_from([np.uint8, np.int32, np.float32, np.float64])
ARRAYS = arrays_of.arrays(KINDS, arrays_of.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=5))


@given(st.dictionaries(st.text(max_size=8), ARRAYS, max_size=4), st.dictionaries(st.text(max_size=5), st.text()))
def test_a_frame_holds_what_was_packed(arrays, header):
    header.pop("arrays", None)
    frame = pack(header, arrays)
    assert len(frame) % 8 == 0
    found, unpacked = unpack(frame)
    assert found == header
    assert list(unpacked) == list(arrays)
    for name, array in arrays.items():
        assert unpacked[name].dtype == array.dtype
        assert unpacked[name].shape == array.shape
        assert unpacked[name].tobytes() == array.tobytes()


def test_other_kinds_and_what_is_no_json_are_refused():
    with pytest.raises(ValueError, match="the array x is of complex128; give one of uint8"):
        pack({}, {"x": np.array([1j])})
    with pytest.raises(ValueError, match="not JSON compliant"):
        pack({"x": float("nan")})
