"""`recstream replay` and `export`: derive state again from the log; write a part to a file."""

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path

import click
from rich.console import Console
from rich.progress import Progress as Bars
from rich.progress import SpinnerColumn, TextColumn, TimeElapsedColumn

from recstream.analysis import Slice, parse_ranges
from recstream.analysis import export as write_slice
from recstream.checkpoints import Checkpoints, audit_horizon, open_checkpoints
from recstream.cli.log.records import record_line
from recstream.cli.open import open_existing, time_travel
from recstream.cli.options import (
    is_terminal,
    json_option,
    say,
    settings_options,
    table,
    user_option,
)
from recstream.control import read_timeline
from recstream.errors import RecstreamError
from recstream.log import ReadableLog, histories_changelog
from recstream.models import ReadableStore, open_store
from recstream.replay import Progress, ReplayPlan, Report, play
from recstream.replay import replay as run_replay
from recstream.settings import Settings
from recstream.time_travel import PartitionFold, nearest_fold

SPEEDS = {"1x": 1.0, "10x": 10.0, "100x": 100.0}


class DifferencesFoundError(RecstreamError):
    """A replay derived other bytes than were published."""


@click.command()
@click.argument("file", required=False, type=click.Path(exists=True, path_type=Path))
@click.option(
    "--from", "start", metavar="OFFSET|TIME", help="First event whose lists are compared."
)
@click.option("--to", "stop", metavar="OFFSET|TIME", help="Stop before this event.")
@user_option("Compare only this user's lists.")
@click.option(
    "--speed",
    type=click.Choice(["max", *SPEEDS]),
    default="max",
    help="max: without pauses; else show events and lists at their original pace, times this.",
)
@click.option(
    "--into",
    type=click.Path(path_type=Path, file_okay=False),
    help="Write the state to this folder.",
)
@click.option("--verify", is_flag=True, help="Compare every list and history, byte for byte.")
@click.option("--retrain", is_flag=True, help="Train every generation again and compare digests.")
@click.option("--evaluate", is_flag=True, help="Score the lists by the events after them.")
@click.option("--every", type=click.IntRange(min=1), default=1, help="Compare one list of so many.")
@settings_options()
@json_option
def replay(
    settings: Settings,
    file: Path | None,
    start: str | None,
    stop: str | None,
    user: str | None,
    speed: str,
    into: Path | None,
    verify: bool,
    retrain: bool,
    evaluate: bool,
    every: int,
    as_json: bool,
) -> None:
    """Derive state from the log alone; with --verify every list, with --retrain every model.

    Without FILE the installation's own log is read; nothing in it changes. FILE is a file written
    by `recstream export`. If one byte differs, the command shows the first difference and exits
    with 1.

    \b
    Examples:
      recstream replay --verify
      recstream replay --verify --retrain --json
      recstream replay --from 2026-11-22T10:00:00Z --to 2026-11-22T11:00:00Z --speed 10x
      recstream replay bug.zip --verify
    """
    with contextlib.ExitStack() as stack:
        if file is None:
            store: ReadableStore = open_store(settings.models_url)
            opened = stack.enter_context(contextlib.closing(open_existing(settings)))
            log: ReadableLog = opened
            checkpoints: Checkpoints | None = open_checkpoints(opened, settings)
            part = None
        else:
            log = store = part = Slice(file)
            checkpoints = None
        ranges = parse_ranges(log, start, stop, checkpoints=checkpoints)
        timeline = read_timeline(log)

        def fold_at(partition: int) -> PartitionFold:
            """Return a partition's state to start from: a slice's or the nearest checkpoint's."""
            if part is not None:
                return part.fold(partition)
            offset = ranges[partition][0]
            if retrain and checkpoints is not None:  # every generation that can be derived
                offset = audit_horizon(checkpoints, partition)
            return nearest_fold(checkpoints, log, partition, timeline, offset)

        if speed != "max":
            for record in play(log, ranges, speed=SPEEDS[speed], sleep=time.sleep):
                if user is None or record.key in {user.encode(), None}:
                    click.echo(record_line(record, as_json=as_json))
            return
        plan = ReplayPlan(
            ranges=ranges,
            user=user,
            verify=verify,
            retrain=retrain,
            every=every,
            changelog=None if part is not None else histories_changelog(settings.app_id),
            into=into,
            evaluate=evaluate,
        )
        with _progress() as progress:
            report = run_replay(log, store, plan, fold_at=fold_at, progress=progress)
    say(report, _describe(report, verify=verify), as_json=as_json)
    if not report.is_identical:
        raise DifferencesFoundError(_first_difference(report))


def _describe(report: Report, *, verify: bool) -> str:
    rows = [
        {
            "partition": each.partition,
            "from": each.start,
            "to": each.stop,
            "events": f"{each.events:,}",
            "users": f"{each.users:,}",
            "lists": f"{each.lists:,}" if verify else "-",
            "histories": f"{each.histories:,}" if each.histories >= 0 else "-",
            "differ": len(each.differences),
            "digest": each.digest,
        }
        for each in report.partitions
    ]
    generations = [
        {
            "generation": each.number,
            "announced": each.announced,
            "trained again": each.derived,
            "": each.why or ("identical" if each.is_identical else "DIFFERS"),
        }
        for each in report.generations
    ]
    scores = [
        {
            "predicted by lists of": name,
            "events": f"{score.events:,}",
            **{f"hit@{cut}": f"{share:.4f}" for cut, share in score.hits.items()},
            "MRR": f"{score.mrr:.4f}",
        }
        for name, score in report.scores.items()
    ]
    clicks = [
        {
            "taken from lists of": name,
            "shown": f"{each.shown:,}",
            "taken": f"{each.clicked:,}",
            "click-through": f"{each.clicked / max(1, each.shown):.4f}",
        }
        for name, each in report.clicks.items()
        if any(one.shown for one in report.clicks.values())
    ]
    lines = [f"log {report.epoch}", table(rows)]
    lines += [table(part) for part in (generations, scores, clicks) if part]
    if verify:
        n_lists = sum(each.lists for each in report.partitions)
        found = [each for one in report.partitions for each in one.differences]
        # Reports keep only the first differences of a partition.
        is_gone = bool(found) and not any(each.published or each.derived for each in found)
        verdict = "not all can be derived" if is_gone else "NOT identical"
        if report.is_identical:
            verdict = "identical, byte for byte" if n_lists else "no list to compare"
        lines.append(f"{n_lists:,} lists derived again: {verdict}")
    return "\n".join(lines)


def _first_difference(report: Report) -> str:
    for each in report.partitions:
        for found in each.differences:
            if not found.published and not found.derived:
                return (
                    f"the list of {found.user!r} in partition {found.partition}, offset "
                    f"{found.offset} can't be derived again: {found.what}"
                )
            return (
                f"{found.what} differs for user {found.user!r}, partition {found.partition}, "
                f"offset {found.offset}\n  published: {found.published}\n"
                f"  derived:   {found.derived}"
            )
    for generation in report.generations:
        if not generation.is_identical:
            return (
                f"generation {generation.number} was announced with digest {generation.announced}, "
                f"trained again it has {generation.derived}; was it trained on another kind of "
                "processor, or with another thread count?"
            )
    return "something differs"


@contextlib.contextmanager
def _progress() -> Iterator[Progress]:
    """Count events, lists and generations on a terminal; silent elsewhere."""
    if not is_terminal():
        yield lambda *_: None
        return

    bars = Bars(
        SpinnerColumn(),
        TextColumn("{task.description:<12}{task.completed:>12,.0f}"),
        TextColumn("{task.speed:>12,.0f}/s"),
        TimeElapsedColumn(),
        console=Console(stderr=True),
        transient=True,
    )
    with bars:
        tasks = {
            what: bars.add_task(what, total=None, start=True)
            for what in ("events", "lists", "generations")
        }
        yield lambda what, n: bars.advance(tasks[what], n)


@click.command()
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--from", "start", metavar="OFFSET|TIME", help="First event.")
@click.option("--to", "stop", metavar="OFFSET|TIME", help="Stop before this event.")
@user_option("Only this user's events; those of other users are blanked.")
@settings_options()
@json_option
def export(
    settings: Settings,
    file: Path,
    start: str | None,
    stop: str | None,
    user: str | None,
    as_json: bool,
) -> None:
    """Write events, the lists made from them, and the models they name to FILE, for a bug report.

    The file has what is needed to derive its lists again, and nothing else of the log.

    \b
    Examples:
      recstream export bug.zip --user u42
      recstream export morning.zip --from 2026-11-22T06:00:00Z --to 2026-11-22T12:00:00Z
    """
    if file.is_dir() or not file.parent.is_dir():
        raise click.BadParameter(f"expected a file in a folder that exists, got {str(file)!r}")
    with time_travel(settings) as travel:
        manifest = write_slice(
            travel.log,
            open_store(settings.models_url),
            travel.snapshots,
            parse_ranges(travel.log, start, stop, checkpoints=travel.snapshots.checkpoints),
            file,
            user=user,
        )
    text = (
        f"{file}: {manifest.n_records:,} records, {len(manifest.models)} generations, "
        f"{file.stat().st_size:,} bytes; `recstream replay {file} --verify` derives its lists again"
    )
    say(manifest, text, as_json=as_json)
