"""The code in docs/STORE.md works as printed."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from pipeline.store import create_or_append
from tests.store_helpers import SPEC, add

TEXT = (Path(__file__).parents[2] / "docs" / "STORE.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)


def test_reading_with_plain_libraries(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("database.h5", "database.zarr"):
        with create_or_append(name, SPEC) as writer:
            add(writer, "a/b.mp4", seed=1, frames=2)
    assert len(BLOCKS) == 2
    for block in BLOCKS:
        exec(compile(block, "docs/STORE.md", "exec"), {})
        assert "a/b.mp4 (2, 3, 8) [0.33333333" in capsys.readouterr().out
