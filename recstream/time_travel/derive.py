"""Derive lists again from histories and a generation."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from recstream.core.generation import Generation
from recstream.core.history import ActiveSettings, History
from recstream.core.ranking import Ranked, rank, recommendations
from recstream.core.records import Recommendations


def derive(
    histories: Sequence[History],
    generation: Generation,
    adopted: ActiveSettings,
    partition: int,
    now_ms: int,
) -> Iterator[Callable[[Sequence[str]], Recommendations]]:
    """Yield, for each history, a function of the previous list that derives the list.

    ``now_ms`` is the time that the published lists name. The lineage stays empty: its times are not derived from the log.
    """
    ranked = rank(
        histories,
        generation,
        adopted.list_size,
        adopted.fold_settings.half_life_ms,
        steering=adopted.steering,
        now_ms=now_ms,
    )
    for history, found in zip(histories, ranked, strict=True):

        def make(
            before: Sequence[str], history: History = history, found: Ranked = found
        ) -> Recommendations:
            return recommendations(found, history, generation, adopted, partition, before)

        yield make
