"""Decode untrusted JSON: limited nesting, errors with a code and a JSON pointer (RFC 6901)."""

import re
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from typing import Any, TypeVar

import msgspec
from msgspec import inspect

from recstream.errors import InvalidJson

MAX_DEPTH = 64
"""Levels of arrays and objects that a body or record may have."""

T = TypeVar("T")
E = TypeVar("E", bound=InvalidJson)


def decode_json(
    decode: Callable[[bytes | str], T],
    raw: bytes | memoryview | str,
    raises: type[E],
    *,
    max_bytes: int,
    names_field: bool = True,
    known: Iterable[str] = (),
    kind: Any = None,
) -> T:
    """Decode JSON that anybody may have sent.

    Parameters
    ----------
    decode : callable
        ``decode`` of a `msgspec.json.Decoder`.
    raises : type
        Error to raise, a subclass of `InvalidJson`.
    names_field : bool
        Whether the pointer of a missing or unknown field ends in its name, or in its parent's.
    known : iterable of str
        The values of the type's only enumeration, for the error.
    kind : type, optional
        The decoder's: the error then names the fields or values that are possible where one is
        wrong.

    Raises
    ------
    InvalidJson
        Too large, malformed, nested too deep, or not of the decoder's type.
    """
    if len(raw) > max_bytes:
        raise raises(f"expected at most {max_bytes} bytes, got {len(raw)}", code="too-large")
    try:
        return decode(raw)  # type: ignore[arg-type]  # msgspec takes any buffer
    except Exception as error:  # whatever untrusted bytes do to a decoder is a fault of theirs
        raise json_error(error, raises, names_field=names_field, known=known, kind=kind) from error


def json_error(
    error: Exception,
    raises: type[E],
    *,
    names_field: bool = True,
    known: Iterable[str] = (),
    kind: Any = None,
) -> E:
    """Return a decoder's error with a code and a pointer to the offending value; see `decode_json`.

    Parameters
    ----------
    error : Exception
        What the decoder raised.
    raises, names_field, known, kind
        As in `decode_json`.
    """
    if isinstance(error, RecursionError):
        return raises(_too_deep(), code="too-deep")
    reason, found, path = str(error).partition(" - at `$")
    named, _, _ = path.rstrip("`").partition("[...]")  # below it, msgspec does not name the key
    pointer = named.replace("[", "/").replace("]", "").replace(".", "/") if found else ""
    if not isinstance(error, msgspec.ValidationError):
        code = "malformed-json"
    elif "enum" in reason or reason.startswith("Invalid value"):
        code = "invalid-enum"
        known = known or _values(kind, path)
        reason += f"; known: {', '.join(known)}" if known else ""
    elif "missing required field" in reason or "unknown field" in reason:
        code = "missing" if "missing" in reason else "unknown-field"
        pointer += f"/{reason.rsplit('`', 2)[-2]}" if names_field else ""
        if code == "unknown-field" and (fields := _fields(kind, path)):
            reason += f"; known: {', '.join(fields)}"
    else:
        code = "invalid-type"
        reason += "; expected a time like 2026-11-22T10:42:00Z" if "RFC3339" in reason else ""
    return raises(reason, code=code, pointer=pointer)


def check_depth(value: object, raises: type[E], *, pointer: str = "", depth: int = 1) -> None:
    """Raise if a decoded value has more than `MAX_DEPTH` levels of arrays and objects.

    Parameters
    ----------
    value : object
        JSON value of dicts, lists and scalars.
    raises : type
        Error to raise, a subclass of `InvalidJson`.
    pointer : str
        Where the value stands.
    depth : int
        Levels of the JSON around the value.
    """
    level = [value]
    for _ in range(MAX_DEPTH - depth + 1):
        level = [
            child
            for node in level
            if isinstance(node, dict | list | tuple)
            for child in (node.values() if isinstance(node, dict) else node)
        ]
        if not level:
            return
    if any(isinstance(node, dict | list | tuple) for node in level):
        raise raises(_too_deep(), code="too-deep", pointer=pointer)


def _too_deep() -> str:
    return f"expected arrays and objects at most {MAX_DEPTH} deep, got deeper ones"


def _values(kind: Any, path: str) -> list[str]:
    """Return the possible values at a path of a type: of an enumeration, or tags of structs."""
    *parents, last = _steps(path) or [""]
    found: list[str] = []
    for node in _at(kind, [*parents, last] if last else []):
        if isinstance(node, inspect.LiteralType):
            found += [str(value) for value in node.values if value != ""]
    for node in _at(kind, parents):
        if isinstance(node, inspect.StructType) and node.tag_field == last:
            found.append(str(node.tag))
    return list(dict.fromkeys(found))


def _fields(kind: Any, path: str) -> list[str]:
    """Return the fields of the structs at a path of a type."""
    names = [
        field.encode_name
        for node in _at(kind, _steps(path))
        if isinstance(node, inspect.StructType)
        for field in node.fields
    ]
    return list(dict.fromkeys(names))


def _steps(path: str) -> list[str]:
    """Return the steps of a path such as ``.rules[0].where``; ``[]`` into lists and dicts."""
    return [
        "[]" if step.startswith("[") else step[1:] for step in re.findall(r"\.\w+|\[[^]]*]", path)
    ]


def _at(kind: Any, steps: Iterable[str]) -> list[inspect.Type]:
    """Return what a type may be at a path, without unions."""
    found = [] if kind is None else list(_members(_type_info(kind)))
    for step in steps:
        found = [each for node in found for below in _below(node, step) for each in _members(below)]
    return found


def _below(node: inspect.Type, step: str) -> Iterator[inspect.Type]:
    if isinstance(node, inspect.StructType):
        yield from (field.type for field in node.fields if field.encode_name == step)
    elif isinstance(node, inspect.DictType):
        yield node.value_type
    elif isinstance(node, inspect.ListType | inspect.VarTupleType):
        yield node.item_type


def _members(node: inspect.Type) -> Iterator[inspect.Type]:
    """Yield a type, or those of a union, without metadata."""
    if isinstance(node, inspect.UnionType):
        for each in node.types:
            yield from _members(each)
    elif isinstance(node, inspect.Metadata):
        yield from _members(node.type)
    else:
        yield node


@cache
def _type_info(kind: Any) -> inspect.Type:
    return inspect.type_info(kind)
