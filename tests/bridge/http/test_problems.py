"""Which status an error of recstream has over HTTP."""

import pytest

from recstream.bridge.http.problems import as_problem
from recstream.errors import ArtifactCorrupt, BeyondHorizon, CheckpointCorrupt, LogCorrupt


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (BeyondHorizon("pruned"), 410, "offset-pruned"),
        (ArtifactCorrupt("cut"), 410, "artifact-damaged"),
        (CheckpointCorrupt("cut"), 410, "checkpoint-damaged"),
        (LogCorrupt("cut"), 500, ""),
    ],
)
def test_what_is_gone_for_good_is_410(error, status, code):
    found = as_problem(error)

    assert (found.status, str(found)) == (status, str(error))
    assert found.code == code
