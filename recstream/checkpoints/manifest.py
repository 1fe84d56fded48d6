"""Manifest: what a checkpoint holds, for which log and offset, and how to check its file."""

import hashlib
from typing import Annotated

import msgspec

from recstream.core.history import table_rows
from recstream.errors import CheckpointCorrupt, SchemaUnsupported

FORMAT = 1
"""Version of the Parquet file's columns."""
Count = Annotated[int, msgspec.Meta(ge=0)]


class Manifest(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Checkpoint of one partition, announced on the checkpoints topic, stored next to its file.

    Attributes
    ----------
    name : str
        Name of the Parquet file in the store.
    format, schema : int
        Versions of the file's columns and of the table's rows.
    topic, partition, partitions : str, int, int
        Whose events the rows are folded from.
    offset : int
        The rows include every record of the partition before it.
    listed_offset : int
        Users whose header has a lower offset have a list made of it.
    changelog, changelog_offset : str, int
        The table's changelog, and its newest record in the rows.
    digest : str
        BLAKE2b of the file.
    n_users, n_entries, n_events : int
        Users, (user, item) entries, and events folded into them.
    request : int or None
        Control offset of the newest request for checkpoints that it answers, -1 without one; None
        where an older version made it.
    is_verified : bool
        Folding the log from the checkpoint before it, or from the log's start, gave the same bytes.
    """

    name: str
    format: int = FORMAT
    schema: int = table_rows.SCHEMA
    epoch: str
    topic: str
    partition: Count
    partitions: Count
    offset: Count
    listed_offset: int
    changelog: str
    changelog_offset: int
    digest: str
    size: Count
    n_users: Count
    n_entries: Count
    n_events: Count
    made_ts: int
    request: int | None = None
    is_verified: bool = False

    @property
    def applied_row(self) -> table_rows.AppliedRow:
        """The table's row with the position of its rows."""
        return table_rows.AppliedRow(self.offset, self.listed_offset)


encode_manifest = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Manifest).decode


class _Versions(msgspec.Struct):
    format: int = FORMAT
    schema: int = table_rows.SCHEMA


def decode_manifest(raw: bytes) -> Manifest:
    """Return a manifest.

    Raises
    ------
    SchemaUnsupported
        The checkpoint has columns or rows of another version.
    CheckpointCorrupt
        Not a manifest.
    """
    try:
        found = msgspec.json.decode(raw, type=_Versions)
        if (found.format, found.schema) != (FORMAT, table_rows.SCHEMA):
            raise SchemaUnsupported(
                f"this version reads checkpoints of format {FORMAT} with rows of schema "
                f"{table_rows.SCHEMA}, got format {found.format} and schema {found.schema}; "
                "`recstream upgrade` says what to do"
            )
        manifest = _decode(raw)
    except (msgspec.MsgspecError, RecursionError) as error:
        raise CheckpointCorrupt(f"not the manifest of a checkpoint: {error}") from error
    of = manifest.partition, manifest.offset, manifest.digest
    name = file_name(*of, manifest.changelog)
    if manifest.name not in {name, file_name(*of)}:
        raise CheckpointCorrupt(
            f"the manifest of partition {manifest.partition} at offset {manifest.offset} must name "
            f"the file {name}, got {manifest.name!r}"
        )
    return manifest


def file_name(partition: int, offset: int, digest: str, changelog: str = "") -> str:
    """Return the name of a checkpoint's file; equal rows of two changelogs have two files.

    Older versions named files without the changelog.

    >>> file_name(3, 1200, "0123456789abcdef")
    'checkpoint-00003-000000001200-01234567.parquet'
    >>> file_name(3, 1200, "0123456789abcdef", "recstream-user-histories-changelog")
    'checkpoint-00003-000000001200-01234567-bfa19231.parquet'
    """
    of = f"-{hashlib.blake2b(changelog.encode(), digest_size=4).hexdigest()}" if changelog else ""
    return f"checkpoint-{partition:05d}-{offset:012d}-{digest[:8]}{of}.parquet"


def manifest_name(name: str) -> str:
    """Return the name of the manifest of a file."""
    return name.removesuffix(".parquet") + ".json"
