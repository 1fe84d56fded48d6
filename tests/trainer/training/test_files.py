"""What goes between a trainer and its training's process comes back as it was, or is refused."""

import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from recstream.core.als.model import ALSModel
from recstream.core.als.objective import Objective
from recstream.core.evaluation.gate import HeldOut
from recstream.core.generation.generation import Generation
from recstream.core.history.fold import Entry, History
from recstream.core.history.matrix import stack
from recstream.core.numeric.array_codec import array_digest as digest
from recstream.core.popularity.popularity import fit_popularity
from recstream.core.records import GateResult, Item
from recstream.errors import ArtifactCorrupt, TrainingFailed
from recstream.trainer.histories import Histories, UserColumns
from recstream.trainer.histories.changelog import Touch
from recstream.trainer.training.dataset import TrainingSnapshot
from recstream.trainer.training.files import load_job, load_result, save_job, save_result
from recstream.trainer.training.job import HeldOutTouches, TrainingJob, TrainingResult
from recstream.trainer.training.train import Trained
from tests.trainer.trainer_world import likes, trained_on
from tests.worker.worker_world import generation, single

INT64 = st.integers(-(2**63), 2**63 - 1)
IDS = st.text(st.characters(exclude_categories=["C", "Z"]), min_size=1, max_size=4)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda each: st.lists(each, max_size=3) | st.dictionaries(st.text(), each, max_size=3),
    max_leaves=5,
)  # fmt: skip
ITEMS = st.builds(
    Item, item=IDS, title=st.text(), category=st.text(), brand=st.text(), description=st.text(),
    price=st.none() | st.floats(allow_nan=False, allow_infinity=False),
    attributes=st.dictionaries(st.text(), JSON, max_size=3),
)  # fmt: skip

ENTRIES = st.builds(
    Entry, IDS, st.floats(0, 9), st.integers(0, 2**41 - 1), st.just(0), st.integers(0, 99),
    st.integers(1, 2),
)  # fmt: skip


@st.composite
def histories(draw):
    """Return histories of any users, frozen and live."""
    live = Histories()
    for partition in range(2):
        pages = draw(
            st.dictionaries(
                IDS, st.lists(ENTRIES, max_size=3, unique_by=lambda e: e.item), max_size=3
            )
        )
        made = [
            History(
                f"{partition}{user}", clock_ms=2**41, n_items=len(page), n_ids=len(page) + 1,
                pages=({each.item: each for each in page},),
            )
            for user, page in pages.items()
        ]  # fmt: skip
        live.put(UserColumns.of(made, partition, live.items))
        live.offsets[partition] = 100
    return live.freeze()


SNAPSHOTS = st.builds(
    TrainingSnapshot,
    histories=histories(),
    offsets=st.just({"0": 100, "1": 100}),
    n_events=INT64,
    catalogue=st.lists(ITEMS, max_size=5).map(lambda items: {each.item: each for each in items}),
    withdrawn=st.frozensets(st.text(), max_size=3),
    catalogue_offset=INT64,
    changed=st.frozensets(st.text(), max_size=3),
)
CHOSEN = st.dictionaries(st.text(), st.none() | st.booleans() | INT64 | st.floats() | st.text())
ANY = settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture
def folder(tmp_path_factory):
    """Return a function that makes an empty folder."""
    return lambda: tmp_path_factory.mktemp("folder")


def objects(columns):
    return columns.histories(columns.sorted_rows().tolist())


@ANY
@given(SNAPSHOTS, CHOSEN, st.integers(0, 2**64 - 1), st.booleans())
def test_a_job_arrives_as_it_was(folder, snapshot, chosen, seed, may_raise_popularity):
    path = folder()

    save_job(path, TrainingJob(snapshot, generation(), 3, chosen, seed, may_raise_popularity))
    there = load_job(path)

    assert objects(there.snapshot.histories) == objects(snapshot.histories.columns())
    # As text: 1 is not 1.0, 0.0 is not -0.0, NaN is NaN.
    for name in ("offsets", "n_events", "catalogue", "catalogue_offset"):
        assert repr(getattr(there.snapshot, name)) == repr(getattr(snapshot, name))
    assert (there.snapshot.withdrawn, there.snapshot.changed) == (
        snapshot.withdrawn,
        snapshot.changed,
    )
    assert (repr(there.chosen), there.number, there.seed) == (repr(chosen), 3, seed)
    assert there.may_raise_popularity is may_raise_popularity
    assert digest(there.parent.arrays()) == digest(generation().arrays())


def nothing():
    return TrainingJob(TrainingSnapshot(Histories().freeze(), {}, 0), None, 0, {}, 0)


def test_a_job_of_the_first_generation_has_no_parent(folder):
    path = folder()
    save_job(path, nothing())

    there = load_job(path)

    assert there.parent is None
    assert there.snapshot.histories.n_users == 0


def test_a_job_that_has_no_form_is_refused_with_its_reason(folder):
    with pytest.raises(TrainingFailed, match=r"specification can't be encoded: .*complex"):
        save_job(folder(), replace(nothing(), chosen={"n": 1j}))


@pytest.mark.parametrize("name", ["spec.json", "catalogue.json", "runs.npy", "entries.npy"])
def test_a_job_without_one_of_its_files_is_refused(folder, name):
    path = folder()
    save_job(path, nothing())
    (path / name).unlink()

    with pytest.raises(TrainingFailed, match="must hold a training job, it does not"):
        load_job(path)


def test_entries_of_another_form_are_refused(folder):
    path = folder()
    save_job(path, nothing())
    np.save(path / "entries.npy", np.zeros((3, 4), np.uint32))

    with pytest.raises(TrainingFailed, match=r"entries of 5 uint32, got .* \(3, 4\)"):
        load_job(path)


# What comes back


@st.composite
def finished(draw):
    """Return what a training could have given, small, of any sizes and values."""
    items = draw(st.lists(IDS, max_size=4, unique=True))
    n_users = draw(st.integers(0, 4))
    n_factors = draw(st.integers(1, 3)) if items and draw(st.booleans()) else 0
    rng = np.random.Generator(np.random.PCG64(draw(st.integers(0, 99))))
    columns = [
        np.flatnonzero(rng.random(len(items)) < 0.5).astype(np.int32) for _ in range(n_users)
    ]
    rows = [(each, rng.choice([0.0, -1.0, 0.7], len(each)).astype(np.float32)) for each in columns]
    seen = np.concatenate([np.empty(0, np.int32), *columns])
    model = None
    if n_factors:
        model = ALSModel(
            rng.random((len(items), n_factors), np.float32),
            rng.integers(0, 9, len(items)),
            objective=Objective(),
            mean_user_count=1.5,
            user_factors=rng.random((n_users, n_factors), np.float32),
            user_counts=rng.integers(0, 2**62, n_users),
        )
    trained = Trained(
        generation=Generation(
            number=1, parent=None, offsets={}, hyperparameters={"half_life_ms": 1.0}, seed=0,
            items=items, bias=rng.random(len(items), np.float32),
            model=None
            if model is None
            else model.replaced(user_factors=None, user_counts=None),
        ),
        model=model,
        users=rng.permutation(9)[:n_users].astype(np.int32),
        matrix=stack(rows, len(items)),
        popularity=fit_popularity(seen, rng.integers(0, 9, len(seen)), len(items)),
        loss=draw(st.none() | st.floats()),
        held=HeldOut([], {}),
    )  # fmt: skip
    gate_result = st.builds(
        GateResult, users=INT64, items=INT64, candidate=st.floats(), popular=st.floats(),
        serving=st.none() | st.floats(), is_accepted=st.booleans(), reason=st.text(),
    )  # fmt: skip
    touches = st.builds(Touch, INT64, st.text(), st.booleans())
    held_out = st.dictionaries(st.text(), st.lists(touches, max_size=3).map(tuple), max_size=3)
    return TrainingResult(trained, draw(st.none() | gate_result), HeldOutTouches(draw(held_out)))


def form(array):
    return array.dtype, array.shape, array.flags.f_contiguous, array.tobytes()


@ANY
@given(finished())
def test_what_a_training_gave_arrives_bit_for_bit(folder, done):
    path = folder()
    save_result(path, done)

    there = load_result(path)

    here, trained = done.trained, there.trained
    assert there.artifact is not None
    assert there.artifact[0] == digest(trained.generation.arrays())
    assert there.artifact[0] == digest(here.generation.arrays())
    assert (trained.model is None) == (here.model is None)
    if here.model is not None:
        assert digest(trained.model.arrays()) == digest(here.model.arrays())
    for name in ("data", "indices", "indptr"):
        assert form(getattr(trained.matrix, name)) == form(getattr(here.matrix, name))
    assert trained.matrix.shape == here.matrix.shape
    assert trained.matrix.has_canonical_format
    for name in ("sums", "totals", "credit", "landmark", "half_lives"):
        assert form(getattr(trained.popularity, name)) == form(getattr(here.popularity, name))
    assert trained.popularity.clock == here.popularity.clock
    assert (trained.users.tolist(), repr(trained.loss)) == (here.users.tolist(), repr(here.loss))
    assert repr(there.gate_result) == repr(done.gate_result)
    assert there.held_out == done.held_out


@pytest.fixture
def some(world, folder):
    """What came of a training with factors, in a folder."""
    world.feed([single(each) for each in likes()])
    path = folder()
    save_result(path, TrainingResult(trained_on(world), None, HeldOutTouches({})))
    return path


@pytest.mark.parametrize(
    ("name", "change", "said"),
    [
        ("user_factors", lambda a: a.astype(np.float64), r"\('float32', \(30, 4\)\), got \('float64'"),
        ("user_counts", lambda a: a[1:], r"\('int64', \(30,\)\), got \('int64', \(29,\)\)"),
        ("popularity.sums", lambda a: a.T, r"\(12, 7\)\), got \('float64', \(7, 12\)\)"),
        ("popularity.credit", lambda _: None, r"\(8,\)\), got nothing"),
        ("matrix.data", lambda _: None, r"\('float32', \(0,\)\), got nothing"),
        ("matrix.indices", lambda a: a + 12, "30 rows of 12 items"),
        ("matrix.indptr", lambda a: a[::-1].copy(), "30 rows of 12 items"),
        ("another", lambda _: np.zeros(1), "left out, got"),
    ],
)  # fmt: skip
def test_arrays_that_deltas_can_not_use_are_refused_by_name(some, name, change, said):
    path = some / f"{name}.npy"
    changed = change(np.load(path) if path.exists() else None)
    if changed is None:
        path.unlink()
    else:
        np.save(path, changed)

    with pytest.raises(TrainingFailed, match=said) as refused:
        load_result(some)

    assert name.partition(".")[0] in str(refused.value)


def test_a_result_that_is_not_what_was_announced_is_refused(some):
    whole = (some / "artifact.npz").read_bytes()
    result = json.loads((some / "result.json").read_text("utf-8"))

    (some / "artifact.npz").write_bytes(whole[:-30])
    with pytest.raises(ArtifactCorrupt, match="can't be read"):
        load_result(some)
    (some / "artifact.npz").write_bytes(whole)
    (some / "result.json").write_text(json.dumps({**result, "digest": "0" * 32}), "utf-8")
    with pytest.raises(ArtifactCorrupt, match="must have the digest '00"):
        load_result(some)
    (some / "result.json").write_text("[]", "utf-8")
    with pytest.raises(TrainingFailed, match="must hold a training's result, it does not"):
        load_result(some)
