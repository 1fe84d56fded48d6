"""Step 3 of the flow, judged: what users did is compared with the lists they had, and told."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from recstream.core.evaluation import COLD_EVENTS, Scoreboard, n_shown, rank_in
from recstream.core.events import Event
from recstream.core.history import History, ListRow
from recstream.metrics import ARM_ITEMS, ARM_RECALL, PREQUENTIAL_RECALL


class Asked(NamedTuple):
    """An event that the user's list is judged by, and the history before it."""

    before: History
    event: Event


def judge(asked: Sequence[Asked], listed: Mapping[str, ListRow], scores: Scoreboard) -> None:
    """Count how the lists that users had predicted what they did, and tell the metrics.

    Parameters
    ----------
    listed : mapping of str to ListRow
        The users' newest lists before the events.
    """
    for before, event in asked:
        row = listed.get(before.user)
        if row is None:
            continue
        if event.type == "impression":
            scores.add_shown(n_shown(event), row.arm)
            continue
        scores.add(
            rank_in(row.items, event.item),
            generation=row.generation,
            source=row.source,
            is_cold=before.n_ids < COLD_EVENTS,
            arm=row.arm,
        )
        if event.rec_id:
            scores.add_clicked(row.arm)
    if asked:
        _tell_metrics(scores)


def _tell_metrics(scores: Scoreboard) -> None:
    for name, score in scores.recent().items():
        arm = name.removeprefix("arm:")
        for cut, share in score.hits.items():
            if name == "all":
                PREQUENTIAL_RECALL.labels(cut).set(share)
            elif arm != name:
                ARM_RECALL.labels(arm, cut).set(share)
    for name, clicks in scores.clicks().items():
        if (arm := name.removeprefix("arm:")) != name:
            ARM_ITEMS.labels(arm, "shown").set(clicks.shown)
            ARM_ITEMS.labels(arm, "taken").set(clicks.clicked)
