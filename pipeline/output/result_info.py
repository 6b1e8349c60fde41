"""What a result was made with, and the file beside a result that says so."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .. import __version__
from ..errors import InputError
from ..text import json_text
from .target import behind_links, check_output_file, is_stream, opened_output

_MAKER = ("written_by", "visil-index")
_BEGIN = '{\n "written_by": "visil-index"'


@dataclass(frozen=True)
class ResultInfo:
    """What the scores of a result were made with.

    Attributes:
        model: name of the model.
        model_digest: SHA-256 (hex) of all that changes features, of the full dims.
        settings: of stage two, and of the features, by name.
        top_k: matches of a query, at most; None: no limit.
        threshold: scores are at least this; None: no limit.
        rate: share of unrelated pairs that reach the threshold, as it was asked for (`max_fpr`);
            None where no rate was asked for.
    """

    model: str
    model_digest: str
    settings: Mapping[str, Any]
    top_k: int | None = None
    threshold: float | None = None
    rate: float | None = None

    def as_dict(self) -> dict[str, Any]:
        """The fields as JSON has them; `rate` is `max_fpr`, as the option."""
        return {
            "version": __version__,
            "model": self.model,
            "model_digest": self.model_digest,
            "settings": dict(self.settings),
            "top_k": self.top_k,
            "threshold": self.threshold,
            "max_fpr": self.rate,
        }


def beside(path: str | Path) -> Path:
    """Where the info of a result is written: `x.csv` has `x.csv.info.json`."""
    path = Path(path)
    return path.with_name(path.name + ".info.json")


def check_info_file(
    path: str | Path,
    result: str | Path,
    inputs: Iterable[str | Path] = (),
    *,
    option: str = "--info_file",
) -> None:
    """Refuse a file that cannot be written, or that is not the info of an earlier result.

    Args:
        path: of the info.
        result: path of the result.
        inputs: what the result is made of, see `target.check_output_file`.
        option: that gives it another name, for messages.

    Raises:
        InputError: naming the file.
    """
    if behind_links(path) == behind_links(result):
        raise InputError(f"{path}: is the result itself; give {option} another name")
    check_output_file(path, inputs, option=option)
    if is_stream(path):
        return
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            begin = file.read(len(_BEGIN))
    except FileNotFoundError:
        return
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from error
    if begin != _BEGIN:
        raise InputError(
            f"{path}: is not the info of an earlier result, so it is not replaced; move it, or "
            f"give {option} another name"
        )


def write_info(path: str | Path, values: Mapping[str, Any]) -> None:
    """Write the file beside a result; `values` follow the line that says who wrote it.

    Raises:
        PipelineError: the disk is full.
    """
    with opened_output(path) as file:
        file.write(info_text(values))


def info_text(values: Mapping[str, Any]) -> str:
    """The info as a JSON document, one value a line."""
    lines = [f"{json_text(key)}: {json_text(value)}" for key, value in (_MAKER, *values.items())]
    return "{\n " + ",\n ".join(lines) + "\n}\n"
