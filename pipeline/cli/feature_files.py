"""`import-features` and `export-features`: feature files of others."""

from __future__ import annotations

import click

from ..config import DTYPES
from . import common, streams


@click.command("import-features")
@click.argument("source")
@click.argument("store")
@click.option("--as", "name", required=True, help="Which features they are: dns is of DnS, S2VS.")
@click.option("--dtype", type=click.Choice(DTYPES), help="How they are kept. Default: float16")
@common.handled("interrupted; run the command again to go on")
def import_features(source: str, store: str, name: str, dtype: str | None) -> int:
    """Import the features of SOURCE (.hdf5, .npz), a published feature file, into a STORE.

    Videos that are in the store already are left as they are. Exit code 3 says that some could not
    be used.
    """
    from ..store.feature_files import import_features as run

    line = common.ProgressLine()
    report = run(
        source,
        store,
        name,
        dtype=dtype,
        progress=lambda done, total: line.show(done, total, "videos"),
    )
    common.report_failures(report.failures, "could not be imported")
    streams.show(f"{store}: {report.imported} videos imported, {report.kept} were there already")
    return common.PARTIAL_FAILURE if report.failures else 0


@click.command("export-features")
@click.argument("store")
@click.argument("target")
@common.handled("interrupted; nothing was written")
def export_features(store: str, target: str) -> None:
    """Write the features of a STORE as published files have them: TARGET is .hdf5 or .npz."""
    from ..store.feature_files import export_features as run

    line = common.ProgressLine()
    count = run(store, target, lambda done, total: line.show(done, total, "videos"))
    streams.show(f"{target}: {count} videos")
