"""Ids of all parts, and the entries that are held out for evaluation: what the driver reads of parts."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from recstream.core.columns import IdTable
from recstream.core.evaluation import HeldOut, hold_out, n_held_out
from recstream.core.history import History
from recstream.spark.blocks import read_file
from recstream.trainer.training.blocked.entries import Taken
from recstream.trainer.training.blocked.parts import Part, read_part
from recstream.trainer.training.dataset import is_newest


class Names:
    """Ids of all parts, read once.

    Attributes
    ----------
    user_rows : (n_users,) int32
        Row of each user by id; users are in the order of the parts.
    newest : dict of str to array
        Entries that may be held out: part, user in the part, time and offset.
    """

    def __init__(self, folder: Path, parts: Sequence[Part]) -> None:
        self.items: set[str] = set()
        users, newest = [], []
        for number, part in enumerate(parts):
            named = read_file(folder, part.names)
            self.items.update(IdTable.from_arrays(named["items"], named["item_ends"]))
            ends = np.concatenate(([0], named["user_ends"])).astype(np.int64)
            buffers = [None, pa.py_buffer(ends), pa.py_buffer(named["users"])]
            users.append(pa.LargeStringArray.from_buffers(part.n_users, *buffers[1:]))
            columns = [named[f"newest_{name}"] for name in ("users", "at", "offsets")]
            newest.append(np.stack([np.full(len(columns[0]), number), *columns]))
        ids = pa.chunked_array(users, pa.large_string())
        order = pc.sort_indices(ids).to_numpy()
        self.user_rows = np.empty(len(order), np.int32)
        self.user_rows[order] = np.arange(len(order))
        self.newest = np.concatenate([np.empty((4, 0), np.int64), *newest], axis=1)


def hold_out_of(
    folder: Path, parts: Sequence[Part], names: Names, *, is_wanted: bool
) -> tuple[HeldOut, list[list[Taken]], list[History]]:
    """Return what is held out, by part, and the histories of users with the newest entries."""
    n_entries = sum(each.n_entries for each in parts)
    most = n_held_out(n_entries) if is_wanted else 0
    number, users, at_ms, offsets = names.newest
    kept = is_newest(at_ms, offsets, most) if most else np.zeros(len(number), np.bool_)
    found: list[tuple[int, int, History]] = []
    for each in np.unique(number[kept]).tolist():
        rows = np.unique(users[kept & (number == each)])
        histories = read_part(folder, parts[each]).histories(rows.tolist())
        found += [(each, row, one) for row, one in zip(rows.tolist(), histories, strict=True)]
    found.sort(key=lambda one: one[2].user)
    originals = [one for _, _, one in found]
    held = hold_out(originals, n_entries)
    taken: list[list[Taken]] = [[] for _ in parts]
    for (part, row, _), history in zip(found, held.histories, strict=True):
        if history.user in held.items:
            taken[part].append(Taken(row, held.items[history.user], history.clock_ms))
    return held, taken, originals
