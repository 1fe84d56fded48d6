"""Raw bytes at any time on every topic: no reader of the log stops, and none tells a traceback."""

import contextlib
import io

import hypothesis.strategies as st
import pytest
from hypothesis import HealthCheck, given, settings

from recstream.bridge.push import log_record
from recstream.bridge.views import Status, Views
from recstream.catalogue import CatalogueView
from recstream.catalogue.embedded import EmbeddedCatalogue
from recstream.cli import run
from recstream.control import SteeringFeed
from recstream.core.events import encode_event
from recstream.core.history.table_rows import APPLIED_KEY
from recstream.log.embedded import EmbeddedLog
from recstream.log.port import NewRecord, TopicPartition
from recstream.log.topics import INTERACTIONS, TopicSpec, histories_changelog, topic_specs
from recstream.models import DirectoryStore, ModelFeed
from recstream.settings import Settings
from recstream.trainer.inputs import Inputs
from tests.bridge.bridge_world import event
from tests.worker.test_hostile_records import HOSTILE

SETTINGS = Settings(partitions=1)
CHANGELOG = histories_changelog(SETTINGS.app_id)
TOPICS = [spec.name for spec in topic_specs(1)] + [CHANGELOG]
COMMANDS = (
    *(["log", "tail", topic, "-n", "50"] for topic in TOPICS),
    ["dead-letters", "list"],
    ["models", "list"],
    ["steering", "show"],
    ["recommend", "ann"],
    ["recommend", "ann", "--as-of", "2026-11-22T11:00:00Z"],
    ["explain", "ann", "i1"],
    ["log", "diff", "ann", "0", "1"],
    ["replay", "--verify"],
    ["replay", "--evaluate"],
    ["export", "{path}/slice"],
    ["forget", "bob", "--yes", "--no-wait"],
)
records = st.lists(
    st.tuples(
        st.sampled_from(TOPICS),
        st.one_of(
            st.none(),
            st.just(b"ann"),
            st.sampled_from([b"ann\0h", APPLIED_KEY]),
            st.binary(max_size=12),
        ),
        st.one_of(
            st.none(),
            st.binary(max_size=120),
            st.sampled_from(HOSTILE),
            st.sampled_from(
                [
                    b"generation",
                    b"delta",
                    b"training",
                    b"worker",
                    b"trainer",
                    b"steering",
                    b"forget",
                ]
            ).map(lambda kind: b'{"type":"' + kind + b'","user":1,"ts":1e400}'),
        ),
        st.one_of(st.integers(-(2**63), 2**63 - 1), st.just(1_700_000_000_000)),
    ),
    max_size=12,
)


@contextlib.contextmanager
def a_log(path, appended):
    with contextlib.closing(EmbeddedLog(path / "log.db", sync="off")) as log:
        log.create_topics((*topic_specs(1), TopicSpec(CHANGELOG, 1, compacted=True)))
        for topic, key, value, at in appended:
            log.append([NewRecord(topic, key, value, 0, at)])
        log.append([NewRecord(INTERACTIONS, b"ann", encode_event(event("ann", "i1")))])
        yield log


@pytest.mark.slow
@settings(max_examples=20, suppress_health_check=list(HealthCheck))
@given(appended=records)
def test_trainer_bridge_and_catalogue_read_to_the_end(tmp_path_factory, appended):
    path = tmp_path_factory.mktemp("log")
    with a_log(path, appended) as log:
        inputs = Inputs(SETTINGS, log)
        while not inputs.is_caught_up:
            inputs.poll(0.0)
        inputs.publish_dead_letters()
        inputs.close()

        ModelFeed(log, DirectoryStore(path / "models")).newest()
        SteeringFeed(log, now_s=lambda: 0.0).document()

        views = Views.in_data_dir(path, log, changelog=CHANGELOG)
        status = Status(log, now_ms=lambda: 0, connections=lambda: 0)
        for tp in views.positions() | {TopicPartition(topic, 0): 0 for topic in TOPICS}:
            read = log.read(*tp, 0, 1000)
            status.take(read)
            status.take_models(views.apply(read))
            for record in read:
                log_record(record)
        status.pipeline()
        views.latest("ann")
        views.history("ann")
        views.folded(0)
        views.models.generations()
        views.close()

        with contextlib.closing(EmbeddedCatalogue(path / "catalogue.db")) as catalogue:
            view = CatalogueView(log, catalogue)
            while view.poll():
                pass


def test_every_command_answers_or_says_what_is_wrong(tmp_path):
    odd = [
        *((b"ann", value, 1_700_000_000_000) for value in HOSTILE),
        (b"ann\0h", b"\xff", -(2**63)),
        (None, b"{}", 2**63 - 1),
    ]
    with a_log(tmp_path, [(topic, *record) for topic in TOPICS for record in odd]):
        pass
    for command in COMMANDS:
        said = io.StringIO()
        words = [word.format(path=tmp_path) for word in command]
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
            code = run([*words, "--data-dir", str(tmp_path), "--set=partitions=1"])
        assert code in {0, 1}, (command, said.getvalue())
