"""Any generation as of any of its deltas, from the models topic and the model store."""

from recstream.core.generation import Generation
from recstream.core.records import DeltaAnnounced, GenerationAnnounced, decode_model
from recstream.errors import BeyondHorizon, ModelMismatch, NotFound
from recstream.log import MODELS, ReadableLog, Record, decode_value
from recstream.models import ReadableStore, fetch, read_models

READ_AHEAD = 64


class Generations:
    """Generations as of a delta. When they are asked for in order, each delta is applied once.

    Parameters
    ----------
    kept : int
        Generations kept in memory. Two serve comparisons of two moments.

    Attributes
    ----------
    announced : dict of int to GenerationAnnounced
        As of the newest `refresh`.
    announced_at, announced_ms : dict of int to int
        Offset and time of each announcement; retention may delete the record later.
    """

    def __init__(self, log: ReadableLog, store: ReadableStore, *, kept: int = 1) -> None:
        self._log = log
        self._store = store
        self._next_offset = 0
        self._offsets: dict[tuple[int, int], int] = {}
        self._n_kept = kept
        self._kept: list[Generation] = []
        self._ahead: dict[int, Record] = {}
        self.announced: dict[int, GenerationAnnounced] = {}
        self.announced_at: dict[int, int] = {}
        self.announced_ms: dict[int, int] = {}
        self.refresh()

    def refresh(self) -> None:
        """Read the announcements since the last call."""
        for record, model in read_models(self._log, self._next_offset):
            self._next_offset = record.offset + 1
            if isinstance(model, GenerationAnnounced):
                self.announced[model.generation] = model
                self.announced_at[model.generation] = record.offset
                self.announced_ms[model.generation] = record.timestamp_ms
                self._offsets = {k: v for k, v in self._offsets.items() if k[0] != model.generation}
            elif isinstance(model, DeltaAnnounced):
                self._offsets[model.generation, model.delta] = record.offset

    def offsets_of(self, numbers: set[int], followed: tuple[int, int] = (-1, 0)) -> list[int]:
        """Return the offsets of the records that announce generations and their deltas, in order.

        With those of newer generations' deltas up to ``followed``.

        Raises
        ------
        NotFound
            One of them was not announced.
        """
        missing = numbers - self.announced.keys()
        if missing:
            raise NotFound(f"generations {sorted(missing)} are not on {MODELS}")
        oldest = min(numbers, default=0)
        deltas = [
            offset
            for of, offset in self._offsets.items()
            if of[0] in numbers or (oldest < of[0] and of <= followed)
        ]
        return sorted([self.announced_at[number] for number in numbers] + deltas)

    def newest_delta(self, number: int) -> int:
        """Return the number of a generation's newest delta, 0 if it has none."""
        return max((delta for of, delta in self._offsets if of == number), default=0)

    def newest_by(self, at_ms: int | None = None) -> int:
        """Return the number of the newest generation announced by a time, by default now.

        Raises
        ------
        NotFound
            None had been announced by then.
        BeyondHorizon
            Some may have been, and were pruned.
        """
        found = [n for n, ms in self.announced_ms.items() if at_ms is None or ms <= at_ms]
        if found:
            return max(found)
        if earliest := self._log.earliest(MODELS, 0):
            raise BeyondHorizon(
                f"no model is known for that moment: announcements before offset {earliest} of "
                f"{MODELS} were pruned (setting keep_models); name a later moment"
            )
        raise NotFound(
            "no model had been announced by then, so nobody had a list; a trainer makes one, or "
            "name a later moment"
        )

    def at(self, number: int, delta: int, followed: tuple[int, int] | None = None) -> Generation:
        """Return a generation as of a delta; the next call may change it.

        ``followed`` is the newest delta of a newer generation whose withdrawals it respects.

        Raises
        ------
        NotFound
            The generation or the delta is not on the models topic, or its artifact was pruned.
        """
        if number not in self.announced or (delta and (number, delta) not in self._offsets):
            self.refresh()  # announced while a replay runs
        usable = (
            each
            for each in self._kept
            if each.number == number
            and each.followed == followed
            and (each.delta <= delta if followed is None else each.delta == delta)
        )
        current = max(usable, key=lambda each: each.delta, default=None)
        if current is None:
            del self._kept[self._n_kept - 1 :]
            announced = self.announced.get(number)
            if announced is None:
                raise NotFound(
                    f"generation {number} is not on {MODELS}; the log was pruned or exported "
                    "without it"
                )
            current = fetch(self._store, announced)
        others = (each for each in self._kept if each is not current)
        self._kept = [current, *others][: self._n_kept]
        if followed is None:
            while current.delta < delta:
                current.apply_delta(self._delta(number, current.delta + 1))
        elif current.followed is None:
            self._follow(current, delta, followed)
        return current

    def _follow(self, generation: Generation, delta: int, followed: tuple[int, int]) -> None:
        """Apply a generation's deltas and newer generations' withdrawals, in log order."""
        number = generation.number
        for of, _ in sorted(self._offsets.items(), key=lambda each: each[1]):
            if of[0] == number and generation.delta < of[1] <= delta:
                generation.apply_delta(self._delta(*of))
            elif number < of[0] and of <= followed:
                generation.follow_withdrawals(self._delta(*of))

    def _delta(self, number: int, delta: int) -> DeltaAnnounced:
        offset = self._offsets.get((number, delta))
        record = None if offset is None else self._record(offset)
        if record is None:
            raise NotFound(f"delta {delta} of generation {number} is not on {MODELS}")
        model = decode_value(record, decode_model)
        if not isinstance(model, DeltaAnnounced):
            raise ModelMismatch(f"{MODELS} offset {offset} must hold a delta, got a generation")
        return model

    def _record(self, offset: int) -> Record | None:
        """Return a record of the models topic; the next ones are read too, for later calls."""
        if offset not in self._ahead:
            records = self._log.read(MODELS, 0, offset, READ_AHEAD)
            self._ahead = {record.offset: record for record in records}
        return self._ahead.get(offset)
