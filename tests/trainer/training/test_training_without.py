"""The trainer follows when a user is forgotten; blanked events are no dead letters."""

import msgspec
import pytest

from recstream.core.records import ForgetRequested, GenerationAnnounced, RollbackRequested
from recstream.erasure import without
from recstream.log.decode import decode
from recstream.log.port import NewRecord, Record
from recstream.log.topics import CONTROL, DEAD_LETTERS, INTERACTIONS
from recstream.worker.forget import GRACE_MS, Forgetter
from tests.trainer.trainer_world import Place, likes, work
from tests.worker.worker_world import NOW_MS, PARTITIONS, SETTINGS, World, envelope, event, single

USERS = 30


@pytest.fixture
def place(world, tmp_path):
    place = Place(world, tmp_path)
    world.feed([single(each) for each in likes(n_users=USERS)])
    return place


def ask(world: World, request: ForgetRequested | RollbackRequested) -> None:
    world.log.append([NewRecord(CONTROL, None, msgspec.json.encode(request), 0)])


def forget(world: World, user: str, *, is_erased: bool = True) -> None:
    ask(world, ForgetRequested(id=f"forget-{user}", user=user, requested_ts=NOW_MS))
    later_ms = NOW_MS + GRACE_MS
    forgetter = Forgetter(world.log, world.engine, SETTINGS, lambda: later_ms)
    for due in forgetter.begin(range(PARTITIONS)):
        if is_erased:
            forgetter.erase(due)
            forgetter.finish(due)


def newest(place: Place) -> GenerationAnnounced:
    return place.announced()[-1]


def somebody(world: World) -> str:
    return min(world.newest_lists() or {each.user for each in likes()})


def test_the_next_generation_is_without_the_user_and_comes_by_itself(place):
    trainer = place.trainer()
    work(trainer, lambda: len(place.announced()) == 2)
    assert newest(place).n_users == USERS

    forget(place.world, somebody(place.world), is_erased=False)
    work(trainer, lambda: len(place.announced()) == 3)
    trainer.close()

    assert newest(place).n_users == USERS - 1
    again = place.trainer("b")
    work(again, lambda: again.generation is not None)
    assert again._inputs.commands.forgotten == []
    again.close()


def test_a_trainer_that_reads_too_late_reads_all_histories_again(place):
    trainer = place.trainer()
    work(trainer, lambda: len(place.announced()) == 2)

    forget(place.world, somebody(place.world))
    work(trainer, lambda: len(place.announced()) == 3)

    assert newest(place).n_users == USERS - 1
    assert trainer._inputs.histories.n_users == USERS - 1
    trainer.close()


def test_a_rollback_is_not_undone_by_forgetting(place):
    trainer = place.trainer()
    work(trainer, lambda: len(place.announced()) == 2)
    ask(place.world, RollbackRequested(id="back", generation=0, requested_ts=NOW_MS))
    work(trainer, lambda: len(place.announced()) == 3)

    forget(place.world, somebody(place.world), is_erased=False)
    for _ in range(20):
        trainer.step()

    assert len(place.announced()) == 3
    trainer.close()


def test_blanked_places_of_an_envelope_are_no_dead_letters(world):
    (first, *_) = envelope([event(1, "u1", "p1"), event(2, "u1", "p2"), event(3, "u1", "p3")])
    parts = msgspec.json.decode(first.value, type=list[msgspec.Raw])
    value = b"[" + bytes(parts[0]) + b",null," + bytes(parts[2]) + b"]"
    world.feed([first._replace(value=value)])

    (record,) = world.read(INTERACTIONS, first.partition)
    assert [(at, each.item) for at, each in decode(record).events] == [(0, "p1"), (2, "p3")]
    assert not [r for p in range(PARTITIONS) for r in world.read(DEAD_LETTERS, p)]


def raw(key: bytes | None, value: bytes | None) -> Record:
    return Record(INTERACTIONS, 0, 7, NOW_MS, key, value)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (raw(b"u1", b'{"user":"u1"}'), raw(None, None)),
        (raw(b"u1", b"not json"), raw(None, None)),
        (raw(None, b'{"user":"u1","type":7}'), raw(None, None)),
        (raw(b"u1", b'{"user":"u2"}'), raw(None, b'{"user":"u2"}')),
        (raw(b"u1", None), raw(None, None)),
        (raw(b"u2", b'{"user":"u2"}'), raw(b"u2", b'{"user":"u2"}')),
        (raw(b"u2", b'{"user":"u\\u0031"}'), raw(None, None)),
        (raw(None, b'[{"user":"u2"},{"user":"u1"}]'), raw(None, b'[{"user":"u2"},null]')),
        (raw(None, b'[{"user":"u1"},null]'), raw(None, None)),
        (raw(None, b'[{"user":"u2"},7,{"user":"u1"}]'), raw(None, b'[{"user":"u2"},7,null]')),
        (raw(None, b'[{"user":"u1"}'), raw(None, None)),
        (raw(None, b'[{"user":"u11"}]'), raw(None, b'[{"user":"u11"}]')),
    ],
)
def test_a_record_without_a_user_keeps_the_others_in_their_places(before, after):
    assert without(before, "u1") == after
    assert without(after, "u1") == after
