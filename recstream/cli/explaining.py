"""`recstream explain` and `why-not`: which events a score comes from, and what keeps an item out."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from recstream.cli.options import json_option, say, settings_options, table
from recstream.settings import Settings

if TYPE_CHECKING:
    from recstream.core.ranking import Explanation

MAX_SHOWN = 10


@click.command(short_help="Show which events of a user an item's score comes from.")
@click.argument("user")
@click.argument("item")
@click.option("--as-of", "as_of", metavar="OFFSET|TIME", help="At a moment of the past.")
@settings_options()
@json_option
def explain(settings: Settings, user: str, item: str, as_of: str | None, as_json: bool) -> None:
    """Take the score of ITEM for USER apart: what each entry of the history adds, and by which event.

    The parts and the item's prior sum to the score.

    \b
    Examples:
      recstream explain u42 p9
      recstream explain u42 p9 --as-of 2026-11-22T10:42:00Z --json
    """
    told = _explained(settings, user, item, as_of)
    rows = [
        {
            "part": f"{part.score:+.4f}",
            "because of": part.item,
            "event": part.event,
            "offset": part.offset,
            "events": part.n_events,
        }
        for part in told.because[:MAX_SHOWN]
    ]
    rest = told.because[MAX_SHOWN:]
    if rest:
        rows.append(
            {
                "part": f"{sum(part.score for part in rest):+.4f}",
                "because of": f"{len(rest)} other items",
                "event": "",
                "offset": "",
                "events": "",
            }
        )
    rest_of_it = [("popular of late", told.prior)]
    rest_of_it += [(f"rule {boost.rule!r}", boost.score) for boost in told.boosts]
    rows += [
        {"part": f"{score:+.4f}", "because of": cause, "event": "", "offset": "", "events": ""}
        for cause, score in rest_of_it
    ]
    say(told, f"{_verdict(told)}\n{table(rows)}", as_json=as_json)


@click.command("why-not", short_help="Say what keeps an item out of a user's list.")
@click.argument("user")
@click.argument("item")
@click.option("--as-of", "as_of", metavar="OFFSET|TIME", help="At a moment of the past.")
@settings_options()
@json_option
def why_not(settings: Settings, user: str, item: str, as_of: str | None, as_json: bool) -> None:
    """Say why ITEM is not in the list of USER: seen, left out by a rule, or how far below the cut.

    \b
    Examples:
      recstream why-not u42 p9
      recstream why-not u42 p9 --as-of 1200
    """
    told = _explained(settings, user, item, as_of)
    say(told, _verdict(told), as_json=as_json)


def _explained(settings: Settings, user: str, item: str, as_of: str | None) -> Explanation:
    from recstream.cli.opening import time_travel
    from recstream.time_travel import Moment, moment

    with time_travel(settings) as travel:
        return travel.explain(user, item, Moment() if as_of is None else moment(as_of))


def _verdict(told: Explanation) -> str:
    score = f"score {told.score:.4f} (generation {told.generation}, delta {told.delta})"
    item, user = told.item, told.user
    if told.verdict == "below-the-cut":
        return (
            f"{item} is number {told.rank} for {user}: {score} is {told.missing:.4f} below "
            f"the cut at {told.cut:.4f}"
        )
    said = {
        "seen": f"{item} is in the history of {user}, so no list shows it again",
        "listed": f"{item} is number {told.rank} of the list of {user}",
        "pinned": f"{item} is number {told.rank} of the list of {user}, pinned by rule {told.rule!r}",
        "withdrawn": f"{item} was withdrawn from the catalogue",
        "excluded": f"{item} is excluded by rule {told.rule!r}",
        "rotated": f"{item} rests: it was shown to {user} often enough and ignored",
        "below-min-relevance": f"{item} is below the least relevance for {user}",
        "diversified": f"{item} made way for something different in the list of {user}",
        "newcomer": f"{item} is number {told.rank} of the list of {user}, on a place for newcomers",
        "made-way": f"{item} made way for what nobody has touched yet in the list of {user}",
    }
    return f"{said[told.verdict]}: {score}"
