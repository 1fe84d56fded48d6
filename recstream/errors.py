"""The error tree: everything recstream raises on purpose.

::

    RecstreamError
    ├── InvalidInput (ValueError)      an argument, option or file the caller can correct
    │   ├── InvalidJson                JSON that can't be read
    │   │   ├── InvalidEvent           an event that may not enter the log
    │   │   └── InvalidSteering        a steering document that contradicts itself
    │   ├── InvalidSetting             a flag, variable or file entry
    │   └── TokenRefused               a token that is missing, wrong or expired
    ├── NotFound (LookupError)         a user, item, topic or generation that does not exist
    ├── NotPossible                    not supported by this kind of log or store
    ├── LogError                       the event log
    │   ├── LogUnavailable             can't be read or written now; try again
    │   │   └── LogRefused             the broker refuses user, permission or record size: an operator must act
    │   ├── LogFenced                  the partition belongs to another member of the group now
    │   ├── LogCorrupt                 not a readable log
    │   ├── LogRecreated               topics were deleted or created again: offsets mean other records
    │   ├── OffsetOutOfRange           pruned, or not written yet
    │   │   └── BeyondHorizon          events that an answer needs were pruned
    │   └── PartitionCountMismatch     a topic has another partition count than recorded
    ├── ModelError
    │   ├── ArtifactCorrupt            an artifact whose digest or shape is wrong
    │   ├── ModelMismatch              generations, deltas or shapes that don't fit together
    │   ├── ModelStoreUnavailable      the model store can't be reached; try again
    │   └── TrainingFailed             a training failed; the serving generation stays
    │       └── TrainingDied           its process ended early
    ├── CheckpointError
    │   ├── CheckpointCorrupt          a file that is cut or damaged, or no checkpoint
    │   └── CheckpointMismatch         of another log or partition count, or not what the log gives
    ├── BackupCorrupt                  a file of a backup is missing, cut or changed
    ├── SchemaUnsupported (ValueError) written by a version whose format this one can't read
    ├── CatalogueUnavailable           the item store can't be reached; try again
    └── StartupError                   a role can't start: port in use, directory not writable, …
        └── OutOfSpace                 its disk is full; a supervised role waits

Each message says what was expected, what came, where, and what to do.
"""


class RecstreamError(Exception):
    """Root of everything recstream raises on purpose."""


class InvalidInput(RecstreamError, ValueError):
    """An argument, option or file that the caller can correct."""


class InvalidJson(InvalidInput):
    """JSON that is malformed, too large, nested too deep, or not of the expected type.

    Attributes
    ----------
    code : str
        Short machine-readable reason, e.g. ``"invalid-enum"``.
    pointer : str
        JSON pointer of the offending value, e.g. ``"/type"``.
    reason : str
        What was expected and what came.
    """

    def __init__(self, message: str, *, code: str = "invalid-json", pointer: str = "") -> None:
        super().__init__(message)
        self.code = code
        self.pointer = pointer
        self.reason = message


class InvalidEvent(InvalidJson):
    """An event that may not enter the log."""


class InvalidSetting(InvalidInput):
    """A flag, environment variable or file entry that can't be used."""


class InvalidSteering(InvalidJson):
    """A steering document that can't be read, or contradicts itself."""

    def __init__(self, message: str, *, code: str = "invalid-steering", pointer: str = "") -> None:
        super().__init__(message, code=code, pointer=pointer)

    def __str__(self) -> str:
        """Return the reason and where the document goes wrong."""
        return f"{self.reason} (at {self.pointer})" if self.pointer else self.reason


class TokenRefused(InvalidInput):
    """A token that is missing, wrong or expired.

    Attributes
    ----------
    expired : bool
        Whether it was valid once and has expired.
    """

    def __init__(self, message: str, *, expired: bool = False) -> None:
        super().__init__(message)
        self.expired = expired


class NotFound(RecstreamError, LookupError):
    """A user, item, topic or generation that does not exist."""


class NotPossible(RecstreamError):
    """Not supported by this kind of log or store; another kind supports it."""


class Overloaded(RecstreamError):
    """Too many requests of a kind run at the same time; a later one can succeed."""


class LogError(RecstreamError):
    """Root of the event log's errors."""


class LogUnavailable(LogError):
    """The log can't be read or written now; the same call may succeed later."""


class LogRefused(LogUnavailable):
    """The broker refuses the user, the permission or the size of a record; waiting does not help."""


class LogFenced(LogError):
    """The partition belongs to another member of the group now; nothing was written."""


class LogCorrupt(LogError):
    """The file is not a readable log."""


class LogRecreated(LogError):
    """Topics were deleted or created again: offsets kept elsewhere mean other records now."""


class OffsetOutOfRange(LogError):
    """The offset was pruned or has not been written yet."""


class BeyondHorizon(OffsetOutOfRange):
    """Events that an answer about the past needs were pruned, and no checkpoint replaces them."""


class PartitionCountMismatch(LogError):
    """A topic's partition count differs from the recorded one."""


class ModelError(RecstreamError):
    """Root of the errors about models and their artifacts."""


class ArtifactCorrupt(ModelError):
    """An artifact's digest, names, shapes or dtypes are wrong."""


class ModelMismatch(ModelError):
    """Generations, deltas or shapes that do not fit together."""


class ModelStoreUnavailable(ModelError):
    """The model store can't be reached now; the same call may succeed later."""


class TrainingFailed(ModelError):
    """A training failed; the serving generation stays."""


class TrainingDied(TrainingFailed):
    """The training subprocess could not start, or ended early."""


class CheckpointError(RecstreamError):
    """Root of the errors about checkpoints."""


class CheckpointCorrupt(CheckpointError):
    """A checkpoint's file is cut or damaged, or is no checkpoint."""


class CheckpointMismatch(CheckpointError):
    """A checkpoint belongs to another log or partition count, or the log gives other rows."""


class BackupCorrupt(RecstreamError):
    """A file of a backup is missing, cut or changed."""


class SchemaUnsupported(RecstreamError, ValueError):
    """Data was written by a version whose format this one can't read."""


class CatalogueUnavailable(RecstreamError):
    """The item store can't be reached now; the same call may succeed later."""


class StartupError(RecstreamError):
    """A role can't start: a port in use, a directory not writable, a wrong epoch."""


class OutOfSpace(StartupError):
    """A disk is full, or nearly so."""
