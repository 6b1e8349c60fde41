"""The wheel, beside a module called `pipeline`, runs both stages and `ViSiL`."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CODE = """
import numpy as np, visil_index
print(visil_index.__file__)
visil_index.extract_features("videos", "a.h5")
model = visil_index.ViSiL()
frames = np.zeros((4, 64, 64, 3), np.uint8) + np.arange(4, dtype=np.uint8)[:, None, None, None]
features = model.extract_features(frames)
print(features.shape[0])
"""

TYPED = """
from visil_index import CompareConfig, InputError, ViSiL, open_store
reveal_type(open_store("a.h5"))
reveal_type(ViSiL())
CompareConfig(topk=3)
"""


def run(*command: str | Path, cwd: Path) -> str:
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    done = subprocess.run(
        [str(word) for word in command], cwd=cwd, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fresh environment with the wheel alone; what it needs comes from the one of the tests."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    names = ("pipeline", "model", "setup.cfg", "pyproject.toml", "README.md", "LICENSE")
    source.mkdir()
    for name in names:
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, source / name)
    build = ("-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "--no-index", "-q")
    run(sys.executable, *build, "-w", folder, source, cwd=folder)
    venv.create(folder / "env", with_pip=False, symlinks=True)
    python = folder / "env" / "bin" / "python"
    place = run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=folder)
    needs = Path(place.strip()) / "needs.pth"
    needs.write_text(sysconfig.get_path("purelib") + "\n")
    install = ("-m", "pip", "--python", python, "install", "-q", "--no-deps", "--no-index")
    run(sys.executable, *install, *folder.glob("*.whl"), cwd=folder)
    return folder / "env" / "bin"


def test_it_runs_beside_a_module_called_pipeline(installed: Path, tmp_path: Path) -> None:
    (tmp_path / "pipeline.py").write_text("raise SystemExit('the wrong pipeline')\n")
    (tmp_path / "videos").mkdir()
    shutil.copy(ROOT / "examples" / "hello.mp4", tmp_path / "videos")
    where, frames = run(installed / "python", "-c", CODE, cwd=tmp_path).split()
    assert where.startswith(str(installed.parent)) and "visil_index" in where
    assert frames == "4"
    sides = ("--query_store", "a.h5", "--database_store", "a.h5")
    run(installed / "visil-index", "compare", *sides, "--output_file", "r.json", cwd=tmp_path)
    scores = json.loads((tmp_path / "r.json").read_text())
    assert scores["hello.mp4"]["hello.mp4"] == pytest.approx(1, abs=0.02)


def test_a_type_checker_knows_the_exported_names(installed: Path, tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(TYPED)
    mypy = ("-m", "mypy", "--strict", "--cache-dir", tmp_path / "cache", "--python-executable")
    done = subprocess.run(
        [str(word) for word in (sys.executable, *mypy, installed / "python", program)],
        cwd=tmp_path, capture_output=True, text=True,
    )  # fmt: skip
    lines = done.stdout.splitlines()
    assert len(lines) == 4, done.stdout + done.stderr
    assert 'Revealed type is "visil_index.store.base.FeatureStore"' in lines[0]
    assert 'Revealed type is "visil_index.nets.visil.ViSiL"' in lines[1]
    assert 'Unexpected keyword argument "topk"' in lines[2]
    assert lines[3].startswith("Found 1 error")


def test_the_list_of_packages_is_whole() -> None:
    """setup.cfg lists them, as the folder has another name than the package."""
    text = (ROOT / "setup.cfg").read_text()
    folders = {path.parent for path in ROOT.glob("pipeline/**/*.py")}
    names = {".".join(("visil_index", *f.relative_to(ROOT / "pipeline").parts)) for f in folders}
    listed = {line.strip() for line in text.splitlines() if line.startswith("    visil_index")}
    assert names == {line for line in listed if "=" not in line}
