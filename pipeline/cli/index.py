"""`index`: makes the candidate indices of stores, or brings them up to date."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import click

from ..errors import PipelineError
from . import common, streams

if TYPE_CHECKING:
    from ..candidates import IndexReport
    from ..nets.model.model import Model

_INDEX_SECONDS = 60.0  # between two updates while a store grows, at least


@click.command()
@click.argument("stores", nargs=-1, required=True, metavar="STORE...")
@common.model_dir_option
@click.option(
    "--coarse",
    metavar="DIR",
    help="Folder of DnS's coarse student: the index holds its vectors, one a video. The folder is "
    "remembered, and searches take the student from there.",
)
@common.handled("interrupted; the index is as it was")
def index(stores: tuple[str, ...], model_dir: str | None, coarse: str | None) -> int:
    """Make the candidate index of each STORE, or bring it up to date.

    It lies beside the store, in STORE.candidates, or in a bucket below STORE/candidates, and can be
    made again at any time. With it `--candidates N` of compare, search and duplicates has only the
    N most similar videos of each query compared. Exit code 3 says that damaged videos are not in
    it.
    """

    def load_model() -> Model:
        return common.load_weights(model_dir)

    reports = [update_store_index(store, load_model, coarse) for store in stores]
    return common.PARTIAL_FAILURE if any(report.damaged for report in reports) else 0


def update_store_index(
    store: str, load_model: Callable[[], Model], coarse: str | None = None
) -> IndexReport:
    """Bring the candidate index of one store up to date, with messages."""
    from ..candidates import update_index
    from ..search.candidate_rules import rule_to_index
    from ..store import open_store

    line = common.ProgressLine()
    with open_store(store) as opened:
        rule = rule_to_index(opened, load_model, coarse)
        report = update_index(
            opened, rule, progress=lambda done, total: line.show(done, total, "videos")
        )
    if report.rebuilt:
        common.say(f"note: {report.folder}: was damaged ({report.rebuilt}), made anew")
    for problem in report.damaged:
        common.say(f"damaged: {problem}")
    streams.show(_summary(report))
    return report


def _summary(report: IndexReport) -> str:
    how = "in inverted lists" if report.inverted else "compared one by one"
    return (
        f"{report.folder}: {report.videos} videos, {report.codes} codes {how}, "
        f"{report.bytes / 1e6:.1f} MB; {report.added} videos added, {report.removed} removed in "
        f"{report.seconds:.1f} s"
    )


class IndexKeeper:
    """Brings a candidate index up to date while its store grows, now and then.

    To update it takes the longer the more videos there are, so it is done after ten times as long.
    """

    def __init__(self, store: str, model: Model) -> None:
        self._store, self._model = store, model
        self._stored, self._next = 0, time.monotonic() + _INDEX_SECONDS

    def tell(self, stored: int) -> None:
        """Take in how many videos were stored so far."""
        if stored > self._stored and time.monotonic() > self._next:
            self._stored = stored
            try:
                seconds = self.update().seconds
            except PipelineError as error:  # the videos are stored all the same
                common.say(f"note: the candidate index waits for the end: {error}")
                seconds = math.inf
            self._next = time.monotonic() + max(_INDEX_SECONDS, 10 * seconds)

    def update(self) -> IndexReport:
        """Bring the index up to date with what is stored."""
        return update_store_index(self._store, lambda: self._model)
