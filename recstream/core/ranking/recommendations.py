"""The body of a published list, made from a ranked list and what it was made from."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from recstream.core.generation import Generation
from recstream.core.history import ActiveSettings, History
from recstream.core.ranking.rank import Ranked, describe
from recstream.core.records import AsOf, Lineage, Recommendations


def recommendations(
    ranked: Ranked,
    history: History,
    generation: Generation,
    adopted: ActiveSettings,
    partition: int,
    before: Sequence[str],
    *,
    is_refresh: bool = False,
    lineage: Lineage | None = None,
) -> Recommendations:
    """Return the list as a record.

    Parameters
    ----------
    ranked : Ranked
        The user's list, as rows of the generation.
    history : History
        The history that it was ranked from.
    generation : Generation
    adopted : ActiveSettings
        The rules in force for the history's partition.
    partition : int
        Of the interactions topic.
    before : sequence of str
        Items of the user's previous list, best first.
    is_refresh : bool
        Whether no event of the user asked for the list.
    lineage : Lineage, optional
        When the list was made. The log does not determine it, so a list that is derived again has
        none.
    """
    return Recommendations(
        rec_id=rec_id(history.user, partition, history.offset, generation, adopted),
        user=history.user,
        generation=generation.number,
        delta=generation.delta,
        control=adopted.control,
        arm=ranked.arm,
        as_of=AsOf(partition=partition, offset=history.offset),
        source="refresh" if is_refresh and ranked.is_personal else ranked.source,
        items=describe(ranked, history, generation, before),
        lineage=lineage or Lineage(),
    )


def rec_id(
    user: str, partition: int, offset: int, generation: Generation, adopted: ActiveSettings
) -> str:
    """Return the id of a list: the same for the same list, made again."""
    origin = (
        f"{user}\0{partition}\0{offset}\0{generation.number}\0{generation.delta}\0{adopted.control}"
    )
    return "r-" + hashlib.blake2b(origin.encode(), digest_size=8).hexdigest()
