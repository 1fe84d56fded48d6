"""Write the typed methods of `recstream.client` and the page's types from the API's documents.

::

    python scripts/client.py           # writes recstream/client/bodies.py, answers.py, methods.py
                                       # and web/connection/messages.d.ts
    python scripts/client.py --check   # exits with 1 if one is out of date
"""

import argparse
import json
import keyword
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
DOCUMENT = ROOT / "tests" / "snapshots" / "openapi.json"
"""Held equal to the bridge's by tests/bridge/http/documents/test_documents.py."""
MESSAGES = ROOT / "tests" / "snapshots" / "asyncapi.json"
FOLDER = ROOT / "recstream" / "client"
PAGE_TYPES = ROOT / "web" / "connection" / "messages.d.ts"
METHODS = {
    "post_events": "send_events",
    "post_user_recommendations": "recommend",
    "post_recommendations": "recommend_for_visitor",
    "post_rank": "rank",
    "post_shelves": "shelves",
    "post_shelf": "shelf",
    "post_bought_together": "bought_together",
    "post_again": "again",
    "post_similar_items": "similar_items",
    "get_popular": "popular",
    "get_explanation": "explain",
    "post_merge": "merge_session",
    "put_user": "put_user",
    "delete_user": "forget_user",
    "list_items": "find_items",
    "get_item": "get_item",
    "put_item": "put_item",
    "patch_item": "change_item",
    "post_items": "put_items",
    "delete_item": "delete_item",
}
"""Operations that a shop calls, and their methods; what operators call is in the command line."""
OF_THE_PAGE = ("Explanation", "Item", "ShelvesAnswer", "Steering")
"""Schemas of REST that the page's own types are made of, besides all WebSocket messages."""
PAGE_TYPES_HEAD = """/**
 * Messages of the WebSocket and answers of REST. Written from the AsyncAPI and OpenAPI documents by
 * scripts/client.py. A field with `?` is left out where it has its default.
 */"""
BASES = ("ListRequest",)
"""Schemas of answers that bodies extend."""
MIN_SHARED = 5
"""Fields of a type that another must have, too, to extend it: fewer are shared by chance."""
METHODS_HEAD = '''"""Methods of the clients. Written from the OpenAPI document by scripts/client.py."""

from collections.abc import Callable, Coroutine
from typing import Any, Concatenate, Literal, ParamSpec, TypeVar, Unpack, cast

from recstream.client.answers import ({answers})
from recstream.client.bodies import ({bodies})

P = ParamSpec("P")
T = TypeVar("T")


def _awaited(
    method: Callable[Concatenate[Any, P], T],
) -> Callable[Concatenate[Any, P], Coroutine[Any, Any, T]]:
    """Return a method with the type of one whose ``call`` is a coroutine."""
    return cast("Callable[Concatenate[Any, P], Coroutine[Any, Any, T]]", method)


class Methods:
    """A method for each operation; each raises `recstream.client.RequestFailed`."""

    def call(
        self, method: str, path: str, values: dict[str, str], *, query: Any = None, body: Any = None
    ) -> Any:
        """Send a request until it succeeds, and return its answer."""
        raise NotImplementedError'''
SIMPLE = {"string": "str", "integer": "int", "number": "float", "boolean": "bool", "null": "None"}

Json = dict[str, Any]


def type_of(schema: Json) -> str:
    """Return a schema as a type expression."""
    if "$ref" in schema:
        return str(schema["$ref"].rpartition("/")[2])
    if "anyOf" in schema:
        return " | ".join(dict.fromkeys(type_of(each) for each in schema["anyOf"]))
    if "enum" in schema:
        return f"Literal[{', '.join(repr(each) for each in schema['enum'])}]"
    kind = schema.get("type")
    if kind == "array":
        return f"list[{type_of(schema.get('items') or {})}]"
    if kind == "object":
        more = schema.get("additionalProperties")
        return (
            f"dict[str, {type_of(more)}]" if isinstance(more, dict) and more else "dict[str, Any]"
        )
    return SIMPLE.get(kind or "", "Any")


def references(schema: Any) -> Iterator[str]:
    """Yield the names of the schemas that a schema refers to."""
    if isinstance(schema, dict):
        if "$ref" in schema:
            yield str(schema["$ref"].rpartition("/")[2])
        for value in schema.values():
            yield from references(value)
    elif isinstance(schema, list):
        for value in schema:
            yield from references(value)


def operations(document: Json) -> Iterator[tuple[str, str, Json]]:
    """Yield method, path and description of the operations of the client."""
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            if operation["operationId"] in METHODS:
                yield method.upper(), path, operation


def content_of(described: Json) -> Json | None:
    """Return the JSON schema of a body or an answer."""
    schema: Json | None = described.get("content", {}).get("application/json", {}).get("schema")
    return schema


def answer_of(operation: Json) -> str:
    """Return the type of the answer to a request that succeeds."""
    found = [content_of(each) for code, each in operation["responses"].items() if code[0] == "2"]
    types = dict.fromkeys(type_of(each) if each is not None else "None" for each in found)
    return " | ".join(types)


def schemas_of(document: Json, *, bodies: bool) -> list[str]:
    """Return the names of the schemas of the client's bodies, or of its answers of success."""
    found: set[str] = set()
    waiting = []
    for *_, operation in operations(document):
        good = [each for code, each in operation["responses"].items() if code[0] == "2"]
        described = [operation.get("requestBody", {})] if bodies else good
        waiting += list(references([content_of(each) for each in described]))
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            waiting += references(document["components"]["schemas"][name])
    return sorted(found)


def bodies_page(document: Json) -> str:
    """Return a module of the types of request bodies."""
    names = sorted({*schemas_of(document, bodies=True), *BASES})
    schemas = {name: document["components"]["schemas"][name] for name in names}
    schemas |= query_types(document)
    return types_page(schemas, "Bodies and parameters of requests to the bridge.", [])


def answers_page(document: Json) -> str:
    """Return a module of the types of answers; what a body has too is imported."""
    bodies, answers = (schemas_of(document, bodies=each) for each in (True, False))
    shared = sorted({*bodies, *BASES} & {*answers})
    imported = [f"from recstream.client.bodies import {', '.join(shared)}"] if shared else []
    schemas = {n: document["components"]["schemas"][n] for n in answers if n not in shared}
    return types_page(schemas, "Answers of the bridge.", imported)


def types_page(schemas: dict[str, Json], title: str, imported: list[str]) -> str:
    """Return a module of one ``TypedDict`` a schema; one with all fields of another extends it."""
    lines = [
        f'"""{title} Written from the OpenAPI document by scripts/client.py."""',
        "from __future__ import annotations",
        "from typing import Any, Literal, NotRequired, TypedDict",
        *imported,
    ]
    written: dict[str, dict[str, str]] = {"TypedDict": {}}
    fields_of = {name: fields_of_type(schema) for name, schema in schemas.items()}
    for name in sorted(schemas, key=lambda name: (len(fields_of[name]), name)):
        fields = fields_of[name]
        whole = [each for each in written if written[each].items() <= fields.items()]
        base = max(whole, key=lambda each: len(written[each]))
        base = base if len(written[base]) >= MIN_SHARED else "TypedDict"
        written[name] = fields
        own = {field: fields[field] for field in fields if field not in written[base]}
        if any(keyword.iskeyword(field) or not field.isidentifier() for field in own):
            pairs = ", ".join(f"{field!r}: {type_!r}" for field, type_ in fields.items())
            lines.append(f"{name} = TypedDict({name!r}, {{{pairs}}})")
        else:
            body = "\n".join(f"    {field}: {type_}" for field, type_ in own.items())
            text = summary(schemas[name], name)
            lines.append(f'class {name}({base}):\n    """{text}"""\n\n{body}')
    return "\n\n".join(lines) + "\n"


def fields_of_type(schema: Json) -> dict[str, str]:
    """Return the fields of a schema and their types."""
    required = set(schema.get("required", ()))
    types = {name: type_of(each) for name, each in schema.get("properties", {}).items()}
    return {
        name: type_ if name in required else f"NotRequired[{type_}]"
        for name, type_ in types.items()
    }


def summary(schema: Json, name: str) -> str:
    """Return the first sentence of a description."""
    text = " ".join(schema.get("description", name).split("\n\n")[0].split())
    return text.replace('"', "'")


def arguments_of(document: Json, operation: Json) -> tuple[list[str], str]:
    """Return the arguments of a method, and those of ``call`` behind the path's values."""
    parameters = operation.get("parameters", ())
    arguments = [f"{each['name']}: str" for each in parameters if each["in"] == "path"]
    if name := query_name(operation):
        return [*arguments, f"**query: Unpack[{name}]"], ", query=query"
    schema = content_of(operation.get("requestBody", {}))
    if schema is None:
        return arguments, ""
    name = type_of(schema)
    described = document["components"]["schemas"].get(name, {})
    by_name = not any(map(keyword.iskeyword, described.get("required", ())))
    if described.get("properties") and by_name:
        return [*arguments, *(["/"] if arguments else []), f"**body: Unpack[{name}]"], ", body=body"
    return [*arguments, f"body: {name}"], ", body=body"


def query_name(operation: Json) -> str:
    """Return the name of the type of an operation's query parameters; empty without any."""
    asked = any(each["in"] == "query" for each in operation.get("parameters", ()))
    words = METHODS[operation["operationId"]].split("_")
    return "".join(word.title() for word in [*words, "query"]) if asked else ""


def query_types(document: Json) -> dict[str, Json]:
    """Return a schema for the query parameters of each operation that has some."""
    return {
        name: {
            "description": f"Parameters of `Methods.{METHODS[operation['operationId']]}`.",
            "properties": {
                each["name"]: {"anyOf": [each["schema"], {"type": "null"}]}
                for each in operation["parameters"]
                if each["in"] == "query"
            },
        }
        for *_, operation in operations(document)
        if (name := query_name(operation))
    }


def methods_page(document: Json) -> str:
    """Return a module of the client's methods; asyncio's are the same, typed to be awaited."""
    bodies = [*schemas_of(document, bodies=True), *query_types(document)]
    answers = [name for name in schemas_of(document, bodies=False) if name not in bodies]
    lines = [METHODS_HEAD]
    lines[0] = lines[0].format(answers=", ".join(answers), bodies=", ".join(bodies))
    awaited = []
    for method, path, operation in operations(document):
        name = METHODS[operation["operationId"]]
        arguments, more = arguments_of(document, operation)
        signature = ", ".join(["self", *arguments])
        parts = ", ".join(f"{each!r}: {each}" for each in re.findall(r"{(\w+)}", path))
        answer = answer_of(operation)
        lines.append(
            f"    def {name}({signature}) -> {answer}:\n"
            f'        """{operation["summary"].rstrip(".")}."""\n'
            f"        return self.call({method!r}, {path!r}, {{{parts}}}{more})"
        )
        awaited.append(f"    {name} = _awaited(Methods.{name})")
    lines.append(
        "class AsyncMethods:\n"
        '    """The methods of `Methods`, to be awaited: `AsyncClient.call` is a coroutine."""\n\n'
        + "\n".join(awaited)
    )
    return "\n\n".join(lines) + "\n"


def page_types(messages: Json, document: Json) -> str:
    """Return the types of messages and answers as TypeScript declarations, for the page's JSDoc."""
    schemas = dict(messages["components"]["schemas"])
    waiting = list(OF_THE_PAGE)
    while waiting:
        name = waiting.pop()
        if name not in schemas:
            schemas[name] = document["components"]["schemas"][name]
            waiting += references(schemas[name])
    lines = [PAGE_TYPES_HEAD]
    for name, schema in sorted(schemas.items()):
        required = schema.get("required", ())
        fields = [
            f"  {json.dumps(field) if not field.isidentifier() else field}"
            f"{'' if field in required else '?'}: {declaration_of(each)};"
            for field, each in schema.get("properties", {}).items()
        ]
        lines.append("\n".join([f"export interface {name} {{", *fields, "}"]))
    return "\n\n".join(lines) + "\n"


def declaration_of(schema: Json) -> str:
    """Return a schema as a type of TypeScript."""
    if "$ref" in schema:
        return str(schema["$ref"].rpartition("/")[2])
    if "anyOf" in schema:
        return " | ".join(dict.fromkeys(declaration_of(each) for each in schema["anyOf"]))
    if "enum" in schema:
        return " | ".join(json.dumps(each) for each in schema["enum"])
    kind = schema.get("type")
    if kind == "array":
        of = declaration_of(schema.get("items") or {})
        return f"({of})[]" if " | " in of else f"{of}[]"
    if kind == "object":
        more = schema.get("additionalProperties")
        return (
            f"Record<string, {declaration_of(more) if isinstance(more, dict) and more else 'any'}>"
        )
    return {"integer": "number"}.get(kind or "", kind or "any")


PAGES = (("bodies.py", bodies_page), ("answers.py", answers_page), ("methods.py", methods_page))


def formatted(text: str) -> str:
    """Return source as `ruff format` lays it out."""
    command = [sys.executable, "-m", "ruff"]
    for more in (["check", "--fix-only", "--quiet"], ["format", "--quiet"]):
        text = subprocess.run(  # noqa: S603 - our own source
            [*command, *more, "--stdin-filename", str(FOLDER / "bodies.py"), "-"],
            input=text,
            capture_output=True,
            text=True,
            check=True,
        ).stdout
    return text


def main() -> None:
    """Write the modules, or compare them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true")
    is_checked = parser.parse_args().check
    document = json.loads(DOCUMENT.read_text())
    stale = []
    pages = {FOLDER / name: formatted(make(document)) for name, make in PAGES}
    pages[PAGE_TYPES] = page_types(json.loads(MESSAGES.read_text()), document)
    for path, text in pages.items():
        if not is_checked:
            path.write_text(text)
        elif not path.exists() or path.read_text() != text:
            stale.append(path.name)
    if stale:
        sys.exit(f"out of date: {', '.join(stale)}; run python scripts/client.py")


if __name__ == "__main__":
    main()
