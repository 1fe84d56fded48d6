"""Scans of a damaged database raise: rocksdict's own end there as if there were no more rows."""

from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import rocksdict

from recstream.bridge.views.database import keys_from
from recstream.process import is_damage, rows_from

N_ROWS = 2_000


def key(number: int) -> bytes:
    return b"r%06d" % number


@pytest.fixture
def damaged(tmp_path: Path) -> Iterator[rocksdict.Rdict]:
    options = rocksdict.Options(raw_mode=True)
    database = rocksdict.Rdict(str(tmp_path / "db"), options)
    for number in range(N_ROWS):
        database[key(number)] = b"%d" % number * 40
    database.compact_range(None, None)
    database.close()
    (file,) = (tmp_path / "db").glob("*.sst")
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    database = rocksdict.Rdict(str(tmp_path / "db"), options)
    yield database
    database.close()


@pytest.mark.parametrize(
    "scan", [lambda database: rows_from(database, b""), lambda database: keys_from(database, b"r")]
)
def test_a_scan_raises_at_a_damaged_block(
    damaged: rocksdict.Rdict, scan: Callable[[rocksdict.Rdict], Iterator[object]]
) -> None:
    with pytest.raises(Exception, match="Corruption") as raised:
        deque(scan(damaged))

    assert is_damage(raised.value)


def test_a_scan_behind_the_damaged_block_is_whole(damaged: rocksdict.Rdict) -> None:
    rows = list(rows_from(damaged, key(N_ROWS - 3)))

    assert rows == [(key(number), b"%d" % number * 40) for number in range(N_ROWS - 3, N_ROWS)]


def test_a_scan_of_an_empty_database_has_no_rows(tmp_path: Path) -> None:
    database = rocksdict.Rdict(str(tmp_path / "db"), rocksdict.Options(raw_mode=True))

    assert list(rows_from(database, b"")) == []
    database.close()
