"""`recstream explain` and `why-not`: contributions to a score, and why an item is not listed."""

from itertools import zip_longest
from typing import Any

import click

from recstream.cli.open import time_travel
from recstream.cli.options import json_option, say, settings_options, table, user_argument
from recstream.core.ranking import Explanation
from recstream.settings import Settings
from recstream.time_travel import Moment, moment

MAX_SHOWN = 10
_COLUMNS = ("part", "because of", "event", "offset", "events")


@click.command()
@user_argument
@click.argument("item")
@click.option("--as-of", "as_of", metavar="OFFSET|TIME", help="At a past moment.")
@settings_options()
@json_option
def explain(settings: Settings, user: str, item: str, as_of: str | None, as_json: bool) -> None:
    """Show the contributions to the score of ITEM for USER: each history entry, and its event.

    The contributions, the item's popularity and the boosts of rules sum to the score.

    \b
    Examples:
      recstream explain u42 p9
      recstream explain u42 p9 --as-of 2026-11-22T10:42:00Z --json
    """
    explanation = _explain(settings, user, item, as_of)
    parts: list[tuple[Any, ...]] = [
        (part.score, part.item, part.event, part.offset, part.n_events)
        for part in explanation.because[:MAX_SHOWN]
    ]
    if rest := explanation.because[MAX_SHOWN:]:
        parts.append((sum(part.score for part in rest), f"{len(rest)} other items"))
    parts.append((explanation.prior, "recent popularity"))
    parts += [(boost.score, f"rule {boost.rule!r}") for boost in explanation.boosts]
    rows = [
        dict(zip_longest(_COLUMNS, (f"{score:+.4f}", *more), fillvalue=""))
        for score, *more in parts
    ]
    say(explanation, f"{_verdict(explanation)}\n{table(rows)}", as_json=as_json)


@click.command("why-not")
@user_argument
@click.argument("item")
@click.option("--as-of", "as_of", metavar="OFFSET|TIME", help="At a past moment.")
@settings_options()
@json_option
def why_not(settings: Settings, user: str, item: str, as_of: str | None, as_json: bool) -> None:
    """Say why ITEM is not in the list of USER: seen, excluded by a rule, or how far below the cut.

    \b
    Examples:
      recstream why-not u42 p9
      recstream why-not u42 p9 --as-of 1200
    """
    explanation = _explain(settings, user, item, as_of)
    say(explanation, _verdict(explanation), as_json=as_json)


def _explain(settings: Settings, user: str, item: str, as_of: str | None) -> Explanation:
    with time_travel(settings) as travel:
        return travel.explain(user, item, Moment() if as_of is None else moment(as_of))


def _verdict(explained: Explanation) -> str:
    score = (
        f"score {explained.score:.4f} (generation {explained.generation}, delta {explained.delta})"
    )
    item, user = explained.item, explained.user
    if explained.verdict == "below-the-cut":
        return (
            f"{item} is number {explained.rank} for {user}: {score} is {explained.missing:.4f} below "
            f"the cut at {explained.cut:.4f}"
        )
    sentences = {
        "seen": f"{item} is in the history of {user}, and seen items are not listed again",
        "listed": f"{item} is number {explained.rank} of the list of {user}",
        "pinned": f"{item} is number {explained.rank} of the list of {user}, pinned by rule {explained.rule!r}",
        "withdrawn": f"{item} is out of stock, not in its time, or withdrawn from the catalogue",
        "excluded": f"{item} is excluded by rule {explained.rule!r}",
        "rotated": f"{item} is cooling down: it was shown to {user} often and ignored",
        "below-min-relevance": f"{item} is below the minimum score for {user}",
        "diversified": f"{item} was replaced by a less similar item in the list of {user} (diversity)",
        "newcomer": f"{item} is number {explained.rank} of the list of {user}, in a slot for cold items",
        "made-way": f"{item} gave its place to a cold item in the list of {user}",
    }
    return f"{sentences[explained.verdict]}: {score}"
