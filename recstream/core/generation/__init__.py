"""A generation: the trained model as it is served. In: arrays of a training, then deltas. Out: scores' parts.

`generation` holds it, `scoring` its typed weights, `delta` decodes deltas, `serialize` is its array form,
`opened` the form that processes share.
"""

from recstream.core.generation.generation import Generation
from recstream.core.generation.opened import OpenedArrays, open_generation, opened_arrays
from recstream.core.generation.scoring import ScoringParameters
