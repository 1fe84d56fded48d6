"""Product feeds and exports of shops become products."""

import gzip
import json
import re
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from recstream.errors import InvalidInput
from recstream.importers.files import to_json_lines
from recstream.importers.files.file import InputFile
from recstream.importers.files.formats import is_feed
from recstream.log import CATALOGUE, open_log, read_records

FEEDS = {
    "rss": """<?xml version="1.0"?>
<rss xmlns:g="http://base.google.com/ns/1.0" version="2.0"><channel><title>Shop</title>
<item><g:id>TV_1</g:id><g:title>LG 22" TV</g:title><g:price>159.00 USD</g:price>
<g:product_type>Electronics &gt; TVs</g:product_type><g:brand>LG</g:brand></item>
</channel></rss>""",
    "atom": """<?xml version="1.0" encoding="UTF-8"?>
<feed xmlns="http://www.w3.org/2005/Atom" xmlns:g="http://base.google.com/ns/1.0">
<entry><g:id>TV_1</g:id><title>LG 22" TV</title><g:price>159.00 USD</g:price>
<g:product_type>Electronics &gt; TVs</g:product_type><g:brand>LG</g:brand></entry></feed>""",
}


FEEDS["utf-16"] = "\ufeff" + FEEDS["rss"].replace("?>", ' encoding="utf-16"?>')
FEEDS["with a doctype"] = FEEDS["rss"].replace("<rss ", '<!DOCTYPE rss [<!ENTITY a "b">]>\n<rss ')


def test_a_file_of_comments_is_told_from_a_feed_at_once() -> None:
    comments = b"<!---->" * 2_000

    assert is_feed(comments + b"<!-- a > b --> <rss>")
    assert not is_feed(comments + b"<html>")


@pytest.mark.parametrize("kind", FEEDS)
def test_a_product_feed_becomes_products(
    kind: str, run: Callable[..., Any], tmp_path: Path
) -> None:
    encoding = "utf-16-le" if kind == "utf-16" else "utf-8"
    (tmp_path / "feed.xml").write_text(FEEDS[kind], encoding=encoding)
    result = run("import", "products", str(tmp_path / "feed.xml"))
    assert result.exit_code == 0, result.output
    with closing(open_log(f"embedded://{tmp_path}/data/log.db")) as event_log:
        (record,) = [
            each for each in read_records(event_log, CATALOGUE, 0) if each.value is not None
        ]
    item = json.loads(record.value or b"")
    assert (item["item"], item["title"], item["price"], item["brand"]) == (
        "TV_1",
        'LG 22" TV',
        159.0,
        "LG",
    )
    assert item["category"] == "Electronics"


@pytest.mark.parametrize(
    "content",
    [
        "<rss><channel></channel></rss>",
        "<rss><item>",
        '<?xml version="1.0" encoding="klingon"?><rss><item></item></rss>',
        "<!DOCTYPE html><html></html>",
        "<?xml version='1.0'?><products><product/></products>",
    ],
)
def test_a_feed_without_products_or_cut_off_is_a_named_error(
    content: str, run: Callable[..., Any], tmp_path: Path
) -> None:
    (tmp_path / "feed.xml").write_text(content)
    result = run("import", "products", str(tmp_path / "feed.xml"))
    assert re.search("product feed|valid XML", str(result.exception))


@pytest.mark.parametrize("inside", ["<item><title>{}</title></item>", "{}", "<!--{}-->"])
def test_a_feed_is_refused_where_a_product_does_not_end(
    inside: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(to_json_lines, "MOST_PRODUCT_BYTES", 1 << 20)
    begin, end = FEEDS["rss"].split("<item>")
    text = begin + inside.format("x" * (1 << 22)) + "<item>" + end
    (tmp_path / "feed.xml").write_text(text)

    with pytest.raises(InvalidInput, match=r"feed.xml has more than 1,048,576 bytes in or before"):
        InputFile(tmp_path / "feed.xml")


def test_a_compressed_feed_is_read(run: Callable[..., Any], tmp_path: Path) -> None:
    (tmp_path / "feed.xml.gz").write_bytes(gzip.compress(FEEDS["rss"].encode()))
    result = run("import", "products", str(tmp_path / "feed.xml.gz"))
    assert json.loads(result.stdout)["imported"] == 1


def products(folder: Path) -> list[dict[str, Any]]:
    with closing(open_log(f"embedded://{folder}/data/log.db")) as event_log:
        records = list(read_records(event_log, CATALOGUE, 0))
    return [json.loads(each.value) for each in records if each.value is not None]


def test_a_feed_of_tab_separated_columns_becomes_products(
    run: Callable[..., Any], tmp_path: Path
) -> None:
    path = tmp_path / "feed.tsv"
    path.write_text(
        "id\ttitle\tdescription\tlink\timage link\tavailability\tprice\tbrand\tgoogle product category\n"
        'TV_1\tLG 22" TV\tFlat\thttps://shop.example/1\thttps://shop.example/1.png\tin_stock\t'
        "159.00 USD\tLG\tElectronics > Video > Televisions\n"
        "TV_2\tOld TV\tDeep\thttps://shop.example/2\thttps://shop.example/2.png\tout_of_stock\t"
        "9.00 USD\tLG\tElectronics > Video > Televisions\n"
    )
    result = run("import", "products", str(path))
    assert result.exit_code == 0, result.output
    first, second = products(tmp_path)
    assert {name: first[name] for name in ("item", "title", "price", "brand", "category")} == {
        "item": "TV_1",
        "title": 'LG 22" TV',
        "price": 159.0,
        "brand": "LG",
        "category": "Electronics",
    }
    assert first["image"] == "https://shop.example/1.png"
    assert (first.get("available", True), second["available"]) == (True, False)


def test_shopifys_products_have_the_ids_of_its_order_lines(
    run: Callable[..., Any], tmp_path: Path
) -> None:
    path = tmp_path / "products_export.csv"
    path.write_text(
        "Handle,Title,Body (HTML),Vendor,Product Category,Type,Tags,Published,Option1 Name,Option1 Value,"
        "Variant SKU,Variant Price,Image Src,Image Position,Status\n"
        "mask,Mask,<p>Soft</p>,Leaf,Health & Beauty > Masks,,,true,Colour,Gold,M-1,34.90,"
        "https://cdn.example/m.png,1,active\n"
        "mask,,,,,,,,,Silver,M-2,30.00,,,\n"
        "mask,,,,,,,,,,,,https://cdn.example/m2.png,2,\n"
        "soap,Soap,,Leaf,,Care,,true,Title,Default Title,S-1,9.00,,,active\n"
    )
    result = run("import", "products", str(path))
    assert result.exit_code == 0, result.output
    found = [
        (each["item"], each["title"], each.get("category"), each["brand"], each["price"])
        for each in products(tmp_path)
    ]
    assert found == [
        ("M-1", "Mask", "Health & Beauty", "Leaf", 34.9),
        ("M-2", "Mask", "Health & Beauty", "Leaf", 30.0),
        ("S-1", "Soap", "Care", "Leaf", 9.0),
    ]
    assert json.loads(result.stdout)["dropped"] == {"no id": 1}  # a row of a second image


def test_hms_articles_become_products(run: Callable[..., Any], tmp_path: Path) -> None:
    path = tmp_path / "articles.csv"
    path.write_text(
        "article_id,product_code,prod_name,product_type_no,product_type_name,product_group_name,detail_desc\n"
        "0108775015,0108775,Strap top,253,Vest top,Garment Upper body,Jersey top with narrow straps.\n"
    )
    assert run("import", "products", str(path)).exit_code == 0
    (item,) = products(tmp_path)
    assert (item["item"], item["title"], item["category"]) == (
        "0108775015",
        "Strap top",
        "Garment Upper body",
    )
