"""One quick run of everything, for the slow tests of the reproduction."""

import pytest

from localgrad.reproduction import catalogue


@pytest.fixture(scope="session")
def runs():
    """The datasets of the whole quick run, by name."""
    pytest.importorskip("tvb_data")
    return {name: catalogue.load(name).run(quick=True) for name in catalogue.NAMES}
