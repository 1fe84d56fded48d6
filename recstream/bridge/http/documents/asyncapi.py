"""``/asyncapi.json`` (AsyncAPI 3.1): the WebSocket's messages, generated from their structs."""

from typing import Any

import msgspec

from recstream import __version__
from recstream.bridge.http.documents.openapi import schemas_of
from recstream.bridge.push.protocol import (
    CLOSE_MEANINGS,
    SUBPROTOCOL,
    ErrorMessage,
    Gap,
    Hello,
    LogMessage,
    PipelineMessage,
    RecsMessage,
    Refresh,
    Sub,
    Unsub,
    Welcome,
)

FROM_CLIENT: tuple[type[msgspec.Struct], ...] = (Hello, Refresh, Sub, Unsub)
FROM_BRIDGE: tuple[type[msgspec.Struct], ...] = (
    Welcome,
    RecsMessage,
    PipelineMessage,
    LogMessage,
    Gap,
    ErrorMessage,
)


def name_of(message: type[msgspec.Struct]) -> str:
    """Return the value of a message's `type` field."""
    return str(message.__struct_config__.tag)


def asyncapi() -> bytes:
    """Return the document as JSON."""
    every = (*FROM_CLIENT, *FROM_BRIDGE)
    schemas, components = schemas_of(every)
    messages = {
        name_of(message): {
            "name": name_of(message),
            "title": (message.__doc__ or "").strip().partition("\n")[0],
            "contentType": "application/json",
            "payload": schema,
        }
        for message, schema in zip(every, schemas, strict=True)
    }
    codes = "\n".join(
        f"- {code.value}: {meaning.reason}{'' if meaning.retry else '; do not connect again'}"
        for code, meaning in sorted(CLOSE_MEANINGS.items())
    )
    document: dict[str, Any] = {
        "asyncapi": "3.1.0",
        "info": {
            "title": "recstream",
            "version": __version__,
            "description": f"WebSocket at /v1/ws, subprotocol {SUBPROTOCOL}. The client says hello "
            "first. Each subscription starts with a snapshot, followed by every change.\n\n"
            f"Close codes:\n\n{codes}",
            "license": {"name": "Apache-2.0"},
        },
        "defaultContentType": "application/json",
        "channels": {
            "ws": {
                "address": "/v1/ws",
                "messages": {name: {"$ref": f"#/components/messages/{name}"} for name in messages},
                "bindings": {"ws": {"method": "GET"}},
            }
        },
        "operations": {
            "fromClient": _operation("receive", FROM_CLIENT),
            "fromBridge": _operation("send", FROM_BRIDGE),
        },
        "components": {"messages": messages, "schemas": components},
    }
    return msgspec.json.format(msgspec.json.encode(document), indent=2) + b"\n"


def _operation(action: str, messages: tuple[type[msgspec.Struct], ...]) -> dict[str, Any]:
    return {
        "action": action,
        "channel": {"$ref": "#/channels/ws"},
        "messages": [
            {"$ref": f"#/channels/ws/messages/{name_of(message)}"} for message in messages
        ],
    }
