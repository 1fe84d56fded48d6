"""Checkpoints: a partition's table rows as of one offset, in a Parquet file with a manifest.

In: a view of a worker's table. Out: a file in a store, its announcement on a topic, and the same rows
again, byte for byte. Start at `Checkpoints`; `recstream.time_travel` verifies
checkpoints by the log; docs/explanation/checkpoints.md has the format.
"""

from recstream.checkpoints.columns import read_groups, read_rows, rows_of_group
from recstream.checkpoints.horizon import audit_horizon, require_within_horizon
from recstream.checkpoints.index import Checkpoints, open_checkpoints
from recstream.checkpoints.job import Job, run_job
from recstream.checkpoints.manifest import Manifest, decode_manifest
from recstream.checkpoints.retention import retain
from recstream.checkpoints.schedule import CheckpointSchedule
from recstream.checkpoints.table import restore_table, rows_by_key, write_checkpoint, write_table
