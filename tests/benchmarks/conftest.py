"""What all tests of the benchmarks need."""

import pytest

from benchmarks import surroundings


@pytest.fixture(autouse=True)
def _threads_of_its_own(monkeypatch):
    """What the command tells libraries of threads ends with the test: later ones start processes."""
    for name in surroundings.THREADS:
        monkeypatch.setenv(name, "1")
