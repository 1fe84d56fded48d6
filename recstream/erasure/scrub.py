"""Rewrite a RocksDB database so that deleted rows leave its files."""

import rocksdict


def scrub(database: rocksdict.Rdict) -> None:
    """Rewrite all files of a database without deleted rows.

    The lowest level is rewritten too, which RocksDB does not do by default.
    """
    options = rocksdict.CompactOptions()
    options.set_bottommost_level_compaction(rocksdict.BottommostLevelCompaction.force())
    database.flush()
    database.compact_range(None, None, options)
