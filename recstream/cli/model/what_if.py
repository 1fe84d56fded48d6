"""`recstream what-if`: a user's list, or a range of the log, under other rules or another model."""

from itertools import zip_longest
from pathlib import Path
from typing import Any

import click
import msgspec

from recstream.analysis import Alternative, LogWhatIf, evaluate_what_if, parse_ranges, sample_events
from recstream.analysis import what_if as derive
from recstream.cli.model.steering import read_steering
from recstream.cli.open import time_travel
from recstream.cli.options import Number, json_option, say, settings_options, table, user_argument
from recstream.control import read_timeline
from recstream.core.events import from_timestamp_ms
from recstream.errors import InvalidInput
from recstream.models import open_store
from recstream.settings import Settings
from recstream.time_travel import Generations, Moment, moment

N_BARS = 40
_steering = click.option(
    "--steering",
    "rules",
    type=click.Path(dir_okay=False, exists=True, path_type=Path),
    help="A steering document instead of the one in force.",
)
_generation = click.option(
    "--generation", type=click.IntRange(min=0), help="This generation instead."
)


@click.group("what-if")
def what_if() -> None:
    """Derive what lists would have been; nothing is published."""


@what_if.command("list", short_help="A user's list with other events, rules or another model.")
@user_argument
@click.option("--as-of", "as_of", metavar="OFFSET|TIME", help="At a past moment.")
@click.option(
    "--without",
    multiple=True,
    metavar="OFFSET",
    help="Take the event at this offset away; OFFSET.PLACE inside a batch.",
)
@click.option(
    "--add", multiple=True, metavar="TYPE:ITEM", help="Add an event, e.g. like:p9 or rate:p9:4.5."
)
@click.option("-n", "n_items", type=click.IntRange(1, 500), help="Length of the list.")
@click.option(
    "--half-life-days", type=Number(min=0, min_open=True), help="Half-life of event weights."
)
@_steering
@_generation
@settings_options()
@json_option
def list_(
    settings: Settings,
    user: str,
    as_of: str | None,
    without: tuple[str, ...],
    add: tuple[str, ...],
    n_items: int | None,
    half_life_days: float | None,
    rules: Path | None,
    generation: int | None,
    as_json: bool,
) -> None:
    """Compare the list of USER as it was with the list as it would have been.

    \b
    Examples:
      recstream what-if list u42 --without 1042
      recstream what-if list u42 --as-of 1200 --add like:p9 --generation 3
      recstream what-if list u42 --steering docs/examples/campaign.json --json
    """
    fields = {
        "without": without,
        "add": [_added(text) for text in add],
        "generation": generation,
        "half_life_days": half_life_days,
        "n": n_items,
    }
    try:
        alternative = msgspec.convert(fields, Alternative)
    except msgspec.ValidationError as error:
        raise InvalidInput(f"{error}; events to add are TYPE:ITEM like like:p9") from error
    alternative = msgspec.structs.replace(
        alternative, steering=None if rules is None else read_steering(str(rules))
    )
    with time_travel(settings) as travel:
        when = Moment() if as_of is None else moment(as_of)
        found = derive(travel, user, when, alternative)
    was = {each.item: each.rank for each in found.before.items}
    rows = [
        {
            "rank": rank,
            "was": before.item if before else "",
            "would be": after.item if after else "",
            "": "" if after is None else _moved(was.get(after.item, 0), after.rank),
        }
        for rank, (before, after) in enumerate(
            zip_longest(found.before.items, found.after.items), start=1
        )
    ]
    derived = {True: "identical to the published list", None: "nothing was published by then"}.get(
        found.is_identical, "differs from the published list"
    )
    left = ", ".join(each.item for each in found.change.left) or "none"
    text = f"{table(rows)}\nleft: {left}\nderived again: {derived}"
    if found.n_pruned:
        text += f"\n{found.n_pruned:,} events of the user were pruned; they keep their old weights"
    say(found, text, as_json=as_json)


@what_if.command("log", short_help="Replay a range with other rules or another model.")
@click.option("--from", "start", metavar="OFFSET|TIME", help="First event.  [default: the first]")
@click.option("--to", "stop", metavar="OFFSET|TIME", help="Stop before this event.")
@click.option(
    "--limit",
    type=click.IntRange(1, 100_000),
    default=5_000,
    help="Most events to compare; of more, an even sample.",
)
@click.option(
    "--plot",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Draw the hit rates into this PNG or SVG file (needs matplotlib).",
)
@_steering
@_generation
@settings_options()
@json_option
def log(
    settings: Settings,
    start: str | None,
    stop: str | None,
    limit: int,
    plot: Path | None,
    rules: Path | None,
    generation: int | None,
    as_json: bool,
) -> None:
    """Compare published lists with those that other rules or another model would have given.

    Takes the events of the range for items new to their users. Looks up each item in the list that
    the user had, and in the list under the other rules.

    \b
    Examples:
      recstream what-if log --from 2026-11-21T00:00:00Z --generation 3
      recstream what-if log --steering docs/examples/campaign.json --plot hits.svg
      recstream what-if log --generation 2 --json
    """
    document = None if rules is None else read_steering(str(rules))
    with time_travel(settings) as travel:
        ranges = parse_ranges(travel.log, start, stop)
        samples, n_found = sample_events(travel.log, travel.snapshots, ranges, limit=limit)
        found = evaluate_what_if(
            samples,
            n_found,
            Generations(travel.log, open_store(settings.models_url)),
            read_timeline(travel.log),
            steering=document,
            generation=generation,
        )
    if plot is not None:
        _draw(found, plot)
    say(found, _report(found), as_json=as_json)


def _added(text: str) -> dict[str, object]:
    kind, _, rest = text.partition(":")
    item, colon, value = rest.rpartition(":")
    if colon and kind == "rate":
        try:
            return {"type": kind, "item": item, "value": float(value)}
        except ValueError:
            raise InvalidInput(f"expected a rating like rate:p9:4.5, got {text!r}") from None
    return {"type": kind, "item": rest}


def _moved(was: int, now: int) -> str:
    return "new" if not was else "" if was == now else f"was {was}"


def _report(found: LogWhatIf) -> str:
    """Return the comparison as tables and bars of text."""
    if not found.n_events:
        return "no event of this range was for a new item of a user who had a list"
    rows = [
        {
            "": name,
            "events": found.was["all"].events,
            "was": f"{was:.4f}",
            "would be": f"{would:.4f}",
        }
        for name, was, would in [
            *(
                (f"hit@{k}", found.was["all"].hits[k], found.would["all"].hits[k])
                for k in sorted(found.was["all"].hits)
            ),
            ("MRR", found.was["all"].mrr, found.would["all"].mrr),
            ("coverage", found.coverage_was, found.coverage_would),
        ]
    ]
    notes = [
        f"{name}: {each.mean:+.4f}, 95 % interval {each.low:+.4f} to {each.high:+.4f}: "
        f"{each.verdict}"
        for name, each in (("hit@10", found.hit_10), ("MRR", found.mrr))
    ]
    notes.append(f"{found.n_changed:,} of {found.n_events:,} lists would have been different")
    if found.n_events < found.n_found:
        notes.append(f"an even sample of {found.n_found:,} events")
    if found.n_seen_by_model:
        notes.append(
            f"the other generation was trained on {found.n_seen_by_model:,} of these events, so "
            "its score is too high"
        )
    if found.n_pruned:
        notes.append(
            f"{found.n_pruned:,} events are left out: the generations of their lists were pruned"
        )
    if found.n_stale:
        notes.append(f"{found.n_stale:,} published lists are older than the range")
    most = max(max(point.was, point.would) for point in found.curve) or 1.0
    bars = [
        f"{'would' if is_other else 'was':>5} {'█' * round(N_BARS * value / most)} {value:.3f}"
        for point in found.curve
        for is_other, value in ((False, point.was), (True, point.would))
    ]
    return "\n".join([table(rows), *notes, "", "hit@10 over time:", *bars])


def _draw(found: LogWhatIf, path: Path) -> None:
    """Draw hit rates over time."""
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise InvalidInput(
            "--plot needs matplotlib; install it, or read the bars that are printed without --plot"
        ) from error
    if path.suffix not in {".png", ".svg"}:
        raise InvalidInput(f"--plot must name a .png or .svg file, got {path.name}")
    figure = Figure(figsize=(8, 4), layout="constrained")
    axes = figure.subplots()
    times: Any = [from_timestamp_ms(point.from_ts) for point in found.curve]
    axes.plot(times, [point.was for point in found.curve], marker="o", label="was")
    axes.plot(times, [point.would for point in found.curve], marker="o", label="would be")
    axes.set_ylabel("hit@10")
    axes.set_ylim(bottom=0)
    axes.legend()
    figure.autofmt_xdate()
    figure.savefig(path)
