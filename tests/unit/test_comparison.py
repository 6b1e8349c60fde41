"""What a comparison refuses before any store is opened: results that would replace its inputs."""

from pathlib import Path

import pytest

from pipeline.errors import InputError
from pipeline.records import VideoRef
from pipeline.workflow import Comparison, VideoSource
from tests.messages import raises


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("q.h5", "list.txt", "clip.mp4", "clip.html"):
        (tmp_path / name).write_bytes(b"content")
    for name in ("db.zarr", "model"):
        (tmp_path / name).mkdir()
    return tmp_path


def comparison(folder: Path, **options: object) -> Comparison:
    values = {
        "queries": VideoSource([("", folder / "q.h5")]),
        "database": VideoSource([("", folder / "db.zarr")]),
        "other_inputs": [folder / "list.txt", folder / "model"],
        **options,
    }
    return Comparison(**values)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["q.h5", "list.txt", "db.zarr/zarr.json", "model/model.json"])
def test_no_result_and_no_report_replaces_an_input(folder: Path, name: str) -> None:
    with raises(InputError, folder / name, remedy="--output_file"):
        comparison(folder, output_file=folder / name)
    with raises(InputError, folder / name, remedy="--report"):
        comparison(folder, report_file=folder / name)


def test_mirrored_queries_and_backgrounds_are_inputs(folder: Path) -> None:
    for option in ("mirrored", "background"):
        with raises(InputError, folder / "clip.html", remedy="--report"):
            comparison(
                folder,
                report_file=folder / "clip.html",
                **{option: [("", folder / "clip.html")]},
            )


def test_a_listed_video_is_an_input(folder: Path) -> None:
    listed = VideoSource(videos=[VideoRef("a", str(folder / "clip.html"))])
    with raises(InputError, folder / "clip.html", remedy="--report"):
        comparison(folder, queries=listed, report_file=folder / "clip.html")
    comparison(folder, queries=listed, report_file=folder / "other.html", output_file="r.json")


def test_a_report_is_an_html_file_of_its_own(folder: Path) -> None:
    for name in ("notes.txt", "clip.mp4"):
        with raises(InputError, folder / name, ".html", remedy="--report"):
            comparison(folder, report_file=folder / name)
    both = {"output_file": folder / "r.csv", "info_file": folder / "r.html"}
    with raises(InputError, folder / "r.html", remedy="--report"):
        comparison(folder, report_file=folder / "r.html", **both)
