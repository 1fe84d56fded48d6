"""Logs that released versions wrote verify with today's code, byte for byte.

`make.py` writes such a log. A release adds its own; none is ever replaced. ``VERSION.tar.xz`` holds the log
and the artifacts, ``VERSION.json`` what `recstream replay --verify --retrain --json` said of them when they
were written, ``VERSION-slice.zip`` a part of the log as `recstream export` wrote it, and
``VERSION-checkpoint.parquet`` with its manifest a checkpoint of partition 0.
"""

import json
import tarfile
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from recstream.checkpoints import Checkpoints, decode_manifest, read_rows
from recstream.cli import run
from recstream.core.history import table_rows
from recstream.log import CHECKPOINTS, INTERACTIONS, NewRecord, topic_specs
from recstream.log.embedded import EmbeddedLog
from recstream.models import DirectoryStore
from recstream.time_travel import verify_checkpoint

FOLDER = Path(__file__).parent
VERSIONS = sorted(path.name.removesuffix(".tar.xz") for path in FOLDER.glob("*.tar.xz"))


@pytest.fixture
def replay(capsys):
    def replay(*arguments: str) -> dict[str, Any]:
        code = run(["replay", *arguments, "--json"])
        printed = capsys.readouterr()
        assert code == 0, printed.err
        report: dict[str, Any] = json.loads(printed.out)
        return report

    return replay


@pytest.mark.slow
@pytest.mark.parametrize("version", VERSIONS)
def test_a_log_of_an_earlier_version_is_derived_again_byte_for_byte(version, tmp_path, replay):
    with tarfile.open(FOLDER / f"{version}.tar.xz") as archive:
        archive.extractall(tmp_path, filter="data")

    report = replay("--verify", "--retrain", "--data-dir", str(tmp_path / "data"))

    assert report == json.loads((FOLDER / f"{version}.json").read_text("utf-8"))
    assert report["is_identical"] is True


@pytest.mark.parametrize("version", VERSIONS)
def test_a_slice_of_an_earlier_version_verifies(version, replay):
    report = replay(str(FOLDER / f"{version}-slice.zip"), "--verify")

    assert report["is_identical"] is True
    assert sum(part["lists"] for part in report["partitions"]) > 0


@pytest.mark.parametrize("version", VERSIONS)
def test_a_checkpoint_of_an_earlier_version_is_what_its_log_gives(version, tmp_path):
    with tarfile.open(FOLDER / f"{version}.tar.xz") as archive:
        archive.extractall(tmp_path, filter="data")
    manifest = decode_manifest((FOLDER / f"{version}-checkpoint.json").read_bytes())
    store = DirectoryStore(tmp_path / "checkpoints")
    store.put(manifest.name, (FOLDER / f"{version}-checkpoint.parquet").read_bytes())

    with closing(EmbeddedLog(tmp_path / "data" / "log.db")) as log:
        checkpoints = Checkpoints(log, store)
        assert manifest.epoch == log.epoch
        assert verify_checkpoint(checkpoints, manifest, None) == manifest.n_users > 0
    assert restore_rows(checkpoints.read(manifest)) == manifest.n_entries


@pytest.mark.parametrize("version", VERSIONS)
def test_what_an_earlier_version_wrote_needs_no_conversion(version, tmp_path, capsys):
    with tarfile.open(FOLDER / f"{version}.tar.xz") as archive:
        archive.extractall(tmp_path, filter="data")
    folder = tmp_path / "data"
    (folder / "checkpoints").mkdir()
    manifest = (FOLDER / f"{version}-checkpoint.json").read_bytes()
    with closing(EmbeddedLog(folder / "log.db")) as log:
        log.create_topics(topic_specs(log.partitions(INTERACTIONS)))
        log.append([NewRecord(CHECKPOINTS, b"checkpoint", manifest, 0)])

    code = run(["upgrade", "--json", "--data-dir", str(folder)])

    found = {each["part"]: each for each in json.loads(capsys.readouterr().out)}
    assert (code, [each["is_readable"] for each in found.values()]) == (0, [True] * 4)
    assert found["checkpoints"]["found"] == "1 readable, 0 not"
    assert found["table rows"]["found"].startswith("schema ")


def restore_rows(content: bytes) -> int:
    """Return the number of entries in the histories that a checkpoint's rows hold."""
    histories = [
        table_rows.load(user.decode(), dict(rows).get) for user, rows in read_rows(content)
    ]
    return sum(each.n_items for each in histories if each is not None)
