"""What routes of lists accept: a request as JSON, or the same as parameters of the query string."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, TypeVar, get_args

import msgspec
from flask import Response

from recstream.bridge.http.bodies import json_response
from recstream.bridge.http.deps import Deps
from recstream.bridge.http.problems import HttpProblem, Pointed, invalid
from recstream.bridge.http.routes.events import LogPosition
from recstream.bridge.http.routing import LIST_FORMS
from recstream.core.json_input import json_error
from recstream.core.records import Item, Reason
from recstream.core.serving import Neighbour
from recstream.core.steering import ListRequest, Steering, check_request
from recstream.errors import InvalidInput, InvalidJson, InvalidSteering
from recstream.log import INTERACTIONS, partition_for

DEFAULT_N, MAX_LIST = 20, 1_000
N = "Items; default: the placement's size, else 20"
Field = Literal["rank", "score", "was", "why", "details"]
DEFAULT_FIELDS: tuple[Field, ...] = ("rank", "score", "was", "why")
_OMITTED = "Default: all but details; of similar items all"
_JSON_PARAMETERS = ("filter", "boost", "context", "min_position")
_Body = TypeVar("_Body", bound="ListBody")


class ListBody(ListRequest, frozen=True, kw_only=True):
    """A request of a list: what shapes it, what to wait for, and which fields to return."""

    n: Annotated[int, msgspec.Meta(ge=1, le=MAX_LIST, description=N)] | None = None  # type: ignore[assignment]
    min_position: Annotated[
        int | LogPosition | None,
        msgspec.Meta(
            description="Wait until the list contains this event: `position` of the answer that "
            "accepted it, or its offset in the user's partition"
        ),
    ] = None
    timeout_ms: Annotated[
        int, msgspec.Meta(ge=0, le=10_000, description="How long to wait for min_position")
    ] = 2_000
    fields: Annotated[
        tuple[Field, ...] | None,
        msgspec.Meta(
            description="Fields of each item besides its id; details: catalogue entry. " + _OMITTED
        ),
    ] = None

    def request(self, steering: Steering | None) -> ListRequest:
        """Return what shapes the list: without what only concerns the answer.

        Raises
        ------
        HttpProblem
            422: a condition is invalid.
        """
        names = ListRequest.__struct_fields__
        place = None if steering is None else steering.placement(self.placement)
        n = self.n or (place and place.size) or DEFAULT_N
        request = ListRequest(**{name: getattr(self, name) for name in names} | {"n": n})
        try:
            return check_request(request, steering)
        except InvalidSteering as error:
            raise invalid(error, "invalid-request") from error


class ListParameters(msgspec.Struct, frozen=True, kw_only=True):
    """The same as parameters; conditions are JSON."""

    n: Annotated[int, msgspec.Meta(ge=1, le=MAX_LIST, description=N)] | None = None
    offset: Annotated[int, msgspec.Meta(ge=0, le=500, description="Skip this many first items")] = 0
    cursor: Annotated[
        str, msgspec.Meta(max_length=4_096, description="`next` of the previous page")
    ] = ""
    exclude: Annotated[
        tuple[str, ...], msgspec.Meta(description="Ids that must not be listed. " + LIST_FORMS)
    ] = ()
    filter: Annotated[
        str,
        msgspec.Meta(
            description="Only items that meet this condition of the steering language, as JSON: "
            '`{"brand":"Acme","price":{"max":20}}`'
        ),
    ] = ""
    boost: Annotated[
        str,
        msgspec.Meta(
            description='Additions to scores, as JSON: `[{"where":{"brand":"Acme"},"by":0.5}]`'
        ),
    ] = ""
    category: Annotated[
        str, msgspec.Meta(description="Only items of this category and those below it")
    ] = ""
    placement: Annotated[
        str, msgspec.Meta(description="Where the list is displayed: a placement's name")
    ] = ""
    known: Annotated[bool, msgspec.Meta(description="Include items that the user has seen")] = False
    context: Annotated[
        str, msgspec.Meta(description='Device, hour, …, as JSON: `{"device":"mobile"}`')
    ] = ""
    min_position: Annotated[
        str,
        msgspec.Meta(
            description="Wait until the list contains this event: its offset in the user's "
            "partition, or `position` of the answer that accepted it, as JSON"
        ),
    ] = ""
    timeout_ms: Annotated[
        int, msgspec.Meta(ge=0, le=10_000, description="How long to wait for min_position")
    ] = 2_000
    fields: Annotated[
        tuple[Field, ...],
        msgspec.Meta(description=f"Fields of each item besides its id. {_OMITTED}. {LIST_FORMS}"),
    ] = ()


class ListedItem(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """An item of a list, with the fields that were asked for."""

    item: str
    rank: int = 0
    score: float | None = None
    was: int = 0
    why: tuple[Reason, ...] = ()
    details: Item | None = None


class AnswerFields:
    """Reduces the items of answers to the fields that were asked for."""

    def __init__(self, deps: Deps) -> None:
        self._catalogue = deps.items.catalogue

    def of(self, answer: msgspec.Struct, fields: tuple[Field, ...] | None, **more: Any) -> Response:
        """Return an answer with these fields of each listed item, and more of its own."""
        if fields is None and not more:
            return json_response(answer)
        fields = DEFAULT_FIELDS if fields is None else fields
        plain = msgspec.to_builtins(answer) | more
        entries = [one for each in plain.get("shelves", [plain]) for one in each["items"]]
        unwanted = {*get_args(Field)} - {*fields}
        for one in entries:
            for name in one.keys() & unwanted:
                del one[name]
        if "details" in fields:
            known = self.details([one["item"] for one in entries])
            for one in entries:
                one["details"] = known.get(one["item"])
        return json_response(plain)

    def details(self, ids: Sequence[str]) -> dict[str, Item]:
        """Return the catalogue's entries for display: without their vectors, which may be long."""
        found = self._catalogue.get_many(ids)
        return {name: msgspec.structs.replace(item, vector=()) for name, item in found.items()}


class SimilarItem(Neighbour, frozen=True, kw_only=True, omit_defaults=True):
    """A similar item: similarity, reasons, and its catalogue entry."""

    score: float | None = None  # type: ignore[assignment]
    details: Item | None = None


class SimilarAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """The most similar items.

    Attributes
    ----------
    known : bool
        Whether the active generation contains the item; if not, there are no similar items.
    next : str
        Cursor of the next page; empty on the last one.
    warnings : tuple of str
        What the request names and the active generation does not have.
    """

    item: str
    generation: int | None
    known: bool
    items: tuple[SimilarItem, ...]
    next: str = ""
    warnings: tuple[str, ...] = ()


class PositionWaiter:
    """Waits until lists contain an event that a request names."""

    def __init__(self, deps: Deps) -> None:
        self._recommender = deps.recommender
        self._log = deps.log
        self._epoch = deps.log.epoch
        self._n_partitions = deps.log.partitions(INTERACTIONS)

    def wait(self, user: str, body: ListBody) -> bool:
        """Wait until this bridge knows the request's event; return whether the request names one.

        Raises
        ------
        InvalidInput
            The position is of another log, or at or after the end of its partition.
        HttpProblem
            409: it did not come in time.
        """
        position = body.min_position
        partition = partition_for(user.encode(), self._n_partitions)
        if isinstance(position, LogPosition):
            if position.epoch not in {"", self._epoch}:
                raise InvalidInput(
                    f"expected a position of the log {self._epoch!r}, got one of "
                    f"{position.epoch!r}; take `position` of a newer answer, or omit min_position"
                )
            known = {str(each) for each in range(self._n_partitions)}
            if unknown := sorted(position.offsets.keys() - known):
                raise InvalidInput(
                    f"min_position must name partitions 0 to {self._n_partitions - 1}, got "
                    f"{unknown[0]!r}"
                )
            position = position.offsets.get(str(partition))
        if position is None:
            return False
        if self._recommender.has_folded(partition, position):
            return True
        self._check_appended(partition, position)
        if not self._recommender.wait_for(partition, position, body.timeout_ms / 1000):
            message = (
                f"offset {position} is not in the list after {body.timeout_ms} ms; the worker may "
                "be behind, see /health/ready"
            )
            raise HttpProblem(409, message, code="position-not-reached", retry_after_s=1)
        return True

    def _check_appended(self, partition: int, offset: int) -> None:
        end = self._log.high_watermark(INTERACTIONS, partition)
        # On Kafka, records of open transactions lie at and after the high watermark.
        if offset >= end and not self._log.n_waiting(INTERACTIONS, partition, offset):
            raise InvalidInput(
                f"expected a position before {end}, the end of partition {partition}, got {offset}; "
                "take `position` of the answer that accepted the event, or omit min_position"
            )


def as_body(query: ListParameters, kind: type[_Body]) -> _Body:
    """Return parameters as the body that asks for the same.

    Raises
    ------
    HttpProblem
        400: a parameter is not what it must be.
    """
    given: dict[str, Any] = {}
    for name in kind.__struct_fields__:
        value = getattr(query, name, "")
        if value in {"", None, ()}:
            continue
        if name in _JSON_PARAMETERS:
            value = _decoded(name, value)
        given[name] = value
    return _converted(given, kind)


def _decoded(name: str, text: str) -> Any:
    try:
        return msgspec.json.decode(text)
    except Exception as error:
        raise _wrong(name, json_error(error, InvalidJson)) from error


def _converted(given: Mapping[str, Any], kind: type[_Body]) -> _Body:
    try:
        return msgspec.convert(given, kind)
    except Exception as error:
        wrong = json_error(error, InvalidJson, names_field=False, kind=kind)
        raise _wrong(wrong.pointer.lstrip("/"), wrong) from error


def _wrong(name: str, error: InvalidJson) -> HttpProblem:
    pointed = Pointed(pointer=f"?{name}", code=error.code, detail=error.reason)
    return HttpProblem(400, f"{name}: {error.reason}", code="invalid-parameter", errors=(pointed,))
