"""`recstream log create` and `recstream import products`, as people type them."""

import json
from pathlib import Path

import pytest

from recstream.cli import run
from recstream.log import open_log
from recstream.log.topics import CATALOGUE, INTERACTIONS, MODELS, histories_changelog


@pytest.fixture
def given(tmp_path: Path) -> list[str]:
    return ["--data-dir", str(tmp_path / "data"), "--set", "partitions=3"]


def test_log_create_makes_every_topic_with_its_partitions_and_does_so_once(
    given: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["log", "create", *given, "--json"]) == 0
    made = json.loads(capsys.readouterr().out)

    assert made[INTERACTIONS] == made[histories_changelog("recstream-worker")] == 3
    assert made[MODELS] == made[CATALOGUE] == 1
    assert run(["log", "create", *given]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "partitions of each topic:",
        *(f"{count:>4} {name}" for name, count in made.items()),
    ]


def test_log_create_refuses_another_partition_count(
    given: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    run(["log", "create", *given])

    assert run(["log", "create", *given[:2], "--set", "partitions=4"]) == 1
    assert "partitions" in capsys.readouterr().err


def test_import_products_fills_the_catalogue_once_and_reports_what_it_left_out(
    given: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "goods.tsv"
    file.write_text(
        "nr\tlabel\tprice\nA\tSalt &amp; Pepper\t$4.50\nB\t\t1\nA\tTwice\t2\nC\tMug\t\n"
    )
    command = ["import", "products", str(file), "--column", "item=nr", "--column", "title=label"]

    assert run([*command, *given, "--json"]) == 0
    report = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (report["rows"], report["imported"], report["already"]) == (4, 2, 0)
    assert report["dropped"] == {"no title": 1, "id was there before": 1}

    assert run([*command, *given]) == 0
    assert "2 had been imported before" in capsys.readouterr().out
    log = open_log(f"embedded://{given[1]}/log.db")
    items = [json.loads(record.value or b"") for record in log.read(CATALOGUE, 0, 0)]
    log.close()
    assert [(item["item"], item["title"]) for item in items] == [
        ("A", "Salt & Pepper"),
        ("C", "Mug"),
    ]


def test_import_products_withdraws_what_a_feed_lacks_and_asks_where_it_is_most(
    given: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "feed.csv"
    command = ["import", "products", str(file), "--withdraw-missing", *given]
    file.write_text("id,title\nA,Mug\nB,Tent\nC,Lute\n")
    assert run(command) == 0
    assert "withdrawn" not in capsys.readouterr().out

    file.write_text("id,title\nA,Mug\n")
    assert run(command) == 1
    assert "lacks 2 of the 3 products" in capsys.readouterr().err
    assert run([*command, "--yes"]) == 0
    assert "2 withdrawn: the file lacks them" in capsys.readouterr().out


def test_import_products_names_a_column_that_is_not_there(
    given: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "goods.csv"
    file.write_text("nr,label\nA,Mug\n")

    assert run(["import", "products", str(file), "--column", "item=sku", *given]) == 1
    assert "sku" in capsys.readouterr().err


def test_a_column_that_is_not_read_is_named_though_every_field_has_one(
    given: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "goods.csv"
    fields = "item,title,category,brand,price,description,image,available"
    file.write_text(f"{fields},Farbe\nA,Mug,Cups,Acme,1,A mug,,yes,red\n")

    assert run(["import", "products", str(file), *given]) == 0

    assert "not read: Farbe; name columns with --column" in capsys.readouterr().out
