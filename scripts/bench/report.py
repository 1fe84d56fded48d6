"""Make docs/benchmarks.md, and the README's figures, from the result files in docs/benchmarks/.

::

    python scripts/bench/report.py           # writes both
    python scripts/bench/report.py --check   # exits with 1 if one is out of date
"""

import argparse
import json
import re
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

from results import FOLDER, ROOT

PAGE = FOLDER.with_suffix(".md")
ORDER = [
    "freshness", "ingest", "log", "replay", "upserts", "als_speed", "time_to_quality", "foldin",
    "top_n", "steering", "prequential", "sessions", "hybrid",
]  # fmt: skip
"""Scenarios in the order of the page; others follow by name. ``NAME-busy`` follows ``NAME``."""
README = ROOT / "README.md"
FIGURES = [
    ("freshness", 0), ("ingest", 0), ("ingest", 2), ("als_speed", 0), ("als_speed", 2), ("top_n", 0),
    ("prequential", 0), ("prequential", 2),
]  # fmt: skip
"""The README's figures: scenario and row; eight at most."""
BETWEEN = re.compile(r"(<!-- figures -->\n).*?(<!-- /figures -->)", re.DOTALL)
INTRO = """# Benchmarks

This page is made by `scripts/bench/report.py` from the result files in `docs/benchmarks/`. Each file holds one run: numbers, machine, commit, date and the peers measured in the same run. To measure again, run the command with `--save`, then `scripts/bench/report.py`.

Compare only numbers of one table: other runs had another machine load. A table marked *older* was measured before result files existed; its numbers were copied from the documentation of that commit.
"""


def number(value: float) -> str:
    """Return a number with about three significant digits.

    >>> [number(value) for value in (1002.4, 0.0621, 98765.0, 4.0)]
    ['1,002', '0.062', '98,800', '4']
    """
    if abs(value) >= 10_000:
        return f"{round(value, -len(str(int(abs(value)))) + 3):,.0f}"
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{float(f'{value:.3g}'):g}"


def section(result: dict[str, Any]) -> str:
    """Return a scenario's heading, origin and table."""
    load = f", load average {result['load']}" if result.get("load") is not None else ""
    older = " *Older.*" if result.get("older") else ""
    note = f" {result['note']}" if result.get("note") else ""
    rows = "\n".join(
        f"| **{number(row['value'])}** {row['unit']} | {row['what']} |" for row in result["rows"]
    )
    return (
        f"## {result['title']}\n\n{result['date']}, commit {result['commit']}, {result['machine']}"
        f"{load}; `{result['command']}`.{older}{note}\n\n| number | what it is |\n|---|---|\n{rows}\n"
    )


def page() -> str:
    """Return the whole page."""
    files = {path.stem: path for path in FOLDER.glob("*.json")}
    places = {name: place for place, name in enumerate(ORDER)}
    names = sorted(files, key=lambda name: (places.get(name.split("-")[0], len(ORDER)), name))
    return "\n".join([INTRO, *(section(json.loads(files[name].read_text())) for name in names)])


def readme() -> str:
    """Return the README with the newest figures."""
    rows = []
    for name, place in FIGURES:
        result = json.loads((FOLDER / f"{name}.json").read_text())
        row = result["rows"][place]
        rows.append(
            f"| **{number(row['value'])}** {row['unit']} | {row['what']} | {result['date']} |"
        )
    table = "\n".join(["| number | what it is | date |", "|---|---|---|", *rows])
    return BETWEEN.sub(lambda found: f"{found[1]}\n{table}\n\n{found[2]}", README.read_text())


def main() -> None:
    """Write the page and the figures, or compare them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true")
    is_checked = parser.parse_args().check
    for path, text in ((PAGE, page()), (README, readme())):
        if not is_checked:
            path.write_text(text)
        elif path.read_text() != text:
            sys.exit(f"{path.name} is out of date; run python scripts/bench/report.py")


if __name__ == "__main__":
    main()
