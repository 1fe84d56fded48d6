"""Step 5 of the flow: what a trainer goes on with without training: a restart's generation, an old one's copy."""

from __future__ import annotations

from recstream.core.generation import Generation
from recstream.trainer.changelog import Group, Touch
from recstream.trainer.training import Contents, Snapshot, Trained, counts_of, materialise


def copy_of(generation: Generation, number: int) -> Generation:
    """Return a generation, as its artifact has it, under another number: what a rollback serves."""
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


def resume(generation: Generation, snapshot: Snapshot) -> tuple[Trained, Group]:
    """Return what moving an old generation's items needs, and what it does not know of yet.

    Users are folded in from the histories of today; nothing is trained, and the generation is not
    changed. The group holds the entries of items that came after it.
    """
    half_life_ms = float(generation.hyperparameters["half_life_ms"])
    found = materialise(snapshot, generation.items, half_life_ms, is_closed=True)
    contents = Contents.from_arrays(generation.content_arrays, n_of_features(generation))
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
    return trained, Group(tuple(users), tuple(sorted(touches)))


def n_of_features(generation: Generation) -> int:
    """Return how many items' features an artifact holds; items that deltas added follow."""
    indptr = generation.content_arrays.get("features.indptr")
    return 0 if indptr is None else len(indptr) - 1
