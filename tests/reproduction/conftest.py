"""Quick runs of the experiments, for the slow tests of the reproduction: each made once, when a test asks for it."""

from collections.abc import Mapping

import pytest

from localgrad.reproduction import catalogue


class Runs(Mapping):
    """The datasets of all experiments by name; `pytest -k NAME` runs one of them."""

    def __init__(self):
        self.done = {}

    def __getitem__(self, name):
        if name not in self.done:
            self.done[name] = catalogue.load(name).run(quick=True)
        return self.done[name]

    def __iter__(self):
        return iter(catalogue.NAMES)

    def __len__(self):
        return len(catalogue.NAMES)


@pytest.fixture(scope="session")
def runs():
    """The datasets of the whole quick run, by name."""
    pytest.importorskip("tvb_data")
    return Runs()
