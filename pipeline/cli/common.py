"""What the commands share: exit codes, messages, options, progress."""

from __future__ import annotations

import atexit
import errno
import functools
import gc
import os
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..errors import InputError, PipelineError
from ..inputs import check_prefix
from ..objects import is_url
from . import streams

if TYPE_CHECKING:
    from ..candidates import CandidateCount
    from ..nets.model.model import Model
    from ..records import Failure, VideoRef

PARTIAL_FAILURE = 3  # exit code: the run went through, but some videos could not be used
INTERRUPTED = 130
_SHOWN_FAILURES = 20
_LONGEST_LEFT = 1000 * 3600.0  # seconds

model_dir_option = click.option(
    "-m",
    "--model_dir",
    help="Model directory: a published release as unzipped, or our own format. "
    "Default: the model shipped with this program.",
)
config_option = click.option("-c", "--config", "config_file", help="YAML file with settings.")
candidates_option = click.option(
    "--candidates",
    metavar="N|SHARE",
    help="Compare only the N videos most like each query, or a share of them such as 1%, by the "
    "stores' candidate indices (visil-index index). Other pairs have no score. Default: all",
)
gpu_option = click.option("-g", "--gpu_id", type=int, default=0, help="GPU to use. Default: 0")


def cluster_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Options of a command that can run on a cluster; it gets `cluster` and `actors`."""

    @functools.wraps(command)
    def run(
        *args: Any, number_of_actors: int, actor_cpus: int, actor_gpus: float, **kwargs: Any
    ) -> Any:
        from ..cluster.ray_engine import ActorOptions

        actors = ActorOptions(number_of_actors, actor_cpus, actor_gpus)
        return command(*args, actors=actors, **kwargs)

    for option in (
        click.option(
            "--actor_gpus",
            type=click.FloatRange(min=0),
            default=0.0,
            help="With --cluster: GPUs of an actor; 0.5 lets two share one. Default: 0",
        ),
        click.option(
            "--actor_cpus",
            type=click.IntRange(min=1),
            default=1,
            help="With --cluster: cores of an actor, for its network and decoders. Default: 1",
        ),
        click.option(
            "--actors",
            "number_of_actors",
            type=click.IntRange(min=0),
            default=0,
            help="With --cluster: processes on its machines. Default: as many as there is room for",
        ),
        click.option(
            "--cluster",
            help="Work on a cluster: ray starts Ray on this machine, ray://HOST:PORT joins a "
            "running one.",
        ),
    ):
        run = option(run)
    return run


def say(text: str) -> None:
    """A line to standard error; standard output is left to results."""
    streams.tell(text)


def handled(interrupted: str = "interrupted") -> Callable[..., Callable[..., None]]:
    """Turn expected errors into one line and an exit code; SIGTERM ends as Ctrl-C does.

    Args:
        interrupted: what to tell the user who stopped the command.
    """

    def decorate(command: Callable[..., int | None]) -> Callable[..., None]:
        @functools.wraps(command)
        def run(*args: Any, **kwargs: Any) -> None:
            # At its end Python looks for cycles among all objects, half a second for TensorFlow's.
            atexit.register(gc.freeze)
            streams.ready()
            signal.signal(signal.SIGTERM, signal.default_int_handler)
            try:
                code = command(*args, **kwargs)
            except PipelineError as error:
                say(f"error: {error}")
                code = error.exit_code
            except KeyboardInterrupt as error:
                say(str(error) or interrupted)
                code = INTERRUPTED
            except OSError as error:
                if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                    raise
                say(f"error: {error.filename or 'standard output'}: {error.strerror}; make room")
                sys.stdout = streams.nowhere()
                code = PipelineError.exit_code
            sys.exit(code or 0)

        return run

    return decorate


def model_folder(model_dir: str | None) -> str:
    """The model's folder: the one given, else that of the included model."""
    from ..default_model import default_model_dir

    return str(model_dir or default_model_dir())


def candidate_count(text: str | None) -> CandidateCount | None:
    """What `--candidates` asks for."""
    from ..candidates import CandidateCount

    return None if text is None else CandidateCount.parse(text)


@functools.cache
def load_weights(model_dir: str | None) -> Model:
    """Load a model, once, and say which one it is."""
    from ..default_model import default_model_dir
    from ..nets.formats.loader import load_model

    weights = load_model(model_dir or default_model_dir())
    say(f"model: {weights.name} ({weights.origin})")
    return weights


def read_videos(
    path: str | None, folder: str | None, option: str, id_prefix: str = "", **scan: Any
) -> Sequence[VideoRef]:
    """The videos of a list file or of a folder; exactly one of the two is given.

    Args:
        scan: for a folder, see `inputs.scan_folder`.

    Raises:
        InputError: both or none are given, or what is given cannot be read.
    """
    from ..inputs import read_list, scan_folder

    if (path is None) == (folder is None):
        raise InputError(f"give either --{option}_file (lines `id<TAB>path`) or --{option}_dir")
    if folder is not None:
        return scan_folder(folder, id_prefix=id_prefix, **scan)
    assert path is not None
    if any(scan.values()):
        raise InputError(
            "--extensions, --all_files and --follow_links are for a folder; a list names its files"
        )
    return read_list(path, id_prefix)


def check_model_target(output_dir: str) -> Path:
    """Fail before the work, not after it, if the model cannot be written or would not be found.

    A published release in the folder would win over what is written there.
    """
    from ..nets.formats.visil_tf import is_published

    if not output_dir:
        raise InputError("--output_dir is empty, expected a folder")
    target = Path(output_dir)
    nearest = next(p for p in (target, *target.absolute().parents) if p.exists())
    if not nearest.is_dir():
        raise InputError(f"{nearest}: is no folder; choose another --output_dir")
    if not os.access(nearest, os.W_OK):
        raise InputError(f"{nearest}: no permission to write into it; choose another --output_dir")
    if target.is_dir() and is_published(target):
        raise InputError(f"{target}: holds a published release; choose another --output_dir")
    return target


def backbone_dtype(weights: Model) -> str:
    """What the backbone is to be written as: float16 if it was stored so, and loses nothing."""
    import numpy as np

    arrays = weights.arrays.values()
    fits = all(np.array_equal(a, a.astype(np.float16).astype(np.float32)) for a in arrays)
    return "float16" if fits else "float32"


def report_failures(failures: Sequence[Failure], heading: str) -> None:
    """Name the videos that could not be used, and why; a long list is cut."""
    if not failures:
        return
    say(f"{heading}: {len(failures)}")
    for failure in failures[:_SHOWN_FAILURES]:
        say(f"  {failure.id}: {failure.reason}: {failure.detail}")
    if len(failures) > _SHOWN_FAILURES:
        say(f"  ... and {len(failures) - _SHOWN_FAILURES} more (visil-index info --failures STORE)")


def report_damaged(lines: Sequence[str]) -> int:
    """Name the videos that were left out of a comparison; returns the exit code."""
    if not lines:
        return 0
    say(f"damaged, left out: {len(lines)}")
    for line in lines[:_SHOWN_FAILURES]:
        say(f"  {line}")
    if len(lines) > _SHOWN_FAILURES:
        say(f"  ... and {len(lines) - _SHOWN_FAILURES} more (visil-index verify STORE)")
    return PARTIAL_FAILURE


def split_store(text: str) -> tuple[str, str]:
    """`PREFIX=STORE` -> (prefix, path); a path that exists has no prefix, whatever is in it."""
    if is_url(text) or os.path.exists(text) or "=" not in text:
        return "", text
    splits = [(text[:i], text[i + 1 :]) for i, c in enumerate(text) if c == "="]
    prefix, path = next(
        (split for split in splits if is_url(split[1]) or os.path.exists(split[1])), splits[0]
    )
    check_prefix(prefix)
    return prefix, path


def name_each(lines: Mapping[str, str], heading: str) -> None:
    """A heading, then `key: text` of each; a long list is cut."""
    if not lines:
        return
    say(f"{heading}: {len(lines)}")
    for key, text in islice(lines.items(), _SHOWN_FAILURES):
        say(f"  {key}: {text}")
    if len(lines) > _SHOWN_FAILURES:
        say(f"  ... and {len(lines) - _SHOWN_FAILURES} more")


def report_folder(
    unreadable: Mapping[str, str], left_out: Counter[str], links: int, probed: bool = False
) -> None:
    """Name what in a folder could not be read, and count what was not taken.

    `probed`: FFmpeg was asked about the files that were left out.
    """
    from ..inputs import left_out_text

    name_each(unreadable, "could not be read, so nothing of it is stored")
    hints = {"--all_files or --extensions takes files": bool(left_out) and not probed}
    hints |= {"--follow_links takes links": links > 0, "FFmpeg finds no film in them": probed}
    if text := left_out_text(left_out, links):
        say(f"left out: {text}; {', '.join(hint for hint, applies in hints.items() if applies)}")


class ProgressLine:
    """One line that is rewritten on a terminal, or a new line every 30 s in a log."""

    def __init__(self) -> None:
        self._terminal = sys.stderr.isatty()
        self._begin = self._last = time.monotonic()
        self._width = 0
        self._finished = False

    def show(
        self, done: int, total: int, what: str, detail: str = "", left: float | None = None
    ) -> None:
        """Say how far the work is and how long the rest will take.

        Args:
            left: seconds; None judges by the rate so far. What cannot be is told as unknown.
        """
        now = time.monotonic()
        if now - self._last < (0.5 if self._terminal else 30) and done < total:
            return
        if done >= total and self._finished:
            return
        self._last, self._finished = now, done >= total
        if left is None and done:
            left = (now - self._begin) * (total - done) / done
        rest = f", time left: {_duration(left)}" if done < total else ""
        text = f"{done}/{total} {what}{detail}{rest}"
        if self._terminal:
            streams.tell(text.ljust(self._width), begin="\r", nl=done >= total)
            self._width = len(text)
        else:
            say(text)


def _duration(seconds: float | None) -> str:
    """Hours, minutes and seconds; no more than anybody would wait, as a file may claim anything."""
    if seconds is None or not 0 <= seconds < _LONGEST_LEFT:  # false for NaN as well
        return "unknown"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}"
