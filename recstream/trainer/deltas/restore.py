"""Restore a trainer's state for an existing generation: after a restart, or for a rollback."""

from __future__ import annotations

from recstream.core.generation import Generation
from recstream.trainer.changelog import Touch, UserChanges
from recstream.trainer.training import (
    ItemFeatures,
    Trained,
    TrainingSnapshot,
    build_dataset,
    counts_of,
)


def copy_generation(generation: Generation, number: int) -> Generation:
    """Return a copy of a generation, without deltas, under another number: a rollback serves it."""
    return Generation(
        number=number,
        parent=generation.number,
        offsets=generation.offsets,
        hyperparameters=generation.hyperparameters,
        seed=generation.seed,
        items=generation.items,
        bias=generation.bias,
        model=generation.model,
        details=generation.details,
        withdrawn=generation.withdrawn,
        content=generation.content.copy(),
        behaviour=generation.behaviour.copy(),
        content_arrays=generation.content_arrays,
        catalogue_offset=generation.catalogue_offset,
    )


def restore(generation: Generation, snapshot: TrainingSnapshot) -> tuple[Trained, UserChanges]:
    """Return what deltas need of an existing generation, and the changes that it does not contain.

    Users are folded in from their current histories. Nothing is trained, and the generation is not
    changed. The changes are entries of items that the generation does not have.
    """
    half_life_ms = float(generation.hyperparameters["half_life_ms"])
    found = build_dataset(snapshot, generation.items, half_life_ms, only_known=True)
    contents = ItemFeatures.from_arrays(generation.content_arrays, n_feature_rows(generation))
    model = generation.model
    if model is not None:
        model = model.replaced(
            user_factors=model.fold_in(found.matrix), user_counts=counts_of(found.matrix)
        )
    touches: list[Touch] = []
    users: list[str] = []
    for user in found.user_ids:
        unknown = [
            Touch(entry.offset, entry.item, entry.weight > 0.0)
            for entry in snapshot.users[user].history(user).entries()
            if entry.item not in generation.rows
        ]
        if unknown:
            users.append(user)
            touches += unknown
    trained = Trained(
        generation,
        model,
        found.user_ids,
        found.matrix,
        found.popularity,
        None,
        found.held,
        contents,
    )
    return trained, UserChanges(tuple(users), tuple(sorted(touches)))


def n_feature_rows(generation: Generation) -> int:
    """Return the number of feature rows in an artifact; items that deltas added follow them."""
    indptr = generation.content_arrays.get("features.indptr")
    return 0 if indptr is None else len(indptr) - 1
