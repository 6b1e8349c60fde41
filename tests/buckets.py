"""A real S3 server (moto's) in the process of the tests, which counts, delays and breaks."""

from __future__ import annotations

import os
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable
from contextlib import nullcontext
from typing import Any
from urllib.parse import unquote

import pytest

Environ = dict[str, Any]
StartResponse = Callable[..., Any]


def require(module: str) -> Any:
    """Import a library of an extra; without it the test is skipped, but never in CI."""
    if os.environ.get("CI"):
        return __import__(module)
    return pytest.importorskip(module, reason=f"needs {module}: pip install -e '.[test]'")


class Server:
    """Serves buckets at `url`.

    Attributes:
        requests: method and path of each request since `reset`.
        queries: the query of each.
        delay: seconds that each request takes longer.
        lose_answer: told (method, path), how the answer of a request that was carried out is lost:
            the connection is cut ("cut"), or a proxy answers with status 503 ("503"); None: it is
            not.
        ignores_conditions: an object is put whether there is one or not, as by some servers.
        cut: told (method, path), after how many bytes of its answer the connection is cut; None:
            never.
    """

    def __init__(self) -> None:
        require("moto")
        from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
        from werkzeug.serving import WSGIRequestHandler, make_server

        class Quiet(WSGIRequestHandler):
            protocol_version = "HTTP/1.1"

            def log(self, *_: object) -> None:
                pass

            def connection_dropped(self, *_: object) -> None:
                self.close_connection = True  # else the client waits for the rest of the answer

        self._app = DomainDispatcherApplication(create_backend_app)
        self._put_lock = threading.Lock()
        self._server = make_server("127.0.0.1", 0, self, threaded=True, request_handler=Quiet)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self.reset()
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def reset(self) -> None:
        self.requests: list[tuple[str, str]] = []
        self.queries: list[str] = []
        self.delay = 0.0
        self.ignores_conditions = False
        self.lose_answer: Callable[[str, str], str | None] = lambda *_: None
        self.cut: Callable[[str, str], int | None] = lambda *_: None

    def methods(self) -> Counter[str]:
        return Counter(method for method, _ in self.requests)

    def close(self) -> None:
        self._server.shutdown()

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        method, path = environ["REQUEST_METHOD"], unquote(environ["PATH_INFO"])
        self.requests.append((method, path))
        self.queries.append(environ["QUERY_STRING"])
        time.sleep(self.delay)
        if self.ignores_conditions:
            environ.pop("HTTP_IF_NONE_MATCH", None)
        # moto compares and puts in two steps; a real server does not.
        head: list[Any] = []
        with self._put_lock if environ.get("HTTP_IF_NONE_MATCH") else nullcontext():
            answer = list(self._app(environ, lambda *given: head.extend(given)))
        lost = self.lose_answer(method, path)
        if lost == "cut":
            raise ConnectionAbortedError
        if lost == "503":
            start_response("503 Service Unavailable", [("Content-Length", "0")])
            return []
        start_response(*head)
        after = self.cut(method, path)
        return answer if after is None else _cut(b"".join(answer), after)


def _cut(data: bytes, after: int) -> Iterable[bytes]:
    yield data[:after]
    raise ConnectionAbortedError
