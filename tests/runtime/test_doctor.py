"""Checks before a start: a full disk is waited out by supervised roles, and said by others."""

import os
import socket
import time
from pathlib import Path
from types import SimpleNamespace

import msgspec
import pytest

from recstream.checkpoints import open_checkpoints
from recstream.core.records import TrainerStatus, WorkerStatus
from recstream.errors import OutOfSpace, StartupError
from recstream.log import (
    INTERACTIONS,
    PIPELINE,
    NewRecord,
    histories_changelog,
    open_log,
    topic_specs,
)
from recstream.runtime import doctor
from recstream.runtime.doctor import MIN_FREE_BYTES, examine, prepare_data_dir, wait_for_space
from recstream.settings import Settings
from tests.checkpoints.made import make_checkpoint


@pytest.fixture
def free(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Free bytes that the disk will have, one for each question; the last one stays."""
    left = [MIN_FREE_BYTES]

    def disk_usage(_: Path) -> SimpleNamespace:
        return SimpleNamespace(free=left.pop(0) if len(left) > 1 else left[0])

    monkeypatch.setattr(doctor.shutil, "disk_usage", disk_usage)
    monkeypatch.setattr(doctor, "RETRY_S", 0.0)
    return left


def test_a_full_disk_is_said(tmp_path: Path, free: list[int]) -> None:
    free[:] = [0]

    with pytest.raises(OutOfSpace, match="free some space"):
        prepare_data_dir(Settings(data_dir=str(tmp_path)))


def test_a_supervised_role_waits_until_there_is_space(tmp_path: Path, free: list[int]) -> None:
    free[:] = [0, 0, MIN_FREE_BYTES - 1, MIN_FREE_BYTES]

    wait_for_space(Settings(data_dir=str(tmp_path)))

    assert free == [MIN_FREE_BYTES]


def test_a_folder_that_can_not_be_used_is_not_waited_for(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    with pytest.raises(StartupError, match="can't be used"):
        wait_for_space(Settings(data_dir=str(tmp_path / "file")))


def beat(name: str, age_s: float, *, is_worker: bool = True) -> bytes:
    ts = int((time.time() - age_s) * 1000)
    return msgspec.json.encode(
        WorkerStatus(
            worker=name, events=0, published=0, dead_letters=0, lag={}, generation=1, ts=ts
        )
        if is_worker
        else TrainerStatus(trainer=name, is_active=True, ts=ts)
    )


def test_the_roles_that_run_are_named_and_those_that_are_silent_too(tmp_path: Path) -> None:
    settings = Settings(data_dir=str(tmp_path))
    mine = f"{socket.gethostname()}-{os.getpid()}"
    gone = f"{socket.gethostname()}-{2**22 + 1}"
    log = open_log(settings.broker_url)
    log.create_topics(topic_specs(settings.partitions))
    values = [
        b"[",
        beat(mine, 60.0),
        beat(gone, 60.0),
        beat("elsewhere-7", 1.0),
        beat("elsewhere-8", 2.0, is_worker=False),
    ]
    log.append([NewRecord(PIPELINE, b"worker", value) for value in values])
    log.close()

    found = next(each for each in examine(settings) if each.check == "roles")

    assert found.state == "warning"
    assert found.detail == (
        f"trainer elsewhere-8, worker elsewhere-7; worker {mine} runs, but its last heartbeat is 60 s "
        "old"
    )


def test_a_log_outside_the_data_directory_is_examined(tmp_path: Path) -> None:
    broker = f"embedded://{tmp_path}/my%20logs/log.db"
    (tmp_path / "my logs").mkdir()
    settings = Settings(data_dir=str(tmp_path / "data"), broker=broker)
    assert _details(settings)["event log"] == "none yet; `recstream up` creates it"
    log = open_log(broker)
    epoch = log.epoch
    log.create_topics(topic_specs(settings.partitions))
    log.close()

    details = _details(settings)

    assert details["event log"].startswith(f"epoch {epoch}, ")
    assert not settings.path("log.db").exists()


@pytest.mark.parametrize("name", ["a#b", "a%20b"])
def test_a_data_directory_of_any_name_holds_its_log(tmp_path: Path, name: str) -> None:
    settings = Settings(data_dir=str(tmp_path / name))
    settings.path().mkdir()

    open_log(settings.broker_url).close()

    assert settings.path("log.db").exists()
    assert [path.name for path in tmp_path.iterdir()] == [name]


def _details(settings: Settings) -> dict[str, str]:
    return {finding.check: finding.detail for finding in examine(settings)}


def test_without_heartbeats_no_role_runs(tmp_path: Path) -> None:
    found = next(
        each for each in examine(Settings(data_dir=str(tmp_path))) if each.check == "roles"
    )

    assert (found.state, found.detail) == ("ok", "none runs; `recstream up` starts them")


def findings(settings: Settings) -> dict[str, doctor.Finding]:
    return {each.check: each for each in examine(settings)}


@pytest.mark.parametrize(
    ("settings", "state", "detail"),
    [
        ({}, "ok", "this machine only"),
        ({"secret": "s" * 32}, "ok", "tokens"),
        ({"secret": "s" * 31}, "failed", "at least 32 characters"),
        ({"host": "192.0.2.1"}, "failed", "RECSTREAM_SECRET"),
    ],
)
def test_access_is_what_the_bridge_accepts(
    tmp_path: Path, settings: dict[str, str], state: str, detail: str
) -> None:
    found = findings(Settings(data_dir=str(tmp_path), **settings))["access"]  # type: ignore[arg-type]

    assert found.state == state
    assert detail in found.detail


def test_stores_are_opened_and_the_packages_they_need_are_checked(tmp_path: Path) -> None:
    plain = findings(Settings(data_dir=str(tmp_path)))
    (tmp_path / "file").touch()
    other = findings(
        Settings(
            data_dir=str(tmp_path),
            models="nothing://bucket/models",
            checkpoints=f"file://{tmp_path}/file",
            spark_master="local[2]",
        )
    )

    assert [plain[name][1:3] for name in ("models", "checkpoints")] == [("ok", "0 files")] * 2
    assert not {"fsspec", "pyspark"} & plain.keys()
    assert {"fsspec", "pyspark"} <= other.keys()
    assert [other[name].state for name in ("models", "checkpoints")] == ["failed", "failed"]


def test_events_that_wait_long_for_a_checkpoint_are_named(tmp_path: Path) -> None:
    settings = Settings(data_dir=str(tmp_path), partitions=3, checkpoint_every_s=1_000)
    log = open_log(settings.broker_url, settings)
    log.create_topics(topic_specs(3, settings.app_id))
    now_ms = int(time.time() * 1000)
    for partition, ages_s in enumerate(([4_000, 3_500], [2_000], [])):
        for age_s in ages_s:
            log.append([NewRecord(INTERACTIONS, None, None, partition, now_ms - age_s * 1000)])

    def found(**changes: object) -> doctor.Finding:
        return findings(msgspec.structs.replace(settings, **changes))["checkpoints"]

    late = found()
    assert late.state == "warning"
    assert "partitions 0 have events without a checkpoint since 4,0" in late.detail
    assert found(checkpoint_every_s=0).state == found(checkpoint_every_s=2_000).state == "ok"
    checkpoints = open_checkpoints(log, settings)
    changelog = histories_changelog(settings.app_id)
    log.create_topics(topic_specs(3, "other"))
    make_checkpoint(checkpoints, 0, 1, histories_changelog("other"))
    assert found().state == "warning"
    made = make_checkpoint(checkpoints, 0, 1, changelog)
    assert "since 3,5" in found().detail
    checkpoints.announce(msgspec.structs.replace(made, made_ts=now_ms - 2_500_000))
    assert found().state == "ok"
    make_checkpoint(checkpoints, 0, 2, changelog)
    assert found().state == "ok"
    log.close()


def test_checkpoints_have_needs_of_their_own(tmp_path: Path) -> None:
    settings = Settings(data_dir=str(tmp_path), checkpoints="mongodb://127.0.0.1:1/x")

    assert "pymongo" in {each.check for each in doctor._packages(settings)}


def test_a_variable_that_is_no_setting_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = Settings(data_dir=str(tmp_path))

    def finding() -> doctor.Finding:
        return next(each for each in examine(settings) if each.check == "variables")

    assert finding().state == "ok"
    monkeypatch.setenv("RECSTREAM_N_FACTOR", "8")
    assert finding()[1:3] == (
        "failed",
        "RECSTREAM_N_FACTOR is no setting; did you mean RECSTREAM_N_FACTORS?",
    )
