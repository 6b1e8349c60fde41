"""What reaches a terminal: no commands hidden in names, no absurd times, no missing folder."""

import json
import tempfile

import pytest

from pipeline.cli import common, streams
from pipeline.errors import PipelineError
from pipeline.scratch import scratch_file, scratch_folder
from pipeline.store import create_or_append
from pipeline.text import visible
from tests.command import run
from tests.store_helpers import SPEC, add, source_of

EVIL = "\x1b]0;owned\x07\r\x9b2J\u202egpj\u2066"
SHOWN = "\\x1b]0;owned\\x07\\x0d\\x9b2J\\u202egpj\\u2066"


def test_only_control_characters_are_escaped():
    assert visible(EVIL) == SHOWN
    assert visible("a\tb é 日 😀 \\x1b") == "a\tb é 日 😀 \\x1b"
    assert visible("two\nlines") == "two\\x0alines"


def test_messages_and_listings_escape_names(tmp_path, capsys):
    streams.tell(f"note: {EVIL}")
    assert capsys.readouterr().err == f"note: {SHOWN}\n"
    with create_or_append(tmp_path / "s.h5", SPEC) as writer:
        add(writer, EVIL.replace("\r", ""), seed=1)
        add(writer, "é", seed=2)
    listed = run("info", "--ids", tmp_path / "s.h5").split("\n")
    assert listed == [SHOWN.replace("\\x0d", ""), "é", ""]
    lines = run("info", "--json", tmp_path / "s.h5").splitlines()
    assert '"id": "é"' in lines[2] and source_of(2).path in lines[2]
    assert json.loads(lines[1])["id"] == EVIL.replace("\r", "")
    assert not set("".join(lines)) & set("\x1b\x07\x9b\u202e\u2066")


@pytest.mark.parametrize(
    "left, shown",
    [
        (0.0, "0:00:00"),
        (3599.6, "1:00:00"),
        (999 * 3600.0, "999:00:00"),
        (15_555_555 * 3600.0, "unknown"),
        (float("inf"), "unknown"),
        (float("nan"), "unknown"),
        (-1.0, "unknown"),
        (None, "unknown"),
    ],
)
def test_remaining_time_is_plausible_or_unknown(monkeypatch, capsys, left, shown):
    line = common.ProgressLine()
    line._last -= 60
    line.show(0, 5, "videos", "", left)
    assert capsys.readouterr().err == f"0/5 videos, time left: {shown}\n"


def test_no_temporary_folder_is_one_line_with_the_remedy(monkeypatch, tmp_path):
    from pipeline.decode.process import DecodeProcess

    monkeypatch.setattr(tempfile, "tempdir", None)
    monkeypatch.setattr(tempfile, "_candidate_tempdir_list", lambda: [str(tmp_path / "no")])
    for make in (scratch_file, DecodeProcess, lambda: scratch_folder().__enter__()):
        with pytest.raises(PipelineError, match="TMPDIR to a folder that can be written to"):
            make()
