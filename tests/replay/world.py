"""A small installation without processes: a real embedded log, the real folds, made-up generations."""

import tempfile
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from recstream.analysis.slices import SliceManifest, export
from recstream.catalogue import delete_record, upsert_record
from recstream.control.reader import read_timeline
from recstream.core.content.summary import summarise
from recstream.core.evaluation import RankHistograms
from recstream.core.events import Event, encode_event, from_timestamp_ms
from recstream.core.generation.generation import Generation
from recstream.core.history.settings_timeline import SettingsTimeline
from recstream.core.neighbours import WIDTH
from recstream.core.records import (
    DeltaAnnounced,
    ForgetRequested,
    Forgotten,
    GenerationAnnounced,
    Item,
    SteeringSet,
)
from recstream.core.steering.document import Steering
from recstream.core.steering.validate import decode_steering
from recstream.erasure import forgetting
from recstream.log.embedded import EmbeddedLog
from recstream.log.port import NewRecord, Record
from recstream.log.topics import (
    CATALOGUE,
    CONTROL,
    INTERACTIONS,
    MODELS,
    TopicSpec,
    histories_changelog,
    topic_specs,
)
from recstream.models import DirectoryStore, artifact_name, fetch, find_announcement, pack
from recstream.replay.evaluate import ListsByOffset, evaluation_watch
from recstream.replay.retrain import CatalogueReplay, snapshot
from recstream.settings import Settings
from recstream.time_travel import Snapshots
from recstream.time_travel.fold import PartitionFold
from recstream.trainer.deltas.restore import copy_generation
from recstream.trainer.training.train import hyperparameters, train
from recstream.worker.engine import Engine
from recstream.worker.forget import GRACE_MS, Forgetter
from tests.worker.memory import MemoryRows, Single, ingest, one_by_one

ITEMS = [f"i{number:02}" for number in range(24)]
START_MS = 1_700_000_000_000


class World:
    """One log, one engine that owns every partition, and generations on demand."""

    def __init__(self, folder: Path, settings: Settings | None = None) -> None:
        self.settings = settings or Settings(partitions=2, list_size=5, n_factors=4, iterations=4)
        self.changelog = histories_changelog(self.settings.app_id)
        self.now_ms = START_MS
        self.log = self.open_log(folder)
        self.log.create_topics(topic_specs(self.settings.partitions))
        self.log.create_topics(
            [TopicSpec(self.changelog, self.settings.partitions, compacted=True)]
        )
        self.store = DirectoryStore(folder / "models")
        self.rows = MemoryRows()
        self.n_events = 0
        self.n_requests = 0
        self.trained: Generation | None = None
        self.serving: Generation | None = None
        self._announced: GenerationAnnounced | None = None
        self._deltas: list[DeltaAnnounced] = []
        self.engine = self.worker()

    def open_log(self, folder: Path) -> EmbeddedLog:
        """Open the log in a folder."""
        return EmbeddedLog(folder / "log.db", sync="normal", clock_ms=lambda: self.now_ms)

    def worker(
        self, append: Single | None = None, partitions: Sequence[int] | None = None
    ) -> Engine:
        """Return a worker's engine as it starts: nothing in memory, the rows as they are.

        ``partitions`` are those it owns, by default all.
        """
        self.timeline: SettingsTimeline = read_timeline(self.log)
        engine = Engine(
            self.log,
            one_by_one(
                append
                or (
                    lambda records, offsets: self.log.append(
                        records, group=self.settings.app_id, offsets=offsets
                    )
                )
            ),
            self.rows,
            settings=self.settings,
            timeline=self.timeline,
            clock_ms=lambda: self.now_ms,
        )
        for partition in range(self.settings.partitions) if partitions is None else partitions:
            engine.assign(partition)
        return engine

    def steer(self, document: object, engines: Sequence[Engine] | None = None) -> Steering:
        """Set a steering document, and let the engines adopt it; none of them for an empty list."""
        self.n_requests += 1
        steering = decode_steering(msgspec.json.encode(document))
        record = SteeringSet(
            id=f"steering-{self.n_requests}", steering=steering, requested_ts=self.now_ms
        )
        self.log.append([NewRecord(CONTROL, b"steering", msgspec.json.encode(record), 0)])
        for engine in [self.engine] if engines is None else engines:
            engine.follow_control()
        return steering

    def do(self, user: str, item: str, kind: str = "view", **fields: object) -> Event:
        """Append an event, a second after the one before; nothing is folded yet."""
        self.now_ms += 1000
        self.n_events += 1
        raw = {"type": kind, "user": user, "item": item, **fields}
        raw.setdefault("id", f"e{self.n_events}")
        raw.setdefault("ts", from_timestamp_ms(self.now_ms))
        event = msgspec.convert(raw, Event)
        self.log.append([NewRecord(INTERACTIONS, user.encode(), encode_event(event))])
        return event

    def browse(self, n_events: int, *, n_users: int = 12, seed: int = 0) -> None:
        """Append made-up events: users with even numbers like even items, the others odd ones."""
        rng = np.random.default_rng(seed)
        for _ in range(n_events):
            user = int(rng.integers(n_users))
            item = int(rng.integers(len(ITEMS) // 2)) * 2 + user % 2
            self.do(f"u{user}", ITEMS[item], str(rng.choice(["view", "like", "purchase"])))

    def work(self, group: int = 7) -> None:
        """Let the engine fold and publish all there is, in groups of records."""
        self.work_with([self.engine], [0] * self.settings.partitions, group)

    def work_with(self, engines: Sequence[Engine], owner: Sequence[int], group: int = 7) -> None:
        """Let engines fold and publish all there is; ``owner`` says whose each partition is."""
        for partition, number in enumerate(owner):
            engine = engines[number]
            while found := self.log.read(
                INTERACTIONS, partition, engine.state(partition).next_offset, group
            ):
                ingest(engine, found)
        for engine in engines:
            while engine.n_pending and engine.generation is not None:
                engine.list_pending(100)
            while engine.n_to_refresh:
                engine.refresh(100)

    def ask_to_forget(self, user: str) -> ForgetRequested:
        """Append a request; nothing follows from it yet."""
        self.n_requests += 1
        request = ForgetRequested(
            id=f"forget-{self.n_requests}", user=user, requested_ts=self.now_ms
        )
        self.log.append([NewRecord(CONTROL, None, msgspec.json.encode(request), 0)])
        return request

    def forgetter(self, engine: Engine | None = None) -> Forgetter:
        """Return what carries requests out, as a worker that starts has it."""
        return Forgetter(
            self.log, engine or self.engine, self.settings, lambda: self.now_ms + GRACE_MS
        )

    def forget(self, user: str, engine: Engine | None = None) -> Forgotten:
        """Forget a user, from the request to its end."""
        request = self.ask_to_forget(user)
        forgetter = self.forgetter(engine)
        for due in forgetter.begin(range(self.settings.partitions)):
            forgetter.erase(due)
            self.rows.scrub(due.partition)
            forgetter.finish(due)
        return forgetting(self.log).begun[request.id]

    def recover_rows(self) -> None:
        """Bring the rows up to their changelog, as Faust does before a worker may read them."""
        for partition in range(self.settings.partitions):
            known = self.rows.changelog_offsets.get(partition, -1)
            newer = [r for r in self.records(self.changelog, partition) if r.offset > known]
            if newer:
                rows = [(each.key, each.value) for each in newer]
                self.rows.write(partition, rows, newer[-1].offset)

    def train(self, *, factors: bool = True, engines: Sequence[Engine] | None = None) -> Generation:
        """Announce a generation of all there is, and let the engines adopt it, each its own copy."""
        number = 0 if self.trained is None else self.trained.number + 1
        folds = [
            PartitionFold(each, self.settings.partitions, read_timeline(self.log))
            for each in range(self.settings.partitions)
        ]
        for fold in folds:
            fold.fold(self.records(INTERACTIONS, fold.partition))
        offsets = {str(fold.partition): fold.next_offset for fold in folds}
        chosen = hyperparameters(self.settings)
        catalogue = CatalogueReplay(self.log)
        catalogue.advance(self.log.high_watermark(CATALOGUE, 0))
        done = train(
            catalogue.put_into(snapshot(folds, offsets), self.trained),
            number=number,
            parent=self.trained,
            chosen=chosen if factors else {**chosen, "n_factors": 0},
            seed=0,
        )
        return self._serve(
            done.generation,
            engines,
            n_users=len(done.users),
            n_interactions=done.n_interactions,
            loss=done.loss,
        )

    def roll_back(self, number: int, *, engines: Sequence[Engine] | None = None) -> Generation:
        """Announce a copy of an older generation, and let the engines adopt it."""
        assert self.trained is not None
        old = fetch(self.store, find_announcement(self.log, number))
        copied = copy_generation(old, self.trained.number + 1)
        return self._serve(copied, engines, copies=number)

    def _serve(
        self,
        generation: Generation,
        engines: Sequence[Engine] | None,
        *,
        n_users: int = 0,
        n_interactions: int = 0,
        loss: float | None = None,
        copies: int | None = None,
    ) -> Generation:
        self.trained = generation
        digest, content = pack(generation)
        name = artifact_name(generation.number, digest)
        self.store.put(name, content)
        record = GenerationAnnounced(
            generation=generation.number,
            parent=generation.parent,
            artifact=name,
            digest=digest,
            offsets=generation.offsets,
            hyperparameters=generation.hyperparameters,
            seed=0,
            n_users=n_users,
            n_items=generation.n_items,
            n_interactions=n_interactions,
            loss=loss,
            train_seconds=0.0,
            created_ts=self.now_ms,
            copies=copies,
            catalogue_offset=generation.catalogue_offset,
        )
        self.announce(record)
        self._announced, self._deltas = record, []
        self.serving = self.copy_of_serving()
        for engine in engines or [self.engine]:
            engine.activate(self.copy_of_serving())
        return self.serving

    def copy_of_serving(self) -> Generation:
        """Return the newest generation with its deltas, as a worker that starts loads it."""
        assert self._announced is not None
        generation = fetch(self.store, self._announced)
        for delta in self._deltas:
            generation.apply_delta(delta)
        return generation

    def move(
        self,
        item: str,
        factors: list[float],
        bias: float,
        *,
        engines: Sequence[Engine] | None = None,
    ) -> None:
        """Announce a delta that moves one item, and let the engines apply it."""
        generation = self.serving
        assert generation is not None
        delta = DeltaAnnounced(
            generation=generation.number,
            delta=generation.delta + 1,
            offsets={},
            items=(item,),
            factors=np.array(factors, np.float32).tobytes(),
            bias=np.array([bias], np.float32).tobytes(),
            counts=np.array([3], np.int32).tobytes(),
            created_ts=self.now_ms,
        )
        self._tell(delta, engines)

    def _tell(self, delta: DeltaAnnounced, engines: Sequence[Engine] | None) -> None:
        assert self.serving is not None
        self.announce(delta)
        self._deltas.append(delta)
        self.serving.apply_delta(delta)
        for engine in engines or [self.engine]:
            engine.apply_delta(delta)

    def describe(self, item: str, facts: Item | None) -> None:
        """Append what an item is from now on, None if it is taken out; nobody is told yet."""
        self.log.append([delete_record(item) if facts is None else upsert_record(facts)])

    def tell(
        self, item: str, near: Mapping[str, float], *, engines: Sequence[Engine] | None = None
    ) -> None:
        """Announce a delta of what the catalogue says of an item, and let the engines apply it."""
        generation = self.serving
        assert generation is not None
        catalogue = CatalogueReplay(self.log)
        catalogue.advance(self.log.high_watermark(CATALOGUE, 0))
        facts = catalogue.items.get(item)
        if facts is None and item not in generation.rows:
            return
        rows, weights = np.full((1, WIDTH), -1, np.int32), np.zeros((1, WIDTH), np.float32)
        known = [name for name in near if name in generation.rows]
        rows[0, : len(known)] = [generation.rows[name] for name in known]
        weights[0, : len(known)] = [near[name] for name in known]
        is_there = facts is not None
        delta = DeltaAnnounced(
            generation=generation.number,
            delta=generation.delta + 1,
            offsets={},
            items=(item,) if is_there else (),
            factors=np.full(generation.n_factors * is_there, 0.1, np.float32).tobytes(),
            bias=np.zeros(int(is_there), np.float32).tobytes(),
            counts=np.zeros(int(is_there), np.int32).tobytes(),
            created_ts=self.now_ms,
            catalogue={item: None if facts is None else summarise(facts)},
            near=rows.tobytes() if is_there else b"",
            nearness=weights.tobytes() if is_there else b"",
        )
        self._tell(delta, engines)

    def announce(self, record: GenerationAnnounced | DeltaAnnounced) -> None:
        self.log.append([NewRecord(MODELS, None, msgspec.json.encode(record), 0)])

    def records(self, topic: str, partition: int) -> list[Record]:
        """Return all records of a partition."""
        return self.log.read(topic, partition, self.log.earliest(topic, partition), 1_000_000)

    def close(self) -> None:
        self.log.close()


def export_slice(
    world: World, ranges: Mapping[int, tuple[int, int]], path: Path, *, user: str | None = None
) -> SliceManifest:
    """Export a part of a world's log."""
    with (
        tempfile.TemporaryDirectory() as folder,
        closing(Snapshots(world.log, Path(folder) / "snapshots", block_events=7)) as snapshots,
    ):
        return export(world.log, world.store, snapshots, ranges, path, user=user)


class WithMarkers:
    """A log whose partitions of events end with an offset without a record, as on Kafka."""

    def __init__(self, log: EmbeddedLog) -> None:
        self._log = log

    def __getattr__(self, name: str) -> Any:
        return getattr(self._log, name)

    def high_watermark(self, topic: str, partition: int) -> int:
        return self._log.high_watermark(topic, partition) + (topic == INTERACTIONS)

    def read(
        self, topic: str, partition: int, offset: int, max_records: int = 1000
    ) -> list[Record]:
        is_marker = offset >= self._log.high_watermark(topic, partition)
        return [] if is_marker else self._log.read(topic, partition, offset, max_records)


def judged(world: World) -> RankHistograms:
    """Return how a replay of all events judges the lists."""
    scores, n_partitions = RankHistograms(), world.settings.partitions
    for partition in range(n_partitions):
        fold = PartitionFold(partition, n_partitions, read_timeline(world.log))
        fold.watch = evaluation_watch(ListsByOffset(world.log, partition), scores)
        fold.advance(world.log)
    return scores
