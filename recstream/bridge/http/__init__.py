"""Steps 2 and 9 of the flow: REST, the page, health; every route in one table that OpenAPI is made from."""

from recstream.bridge.http.app import create_app

__all__ = ["create_app"]
