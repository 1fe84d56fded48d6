"""The catalogue's way into lists: the trainer follows it, and tells of it in generations and deltas."""

import math

import msgspec
import numpy as np
import pytest

from recstream.catalogue import delete_record, upsert_record
from recstream.control.reader import read_timeline
from recstream.core.content.score_scale import COLD_START_BOOST
from recstream.core.content.summary import summarise
from recstream.core.generation.generation import Generation
from recstream.core.records import DeltaAnnounced, Item, RollbackRequested, TrainingRequested
from recstream.log.embedded import maintain
from recstream.log.port import NewRecord
from recstream.log.topics import CATALOGUE, CONTROL
from recstream.models import fetch
from recstream.models.feed import ModelFeed
from recstream.replay.retrain import DerivedStore, retrain
from recstream.settings import DAY_MS
from recstream.time_travel.generations import Generations
from recstream.trainer.deltas import deltas as deltas_module
from tests.trainer.trainer_world import Place, likes, work
from tests.worker.worker_world import NOW_MS, event, single

WORDS = ["lute", "drum", "harp", "oboe"]


def product(number: int, **more: object) -> Item:
    word = WORDS[number % len(WORDS)]
    given = {"title": f"{word} number{number}", "brand": f"{word} makers", "category": word} | more
    return Item(item=f"p{number}", **given)


def shop(place: Place, numbers: object) -> None:
    place.world.log.append([upsert_record(product(number)) for number in numbers])


@pytest.fixture
def running(place):
    """A trainer that serves generation 1: with factors, of 12 products that users touched."""
    shop(place, range(12))
    place.world.feed([single(each) for each in likes()])
    trainer = place.trainer()
    work(trainer, lambda: len(place.announced()) == 2)
    yield trainer
    trainer.close()


def serving(place: Place) -> Generation:
    feed = ModelFeed(place.world.log, place.store)
    found = feed.newest()
    feed.close()
    assert found is not None
    return found


def told(place: Place) -> bool:
    """Return whether lists know everything that the catalogue holds."""
    return serving(place).catalogue_offset == place.world.log.high_watermark(CATALOGUE, 0)


def retrained(place: Place) -> dict[int, tuple[bool, str]]:
    log = place.world.log
    found = retrain(
        log,
        Generations(log, place.store).announced,
        read_timeline(log),
        DerivedStore(),
        place.store,
    )
    return {each.number: (each.announced == each.derived, each.why) for each in found}


def test_generation_0_knows_all_products_and_what_is_like_what(place):
    shop(place, range(60))

    trainer = place.trainer()
    work(trainer, place.announced)
    trainer.close()

    generation = fetch(place.store, place.announced()[0])
    assert place.announced()[0].catalogue_offset == 60
    assert set(generation.items) == {f"p{number}" for number in range(60)}
    assert generation.details["p7"] == summarise(product(7))
    near = {generation.items[row] for row in generation.content.of(generation.rows["p0"])[0]}
    assert near
    assert {int(name[1:]) % 4 for name in near} == {0}


def test_a_product_that_nobody_touched_has_factors_like_those_it_resembles(running, place):
    shop(place, [16, 17])
    work(running, lambda: told(place))

    generation = serving(place)
    factors = generation.model.item_factors
    new, alike, other = (factors[generation.rows[name]] for name in ("p16", "p0", "p1"))
    assert new @ alike > new @ other
    assert generation.content.of(generation.rows["p16"])[0].size > 0
    back = generation.content.of(generation.rows["p0"])[0].tolist()
    assert generation.rows["p16"] in back
    worth = generation.content_multiplier[[generation.rows[name] for name in ("p16", "p0")]]
    assert worth[0] == pytest.approx(1.0 + COLD_START_BOOST)
    assert 1.0 < worth[1] < worth[0]
    assert 0.1 <= generation.hyperparameters["content_unit"] <= 3.0


def test_a_deleted_product_is_withdrawn_at_once_and_may_come_back(running, place):
    log = place.world.log

    log.append([delete_record("p3")])
    work(running, lambda: told(place))
    gone = serving(place)
    log.append([upsert_record(product(3, price=5.0))])
    work(running, lambda: told(place))
    back = serving(place)

    assert not gone.listable[gone.rows["p3"]]
    assert "p3" not in gone.details
    assert back.listable is None
    assert back.details["p3"].price == 5.0


def test_a_new_picture_is_not_worth_a_delta(running, place):
    before = len(place.announced(DeltaAnnounced))

    place.world.log.append([upsert_record(product(1, image="https://example.com/1.jpg"))])
    place.world.log.append([upsert_record(product(2, title="another name"))])
    work(running, lambda: told(place))

    changed = [each.catalogue for each in place.announced(DeltaAnnounced)[before:]]
    assert [set(each) for each in changed if each] == [{"p2"}]


def test_what_is_no_item_becomes_a_dead_letter_once_and_stops_nothing(running, place):
    log = place.world.log
    log.append([NewRecord(CATALOGUE, b"p1", b"{", 0), NewRecord(CATALOGUE, b"a\nb", None, 0)])
    shop(place, [20])

    work(running, lambda: told(place))
    running.close()
    again = place.trainer("b")
    shop(place, [21])
    work(again, lambda: told(place))
    again.close()

    letters = place.world.letters()
    assert [(each.reason, each.topic, each.offset) for each in letters] == [
        ("invalid-item", CATALOGUE, 12),
        ("invalid-item", CATALOGUE, 13),
    ]
    assert serving(place).details["p1"] == summarise(product(1))


def test_a_large_import_is_cut_into_small_records_and_users_items_go_between(
    running, place, monkeypatch
):
    monkeypatch.setattr(deltas_module, "MAX_PRODUCTS", 7)
    before = len(place.announced(DeltaAnnounced))
    shop(place, range(100, 160))

    work(running, lambda: serving(place).n_items > 12)
    place.world.feed([single(event(1000, "u1", "p2"))])
    running._pacer._next_item_delta = 0.0  # it is due
    work(running, lambda: told(place))

    deltas = place.announced(DeltaAnnounced)[before:]
    assert [each.delta for each in deltas] == list(range(before + 1, before + 1 + len(deltas)))
    assert all(len(each.items) <= 12 for each in deltas)
    users = [at for at, each in enumerate(deltas) if not each.catalogue]
    assert users
    assert users[0] < len(deltas) - 1
    assert serving(place).n_items == 72


def test_a_product_is_announced_while_events_still_wait(running, place):
    running._pacer._next_item_delta = math.inf
    place.world.feed([single(event(1000, "u1", "p2"))])
    before = len(place.announced(DeltaAnnounced))

    shop(place, [16])
    work(running, lambda: told(place))

    deltas = place.announced(DeltaAnnounced)[before:]
    assert [set(each.catalogue) for each in deltas] == [{"p16"}]
    assert running._pacer.due_in_s(running._deltas, 9.0) == 9.0


def test_a_huge_product_fits_a_record_that_kafka_takes(running, place):
    attributes = {f"a{number}": "x" * 1000 for number in range(300)}
    huge = [product(n, description="y" * 300_000, attributes=attributes) for n in (30, 31, 32)]

    place.world.log.append([upsert_record(each) for each in huge])
    work(running, lambda: told(place))

    sizes = [len(msgspec.json.encode(each)) for each in place.announced(DeltaAnnounced)]
    assert max(sizes) < 1_000_000
    assert 0 < len(serving(place).details["p31"].attributes) < 300


def test_a_restarted_trainer_announces_what_was_not_announced_and_nothing_twice(running, place):
    shop(place, [40])
    work(running, lambda: told(place))
    running.close()
    n_told = len(place.announced(DeltaAnnounced))
    shop(place, [41])
    place.world.log.append([delete_record("p40")])

    again = place.trainer("b")
    work(again, lambda: told(place))
    again.close()

    changed = [each.catalogue for each in place.announced(DeltaAnnounced)[n_told:]]
    merged = {name: facts for each in changed for name, facts in each.items()}
    assert merged == {"p40": None, "p41": summarise(product(41))}


@pytest.mark.slow
def test_a_catalogue_that_doubled_is_trained_on_without_events(place):
    trainer = place.trainer()
    work(trainer, place.announced)

    shop(place, range(60))
    work(trainer, lambda: len(place.announced()) == 2)
    trainer.close()

    generation = fetch(place.store, place.announced()[1])
    assert generation.model is None
    assert generation.content.of(0)[0].size > 0


def test_generations_with_a_catalogue_are_trained_again_bit_for_bit(running, place):
    shop(place, [50])
    place.world.log.append([delete_record("p2"), upsert_record(product(1, title="new name"))])
    work(running, lambda: told(place))
    place.world.feed([single(each) for each in likes(n_each=6, seed=1)])
    work(running, lambda: len(place.announced()) >= 3)

    found = retrained(place)

    assert set(found) >= {0, 1, 2}
    assert set(found.values()) == {(True, "")}
    last = fetch(place.store, place.announced()[-1])
    assert last.withdrawn[last.rows["p2"]]


def test_what_compaction_took_comes_from_the_artifact_and_is_said(running, place):
    place.world.log.append([upsert_record(product(1, title="new name")), delete_record("p2")])
    work(running, lambda: told(place))
    maintain(place.world.log, min_dirty_ratio=0.0)

    found = retrained(place)
    place.store.delete(place.announced()[1].artifact)
    without = retrained(place)

    taken = "content taken from the artifact: 2 catalogue records were compacted away"
    assert found[1] == (True, taken)
    assert without[1] == (
        False,
        "not derivable: 2 catalogue records were compacted away, and so is the artifact",
    )


def test_a_rollback_lists_what_the_catalogue_holds_today(running, place):
    shop(place, [60])
    place.world.log.append([delete_record("p5")])
    work(running, lambda: told(place))
    request = RollbackRequested(id="back", generation=1, requested_ts=NOW_MS)
    place.world.log.append([NewRecord(CONTROL, None, msgspec.json.encode(request), 0)])
    work(running, lambda: place.announced()[-1].copies == 1)

    work(running, lambda: told(place))

    generation = serving(place)
    assert generation.number == 2
    assert generation.details["p60"] == summarise(product(60))
    assert not generation.listable[generation.rows["p5"]]


def test_a_product_that_was_deleted_before_anybody_touched_it_is_not_listed(running, place):
    place.world.log.append([delete_record("p99")])
    place.world.feed([single(event(1000 + n, f"u{n}", "p99")) for n in range(4)])
    work(running, lambda: "p99" in serving(place).rows)

    generation = serving(place)

    assert generation.withdrawn[generation.rows["p99"]]


@pytest.mark.parametrize("kind", ["training", "rollback"])
def test_a_deletion_that_compaction_removed_still_holds_after_a_restart(running, place, kind):
    log = place.world.log
    log.append([delete_record("p5"), upsert_record(product(60))])
    work(running, lambda: told(place))
    running.close()
    maintain(log, tombstone_delay_ms=-DAY_MS, min_dirty_ratio=0.0)
    again = place.trainer("b")
    request: TrainingRequested | RollbackRequested
    request = TrainingRequested(id="anew", force=True, requested_ts=NOW_MS + 1)
    if kind == "rollback":
        request = RollbackRequested(id="back", generation=1, requested_ts=NOW_MS + 1)
    log.append([NewRecord(CONTROL, None, msgspec.json.encode(request), 0)])

    work(again, lambda: place.announced()[-1].generation == 2)
    work(again, lambda: told(place))
    again.close()

    assert all(record.key != b"p5" for record in place.world.read(CATALOGUE, 0))
    generation = serving(place)
    assert generation.withdrawn[generation.rows["p5"]]
    assert retrained(place)[2][0]


def test_a_catalogue_changes_nothing_of_what_users_taught(world, tmp_path):
    world.feed([single(each) for each in likes()])
    plain = Place(world, tmp_path / "plain")
    first = plain.trainer()
    work(first, lambda: len(plain.announced()) == 2)
    first.close()
    without = fetch(plain.store, plain.announced()[1])

    shop(plain, range(12, 40))
    again = plain.trainer("b")
    work(again, lambda: told(plain))
    again.close()
    moved = serving(plain)

    for item in without.items:
        np.testing.assert_array_equal(
            moved.model.item_factors[moved.rows[item]],
            without.model.item_factors[without.rows[item]],
        )
        assert moved.bias[moved.rows[item]] == without.bias[without.rows[item]]
