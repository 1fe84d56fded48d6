"""Generations and deltas that were announced, as far as a bridge has read the log."""

from collections.abc import Iterable, Iterator

from rocksdict import Rdict, WriteBatch

from recstream.bridge.views.database import keys_from
from recstream.bridge.views.start import MAX_WITH_DELTAS
from recstream.core.records import DeltaAnnounced, GenerationAnnounced, ModelRecord, decode_model

MAX_GENERATIONS = 100
_GENERATION, _DELTA = b"g", b"d"


class AnnouncedModels:
    """Announcements in the views' database; any thread reads."""

    def __init__(self, database: Rdict) -> None:
        self._db = database

    def put(self, raw: bytes, batch: WriteBatch) -> ModelRecord:
        """Add an announcement to a batch, and return it."""
        model = decode_model(raw)
        if isinstance(model, GenerationAnnounced):
            batch.put(_GENERATION + b"%012d" % model.generation, raw)
            # A generation before it serves again if this one can't be read, with its own deltas.
            kept = [model.generation, *(each.generation for each in self.generations())]
            oldest = sorted(kept, reverse=True)[:MAX_WITH_DELTAS][-1]
            for key in keys_from(self._db, _DELTA):
                if key < _DELTA + b"%012d" % oldest:
                    batch.delete(key)
        else:
            batch.put(_DELTA + b"%012d%012d" % (model.generation, model.delta), raw)
        return model

    def generations(self) -> list[GenerationAnnounced]:
        """Return the newest generations announced, newest first, at most `MAX_GENERATIONS`."""
        end = _GENERATION + b"\xff"
        found: list[GenerationAnnounced] = []
        for key in self._db.keys(backwards=True, from_key=end):
            if not isinstance(key, bytes) or key[:1] > _GENERATION:
                continue
            if key[:1] < _GENERATION or len(found) == MAX_GENERATIONS:
                break
            if (announced := self._announced(key)) is not None:
                found.append(announced)
        return found

    def generation(self, number: int) -> GenerationAnnounced | None:
        """Return a generation's announcement, if there was one."""
        return self._announced(_GENERATION + b"%012d" % number)

    def _announced(self, key: bytes) -> GenerationAnnounced | None:
        raw = self._db.get(key)
        model = None if raw is None else decode_model(raw)
        return model if isinstance(model, GenerationAnnounced) else None

    def deltas(self, generation: int) -> list[DeltaAnnounced]:
        """Return the deltas of a generation, in order."""
        return list(self._decode_deltas(keys_from(self._db, _DELTA + b"%012d" % generation)))

    def deltas_after(self, generation: int) -> Iterator[DeltaAnnounced]:
        """Yield the deltas of newer generations, in order."""
        first = _DELTA + b"%012d" % (generation + 1)
        return self._decode_deltas(key for key in keys_from(self._db, _DELTA) if key >= first)

    def _decode_deltas(self, keys: Iterable[bytes]) -> Iterator[DeltaAnnounced]:
        for key in keys:
            found = decode_model(self._db.get(key) or b"")
            if isinstance(found, DeltaAnnounced):
                yield found
