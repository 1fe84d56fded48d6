"""Who follows the models: from the newest usable generation on, each artifact checked."""

import msgspec
import pytest

from recstream.core.numeric.array_codec import array_digest as digest
from recstream.core.records import DeltaAnnounced
from recstream.errors import ArtifactCorrupt
from recstream.log.port import NewRecord
from recstream.log.topics import MODELS
from recstream.models.feed import ModelFeed, Unusable
from recstream.models.prefetch import ArtifactPrefetch
from tests.trainer.trainer_world import likes, work
from tests.worker.worker_world import event, single


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


def test_a_delta_that_does_not_fit_leaves_the_generation_as_it_was_until_the_next(place):
    place.world.feed([single(each) for each in likes()])
    trainer = place.trainer()
    work(trainer, lambda: len(place.announced()) == 2)
    place.world.feed([single(event(5000, "u1", "later"))])
    work(trainer, lambda: place.announced(DeltaAnnounced))
    good = place.announced(DeltaAnnounced)[-1]
    bad, behind = (
        msgspec.structs.replace(good, delta=good.delta + more, factors=factors)
        for more, factors in ((1, b"cut"), (2, good.factors))
    )

    def announce(*records):
        encoded = [NewRecord(MODELS, None, msgspec.json.encode(each), 0) for each in records]
        place.world.log.append(encoded)

    announce(bad)
    feed = ModelFeed(place.world.log, place.store)

    found = feed.newest()

    assert (found.number, found.delta) == (1, good.delta)
    announce(behind)
    assert feed.poll(0.0) == []
    announce(msgspec.structs.replace(place.announced()[-1], generation=1))
    assert [type(step).__name__ for step in feed.poll(0.0)] == ["Generation"]
    trainer.close()


def test_a_corrupt_artifact_is_reported_and_the_generation_before_is_used(place):
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


def test_an_artifact_is_read_before_it_is_announced(place, monkeypatch):
    trainer = place.trainer()
    work(trainer, place.announced)
    place.world.feed([single(each) for each in likes()])
    work(trainer, lambda: len(place.announced()) == 2)
    trainer.close()
    announced = place.announced()[1]
    early = ArtifactPrefetch(place.store, is_serving=False)

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


def test_a_record_that_is_no_model_is_reported(place):
    feed = ModelFeed(place.world.log, place.store)
    assert feed.newest() is None
    place.world.log.append([NewRecord(MODELS, b"generation", b"{}")])

    (step,) = feed.poll(0.0)

    assert isinstance(step, Unusable)
