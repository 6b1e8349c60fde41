"""The pickles of PyTorch's weight files, read without running anything in them.

A pickle is a program for a stack machine, and Python's own reader lets it call what it names. This
reader knows the few instructions that weight files consist of, and the few names below. It calls
nothing, imports nothing and looks no name up: what comes out are numbers, texts, lists, tuples,
dicts, `Namespace` and `Tensor`. Instructions: `pickletools` of Python's library.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

MAX_BYTES = 8 << 20  # of one pickle; those of the known files have less than 0.1 MiB
MAX_STEPS = 1_000_000
MAX_OPEN = 1000  # containers that are open at a time
MAX_NUMBER_BYTES = 16
MAX_AXES = 8

# Element types of storages: what numpy calls them. "bfloat16" is the upper half of a float32.
STORAGE_TYPES = {
    "FloatStorage": "<f4",
    "HalfStorage": "<f2",
    "DoubleStorage": "<f8",
    "LongStorage": "<i8",
    "IntStorage": "<i4",
    "BoolStorage": "|b1",
    "BFloat16Storage": "bfloat16",
}


@dataclass(frozen=True)
class _Name:
    """A name of the table, as the pickle wrote it."""

    module: str
    attribute: str


_ORDERED_DICT = _Name("collections", "OrderedDict")
_TENSOR = _Name("torch._utils", "_rebuild_tensor_v2")
_PARAMETER = _Name("torch._utils", "_rebuild_parameter")
_SIZE = _Name("torch", "Size")
_NAMESPACE = _Name("argparse", "Namespace")
_NAMES = {_ORDERED_DICT, _TENSOR, _PARAMETER, _SIZE, _NAMESPACE} | {
    _Name("torch", kind) for kind in STORAGE_TYPES
}


@dataclass(eq=False)
class Namespace:
    """What a pickled `argparse.Namespace` held."""

    values: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Storage:
    """Elements that tensors are parts of; they are elsewhere in the file.

    Attributes:
        key: name of the elements in the file.
        dtype: a value of `STORAGE_TYPES`.
        count: number of elements, as the file says.
    """

    key: str
    dtype: str
    count: int


@dataclass(frozen=True, eq=False)
class Tensor:
    """Which elements of a storage a tensor has; offset and strides count elements."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


class _Mark:
    """Where a container began."""


def read_pickle(content: bytes, start: int = 0) -> tuple[Any, int]:
    """The object that a pickle describes, and where the pickle ends.

    Args:
        content: bytes that hold the pickle, of PyTorch's protocols 2 to 4.
        start: where it begins.

    Raises:
        ValueError: an instruction or a name that weight files do not have, a damaged pickle, or
            one beyond the limits.
    """
    reader = _Reader(content, start)
    try:
        return reader.run(), reader.at
    except (IndexError, KeyError, TypeError, struct.error) as error:
        raise ValueError(f"its pickle is damaged: {type(error).__name__}") from error


class _Reader:
    def __init__(self, content: bytes, start: int) -> None:
        self.content, self.at = content, start
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}
        self.open = 0

    def run(self) -> Any:
        limit = self.at + MAX_BYTES
        for _ in range(MAX_STEPS):
            code = self.take(1)[0]
            if code == _STOP:
                value = self.pop()
                if self.stack:
                    raise ValueError("its pickle is damaged: values are left over")
                return value
            step = _STEPS.get(code)
            if step is None:
                raise ValueError(f"its pickle has the instruction {code:#04x}, not read here")
            step(self)
            if self.at > limit:
                break
        raise ValueError(f"its pickle has more than {MAX_STEPS} steps or {MAX_BYTES} bytes")

    def take(self, count: int) -> bytes:
        part = self.content[self.at : self.at + count]
        if len(part) != count:
            raise ValueError("its pickle is cut short")
        self.at += count
        return part

    def unpack(self, kind: str) -> Any:
        return struct.unpack(f"<{kind}", self.take(struct.calcsize(f"<{kind}")))[0]

    def line(self) -> str:
        end = self.content.find(b"\n", self.at, self.at + 300)
        if end < 0:
            raise ValueError("its pickle has a name without an end")
        return self.take(end + 1 - self.at)[:-1].decode("utf-8")

    def push(self, value: Any) -> None:
        self.stack.append(value)

    def pop(self) -> Any:
        value = self.stack.pop()
        if isinstance(value, _Mark):
            raise ValueError("its pickle is damaged: a container is still open")
        return value

    def mark(self) -> None:
        self.open += 1
        if self.open > MAX_OPEN:
            raise ValueError(f"its pickle is nested more than {MAX_OPEN} levels deep")
        self.push(_Mark())

    def since_mark(self) -> list[Any]:
        place = len(self.stack) - 1
        while not isinstance(self.stack[place], _Mark):
            place -= 1
            if place < 0:
                raise ValueError("its pickle is damaged: no container is open")
        values = self.stack[place + 1 :]
        del self.stack[place:]
        self.open -= 1
        return values

    def top(self, kind: type) -> Any:
        value = self.stack[-1]
        if not isinstance(value, kind):
            raise ValueError(f"its pickle is damaged: no {kind.__name__} to add to")
        return value

    def text(self, size: int, encoding: str = "utf-8") -> None:
        self.push(self.take(size).decode(encoding))

    def whole(self) -> None:
        size = self.unpack("B")
        if size > MAX_NUMBER_BYTES:
            raise ValueError(f"its pickle has a number of {size} bytes")
        self.push(int.from_bytes(self.take(size), "little", signed=True))

    def tuple_of(self, count: int) -> None:
        values = tuple(self.pop() for _ in range(count))
        self.push(values[::-1])

    def set_items(self, pairs: list[Any]) -> None:
        target = self.top(dict)
        if len(pairs) % 2:
            raise ValueError("its pickle is damaged: a key has no value")
        for key, value in zip(pairs[::2], pairs[1::2], strict=True):
            if not isinstance(key, (str, int)):
                raise ValueError(f"its pickle has a key of type {type(key).__name__}")
            target[key] = value

    def set_item(self) -> None:
        value, key = self.pop(), self.pop()
        self.set_items([key, value])

    def append(self) -> None:
        value = self.pop()
        self.top(list).append(value)

    def extend(self) -> None:
        values = self.since_mark()
        self.top(list).extend(values)

    def fill(self) -> None:
        pairs = self.since_mark()
        self.set_items(pairs)

    def name(self, module: str, attribute: str) -> None:
        name = _Name(module, attribute)
        if name not in _NAMES:
            raise ValueError(
                f"it names {shown(f'{module}.{attribute}')}, which weights do not need; "
                "nothing of it was run"
            )
        self.push(name)

    def stack_name(self) -> None:
        attribute, module = self.pop(), self.pop()
        if not isinstance(attribute, str) or not isinstance(module, str):
            raise ValueError("its pickle is damaged: a name that is no text")
        self.name(module, attribute)

    def storage(self) -> None:
        """("storage", type, key, device, elements), in old files with None behind."""
        mark, kind, key, device, count, *rest = self.pop()
        sound = mark == "storage" and isinstance(kind, _Name) and kind.attribute in STORAGE_TYPES
        if not sound or not isinstance(device, str) or rest not in ([], [None]):
            raise ValueError("its pickle refers to something that is no storage of numbers")
        if not isinstance(key, str) or not (key.isascii() and key.isdecimal()):
            raise ValueError(f"its pickle has a storage of the key {shown(key)}, no number")
        if not _natural(count):
            raise ValueError(f"storage {key} has {shown(count)} elements")
        self.push(Storage(key, STORAGE_TYPES[kind.attribute], count))

    def reduce(self) -> None:
        """What PyTorch's reader calls, made here from its arguments."""
        arguments, name = self.pop(), self.pop()
        if not isinstance(arguments, tuple):
            raise ValueError("its pickle is damaged: arguments that are no tuple")
        make = _MAKERS.get(name) if isinstance(name, _Name) else None
        if make is None:
            raise ValueError("its pickle makes an object that is neither a tensor nor a container")
        self.push(make(arguments))

    def new_object(self) -> None:
        arguments, name = self.pop(), self.pop()
        if name != _NAMESPACE or arguments != ():
            raise ValueError("its pickle makes an object that is no Namespace")
        self.push(Namespace())

    def build(self) -> None:
        """Attributes of an object: those of a Namespace; of a state dict `_metadata`, dropped."""
        state, target = self.pop(), self.stack[-1]
        if not isinstance(state, dict) or not all(isinstance(key, str) for key in state):
            raise ValueError("its pickle has attributes without names")
        if isinstance(target, Namespace):
            target.values.update(state)
        elif not isinstance(target, dict) or state.keys() != {"_metadata"}:
            raise ValueError("its pickle gives attributes to something that has none")


def shown(value: Any) -> str:
    """A value for a message. Of a container only its kind: it may hold itself a million times."""
    if isinstance(value, str):
        return repr(value[:80])
    return repr(value) if isinstance(value, (int, float)) else f"a {type(value).__name__}"


def _natural(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _ordered_dict(arguments: tuple[Any, ...]) -> dict[str, Any]:
    """Python 2 wrote the items as an argument, Python 3 adds them afterwards."""
    items = arguments[0] if arguments else []
    if len(arguments) > 1 or not isinstance(items, list):
        raise ValueError("its pickle has an OrderedDict in a form that is not read here")
    if not all(isinstance(i, list) and len(i) == 2 and isinstance(i[0], str) for i in items):
        raise ValueError("its pickle has an OrderedDict in a form that is not read here")
    return dict(items)


def _tensor(arguments: tuple[Any, ...]) -> Tensor:
    storage, offset, shape, strides, *_ = arguments
    axes = isinstance(shape, tuple) and isinstance(strides, tuple) and len(shape) == len(strides)
    if not isinstance(storage, Storage) or not axes or len(shape) > MAX_AXES:
        raise ValueError("its pickle has a tensor in a form that is not read here")
    if not all(_natural(n) for n in (offset, *shape, *strides)):
        raise ValueError(
            f"a tensor has offset {shown(offset)}, sizes ({', '.join(map(shown, shape))}) and "
            f"strides ({', '.join(map(shown, strides))}), expected whole numbers of 0 or more"
        )
    return Tensor(storage, offset, shape, strides)


def _parameter(arguments: tuple[Any, ...]) -> Tensor:
    if not isinstance(arguments[0], Tensor):
        raise ValueError("its pickle has a parameter that is no tensor")
    return arguments[0]


def _size(arguments: tuple[Any, ...]) -> tuple[Any, ...]:
    (axes,) = arguments
    if not isinstance(axes, (list, tuple)):
        raise ValueError("its pickle has a size in a form that is not read here")
    return tuple(axes)


_MAKERS: dict[_Name, Callable[[tuple[Any, ...]], Any]] = {
    _ORDERED_DICT: _ordered_dict,
    _TENSOR: _tensor,
    _PARAMETER: _parameter,
    _SIZE: _size,
}


def _protocol(reader: _Reader) -> None:
    version = reader.unpack("B")
    if not 2 <= version <= 4:
        raise ValueError(f"its pickle is of protocol {version}, expected 2 to 4")


def _pop(reader: _Reader) -> None:
    reader.pop()


def _remember(key: int, reader: _Reader) -> None:
    if isinstance(reader.stack[-1], _Mark):
        raise ValueError("its pickle is damaged: a mark is no value")
    reader.memo[key] = reader.stack[-1]


_STOP = ord(".")
_STEPS: dict[int, Callable[[_Reader], None]] = {
    0x80: _protocol,
    0x95: lambda r: _skip_frame(r),
    ord("("): _Reader.mark,
    ord("0"): _pop,
    ord("}"): lambda r: r.push({}),
    ord("]"): lambda r: r.push([]),
    ord(")"): lambda r: r.push(()),
    ord("t"): lambda r: r.push(tuple(r.since_mark())),
    0x85: lambda r: r.tuple_of(1),
    0x86: lambda r: r.tuple_of(2),
    0x87: lambda r: r.tuple_of(3),
    ord("N"): lambda r: r.push(None),
    0x88: lambda r: r.push(True),
    0x89: lambda r: r.push(False),
    ord("J"): lambda r: r.push(r.unpack("i")),
    ord("K"): lambda r: r.push(r.unpack("B")),
    ord("M"): lambda r: r.push(r.unpack("H")),
    0x8A: _Reader.whole,
    ord("G"): lambda r: r.push(struct.unpack(">d", r.take(8))[0]),
    ord("X"): lambda r: r.text(r.unpack("I")),
    0x8C: lambda r: r.text(r.unpack("B")),
    ord("U"): lambda r: r.text(r.unpack("B"), "ascii"),  # of files that Python 2 wrote
    ord("q"): lambda r: _remember(r.unpack("B"), r),
    ord("r"): lambda r: _remember(r.unpack("I"), r),
    0x94: lambda r: _remember(len(r.memo), r),
    ord("h"): lambda r: r.push(r.memo[r.unpack("B")]),
    ord("j"): lambda r: r.push(r.memo[r.unpack("I")]),
    ord("s"): _Reader.set_item,
    ord("u"): _Reader.fill,
    ord("a"): _Reader.append,
    ord("e"): _Reader.extend,
    ord("c"): lambda r: r.name(r.line(), r.line()),
    0x93: _Reader.stack_name,
    ord("Q"): _Reader.storage,
    ord("R"): _Reader.reduce,
    0x81: _Reader.new_object,
    ord("b"): _Reader.build,
}


def _skip_frame(reader: _Reader) -> None:
    reader.unpack("Q")
