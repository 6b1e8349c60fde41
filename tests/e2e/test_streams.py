"""Commands whose messages or results have nowhere to go."""

import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.store import create_or_append
from tests.messages import assert_names
from tests.store_helpers import SPEC, add

ROOT = Path(__file__).parents[2]
FULL = Path("/dev/full")
needs_full = pytest.mark.skipif(not FULL.exists(), reason="no /dev/full on this system")


@pytest.fixture
def store(tmp_path):
    with create_or_append(tmp_path / "s.h5", SPEC) as writer:
        add(writer, "a", seed=1)
    return tmp_path / "s.h5"


def run(command, settings=(), **streams):
    environment = {**os.environ, "PYTHONPATH": str(ROOT), **dict(settings)}
    line = f"exec {shlex.quote(sys.executable)} -m pipeline {command}"
    return subprocess.run(["sh", "-c", line], env=environment, text=True, **streams)


@needs_full
@pytest.mark.parametrize("command", ["info", "info --json", "info --ids", "verify"])
def test_results_that_cannot_be_written_are_one_clear_line(store, command):
    with FULL.open("w") as out:
        done = run(f"{command} {store}", stdout=out, stderr=subprocess.PIPE)
    assert done.returncode == 1
    assert_names(
        done.stderr.splitlines()[-1], "error", "standard output", "No space", remedy="make room"
    )
    assert "Traceback" not in done.stderr and "Exception" not in done.stderr


@needs_full
def test_work_goes_on_without_its_log(store):
    """The log may lie on another disk than the store."""
    with FULL.open("w") as log:
        done = run(f"verify {store}", stdout=subprocess.PIPE, stderr=log)
    assert (done.returncode, done.stdout) == (0, f"{store}: 1 videos checked, 0 problems\n")


@pytest.mark.parametrize("closed", ["2>&-", ">&-", "<&- >&- 2>&-"])
def test_no_file_takes_the_number_of_a_closed_stream(store, tmp_path, closed):
    """What a library writes to standard error would else go into the store."""
    shown = (
        "import os\n"
        "from pipeline.cli import common\n"
        "@common.handled()\n"
        "def command():\n"
        f"    fd = os.open({str(tmp_path / 'kept')!r}, os.O_RDWR | os.O_CREAT)\n"
        "    os.write(fd, str(fd).encode())\n"
        "    os.write(2, b'noise')\n"
        "command()\n"
    )
    line = f"exec {shlex.quote(sys.executable)} -c {shlex.quote(shown)} {closed}"
    done = subprocess.run(["sh", "-c", line], cwd=ROOT)
    assert done.returncode == 0
    assert int((tmp_path / "kept").read_text()) > 2
    assert run(f"verify {store} {closed}").returncode == 0


def test_ids_that_the_terminal_cannot_show(tmp_path):
    with create_or_append(tmp_path / "s.h5", SPEC) as writer:
        add(writer, "é 日", seed=1)
    settings = {"PYTHONIOENCODING": "latin-1"}
    with (tmp_path / "ids").open("w") as out:
        done = run(f"info --ids {tmp_path / 's.h5'}", settings, stdout=out)
    assert done.returncode == 0
    assert (tmp_path / "ids").read_bytes() == b"\xe9 \\u65e5\n"
