"""Generated requests against the whole HTTP API: no server error, and no answer that is not documented."""

from __future__ import annotations

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
"""Answers 503 where no worker runs, which counts as a server error."""
DEADLINE_S = 900


def test_every_answer_to_generated_requests_is_documented(tmp_path):
    with running(tmp_path, rate_limit=0) as world:
        done = subprocess.run(
            [
                *(sys.executable, "-m", "schemathesis.cli", "run"),
                f"{world.bridge.url}/openapi.json",
                *("--exclude-path", "/v1/ws", "--exclude-path", "/v1/stream"),
                *("--exclude-path", UNREADY),
                *("--checks", ",".join(CHECKS), "--phases", "examples,coverage,fuzzing"),
                *("--max-examples", "8", "--seed", "1", "--max-failures", "20"),
            ],
            check=False,
            capture_output=True,
            text=True,
            timeout=DEADLINE_S,
            cwd=tmp_path,
        )

    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]
