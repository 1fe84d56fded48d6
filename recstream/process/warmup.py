"""Load or compile the kernels of ranking, by one list of a synthetic user, and those of deltas."""

import gc


def warm_up() -> None:
    """Fold in, rank and explain once: loads what numba compiled, or compiles it.

    Numba makes millions of long-lived objects: collecting garbage meanwhile costs an eighth of the time.
    """
    collects = gc.isenabled()
    gc.disable()
    try:
        _rank_once()
    finally:
        if collects:
            gc.enable()


def warm_up_training() -> None:
    """Compile what a trainer calls: ALS, then a delta's steps on a synthetic shop."""
    import numpy as np  # noqa: PLC0415 - see `_rank_once`
    from scipy import sparse  # noqa: PLC0415

    from recstream.core.als import ALS  # noqa: PLC0415
    from recstream.core.columns import IdTable  # noqa: PLC0415
    from recstream.core.content import FeatureIndex  # noqa: PLC0415
    from recstream.core.history import matrix_rows  # noqa: PLC0415
    from recstream.core.popularity import fit_popularity  # noqa: PLC0415

    ALS(16, iterations=1, threads=1).fit(sparse.identity(40, dtype=np.float32, format="csr"))
    # More ids than the first slots hold: all kernels.
    table = IdTable([f"i{number}" for number in range(64)])
    table.rows_of(["i1"])
    features = sparse.csr_matrix(np.eye(4, dtype=np.float32))
    index = FeatureIndex(4)
    index.add(np.arange(4), features)
    index.nearest(features, 2, np.arange(4))
    columns, ones = np.arange(2, dtype=np.int32), np.ones(2)
    at_ms = np.arange(2, dtype=np.int64)
    matrix_rows(np.array([0, 2]), columns, ones, at_ms, np.ones(1, np.int64), 1.0)
    fit_popularity(columns, at_ms, 2).live().observe(columns)


def _rank_once() -> None:
    # Not at the top: roles and commands that never rank start without numba.
    import numpy as np  # noqa: PLC0415

    from recstream.core.als import ALSModel, Objective  # noqa: PLC0415
    from recstream.core.events import EventWeights  # noqa: PLC0415
    from recstream.core.generation import Generation  # noqa: PLC0415
    from recstream.core.history import ActiveSettings, Entry, FoldSettings, History  # noqa: PLC0415
    from recstream.core.neighbours import fit_behaviour, gather, seed_weights  # noqa: PLC0415
    from recstream.core.ranking import describe, encode_list, rank  # noqa: PLC0415
    from recstream.core.records import LIST_FORMAT, Lineage  # noqa: PLC0415
    from recstream.core.steering import Diversity, ImpressionFatigue, Pin, Steering  # noqa: PLC0415

    items = [f"i{number}" for number in range(64)]
    factors = np.linspace(-1.0, 1.0, 64 * 8, dtype=np.float32).reshape(64, 8)
    model = ALSModel(factors, np.ones(64, np.int64), objective=Objective(), mean_user_count=1.0)
    table = fit_behaviour([0, 0, 1], [1, 2, 2], [0, 1, 0], 64)
    table.put(0, [1], [0.5])
    columns, weights = np.arange(2, dtype=np.int32), np.ones(2, np.float32)
    v = seed_weights(columns, weights)
    gather(columns, v, [(table, 1.0)])
    generation = Generation(
        number=0,
        parent=None,
        offsets={},
        hyperparameters={"behaviour_weight": 1.0},
        seed=0,
        items=items,
        bias=np.zeros(64, np.float32),
        model=model,
        behaviour=table,
    )
    shaped = Steering(
        rules=(Pin(name="pin", items=("i60",)),),
        diversity=Diversity(strength=0.5),
        fatigue=ImpressionFatigue(after=1),
        min_relevance=0.1,
    )
    active = ActiveSettings(-1, 0, FoldSettings(EventWeights(), 1.0), 5, list_format=LIST_FORMAT)
    for n_entries in (1, 32):
        page = {item: Entry(item, 1.0, 0, 1, 0, 1) for item in items[:n_entries]}
        history = History(
            "", n_items=n_entries, n_ids=n_entries, pages=(page,), impressions=(("i50", 1),)
        )
        for steering in (None, shaped):
            ranked = rank([history], generation, 5, 1.0, steering=steering)
            describe(ranked[0], history, generation)
            encode_list(
                *(ranked[0], history, generation, active, 0, ()),
                source="fold-in",
                lineage=Lineage(),
            )
