"""One S3 server for all tests of a process, and a bucket of its own for each test."""

from __future__ import annotations

import itertools
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.buckets import Server

_numbers = itertools.count()


@pytest.fixture(scope="session")
def s3_process() -> Iterator[Server]:
    server = Server()
    yield server
    server.close()


@pytest.fixture
def s3(s3_process: Server, monkeypatch: pytest.MonkeyPatch) -> Server:
    """The server, and an environment in which obstore finds it."""
    s3_process.reset()
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3_process.url)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    return s3_process


@pytest.fixture
def bucket(s3: Server) -> str:
    """The URL of a new bucket."""
    name = f"bucket-{next(_numbers)}"
    urllib.request.urlopen(urllib.request.Request(f"{s3.url}/{name}", method="PUT"))
    s3.reset()
    return f"s3://{name}"


@pytest.fixture(params=["folder", "bucket"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Where a store of parts is to be: in a folder, then in a bucket."""
    if request.param == "folder":
        return str(tmp_path / "db.parts")
    return f"{request.getfixturevalue('bucket')}/archive/db"
