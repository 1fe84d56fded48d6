"""`recstream upgrade`: what this version reads, and what to do about the rest."""

import json

import msgspec
import pytest

from recstream.checkpoints import open_checkpoints
from recstream.cli import run
from recstream.core.history import History, table_rows
from recstream.errors import SchemaUnsupported
from recstream.log import CHECKPOINTS, INTERACTIONS, NewRecord
from tests.checkpoints.made import make_checkpoint
from tests.runtime.test_backup import eventful, settings, world

__all__ = ["eventful", "settings", "world"]


def checked(capsys, settings, *options):
    code = run(["upgrade", "--json", "--data-dir", settings.data_dir, *options])
    return code, {each["part"]: each for each in json.loads(capsys.readouterr().out)}


def test_what_this_version_wrote_is_read(settings, capsys):
    code, found = checked(capsys, settings)

    assert code == 0
    assert found["table rows"]["found"] == f"schema {table_rows.SCHEMA}"
    assert found["checkpoints"]["found"] == "2 readable, 0 not"
    assert found["artifacts"]["found"].startswith("generation ")


def test_checkpoints_of_another_version_are_withdrawn_on_request(eventful, settings, capsys):
    checkpoints = open_checkpoints(eventful.log, settings)
    made = make_checkpoint(checkpoints, 0, 10, eventful.changelog)
    checkpoints.announce(msgspec.structs.replace(made, format=7))

    assert checked(capsys, settings)[0] == 1
    assert "withdrawn" in checked(capsys, settings, "--apply")[1]["checkpoints"]["todo"]
    assert checked(capsys, settings)[0] == 0
    assert eventful.log.read(CHECKPOINTS, 0, 0)[-1].value is None


def test_a_checkpoint_that_alone_replaces_pruned_events_is_not_withdrawn(
    eventful, settings, capsys
):
    log, checkpoints = eventful.log, open_checkpoints(eventful.log, settings)
    for each in checkpoints.all():
        checkpoints.remove(each)
    newer = {}
    for at in (4, 10):
        made = make_checkpoint(checkpoints, 0, at, eventful.changelog)
        newer[at] = msgspec.structs.replace(made, format=7)
        checkpoints.announce(newer[at])
    replacement = make_checkpoint(checkpoints, 0, 12, eventful.changelog)
    content = checkpoints.read(replacement)
    checkpoints.remove(replacement)
    log.delete_before(INTERACTIONS, 0, 10)

    code, found = checked(capsys, settings, "--apply")

    assert code == 1
    assert f"{newer[10].name} not withdrawn" in found["checkpoints"]["todo"]
    assert newer[4].name not in found["checkpoints"]["todo"]
    assert checkpoints.announced().keys() == {newer[10].name.encode()}
    checkpoints.put(replacement, content)
    assert "not withdrawn" not in checked(capsys, settings, "--apply")[1]["checkpoints"]["todo"]
    assert checkpoints.announced().keys() == {replacement.name.encode()}
    assert checked(capsys, settings)[0] == 0


def test_rows_of_another_schema_are_named_with_what_to_do(eventful, settings, capsys):
    rows = dict(table_rows.changes(None, msgspec.structs.replace(History("u"), offset=3)))
    header = msgspec.structs.replace(table_rows.decode_header(rows[b"u"]), schema=99)
    rows[b"u"] = table_rows.encode_row(header)
    eventful.log.append([NewRecord(eventful.changelog, b"u", rows[b"u"], 0)])

    code, found = checked(capsys, settings)

    assert code == 1
    assert "another app_id" in found["table rows"]["todo"]
    with pytest.raises(SchemaUnsupported, match="recstream upgrade"):
        table_rows.load("u", rows.get)
