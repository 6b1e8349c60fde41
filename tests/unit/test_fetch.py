"""Downloads from a server on this machine: resumed, pinned, and said how to do by hand."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from pipeline.cli import main
from pipeline.errors import ModelError
from pipeline.fetch import digest_file, fetch
from pipeline.published_weights import EXTRACTOR, HEADS, PublishedFile, files_of
from tests import torch_layout
from tests.messages import assert_output, raises

CONTENT = bytes(range(256)) * 40
BY_HAND = "put it at"


class Server(ThreadingHTTPServer):
    """Serves `files`, with an entity tag and ranges; keeps what was asked for."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.files: dict[str, bytes] = {}
        self.asked: list[tuple[str, str | None]] = []
        self.most = 1 << 30  # bytes that are sent before the connection ends
        self.tag = '"1"'

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        served, name = self.server, self.path.lstrip("/")
        wanted = self.headers["Range"]
        served.asked.append((name, wanted))
        if name not in served.files:
            return self.send_error(404)
        content, start = served.files[name], 0
        if wanted and self.headers["If-Range"] == served.tag:
            start = int(wanted.removeprefix("bytes=").removesuffix("-"))
            if start >= len(content):
                return self.send_error(416)
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        else:
            self.send_response(200)
        self.send_header("ETag", served.tag)
        self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        self.wfile.write(content[start : start + served.most])

    def log_message(self, *_: object) -> None:
        """Tests print nothing."""


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Server]:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for variable in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(variable, raising=False)
    with Server() as served:
        thread = threading.Thread(target=served.serve_forever, args=(0.01,))
        thread.start()
        yield served
        served.shutdown()
        thread.join()


def published(server: Server, *addresses: str) -> PublishedFile:
    return PublishedFile("w.pth", addresses or (f"{server.address}/w.pth",))


def test_a_file_is_fetched_once_and_pinned(server: Server, tmp_path: Path) -> None:
    server.files["w.pth"] = CONTENT
    folder, sha256 = tmp_path / "new" / "weights", hashlib.sha256(CONTENT).hexdigest()
    first = fetch(published(server), folder)
    assert (first.sha256, first.downloaded, first.pinned) == (sha256, True, False)
    assert first.path.read_bytes() == CONTENT
    again = fetch(published(server), folder)
    assert (again.downloaded, again.pinned, len(server.asked)) == (False, True, 1)
    assert json.loads(digest_file().read_text()) == {"w.pth": sha256}
    assert [path.name for path in folder.iterdir()] == ["w.pth"]


def test_an_interrupted_download_goes_on_where_it_stopped(server: Server, tmp_path: Path) -> None:
    server.files["w.pth"], server.most = CONTENT, 1000
    with raises(ModelError, "w.pth", "1000 of 10240 bytes", remedy=BY_HAND):
        fetch(published(server), tmp_path)
    server.most = 1 << 30
    assert fetch(published(server), tmp_path).path.read_bytes() == CONTENT
    assert [wanted for _, wanted in server.asked] == [None, "bytes=1000-"]


def test_another_file_than_before_is_not_joined_to_a_part(server: Server, tmp_path: Path) -> None:
    server.files["w.pth"], server.most = CONTENT, 1000
    with raises(ModelError, "w.pth", remedy=BY_HAND):
        fetch(published(server), tmp_path)
    server.files["w.pth"], server.most, server.tag = CONTENT[::-1], 1 << 30, '"2"'
    assert fetch(published(server), tmp_path).path.read_bytes() == CONTENT[::-1]


def test_a_part_that_was_complete_is_fetched_anew(server: Server, tmp_path: Path) -> None:
    server.files["w.pth"] = CONTENT
    (tmp_path / "w.pth.part").write_bytes(CONTENT)
    (tmp_path / "w.pth.part.tag").write_text(server.tag)
    assert fetch(published(server), tmp_path).path.read_bytes() == CONTENT


def test_a_changed_file_is_refused(server: Server, tmp_path: Path) -> None:
    server.files["w.pth"] = CONTENT
    first = fetch(published(server), tmp_path)
    first.path.write_bytes(b"other")
    with raises(ModelError, first.path, first.sha256, digest_file(), remedy="delete it and fetch"):
        fetch(published(server), tmp_path)
    first.path.unlink()
    server.files["w.pth"] = b"other"
    with raises(ModelError, first.sha256, remedy="to accept it"):
        fetch(published(server), tmp_path)
    assert not list(tmp_path.glob("w.pth*"))


def test_a_digest_that_the_publisher_gives_is_compared(server: Server, tmp_path: Path) -> None:
    server.files["w.pth"] = CONTENT
    file = PublishedFile("w.pth", (f"{server.address}/w.pth",), digest_start="00000000")
    with raises(ModelError, "00000000", remedy="fetch it again"):
        fetch(file, tmp_path)
    assert not digest_file().exists()


def test_mirrors_come_first_and_dead_links_are_passed_over(server: Server, tmp_path: Path) -> None:
    server.files = {"page/w.pth": b"<html>", "w.pth": CONTENT}

    def check(path: Path) -> None:
        if path.read_bytes().startswith(b"<"):
            raise ModelError("a web page")

    file = published(server, f"{server.address}/gone.pth", f"{server.address}/w.pth")
    mirrors = (f"{server.address}/page/", "ftp://127.0.0.1")
    assert fetch(file, tmp_path, mirrors=mirrors, check=check).path.read_bytes() == CONTENT
    assert [name for name, _ in server.asked] == ["page/w.pth", "gone.pth", "w.pth"]


def test_without_a_connection_it_says_which_file_to_put_where(
    server: Server, tmp_path: Path
) -> None:
    named = "w.pth", f"{server.address}/w.pth", tmp_path / "w.pth", "404", "a friend"
    file = PublishedFile("w.pth", (f"{server.address}/w.pth",), "a friend")
    with raises(ModelError, *named, remedy=BY_HAND):
        fetch(file, tmp_path)
    (tmp_path / "w.pth").write_bytes(CONTENT)
    assert fetch(file, tmp_path).downloaded is False


@pytest.mark.parametrize("content", ["{", "[]", '{"w.pth": 1}'])
def test_damaged_digests(server: Server, tmp_path: Path, content: str) -> None:
    digest_file().parent.mkdir(parents=True)
    digest_file().write_text(content)
    server.files["w.pth"] = CONTENT
    with raises(ModelError, digest_file(), remedy="delete"):
        fetch(published(server), tmp_path)


def test_the_command_fetches_and_says_how_to_convert(server: Server, tmp_path: Path) -> None:
    content = torch_layout.saved({"attention.context_vector.weight": np.zeros((1, 4), "f4")})
    server.files["s2vs_dns.pth"] = content
    arguments = ["fetch-weights", "s2vs_dns", "--head_alone", "--mirror", server.address]
    done = CliRunner().invoke(main, arguments)
    path = tmp_path / "cache" / "visil-index" / "weights" / "s2vs_dns.pth"
    assert done.exit_code == 0 and path.read_bytes() == content
    assert_output(done.output, path, hashlib.sha256(content).hexdigest(), "first time")
    assert_output(done.output, f"convert-model {path} --output s2vs_dns")
    again = CliRunner().invoke(main, arguments)
    assert_output(again.output, path, "as seen before")


def test_what_the_models_are_made_of() -> None:
    assert files_of("visil") == (HEADS["visil"], *EXTRACTOR)
    assert files_of("s2vs_vcdb", head_alone=True) == (HEADS["s2vs_vcdb"],)
    assert files_of("extractor") == files_of("extractor", head_alone=True) == EXTRACTOR
    for file in (*HEADS.values(), *EXTRACTOR):
        assert file.name.endswith(".pth") and all(a.endswith(file.name) for a in file.addresses)
