"""Evaluate published lists by the events that followed them, from the log alone."""

from bisect import bisect_left

from recstream.core.evaluation import RankHistograms, is_evaluated
from recstream.core.events import Event
from recstream.core.history import FoldSettings, History, table_rows
from recstream.core.records import decode_recommendations
from recstream.log import RECOMMENDATIONS, ReadableLog, decode_or_skip, read_records
from recstream.time_travel import Watch


class ListsByOffset:
    """All published lists of a partition, searchable by user and event offset."""

    def __init__(self, log: ReadableLog, partition: int) -> None:
        self._as_of: dict[str, list[int]] = {}
        self._lists: dict[str, list[table_rows.ListRow]] = {}
        names: dict[str, str] = {}
        for record in read_records(log, RECOMMENDATIONS, partition):
            body = decode_or_skip(record, decode_recommendations)
            if body is not None and body.as_of is not None:
                items = tuple([names.setdefault(item.item, item.item) for item in body.items])
                self._as_of.setdefault(body.user, []).append(body.as_of.offset)
                self._lists.setdefault(body.user, []).append(
                    table_rows.ListRow(body.generation, body.delta, items, body.source, body.arm)
                )

    def before(self, user: str, offset: int) -> table_rows.ListRow | None:
        """Return the newest list as of an earlier event of the user."""
        at = bisect_left(self._as_of.get(user, []), offset)
        return self._lists[user][at - 1] if at else None


def evaluation_watch(lists: ListsByOffset, scores: RankHistograms) -> Watch:
    """Return a watcher for `PartitionFold` that counts in ``scores`` how each event was predicted."""

    def watch(
        before: History, after: History, event: Event, offset: int, rules: FoldSettings
    ) -> None:
        is_counted = (
            bool(event.rec_id)
            if event.type == "impression"
            else is_evaluated(before.n_items, after.n_items, event, rules.weights)
        )
        if is_counted:
            scores.evaluate(lists.before(before.user, offset), before.n_ids, event)

    return watch
