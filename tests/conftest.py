"""What all tests share: the real recordings, the checkout, early computing, and reproducible Hypothesis runs.

A test that needs an optional library says so itself: ``pytest.importorskip("pynwb")``.
Not here: simulated sessions and other inputs, which stand beside the tests that use them.
"""

import contextlib
import os
from pathlib import Path

import hypothesis
import pytest

CHECKOUT = Path(__file__).resolve().parent.parent

hypothesis.settings.register_profile("ci", derandomize=True, deadline=None, max_examples=50, database=None)
hypothesis.settings.register_profile("dev", deadline=None, max_examples=50)
hypothesis.settings.load_profile("ci" if os.environ.get("CI") else "dev")


@pytest.fixture(scope="session")
def checkout():
    """The folder of the checkout; absent when the tests run on a copy, against an installed wheel."""
    if not (CHECKOUT / "pyproject.toml").is_file():
        pytest.skip("this test reads files of the checkout, and only a copy of the tests is here")
    return CHECKOUT


@pytest.fixture(scope="session")
def data_folder():
    """From a path below the folder of real recordings to a Path; skips the test where it is absent."""
    named = os.environ.get("MITRAL_DATA")
    root = Path(named) if named else CHECKOUT.parent / "shared" / "data"

    def find(relative):
        path = root / relative
        if not path.exists():
            pytest.skip(f"no {path}: set MITRAL_DATA to the folder that holds {relative}")
        return path

    return find


class Computes:
    """Stands in for dask's scheduler: counts what is computed, and refuses more than ``at_most``."""

    def __init__(self, at_most):
        self.at_most = at_most
        self.n_computes = 0

    def __call__(self, graph, keys, **kwargs):
        """Dask's scheduler protocol."""
        import dask

        self.n_computes += 1
        if self.n_computes > self.at_most:
            raise AssertionError(f"computed {self.n_computes} times where at most {self.at_most} is allowed: {keys}")
        return dask.get(graph, keys, **kwargs)


@pytest.fixture
def no_compute():
    """A guard: inside ``with no_compute():`` nothing lazy may be computed; ``at_most=1`` allows one."""
    import dask

    @contextlib.contextmanager
    def guard(*, at_most=0):
        scheduler = Computes(at_most)
        with dask.config.set(scheduler=scheduler):
            yield scheduler

    return guard
