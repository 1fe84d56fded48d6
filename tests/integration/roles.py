"""The roles as processes of their own, as an operator runs them."""

import json
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from tests.waiting import wait_until


class Role:
    """One role with a data folder of its own; the folder's name is the role's, and perhaps a number."""

    def __init__(self, role: str, folder: Path, *options: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        with (folder / "output").open("ab") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "recstream", role, "--data-dir", str(folder), *options],
                stdout=output,
                stderr=subprocess.STDOUT,
            )

    def said(self) -> str:
        return (self.folder / "output").read_text(errors="replace")

    def url(self) -> str:
        """Return where a bridge listens, "" before it does."""
        address = self.folder / "bridge.json"
        return str(json.loads(address.read_text())["url"]) if address.exists() else ""

    def end(self, how: int = signal.SIGTERM) -> int:
        self.process.send_signal(how)
        return self.process.wait(60)


def until(
    condition: Callable[[], object],
    what: str | Callable[[], str],
    roles: Sequence[Role],
    seconds: float = 90,
) -> None:
    """Wait; when it takes too long, fail with the last words of the roles."""

    def tails() -> str:
        outputs = (f"--- {role.folder.name}\n{role.said()[-1500:]}" for role in roles)
        return "\n".join([what if isinstance(what, str) else what(), *outputs])

    wait_until(condition, tails, seconds)
