"""`evaluate` and `benchmark-list`: the published benchmarks, or one of your own."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import click

from ..errors import InputError
from . import common, streams

_SHOWN_MISSING = 10
_benchmark_help = (
    "FIVR-200K, FIVR-5K, CC_WEB_VIDEO, EVVE, SVD, VCDB, VSC2022, VCSL, or `own`: a table of "
    "relevant pairs."
)
_annotation_option = click.option(
    "-a",
    "--annotation",
    multiple=True,
    required=True,
    help="File of the annotation as it was published; repeatable. EVVE: a folder of .dat files.",
)


@click.command()
@click.option("-b", "--benchmark", required=True, help=_benchmark_help)
@_annotation_option
@click.option("--json", "as_json", is_flag=True, help="Everything as JSON on one line.")
@click.argument("results", nargs=-1, required=True)
@common.handled()
def evaluate(
    benchmark: str, annotation: tuple[str, ...], as_json: bool, results: tuple[str, ...]
) -> None:
    """Evaluate RESULTS by the rules of a benchmark.

    RESULTS is what `compare` wrote (JSON, JSON Lines, CSV, VCSL's JSON), or a file of the same form
    of any tool. For VSC2022's descriptor track: two .npz files, queries and references.
    """
    from ..evaluation import evaluate as run

    report = run(benchmark, annotation, results)
    if as_json:
        streams.show_json(report.as_dict())
    else:
        for line in report.lines():
            streams.show(line)


@click.command("benchmark-list")
@click.argument("benchmark")
@_annotation_option
@click.option("--videos", required=True, help="Folder with the videos, searched recursively.")
@click.option(
    "--pattern",
    help='Where the id is in a path below --videos, such as "*/{id}.mp4". '
    "Default: the id is a path or a name, with its extension or without.",
)
@click.option("-o", "--output_dir", default=".", help="Folder for the lists. Default: this one.")
@common.handled()
def benchmark_list(
    benchmark: str, annotation: tuple[str, ...], videos: str, pattern: str | None, output_dir: str
) -> int:
    """Write the lists of queries and of database videos of BENCHMARK, for `extract`.

    Writes BENCHMARK_queries.txt and BENCHMARK_database.txt. Exit code 3 if a video is missing.
    """
    from ..evaluation.lists import benchmark_lists

    lists = benchmark_lists(benchmark, annotation, videos, pattern)
    for side, paths in (("queries", lists.queries), ("database", lists.database)):
        target = Path(output_dir, f"{lists.name}_{side}.txt")
        _write_list(target, paths)
        streams.show(f"{target}: {len(paths)} videos")
    if not lists.missing:
        return 0
    common.say(f"no file for {len(lists.missing)} videos; see --pattern:")
    for video_id in lists.missing[:_SHOWN_MISSING]:
        common.say(f"  {video_id}")
    if len(lists.missing) > _SHOWN_MISSING:
        common.say(f"  ... and {len(lists.missing) - _SHOWN_MISSING} more")
    return common.PARTIAL_FAILURE


def _write_list(target: Path, paths: Mapping[str, Path]) -> None:
    from ..atomic import atomic_write

    for video_id, path in paths.items():
        if any(c in f"{video_id}{path}" for c in "\t\n\r"):
            raise InputError(f"{path}: a tab or line break in the name; rename the file")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(target, "w", encoding="utf-8", newline="\n") as file:
            file.writelines(f"{i}\t{path.absolute()}\n" for i, path in paths.items())
    except OSError as error:
        raise InputError(f"{target}: cannot be written: {error.strerror}") from None
