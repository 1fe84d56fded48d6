"""What a list would have been, what made it differ, and its origin: worked out by refolding by hand."""

from contextlib import closing

import pytest

from recstream.analysis import Alternative, causes, find_origin, what_if
from recstream.analysis.list_what_if import AddedEvent
from recstream.core.events import EventWeights
from recstream.core.history import History, apply
from recstream.core.records import decode_recommendations
from recstream.core.steering import Exclude, Steering
from recstream.core.steering.rules import Condition
from recstream.errors import InvalidInput, NotFound
from recstream.log import INTERACTIONS, RECOMMENDATIONS, decode, partition_for
from recstream.time_travel import Moment, Snapshots, TimeTravel, derive
from tests.replay.world import World

USER = "u3"
PARTITION = partition_for(USER.encode(), 2)


class Story:
    """A log with two generations, rules in between, and a user who came three times."""

    def __init__(self, folder):
        self.world = world = World(folder)
        world.browse(60, seed=1)
        world.train()
        world.work()
        world.do(USER, "i01", "like")
        world.work()
        world.do(USER, "i03")
        world.work()
        world.browse(40, seed=2)
        world.train()
        world.work()
        self.travel = TimeTravel(world.log, world.store, Snapshots(world.log, folder / "s"))

    @property
    def lists(self):
        return [
            (each.offset, decode_recommendations(each.value))
            for each in self.world.records(RECOMMENDATIONS, PARTITION)
            if each.key == USER.encode()
        ]

    def events(self):
        """The user's events with their offsets."""
        return [
            (record.offset, event)
            for record in self.world.records(INTERACTIONS, PARTITION)
            for _, event in decode(record).events
            if event.user == USER
        ]


@pytest.fixture(scope="module")
def story(tmp_path_factory):
    return Story(tmp_path_factory.mktemp("story"))


def items(body):
    return [each.item for each in body.items]


def test_with_nothing_different_the_list_is_the_one_published(story):
    for offset, body in story.lists:
        found = what_if(story.travel, USER, Moment(offset=body.as_of.offset), Alternative())

        if found.before.rec_id == body.rec_id:
            assert found.is_identical, offset
        assert items(found.after) == items(found.before)
        assert found.after.rec_id == "what-if"


def test_an_event_taken_away_gives_the_list_of_the_history_without_it(story):
    offset, _ = story.events()[-2]
    newest = story.lists[-1][1]

    found = what_if(story.travel, USER, Moment(), Alternative(without=(str(offset),)))

    active = story.travel.basis(USER, Moment()).active
    history = History(USER)
    for at, event in story.events():
        if at != offset:
            history = apply(history, event, at, 0, active.fold_settings)
    generation = story.travel.generations.at(newest.generation, newest.delta)
    expected = next(derive([history], generation, active, PARTITION, 0))([]).body
    assert items(found.after) == items(expected)
    assert found.n_events == len(story.events()) - 1


def test_an_added_event_counts_like_one_that_happened(story):
    offset, event = story.events()[-1]
    added = AddedEvent(type=event.type, item=event.item)

    found = what_if(story.travel, USER, Moment(offset=offset - 1), Alternative(add=(added,)))

    assert found.n_events == len(story.events())
    assert event.item not in items(found.after)
    with_it = what_if(
        story.travel, USER, Moment(offset=offset), Alternative(generation=found.after.generation)
    )
    assert items(found.after) == items(with_it.after)


def test_other_rules_weights_lengths_and_generations_change_the_list(story):
    plain = what_if(story.travel, USER, Moment(), Alternative())
    first = items(plain.before)[0]
    hidden = Steering(rules=(Exclude(name="hide", where=Condition(items=(first,))),))

    by_rule = what_if(story.travel, USER, Moment(), Alternative(steering=hidden))
    shorter = what_if(story.travel, USER, Moment(), Alternative(n=2))
    older = what_if(story.travel, USER, Moment(), Alternative(generation=0))
    weightless = EventWeights(view=0, click=0, cart=0, purchase=0, rate=0, like=0)
    nothing = what_if(story.travel, USER, Moment(), Alternative(weights=weightless))

    assert first not in items(by_rule.after)
    assert [each.item for each in by_rule.change.left] == [first]
    assert items(shorter.after) == items(plain.before)[:2]
    assert older.after.generation == 0
    assert nothing.after.source == "popular"
    assert by_rule.after.items[0].was == 2


@pytest.mark.parametrize("position", ["999999", "0.0", "x", "-1", "1.x"])
def test_an_event_that_is_not_the_users_can_not_be_taken_away(story, position):
    other = {str(offset) for offset, _ in story.events()}
    assert position not in other

    with pytest.raises(InvalidInput):
        what_if(story.travel, USER, Moment(), Alternative(without=(position,)))


def test_between_two_lists_with_one_event_and_one_model_that_event_did_it(story):
    n_checked = 0
    for (_, old), (_, new) in zip(story.lists, story.lists[1:], strict=False):
        same_model = (old.generation, old.delta) == (new.generation, new.delta)
        found = causes(
            story.travel, USER, Moment(offset=old.as_of.offset), Moment(offset=new.as_of.offset)
        )
        if not same_model or found.n_events != 1 or found.after.rec_id != new.rec_id:
            continue
        n_checked += 1
        (event,) = found.events
        assert set(event.brought) == {each.item for each in found.change.entered}
        assert set(event.kept_out) == {each.item for each in found.change.left}
        assert all(each.events == (f"{event.offset}.0",) for each in found.items)
        assert (found.model, found.rules) == (None, None)
    assert n_checked


def test_a_new_model_is_named_as_the_cause(story):
    first = story.lists[0][1]

    found = causes(story.travel, USER, Moment(offset=first.as_of.offset), Moment())

    assert found.model is not None
    assert found.n_events == sum(first.as_of.offset < offset for offset, _ in story.events())


def test_moments_in_the_wrong_order_are_refused(story):
    first = story.lists[0][1].as_of.offset

    with pytest.raises(InvalidInput, match="exchange"):
        causes(story.travel, USER, Moment(), Moment(offset=first - 1))


def test_the_origin_of_every_list_is_found_by_its_id(story):
    ids = [body.rec_id for _, body in story.lists]
    for at, (offset, body) in enumerate(story.lists):
        found = find_origin(story.travel, body.rec_id)

        assert (found.list.offset, found.list.user) == (offset, USER)
        assert found.is_identical is True
        assert [each.event.user for each in found.events] == [USER]
        assert found.before == ("" if at == 0 else ids[at - 1])
        assert found.after == ("" if at == len(ids) - 1 else ids[at + 1])
        assert found.settings.list_size == 5
        assert found.generation.generation == body.generation


def test_what_the_user_did_with_a_list_is_found(tmp_path):
    story = Story(tmp_path)
    rec_id = story.lists[-1][1].rec_id
    story.world.do(USER, "i05", "click", rec_id=rec_id)
    story.world.do(USER, "i07", "click")

    uses = find_origin(story.travel, rec_id).uses

    assert [each.event.item for each in uses] == ["i05"]


def test_a_list_that_was_never_published_is_not_found(story):
    with pytest.raises(NotFound, match="on request"):
        find_origin(story.travel, "r-nothing")


def test_a_users_token_does_not_show_the_rules_of_the_shop(world):
    world.browse(60, seed=1)
    world.train()
    hide = {"action": "exclude", "name": "low margin", "where": {"items": ["i23"]}}
    world.steer({"rules": [hide]})
    world.work()
    world.do(USER, "i01", "like")
    world.work()
    with closing(Snapshots(world.log, world.store.folder / "snapshots")) as snapshots:
        travel = TimeTravel(world.log, world.store, snapshots)
        position = travel.list_position(USER, Moment())
        body = travel.published(PARTITION, position).body

        service, user = (find_origin(travel, body.rec_id, reader) for reader in (None, USER))

    assert service.settings.words == ("low margin: leave out items i23",)
    assert (user.settings.steering, user.settings.words) == (None, ())
    assert user.settings.list_size == service.settings.list_size
