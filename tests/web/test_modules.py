"""The page's modules, run by Node as a browser would load them: no build step, no packages."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

HERE = Path(__file__).parent
SUITES = sorted(HERE.glob("*.test.mjs"))


@pytest.mark.parametrize("suite", SUITES, ids=lambda path: path.name)
def test_the_modules_of_the_page_keep_their_rules(suite):
    node = shutil.which("node")
    if node is None:
        pytest.skip("Node 20 or newer is needed to run the page's modules outside a browser")

    run = subprocess.run(
        [node, "--test", str(suite)], capture_output=True, text=True, timeout=60, check=False
    )

    assert run.returncode == 0, run.stdout + run.stderr


def test_types_that_the_page_takes_from_the_api_exist():
    web = HERE.parents[1] / "web"
    types = (web / "connection" / "messages.d.ts").read_text("utf-8")
    declared = set(re.findall(r"^export (?:interface|type) (\w+)", types, re.MULTILINE))
    taken = {
        (name, path.name)
        for path in web.rglob("*.js")
        for name in re.findall(r"(?:\bwire|messages\.d\.ts\"\))\.(\w+)", path.read_text("utf-8"))
    }

    assert ("Reason", "protocol.js") in taken
    assert not {each for each in taken if each[0] not in declared}
