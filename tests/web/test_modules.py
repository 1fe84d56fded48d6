"""The page's modules, run by Node as a browser would load them: no build step, no packages."""

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
