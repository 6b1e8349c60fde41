"""Modules among the videos are never imported, whatever they are called."""

import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.decode import Ended, decode_videos
from pipeline.records import Preprocess, VideoRef
from tests import clips

ROOT = Path(__file__).parents[2]
OTHERS = {"av", "numpy", "click", "yaml", "h5py", "zarr", "keras", "tensorflow", "sitecustomize"}


@pytest.fixture
def uploads(tmp_path: Path) -> Path:
    """A folder with a module of every name that might be imported; each leaves a mark."""
    folder = tmp_path / "uploads"
    folder.mkdir()
    mark = f"open({str(tmp_path / 'imported')!r}, 'a').write(__name__ + '\\n')\n"
    for name in (sys.stdlib_module_names | OTHERS) - {"sys", "builtins"}:
        (folder / f"{name}.py").write_text(mark + f"raise ImportError('foreign {name}')\n")
    return folder


def imported(uploads: Path) -> list[str]:
    mark = uploads.parent / "imported"
    return mark.read_text().split() if mark.exists() else []


def decode_here(path: Path) -> list[str]:
    with decode_videos([VideoRef("a", str(path))], Preprocess(8, 8), workers=1) as pool:
        ends = [event for event in pool if isinstance(event, Ended)]
    return [end.failure.detail if end.failure else end.note for end in ends]


@pytest.mark.parametrize("variable", [None, "", ".", "uploads"])
def test_decoding_processes_import_nothing_from_the_current_folder(
    uploads: Path, monkeypatch: pytest.MonkeyPatch, variable: str | None
) -> None:
    path = clips.clip(uploads / "a.mp4", frames=5)
    monkeypatch.chdir(uploads)
    monkeypatch.setattr(sys, "path", ["", str(uploads), *sys.path])
    if variable is not None:
        monkeypatch.setenv("PYTHONPATH", str(uploads) if variable == "uploads" else variable)
    assert decode_here(path) == [""]
    assert imported(uploads) == []


@pytest.mark.parametrize(
    "command",
    [
        [str(ROOT / "extract_features.py"), "--help"],
        [str(ROOT / "compute_similarity.py"), "--help"],
        [str(ROOT / "train_model.py"), "--help"],
        ["-m", "pipeline", "extract", "--help"],
    ],
    ids=lambda command: Path(command[-2]).name,
)
def test_commands_import_nothing_from_the_current_folder(
    uploads: Path, monkeypatch: pytest.MonkeyPatch, command: list[str]
) -> None:
    monkeypatch.delenv("PYTHONPATH", raising=False)
    if command[0] == "-m":  # as if it was installed
        monkeypatch.setenv("PYTHONPATH", str(ROOT))
    done = subprocess.run([sys.executable, *command], cwd=uploads, capture_output=True, text=True)
    assert done.returncode == 0 and "Usage:" in done.stdout, done.stderr
    assert imported(uploads) == []


def test_the_package_runs_from_a_checkout_without_being_installed() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "pipeline", "--version"], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0 and "visil-index" in done.stdout
