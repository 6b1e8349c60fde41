"""The way of the data, enforced: who may import whom, and how light the start is."""

import ast
import re
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
# A module imports only from its own package and from lines above; none from its own line.
LAYERS = [
    "atomic errors text child_python program user_cache",
    "scratch",
    "records",
    "checks quantization settings",
    "settings_file",
    "config short_videos image default_model metrics published_weights",
    "alignment calibration evaluation",
    "folders objects fetch",
    "inputs",
    "video",
    "decode",
    "nets",
    "store",
    "candidates",
    "output",
    "extraction search",
    "training source_files",
    "refinement match_report",
    "workflow",
    "deduplicate estimate",
    "cluster",
    "api",
    "index",
    "cli",
]
# The same within `nets`: what a model is, its files, and the two networks made of it.
NETS_LAYERS = [
    "backend model",
    "backbones layers",
    "formats",
    "extractor similarity",
    "visil",
]
RANK = {name: rank for rank, line in enumerate(LAYERS) for name in line.split()}
NETS_RANK = {name: rank for rank, line in enumerate(NETS_LAYERS) for name in line.split()}
OWNERS = {
    "av": {"video"},
    "keras": {"nets"},
    "tensorflow": {"nets"},
    "jax": {"nets"},
    "openvino": {"nets"},
    "h5py": {"store"},
    "zarr": {"store"},
    "click": {"cli"},
    "msgspec": {"settings", "store"},
    "pyarrow": {"output"},
    "faiss": {"candidates"},
    "obstore": {"objects"},
    "ray": {"cluster"},
}
MODULES = sorted(ROOT.glob("pipeline/**/*.py"))


def part_of(path: Path) -> str:
    """`errors` for pipeline/errors.py, `nets` for everything below pipeline/nets/."""
    return path.relative_to(ROOT / "pipeline").parts[0].removesuffix(".py")


@cache
def nodes_of(path: Path) -> list[ast.Import | ast.ImportFrom | ast.Call]:
    """Imports and calls of a file; to parse all of them takes more than a second."""
    nodes = ast.walk(ast.parse(path.read_text(encoding="utf-8")))
    return [node for node in nodes if isinstance(node, ast.Import | ast.ImportFrom | ast.Call)]


@cache
def imports_of(path: Path) -> set[str]:
    """Full names of what a file imports, lazy and type-only imports included."""
    package = list(path.relative_to(ROOT).parts[:-1])
    found = set()
    for node in nodes_of(path):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) + 1 - node.level] if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            found |= {module, *(f"{module}.{alias.name}" for alias in node.names)}
    return found


@cache
def parts_imported(path: Path) -> set[str]:
    names = [n.split(".") for n in imports_of(path) if n.startswith("pipeline.")]
    return {n[1] for n in names if n[1] in RANK}


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(ROOT)))
def test_a_module_imports_only_from_above(path):
    part = part_of(path)
    if part in ("__init__", "__main__"):
        return
    assert part in RANK, f"{path}: give it a place in LAYERS and in ARCHITECTURE.md"
    below = {p for p in parts_imported(path) if p != part and RANK[p] >= RANK[part]}
    assert not below, f"{part} must not import {below}"
    for package, owners in OWNERS.items():
        if part not in owners:
            assert package not in {n.split(".")[0] for n in imports_of(path)}, package


@pytest.mark.parametrize(
    "path", sorted(ROOT.glob("pipeline/nets/**/*.py")), ids=lambda p: str(p.relative_to(ROOT))
)
def test_a_room_of_the_network_imports_only_from_above(path):
    room = path.relative_to(ROOT / "pipeline" / "nets").parts[0].removesuffix(".py")
    if room == "__init__":
        return
    names = {n.split(".")[2] for n in imports_of(path) if n.startswith("pipeline.nets.")}
    below = {n for n in names & set(NETS_RANK) - {room} if NETS_RANK[n] >= NETS_RANK[room]}
    assert not below, f"nets.{room} must not import {below}"
    if room == "model":
        assert not {n.split(".")[0] for n in imports_of(path)} & {"keras", "tensorflow", "jax"}


def architecture_rows() -> list[tuple[str, str, list[str]]]:
    """(layer, package, modules) of each row of the table of packages in ARCHITECTURE.md."""
    page = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
    table = page[page.index("| layer |") : page.index("## Where to change what")]
    rows = []
    for line in table.splitlines():
        if not (match := re.fullmatch(r"\| (\d+[a-z]?) \|([^|]*)\| (.*) \|", line)):
            continue
        layer, package, text = match.groups()
        heads = [re.match(r"`[\w/]+`(?:, `[\w/]+`)*", item) for item in text.split("; ")]
        assert all(heads), f"{line}: each part begins with the name of a module"
        folder = "".join(re.findall(r"`([\w/]+)`", package))
        names = [name for head in heads if head for name in re.findall(r"`([\w/]+)`", head[0])]
        rows.append((layer, folder, [folder + name for name in names]))
    return rows


def test_the_page_names_modules_that_exist():
    rows = architecture_rows()
    assert len(rows) > 20
    named = [name for _, _, names in rows for name in names]
    assert [name for name in named if not (ROOT / "pipeline" / f"{name}.py").is_file()] == []
    assert sorted(named) == sorted(set(named))


def test_the_page_has_the_layers_that_are_checked():
    """The same modules share a layer, and layers follow each other in the same order."""
    named = [(layer, name) for layer, _, names in architecture_rows() for name in names]
    layers = {(int(layer.rstrip("abcde")), RANK[name.split("/")[0]]) for layer, name in named}
    rooms = {
        (layer, NETS_RANK[name.split("/")[1]]) for layer, name in named if name.startswith("nets/")
    }
    for pairs in (layers, rooms):
        numbers, ranks = zip(*sorted(pairs), strict=True)
        assert list(ranks) == sorted(set(ranks))
        assert len(numbers) == len(set(numbers))


def test_the_page_says_where_to_look():
    page = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
    places = re.findall(r"`([a-z_0-9]+(?:/[a-z_0-9]+)+)`", page)
    missing = [
        place
        for place in places
        if not (ROOT / "pipeline" / f"{place}.py").is_file()
        and not (ROOT / "pipeline" / place).is_dir()
        and not any((ROOT / "pipeline").glob(f"*/{place}.py"))
    ]
    assert len(places) > 40
    assert missing == []


def test_the_package_names_itself_nowhere():
    """It is installed under another name than its folder's."""
    for path in MODULES:
        names = {name.split(".")[0] for name in absolute_imports_of(path)}
        assert "pipeline" not in names, path


def absolute_imports_of(path: Path) -> set[str]:
    nodes = nodes_of(path)
    plain = {alias.name for n in nodes if isinstance(n, ast.Import) for alias in n.names}
    return plain | {
        n.module for n in nodes if isinstance(n, ast.ImportFrom) and n.module and not n.level
    }


def reachable(start: str) -> set[str]:
    seen, todo = set(), [start]
    while todo:
        part = todo.pop()
        seen.add(part)
        for path in MODULES:
            if part_of(path) == part:
                todo += parts_imported(path) - seen
    return seen


def test_the_stages_meet_only_in_the_store():
    assert not reachable("search") & {"video", "decode", "extraction"}
    assert not reachable("extraction") & {"search", "output"}
    for stage in ("extraction", "search"):
        assert "training" not in reachable(stage)
    assert not reachable("training") & {"store", "extraction", "search"}
    assert "store" not in reachable("nets")
    assert "nets" not in reachable("store")


def test_only_the_command_line_prints_or_exits():
    for path in MODULES:
        if part_of(path) == "cli":
            continue
        for node in nodes_of(path):
            if isinstance(node, ast.Call):
                assert ast.unparse(node.func) not in ("print", "sys.exit", "exit"), path


@pytest.mark.parametrize("command", [
    ["-c", "import pipeline; dir(pipeline)"],
    ["extract_features.py", "--help"],
    ["compute_similarity.py", "--help"],
    ["train_model.py", "--help"],
    ["-m", "pipeline", "--help"],
])  # fmt: skip
def test_start_is_light(command):
    """What makes a start slow is imports; none of the heavy ones happens before work begins."""
    run = subprocess.run(
        [sys.executable, "-X", "importtime", *command], cwd=ROOT, capture_output=True, text=True
    )
    assert run.returncode == 0
    loaded = {line.rsplit("|", 1)[-1].strip() for line in run.stderr.splitlines()}
    heavy = {"tensorflow", "keras", "jax", "av", "h5py", "zarr", "yaml", "msgspec", "pyarrow"}
    heavy |= {"obstore", "ray"}
    assert not loaded & heavy
