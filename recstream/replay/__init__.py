"""Replay: derive state, lists and generations from the log again, and compare them byte for byte.

In: a log or an exported slice, a model store, a plan. Out: a report of what differs.
"""

from recstream.replay.batch import Format, choose_basis, write_batch
from recstream.replay.run import ReplayPlan, Report, play, replay
from recstream.replay.verify import Progress
