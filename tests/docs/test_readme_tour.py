"""The README's tour, word for word, against a running demo."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "tests" / "integration"))

from tests.integration.running import Up, get, wait_until  # noqa: E402 - its folder is on the path only now

pytestmark = pytest.mark.slow


def is_published(made: dict[str, Any]) -> bool:
    """Return whether a worker made a list by trained factors: others are made when asked for."""
    return made["source"] in {"fold-in", "refresh"} and made["rec_id"].startswith("r-")


def test_the_commands_of_the_tour_do_what_they_say(tmp_path: Path) -> None:
    readme = (ROOT / "README.md").read_text()
    tour = "".join(re.findall(r"^```sh\n(.*?)^```$", readme, re.DOTALL | re.MULTILINE)[1:])
    with Up(tmp_path, "--traffic", "0") as up:
        url = up.wait_for("live")["url"]
        recommended = f"{url}/v1/users/u16/recommendations"
        wait_until(lambda: is_published(get(recommended)), "the list of u16 is published")
        environ = os.environ | {
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "RECSTREAM_DATA_DIR": str(tmp_path),
            "RECSTREAM_PORT": url.rpartition(":")[2],
        }

        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", tour.replace("http://127.0.0.1:8000", url)],  # noqa: S607
            env=environ,
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
            timeout=180,
        )

    assert done.returncode == 0, done.stderr
    said = done.stdout
    assert "rank  item  title" in said
    assert '"accepted":1' in said
    assert '"source":"fold-in"' in said
    assert "200 events accepted, 0 rejected" in said
    assert re.search(r"^generation \d+: ", said, re.MULTILINE)
    assert "identical, byte for byte" in said
    assert "derived again from the log, identical to the published list" in said
    assert "recent popularity" in said
    assert "bug.zip: " in said
    assert '{"item":"p9","rank":1,' in said
    assert '"kind":"pinned","rule":"launch"' in said
