"""Roles as processes: restarted when they die, stopped together, never left behind."""

import contextlib
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from recstream.errors import StartupError
from recstream.runtime.supervisor import DirectoryLock, Role, Supervisor, role_command
from tests.waiting import wait_until

DEADLINE_S = 60.0

SERVES = "import time; open({!r}, 'a').write('started\\n'); time.sleep(600)"
DIES = "import sys; sys.exit('Error: port 8000 is in use')"
WRITES_AT_THE_END = """
import signal, sys, time
def stop(*_):
    open({!r}, 'a').write('{}\\n')
    sys.exit(0)
signal.signal(signal.SIGTERM, stop)
open({!r}, 'w').close()
time.sleep(600)
"""
IGNORES_SIGTERM = """
import signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
open({!r}, 'w').close()
time.sleep(600)
"""


def state(process_id: int) -> str:
    """Return the letter that Linux gives a process: S sleeping, T stopped, Z zombie; none: gone."""
    try:
        return Path(f"/proc/{process_id}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return ""


def is_alive(process_id: int) -> bool:
    return state(process_id) not in {"", "Z"}


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture
def supervisor(said: list[str]) -> Iterator[Supervisor]:
    supervisor = Supervisor(said.append)
    yield supervisor
    supervisor.stop(drain_s=0.1)


def role(tmp_path: Path, program: str, name: str = "worker") -> Role:
    return Role(name, [sys.executable, "-c", program], tmp_path / f"{name}.log", None)


def test_a_role_that_is_killed_is_started_again_and_it_is_said(
    tmp_path: Path, supervisor: Supervisor, said: list[str]
) -> None:
    starts = tmp_path / "starts"
    worker = role(tmp_path, SERVES.format(str(starts)))
    supervisor.add(worker)
    wait_until(starts.exists, "the role starts")

    assert worker.process is not None
    worker.process.kill()

    def is_back() -> bool:
        supervisor.check()
        return starts.read_text().count("started") == 2

    wait_until(is_back, "the role is started again")
    assert len(said) == 1
    assert "the worker was killed by SIGKILL; restarting it in 0.5 s" in said[0]


def test_a_role_that_can_not_start_is_given_up_with_its_last_log_lines(
    tmp_path: Path, supervisor: Supervisor
) -> None:
    supervisor.add(role(tmp_path, DIES))

    def give_up() -> None:
        deadline = time.monotonic() + DEADLINE_S
        while time.monotonic() < deadline:
            supervisor.check()

    with pytest.raises(StartupError, match=r"(?s)the worker can't start.*port 8000 is in use"):
        give_up()


def test_roles_are_stopped_one_after_the_other_in_their_order(
    tmp_path: Path, supervisor: Supervisor
) -> None:
    ends = tmp_path / "ends"
    names = ["bridge", "worker", "trainer"]
    for name in names:
        ready = str(tmp_path / name)
        program = WRITES_AT_THE_END.format(str(ends), name, ready)
        supervisor.add(role(tmp_path, program, name))
    for name in names:
        wait_until((tmp_path / name).exists, f"{name} starts")

    supervisor.stop()

    assert ends.read_text().split() == names


def test_a_role_that_does_not_stop_is_killed_after_its_deadline(
    tmp_path: Path, supervisor: Supervisor, said: list[str]
) -> None:
    ready = tmp_path / "ready"
    stubborn = role(tmp_path, IGNORES_SIGTERM.format(str(ready)))
    supervisor.add(stubborn)
    wait_until(ready.exists, "the role starts")
    assert stubborn.process is not None
    process_id = stubborn.process.pid

    supervisor.stop(drain_s=0.1)

    assert not is_alive(process_id)
    assert said == ["the worker did not stop within 0.1 s and is killed"]


def test_the_backoff_doubles_with_each_death(tmp_path: Path, said: list[str]) -> None:
    supervisor = Supervisor(said.append)
    worker = role(tmp_path, "raise SystemExit(7)")
    worker.was_steady = True  # it has run well before, so it is never given up
    supervisor.add(worker)

    def has_died_three_times() -> bool:
        supervisor.check()
        worker.restart_at_s = 0.0
        return len(said) == 3

    wait_until(has_died_three_times, "three deaths")
    supervisor.stop(drain_s=0.1)

    waits = [line.partition("it in ")[2].split()[0] for line in said]
    assert waits == ["0.5", "1", "2"]


def test_a_role_that_has_died_very_often_is_still_restarted(
    tmp_path: Path, supervisor: Supervisor, said: list[str]
) -> None:
    worker = role(tmp_path, "raise SystemExit(7)")
    worker.was_steady, worker.failures = True, 5_000
    supervisor.add(worker)

    def has_died() -> bool:
        supervisor.check()
        return len(said) == 1

    wait_until(has_died, "the role dies")
    assert "restarting it in 30 s" in said[0]


def test_a_signal_without_a_name_is_said_by_its_number(
    tmp_path: Path, supervisor: Supervisor, said: list[str]
) -> None:
    number = signal.SIGRTMIN + 3
    supervisor.add(role(tmp_path, f"import os; os.kill(os.getpid(), {number})"))

    def has_died() -> bool:
        supervisor.check()
        return len(said) == 1

    wait_until(has_died, "the role dies")
    assert f"was killed by signal {number};" in said[0]


def test_a_role_that_the_system_can_not_start_now_is_started_later(
    tmp_path: Path, supervisor: Supervisor, said: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    worker = role(tmp_path, "import time; time.sleep(600)")

    def refuse(*_: object, **__: object) -> None:
        raise BlockingIOError(11, "Resource temporarily unavailable")

    with monkeypatch.context() as patch:
        patch.setattr(subprocess, "Popen", refuse)
        supervisor.add(worker)
    assert "the worker was not started" in said[0]

    worker.restart_at_s = 0.0
    supervisor.check()

    assert worker.process is not None


SUPERVISES = """
import sys, time
from pathlib import Path
from recstream.runtime.supervisor import DirectoryLock, Role, Supervisor, role_command
folder = Path(sys.argv[1])
lock = DirectoryLock(folder)
supervisor = Supervisor(print)
child = [sys.executable, '-c', sys.argv[2]]
supervisor.add(Role('worker', child, folder / 'log', lock.fd))
time.sleep(600)
"""
FOLLOWS = """
import os, time
from recstream.process import follow_parent
follow_parent(drain_s=1.0)
with open({!r}, 'w') as file:
    file.write(str(os.getpid()))
os.replace({!r}, {!r})
time.sleep(600)
"""


@pytest.fixture
def abandoned(tmp_path: Path) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """A supervisor process with one role, and the role's process id."""
    started, written = str(tmp_path / "pid"), str(tmp_path / "pid.tmp")
    program = textwrap.dedent(FOLLOWS.format(written, written, started))
    command = [sys.executable, "-c", SUPERVISES, str(tmp_path), program]
    parent = subprocess.Popen(command)
    wait_until(Path(started).exists, "the role starts")
    child = int(Path(started).read_text())
    yield parent, child
    parent.kill()
    parent.wait()
    with contextlib.suppress(ProcessLookupError):
        os.kill(child, signal.SIGKILL)  # also where it was left stopped


def test_a_role_ends_when_its_supervisor_is_killed(
    abandoned: tuple[subprocess.Popen[bytes], int],
) -> None:
    parent, child = abandoned
    assert is_alive(child)

    parent.kill()
    parent.wait()

    wait_until(lambda: not is_alive(child), "the role ends")


def test_nobody_else_starts_on_a_directory_while_a_supervisor_runs(
    abandoned: tuple[subprocess.Popen[bytes], int], tmp_path: Path
) -> None:
    parent, _ = abandoned

    with pytest.raises(StartupError, match=rf"process {parent.pid}.*--data-dir"):
        DirectoryLock(tmp_path, wait_s=0.0)


@pytest.mark.parametrize("is_noticed", [True, False], ids=["gone", "zombie"])
def test_the_next_supervisor_waits_for_the_roles_of_one_that_was_killed(
    abandoned: tuple[subprocess.Popen[bytes], int], tmp_path: Path, is_noticed: bool
) -> None:
    parent, child = abandoned
    os.kill(child, signal.SIGSTOP)
    wait_until(lambda: state(child) == "T", "the role is stopped")
    parent.kill()
    if is_noticed:
        parent.wait()
    else:
        wait_until(lambda: state(parent.pid) == "Z", "the supervisor has ended")

    begun_s = time.monotonic()
    with pytest.raises(StartupError):
        DirectoryLock(tmp_path, wait_s=0.2)
    assert time.monotonic() - begun_s >= 0.2
    os.kill(child, signal.SIGCONT)
    lock = DirectoryLock(tmp_path, wait_s=DEADLINE_S)

    assert not is_alive(child)
    lock.close()


@pytest.mark.parametrize("module", ["secrets", "random", "selectors", "msgspec", "click"])
@pytest.mark.parametrize(
    "command",
    [
        pytest.param(role_command("worker", ["--help"]), id="role"),
        pytest.param([sys.executable, "-m", "recstream", "--help"], id="module"),
    ],
)
def test_a_stray_module_in_the_working_directory_is_not_run(
    tmp_path: Path, command: list[str], module: str
) -> None:
    (tmp_path / f"{module}.py").write_text("open('ran', 'w').close()\n")

    subprocess.run(command, cwd=tmp_path, check=False, capture_output=True, timeout=60)

    assert not (tmp_path / "ran").exists()


def test_a_log_file_that_can_not_be_opened_does_not_stop_a_role(tmp_path: Path) -> None:
    (tmp_path / "logs").touch()
    worker = Role("worker", [sys.executable, "-c", "print(1)"], tmp_path / "logs" / "w.log", None)

    worker.start()

    assert worker.process is not None
    assert worker.process.wait(60) == 0
    worker.reap()
