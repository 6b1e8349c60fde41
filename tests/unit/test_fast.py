"""The limit that `make test-fast` sets for each test."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
WORK = "import time\nend = time.process_time() + {}\nwhile time.process_time() < end: pass\n"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("body", "fails"),
    [
        (f"def test():\n exec('''{WORK.format(0.4)}''')", True),
        (f"import pytest\n@pytest.fixture\ndef x():\n exec('''{WORK.format(0.4)}''')\n"
         "def test(x): pass", True),
        (f"import subprocess, sys\ndef test():\n"
         f" subprocess.run([sys.executable, '-c', '''{WORK.format(0.4)}'''])", True),
        ("import time\ndef test():\n time.sleep(0.4)", False),
    ],
    ids=["test", "fixture", "child", "sleep"],
)  # fmt: skip
def test_what_takes_long_fails(tmp_path: Path, body: str, fails: bool) -> None:
    (tmp_path / "test_it.py").write_text(body)
    options = ("-q", "-p", "no:cacheprovider", "-p", "tests.conftest", "--rootdir", tmp_path)
    command = [sys.executable, "-m", "pytest", *options, "--processor_seconds", "0.3", tmp_path]
    done = subprocess.run(map(str, command), cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == (1 if fails else 0), done.stdout + done.stderr
    assert ("mark it `slow`" in done.stdout) == fails
