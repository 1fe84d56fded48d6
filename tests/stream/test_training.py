"""Generations as pure functions of histories; deltas; the trainer over a real log."""

from __future__ import annotations

import threading
import time

import msgspec
import numpy as np
import pytest
from scipy import sparse
from stream_world import CHANGELOG, GROUP, NOW_MS, PARTITIONS, event, single

from recstream.core.artifact import digest
from recstream.core.history import row
from recstream.core.matrix import stack
from recstream.core.model import Generation
from recstream.core.records import (
    DeltaAnnounced,
    GenerationAnnounced,
    ModelRecord,
    PipelineRecord,
    TrainingProgress,
    TrainingRequested,
)
from recstream.errors import ArtifactCorrupt, InvalidSetting, LogFenced, LogUnavailable
from recstream.log.partitioner import partition_for
from recstream.log.port import NewRecord
from recstream.log.topics import CONTROL, INTERACTIONS, MODELS, PIPELINE
from recstream.model_early import EarlyArtifacts
from recstream.model_feed import ModelFeed, Unusable
from recstream.model_store import DirectoryStore, fetch
from recstream.settings import Settings
from recstream.stream.deltas import Deltas
from recstream.stream.follower import Follower, Touch
from recstream.stream.lease import EmbeddedLease
from recstream.stream.material import Snapshot
from recstream.stream.resuming import resume
from recstream.stream.trainer import Trainer
from recstream.stream.training import hyperparameters, train

SETTINGS = Settings(
    app_id=GROUP, partitions=PARTITIONS, n_factors=4, iterations=3, threads=1,
    train_min_events=20, delta_every_s=0.05, keep_generations=2,
)  # fmt: skip
N_ITEMS = 12


def likes(n_users=30, n_each=5, seed=0):
    """Return views: even users like even items, odd users odd ones."""
    rng = np.random.Generator(np.random.PCG64(seed))
    events = []
    for user in range(n_users):
        liked = [n for n in range(N_ITEMS) if n % 2 == user % 2]
        for item in rng.permutation(liked)[:n_each]:
            events.append(event(len(events), f"u{user}", f"p{item}"))
    return events


def follow(world, *, step=1000):
    follower = Follower()
    for partition in range(PARTITIONS):
        records = world.read(CHANGELOG, partition)
        for at in range(0, len(records), step):
            follower.apply(records[at : at + step])
    return follower


def snapshot_of(follower):
    offsets = {str(p): offset for p, offset in sorted(follower.offsets.items())}
    return Snapshot(dict(follower.users), offsets, follower.n_events)


def trained_on(world, number=1, parent=None, **more):
    chosen = hyperparameters(SETTINGS) | more
    return train(snapshot_of(follow(world)), number=number, parent=parent, chosen=chosen, seed=0)


@pytest.fixture
def fed(world):
    world.feed([single(each) for each in likes()], step=7)
    return world


@pytest.mark.parametrize("step", [1, 3, 1000])
def test_the_follower_has_the_histories_of_the_table(fed, step):
    follower = follow(fed, step=step)

    assert follower.n_events == 150
    assert follower.offsets == {
        p: fed.log.high_watermark(INTERACTIONS, p) for p in range(PARTITIONS)
    }
    for partition in range(PARTITIONS):
        for user in follower.users:
            known = fed.engine.state(partition).hot.get(user)
            if known is not None:
                ours = follower.users[user].history(user)
                assert msgspec.structs.replace(known.history, window=b"") == ours


def test_a_group_names_what_its_records_touched_in_their_order(world):
    follower = Follower()
    partition = partition_for(b"u1", PARTITIONS)
    found = []
    for number, kind in enumerate(["view", "dislike", "view"]):
        start = world.log.high_watermark(CHANGELOG, partition)
        world.feed([single(event(number, "u1", f"p{number % 2}", kind))])
        found += follower.apply(world.log.read(CHANGELOG, partition, start))

    assert [group.users for group in found] == [("u1",)] * 3
    assert [group.touches for group in found] == [
        (Touch(0, "p0", is_positive=True),),
        (Touch(1, "p1", is_positive=False),),
        (Touch(2, "p0", is_positive=True),),
    ]


def test_the_follower_shows_nothing_of_a_group_before_it_is_closed(fed):
    records = fed.read(CHANGELOG, 0)
    follower = Follower()

    follower.apply(records[:1])

    assert follower.users == {}
    assert follower.offsets == {}


def test_the_follower_reads_a_compacted_changelog(fed):
    fed.feed([single(each) for each in likes(seed=1)], step=5)
    whole = follow(fed)

    compacted = Follower()
    for partition in range(PARTITIONS):
        newest = {record.key: record for record in fed.read(CHANGELOG, partition)}
        compacted.apply(sorted(newest.values(), key=lambda record: record.offset))

    assert compacted.users == whole.users
    assert compacted.n_events == whole.n_events


def test_a_generation_is_a_pure_function_of_its_origin(fed):
    first, second = trained_on(fed), trained_on(fed)

    assert digest(first.generation.arrays()) == digest(second.generation.arrays())


def test_a_warm_start_names_its_parent_and_keeps_its_rows(fed):
    parent = trained_on(fed).generation
    fed.feed([single(event(900, "u1", "a-new-item"))])

    child = trained_on(fed, 2, parent)

    assert child.generation.parent == 1
    assert child.generation.items == [*parent.items, "a-new-item"]
    assert child.generation.hyperparameters["iterations"] <= 4


def test_a_parent_of_other_factors_gives_its_items_only(fed):
    parent = trained_on(fed).generation

    child = trained_on(fed, 2, parent, n_factors=6)

    assert child.generation.n_factors == 6
    assert child.generation.hyperparameters["iterations"] == SETTINGS.iterations


def test_a_generation_learns_what_users_like(fed):
    generation = trained_on(fed).generation
    factors = generation.model.item_factors

    parity = np.array([int(item[1:]) % 2 for item in generation.items])
    alike = factors @ factors.T
    assert alike[parity == 0][:, parity == 0].mean() > alike[parity == 0][:, parity == 1].mean()


def test_no_events_make_a_generation_without_items(world):
    trained = trained_on(world, 0, None, n_factors=0)

    assert trained.generation.items == []
    assert trained.generation.model is None


def test_an_unknown_hyperparameter_is_refused():
    with pytest.raises(InvalidSetting, match="hyperparameters"):
        hyperparameters(Settings(hyperparameters={"depth": 3}))


# Deltas


def moved(world, trained, events):
    """Return the delta after some events, and the generation moved by it."""
    before = follow(world)
    deltas = Deltas(trained)
    world.feed([single(each) for each in events])
    follower = follow(world)
    names = {each.user for each in events}
    touches = [Touch(n, each.item, is_positive=True) for n, each in enumerate(events)]
    assert before.n_events < follower.n_events
    deltas.touch(names, touches)
    delta = deltas.make(follower.users, follower.offsets, now_ms=0)
    generation = Generation.from_arrays(trained.generation.arrays())
    generation.apply_delta(delta)
    return delta, generation, follower, deltas


def test_a_new_item_gets_the_factors_of_those_who_like_it(fed):
    trained = trained_on(fed)
    likers = [event(1000 + n, f"u{2 * n}", "fresh") for n in range(8)]

    delta, generation, follower, _ = moved(fed, trained, likers)

    assert "fresh" in delta.items
    x_even, x_odd = (
        generation.model.fold_in(matrix_row(follower, user, generation)) for user in ("u4", "u5")
    )
    y = generation.model.item_factors[generation.rows["fresh"]]
    assert (x_even @ y).item() > (x_odd @ y).item()


def matrix_row(follower, user, generation):
    history = follower.users[user].history(user)
    return stack([row(history, generation.rows, 1e15)], generation.n_items)


def test_a_deltas_factors_are_the_items_folded_in_against_all_its_users(fed):
    trained = trained_on(fed)
    liker = trained.user_ids[trained.matrix.tocsc()[:, trained.generation.rows["p1"]].indices[0]]
    again = event(1002, liker, "p1", "purchase")
    events = [event(1000, "u4", "p1"), event(1001, "newcomer", "p1"), again]

    delta, _, follower, _ = moved(fed, trained, events)

    now = train(
        snapshot_of(follower), number=2, parent=trained.generation,
        chosen=hyperparameters(SETTINGS), seed=0,
    )  # fmt: skip
    column = now.matrix.tocsc()[:, now.generation.rows["p1"]]
    counts = np.frombuffer(delta.counts, np.int32)
    assert counts[delta.items.index("p1")] == column.nnz
    users = [now.user_ids[n] for n in column.indices]
    assert {"u4", "newcomer"} <= set(users)

    known = {user: n for n, user in enumerate(trained.user_ids)}
    current = Deltas(trained)
    current.touch({"u4", "newcomer", liker}, [])
    current._move_users(follower.users)
    at = np.array([known.get(user, len(known)) for user in users])
    order = np.argsort(at)
    expected = trained.model.fold_in_items(
        sparse.csr_matrix((column.data[order], at[order], [0, len(at)]), shape=(1, len(known) + 1)),
        user_factors=current._user_factors,
        user_counts=current._user_counts,
    )
    factors = np.frombuffer(delta.factors, np.float32).reshape(len(delta.items), -1)
    np.testing.assert_allclose(factors[delta.items.index("p1")], expected[0], rtol=1e-5)


def test_deltas_are_numbered_and_silent_when_nothing_moved(fed):
    trained = trained_on(fed)

    delta, generation, follower, deltas = moved(fed, trained, [event(1000, "u4", "p1")])

    assert (delta.delta, generation.delta) == (1, 1)
    assert deltas.make(follower.users, follower.offsets, now_ms=0) is None


def test_priors_follow_what_is_popular_now(fed):
    trained = trained_on(fed)
    rush = [event(1000 + n, f"u{n}", "p3") for n in range(30)]

    _, generation, _, _ = moved(fed, trained, rush)

    assert generation.items[int(np.argmax(generation.bias))] == "p3"


def test_a_restarted_trainer_moves_on_where_the_deltas_stopped(fed):
    trained = trained_on(fed)
    _, generation, _, _ = moved(fed, trained, [event(1000, "u4", "first-new")])
    fed.feed([single(event(1001, "u6", "second-new"))])
    follower = follow(fed)

    resumed, unknown = resume(generation, snapshot_of(follower))
    deltas = Deltas(resumed)
    deltas.touch(unknown.users, unknown.touches)
    delta = deltas.make(follower.users, follower.offsets, now_ms=0)

    assert delta.delta == 2
    assert "second-new" in delta.items
    assert generation.apply_delta(delta)
    assert generation.items[-2:] == ["first-new", "second-new"]


# The trainer's process, turn by turn


class Place:
    def __init__(self, world, path):
        self.world = world
        self.store = DirectoryStore(path / "models")

    def trainer(self, name="a", settings=SETTINGS):
        lease = EmbeddedLease(self.world.log, name)
        return Trainer(settings, self.world.log, self.store, lease, clock_ms=lambda: NOW_MS)

    def announced(self, kind=GenerationAnnounced):
        found = [msgspec.json.decode(r.value, type=ModelRecord) for r in self.world.read(MODELS, 0)]
        return [each for each in found if isinstance(each, kind)]


@pytest.fixture
def place(world, tmp_path):
    return Place(world, tmp_path)


def work(trainer, until, deadline_s=60.0):
    """Turn the trainer's loop until something holds."""
    end = time.monotonic() + deadline_s
    while not until():
        assert time.monotonic() < end, "the trainer did not get there"
        trainer.step()


def test_generation_0_is_there_at_once_and_factors_follow_with_events(place):
    trainer = place.trainer()
    work(trainer, place.announced)
    assert place.announced()[0].hyperparameters["n_factors"] == 0

    place.world.feed([single(each) for each in likes()])
    work(trainer, lambda: len(place.announced()) == 2)
    trainer.close()

    first = place.announced()[1]
    assert (first.generation, first.parent, first.n_users) == (1, 0, 30)
    assert first.offsets == {
        str(p): place.world.log.high_watermark(INTERACTIONS, p) for p in range(PARTITIONS)
    }
    assert fetch(place.store, first).n_factors == 4
    told = [
        msgspec.json.decode(r.value, type=PipelineRecord) for r in place.world.read(PIPELINE, 0)
    ]
    states = [t.state for t in told if isinstance(t, TrainingProgress) and t.generation == 1]
    assert states[0] == "training"
    assert states[-1] == "done"
    assert len(states) >= 2 + SETTINGS.iterations


def test_a_request_trains_at_once_and_is_answered_once(place):
    place.world.feed([single(each) for each in likes(n_users=2)])
    trainer = place.trainer()
    work(trainer, place.announced)

    asked = TrainingRequested(id="r1", requested_ts=NOW_MS)
    place.world.log.append([NewRecord(CONTROL, b"train", msgspec.json.encode(asked))])
    work(trainer, lambda: len(place.announced()) == 2)
    trainer.close()

    again = place.trainer("b")
    work(again, lambda: again.generation is not None)
    assert again._requests.newest is None
    again.close()


def test_deltas_keep_coming_while_nothing_is_trained(place):
    trainer = place.trainer()
    work(trainer, place.announced)
    place.world.feed([single(event(1, "u1", "p0"))])

    work(trainer, lambda: place.announced(DeltaAnnounced))
    place.world.feed([single(event(2, "u2", "p1"))])
    work(trainer, lambda: len(place.announced(DeltaAnnounced)) == 2)
    trainer.close()

    assert [each.delta for each in place.announced(DeltaAnnounced)] == [1, 2]


def test_events_during_a_training_are_in_the_first_delta_after_it(place):
    place.world.feed([single(each) for each in likes()])
    trainer = place.trainer()
    work(trainer, lambda: trainer._background.is_busy)
    place.world.feed([single(event(5000, "u1", "meanwhile"))])

    work(trainer, lambda: len(place.announced()) == 2)
    work(trainer, lambda: any(d.generation == 1 for d in place.announced(DeltaAnnounced)))
    trainer.close()

    (first, *_) = [d for d in place.announced(DeltaAnnounced) if d.generation == 1]
    assert "meanwhile" in first.items


def test_a_second_trainer_stands_by_until_the_first_is_gone(place):
    first, second = place.trainer("a"), place.trainer("b")
    work(first, place.announced)
    for _ in range(4):
        for each in (second, first):
            each._next_lease = 0.0
            each.step()
    assert first.generation is not None
    assert second.generation is None

    first.close()
    second._next_lease = 0.0
    work(second, lambda: second.generation is not None)
    second.close()

    assert len(place.announced()) == 1


def test_a_trainer_taken_for_dead_can_not_announce(place):
    first = place.trainer("a")
    work(first, place.announced)
    first._lease.release()

    with pytest.raises(LogFenced):
        first._lease.append([NewRecord(MODELS, b"delta", b"{}")])
    first.close()


def test_old_artifacts_are_pruned(place):
    place.world.feed([single(each) for each in likes()])
    trainer = place.trainer()
    for number in range(1, 5):
        work(trainer, lambda number=number: len(place.announced()) >= number)
        asked = TrainingRequested(id=f"r{number}", requested_ts=NOW_MS)
        place.world.log.append([NewRecord(CONTROL, b"train", msgspec.json.encode(asked))])
    trainer.close()

    assert len(place.store.list()) == 2


def test_a_trainer_stops_when_it_is_told_to(place):
    trainer = place.trainer()
    stopping = threading.Event()
    thread = threading.Thread(target=trainer.serve, args=(stopping,))
    thread.start()
    stopping.set()
    thread.join(10.0)

    assert not thread.is_alive()
    trainer.close()


# Who follows the models


def test_a_feed_starts_at_the_newest_usable_generation_with_its_deltas(place):
    place.world.feed([single(each) for each in likes()])
    trainer = place.trainer()
    work(trainer, lambda: len(place.announced()) == 2)
    place.world.feed([single(event(5000, "u1", "later"))])
    work(trainer, lambda: place.announced(DeltaAnnounced))
    trainer.close()

    found = ModelFeed(place.world.log, place.store).newest()

    assert (found.number, found.delta) == (1, len(place.announced(DeltaAnnounced)))
    assert "later" in found.rows


def test_a_corrupt_artifact_is_told_and_the_generation_before_is_used(place):
    place.world.feed([single(each) for each in likes()])
    trainer = place.trainer()
    work(trainer, place.announced)
    feed = ModelFeed(place.world.log, place.store)
    assert feed.newest().number == 0
    put = place.store.put
    place.store.put = lambda name, content: put(name, content[:-50])
    work(trainer, lambda: len(place.announced()) == 2)
    trainer.close()

    steps = feed.poll(0.0)

    assert [type(step) for step in steps if not isinstance(step, DeltaAnnounced)] == [Unusable]
    assert ModelFeed(place.world.log, place.store).newest().number == 0


def test_a_new_generation_comes_moved_by_the_deltas_that_are_there(place):
    trainer = place.trainer()
    work(trainer, place.announced)
    feed = ModelFeed(place.world.log, place.store)
    assert feed.newest().number == 0
    place.world.feed([single(each) for each in likes()])
    work(trainer, lambda: len(place.announced()) == 2)
    place.world.feed([single(event(5000, "u1", "later"))])
    work(trainer, lambda: "later" in ModelFeed(place.world.log, place.store).newest().rows)
    trainer.close()

    generation = feed.poll(0.0)[-1]

    newest = ModelFeed(place.world.log, place.store).newest()
    assert (generation.number, generation.delta) == (1, newest.delta)
    assert generation.items == newest.items
    assert feed.poll(0.0) == []


def test_a_delta_the_log_did_not_take_is_sent_again_before_the_next(place, monkeypatch):
    trainer = place.trainer()
    work(trainer, place.announced)
    tell = trainer._announcer.deltas

    def refuse(_):
        raise LogUnavailable("for a moment")

    monkeypatch.setattr(trainer._announcer, "deltas", refuse)
    place.world.feed([single(event(1, "u1", "p0"))])
    with pytest.raises(LogUnavailable):
        work(trainer, lambda: False)
    monkeypatch.setattr(trainer._announcer, "deltas", tell)
    place.world.feed([single(event(2, "u2", "p1"))])
    work(trainer, lambda: len(place.announced(DeltaAnnounced)) == 2)
    trainer.close()

    assert [each.delta for each in place.announced(DeltaAnnounced)] == [1, 2]
    assert place.announced(DeltaAnnounced)[0].items == ("p0",)


def test_an_artifact_is_read_before_it_is_announced(place, monkeypatch):
    trainer = place.trainer()
    work(trainer, place.announced)
    place.world.feed([single(each) for each in likes()])
    work(trainer, lambda: len(place.announced()) == 2)
    trainer.close()
    announced = place.announced()[1]
    early = EarlyArtifacts(place.store)

    early.look(0)
    while early._found() is None:
        early._next_look = 0.0
        early.look(0)
    monkeypatch.setattr(place.store, "get", None)

    other = msgspec.structs.replace(announced, digest="0" * 32)
    found = early.fetch(announced)
    assert digest(found.arrays()) == announced.digest
    with pytest.raises(TypeError):
        early.fetch(announced)  # it was given away, so the store is asked
    monkeypatch.undo()
    early.look(0)
    with pytest.raises(ArtifactCorrupt):
        early.fetch(other)
    early.close()


def test_a_record_that_is_no_model_is_told(place):
    feed = ModelFeed(place.world.log, place.store)
    assert feed.newest() is None
    place.world.log.append([NewRecord(MODELS, b"generation", b"{}")])

    (step,) = feed.poll(0.0)

    assert isinstance(step, Unusable)


def test_history_rows_of_training_and_fold_in_are_the_same(fed):
    follower = follow(fed)
    trained = trained_on(fed)
    at = trained.user_ids.index("u3")

    columns, weights = row(
        follower.users["u3"].history("u3"), trained.generation.rows, SETTINGS.half_life_ms
    )

    part = slice(trained.matrix.indptr[at], trained.matrix.indptr[at + 1])
    assert trained.matrix.indices[part].tolist() == columns.tolist()
    assert trained.matrix.data[part].tobytes() == weights.tobytes()
