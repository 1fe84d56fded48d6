"""Whatever happens, in whatever order, state is what the log says and every list can be made again.

Two workers share the partitions of one log. Each step is something that happens to them: events and
repeated events, crashes before and after an append, restarts, a table lost, records delivered again,
partitions handed over, trainings, deltas, changed rules, users forgotten.
"""

import shutil
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from recstream.control.reader import read_timeline
from recstream.core.history.table_rows import changes
from recstream.core.records import Item, decode_recommendations
from recstream.erasure import forgetting, without
from recstream.errors import LogUnavailable
from recstream.log.embedded import maintain
from recstream.log.port import NewRecord, Position, TopicPartition
from recstream.log.topics import INTERACTIONS, RECOMMENDATIONS
from recstream.replay.run import ReplayPlan, replay
from recstream.time_travel.fold import PartitionFold
from recstream.worker.engine import Engine
from tests.replay.world import ITEMS, World
from tests.worker.memory import MemoryRows, ingest

users = st.sampled_from([f"u{at}" for at in range(5)])
items = st.sampled_from(ITEMS[:8])
kinds = st.sampled_from(["view", "cart", "like", "dislike", "remove", "impression"])
partitions = st.integers(0, 1)


item_sets = st.lists(items, min_size=1, max_size=4, unique=True)
steering_rules = st.one_of(
    item_sets.map(lambda few: {"action": "exclude", "where": {"items": few}}),
    item_sets.map(lambda few: {"action": "boost", "where": {"items": few}, "by": 2}),
)
ARMS: list[list[dict[str, Any]]] = [
    [],
    [
        {"name": "quick", "share": 0.5, "half_life_ms": 2_000, "weights": {"view": 4}},
        {"name": "mixed", "share": 0.5, "diversity": {"strength": 0.5}, "min_relevance": 0.1},
    ],
]


class CrashedError(Exception):
    """The process died here."""


class FragileRows(MemoryRows):
    """Rows whose next write may be the last thing that does not happen."""

    def __init__(self) -> None:
        super().__init__()
        self.dies = False

    def write(self, partition: int, rows: object, changelog_offset: int) -> None:
        if self.dies:
            self.dies = False
            raise CrashedError
        super().write(partition, rows, changelog_offset)


class Life(RuleBasedStateMachine):
    """An installation, and what may happen to it."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.world = World(self.folder)
        self.world.rows = FragileRows()
        self.log_fails = False
        self.owner = [0, 1]
        self.workers = [self.worker(0), self.worker(1)]
        self.events: list[tuple[str, str, str, str]] = []

    def teardown(self) -> None:
        world = self.world
        self.finish_forgetting()
        world.work_with(self.workers, self.owner)
        ranges = {at: (0, world.log.high_watermark(INTERACTIONS, at)) for at in range(2)}
        plan = ReplayPlan(ranges=ranges, verify=True, retrain=True, changelog=world.changelog)
        report = replay(world.log, world.store, plan)
        world.close()
        shutil.rmtree(self.folder)
        assert report.is_identical, report

    def worker(self, number: int) -> Engine:
        """Return a new worker, with its partitions and the newest model, as one starts."""
        mine = [partition for partition in (0, 1) if self.owner[partition] == number]
        engine = self.world.worker(self.append, mine)
        if self.world.serving is not None:
            engine.activate(self.world.copy_of_serving())
        return engine

    def append(
        self, records: Sequence[NewRecord], offsets: Mapping[TopicPartition, int]
    ) -> list[Position]:
        if self.log_fails:
            self.log_fails = False
            raise LogUnavailable("the disk is full")
        return self.world.log.append(records, group=self.world.settings.app_id, offsets=offsets)

    def work(self, partition: int, group: int) -> None:
        engine = self.workers[self.owner[partition]]
        at = engine.state(partition).next_offset
        found = self.world.log.read(INTERACTIONS, partition, at, group)
        if found:
            ingest(engine, found)

    def die(self, worker: int) -> None:
        """A worker dies: its memory is gone, the rows are brought up to their changelog."""
        self.world.recover_rows()
        self.workers[worker] = self.worker(worker)

    @initialize()
    def begin(self) -> None:
        self.world.browse(12, n_users=5, seed=3)
        self.world.work_with(self.workers, self.owner)
        self.train(factors=False)

    @rule(user=users, item=items, kind=kinds)
    def happen(self, user: str, item: str, kind: str) -> None:
        event = self.world.do(user, item, kind)
        self.events.append((user, item, kind, event.id))

    @precondition(lambda self: self.events)
    @rule(data=st.data())
    def happen_again(self, data: st.DataObject) -> None:
        user, item, kind, event_id = data.draw(st.sampled_from(self.events))
        self.world.do(user, item, kind, id=event_id)

    @rule(partition=partitions, group=st.integers(1, 5))
    def fold(self, partition: int, group: int) -> None:
        self.work(partition, group)

    @rule(partition=partitions, group=st.integers(1, 5))
    def die_before_the_append(self, partition: int, group: int) -> None:
        self.log_fails = True
        try:
            self.work(partition, group)
        except LogUnavailable:
            self.die(self.owner[partition])
        self.log_fails = False

    @rule(partition=partitions, group=st.integers(1, 5))
    def die_between_the_append_and_the_rows(self, partition: int, group: int) -> None:
        self.world.rows.dies = True
        try:
            self.work(partition, group)
        except CrashedError:
            self.die(self.owner[partition])
        self.world.rows.dies = False

    @rule(worker=st.integers(0, 1))
    def restart(self, worker: int) -> None:
        self.die(worker)

    @rule()
    def lose_the_table(self) -> None:
        self.world.rows.rows.clear()
        self.world.rows.changelog_offsets.clear()
        for worker in (0, 1):
            self.die(worker)

    @rule(partition=partitions, back=st.integers(1, 9))
    def deliver_again(self, partition: int, back: int) -> None:
        engine = self.workers[self.owner[partition]]
        at = max(0, engine.state(partition).next_offset - back)
        found = self.world.log.read(INTERACTIONS, partition, at, back + 2)
        if found:
            ingest(engine, found)

    @rule(partition=partitions)
    def hand_over(self, partition: int) -> None:
        self.workers[self.owner[partition]].revoke([partition])
        self.owner[partition] = 1 - self.owner[partition]
        self.workers[self.owner[partition]].assign(partition)

    @rule(factors=st.booleans())
    def train(self, factors: bool) -> None:
        self.world.train(factors=factors, engines=self.workers)

    @rule(data=st.data())
    def roll_back(self, data: st.DataObject) -> None:
        number = data.draw(st.integers(0, self.world.trained.number))
        self.world.roll_back(number, engines=self.workers)

    @rule(item=items, at=st.floats(-1.0, 1.0, width=32))
    def move_an_item(self, item: str, at: float) -> None:
        n_factors = self.world.serving.n_factors
        self.world.move(item, [at] * n_factors, at, engines=self.workers)

    @rule(
        item=items,
        title=st.sampled_from(["red lute", "blue lute", "drum", ""]),
        brand=st.sampled_from(["", "Acme"]),
        is_there=st.booleans(),
    )
    def describe(self, item: str, title: str, brand: str, is_there: bool) -> None:
        facts = Item(item=item, title=title, brand=brand, description=f"{title} by {brand}")
        self.world.describe(item, facts if is_there else None)

    @rule(item=items, near=st.dictionaries(items, st.floats(0.125, 1.0, width=32), max_size=3))
    def tell_of_a_product(self, item: str, near: dict[str, float]) -> None:
        self.world.tell(item, near, engines=self.workers)

    @rule()
    def compact(self) -> None:
        """Only the newest record of each item stays, so that older catalogues are not to be had."""
        maintain(self.world.log, min_dirty_ratio=0.0)

    @rule(limit=st.integers(1, 4))
    def rerank_batch(self, limit: int) -> None:
        for engine in self.workers:
            engine.list_pending(limit)
            engine.refresh(limit)

    @rule(user=users, step=st.sampled_from(["nothing", "rows", "records", "all"]))
    def forget(self, user: str, step: str) -> None:
        """Ask for it; the workers may die after any step, and go on with what is pending."""
        world = self.world
        world.ask_to_forget(user)
        if step == "nothing":
            return
        for worker in (0, 1):
            mine = [partition for partition in (0, 1) if self.owner[partition] == worker]
            forgetter = world.forgetter(self.workers[worker])
            for due in forgetter.begin(mine):
                if step != "rows":
                    forgetter.erase(due)
                if step == "all":
                    forgetter.finish(due)

    def finish_forgetting(self) -> None:
        for worker in (0, 1):
            mine = [partition for partition in (0, 1) if self.owner[partition] == worker]
            forgetter = self.world.forgetter(self.workers[worker])
            for due in forgetter.begin(mine):
                forgetter.erase(due)
                forgetter.finish(due)

    @rule(
        rules=st.lists(steering_rules, max_size=2),
        arms=st.sampled_from(ARMS),
        rotates=st.booleans(),
        is_told=st.booleans(),
    )
    def steer(self, rules: list[Any], arms: list[Any], rotates: bool, is_told: bool) -> None:
        """Set a document; a worker that is not told meets it when it starts, or with the next."""
        document: dict[str, Any] = {"arms": arms}
        document["rules"] = [{**each, "name": f"r{at}"} for at, each in enumerate(rules)]
        if rotates:
            document["rotation"] = {"after": 1}
        self.world.steer(document, engines=self.workers if is_told else [])

    @rule(list_size=st.integers(1, 6))
    def change_the_rules(self, list_size: int) -> None:
        self.world.settings = msgspec.structs.replace(self.world.settings, list_size=list_size)
        for worker in (0, 1):
            self.die(worker)

    @invariant()
    def the_rows_are_the_fold_of_the_log(self) -> None:
        world = self.world
        timeline = read_timeline(world.log)
        going = forgetting(world.log)
        gone = [
            (request.user, going.begun[name])
            for name, (_, request) in going.pending.items()
            if name in going.begun
        ]
        for partition in range(2):
            state = self.workers[self.owner[partition]].state(partition)
            fold = PartitionFold(partition, 2, timeline)
            for record in world.records(INTERACTIONS, partition):
                if record.offset < state.next_offset:
                    for user, forgotten in gone:
                        if forgotten.partition == partition and record.offset < forgotten.at_offset:
                            record = without(record, user)  # noqa: PLW2901 - as it will be
                    fold.fold([record])
            expected = {
                key: value
                for history in fold.histories.values()
                if history.offset >= 0
                for key, value in changes(None, history)
            }
            held = {
                key: value
                for key, value in world.rows.scan(partition)
                if key[:1] != b"\0" and not key.endswith(b"\0l")
            }
            assert held == expected

    @invariant()
    def no_list_holds_what_its_user_had_seen(self) -> None:
        for partition in range(2):
            for record in self.world.records(RECOMMENDATIONS, partition)[-5:]:
                if record.value is None:
                    continue
                body = decode_recommendations(record.value)
                fold = PartitionFold(partition, 2, read_timeline(self.world.log))
                assert body.as_of is not None
                last = body.as_of.offset
                fold.fold(
                    r for r in self.world.records(INTERACTIONS, partition) if r.offset <= last
                )
                seen = {entry.item for entry in fold.history(body.user).entries()}
                assert not seen & {item.item for item in body.items}


Life.TestCase.settings = settings(
    max_examples=8,
    stateful_step_count=25,
    derandomize=True,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)
TestLife = Life.TestCase
