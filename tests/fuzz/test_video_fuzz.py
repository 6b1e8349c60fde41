"""Mutated videos: each ends once, stored with a plausible number of frames or failed by name."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.decode import Ended, Frames, decode_videos
from pipeline.errors import VideoError
from pipeline.records import Preprocess, VideoRef
from tests import clips
from tests.fuzz import mutations

SECONDS = 4
SMALL = Preprocess(resize=16, crop=16)
# One sample a second of play time; a mutated header may honestly describe a longer still picture.
MOST_FRAMES = 5_000

SEEDS = {
    "plain.mp4": {"codec": "libx264"},
    "fast.mov": {"codec": "mpeg4"},
    "film.mkv": {"codec": "libx264"},
    "film.webm": {"codec": "libvpx"},
    "film.ts": {"codec": "mpeg2video"},
    "film.mpg": {"codec": "mpeg1video"},
    "film.avi": {"codec": "mpeg4"},
    "film.flv": {"codec": "flv"},
    "film.gif": {"codec": "gif", "pix_fmt": "rgb8"},
    "parts.mp4": {"codec": "libx264", "container": {"movflags": "frag_keyframe+empty_moov"}},
}


@pytest.fixture(scope="module")
def seeds(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("seeds")
    return [
        clips.clip(folder / name, frames=SECONDS * 25, **how)  # type: ignore[arg-type]
        for name, how in SEEDS.items()
    ]


@pytest.mark.timeout(0)
def test_mutated_videos_end_with_a_bounded_number_of_frames(
    seeds: list[Path], tmp_path: Path
) -> None:
    refs = []
    for number in range(mutations.count(120)):
        chance = mutations.generator(number)
        seed = chance.choice(seeds)
        path = tmp_path / f"{number}{seed.suffix}"
        path.write_bytes(mutations.mutate(seed.read_bytes(), chance))
        refs.append(VideoRef(f"{number}", str(path)))
    frames, ends = dict.fromkeys(range(len(refs)), 0), {}
    with decode_videos(refs, SMALL, workers=2, stall_seconds=60.0) as events:
        for event in events:
            if isinstance(event, Frames) and not event.inset:
                frames[event.index] += len(event.seconds)
                assert frames[event.index] <= MOST_FRAMES, refs[event.index].path
            elif isinstance(event, Ended):
                assert event.index not in ends
                ends[event.index] = event
    assert sorted(ends) == list(range(len(refs)))
    for index, end in ends.items():
        if end.failure is None:
            assert frames[index] > 0, refs[index].path
            if frames[index] > 10 * SECONDS:
                assert end.note, f"{refs[index].path}: {frames[index]} frames without a note"
        else:
            assert end.failure.reason in VideoError.REASONS
            # A decoder may crash on damage; a stall or an unexpected error is a fault of ours.
            assert end.failure.reason != "decoder_stalled", refs[index].path
            assert "unexpected" not in end.failure.detail, end.failure.detail
