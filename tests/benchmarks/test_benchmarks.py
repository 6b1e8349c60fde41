"""The benchmarks of stage two and of the store still run; what they measure is in NOTES.md."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

SMALL = {
    "similarity": ("--frames", "6", "--queries", "2", "--database", "3", "--rounds", "1"),
    "streaming": ("FOLDER", "--database", "4", "--queries", "2", "--rounds", "1", "--comparator"),
    "growth": ("FOLDER", "--database", "4", "--queries", "2", "--frames", "5"),
    "store": ("stream", "FOLDER", "--videos", "5", "--frames", "5"),
}


@pytest.mark.parametrize("name", SMALL)
def test_it_runs_and_prints_its_table(name, tmp_path):
    options = [str(tmp_path) if word == "FOLDER" else word for word in SMALL[name]]
    done = subprocess.run(
        [sys.executable, str(ROOT / "benchmarks" / "performance" / f"{name}.py"), *options],
        capture_output=True, text=True, cwd=ROOT, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    rows = [line for line in done.stdout.splitlines() if re.search(r"\d\.\d", line)]
    assert rows and "nan" not in done.stdout
