"""Push to browsers: WebSocket and server-sent events over one hub."""

from __future__ import annotations

from recstream.bridge.push.asyncapi import asyncapi
from recstream.bridge.push.hub import Hub
from recstream.bridge.push.logfeed import LogFeed, shown
from recstream.bridge.push.loop import Live, StreamPeer
from recstream.bridge.push.peer import Outgoing
from recstream.bridge.push.protocol import (
    SUBPROTOCOL,
    Channel,
    LogRecord,
    Pipeline,
    Since,
    Stage,
    Subscription,
    encode,
    tagged,
)
from recstream.bridge.push.sse import EventStreamPeer
from recstream.bridge.push.websocket import WebSocketPeer

__all__ = [
    "SUBPROTOCOL",
    "Channel",
    "EventStreamPeer",
    "Hub",
    "Live",
    "LogFeed",
    "LogRecord",
    "Outgoing",
    "Pipeline",
    "Since",
    "Stage",
    "StreamPeer",
    "Subscription",
    "WebSocketPeer",
    "asyncapi",
    "encode",
    "shown",
    "tagged",
]
