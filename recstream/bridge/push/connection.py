"""One push connection: its identity, its subscriptions, and what waits while the client reads slowly."""

from typing import Protocol

from recstream.bridge.auth import NOBODY, Identity
from recstream.bridge.push.protocol import Channel, CloseCode, ErrorMessage, encode
from recstream.metrics import PUSH_MESSAGES

_SENT, _HELD, _CONFLATED = map(PUSH_MESSAGES.labels, ("sent", "held", "conflated"))


class Outgoing:
    """A message, encoded once for all connections that receive it.

    Attributes
    ----------
    position : str
        ``epoch:offset``, the id of a server-sent event; empty if a client can't resume from it.
    """

    __slots__ = ("channel", "frame", "kind", "payload", "position")

    def __init__(
        self, channel: Channel, payload: bytes, *, kind: str = "", position: str = ""
    ) -> None:
        self.channel: Channel = channel
        self.payload = payload
        self.kind = kind or channel
        self.position = position
        self.frame: bytes | None = None


class Cursor(Protocol):
    """A subscription to the `log` channel, as its connection sees it."""

    def unblock(self) -> None:
        """Continue after the connection was blocked."""

    def cancel(self) -> None:
        """End the subscription."""


class Connection:
    """Subscriptions of a connection, and the messages that wait while it is blocked.

    Subclasses write bytes to the wire. A blocked connection keeps one waiting message per
    latest-wins channel: the newest.
    """

    __slots__ = ("channels", "identity", "is_blocked", "logs", "user", "waiting")

    def __init__(self) -> None:
        self.identity: Identity = NOBODY
        self.user: str | None = None
        self.channels: set[Channel] = set()
        self.logs: list[Cursor] = []
        self.waiting: dict[Channel, Outgoing] = {}
        self.is_blocked = False

    def write(self, message: Outgoing) -> None:
        """Write a message to the wire."""
        raise NotImplementedError

    def close(self, code: CloseCode, reason: str = "") -> None:
        """Send the close code, and end the connection."""
        raise NotImplementedError

    def offer(self, message: Outgoing) -> None:
        """Send a latest-wins message; while blocked, keep it instead of the one that waits."""
        if self.is_blocked:
            outcome = _CONFLATED if message.channel in self.waiting else _HELD
            self.waiting[message.channel] = message
            outcome.inc()
        else:
            self.write(message)
            _SENT.inc()

    def unblock(self) -> None:
        """Send the queued messages; called when the socket can be written again."""
        self.is_blocked = False
        while self.waiting and not self.is_blocked:
            channel = next(iter(self.waiting))
            self.write(self.waiting.pop(channel))
            _SENT.inc()
        if not self.is_blocked:
            for cursor in self.logs:
                cursor.unblock()

    def refuse(self, error: ErrorMessage) -> None:
        """Send an error message."""
        self.write(Outgoing("recs", encode(error), kind="error"))
