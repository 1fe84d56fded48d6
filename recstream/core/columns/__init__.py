"""Compact columns in place of Python objects. In: ids and values. Out: arrays that can be shared.

`IdTable` numbers string ids in one block of bytes with a hash index.
"""

from recstream.core.columns.id_table import IdRows, IdTable, JoinedIds
