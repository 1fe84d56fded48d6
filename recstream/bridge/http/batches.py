"""Step 2 of the flow: the body of a request that brings many things, taken apart but not yet read."""

from __future__ import annotations

from collections.abc import Collection

import msgspec
from flask import request

from recstream.bridge.http.problems import HttpProblem, Pointed
from recstream.core.json_input import json_error
from recstream.errors import InvalidJson

MAX_BODY_BYTES = 1 << 20
MAX_ENTRIES = 1000
NDJSON = "application/x-ndjson"
_raw_list = msgspec.json.Decoder(list[msgspec.Raw])


def split(kinds: Collection[str], what: str) -> tuple[list[msgspec.Raw | bytes], bool]:
    """Return the entries of the current request's body, and whether it is a batch.

    An array and lines of JSON are batches; anything else is one entry.

    Parameters
    ----------
    kinds : collection of str
        Media types that are taken; of `NDJSON` each line is an entry.
    what : str
        Plural, for messages.

    Raises
    ------
    HttpProblem
        400, 413, 415 or 422: nothing of the request can be taken.
    """
    length = request.content_length
    if length is not None and length > MAX_BODY_BYTES:
        raise HttpProblem(413, f"expected at most {MAX_BODY_BYTES} bytes, got {length}")
    if request.headers.get("Content-Encoding", "identity").lower() != "identity":
        raise HttpProblem(415, "expected a body without Content-Encoding")
    kind = request.mimetype
    if kind not in kinds:
        expected = ", ".join(kinds)
        message = f"expected one of {expected}, got {kind or 'no Content-Type'!r}"
        raise HttpProblem(415, message)
    body = request.get_data(cache=False).strip()
    if len(body) > MAX_BODY_BYTES:
        raise HttpProblem(413, f"expected at most {MAX_BODY_BYTES} bytes, got {len(body)}")
    is_batch = kind == NDJSON or body[:1] == b"["
    entries: list[msgspec.Raw | bytes]
    if kind == NDJSON:
        entries = [line for line in body.split(b"\n") if line.strip() != b""]
    else:
        entries = _array(body) if is_batch else [body]
    if not entries:
        raise HttpProblem(422, f"expected at least one of the {what}, got none", code="empty")
    if len(entries) > MAX_ENTRIES:
        message = f"expected at most {MAX_ENTRIES} {what} a request, got {len(entries)}"
        raise HttpProblem(413, message, code=f"too-many-{what}")
    return entries, is_batch


def _array(body: bytes) -> list[msgspec.Raw | bytes]:
    try:
        return list(_raw_list.decode(body))
    except Exception as error:
        wrong = json_error(error, InvalidJson)
        pointed = Pointed(pointer="", code=wrong.code, detail=wrong.reason)
        status = 422 if wrong.code == "too-deep" else 400
        message = f"the body can't be read: {wrong.reason}"
        raise HttpProblem(status, message, code=wrong.code, errors=(pointed,)) from error
