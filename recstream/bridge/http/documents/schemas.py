"""JSON schemas of structs, as OpenAPI and AsyncAPI use them."""

import inspect
from collections.abc import Iterable
from typing import Any

import msgspec

_REF = "#/components/schemas/{name}"
Schema = dict[str, Any]


def schemas_of(types: Iterable[Any]) -> tuple[tuple[Schema, ...], dict[str, Schema]]:
    """Return a schema for each type, and the components that the schemas refer to by name.

    Descriptions have no indent, whichever version of msgspec or Python reads the docstrings.
    """
    schemas, components = msgspec.json.schema_components(types, ref_template=_REF)
    for component in components.values():
        if "description" in component:
            component["description"] = inspect.cleandoc(component["description"])
    return schemas, components
