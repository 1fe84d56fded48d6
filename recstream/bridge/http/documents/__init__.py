"""Descriptions of the API.

In: endpoints and message structs. Out: OpenAPI, AsyncAPI, and both as a web page.
"""

from recstream.bridge.http.documents.asyncapi import asyncapi
from recstream.bridge.http.documents.docs_page import STYLE, docs_page
from recstream.bridge.http.documents.openapi import openapi
