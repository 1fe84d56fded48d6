"""The README's tour, word for word, against a running demo."""

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.integration.running import Up, get
from tests.waiting import wait_until

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.slow


def is_published(made: dict[str, Any]) -> bool:
    """Return whether a worker made a list by trained factors: others are made when asked for."""
    return made["source"] in {"fold-in", "refresh"} and made["rec_id"].startswith("r-")


def shown(page: str, first: int) -> str:
    """Return a page's shell commands from one block on."""
    text = (ROOT / page).read_text()
    return "".join(re.findall(r"^```sh\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)[first:])


def run_in_demo(commands: str, folder: Path, *options: str) -> str:
    """Run commands against a demo without traffic; return what they print."""
    with Up(folder, "--traffic", "0", *options) as up:
        url = up.wait_for("live")["url"]
        recommended = f"{url}/v1/users/u16/recommendations"
        wait_until(lambda: is_published(get(recommended)), "the list of u16 is published")
        environ = os.environ | {
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "RECSTREAM_DATA_DIR": str(folder),
            "RECSTREAM_PORT": url.rpartition(":")[2],
        }

        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", commands.replace("http://127.0.0.1:8000", url)],  # noqa: S607
            env=environ,
            cwd=folder,
            capture_output=True,
            text=True,
            check=False,
            timeout=180,
        )

    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_commands_of_the_tour_do_what_they_say(tmp_path: Path) -> None:
    said = run_in_demo(shown("README.md", 1), tmp_path)

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


def test_the_commands_of_the_tutorial_do_what_they_say(tmp_path: Path) -> None:
    # Without the search for hyper-parameters, which may train a second model between two commands.
    options = "--set", "self_tuning=false"
    said = run_in_demo(shown("docs/tutorial/first-list.md", 2), tmp_path, *options)

    before, _, after = said.partition("content × 0")
    assert re.search(r"^ +1  p258 .* content$", before, re.MULTILINE)
    assert "p46 is number " in before
    assert re.search(r"^ +1  p248 .* because of Lantern Press", after, re.MULTILINE)
    assert "steering changed" in after
    assert "identical, byte for byte" in after
    assert "all rules are removed" in after
