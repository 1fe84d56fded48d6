"""The client of a simulated world: random events, bad records and changes, and what it knows of them."""

from __future__ import annotations

import random
from collections import Counter
from typing import Any

import msgspec

from recstream.core.events import EVENT_TYPES, Event, encode_event, from_timestamp_ms
from recstream.log import INTERACTIONS, NewRecord, partition_for
from tests.replay import world as replay_world
from tests.replay.world import ITEMS

PARTITIONS = 3
N_USERS = 9
TYPES = [each for each in EVENT_TYPES if each != "profile"]
DOCUMENTS: list[dict[str, Any]] = [
    {},
    {"rotation": {"after": 1}},
    {"rules": [{"name": "r", "action": "exclude", "where": {"items": ITEMS[:2]}}]},
    {"arms": [{"name": "quick", "share": 0.5, "half_life_ms": 2_000, "weights": {"view": 4}},
              {"name": "mixed", "share": 0.5, "diversity": {"strength": 0.5}}]},
]  # fmt: skip
BAD = [b"{", b"[" * 5_000, b"\xff", b'{"type": "view"}', b'{"id": 1}', b"null"]


class Ledger:
    """What the client knows: every event and bad record that it appended, and where."""

    def __init__(self) -> None:
        self.events: list[tuple[str, str, int]] = []
        """(user, id, offset) of events that count."""
        self.bad: Counter[tuple[int, int]] = Counter()
        """Dead letters to expect by partition and offset."""
        self.forgotten: dict[str, str] = {}
        """Users to forget by request."""

    def ids(self, since: dict[str, int]) -> dict[str, set[str]]:
        """Return the ids that count by user, those alone from an offset on."""
        found: dict[str, set[str]] = {}
        for user, name, offset in self.events:
            if offset >= since.get(user, 0):
                found.setdefault(user, set()).add(name)
        return found


class Client(replay_world.World):
    """A log and a model store, and a client that notes what it appends."""

    rng: random.Random
    ledger: Ledger

    def append(self, records: list[NewRecord]) -> None:
        """Append records of the client; it repeats what it got no answer for, which may be in the log."""
        if self.rng.random() < 0.05:
            self._append(records)
        self._append(records)

    def _append(self, records: list[NewRecord]) -> None:
        for record, position in zip(records, self.log.append(records), strict=True):
            where = position.partition, position.offset
            try:
                found = msgspec.json.decode(record.value or b"")
                events = found if isinstance(found, list) else [found]
                named = [(each["user"], each["id"], position.offset) for each in events]
            except (msgspec.DecodeError, RecursionError, KeyError, TypeError, ValueError):
                self.ledger.bad[where] += 1
                continue
            for event, name in zip(events, named, strict=True):
                if partition_for(event["user"].encode(), PARTITIONS) != position.partition:
                    self.ledger.bad[where] += 1
                elif event["type"] != "impression":
                    self.ledger.events.append(name)

    def some_records(self) -> list[NewRecord]:
        """Return events: single ones, envelopes, repeated ones, misplaced ones, and what is none."""
        rng = self.rng
        together: dict[int, list[bytes]] = {}
        records: list[NewRecord] = []
        for _ in range(rng.randint(1, 12)):
            chance = rng.random()
            user = "misplaced" if chance < 0.03 else f"u{rng.randrange(N_USERS)}"
            at = partition_for(user.encode(), PARTITIONS)
            value = encode_event(self._event(user))
            if chance < 0.03:
                records.append(NewRecord(INTERACTIONS, None, value, (at + 1) % PARTITIONS))
            elif chance < 0.08:
                records.append(NewRecord(INTERACTIONS, None, rng.choice(BAD), at))
            elif chance < 0.6:
                records.append(NewRecord(INTERACTIONS, user.encode(), value))
            else:
                together.setdefault(at, []).append(value)
        return records + [
            NewRecord(INTERACTIONS, None, b"[" + b",".join(values) + b"]", at)
            for at, values in together.items()
        ]

    def _event(self, user: str) -> Event:
        rng = self.rng
        self.now_ms += rng.randint(0, 500)
        is_new = rng.random() > 0.08 or not self.n_events
        self.n_events += is_new
        kind = rng.choice(TYPES)
        return Event(
            id=f"e{self.n_events if is_new else rng.randint(1, self.n_events)}",
            type=kind,
            user=user,
            item=rng.choice(ITEMS[:12]),
            ts=from_timestamp_ms(self.now_ms - rng.choice([0, 0, 5_000])),
            value=float(rng.randint(1, 5)) if kind == "rate" else None,
        )

    def change_something(self) -> None:
        """Train, move an item, set a steering document, or ask to forget a user; mostly nothing."""
        rng, chance = self.rng, self.rng.random()
        if chance < 0.04:
            self.train(factors=rng.random() < 0.7)
        elif chance < 0.10 and self.serving is not None:
            at = rng.uniform(-1.0, 1.0)
            self.move(rng.choice(self.serving.items), [at] * self.serving.n_factors, at)
        elif chance < 0.18:
            self.steer(rng.choice(DOCUMENTS), engines=[])
        elif chance < 0.24:
            self.ask_to_forget(f"u{rng.randrange(N_USERS)}")

    def ask_to_forget(self, user: str) -> Any:
        """Append a request to forget a user."""
        request = super().ask_to_forget(user)
        self.ledger.forgotten[request.id] = user
        return request
