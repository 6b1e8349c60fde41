"""The pages name files, headings, modules and options that exist."""

from __future__ import annotations

import re
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import click
import pytest

import pipeline
from pipeline.cli import main

ROOT = Path(__file__).parents[2]
FOLDERS = (".", "docs", "model", "examples", "tests/golden", "benchmarks", "benchmarks/retrieval")
PAGES = sorted(page for folder in FOLDERS for page in (ROOT / folder).glob("*.md"))
# Options of programs that are not ours, and what a text says about options in general.
OTHER_OPTIONS = {"--timeout"}


def text_of(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def exists(name: str) -> bool:
    """Whether a dotted name is a module, or is in one."""
    module, _, attribute = name.rpartition(".")
    try:
        parent = import_module(module)
        return hasattr(parent, attribute) or find_spec(name) is not None
    except ModuleNotFoundError:
        return False


def slug(heading: str) -> str:
    """The anchor that GitHub gives a heading."""
    plain = re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", heading).strip().lower()
    return re.sub(r"[^\w\- ]", "", plain).replace(" ", "-")


def anchors(page: Path) -> set[str]:
    text = re.sub(r"```.*?```", "", text_of(page), flags=re.DOTALL)
    headings = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {slug(h) for h in headings} | set(re.findall(r'<a id="([^"]+)">', text))


def known_options() -> set[str]:
    """Long options of all commands, and of the scripts in tools/ and benchmarks/."""
    commands = main.commands.values() if isinstance(main, click.Group) else []
    options = {o for c in commands for p in c.params for o in [*p.opts, *p.secondary_opts]}
    for path in [*ROOT.glob("tools/*.py"), *ROOT.glob("benchmarks/**/*.py")]:
        options |= set(re.findall(r'"(--[a-z_]+)"', path.read_text(encoding="utf-8")))
    return options | {"--help", "--version"} | OTHER_OPTIONS


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    broken = []
    for target in re.findall(r"\]\(([^)\s]+)\)", text_of(page)):
        if re.match(r"https?://", target):
            continue
        name, _, anchor = target.partition("#")
        file = (page.parent / name).resolve() if name else page
        if not file.exists() or (anchor and anchor not in anchors(file)):
            broken.append(target)
    assert not broken


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_files_and_modules_exist(page: Path) -> None:
    text = text_of(page)
    files = re.findall(r"\b((?:pipeline|benchmarks|tools|configs|tests)/[\w/.-]+\.\w+)", text)
    modules = re.findall(r"-m (benchmarks(?:\.[a-z_]+)+)", text)
    missing = [f for f in files if not (ROOT / f).exists()]
    missing += [m for m in modules if find_spec(m) is None]
    names = re.findall(r"`(pipeline(?:\.[a-z_]+)+)[`(]", text)
    missing += [name for name in names if not exists(name)]
    assert not missing


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_options_exist(page: Path) -> None:
    text = re.sub(r"^#SBATCH .*$", "", text_of(page), flags=re.MULTILINE)  # SLURM's own options
    named = set(re.findall(r"(?<![\w-])--[a-z][a-z_]+", text))
    assert named <= known_options()


def test_the_python_example_imports_what_exists() -> None:
    block = re.findall(r"```python\n(.*?)```", text_of(ROOT / "README.md"), re.DOTALL)[0]
    names = re.findall(r"^from visil_index import (.+)$", block, re.MULTILINE)[0].split(", ")
    assert {"compute_similarity", "extract_features"} <= set(names) <= set(pipeline.__all__)


def test_every_package_has_a_row_in_the_architecture() -> None:
    table = text_of(ROOT / "ARCHITECTURE.md").split("## Packages")[1].split("## Where")[0]
    parts = {p.stem for p in (ROOT / "pipeline").glob("*.py") if not p.stem.startswith("__")}
    parts |= {p.parent.name for p in (ROOT / "pipeline").glob("*/__init__.py")}
    assert {part for part in parts if f"`{part}" not in table} == set()
