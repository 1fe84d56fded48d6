"""Decode untrusted JSON: a limit on nesting, and errors with a code and a JSON pointer (RFC 6901)."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TypeVar

import msgspec

from recstream.errors import InvalidJson

__all__ = ["MAX_DEPTH", "check_depth", "decode_json", "json_error"]

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
) -> T:
    """Decode JSON that anybody may have sent.

    Parameters
    ----------
    decode : callable
        ``decode`` of a `msgspec.json.Decoder`.
    raw : bytes, memoryview or str
    raises : type
        Error to raise, a subclass of `InvalidJson`.
    max_bytes : int
    names_field : bool
        Whether the pointer of a missing or unknown field ends in its name, or in its parent's.
    known : iterable of str
        The values of the type's only enumeration, for the error.

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
        raise json_error(error, raises, names_field=names_field, known=known) from error


def json_error(
    error: Exception, raises: type[E], *, names_field: bool = True, known: Iterable[str] = ()
) -> E:
    """Return a decoder's error with a code and a pointer to the offending value; see `decode_json`."""
    if isinstance(error, RecursionError):
        return raises(_too_deep(), code="too-deep")
    reason, found, path = str(error).partition(" - at `$")
    pointer = path.rstrip("`").replace("[", "/").replace("]", "").replace(".", "/") if found else ""
    if not isinstance(error, msgspec.ValidationError):
        code = "malformed-json"
    elif "enum" in reason:
        code = "invalid-enum"
        reason += f"; known: {', '.join(known)}" if known else ""
    elif "missing required field" in reason or "unknown field" in reason:
        code = "missing" if "missing" in reason else "unknown-field"
        pointer += f"/{reason.rsplit('`', 2)[-2]}" if names_field else ""
    else:
        code = "invalid-type"
        reason += "; expected a time like 2026-11-22T10:42:00Z" if "RFC3339" in reason else ""
    return raises(reason, code=code, pointer=pointer)


def check_depth(value: object, raises: type[E], *, pointer: str = "", depth: int = 1) -> None:
    """Raise if a decoded value has more than `MAX_DEPTH` levels of arrays and objects.

    Parameters
    ----------
    value : object
        Of dicts, lists and scalars.
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
