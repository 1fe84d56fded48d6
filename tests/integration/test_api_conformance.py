"""Generated requests against the whole HTTP API: no server error, only documented answers."""

import re
import subprocess
import sys

import pytest

from tests.bridge.bridge_world import running

pytestmark = pytest.mark.integration

CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_schema_conformance",
    "unsupported_method",
)
UNREADY = "/health/ready"
"""Answers 503 where no worker runs, which counts as a server error.

This path, /v1/ws and /v1/stream are in tests/bridge/http/documents/test_documented_push.py.
"""
FILE_UPLOAD = "put_slice"
"""Takes a zip file, which can't be generated; `routes/console/test_slices.py` tests it."""
DEADLINE_S = 270
"""Below the time after which a test counts as one that hangs."""
PARTS = {
    "users": "^/v1/users",
    "items": "^/v1/(items|categories|shelves|popular|recommendations|rank|events)",
    "log": "^/v1/(log|lists|dead-letters)",
    "operators": "^/v1/(models|training|pipeline|tokens|traffic)",
    "documents": "^/v1/(steering|what-if)",
    "rest": "^/(v1/slices|health|metrics|openapi|asyncapi|docs|client|assets|$|{)",
}
"""Paths by part; together they are all."""
DEEP = "documents"
"""Part with deep bodies: all combinations of their limits would be tens of thousands."""


def test_every_path_is_in_one_part(tmp_path):
    with running(tmp_path) as world:
        paths = world.get("/openapi.json").json["paths"]

    found = {
        path: [part for part, where in PARTS.items() if re.match(where, path)] for path in paths
    }
    left_out = {"/v1/ws", "/v1/stream"}
    assert [path for path, parts in found.items() if len(parts) != 1 and path not in left_out] == []


@pytest.mark.parametrize("part", PARTS)
def test_every_answer_to_generated_requests_is_documented(part, tmp_path):
    with running(tmp_path, rate_limit=0) as world:
        done = subprocess.run(
            [
                *(sys.executable, "-m", "schemathesis.cli", "run"),
                f"{world.bridge.url}/openapi.json",
                *("--exclude-path", "/v1/ws", "--exclude-path", "/v1/stream"),
                *("--exclude-path", UNREADY, "--include-path-regex", PARTS[part]),
                *("--exclude-operation-id", FILE_UPLOAD),
                *("--checks", ",".join(CHECKS), "--seed", "1", "--max-failures", "20"),
                *(
                    ("--phases", "examples,fuzzing", "--max-examples", "50")
                    if part == DEEP
                    else ("--phases", "examples,coverage,fuzzing", "--max-examples", "8")
                ),
            ],
            check=False,
            capture_output=True,
            text=True,
            timeout=DEADLINE_S,
            cwd=tmp_path,
        )

    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]
