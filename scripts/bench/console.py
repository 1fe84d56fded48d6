"""The shop and the console with 100,000 products and a million events: seconds until a page shows its data.

Imports what it makes up into `recstream up` in a folder of its own (two minutes), then opens each page in
Chromium. Exits with 1 if the shop's first list takes longer than a second. ::

    python scripts/bench/console.py
    python scripts/bench/console.py --products 1000 --events 20000
    python scripts/bench/console.py --data-dir DIR          # keeps the imported log for the next run
    python scripts/bench/console.py --data-dir DIR --save   # again: measures the restart too
"""

import argparse
import json
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from freshness import fetch, recstream, roles, wait_for
from results import Row, save

sys.path.insert(0, str(Path(__file__).parents[2]))
from tests.conftest import CHROMIUM, CHROMIUM_FLAGS

FIRST_LIST_S = 1.0
SHOWN = "() => !document.querySelector('.state')?.textContent.includes('Loading')"
PAGES = {
    "the shop's first list": ("/", ".place-open"),
    "the shop of a known user": ("/?user=u7", ".because .mini"),
    "a search for products": ("/?q=copper", ".card-open"),
    "the catalogue": ("/items", ".grid-row"),
    "an item": ("/items/sku-5", ".similar-row"),
    "users": ("/users", ".grid-row"),
    "a user": ("/users/u7", ".track-mark"),
    "the log": ("/log", "[data-topic]"),
    "records of the log": ("/log/recstream.interactions", ".grid-row"),
    "a user's records": ("/log/recstream.interactions?user=u7", ".grid-row"),
    "models": ("/models", ".compare"),
}
WORDS = [
    "oak",
    "steel",
    "linen",
    "amber",
    "quiet",
    "river",
    "cloud",
    "stone",
    "copper",
    "silver",
    "maple",
    "alpine",
]


def products(n: int) -> Iterator[dict[str, Any]]:
    """Yield products with titles of a few words."""
    random_ = random.Random(1)
    for at in range(n):
        yield {
            "item": f"sku-{at}",
            "title": f"{' '.join(random_.sample(WORDS, 3))} no. {at}",
            "category": f"Department {at % 12} > Shelf {at % 240}",
            "brand": f"Brand {at % 500}",
            "price": round(random_.uniform(2, 300), 2),
        }


def events(n: int, n_products: int) -> Iterator[dict[str, Any]]:
    """Yield views, most of them of few products; each user has a department."""
    random_ = random.Random(2)
    for at in range(n):
        user = random_.randrange(max(8, n // 33))
        item = 12 * int(n_products / 12 * random_.random() ** 3) + user % 12
        yield {"user": f"u{user}", "item": f"sku-{item}", "at": 1_700_000_000 + 20 * at}


def fill(folder: Path, n_products: int, n_events: int) -> None:
    """Import products and events."""
    columns = ["--user", "user", "--item", "item", "--time", "at", "--type", "view"]
    parts = {
        "products": (products(n_products), []),
        "events": (events(n_events, n_products), columns),
    }
    for what, (rows, options) in parts.items():
        file = folder / f"{what}.jsonl"
        with file.open("w") as out:
            out.writelines(json.dumps(row) + "\n" for row in rows)
        command = recstream("import", what, str(file), *options, "--data-dir", str(folder))
        subprocess.run(command, check=True)  # noqa: S603 - our own command


def seconds_of(page: Any, url: str, selector: str) -> float:
    """Return the seconds until a page shows what is waited for."""
    started_s = time.perf_counter()
    page.goto(url)
    page.locator(selector).first.wait_for()
    page.wait_for_function(SHOWN)
    return time.perf_counter() - started_s


def main() -> None:
    """Measure and print."""
    from playwright.sync_api import sync_playwright  # noqa: PLC0415 - of the group browser

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--products", type=int, default=100_000)
    parser.add_argument("--events", type=int, default=1_000_000)
    parser.add_argument("--data-dir", type=Path)
    parser.add_argument("--save", action="store_true", help="write docs/benchmarks/console.json")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = options.data_dir or Path(scratch)
        is_new = not (folder / "log.db").exists()
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "bridge.json").unlink(missing_ok=True)
        started_s = time.perf_counter()
        took: dict[str, float] = {}
        with roles(folder) as (url, _), sync_playwright() as playwright:
            if is_new:
                fill(folder, options.products, options.events)
            if not is_new:
                wait_for(lambda: fetch(f"{url}/health/ready?role=bridge"))
                took["lists after a restart"] = time.perf_counter() - started_s
            wait_for(lambda: fetch(f"{url}/v1/pipeline"), lambda found: not found.get("lag", 0))
            wait_for(lambda: fetch(f"{url}/v1/popular?n=1")["items"])
            browser = playwright.chromium.launch(executable_path=CHROMIUM, args=CHROMIUM_FLAGS)
            page = browser.new_page(viewport={"width": 1440, "height": 900})
            page.set_default_timeout(60_000)
            for name, (path, selector) in PAGES.items():
                took[name] = min(seconds_of(page, url + path, selector) for _ in range(3))
            browser.close()
    for name, seconds in took.items():
        print(f"{seconds:6.2f} s  {name}")
    if options.save:
        what = "Seconds until it is shown, the best of three loads: {}."
        rows = [
            Row(
                round(seconds, 2),
                "s",
                "From `recstream up` until the bridge is ready and makes lists, without a trained generation."
                if name == "lists after a restart"
                else what.format(name),
            )
            for name, seconds in took.items()
        ]
        title = f"Console: {options.products:,} products, {options.events:,} events"
        print(save("console", title, rows))
    if took["the shop's first list"] > FIRST_LIST_S:
        sys.exit(f"the first list took longer than {FIRST_LIST_S:g} s")


if __name__ == "__main__":
    main()
