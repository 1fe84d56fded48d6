"""What the tests of trainings and of the trainer share: events, snapshots, and trainers over a real log."""

import time

import msgspec
import numpy as np

from recstream.core.records import GenerationAnnounced, ModelRecord
from recstream.log.topics import MODELS
from recstream.models import DirectoryStore
from recstream.settings import Settings
from recstream.trainer.histories.changelog import ChangelogFollower
from recstream.trainer.lease import EmbeddedLease
from recstream.trainer.loop import Trainer
from recstream.trainer.training.dataset import TrainingSnapshot
from recstream.trainer.training.train import hyperparameters, train
from tests.worker.worker_world import CHANGELOG, GROUP, NOW_MS, PARTITIONS, event

SETTINGS = Settings(
    app_id=GROUP, partitions=PARTITIONS, n_factors=4, iterations=3, threads=1,
    train_min_events=20, delta_every_s=0.05, keep_generations=2,
)  # fmt: skip
N_ITEMS = 12


def likes(n_users=30, n_each=5, seed=0):
    """Return views: even users like even items, odd users odd ones."""
    rng = np.random.Generator(np.random.PCG64(seed))
    events = []
    for user in range(n_users):
        liked = [n for n in range(N_ITEMS) if n % 2 == user % 2]
        for item in rng.permutation(liked)[:n_each]:
            events.append(event(len(events), f"u{user}", f"p{item}"))
    return events


def follow(world, *, step=1000, is_fresh=False):
    """Return the world's follower, caught up; users keep their rows in it. Or a fresh one."""
    follower, positions = ChangelogFollower(), {}
    if not is_fresh:
        follower, positions = world.__dict__.setdefault("followed", (follower, positions))
    for partition in range(PARTITIONS):
        records = world.read(CHANGELOG, partition)
        for at in range(positions.get(partition, 0), len(records), step):
            follower.apply(records[at : at + step])
        positions[partition] = len(records)
    return follower


def snapshot_of(follower):
    offsets = {str(p): offset for p, offset in sorted(follower.offsets.items())}
    return TrainingSnapshot(follower.histories.freeze(), offsets, follower.n_events)


def history_of(follower, user):
    histories = follower.histories
    return histories.histories(histories.rows_of([user]).tolist())[0]


def trained_on(world, number=1, parent=None, **more):
    chosen = hyperparameters(SETTINGS) | more
    return train(snapshot_of(follow(world)), number=number, parent=parent, chosen=chosen, seed=0)


class Place:
    def __init__(self, world, path):
        self.world = world
        self.store = DirectoryStore(path / "models")

    def trainer(self, name="a", settings=SETTINGS):
        lease = EmbeddedLease(self.world.log, name)
        return Trainer(
            settings, self.world.log, self.store, lease, clock_ms=lambda: NOW_MS, name=name
        )

    def announced(self, kind=GenerationAnnounced):
        found = [msgspec.json.decode(r.value, type=ModelRecord) for r in self.world.read(MODELS, 0)]
        return [each for each in found if isinstance(each, kind)]


def work(trainer, until, deadline_s=60.0):
    """Turn the trainer's loop until something holds."""
    end = time.monotonic() + deadline_s
    while not until():
        assert time.monotonic() < end, "the trainer did not get there"
        trainer.step()
