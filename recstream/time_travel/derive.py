"""Derive lists again from histories and a generation."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple, Protocol

from recstream.core.generation import Generation
from recstream.core.history import ActiveSettings, History
from recstream.core.ranking import Ranked, encode_list, rank
from recstream.core.records import Lineage, Recommendations, decode_recommendations

_NO_LINEAGE = Lineage()


class Derived(NamedTuple):
    """A derived list: its bytes as they stand on the log."""

    value: bytes
    generation: Generation

    @property
    def body(self) -> Recommendations:
        """The list, with the texts of its reasons."""
        return self.generation.columns.with_common_features(decode_recommendations(self.value))


class Make(Protocol):
    """Derives a user's list.

    Takes the items of the user's previous list and the published list, if there is one: its lineage,
    and whether it was a refresh, are not derived from the log.
    """

    def __call__(self, before: Sequence[str], published: Recommendations | None = None) -> Derived:
        """Return the list."""


def derive(
    histories: Sequence[History],
    generation: Generation,
    active: ActiveSettings,
    partition: int,
    now_ms: int,
) -> Iterator[Make]:
    """Yield, for each history, a function that derives the list.

    Parameters
    ----------
    now_ms : int
        Time that the published lists name.
    """
    ranked = rank(
        histories,
        generation,
        active.list_size,
        active.fold_settings.half_life_ms,
        steering=active.steering,
        now_ms=now_ms,
    )
    for history, found in zip(histories, ranked, strict=True):

        def make(
            before: Sequence[str],
            published: Recommendations | None = None,
            history: History = history,
            found: Ranked = found,
        ) -> Derived:
            source, lineage = found.source, _NO_LINEAGE
            if published is not None:
                lineage = published.lineage
                if {source, published.source} == {"refresh", "fold-in"}:
                    source = published.source
            value = encode_list(
                found,
                history,
                generation,
                active,
                partition,
                before,
                source=source,
                lineage=lineage,
            )
            return Derived(value, generation)

        yield make
