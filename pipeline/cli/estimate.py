"""`estimate`: what collections of some sizes would cost, measured on a sample."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from ..config import Config
from ..errors import InputError
from . import common, options, streams

if TYPE_CHECKING:
    from ..estimate import Estimate, Rates, Row

NOT_MEASURED = "not measured here"
BUSY = 0.5  # processes that want a core, for each core


@click.command()
@click.argument("path", metavar="FOLDER|STORE")
@click.option(
    "--length",
    default="600",
    show_default=True,
    help="Seconds of a video in the table, or `own`: the mean of the collection.",
)
@click.option("--json", "as_json", is_flag=True, help="Rates and rows as JSON.")
@common.model_dir_option
@common.config_option
@common.gpu_option
@common.handled()
@options.settings("extract", "compare.similarity_function")
def estimate(
    path: str, length: str, as_json: bool, model_dir: str | None, gpu_id: int, config: Config
) -> None:
    """Measure a sample of a FOLDER of videos or of a STORE, and print what 1,000 to 1,000,000 cost.

    It decodes up to 16 videos, runs the network and compares, within two minutes. Run it while
    nothing else uses the machine.
    """
    from ..estimate import estimate as measure

    seconds = _length(length)
    report = measure(
        path,
        common.load_weights(model_dir),
        config,
        length=seconds,
        gpu_id=gpu_id,
        say=lambda text: common.say(f"{text} ..."),
    )
    if as_json:
        streams.show_json(report.as_json())
        return
    for line in (*_rate_lines(report), "", *_table(report), "", *_rules(report)):
        streams.show(line)


def _length(text: str) -> float | None:
    """Seconds, or None for the collection's own mean."""
    if text == "own":
        return None
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 1 <= seconds <= 1e6:
        raise InputError(f"--length is {text!r}, expected seconds from 1 to 1000000, or own")
    return seconds


def _rate_lines(report: Estimate) -> list[str]:
    rates = report.rates
    failed = f", {rates.failed} failed" if rates.failed else ""
    lines = [
        f"collection: {rates.videos} videos of {rates.mean_seconds:.0f} s on average; sampled "
        f"{rates.sampled}, {rates.frames} frames{failed}"
    ]
    if rates.decode_seconds is None:
        lines.append(f"decoding:   {NOT_MEASURED}, as none of the sampled files is there")
    else:
        speed = 1 / rates.decode_seconds
        lines.append(f"decoding:   {speed:.0f} s of video a second of one core")
    return [
        *lines,
        f"network:    {1 / rates.network_seconds:.1f} frames a second of one core "
        f"({rates.engine}, {rates.precision}), {_gpu_rate(rates)}",
        f"queries:    {1 / rates.query_network_seconds:.1f} frames a second of one core, with "
        "query views",
        f"insets:     {rates.inset_share:.2f} frames for each frame",
        f"comparing:  {1e-6 / rates.query_product_seconds:.2f} million products of a query frame "
        f"and a database frame a second, {1e-6 / rates.pair_product_seconds:.2f} million of two "
        f"database frames ({rates.cores} cores)",
    ]


def _gpu_rate(rates: Rates) -> str:
    if rates.gpu_network_seconds is None:
        return f"GPU {NOT_MEASURED}"
    return f"GPU {1 / rates.gpu_network_seconds:.0f}"


def _table(report: Estimate) -> list[str]:
    """The rows as a table in Markdown."""
    from ..estimate import CANDIDATES, CORES, PAIR_CANDIDATES, VALUE_BITS

    minutes, seconds = divmod(round(report.length), 60)
    head = [
        f"videos of {minutes}:{seconds:02}",
        *(f"stage one, {cores} cores" for cores in CORES),
        "with a GPU",
        *(f"{name}, GB" for name in VALUE_BITS),
        "float16 with insets, GB",
        f"a query of {report.query_length:.0f} s",
        f"with {CANDIDATES} candidates",
        "all pairs",
        f"with {PAIR_CANDIDATES} candidates each",
    ]
    lines = [head, ["---"] * len(head), *(_cells(row) for row in report.rows)]
    return [f"| {' | '.join(cells)} |" for cells in lines]


def _cells(row: Row) -> list[str]:
    from ..estimate import CORES

    hours = row.stage_one_hours
    gpu = row.gpu_hours
    return [
        f"{row.videos:,}",
        *(NOT_MEASURED if hours is None else duration(hours[cores] * 3600) for cores in CORES),
        NOT_MEASURED if gpu is None else duration(gpu * 3600),
        *(_number(size) for size in row.gigabytes.values()),
        _number(row.gigabytes_with_insets["float16"]),
        duration(row.query_seconds),
        duration(row.candidate_seconds),
        duration(row.all_pairs_hours * 3600),
        duration(row.candidate_pairs_hours * 3600),
    ]


def duration(seconds: float) -> str:
    """A time in the unit that suits it, from seconds to years."""
    for unit, size, limit in (("s", 1, 120), ("min", 60, 7200), ("h", 3600, 100 * 3600)):
        if seconds < limit:
            return f"{_number(seconds / size)} {unit}"
    days = seconds / 86400
    return f"{_number(days)} days" if days < 1000 else f"{_number(days / 365.25)} years"


def _number(value: float) -> str:
    """Two digits that count, without an exponent."""
    if value >= 10:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 1 else f"{value:.2g}"


def _rules(report: Estimate) -> list[str]:
    lines = [
        "How it is reckoned: hours of stage one are the processor time of decoding and of the "
        "network (insets included), divided by the number of cores; a machine of other cores, a "
        "slow disk or memory shared by many cores needs more.",
        f"Queries and pairs are on this machine ({report.rates.cores} cores), proportional to the "
        "products of frames, from features that are in memory; a disk that reads the gigabytes of "
        "the table more slowly than that is the limit. A query's own extraction comes on top.",
        "Candidates are chosen by an index that is in memory, then compared.",
    ]
    if report.rates.load > BUSY:
        lines.append(
            f"note: the machine was busy before (load {report.rates.load:.1f} on each core), so "
            "queries and pairs take less time than this on an idle one: run it again then"
        )
    return lines
