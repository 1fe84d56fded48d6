"""`recstream checkpoint create` waits for the answer of its own workers."""

from pathlib import Path

import msgspec
import pytest

from recstream.checkpoints import open_checkpoints
from recstream.cli import run
from recstream.control import submit
from recstream.core.records import ControlRecord
from recstream.log import INTERACTIONS, TopicSpec, histories_changelog
from recstream.log.port import EventLog, NewRecord
from recstream.settings import Settings
from tests.checkpoints.made import make_checkpoint

OWN = Settings().app_id
EVENT = {"id": "e", "type": "view", "user": "u", "item": "i", "ts": "2026-01-01T00:00:00Z"}


@pytest.mark.parametrize(
    ("app_id", "answers", "is_answered"),
    [(OWN, 0, True), ("another", 0, False), (OWN, -1, False)],
    ids=["own", "another app_id", "an earlier request"],
)
def test_create_waits_for_a_checkpoint_of_its_own_app_id_that_answers_its_request(
    data: Path,
    event_log: EventLog,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    app_id: str,
    answers: int,
    is_answered: bool,
) -> None:
    settings = Settings(data_dir=str(data))
    changelog = histories_changelog(app_id)
    event_log.create_topics([TopicSpec(changelog, 2, compacted=True)])
    event_log.append([NewRecord(INTERACTIONS, b"u", msgspec.json.encode(EVENT), 0)])

    def submit_and_answer(log: EventLog, record: ControlRecord) -> int:
        offset = submit(log, record)
        checkpoints = open_checkpoints(log, settings)
        make_checkpoint(checkpoints, 0, 1, changelog, request=offset + answers)
        return offset

    monkeypatch.setattr("recstream.cli.log.checkpoint.submit", submit_and_answer)

    code = run(["checkpoint", "create", "--timeout", "0.3", "--data-dir", str(data)])

    assert code == (0 if is_answered else 1)
    if not is_answered:
        assert f"is a worker of app_id {OWN} running?" in capsys.readouterr().err
