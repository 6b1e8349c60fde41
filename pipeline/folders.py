"""Lists the files below a folder. An unreadable entry does not end the walk; it is reported."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field


@dataclass
class Tree:
    """The result of a walk; paths are relative to its root, with `/`.

    Attributes:
        files: all files that are not hidden.
        unreadable: path -> why, for folders that cannot be read and dangling links.
        links: links to folders that were not followed.
    """

    files: list[str] = field(default_factory=list)
    unreadable: dict[str, str] = field(default_factory=dict)
    links: list[str] = field(default_factory=list)


def walk(root: str, follow_links: bool = False) -> Tree:
    """List all files below a folder; hidden files and folders are skipped.

    Args:
        root: the folder.
        follow_links: also search linked folders, after all others. No folder is searched twice, so
            circular links end.

    Raises:
        OSError: the root itself cannot be read.
    """
    tree = Tree()
    seen: set[tuple[int, int]] = set()
    with os.scandir(root):
        pass
    folders = [""]
    while folders:
        links: list[str] = []
        while folders:
            folder = folders.pop()
            if follow_links and not _first_visit(os.path.join(root, folder), seen, tree, folder):
                continue
            for name, entry in _entries(root, folder, tree):
                _sort_in(name, entry, tree, folders, links)
        if not follow_links:
            tree.links += links
            break
        folders = links
    return tree


def _entries(root: str, folder: str, tree: Tree) -> Iterator[tuple[str, os.DirEntry[str]]]:
    """Yield the entries of one folder, up to where reading it fails."""
    try:
        with os.scandir(os.path.join(root, folder)) as entries:
            for entry in entries:
                if not entry.name.startswith("."):
                    yield f"{folder}/{entry.name}" if folder else entry.name, entry
    except OSError as error:
        tree.unreadable[folder] = f"this folder cannot be read: {error.strerror or error}"


def _sort_in(
    name: str, entry: os.DirEntry[str], tree: Tree, folders: list[str], links: list[str]
) -> None:
    try:
        if not entry.is_symlink():
            (folders if entry.is_dir(follow_symlinks=False) else tree.files).append(name)
        elif stat.S_ISDIR(os.stat(entry.path).st_mode):
            links.append(name)
        else:
            tree.files.append(name)
    except OSError as error:
        kind = "a link that leads nowhere" if entry.is_symlink() else "cannot be looked at"
        tree.unreadable[name] = f"{kind}: {error.strerror or error}"


def _first_visit(path: str, seen: set[tuple[int, int]], tree: Tree, folder: str) -> bool:
    try:
        status = os.stat(path)
    except OSError as error:
        tree.unreadable[folder] = f"this folder cannot be read: {error.strerror or error}"
        return False
    visited = (status.st_dev, status.st_ino) in seen
    seen.add((status.st_dev, status.st_ino))
    return not visited
