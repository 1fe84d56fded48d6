"""Files become events: read as the columns say, in time order, once, with bad lines counted."""

import gzip
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from recstream.core.events import timestamp_ms
from recstream.errors import InvalidInput
from recstream.importers.events import import_events
from recstream.importers.files.source import Source
from recstream.importers.mapping import ColumnMapping
from recstream.log import open_log
from recstream.log.partitioner import partition_for
from recstream.log.port import EventLog
from recstream.log.topics import topic_specs
from tests.importers.imports import (
    AT_MS,
    BAD,
    PARTITIONS,
    RATINGS,
    all_events,
    events_of,
    run_import,
    source,
)


@pytest.mark.parametrize(
    ("name", "text", "how"),
    [
        ("r.csv", "user,item,stars,at\nu1,p1,4,100\n", {}),
        ("r.csv.gz", "user,item,stars,at\nu1,p1,4,100\n", {}),
        ("r.csv", "\ufeffuser;item;stars;at\r\nu1;p1;4;100\r\n", {}),
        ("r.tsv", "user\titem\tstars\tat\nu1\tp1\t4\t100\n", {}),
        ("r.dat", "user::item::stars::at\nu1::p1::4::100\n", {}),
        ("r.txt", "user|item|stars|at\nu1|p1|4|100\n", {}),
        ("r.log", "user/item/stars/at\nu1/p1/4/100\n", {"delimiter": "/"}),
        ("r.jsonl", '{"user":"u1","item":"p1","stars":4,"at":100}\n', {}),
        ("r.json.gz", '\n{"at":"100","item":"p1","stars":4.0,"user":"u1"}', {}),
    ],
)
def test_every_form_of_file_gives_the_same_event(
    tmp_path: Path, event_log: EventLog, name: str, text: str, how: dict[str, Any]
) -> None:
    report = run_import(event_log, source(tmp_path, text, name, **how), RATINGS)

    (event,) = all_events(event_log)
    assert (event.type, event.user, event.item, event.value) == ("rate", "u1", "p1", 4.0)
    assert event.ts is not None
    assert timestamp_ms(event.ts) == 100_000
    assert (report.read, report.imported, report.rejected) == (1, 1, 0)


def test_columns_may_be_named_by_number(tmp_path: Path, event_log: EventLog) -> None:
    rows = source(tmp_path, "100\tp1\tu1\n", "r.tsv", header=False)

    run_import(event_log, rows, ColumnMapping(user="3", item="2", time="1", type="click"))

    (event,) = all_events(event_log)
    assert (event.user, event.item, event.type, event.value) == ("u1", "p1", "click", None)


def test_a_lone_quotation_mark_in_tabs_is_a_part_of_the_name(
    tmp_path: Path, event_log: EventLog
) -> None:
    rows = source(tmp_path, 'user\titem\nu1\t"a\nu2\tb\n', "r.tsv")

    run_import(event_log, rows, ColumnMapping(user="user", item="item"))

    assert sorted(event.item or "" for event in all_events(event_log)) == ['"a', "b"]


def test_json_keys_may_be_nested(tmp_path: Path, event_log: EventLog) -> None:
    rows = source(tmp_path, '{"who":{"id":7},"what":"p1"}\n{"who":7,"what":"p1"}\n', "r.jsonl")

    report = run_import(event_log, rows, ColumnMapping(user="who.id", item="what"))

    assert [event.user for event in all_events(event_log)] == ["7"]
    assert report.problems[0].line == 2


def test_a_type_column_is_read_with_its_meanings(tmp_path: Path, event_log: EventLog) -> None:
    text = "user,item,kind\nu1,p1,view\nu1,p2,addtocart\nu1,p3,wink\n"
    mapping = ColumnMapping(user="user", item="item", type="kind", types={"addtocart": "cart"})

    report = run_import(event_log, source(tmp_path, text), mapping)

    assert [(e.item, e.type) for e in all_events(event_log)] == [("p1", "view"), ("p2", "cart")]
    assert "wink" in report.problems[0].reason


def test_ratings_are_scaled_so_that_the_best_becomes_5(tmp_path: Path, event_log: EventLog) -> None:
    text = "user,item,stars\nu1,p1,10\nu1,p2,5\nu1,p3,0\n"
    mapping = ColumnMapping(user="user", item="item", value="stars", type="rate", rating_max=10)

    run_import(event_log, source(tmp_path, text), mapping)

    assert [event.value for event in all_events(event_log)] == [5.0, 2.5, 0.0]


def test_a_session_column_says_which_events_belong_together(
    tmp_path: Path, event_log: EventLog
) -> None:
    path = tmp_path / "orders.csv"
    bad = b"u,d,1600000003,\xe9\nu,e,1600000004," + b"o" * 257
    path.write_bytes(
        b"who,sku,at,order\nu,a,1600000000,o 1\nu,b,1600000001,o 1\nu,c,1600000002,\n" + bad
    )
    mapping = ColumnMapping(user="who", item="sku", time="at", session="order")

    report = run_import(event_log, Source(path), mapping)

    found = [(event.item, event.session) for event in all_events(event_log)]
    assert found == [("a", "o 1"), ("b", "o 1"), ("c", None)]
    assert [problem.line for problem in report.problems] == [5, 6]


def test_rows_of_json_may_lack_a_value_and_a_session(tmp_path: Path, event_log: EventLog) -> None:
    path = tmp_path / "log.jsonl"
    path.write_text(
        '{"who":"u","sku":"a","at":1600000000,"n":2,"order":"o"}\n'
        '{"who":"u","sku":"b","at":1600000001,"n":null,"order":null}\n'
        '{"who":"u","sku":"c","at":1600000002}\n'
        '{"who":null,"sku":"d","at":1600000003}\n'
        '{"who":"u","sku":"e","n":3}\n'
        '{"who":"u","sku":"f","at":1600000004,"n":[3]}\n'
    )
    mapping = ColumnMapping(user="who", item="sku", time="at", value="n", session="order")

    report = run_import(event_log, Source(path), mapping)

    found = [(event.item, event.value, event.session) for event in all_events(event_log)]
    assert found == [("a", 2.0, "o"), ("b", None, None), ("c", None, None)]
    assert [(each.line, each.reason) for each in report.problems] == [
        (4, "expected a text or number under 'who', got none"),
        (5, "expected a text or number under 'at', got none"),
        (6, "expected a text or number under 'n', got a list"),
    ]


def test_an_item_without_an_id_does_not_reject_the_others_of_its_order(
    tmp_path: Path, event_log: EventLog
) -> None:
    path = tmp_path / "log.jsonl"
    path.write_text(
        '{"who":"u","lines":[{"sku":"a"},{"sku":"(not set)"},{"sku":null},{"sku":""},{"sku":"b"}]}\n'
        '{"who":"u","lines":[{"sku":"(not set)"}]}\n'
    )

    report = run_import(event_log, Source(path), ColumnMapping(user="who", item="lines[].sku"))

    assert [event.item for event in all_events(event_log)] == ["a", "b"]
    assert [each.line for each in report.problems] == [2]


def test_several_items_in_a_row_become_several_events(tmp_path: Path, event_log: EventLog) -> None:
    lines = source(tmp_path, "u1 a b\nu2 c\n", "r.txt", header=False)
    cells = source(tmp_path, "u3\tx y\nu3\tx y z\n", "s.tsv", header=False)

    run_import(event_log, lines, ColumnMapping(user="1", item="2+"))
    run_import(event_log, cells, ColumnMapping(user="1", item="2", split=" "), once=True)

    got = {user: [e.item for e in all_events(event_log) if e.user == user] for user in ("u1", "u3")}
    assert got == {"u1": ["a", "b"], "u3": ["x", "y", "z"]}


def test_prefixes_tell_sources_apart(tmp_path: Path, event_log: EventLog) -> None:
    mapping = ColumnMapping(user="user", item="item", user_prefix="a-", item_prefix="b-")

    run_import(event_log, source(tmp_path, "user,item\n1,2\n"), mapping)

    (event,) = all_events(event_log)
    assert (event.user, event.item) == ("a-1", "b-2")


@pytest.mark.parametrize("number", [str(1 << 63), str(-(1 << 63)), "9" * 5_000, "1.5", ""])
def test_an_order_that_is_no_number_of_63_bits_is_a_bad_line(
    tmp_path: Path, event_log: EventLog, number: str
) -> None:
    path = tmp_path / "orders.csv"
    path.write_text(f"who,sku,nr\nu,a,2\nu,b,{number}\nu,c,{(1 << 63) - 1}\n")
    mapping = ColumnMapping(user="who", item="sku", order="nr")

    report = import_events(event_log, Source(path), mapping, at_ms=0)

    assert (report.imported, [each.line for each in report.problems]) == (2, [3])
    assert "as order" in report.problems[0].reason


def test_rows_without_a_time_keep_their_order(tmp_path: Path, event_log: EventLog) -> None:
    text = "user,item\n" + "".join(f"u1,p{n}\n" for n in range(20))

    run_import(event_log, source(tmp_path, text), ColumnMapping(user="user", item="item"))

    events = all_events(event_log)
    assert [event.item for event in events] == [f"p{n}" for n in range(20)]
    assert events[0].ts is not None
    assert timestamp_ms(events[0].ts) == AT_MS


def test_another_form_of_time_can_be_named(tmp_path: Path, event_log: EventLog) -> None:
    mapping = ColumnMapping(user="user", item="item", time="at", time_format="%d.%m.%Y")

    run_import(event_log, source(tmp_path, "user,item,at\nu,p,14.12.2009\n"), mapping)

    (event,) = all_events(event_log)
    assert event.ts is not None
    assert event.ts.isoformat() == "2009-12-14T00:00:00+00:00"


def test_bad_lines_are_counted_and_the_first_are_shown(tmp_path: Path, event_log: EventLog) -> None:
    report = run_import(event_log, source(tmp_path, BAD), RATINGS)

    assert sorted(event.item or "" for event in all_events(event_log)) == ["p1", "p7"]
    assert report.rejected == 6
    assert [problem.line for problem in report.problems] == [3, 4, 5, 6, 7]
    reasons = [problem.reason for problem in report.problems]
    assert "number" in reasons[0]
    assert "0 to 5" in reasons[1]
    assert "user" in reasons[2]
    assert "time" in reasons[3]
    assert "columns" in reasons[4]


def test_bytes_that_are_no_text_are_a_bad_line(tmp_path: Path, event_log: EventLog) -> None:
    path = tmp_path / "r.csv"
    path.write_bytes(b"user,item\nu1,\xff\nu1,p1\n")

    report = run_import(event_log, Source(path), ColumnMapping(user="user", item="item"))

    assert (report.read, report.rejected) == (1, 1)


def test_strict_stops_at_the_first_bad_line_and_appends_nothing(
    tmp_path: Path, event_log: EventLog
) -> None:
    with pytest.raises(InvalidInput, match=r"ratings\.csv, line 3: .*many"):
        run_import(event_log, source(tmp_path, BAD), RATINGS, strict=True)

    assert all_events(event_log) == []


def test_a_file_without_any_event_says_why(tmp_path: Path, event_log: EventLog) -> None:
    with pytest.raises(InvalidInput, match=r"no line .* could be read .* line 2: .*time"):
        run_import(event_log, source(tmp_path, "user,item,stars,at\nu,p,4,then\n"), RATINGS)


def test_a_missing_column_is_named_with_those_there_are(
    tmp_path: Path, event_log: EventLog
) -> None:
    with pytest.raises(InvalidInput, match=r"--item .*'item'.*its columns: user, product"):
        run_import(event_log, source(tmp_path, "user,product\nu,p\n"), RATINGS)


def test_a_file_that_is_cut_off_is_named_and_nothing_is_appended(
    tmp_path: Path, event_log: EventLog
) -> None:
    text = "user,item,stars,at\n" + "u1,p1,4,100\n" * 50_000
    path = tmp_path / "r.csv.gz"
    path.write_bytes(gzip.compress(text.encode())[:-20])

    with pytest.raises(InvalidInput, match=r"r\.csv\.gz is cut off"):
        run_import(event_log, Source(path), RATINGS)

    assert all_events(event_log) == []


def test_a_json_array_is_refused_with_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="jq"):
        source(tmp_path, '[{"user":"u"}]', "r.json")


rows = st.lists(
    st.tuples(st.integers(0, 9), st.integers(0, 9), st.integers(0, 50)), min_size=1, max_size=60
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=25)
@given(rows)
def test_each_partition_gets_its_users_events_in_time_order(
    tmp_path_factory: pytest.TempPathFactory, made: list[tuple[int, int, int]]
) -> None:
    folder = tmp_path_factory.mktemp("log")
    event_log = open_log(f"embedded://{folder}/log.db")
    event_log.create_topics(topic_specs(PARTITIONS))
    text = "user,item,stars,at\n" + "".join(f"u{u},p{p},3,{at}\n" for u, p, at in made)

    run_import(event_log, source(folder, text), RATINGS)

    partitions = events_of(event_log)
    event_log.close()
    for partition, events in enumerate(partitions):
        assert all(partition_for(e.user.encode(), PARTITIONS) == partition for e in events)
        times = [event.ts for event in events if event.ts is not None]
        assert times == sorted(times)
    got = sorted((e.user, e.item) for events in partitions for e in events)
    assert got == sorted((f"u{u}", f"p{p}") for u, p, _ in made)
