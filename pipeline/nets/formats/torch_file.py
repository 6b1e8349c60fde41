"""Weight files of PyTorch as arrays: the zip layout, and the stream of versions before 1.6.

PyTorch is not needed. A file may come from people who mean harm: nothing in it is run
(`torch_pickle`), and what it declares is compared with the bytes that are there before memory is
taken. The layouts are those of `torch.save`.
"""

from __future__ import annotations

import math
import os
import struct
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np

from ...errors import ModelError
from . import torch_pickle
from .archive import MAX_BYTES, open_regular, read_arrays
from .torch_pickle import Namespace, Storage, Tensor, read_pickle, shown

MAX_MEMBERS = 10_000
_ENTRY = b"PK\x01\x02"  # starts a member's entry in the list at the end of an archive
_END_BYTES = 4 << 20  # of a file that hold this list
_ENCRYPTED = 0x1
_MAGIC, _PROTOCOL = 0x1950A86A20F9469CFC6C, 1001
_MAGIC_PICKLE = b"\x80\x02\x8a\x0a" + _MAGIC.to_bytes(10, "little")
_TAR_MAGIC = 257, b"ustar"
_MODULE = "module."  # before all keys of a network that was trained on several GPUs
AGAIN = "fetch the file again from where it is published (docs/MODELS.md)"

Arrays = dict[str, np.ndarray]
_Elements = Callable[[Storage], bytes]


@dataclass(frozen=True)
class WeightFile:
    """What a weight file holds.

    Attributes:
        arrays: of the state dict, or of the dict of arrays; floats as float32.
        settings: values of the training code's `args`, if the file has them.
    """

    arrays: Arrays
    settings: dict[str, Any]


def read_weight_file(path: Path) -> WeightFile:
    """Arrays of a file of PyTorch, or of numpy's npz, whatever its name says.

    Raises:
        ModelError: not readable, no such file, damaged, or with more in it than weights.
    """
    try:
        with open_regular(path) as file:
            return _read(file)
    except (ValueError, OSError, zipfile.BadZipFile, NotImplementedError, EOFError) as error:
        raise ModelError(f"{path}: cannot be read: {str(error)[:500]}; {AGAIN}") from error


def _read(file: IO[bytes]) -> WeightFile:
    size = os.fstat(file.fileno()).st_size
    if size > MAX_BYTES:
        raise ValueError(f"it has {size} bytes, more than {MAX_BYTES} are not read")
    head = file.read(512)
    if not head:
        raise ValueError("it is empty")
    if head.startswith(b"PK"):
        return _read_zip(file, size)
    if head.startswith(_MAGIC_PICKLE):
        file.seek(0)
        return _read_stream(file.read(size))
    place, magic = _TAR_MAGIC
    if head[place:].startswith(magic):
        raise ValueError("it is a tar archive, as PyTorch before 0.1.10 wrote; not read here")
    if head.lstrip().startswith(b"<"):
        raise ValueError("it is a web page, as a dead link answers")
    raise ValueError("it is no weight file of PyTorch")


def _read_zip(file: IO[bytes], size: int) -> WeightFile:
    file.seek(max(0, size - _END_BYTES))
    if file.read().count(_ENTRY) > MAX_MEMBERS:
        raise ValueError(f"it has more than {MAX_MEMBERS} members")
    file.seek(0)
    with zipfile.ZipFile(file) as archive:
        members = {member.filename: member for member in archive.infolist()}
        if len(members) != len(archive.infolist()) or len(members) > MAX_MEMBERS:
            raise ValueError("a member is there twice, or there are too many")
        if all(name.endswith(".npy") for name in members):
            file.seek(0)
            return WeightFile(read_arrays(file.read(), lambda name, shape: True), {})
        folder = _folder(members)
        for member in members.values():
            if member.compress_type != zipfile.ZIP_STORED or member.flag_bits & _ENCRYPTED:
                raise ValueError(f"member {shown(member.filename)} is compressed or encrypted")
            if member.file_size != member.compress_size or member.file_size > size:
                raise ValueError(f"member {shown(member.filename)} has another size than said")
        order = members.get(f"{folder}/byteorder")
        if order is not None and archive.read(order).strip() != b"little":
            raise ValueError("its numbers are big-endian, which is not read here")

        def elements(storage: Storage) -> bytes:
            member = members.get(f"{folder}/data/{storage.key}")
            if member is None:
                raise ValueError(f"storage {storage.key} is missing")
            if member.file_size != storage.count * _bytes_of(storage):
                raise ValueError(
                    f"storage {storage.key} has {member.file_size} bytes, which are not its "
                    f"{storage.count} elements"
                )
            return archive.read(member)  # zipfile compares it with its checksum

        if members[f"{folder}/data.pkl"].file_size > torch_pickle.MAX_BYTES:
            raise ValueError("its data.pkl is too large")
        content, _ = read_pickle(archive.read(f"{folder}/data.pkl"))
        return _weights(content, elements)


def _folder(members: dict[str, zipfile.ZipInfo]) -> str:
    """The one folder with data.pkl in it; its name is arbitrary."""
    pickles = [name for name in members if name.endswith("/data.pkl")]
    if len(pickles) != 1:
        raise ValueError("it is a zip archive, but no weight file of PyTorch: no data.pkl in it")
    folder = pickles[0].removesuffix("/data.pkl")
    if any(name.startswith(f"{folder}/code/") for name in members):
        raise ValueError(
            "it is a TorchScript file, which holds program code; take the file with weights alone"
        )
    return folder


def _read_stream(content: bytes) -> WeightFile:
    at, values = 0, []
    for _ in range(5):
        value, at = read_pickle(content, at)
        values.append(value)
    magic, protocol, system, described, keys = values
    if (magic, protocol) != (_MAGIC, _PROTOCOL) or not isinstance(system, dict):
        raise ValueError("its beginning is damaged")
    if system.get("little_endian") is not True:
        raise ValueError("its numbers are big-endian, which is not read here")
    storages = _storages(described)
    if not isinstance(keys, list) or not all(isinstance(key, str) for key in keys):
        raise ValueError("its list of storages is damaged")
    if len(keys) != len(set(keys)):
        raise ValueError("its list of storages is damaged")
    places: dict[str, int] = {}
    for key in keys:
        storage = storages.get(key)
        if storage is None:
            # Without its type nobody knows how long it is.
            raise ValueError(f"nothing says what storage {shown(key)} holds")
        count = struct.unpack("<q", content[at : at + 8].ljust(8, b"\xff"))[0]
        places[key] = at + 8
        at += 8 + storage.count * _bytes_of(storage)
        if count != storage.count or at > len(content):
            raise ValueError(f"storage {key} is cut short or has another size than said")

    def elements(storage: Storage) -> bytes:
        if storage.key not in places:
            raise ValueError(f"storage {storage.key} is missing")
        start = places[storage.key]
        return content[start : start + storage.count * _bytes_of(storage)]

    return _weights(described, elements)


def _storages(described: Any) -> dict[str, Storage]:
    """Every storage that something in the object refers to, by its key."""
    storages: dict[str, Storage] = {}
    seen: set[int] = set()
    rest = [described]
    while rest:
        value = rest.pop()
        if id(value) in seen:
            continue
        seen.add(id(value))
        if isinstance(value, Tensor):
            known = storages.setdefault(value.storage.key, value.storage)
            if (known.dtype, known.count) != (value.storage.dtype, value.storage.count):
                raise ValueError(f"storage {known.key} is described in two ways")
        elif isinstance(value, dict):
            rest.extend(value.values())
        elif isinstance(value, (list, tuple)):
            rest.extend(value)
        elif isinstance(value, Namespace):
            rest.extend(value.values.values())
    return storages


def _weights(content: Any, elements: _Elements) -> WeightFile:
    if not isinstance(content, dict):
        raise ValueError(f"it holds a {type(content).__name__}, expected a dict of tensors")
    settings = content.get("args")
    state = content["model"] if isinstance(content.get("model"), dict) else content
    for name, value in state.items():
        if not isinstance(name, str) or not isinstance(value, Tensor):
            raise ValueError(f"{shown(name)} is no tensor, expected a dict of tensors")
    arrays = _arrays(state, elements)
    if arrays and all(name.startswith(_MODULE) for name in arrays):
        arrays = {name.removeprefix(_MODULE): array for name, array in arrays.items()}
    return WeightFile(arrays, settings.values if isinstance(settings, Namespace) else {})


def _arrays(state: dict[str, Tensor], elements: _Elements) -> Arrays:
    needed = sum(math.prod(tensor.shape) for tensor in state.values())
    if 4 * needed > MAX_BYTES:
        raise ValueError(f"its tensors have {needed} elements, more than are read")
    read: dict[str, np.ndarray] = {}
    arrays = {}
    for name, tensor in state.items():
        storage = tensor.storage
        _check_extent(name, tensor)
        if storage.key not in read:
            read[storage.key] = _numbers(elements(storage), storage.dtype)
        if len(read[storage.key]) != storage.count:
            raise ValueError(f"storage {storage.key} is described in two ways")
        arrays[name] = _part(read[storage.key], tensor)
        if not np.isfinite(arrays[name]).all():
            raise ValueError(f"{shown(name)} holds a value that is not finite")
    return arrays


def _check_extent(name: str, tensor: Tensor) -> None:
    """Refuse a tensor that reaches beyond its storage, or has elements of it several times."""
    count = math.prod(tensor.shape)
    last = tensor.offset
    for size, stride in zip(tensor.shape, tensor.strides, strict=True):
        last += max(0, size - 1) * stride
    if count > tensor.storage.count or (count and last >= tensor.storage.count):
        raise ValueError(
            f"{shown(name)} reaches to element {last}, its storage has {tensor.storage.count}"
        )


def _part(numbers: np.ndarray, tensor: Tensor) -> np.ndarray:
    strides = [stride * numbers.itemsize for stride in tensor.strides]
    view = np.lib.stride_tricks.as_strided(
        numbers[tensor.offset :], tensor.shape, strides, writeable=False
    )
    return np.array(view, np.float32 if numbers.dtype.kind == "f" else None, order="C")


def _bytes_of(storage: Storage) -> int:
    return 2 if storage.dtype == "bfloat16" else np.dtype(storage.dtype).itemsize


def _numbers(content: bytes, dtype: str) -> np.ndarray:
    if dtype == "bfloat16":
        return (np.frombuffer(content, "<u2").astype("<u4") << 16).view("<f4")
    return np.frombuffer(content, dtype)
