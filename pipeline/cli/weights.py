"""`fetch-weights`: published weights by their name, from where they are published."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from pathlib import Path

import click

from ..program import command
from ..published_weights import HEADS, files_of
from . import common, streams


@click.command()
@click.argument("name", type=click.Choice(["extractor", *HEADS]))
@click.option("-o", "--output", "folder", help="Folder for the files.  [default: the user's cache]")
@click.option(
    "--mirror", multiple=True, help="Address of a folder that is tried first; repeatable."
)
@click.option("--head_alone", is_flag=True, help="Without backbone and PCA.")
@common.handled("interrupted; run the same command to go on")
def fetch_weights(name: str, folder: str | None, mirror: tuple[str, ...], head_alone: bool) -> None:
    """Download the published files of model NAME, and say how to convert them.

    Files that are there are kept. The SHA-256 of each file is printed, and remembered when the file
    is seen for the first time; a file with another one is refused afterwards.
    """
    from ..fetch import fetch
    from ..user_cache import cache_folder

    target = Path(folder) if folder else cache_folder("weights")
    paths = []
    for file in files_of(name, head_alone):
        download = fetch(file, target, mirrors=mirror, check=_check, progress=_progress())
        state = "as seen before" if download.pinned else "seen for the first time, now pinned"
        streams.show(f"{download.path}: SHA-256 {download.sha256}, {state}")
        paths.append(str(download.path))
    if name != "extractor":
        files = " ".join(map(shlex.quote, paths))
        streams.show(f"convert: {command('convert-model')} {files} --output {name}")


def _check(path: Path) -> None:
    from ..nets.formats.torch_file import read_weight_file

    read_weight_file(path)


def _progress() -> Callable[[int, int], None]:
    line = common.ProgressLine()

    def show(done: int, total: int) -> None:
        # Where the length is not said, it is never reached.
        line.show(done >> 20, (total or done + (1 << 20)) >> 20, "MiB")

    return show
