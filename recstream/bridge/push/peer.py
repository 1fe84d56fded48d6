"""Step 9 of the flow: one connection, WebSocket or server-sent events alike, and what waits for it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from recstream.bridge.auth import NOBODY, Identity
from recstream.bridge.push.protocol import Channel, CloseCode, ErrorMessage, encode
from recstream.metrics import PUSH_MESSAGES

if TYPE_CHECKING:
    from recstream.bridge.push.logfeed import LogSubscription


_SENT, _HELD, _CONFLATED = map(PUSH_MESSAGES.labels, ("sent", "held", "conflated"))


class Outgoing:
    """A message, encoded once however many peers it goes to.

    Attributes
    ----------
    position : str
        ``epoch:offset``, the id of a server-sent event; empty if nothing can be resumed from it.
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


class Peer:
    """One connection's subscriptions and what waits for it while it is slow.

    Subclasses say how bytes get onto the wire. A blocked peer keeps one waiting message per
    latest-wins channel: the newest.
    """

    __slots__ = ("channels", "identity", "is_blocked", "logs", "user", "waiting")

    def __init__(self) -> None:
        self.identity: Identity = NOBODY
        self.user: str | None = None
        self.channels: set[Channel] = set()
        self.logs: list[LogSubscription] = []
        self.waiting: dict[Channel, Outgoing] = {}
        self.is_blocked = False

    def write(self, message: Outgoing) -> None:
        """Put a message onto the wire."""
        raise NotImplementedError

    def close(self, code: CloseCode, reason: str = "") -> None:
        """Say why, and end the connection."""
        raise NotImplementedError

    def offer(self, message: Outgoing) -> None:
        """Send a latest-wins message now, or keep it in place of the one that waits."""
        if self.is_blocked:
            outcome = _CONFLATED if message.channel in self.waiting else _HELD
            self.waiting[message.channel] = message
            outcome.inc()
        else:
            self.write(message)
            _SENT.inc()

    def unblock(self) -> None:
        """Send what waited; called when the wire takes more."""
        self.is_blocked = False
        while self.waiting and not self.is_blocked:
            channel = next(iter(self.waiting))
            self.write(self.waiting.pop(channel))
            _SENT.inc()
        if not self.is_blocked:
            for subscription in self.logs:
                subscription.unblock()

    def refuse(self, error: ErrorMessage) -> None:
        """Tell the client what could not be done."""
        self.write(Outgoing("recs", encode(error), kind="error"))
