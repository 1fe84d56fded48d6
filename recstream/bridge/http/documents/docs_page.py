"""``/docs``: OpenAPI and AsyncAPI as one HTML page without scripts."""

from html import escape
from typing import Any

import msgspec

STYLE = """
:root { color-scheme: light dark; font: 16px/1.55 system-ui, sans-serif; }
body { max-inline-size: 62rem; margin: 2rem auto; padding-inline: 1rem; }
h1 { margin-block-end: 0; }
h2 { margin-block-start: 2.5rem; border-block-end: 1px solid color-mix(in srgb, currentColor 25%, transparent); }
code, pre { font-family: ui-monospace, monospace; font-size: 0.9em; }
pre { overflow-x: auto; padding: 0.75rem; border-radius: 0.5rem; background: color-mix(in srgb, currentColor 7%, transparent); }
details { margin-block: 0.4rem; padding: 0.35rem 0.75rem; border: 1px solid color-mix(in srgb, currentColor 20%, transparent); border-radius: 0.5rem; }
summary { cursor: pointer; overflow-wrap: anywhere; }
summary b { display: inline-block; min-inline-size: 4.5rem; }
table { border-collapse: collapse; margin-block: 0.5rem; }
td, th { padding: 0.2rem 0.8rem 0.2rem 0; text-align: start; vertical-align: top; }
.wide { overflow-x: auto; }
"""


def docs_page(openapi: bytes, asyncapi: bytes) -> bytes:
    """Return the page."""
    rest: dict[str, Any] = msgspec.json.decode(openapi)
    push: dict[str, Any] = msgspec.json.decode(asyncapi)
    by_tag: dict[str, list[str]] = {}
    for path, methods in rest["paths"].items():
        for method, operation in methods.items():
            section = _operation(method.upper(), path, operation)
            by_tag.setdefault(operation["tags"][0], []).append(section)
    sections = "".join(
        f"<section><h2>{escape(tag)}</h2>{''.join(operations)}</section>"
        for tag, operations in by_tag.items()
    )
    messages = "".join(
        f"<details><summary><b>{escape(name)}</b> {escape(message['title'])}</summary>"
        f"{_schema(message['payload'])}</details>"
        for name, message in push["components"]["messages"].items()
    )
    schemas = "".join(
        f'<details id="{escape(name)}"><summary><b>{escape(name)}</b> '
        f"{escape(schema.get('description', '').partition(chr(10))[0])}</summary>"
        f"{_schema(schema)}</details>"
        for name, schema in sorted((rest["components"] | push["components"])["schemas"].items())
    )
    about = escape(rest["info"]["description"])
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width">'
        "<title>recstream: API</title>"
        '<link rel="stylesheet" href="/docs/style.css"></head><body><main>'
        f"<h1>recstream</h1><p>{about}</p>"
        '<p><a href="/openapi.json">openapi.json</a> · '
        '<a href="/asyncapi.json">asyncapi.json</a> · <a href="/">the page</a></p>'
        f"{sections}"
        f"<section><h2>WebSocket</h2><p>{escape(push['info']['description'])}</p>{messages}</section>"
        f"<section><h2>Schemas</h2>{schemas}</section>"
        "</main></body></html>"
    ).encode()


def _operation(method: str, path: str, operation: dict[str, Any]) -> str:
    rows = "".join(
        f"<tr><td><code>{escape(one['name'])}</code></td><td>{escape(one['in'])}</td>"
        f"<td><code>{escape(_brief(one['schema']))}</code></td>"
        f"<td>{escape(one.get('description', ''))}</td></tr>"
        for one in operation.get("parameters", ())
    )
    bodies = "".join(
        f"<p>Body <code>{escape(kind)}</code>: <code>{escape(_brief(content['schema']))}</code></p>"
        for kind, content in operation.get("requestBody", {}).get("content", {}).items()
    )
    answers = "".join(
        f"<tr><td>{escape(status)}</td><td>{escape(answer['description'])}</td><td><code>"
        f"{escape(', '.join(_brief(c['schema']) for c in answer.get('content', {}).values()))}"
        "</code></td></tr>"
        for status, answer in operation["responses"].items()
    )
    return (
        f"<details><summary><b>{method}</b> <code>{escape(path)}</code> "
        f"{escape(operation['summary'])}</summary>"
        f'<div class="wide"><table>{rows}</table>{bodies}<table>{answers}</table></div></details>'
    )


def _brief(schema: dict[str, Any]) -> str:
    """Return a schema's name or type."""
    if "$ref" in schema:
        return str(schema["$ref"]).rpartition("/")[2]
    if "anyOf" in schema:
        return " | ".join(_brief(one) for one in schema["anyOf"])
    if schema.get("type") == "array":
        return f"[{_brief(schema['items'])}]" if isinstance(schema.get("items"), dict) else "array"
    if "enum" in schema:
        return " | ".join(map(str, schema["enum"]))
    return str(schema.get("type", "any"))


def _schema(schema: dict[str, Any]) -> str:
    text = msgspec.json.format(msgspec.json.encode(schema), indent=2).decode()
    return f"<pre>{escape(text)}</pre>"
