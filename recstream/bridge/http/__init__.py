"""HTTP API of the bridge: REST routes, the page, health, documents.

In: `Deps`. Out: a Flask app that a WSGI server runs.
"""

from recstream.bridge.http.app import MAX_REQUEST_BYTES, create_app
from recstream.bridge.http.deps import Deps
from recstream.bridge.http.problems import PROBLEM_JSON, encode_json
from recstream.bridge.http.rate_limit import Pace, RateLimiter
from recstream.bridge.http.routes import DETACH
from recstream.bridge.http.single_events import Answer, Received, SingleEvents
