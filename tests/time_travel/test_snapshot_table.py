"""The database of snapshots on a disk that takes no more."""

from pathlib import Path

import pytest

from recstream.errors import StartupError
from recstream.time_travel.snapshot_table import SnapshotTable
from tests.full_disk import files_of_at_most

MIB = 1 << 20


def test_a_database_that_could_not_write_is_closed_and_opened_again(tmp_path: Path) -> None:
    table = SnapshotTable(tmp_path / "snapshots", b"log")
    batch = table.write(0)
    batch.end_block(1)
    batch.commit()

    batch = table.write(0)
    batch.put_rows([(b"row", bytes(2 * MIB))], 2)
    batch.end_block(2)
    with files_of_at_most(MIB), pytest.raises(StartupError, match=f"{tmp_path}/snapshots can't be"):
        batch.commit()
    table.close()

    table = SnapshotTable(tmp_path / "snapshots", b"log")
    assert table.block_end(0, 9) == 1
    batch = table.write(0)
    batch.end_block(3)
    batch.commit()
    assert table.block_end(0, 9) == 3
    table.close()


@pytest.mark.parametrize("damage", ["overwritten", "deleted", "a block"])
def test_a_damaged_database_is_emptied(tmp_path: Path, damage: str) -> None:
    folder = tmp_path / "snapshots"
    table = SnapshotTable(folder, b"log")
    batch = table.write(0)
    batch.end_block(1)
    batch.commit()
    table._db.flush()
    table.close()
    damaged = folder / (folder / "CURRENT").read_text().strip()
    if damage == "a block":
        (damaged,) = folder.glob("*.sst")
    content = bytearray(damaged.read_bytes())
    if damage == "deleted":
        damaged.unlink()
    elif damage == "overwritten":
        damaged.write_bytes(bytes(255 - byte for byte in content))
    else:
        content[2] ^= 1
        damaged.write_bytes(content)

    table = SnapshotTable(folder, b"log")
    assert table.block_end(0, 9) == 0
    table.close()


def test_a_database_that_another_process_has_open_is_not_emptied(tmp_path: Path) -> None:
    table = SnapshotTable(tmp_path / "snapshots", b"log")
    batch = table.write(0)
    batch.end_block(1)
    batch.commit()

    with pytest.raises(StartupError, match="close the other process"):
        SnapshotTable(tmp_path / "snapshots", b"log")

    assert table.block_end(0, 9) == 1
    table.close()
