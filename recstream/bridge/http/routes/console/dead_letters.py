"""Dead letters: count them by reason, list them, and send them again."""

from collections import Counter
from typing import Annotated

import msgspec

from recstream.bridge.http.deps import Deps
from recstream.bridge.http.problems import HttpProblem, Pointed
from recstream.bridge.http.routing import route
from recstream.bridge.views import LogSearch, decode_places, encode_places
from recstream.core.events import timestamp_ms
from recstream.core.records import decode_item
from recstream.errors import NotFound
from recstream.log import (
    CATALOGUE,
    DEAD_LETTERS,
    INTERACTIONS,
    NewRecord,
    Record,
    decode,
    find_letter,
    read_letter,
    record_to_send,
)

MAX_LETTER_BYTES = 256 * 1024


class LettersQuery(msgspec.Struct, frozen=True, kw_only=True):
    """Selects dead letters."""

    reason: Annotated[str, msgspec.Meta(max_length=100)] = ""
    older: Annotated[
        str, msgspec.Meta(max_length=4000, description="`older` of the previous page")
    ] = ""
    limit: Annotated[int, msgspec.Meta(ge=1, le=200)] = 50


class ListedLetter(msgspec.Struct, frozen=True, kw_only=True):
    """A dead letter.

    Attributes
    ----------
    id : str
        Its own partition and offset, as in ``0:17``.
    topic, partition, offset : str, int, int
        Position of the record that could not be read.
    pointer : str
        JSON pointer of the wrong part.
    value : str
        The part that could not be read, or its beginning if it is ``truncated``.
    """

    id: str
    ts: int
    reason: str
    detail: str
    topic: str
    partition: int
    offset: int
    pointer: str
    value: str
    truncated: bool


class LettersAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """Dead letters, newest first.

    Attributes
    ----------
    reasons : dict of str to int
        Number by reason, the most frequent first, among the newest ``n_counted``.
    older : str
        Value of the parameter for the next page; empty on the last one.
    """

    reasons: dict[str, int]
    n_counted: int
    letters: tuple[ListedLetter, ...]
    older: str


class SendBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The corrected content; absent: the original record, as it was."""

    value: Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_LETTER_BYTES)] | None = None


class LetterSent(msgspec.Struct, frozen=True, kw_only=True):
    """Where the content was appended again."""

    topic: str
    partition: int
    offset: int


class DeadLetterRoutes:
    """Dead letters."""

    tag = "log"

    def __init__(self, deps: Deps) -> None:
        self._log = deps.log
        self._now = deps.now

    @route("GET", "/v1/dead-letters", max_in_flight=4, problems={503: "The log can't be reached"})
    def list_dead_letters(self, query: LettersQuery) -> LettersAnswer:
        """Count the records that could not be read by reason, and list them, newest first."""
        search = LogSearch(self._log)
        start = search.places(DEAD_LETTERS, search.partitions(DEAD_LETTERS))
        reasons: Counter[str] = Counter()

        def count(record: Record) -> bool:
            letter = read_letter(record)
            reasons[letter.reason if letter else "erased"] += 1
            return False

        counted = search.search(DEAD_LETTERS, start, count, limit=1, backwards=True)
        del reasons["erased"]

        def admits(record: Record) -> bool:
            letter = read_letter(record)
            return letter is not None and query.reason in {"", letter.reason}

        older = decode_places(query.older) if query.older else {}
        start = {partition: older.get(partition, offset) for partition, offset in start.items()}
        found = search.search(DEAD_LETTERS, start, admits, limit=query.limit, backwards=True)
        return LettersAnswer(
            reasons=dict(reasons.most_common()),
            n_counted=counted.n_scanned,
            letters=tuple(_listed(record) for record in reversed(found.records)),
            older=encode_places(found.older) if found.has_more else "",
        )

    @route(
        "POST",
        "/v1/dead-letters/<letter>/send",
        status=202,
        problems={
            404: "No such dead letter, or the original record is gone",
            422: "The corrected content can't be read either; errors contain the reasons",
            503: "The log can't be reached",
        },
    )
    def send_dead_letter(self, letter: str, body: SendBody) -> LetterSent:
        """Append a dead letter's content again to its topic, as it was or corrected.

        A corrected event without an id or a time gets both; however often it is sent, it counts
        once.
        """
        found = find_letter(self._log, letter)
        corrected = None if body.value is None else body.value.encode()
        if corrected is not None and found.topic == INTERACTIONS:
            corrected = self._completed(letter, corrected)
        record = record_to_send(self._log, found, corrected)
        if corrected is not None:
            self._check(record)
        (position,) = self._log.append([record])
        return LetterSent(
            topic=position.topic, partition=position.partition, offset=position.offset
        )

    def _completed(self, letter: str, content: bytes) -> bytes:
        """Return a corrected event with an id and a time."""
        try:
            event = msgspec.json.decode(content)
        except (msgspec.DecodeError, RecursionError):
            return content  # `_check` says why
        if not isinstance(event, dict):
            return content
        given = {"id": f"dead-letter-{letter}", "ts": self._now()}
        return msgspec.json.encode(given | event)

    def _check(self, record: NewRecord) -> None:
        """Refuse corrected content that would become a dead letter again."""
        now_ms = timestamp_ms(self._now())
        whole = Record(record.topic, record.partition or 0, 0, now_ms, record.key, record.value)
        errors: list[Pointed] = []
        if record.topic == INTERACTIONS:
            errors = [
                Pointed(pointer=one.pointer, code=one.reason, detail=one.detail)
                for one in decode(whole).letters
            ]
        elif record.topic == CATALOGUE:
            try:
                decode_item(record.value or b"")
            except Exception as error:  # noqa: BLE001 - untrusted bytes
                errors = [Pointed(pointer="", detail=str(error))]
        if errors:
            message = f"the corrected content can't be read either: {errors[0].detail}"
            raise HttpProblem(422, message, code="invalid-body", errors=tuple(errors))


def _listed(record: Record) -> ListedLetter:
    letter = read_letter(record)
    if letter is None:
        raise NotFound("the dead letter was erased")
    return ListedLetter(
        id=f"{record.partition}:{record.offset}",
        ts=record.timestamp_ms,
        **msgspec.structs.asdict(letter),
    )
