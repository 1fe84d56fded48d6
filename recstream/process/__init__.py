"""What the processes of all roles share: clock, threads, locks, bounded shutdown, loading of kernels.

In: functions to run, a supervisor's pipe. Out: threads that are restarted or end the role.
"""

from recstream.process.clock import system_clock_ms
from recstream.process.event_loops import new_event_loop, run_in_loop
from recstream.process.kernels import COMPILING, LISTS_WAIT, Kernels, fill_cache
from recstream.process.ports import bound_socket, url_of
from recstream.process.rocksdb import check_end, is_damage, open_derived, rocksdb_errors, rows_from
from recstream.process.shared_lock import SharedLock
from recstream.process.shutdown import (
    end_in_time,
    ended_if_stuck,
    exit_text,
    follow_parent,
    is_running,
    stopped_by_signals,
)
from recstream.process.temporary import RESTART_S, is_temporary, retry_while_away
from recstream.process.threads import (
    BACKGROUND_NICE,
    Background,
    lower_priority,
    read_ahead,
    run_in_thread,
    start_thread,
    watch,
)
