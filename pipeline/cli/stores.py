"""`info`, `verify`, `remove`, `prune` and `copy`: the small commands on a store."""

from __future__ import annotations

import os
from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from ..config import DTYPES
from ..errors import InputError
from . import common, streams

if TYPE_CHECKING:
    from ..store import FeatureStore


@click.command()
@click.argument("store")
@click.option("--ids", is_flag=True, help="List the ids of the stored videos, one a line.")
@click.option("--failures", is_flag=True, help="List the failed videos: id, reason, detail, path.")
@click.option("--json", "as_json", is_flag=True, help="Everything as JSON, a video a line.")
@common.handled()
def info(store: str, ids: bool, failures: bool, as_json: bool) -> None:
    """Tell what is in a STORE."""
    from ..store import open_store

    with open_store(store) as opened:
        if ids:
            for video_id in opened.ids:
                streams.show(video_id)
        elif failures:
            for f in opened.failures.values():
                streams.show(f"{f.id}\t{f.reason}\t{f.detail}\t{f.source.path}")
        elif as_json:
            streams.show_json({"spec": opened.spec.as_json()})
            for video_id in opened.ids:
                streams.show_json(asdict(opened.record(video_id)))
            for f in opened.failures.values():
                streams.show_json({"failure": asdict(f)})
        else:
            for name, text in _summary(opened).items():
                streams.show(f"{name + ':':13} {text}")


def _summary(store: FeatureStore) -> dict[str, str]:
    """What a store holds, by the names of the glossary."""
    spec, stored_frames = store.spec, int(store.lengths.sum())
    inset_frames = sum(sum(store.insets(video_id)) for video_id in store.ids)
    views = f" ({spec.query_descriptors} of them query views)" if spec.query_descriptors else ""
    if spec.view_step > 1:
        views = views.replace(")", f", lowpass ones of every {spec.view_step} frames)")
    lines = {
        "videos": f"{len(store)} ({len(store.failures)} failed)",
        "frames": f"{stored_frames - inset_frames}, {spec.fps:g} a second of video",
        "insets": f"{inset_frames} more frames, of pictures within the picture, by {spec.insets}",
        "descriptors": f"{spec.descriptors} a frame{views}, {spec.dims} values each, "
        f"{store.encoding}",
        "size": f"{stored_frames * store.frame_bytes / 1e6:.1f} MB of features",
        "model": f"{spec.model} ({spec.digest[:16]})",
        "frames as": f"{spec.resize} -> {spec.crop} pixels, {spec.resize_method}",
        "sampling": f"{spec.sampling}{', mirrored' * spec.mirrored}",
        "fingerprint": spec.fingerprint[:16],
        "format": str(store.format_version),
    }
    if not spec.insets:
        del lines["insets"]
    return lines


@click.command()
@click.argument("store")
@common.handled()
def verify(store: str) -> int:
    """Read every byte of a STORE and check it. Exit code 1 if something is damaged.

    In a store of parts that is whole, objects are deleted that no log entry needs and that are
    older than a day: what killed writers left, and parts that were merged.
    """
    from ..store import open_store
    from ..store.parts.reader import PartsStore

    line = common.ProgressLine()
    with open_store(store) as opened:
        problems = opened.verify(lambda done, total: line.show(done, total, "videos"))
        for problem in problems:
            common.say(f"damaged: {problem}")
        if isinstance(opened, PartsStore) and not problems:
            swept = opened.sweep()
            if swept:
                common.say(f"{len(swept)} objects that no log entry needs for a day were deleted")
        streams.show(f"{store}: {len(opened)} videos checked, {len(problems)} problems")
    return 1 if problems else 0


@click.command()
@click.argument("store")
@click.option(
    "--small_mb",
    type=click.IntRange(min=1),
    default=64,
    show_default=True,
    help="Merge parts of fewer MiB.",
)
@common.handled()
def compact(store: str, small_mb: int) -> None:
    """Merge small parts of a STORE of parts, so that it is opened and read with fewer requests.

    Others may read and add meanwhile. `verify` deletes the old parts a day later.
    """
    from ..objects import storage_path
    from ..store import is_parts
    from ..store.parts.compact import compact_parts

    if not is_parts(store):
        raise InputError(f"{store}: has no parts; `copy` to a new store frees the space of others")
    line = common.ProgressLine()
    before, after = compact_parts(
        storage_path(store),
        small_bytes=small_mb << 20,
        progress=lambda done, total: line.show(done, total, "videos"),
    )
    streams.show(f"{store}: {before} parts were merged to {after}")


@click.command()
@click.argument("store")
@click.argument("ids", nargs=-1, required=True)
@common.handled()
def remove(store: str, ids: tuple[str, ...]) -> None:
    """Remove videos from a STORE. Ids with a leading dash go behind `--`."""
    from ..store import open_writer

    with open_writer(store) as writer:
        failures = writer.failures  # parsed once
        unknown = [i for i in ids if i not in writer and i not in failures]
        if unknown:
            raise InputError(f"{store}: no video {unknown[0]!r}; nothing was removed")
        for video_id in dict.fromkeys(ids):
            writer.remove(video_id)
        for note in writer.notes:
            common.say(f"note: {note}")
    streams.show(f"{store}: {len(set(ids))} videos removed (`copy` to a new store frees the space)")


@click.command()
@click.argument("store")
@click.option("--dry_run", is_flag=True, help="List them, remove nothing.")
@click.option(
    "--gone", multiple=True, help="Folder that is gone for good, not offline; repeatable."
)
@common.handled()
def prune(store: str, dry_run: bool, gone: tuple[str, ...]) -> int:
    """Remove the videos and failures from a STORE whose file is gone, and list them.

    Entries stay where a disk may be offline: nothing stored is there any more below their top
    folder. Exit code 3 says that some could not be judged. Paths of stores by earlier versions may
    be relative; they start at the current directory.
    """
    from ..extraction.prune import find_losses
    from ..store import StoreWriter, open_store, open_writer

    with open_store(store) if dry_run else open_writer(store) as opened:
        paths = {i: f.source.path for i, f in opened.failures.items()}
        paths |= {i: opened.record(i).source.path for i in opened.ids}
        losses = find_losses(paths.items(), gone)
        for video_id, path in losses.gone.items():
            streams.show(f"{video_id}\t{path}")
        if isinstance(opened, StoreWriter):
            for video_id in losses.gone:
                opened.remove(video_id)
    if losses.relative:
        common.say(f"note: {losses.relative} paths are relative, looked for below {os.getcwd()}")
    common.name_each(losses.unknown, "cannot be looked at, stay")
    common.name_each(
        {k: f"{len(v)} {'entry' if len(v) == 1 else 'entries'}" for k, v in losses.offline.items()},
        "stay, as their disk may not be mounted (if one is gone for good: prune --gone FOLDER)",
    )
    done = "would be removed" if dry_run else "removed (`copy` to a new store frees the space)"
    common.say(f"{store}: {len(losses.gone)} of {len(paths)} entries {done}")
    return common.PARTIAL_FAILURE if losses.unknown or losses.offline else 0


@click.command()
@click.argument("source")
@click.argument("target")
@click.option("--dtype", type=click.Choice(DTYPES), help="Keep features coarser than SOURCE does.")
@common.handled()
def copy(source: str, target: str, dtype: str | None) -> None:
    """Copy SOURCE to TARGET: from HDF5 to Zarr or back, and without what was removed.

    With --dtype int8 or binary TARGET takes a half or a sixteenth of a float16 SOURCE.
    """
    from ..store import copy_store

    count = copy_store(source, target, dtype=dtype, note=lambda n: common.say(f"note: {n}"))
    streams.show(f"{target}: {count} videos copied")
