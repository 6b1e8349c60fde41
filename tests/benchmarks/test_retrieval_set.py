"""The benchmark's set: sources, roles, and that copies depend on their seed alone."""

from collections import Counter
from itertools import pairwise

import numpy as np
import pytest

from benchmarks.retrieval.dataset import build, compose, frame_ops
from benchmarks.retrieval.dataset.plan import (
    FURTHER,
    Clip,
    Copy,
    further_copies,
    plan_split,
    wild_copies,
)
from benchmarks.retrieval.dataset.sources import (
    SPLITS,
    Source,
    cut,
    missing,
    pan,
    read_source,
    read_sources,
)
from benchmarks.retrieval.dataset.unseen_transforms import EVERY_KIND, WILD_KINDS
from benchmarks.retrieval.studies.all_clips import truth
from benchmarks.retrieval.studies.unrelated_pairs import Strangers
from tools.clips import Clip as Pixels
from tools.clips import read_clip, write_clip


def source(name, suffix=".mp4", most_clips=1):
    return Source("package", "1", f"folder/{name}{suffix}", name, "test", most_clips)


def clips_of(names, suffix=".mp4", parts=1):
    return [
        Clip(f"{n}_{i}", source(n, suffix, parts), i, i + 1) for n in names for i in range(parts)
    ]


def picture(seed, count=60, height=64, width=96):
    """Coarse random blocks that drift, so that no two frames and no two seeds are alike."""
    rng = np.random.default_rng(seed)
    blocks = rng.integers(0, 256, (height // 8, width // 8 + 8, 3), dtype=np.uint8)
    wide = blocks.repeat(8, axis=0).repeat(8, axis=1)
    return np.stack([wide[:, i : i + width] for i in range(count)])


def encode(path, frames):
    write_clip(path, Pixels(frames, 10.0), "libx264", {"preset": "ultrafast"})


def test_committed_sources_keep_parents_apart():
    sources = read_sources()
    assert {s.split for s in sources} == set(SPLITS)
    assert len({s.name for s in sources}) == len(sources)


def test_a_parent_in_two_splits_is_refused(tmp_path):
    table = tmp_path / "sources.tsv"
    table.write_text("p\t1\ta.mp4\tfilm\ttrain\t1\np\t1\tb.mp4\tfilm\ttest\t1\n")
    with pytest.raises(ValueError, match=r"sources\.tsv:2: parent film is in two splits"):
        read_sources(table)


def test_missing_sources_are_named(tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "there.mp4").touch()
    assert [s.parent for s in missing([source("there"), source("gone")], tmp_path)] == ["gone"]


def test_clips_follow_one_another_and_are_long_enough():
    cuts = cut(771, "film", 8)
    assert cuts == cut(771, "film", 8)
    assert cuts[0][0] == 0 and all(a[1] == b[0] for a, b in pairwise(cuts))
    assert all(50 <= last - first <= 140 for first, last in cuts)
    assert cut(30, "short", 8) == [(0, 30)]


def test_a_short_source_runs_there_and_back(tmp_path):
    encode(tmp_path / "short.mp4", picture(1, 20))
    frames = read_source(Source("p", "1", "short.mp4", "short", "test"), tmp_path)
    assert len(frames) >= 50
    assert np.array_equal(frames[0], frames[39])


def test_a_photograph_moves():
    frames = pan(picture(1)[0], np.random.default_rng(0), seconds=1.0)
    assert frames.shape == (10, 240, 320, 3)
    assert (frames[0] != frames[-1]).mean() > 0.3


def test_roles_and_hosts():
    clips = clips_of("abcdef") + clips_of(["film"], parts=4) + clips_of("uvwxyz", ".jpg")
    plan = plan_split(clips, copies_per_kind=4)
    assert not {c.name for c in plan.queries} & {c.name for c in plan.distractors}
    assert sum(c.source.parent == "film" for c in plan.distractors) == 2
    made = [*plan.copies, *plan.decoys]
    assert len({c.name for c in made}) == len(made)
    assert {c.clip for c in plan.copies} <= set(plan.queries)
    assert {c.host for c in made} | {c.clip for c in plan.decoys} <= set(plan.distractors)
    assert all(c.host.source.parent != c.clip.source.parent for c in made)
    per_query = Counter(c.clip.name for c in plan.copies)
    assert max(per_query.values()) - min(per_query.values()) <= 3
    assert plan == plan_split(clips, copies_per_kind=4)


@pytest.mark.parametrize("kind", EVERY_KIND)
def test_copies_depend_on_their_seed_alone(kind):
    query, host = clips_of("ab")
    one, *others = (Copy(name, query, kind, host) for name in "abcdef")
    frames, background = picture(1), picture(2)
    before = frames.copy()
    first = build.change(frames, background, one)
    assert np.array_equal(first, build.change(frames, background, one))
    assert np.array_equal(frames, before), "the clip itself was changed"
    assert first.dtype == np.uint8 and first.shape[3] == 3
    assert first.shape[1] % 2 == first.shape[2] % 2 == 0
    again = [build.change(frames, background, copy) for copy in others]
    assert any(first.shape != a.shape or not np.array_equal(first, a) for a in again)


def test_picture_in_picture_has_the_size_asked_for():
    host, guest = np.zeros((5, 80, 120, 3), np.uint8), np.full((5, 40, 60, 3), 255, np.uint8)
    change = compose.picture_in_picture(0.3, 0.3)
    shown = change(guest, host, np.random.default_rng(0)) > 128
    assert shown[0, :, :, 0].any(axis=1).sum() == 24
    assert shown[0, :, :, 0].any(axis=0).sum() == 36


def changed(kind, frames, background=None):
    return WILD_KINDS[kind].change(frames, background, np.random.default_rng(0))


def test_wild_copies_are_what_they_are_called():
    frames, room = picture(1, 40), picture(2, 40)
    turned = changed("quarter_turn", frames)
    assert any(np.array_equal(np.rot90(turned, k, axes=(1, 2)), frames) for k in (1, 3))
    half = changed("upside_down", frames)
    assert np.array_equal(np.rot90(half, 2, axes=(1, 2)), frames)
    assert np.array_equal(changed("backwards", frames)[::-1], frames)
    assert changed("tall_crop", frames).shape[1:3] == (64, 36)
    black = np.zeros_like(room)
    white = np.full_like(frames, 255)
    shares = {"round_pip": (0.1, 0.31), "moving_pip": (0.15, 0.31), "on_picture": (0.35, 0.57)}
    for kind, (least, most) in shares.items():
        shown = (changed(kind, white, black) > 128).any(axis=-1)
        assert least < shown.mean() < most, kind
        moves = (shown[0] != shown[-1]).any()
        assert moves == (kind == "moving_pip"), kind
    # A hand is never still, and a room is not black.
    filmed = changed("hand_held", frames, room)
    assert filmed.min(axis=(0, 3)).mean() > 20
    tops = (changed("hand_held", white, black) > 128).all(axis=-1).argmax(axis=1)
    assert np.ptp(tops, axis=0).max() > 3


def test_warp_by_the_corners_of_the_frame_changes_nothing():
    frames = picture(1, 2)
    corners = np.array([[0, 0], [95, 0], [95, 63], [0, 63]])
    same = frame_ops.warped(frames, frame_ops.homography(corners, 64, 96), 64, 96)
    assert np.abs(same.astype(int) - frames).max() <= 1


def test_copies_of_another_plan_are_not_taken_for_ours(tmp_path):
    clips = clips_of("abcdefghijkl")
    build.keep_plan(plan_split(clips, 2), tmp_path)
    build.keep_plan(plan_split(clips, 2), tmp_path)
    with pytest.raises(FileExistsError, match="another plan"):
        build.keep_plan(plan_split(clips[:-1], 2), tmp_path)


def test_a_copy_is_written_once_and_whole(tmp_path):
    query, host = clips_of("ab")
    for clip, seed in ((query, 1), (host, 2)):
        encode(tmp_path / "clips" / f"{clip.name}.mp4", picture(seed))
    copy = Copy("copy", query, "mirror", host)
    build.write_copy(copy, tmp_path)
    path = tmp_path / "copies" / "copy.mp4"
    content = path.read_bytes()
    path.write_bytes(b"kept")
    build.write_copy(copy, tmp_path)
    assert path.read_bytes() == b"kept"
    path.unlink()
    build.write_copy(copy, tmp_path)
    assert path.read_bytes() == content
    assert len(read_clip(path, 10.0).frames) >= 50


def test_further_copies_are_of_every_clip_and_none_of_the_plan():
    clips = clips_of("abcdef", parts=2)
    copies = further_copies(clips)
    assert copies == further_copies(clips)
    plan = plan_split(clips, 4)
    names = [copy.name for copy in copies]
    assert len(set(names)) == len(names) == len(clips) * sum(FURTHER.values())
    assert not set(names) & {copy.name for copy in [*plan.copies, *plan.decoys]}
    assert {copy.clip for copy in copies} == set(clips)
    assert all(c.host in plan.distractors for c in copies)
    assert all(c.host.source.parent != c.clip.source.parent for c in copies)


def test_every_other_clip_has_a_copy_of_each_wild_kind():
    clips = clips_of("abcdef", parts=2)
    copies = wild_copies(clips)
    assert copies == wild_copies(clips)
    assert len({copy.name for copy in copies}) == len(copies)
    assert Counter(c.kind for c in copies) == dict.fromkeys(WILD_KINDS, len(clips) // 2)
    per_clip = Counter(c.clip.name for c in copies)
    assert set(per_clip.values()) == {len(WILD_KINDS) // 2, (len(WILD_KINDS) + 1) // 2}
    assert all(c.host in plan_split(clips, 4).distractors for c in copies)
    assert all(c.host.source.parent != c.clip.source.parent for c in copies)


def test_of_a_further_copy_its_own_clip_is_found_and_its_host_not_counted():
    clips = clips_of("ab", parts=2)
    names = [clip.name for clip in clips]
    copies = further_copies(clips)[:2]
    # The database: the first clip's copy, and the second clip, which asks as well.
    unrelated = np.array([[False, True], [True, False], [True, True], [True, True]])
    asked = {name: f"{name}.mp4" for name in names}
    strangers = Strangers(asked, {"a_0-edges-0": "", "a_1": ""}, unrelated, {}, np.ones(4, bool))
    kinds, counted = truth(strangers, copies)
    assert kinds.shape == counted.shape == (4, 4)
    assert not kinds[:, :2].any() and np.array_equal(counted[:, :2], unrelated)
    for column, copy in enumerate(copies, 2):
        found, host = names.index(copy.clip.name), names.index(copy.host.name)
        assert kinds[found, column] == copy.kind and (kinds[:, column] != "").sum() == 1
        assert sorted(np.flatnonzero(~counted[:, column])) == sorted([found, host])


def test_clips_are_known_again_and_their_further_copies_are_made_once(tmp_path, monkeypatch):
    sources = [source("a"), source("b")]
    monkeypatch.setattr(build, "read_sources", lambda: sources)
    (tmp_path / "clips").mkdir()
    with pytest.raises(FileNotFoundError, match=rf"{sources[0].name}\.json: build the set first"):
        build.clips_of("test", tmp_path)
    for number, one in enumerate(sources):
        encode(tmp_path / "clips" / f"{one.name}_0.mp4", picture(number))
        (tmp_path / "clips" / f"{one.name}.json").write_text(f'[["{one.name}_0", 0, 60]]')
    clips = build.clips_of("test", tmp_path)
    assert [(clip.name, clip.first, clip.last) for clip in clips] == [
        (f"{one.name}_0", 0, 60) for one in sources
    ]
    copies = [Copy(f"{clip.name}-crop_40_50-100", clip, "crop_40_50", clip) for clip in clips]
    build.write_copies(copies, tmp_path, "further", 1)
    made = sorted((tmp_path / "further").iterdir())
    assert [path.stem for path in made] == [copy.name for copy in copies]
    times = [path.stat().st_mtime_ns for path in made]
    build.write_copies(copies, tmp_path, "further", 1)
    assert times == [path.stat().st_mtime_ns for path in made]
