"""Which reader a file goes to: its suffix says the format, and text is looked at.

Limit: a name without a known suffix is refused, even where its first bytes would tell.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from localgrad.tasks.readers.edges import looks_like_edges, read_edges
from localgrad.tasks.readers.graphml import read_graphml
from localgrad.tasks.readers.hdf5 import read_hdf5
from localgrad.tasks.readers.matlab import read_mat
from localgrad.tasks.readers.numpy_files import read_npy, read_npz
from localgrad.tasks.readers.state_dict import read_safetensors
from localgrad.tasks.readers.tvb import read_tvb
from localgrad.tasks.readers.weights import Weights
from localgrad.tasks.text_matrix import matrix_from_text
from localgrad.tasks.weight_files import read_bytes


def read_text(data: bytes) -> Weights:
    """A matrix, or an edge list where the text cannot be a matrix."""
    return read_edges(data) if looks_like_edges(data) else Weights(matrix_from_text(data))


READERS: dict[str, Callable[[bytes], Weights]] = {
    ".npz": read_npz,
    ".npy": read_npy,
    **dict.fromkeys((".csv", ".tsv", ".txt", ".dat", ".edge"), read_text),
    **dict.fromkeys((".edges", ".edgelist"), read_edges),
    ".mat": read_mat,
    **dict.fromkeys((".h5", ".hdf5"), read_hdf5),
    ".zip": read_tvb,
    ".graphml": read_graphml,
    ".safetensors": read_safetensors,
}
"""The reader of each suffix, in lower case."""

_PICKLES = (".pt", ".pth", ".pkl", ".pickle", ".ckpt", ".joblib", ".bin")


def read_weights(path: Path) -> Weights:
    """What a file holds.

    **Raises:** `ValueError` in one sentence that names the value and the remedy.
    """
    suffix = path.suffix.lower()
    if suffix in _PICKLES:
        raise ValueError(
            f"{suffix} is a pickle, which can run any program when it is read; save the weights with "
            "safetensors.torch.save_file(model.state_dict(), 'model.safetensors') or numpy.save"
        )
    if suffix not in READERS:
        raise ValueError(f"the suffix {suffix!r} is not known; use one of {', '.join(READERS)}")
    return READERS[suffix](read_bytes(path))
