"""Results to files, pipes and what a shell has redirected."""

import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from pipeline.errors import InputError, PipelineError
from pipeline.output.score_table import ScoreTable
from pipeline.output.target import check_extension, check_output_file, is_stream
from tests.messages import raises
from tests.results import write_table

ROOT = Path(__file__).parents[2]
SCORES = np.array([[0.5, 1.0]], np.float32)
WANT = {"q": {"a": 0.5, "b": 1.0}}
WRITE = (
    "import sys; import numpy as np; from pipeline.output.target import check_output_file\n"
    "from tests.results import write_table\n"
    "check_output_file(sys.argv[1])\n"
    "from pipeline.output.score_table import ScoreTable\n"
    "scores = np.array([[0.5, 1.0]], 'f4')\n"
    "write_table(sys.argv[1], ScoreTable(['q'], ['a', 'b'], scores))\n"
)


def shell(line, *arguments):
    command = ["bash", "-c", line, sys.executable, WRITE, *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)


def write(path, scores=SCORES):
    return write_table(path, ScoreTable(["q"], ["a", "b"], scores))


@pytest.mark.parametrize("name", ["-", "/dev/stdout", "/dev/fd/1", "/proc/self/fd/1"])
def test_a_redirect_is_written_to_and_never_replaced(tmp_path, name):
    log = tmp_path / "log"
    log.write_text("before\n")
    inode = log.stat().st_ino
    done = shell(f'"$0" -c "$1" {name} >> "$2"', log)
    assert done.returncode == 0, done.stderr
    assert log.read_text().startswith("before\n{") and log.stat().st_ino == inode
    assert json.loads(log.read_text().removeprefix("before\n")) == WANT
    assert json.loads(shell(f'"$0" -c "$1" {name} | cat').stdout) == WANT
    assert [path.name for path in tmp_path.iterdir()] == ["log"]


def test_process_substitution_and_a_link_to_standard_output(tmp_path):
    (tmp_path / "link").symlink_to("/dev/stdout")
    assert json.loads(shell('"$0" -c "$1" >(cat) | cat').stdout) == WANT
    assert json.loads(shell('"$0" -c "$1" "$2" | cat', tmp_path / "link").stdout) == WANT
    assert (tmp_path / "link").is_symlink()


def test_a_named_pipe_stays_one(tmp_path):
    pipe, read = tmp_path / "pipe", []
    os.mkfifo(pipe)
    check_output_file(pipe)
    reader = threading.Thread(target=lambda: read.append(pipe.read_text()), daemon=True)
    reader.start()
    assert write(pipe) == 2
    reader.join(30)
    assert json.loads(read[0]) == WANT and pipe.is_fifo()


def test_what_takes_everything_and_what_takes_nothing(tmp_path):
    check_output_file(os.devnull)
    assert write(os.devnull) == 2 and not Path(os.devnull).is_file()
    with raises(InputError, f"{tmp_path}:", "folder", remedy="--output_file"):
        check_output_file(tmp_path)
    long = tmp_path / ("n" * 300)
    with raises(InputError, long, "File name too long"):
        check_output_file(long)
    with open(os.devnull) as file:
        name = f"/dev/fd/{file.fileno()}"
        with raises(InputError, f"{name}:", "not open for writing"):
            check_output_file(name)


def test_a_broken_pipe_is_no_message_of_ours(tmp_path):
    read, write_end = os.pipe()
    os.close(read)
    with pytest.raises(BrokenPipeError):
        write(f"/dev/fd/{write_end}")
    os.close(write_end)


def test_nothing_goes_to_a_stream_if_a_score_is_no_number(tmp_path):
    scores = np.array([[0.5, 1.0], [0.5, np.nan]], np.float32)
    named = "'q2'", "'b'", "nan"
    with (
        (tmp_path / "out").open("w") as file,
        raises(PipelineError, *named, remedy="visil-index verify"),
    ):
        write_table(f"/dev/fd/{file.fileno()}", ScoreTable(["q1", "q2"], ["a", "b"], scores))
    assert (tmp_path / "out").read_text() == ""


def test_a_redirect_into_an_input_is_refused(tmp_path):
    with (tmp_path / "d.h5").open("a") as file:
        name = f"/dev/fd/{file.fileno()}"
        assert is_stream(name)
        with raises(InputError, f"{name}:", "is an input", remedy="--output_file"):
            check_output_file(name, [tmp_path / "d.h5"])


def test_a_planted_link_beside_the_result_is_not_followed(tmp_path):
    (tmp_path / "precious").write_text("kept")
    planted = tmp_path / f".r.json.{os.getpid()}.tmp"
    planted.symlink_to(tmp_path / "precious")
    write(tmp_path / "r.json")
    assert (tmp_path / "precious").read_text() == "kept"
    assert json.loads((tmp_path / "r.json").read_text()) == WANT
    assert planted.is_symlink()


def test_letters_stay_letters_and_control_characters_are_escaped(tmp_path):
    ids = ["é 日本", "\x1b[31m", "\x9b1m", "\u202egpj.mp4", "half \udc80", 'quote " \\']
    write_table(tmp_path / "r.json", ScoreTable(ids, ["é"], np.zeros((len(ids), 1), np.float32)))
    raw = (tmp_path / "r.json").read_bytes()
    text = raw.decode("utf-8")
    assert '"é 日本": {\n  "é": 0.0' in text
    assert not set(text) & {"\x1b", "\x9b", "\u202e"}
    assert "\\u001b" in text and "\\u009b" in text and "\\u202e" in text and "\\udc80" in text
    assert list(json.loads(text)) == ids


def test_nothing_is_written_into_an_input_that_is_a_folder(tmp_path: Path) -> None:
    store, beside = tmp_path / "db.zarr", tmp_path / "results.json"
    store.mkdir()
    check_output_file(beside, [store])
    for path in (store / "zarr.json", store / "deep" / ".." / "x.csv"):
        (store / "deep").mkdir(exist_ok=True)
        with raises(InputError, str(path), str(store), remedy="--report"):
            check_output_file(path, [store], option="--report")
    (tmp_path / "link").symlink_to(store)
    with raises(InputError, str(store)):
        check_output_file(tmp_path / "link" / "zarr.json", [store])


def test_two_results_are_not_written_to_one_stream() -> None:
    with raises(InputError, "/dev/stdout", remedy="--report"):
        check_output_file("/dev/stdout", ["-"], option="--report")


def test_files_of_other_kinds_are_not_replaced(tmp_path: Path) -> None:
    check_extension(tmp_path / "report.HTML", (".html",), "--report")
    check_extension("/dev/stdout", (".html",), "--report")
    for name in ("notes.txt", "store.h5", "video.mp4", "noname"):
        with raises(InputError, name, ".html", remedy="--report"):
            check_extension(tmp_path / name, (".html",), "--report")
