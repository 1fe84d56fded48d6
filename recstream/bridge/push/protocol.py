"""Messages of the WebSocket subprotocol ``recstream.v1``, as structs; unknown ones are refused.

`recs` and `pipeline` are latest-wins: a slow client skips to the newest. `log` is ordered: offsets
that a client misses are named in a `Gap`.
"""

from enum import IntEnum
from typing import Annotated, Any, Literal, get_args

import msgspec

from recstream.core.json_input import json_error
from recstream.core.records import (
    ClickCounts,
    GenerationAnnounced,
    PrequentialScore,
    Recommendations,
    TrainingProgress,
    WorkerStatus,
)
from recstream.errors import InvalidInput, InvalidJson
from recstream.log import INTERACTIONS

SUBPROTOCOL = "recstream.v1"
MAX_MESSAGE_BYTES = 16 * 1024
PING_S = 25
MAX_SUBSCRIPTIONS = 16
MAX_OFFSET = (1 << 63) - 1
MAX_PARTITION = (1 << 31) - 1

Channel = Literal["recs", "pipeline", "log"]
RoleName = Literal["worker", "trainer", "bridge"]
ErrorCode = Literal["forbidden", "not-found", "invalid-message", "too-many", "unavailable"]
Name = Annotated[str, msgspec.Meta(min_length=1, max_length=256)]


class CloseCode(IntEnum):
    """Reasons for which the bridge closes a connection."""

    NOT_TEXT = 1003
    INVALID_MESSAGE = 1008
    TOO_BIG = 1009
    INTERNAL_ERROR = 1011
    DRAINING = 1012
    TOKEN_EXPIRED = 4001
    NO_HELLO = 4003
    TOO_SLOW = 4008
    CANNOT_RECOVER = 4010
    RATE = 4013
    FORBIDDEN = 4503
    TOO_MANY_CONNECTIONS = 4504


class CloseMeaning(msgspec.Struct, frozen=True):
    """What a client does after a close code.

    Attributes
    ----------
    reason : str
        For people.
    retry : bool
        Connect again.
    resume : bool
        Send the last positions in ``since`` then.
    slow : bool
        Wait longer before.
    """

    reason: str
    retry: bool = True
    resume: bool = True
    slow: bool = False


def _final(reason: str) -> CloseMeaning:
    return CloseMeaning(reason, retry=False, resume=False)


CLOSE_MEANINGS: dict[CloseCode, CloseMeaning] = {
    CloseCode.NOT_TEXT: _final("the bridge expected a text message"),
    CloseCode.INVALID_MESSAGE: _final("the bridge did not understand a message"),
    CloseCode.TOO_BIG: _final("a message was too big"),
    CloseCode.INTERNAL_ERROR: CloseMeaning("the bridge had an internal error", slow=True),
    CloseCode.DRAINING: CloseMeaning("the bridge is restarting"),
    CloseCode.TOKEN_EXPIRED: CloseMeaning("the token has expired", retry=False),
    CloseCode.NO_HELLO: CloseMeaning("no hello was received in time"),
    CloseCode.TOO_SLOW: CloseMeaning("this client read too slowly"),
    CloseCode.CANNOT_RECOVER: CloseMeaning("the log does not contain that position", resume=False),
    CloseCode.RATE: CloseMeaning("this client sent too many messages", slow=True),
    CloseCode.FORBIDDEN: _final("not allowed"),
    CloseCode.TOO_MANY_CONNECTIONS: CloseMeaning("the bridge has too many connections", slow=True),
}


class Since(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The last message of a channel that the client has: epoch of the log, and offset."""

    epoch: Annotated[str, msgspec.Meta(max_length=256)]
    offset: Annotated[int, msgspec.Meta(ge=-1, le=MAX_OFFSET)]


class Subscription(
    msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True
):
    """A subscription that a client asks for.

    Attributes
    ----------
    since : Since or None
        Resume after this. None: `recs` and `pipeline` begin with a snapshot, `log` begins at the end.
    topic : str
        `log` only.
    partition : int or None
        `log` only; None: the partition of ``user``.
    user : str or None
        `log` only: only records with this key.
    placement : str
        `recs` only: lists of this placement of the steering document.
    """

    ch: Channel
    since: Since | None = None
    topic: Name = INTERACTIONS
    partition: Annotated[int, msgspec.Meta(ge=0, le=MAX_PARTITION)] | None = None
    user: Name | None = None
    placement: Annotated[str, msgspec.Meta(max_length=64)] = ""

    def __post_init__(self) -> None:
        if self.user is not None and self.ch != "log":
            raise ValueError(f"`user` is of channel log; {self.ch} is that of the user in hello")


Subscriptions = Annotated[tuple[Subscription, ...], msgspec.Meta(max_length=MAX_SUBSCRIPTIONS)]


class Hello(
    msgspec.Struct,
    frozen=True,
    kw_only=True,
    tag="hello",
    omit_defaults=True,
    forbid_unknown_fields=True,
):
    """The client's first message: its user or token, and its subscriptions.

    ``user`` can replace ``token`` if the bridge listens on loopback and has no secret.
    """

    token: str = ""
    user: Name | None = None
    subs: Subscriptions = ()


class Refresh(msgspec.Struct, frozen=True, kw_only=True, tag="refresh", forbid_unknown_fields=True):
    """A newer token for the same user, sent before the old one expires."""

    token: str


class Sub(
    Subscription,
    frozen=True,
    kw_only=True,
    tag="sub",
    omit_defaults=True,
    forbid_unknown_fields=True,
):
    """One more subscription; the answer is a `Welcome` that contains its start offset."""


class Unsub(
    msgspec.Struct,
    frozen=True,
    kw_only=True,
    tag="unsub",
    omit_defaults=True,
    forbid_unknown_fields=True,
):
    """End all subscriptions of a channel on this connection."""

    ch: Channel


ClientMessage = Hello | Refresh | Sub | Unsub
_client_decoder: msgspec.json.Decoder[ClientMessage] = msgspec.json.Decoder(ClientMessage)
_encoder = msgspec.json.Encoder()


class _Tagged(msgspec.Struct):
    type: str


class SubscriptionState(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Start of a subscription.

    Attributes
    ----------
    offset : int
        Newest offset of the channel at the start, -1 if there is none.
    recovered : bool
        No message between ``since`` and the first message is missing.
    """

    ch: Channel
    offset: int
    recovered: bool = msgspec.field(default_factory=bool)
    topic: str = ""
    partition: int | None = None


class Welcome(msgspec.Struct, frozen=True, kw_only=True, tag="welcome", omit_defaults=True):
    """The answer to `Hello` and to `Sub`. WebSocket pings come every ``ping_s`` seconds."""

    ping_s: int
    epoch: str
    user: str | None = None
    subs: tuple[SubscriptionState, ...]


# Made by `recs_message` of `recstream.bridge.follower`.
class RecsMessage(Recommendations, frozen=True, kw_only=True, tag="recs", omit_defaults=True):
    """A user's newest list, with its own epoch, partition and offset."""


class Stage(msgspec.Struct, frozen=True, kw_only=True):
    """Two percentiles of the latency of one step, in milliseconds."""

    p50_ms: float
    p99_ms: float


class RoleState(msgspec.Struct, frozen=True, kw_only=True):
    """State of a role.

    Attributes
    ----------
    name : str
        ``worker``, ``trainer`` or ``bridge``.
    state : str
        ``ready``, ``degraded`` (it works, but lists are late or not made) or ``down``.
    reason : str
        Why it is not ready, or slower than usual; else empty.
    heartbeat_age_ms : int or None
        Since the newest heartbeat of the role; None if there was none, and for the bridge itself.
    lag : int or None
        Of the worker: events that are not committed as folded. Of the trainer: records it has not
        read. None: unknown.
    """

    name: RoleName
    state: Literal["ready", "degraded", "down"]
    reason: str
    heartbeat_age_ms: int | None
    lag: int | None


class Pipeline(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """State of the worker, trainer and bridge: body of ``GET /v1/pipeline``.

    Attributes
    ----------
    generation, delta : int or None
        The newest announced; None before the first.
    events : int
        Records on the interactions topic.
    lag : int
        Events in the log that are not committed as folded: measured by the bridge, each second.
    partition_lag : dict of str to int
        The same by partition of the interactions topic.
    audit_horizon : dict of str to int
        Partition to the offset from which the past can be answered; only of partitions whose events were
        pruned.
    prequential : dict of str to PrequentialScore
        How well lists predicted the newest events: all, by generation, by source of the list, by
        arm of an experiment, and for cold users.
    clicks : dict of str to ClickCounts
        Impressions and clicks, by arm of an experiment.
    workers : tuple of WorkerStatus
        Workers that reported in the last 30 s.
    push : Stage or None
        Latency from a published list to its write to the socket, over the last lists pushed here.
    """

    epoch: str
    offset: int
    generation: int | None = None
    delta: int = 0
    model: GenerationAnnounced | None = None
    training: TrainingProgress | None = None
    workers: tuple[WorkerStatus, ...] = ()
    prequential: dict[str, PrequentialScore] = {}
    clicks: dict[str, ClickCounts] = {}
    events: int = 0
    lag: int = 0
    partition_lag: dict[str, int] = {}
    audit_horizon: dict[str, int] = {}
    roles: tuple[RoleState, ...] = ()
    connections: int = 0
    push: Stage | None = None


class PipelineMessage(Pipeline, frozen=True, kw_only=True, tag="pipeline", omit_defaults=True):
    """The pipeline's state, sent after each change."""


class LogRecord(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A record of a topic, in readable form.

    ``value`` is the record's JSON; a tombstone has none. A value that is not JSON is in ``text``.
    """

    topic: str
    partition: int
    offset: int
    ts: int
    key: str | None = None
    value: Any = None
    text: str | None = None


class LogMessage(LogRecord, frozen=True, kw_only=True, tag="log", omit_defaults=True):
    """The next record of a partition."""


class Gap(msgspec.Struct, frozen=True, kw_only=True, tag="gap", omit_defaults=True):
    """Offsets ``from`` to ``to`` (both included) of a partition were skipped."""

    ch: Channel
    topic: str
    partition: int
    from_: int = msgspec.field(name="from")
    to: int


class ErrorMessage(msgspec.Struct, frozen=True, kw_only=True, tag="error", omit_defaults=True):
    """A request that failed; ``temporary``: trying again can help."""

    code: ErrorCode
    temporary: bool = msgspec.field(default_factory=bool)
    detail: str = ""
    ch: Channel | None = None


def decode_client(raw: bytes | str) -> ClientMessage:
    """Return a client's message.

    Raises
    ------
    InvalidInput
        It is not JSON, of an unknown type, or has a wrong field.
    """
    try:
        return _client_decoder.decode(raw)
    except Exception as error:
        wrong = json_error(error, InvalidJson, kind=_kind_of(raw))
        where = f" (at {wrong.pointer})" if wrong.pointer else ""
        message = f"expected a recstream.v1 message (hello, refresh, sub, unsub): {wrong}{where}"
        raise InvalidInput(message) from error


def _kind_of(raw: bytes | str) -> Any:
    """Return the type of a refused message; all of them if its ``type`` names none."""
    try:
        tag = msgspec.json.decode(raw, type=_Tagged).type
    except Exception:  # noqa: BLE001 - whatever untrusted bytes do to a decoder
        return ClientMessage
    kinds = {kind.__struct_config__.tag: kind for kind in get_args(ClientMessage)}
    return kinds.get(tag, ClientMessage)


def encode(message: Any) -> bytes:
    """Return a server message as JSON."""
    return _encoder.encode(message)


def tagged(tag: str, body: bytes) -> bytes:
    """Return a JSON object with its message type added as the first field.

    >>> tagged("recs", b'{"user":"u1"}')
    b'{"type":"recs","user":"u1"}'
    """
    return b'{"type":"%s",%s' % (tag.encode(), body[1:])
