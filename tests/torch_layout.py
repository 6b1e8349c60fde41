"""Files in the layouts of `torch.save`, written without PyTorch: the zip, and the older stream.

`Pickle` writes the few instructions that such files consist of, so that a test can also write what
PyTorch never would.
"""

from __future__ import annotations

import io
import struct
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

KINDS = {"f4": "Float", "f2": "Half", "f8": "Double", "i8": "Long", "i4": "Int", "b1": "Bool"}
Members = Mapping[str, bytes]


@dataclass
class Namespace:
    """Written as an `argparse.Namespace`."""

    values: dict[str, Any]


@dataclass
class Parameter:
    """Written as a `torch.nn.Parameter`."""

    array: np.ndarray


@dataclass
class State(dict[str, Any]):
    """Written as what `Module.state_dict` returns: an OrderedDict with an attribute."""

    def __init__(self, values: Mapping[str, Any]) -> None:
        super().__init__(values)


def name(module: str, attribute: str) -> bytes:
    return b"c" + f"{module}\n{attribute}\n".encode()


def text(value: str) -> bytes:
    return b"X" + struct.pack("<I", len(value.encode())) + value.encode()


def whole(value: int) -> bytes:
    if abs(value) < 1 << 31:
        return b"J" + struct.pack("<i", value)
    return b"\x8a\x0a" + value.to_bytes(10, "little", signed=True)


def entries(*values: bytes) -> bytes:
    return b"(" + b"".join(values) + b"t"


def tensor(
    key: str,
    count: int,
    shape: tuple[int, ...],
    strides: tuple[int, ...],
    offset: int = 0,
    *,
    kind: bytes = name("torch", "FloatStorage"),
    mark: str = "storage",
    legacy: bool = False,
) -> bytes:
    """A tensor of a storage, as instructions."""
    storage = [text(mark), kind, text(key), text("cpu"), whole(count), *[b"N"] * legacy]
    arguments = [entries(*storage) + b"Q", whole(offset), entries(*map(whole, shape)),
                 entries(*map(whole, strides)), b"\x89",
                 name("collections", "OrderedDict") + b")R"]  # fmt: skip
    return name("torch._utils", "_rebuild_tensor_v2") + entries(*arguments) + b"R"


@dataclass
class Pickle:
    """Instructions for a value, and the storages that its tensors need."""

    legacy: bool = False
    storages: list[np.ndarray] = field(default_factory=list)

    def value(self, value: Any) -> bytes:
        if isinstance(value, Parameter):
            inner = self.value(value.array), b"\x88", name("collections", "OrderedDict") + b")R"
            return name("torch._utils", "_rebuild_parameter") + entries(*inner) + b"R"
        if isinstance(value, np.ndarray):
            return self.array(value)
        if isinstance(value, State):
            metadata = {"_metadata": State({})} if value else {}
            made = name("collections", "OrderedDict") + b")R(" + self.items(value) + b"u"
            return made + (self.value(metadata) + b"b" if metadata else b"")
        if isinstance(value, Namespace):
            return name("argparse", "Namespace") + b")\x81" + self.value(value.values) + b"b"
        if isinstance(value, dict):
            return b"}(" + self.items(value) + b"u"
        if isinstance(value, (list, tuple)):
            parts = b"".join(self.value(part) for part in value)
            return b"](" + parts + b"e" if isinstance(value, list) else b"(" + parts + b"t"
        if isinstance(value, bool) or value is None:
            return {True: b"\x88", False: b"\x89", None: b"N"}[value]
        if isinstance(value, float):
            return b"G" + struct.pack(">d", value)
        return text(value) if isinstance(value, str) else whole(value)

    def items(self, value: Mapping[Any, Any]) -> bytes:
        return b"".join(self.value(key) + self.value(part) for key, part in value.items())

    def array(self, value: np.ndarray) -> bytes:
        """A view keeps its strides and offset, and shares the storage of what it is a view of."""
        base = value
        while isinstance(base.base, np.ndarray):
            base = base.base
        known = [i for i, storage in enumerate(self.storages) if storage is base]
        if not known:
            self.storages.append(base)
        key = str(known[0] if known else len(self.storages) - 1)
        strides = tuple(stride // value.itemsize for stride in value.strides)
        offset = (value.ctypes.data - base.ctypes.data) // value.itemsize
        kind = name("torch", KINDS[value.dtype.str[1:]] + "Storage")
        return tensor(key, base.size, value.shape, strides, offset, kind=kind, legacy=self.legacy)


def archive(
    pickled: bytes, storages: Members, *, folder: str = "archive", order: bytes = b"little",
    compression: int = zipfile.ZIP_STORED, extra: Members | None = None,
) -> bytes:  # fmt: skip
    """The zip layout."""
    members = {"data.pkl": pickled, "byteorder": order, "version": b"3\n"}
    members |= {f"data/{key}": content for key, content in storages.items()} | dict(extra or {})
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as file:
        for key, content in members.items():
            file.writestr(zipfile.ZipInfo(f"{folder}/{key}"), content, compression)
    return buffer.getvalue()


def saved(value: Any, *, folder: str = "archive") -> bytes:
    """As PyTorch since 1.6 writes a value."""
    pickle = Pickle()
    pickled = b"\x80\x02" + pickle.value(value) + b"."
    storages = {str(i): base.tobytes() for i, base in enumerate(pickle.storages)}
    return archive(pickled, storages, folder=folder)


def saved_before(value: Any) -> bytes:
    """As PyTorch before 1.6 writes a value."""
    pickle = Pickle(legacy=True)
    pickled = b"\x80\x02" + pickle.value(value) + b"."
    keys = [str(i) for i in range(len(pickle.storages))][::-1]
    stream = beginning() + pickled + b"\x80\x02" + pickle.value(keys) + b"."
    for key in keys:
        base = pickle.storages[int(key)]
        stream += struct.pack("<q", base.size) + base.tobytes()
    return stream


def beginning(little_endian: bool = True) -> bytes:
    """The three pickles before the object."""
    magic = 0x1950A86A20F9469CFC6C.to_bytes(10, "little")
    system = {"protocol_version": 1001, "little_endian": little_endian}
    return b"".join([b"\x80\x02\x8a\x0a" + magic + b".", b"\x80\x02M\xe9\x03.",
                     b"\x80\x02" + Pickle().value(system) + b"."])  # fmt: skip
