"""Push to browsers: WebSocket and server-sent events.

In: upgraded sockets from the HTTP routes, lists and records from the log. Out: JSON messages.
"""

from recstream.bridge.push.connection import Outgoing
from recstream.bridge.push.hub import Hub, Refused
from recstream.bridge.push.log_feed import LogFeed, log_record
from recstream.bridge.push.loop import ConnectionLoop, SocketConnection
from recstream.bridge.push.protocol import (
    SUBPROTOCOL,
    Channel,
    LogRecord,
    Pipeline,
    RoleName,
    RoleState,
    Since,
    Stage,
    Subscription,
    encode,
    tagged,
)
from recstream.bridge.push.sse import EventStreamConnection
from recstream.bridge.push.websocket import WebSocketConnection
