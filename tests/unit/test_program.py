"""Messages send people to a command that they have."""

import shutil
import subprocess
import sys
from pathlib import Path

from pipeline.program import command

PACKAGE = Path(__file__).parents[2] / "pipeline"


def test_a_checkout_has_scripts():
    assert command("extract") == "extract_features.py"
    assert command("adapt") == "visil-index adapt"


def test_an_installed_package_has_none(tmp_path):
    (tmp_path / "visil_index").mkdir()
    shutil.copy(PACKAGE / "program.py", tmp_path / "visil_index" / "program.py")
    code = "from visil_index.program import command; print(command('extract'))"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert done.stdout == "visil-index extract\n"
