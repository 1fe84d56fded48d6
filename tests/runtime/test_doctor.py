"""Checks before a start: a full disk is waited out by supervised roles, and said by others."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from recstream.errors import OutOfSpace, StartupError
from recstream.runtime import doctor
from recstream.runtime.doctor import MIN_FREE_BYTES, prepare_data_dir, wait_for_space
from recstream.settings import Settings


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
