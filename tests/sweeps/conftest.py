"""Nothing is flushed to the disk here: these tests kill processes, not computers, and hundreds of flushes take longer
than all else."""

import os

import pytest


@pytest.fixture(scope="session", autouse=True)
def no_flushing():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda descriptor: None)
        yield
