"""Evaluation of lists and models. In: held-out or following events. Out: metrics and decisions.

Offline: `search` of hyper-parameters. In the stream: `gate` (the gate for a new generation) and `online`
(hit rates of published lists). `scripts/bench` has metrics of lists, and replays data sets.
"""

from recstream.core.evaluation.gate import HeldOut, evaluate_candidate, hold_out, n_held_out
from recstream.core.evaluation.online import RankHistograms, is_evaluated, merged, merged_clicks
from recstream.core.evaluation.search import TuningResult, tune
from recstream.core.evaluation.successive_halving import SearchProgress
