"""Read request bodies, one JSON value or the entries of a batch; write JSON answers."""

import codecs
from collections.abc import Collection, Sequence
from typing import Any

import msgspec
from flask import Response, request

from recstream.bridge.http.problems import HttpProblem, Pointed, encode_json
from recstream.core.json_input import json_error
from recstream.errors import InvalidJson

MAX_BODY_BYTES = 1 << 20
MAX_ENTRIES = 1000
JSON = "application/json"
NDJSON = "application/x-ndjson"
_raw_list = msgspec.json.Decoder(list[msgspec.Raw])


def json_response(body: Any, status: int = 200) -> Response:
    """Return a struct, list or dict as a JSON answer."""
    response = Response(encode_json(body), status, content_type=JSON)
    response.headers["Cache-Control"] = "no-store"
    return response


def read_bytes(kinds: Collection[str] = (JSON,), max_bytes: int = MAX_BODY_BYTES) -> bytes:
    """Return the body of the current request.

    Parameters
    ----------
    kinds : collection of str
        Accepted media types.

    Raises
    ------
    HttpProblem
        413 or 415.
    """
    kind = request.mimetype
    if kind not in kinds:
        expected = f"expected a body of {' or '.join(kinds)}"
        raise HttpProblem(415, f"{expected}, got {kind or 'no Content-Type'!r}")
    if request.headers.get("Content-Encoding", "identity").lower() != "identity":
        raise HttpProblem(415, "expected a body without Content-Encoding")
    length = request.content_length or 0
    body = request.get_data(cache=False) if length <= max_bytes else b""
    if max(length, len(body)) > max_bytes:
        message = f"expected at most {max_bytes} bytes, got {max(length, len(body))}"
        raise HttpProblem(413, message)
    return body


def read_json(wanted: Any) -> Any:
    """Return the current request's JSON body as a value of a type.

    Raises
    ------
    HttpProblem
        400, 413, 415 or 422.
    """
    body = _utf8(read_bytes())
    if not body:
        message = "expected a body of JSON, got an empty one; `{}` asks for the defaults"
        raise HttpProblem(400, message, code="malformed-json")
    try:
        return msgspec.json.decode(body, type=wanted)
    except Exception as error:
        wrong = json_error(error, InvalidJson, names_field=False, kind=wanted)
        pointed = Pointed(pointer=wrong.pointer, code=wrong.code, detail=wrong.reason)
        detail = f"{wrong.reason} (at {wrong.pointer})" if wrong.pointer else wrong.reason
        is_malformed = wrong.code == "malformed-json"
        status, code = (400, "malformed-json") if is_malformed else (422, "invalid-body")
        raise HttpProblem(status, detail, code=code, errors=(pointed,)) from error


def read_entries(kinds: Collection[str], what: str) -> tuple[list[msgspec.Raw | bytes], bool]:
    """Return the undecoded entries of the current request's body, and whether it is a batch.

    A JSON array and lines of JSON are batches; anything else is one entry.

    Parameters
    ----------
    kinds : collection of str
        Accepted media types; of `NDJSON` each line is an entry.
    what : str
        Plural name of the entries, for messages.

    Raises
    ------
    HttpProblem
        400, 413, 415 or 422: nothing of the request is accepted.
    """
    body = _utf8(read_bytes(kinds)).strip()
    kind = request.mimetype
    is_batch = kind == NDJSON or body[:1] == b"["
    entries: list[msgspec.Raw | bytes]
    if kind == NDJSON:
        entries = [line for line in body.split(b"\n") if line.strip() != b""]
    else:
        entries = _array(body) if is_batch else [body] * bool(body)
    if not entries:
        raise HttpProblem(422, f"expected at least one of the {what}, got none", code="empty")
    if len(entries) > MAX_ENTRIES:
        message = f"expected at most {MAX_ENTRIES} {what} a request, got {len(entries)}"
        raise HttpProblem(413, message, code=f"too-many-{what}")
    return entries, is_batch


def _utf8(body: bytes) -> bytes:
    """Return a body of JSON without a byte order mark; refuse UTF-16 and UTF-32 by name."""
    if b"\0" in body[:4]:
        message = "expected JSON in UTF-8, got UTF-16, UTF-32 or no text"
        raise HttpProblem(400, message, code="malformed-json")
    return body.removeprefix(codecs.BOM_UTF8)


def _array(body: bytes) -> list[msgspec.Raw | bytes]:
    try:
        return list(_raw_list.decode(body))
    except Exception as error:
        wrong = json_error(error, InvalidJson)
        pointed = Pointed(pointer="", code=wrong.code, detail=wrong.reason)
        status = 422 if wrong.code == "too-deep" else 400
        message = f"the body can't be read: {wrong.reason}"
        raise HttpProblem(status, message, code=wrong.code, errors=(pointed,)) from error


def answer_batch(
    answer: msgspec.Struct, rejected: Sequence[Any], *, is_accepted: bool, what: str
) -> Response:
    """Return the answer to a batch: 202 if something was accepted, else raise 422 or 403.

    Parameters
    ----------
    answer : struct
        Body of a 202; its fields are added to the problem.
    rejected : sequence of structs with ``pointer``, ``code`` and ``detail``
    what : str
        Singular name of an entry, for messages.
    """
    if is_accepted:
        return json_response(answer, 202)
    first = rejected[0]
    is_forbidden = all(one.code == "forbidden" for one in rejected)
    raise HttpProblem(
        403 if is_forbidden else 422,
        first.detail if len(rejected) == 1 else f"no {what} was accepted",
        code=first.code if len(rejected) == 1 else f"no-{what}-accepted",
        errors=tuple(
            Pointed(pointer=one.pointer, code=one.code, detail=one.detail) for one in rejected
        ),
        more=answer,
    )
