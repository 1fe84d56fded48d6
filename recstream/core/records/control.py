"""Records of `recstream.control`: requests of people, and settings that change what is recommended."""

from typing import Annotated, Any

import msgspec

from recstream.core.events import EventWeights
from recstream.core.steering import Steering


class TrainingRequested(msgspec.Struct, frozen=True, kw_only=True, tag="train", omit_defaults=True):
    """Request for a training run; the answer is a generation, or the reason why there is none.

    With ``force`` it is activated even if the gate rejects it.
    """

    id: str
    requested_ts: int
    reason: str = ""
    force: bool = False


class RollbackRequested(
    msgspec.Struct, frozen=True, kw_only=True, tag="rollback", omit_defaults=True
):
    """Request to serve an older generation again; the answer is a generation that copies it.

    Scheduled trainings stop until somebody requests one, since they would undo the rollback.
    """

    id: str
    generation: int
    requested_ts: int
    reason: str = ""


class SettingsActivated(msgspec.Struct, frozen=True, kw_only=True, tag="rules"):
    """Fold settings, list size and steering of a partition from an offset on.

    The worker that owns the partition appends it before it folds by the new settings. So a replay uses
    the same settings at every offset. Lists carry the record's own offset on the
    control topic as ``control``. ``steering`` is the control offset of the `SteeringSet` in force, -1
    for none. ``semantics`` is the version of the fold's rules (`recstream.core.history.SEMANTICS`),
    ``list_format`` the form of the lists (`recstream.core.records.LIST_FORMAT`); records without them
    were written when there was only version 1.
    """

    partition: int
    from_offset: int
    weights: EventWeights
    half_life_ms: Annotated[float, msgspec.Meta(ge=1.0)]
    list_size: Annotated[int, msgspec.Meta(ge=1)]
    adopted_ts: int
    steering: int = -1
    semantics: int = 1
    list_format: int = 1


class SteeringSet(msgspec.Struct, frozen=True, kw_only=True, tag="steering", omit_defaults=True):
    """A new steering document; a partition follows it once its worker activates it.

    An empty document removes all rules. ``author`` is the subject of the token that sent it, if any.
    """

    id: str
    steering: Steering
    requested_ts: int
    author: str = ""


class ForgetRequested(msgspec.Struct, frozen=True, kw_only=True, tag="forget", omit_defaults=True):
    """Request to erase a user's data. Once all is erased, this record is erased too.

    Attributes
    ----------
    is_urgent : bool
        On Kafka: do not wait for the requests that are carried out together.
    """

    id: str
    user: str
    requested_ts: int
    is_urgent: bool = False


class HyperparametersChosen(
    msgspec.Struct, frozen=True, kw_only=True, tag="tuned", omit_defaults=True
):
    """Hyper-parameters that the trainer's search found; trainings use them while the gate accepts.

    Attributes
    ----------
    hyperparameters : dict
        As setting ``hyperparameters`` has them.
    n_events : int
        In the histories that were searched.
    metric, score
        Result of the choice, on the newest fifth of users' items.
    is_quick : bool
        By the search that follows the first training.
    """

    hyperparameters: dict[str, Any]
    n_events: int
    metric: str
    score: float
    n_trials: int
    seconds: float
    is_quick: bool = False


class Forgotten(msgspec.Struct, frozen=True, kw_only=True, tag="forgotten"):
    """A user of a partition, not named here, was erased: their events before an offset do not count.

    Appended with the tombstones of the user's rows. Generations that knew those events can't be
    trained again from what remains.

    Attributes
    ----------
    id : str
        Id of the request.
    at_offset : int
        On the interactions topic; the user's later events are a new history.
    """

    id: str
    partition: int
    at_offset: int
    forgotten_ts: int


class Erased(msgspec.Struct, frozen=True, kw_only=True, tag="erased"):
    """Proof that nothing of a forgotten user is left on Kafka before the user's `Forgotten` record.

    Attributes
    ----------
    id : str
        Id of the request.
    earliest : dict of str to int
        Topic and partition, such as ``recstream.interactions/3``, to the offset before which all records
        were deleted.
    changelog_until : int
        The changelog of the histories was read up to this offset, and has no record of the user.
    erased_ts : int
        Milliseconds since 1970.
    """

    id: str
    partition: int
    earliest: dict[str, int]
    changelog_until: int
    erased_ts: int


class CheckpointRequested(msgspec.Struct, frozen=True, kw_only=True, tag="checkpoint"):
    """Request for a checkpoint of every partition; the answer is its announcement."""

    id: str
    requested_ts: int


class ControlSnapshot(msgspec.Struct, frozen=True, kw_only=True, tag="snapshot"):
    """Records of the control topic before an offset that still have a meaning.

    It is appended before the records in front of that offset are deleted, and replaces them.

    Attributes
    ----------
    before : int
        Offset on the control topic.
    records : tuple of (int, int, Raw)
        Offset, time in milliseconds and JSON of each record, in order.
    """

    before: int
    records: tuple[tuple[int, int, msgspec.Raw], ...]


ControlRecord = (
    TrainingRequested
    | RollbackRequested
    | SettingsActivated
    | SteeringSet
    | ForgetRequested
    | Forgotten
    | Erased
    | CheckpointRequested
    | HyperparametersChosen
    | ControlSnapshot
)
decode_control = msgspec.json.Decoder(ControlRecord).decode
