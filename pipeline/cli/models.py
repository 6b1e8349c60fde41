"""`convert-model`: a published release into our own format."""

from __future__ import annotations

import click

from pipeline.cli import common


@click.command()
@click.argument("source")
@click.argument("target")
@common.handled()
def convert_model(source: str, target: str) -> None:
    """Convert the published release in folder SOURCE to our own format in folder TARGET."""
    from pipeline.nets.model_dir import convert

    convert(source, target)
    click.echo(f"{target}: written; use it with --model_dir {target}")
