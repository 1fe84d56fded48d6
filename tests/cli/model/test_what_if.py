"""`recstream what-if`: list beside list, and a range of the log beside what was published."""

import json

import pytest

from recstream.cli import run
from tests.replay.world import World

USER = "u3"


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """A data directory with two generations and lists of both."""
    folder = tmp_path_factory.mktemp("what-if")
    world = World(folder)
    world.browse(60, seed=1)
    world.train()
    world.work()
    for _ in range(30):
        world.browse(1, seed=world.n_events)
        world.work()
    world.train()
    world.work()
    world.close()
    return ["--data-dir", str(folder)]


def test_a_list_is_shown_beside_the_one_with_another_event(data, capsys):
    assert run(["what-if", "list", USER, "--add", "like:i00", "--json", *data]) == 0

    found = json.loads(capsys.readouterr().out)

    assert found["is_identical"] is True
    assert "i00" not in [each["item"] for each in found["after"]["items"]]
    assert run(["what-if", "list", USER, *data]) == 0
    assert "identical to the published list" in capsys.readouterr().out


def test_a_range_is_compared_in_numbers_words_and_bars(data, capsys, tmp_path):
    rules = tmp_path / "rules.json"
    rules.write_text(
        '{"rules":[{"action":"exclude","name":"half","where":{"items":["i01","i02"]}}]}'
    )

    assert run(["what-if", "log", "--steering", str(rules), *data]) == 0

    out = capsys.readouterr().out
    assert "hit@10" in out
    assert "95 % interval" in out
    assert "█" in out


def test_another_generation_that_contains_the_events_is_reported(data, capsys):
    assert run(["what-if", "log", "--generation", "1", *data]) == 0

    assert "was trained on" in capsys.readouterr().out


@pytest.mark.parametrize(
    "wrong",
    [
        ["list", USER, "--add", "dance:p1"],
        ["list", USER, "--add", "rate:p1:many"],
        ["list", USER, "--without", "999999"],
        ["log", "--generation", "99"],
        ["log", "--from", "soon"],
    ],
)
def test_what_can_not_be_is_a_message_and_exit_code_1(data, capsys, wrong):
    assert run(["what-if", *wrong, *data]) == 1

    assert len(capsys.readouterr().err.splitlines()) <= 3
