"""`--processor_seconds N`: a test that needs more fails, so that `make test-fast` stays fast.

Time of processors, children included, is counted, not time of clocks: other work on the machine
must not fail a test. A child that runs on is counted once it has ended and was waited for.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

OPTION = "--processor_seconds"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(OPTION, type=float, metavar="N", help="most that a test or its set-up takes")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_setup(item: pytest.Item) -> Iterator[None]:
    with _limited(item, "its set-up"):
        return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Iterator[None]:
    with _limited(item, "it"):
        return (yield)


@contextmanager
def _limited(item: pytest.Item, what: str) -> Iterator[None]:
    limit, before = item.config.getoption(OPTION), os.times()
    yield
    spent = sum(os.times()[:4]) - sum(before[:4])
    if limit is not None and spent > limit:
        pytest.fail(f"{what} took {spent:.1f} s of {limit:g}; make it faster or mark it `slow`")
