"""Settings: typed, checked once at start. The only module that reads the environment.

Precedence: flag > ``RECSTREAM_*`` variable (``RECSTREAM_*_FILE`` names a file that holds a secret)
> ``recstream.toml`` > default.
"""

import codecs
import difflib
import ipaddress
import logging
import math
import os
import re
import sys
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_origin

import msgspec

from recstream.core.events import EventWeights
from recstream.errors import InvalidInput, InvalidSetting

MAX_FILE_BYTES = 4 << 20  # of settings, a secret, a mapping or one record
SECRETS = frozenset({"secret", "kafka_sasl_password"})
"""Fields that are never printed, and that a file named by ``RECSTREAM_<NAME>_FILE`` may hold."""


DAY_MS = 24 * 3600 * 1000

YEARS_S = 1e9
YEARS_DAYS = 1e5
MANY = 1e15
LIMITS: dict[str, tuple[float, float]] = {
    "partitions": (1, 256),
    "port": (0, 65_535),
    "max_connections": (1, 1_000_000),
    "rate_limit": (0, 1_000_000),
    "list_size": (1, 1_000),
    "half_life_days": (1e-6, YEARS_DAYS),
    "popularity_weight": (0, 1_000),
    "refresh_users": (0, 1_000_000),
    "train_every_events": (1, MANY),
    "train_every_s": (1, YEARS_S),
    "train_min_events": (1, MANY),
    "delta_every_s": (0.05, YEARS_S),
    "n_factors": (1, 1_024),
    "iterations": (1, 1_000),
    "seed": (0, 2**63 - 1),
    "threads": (0, 1_024),
    "keep_generations": (1, 100_000),
    "checkpoint_every_s": (0, YEARS_S),
    "keep_checkpoints": (1, 100_000),
    "keep_interactions_days": (0, YEARS_DAYS),
    "keep_interactions_events": (0, MANY),
    "keep_lists_days": (0, YEARS_DAYS),
    "keep_models": (0, 100_000),
    "forget_after_s": (0, YEARS_S),
    "kafka_replication": (1, 100),
}
"""Smallest and largest value of each number: what is beyond is a mistake, or fits no machine."""

_OTHER_VARIABLES = {"CONFIG", "DATA", *(f"{name.upper()}_FILE" for name in SECRETS)}
"""``RECSTREAM_DATA`` names the public data sets for tests and benchmarks."""
_SERVICE_LINK = re.compile(r"_SERVICE_(HOST|PORT)|_PORT(_\d+_(TCP|UDP))?")
"""In names of variables that Kubernetes makes for services."""
_NO_TEXT = re.compile("[\0\ud800-\udfff]")
_FOLDER = re.compile(r"~(/[^?]*)?|[^?~][^?]*")
_APP_ID = re.compile(r"[A-Za-z0-9._-]{1,100}")


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Settings of an installation. Every field has its unit in its name or below."""

    # Where things are
    data_dir: str = "recstream-data"
    """Folder of the embedded log, tables, views and models."""
    broker: str = ""
    """``embedded:///path`` or ``kafka://host:port[;host:port]``; empty: in ``data_dir``."""
    catalogue: str = ""
    """``embedded:///path`` or ``mongodb://…``; empty: embedded under ``data_dir``."""
    models: str = ""
    """``file:///path`` or ``mongodb://…`` (GridFS); empty: a folder under ``data_dir``."""
    checkpoints: str = ""
    """``file:///path``, ``mongodb://…`` or ``s3://…``; empty: a folder under ``data_dir``."""
    partitions: int = 4
    """Partitions of the topics keyed by user; can't change once the log exists."""
    app_id: str = "recstream-worker"
    """Faust app id: the consumer group and the prefix of the changelog."""

    # The bridge
    host: str = "127.0.0.1"
    port: int = 8000
    secret: str = ""
    """HMAC secret of tokens; required when ``host`` is not a loopback address."""
    allowed_origins: tuple[str, ...] = ()
    """Origins, besides the bridge's own, whose pages may open a WebSocket."""
    max_connections: int = 10_000
    rate_limit: int = 2_000
    """Requests and events that one client may send each second; 0: no limit."""
    allow_traffic: bool = False
    """Whether a bridge with a secret may send synthetic traffic; without one it always may."""

    # Lists
    list_size: int = 20
    """Items in a published list."""
    weights: EventWeights = EventWeights()
    half_life_days: float = 60.0
    """Half-life of an event's weight."""
    popularity_weight: float | None = None
    """Weight of popularity, in typical scores; none: 0.2, or the choice of self-tuning."""
    refresh_users: int = 2_000
    """Recently active users who get a new list after each new generation."""

    # Training
    train_every_events: int = 20_000
    train_every_s: float = 600.0
    train_min_events: int = 200
    """Events in the log before factors are trained."""
    delta_every_s: float = 1.0
    n_factors: int = 64
    iterations: int = 12
    hyperparameters: dict[str, float | int | str | list[float]] = {}
    """More options of `recstream.ALS`, as ``recstream tune`` writes them."""
    self_tuning: bool = True
    """Search hyper-parameters, at first and while idle; not with ``hyperparameters``."""
    seed: int = 0
    threads: int = 0
    """Threads of training and ranking; 0: one a core."""
    keep_generations: int = 5
    spark_master: str = ""
    """Train factors on Spark; empty: on this machine."""
    spark_folder: str = ""
    """Folder that the trainer and Spark's executors share; empty: one in ``data_dir``."""
    spark_reads_log: bool = False
    """Executors read histories from checkpoints and log; the trainer makes no matrix."""

    # Checkpoints
    checkpoint_every_s: float = 3_600.0
    """Seconds between two checkpoints of a partition that changed; 0: only on request."""
    keep_checkpoints: int = 2
    """Newest checkpoints of a partition that are kept."""

    # Retention; 0: keep all
    keep_interactions_days: float = 0.0
    """Age of events that may be deleted behind a verified checkpoint."""
    keep_interactions_events: int = 0
    """Kept events of a partition; older ones may be deleted behind a verified checkpoint."""
    keep_lists_days: float = 0.0
    """Age of published lists that are deleted."""
    keep_models: int = 0
    """Newest generations whose announcements and deltas are kept."""
    compact_control: bool = False
    """Delete control records without a meaning any more."""

    # Kafka
    forget_after_s: float = 86_400.0
    """Seconds until requests to forget users are carried out together, and until a step follows."""
    kafka_replication: int = 1
    kafka_security_protocol: str = "PLAINTEXT"
    kafka_sasl_mechanism: str = ""
    kafka_sasl_username: str = ""
    kafka_sasl_password: str = ""
    kafka_ssl_cafile: str = ""

    log_level: str = "INFO"

    def __post_init__(self) -> None:
        given = {name: getattr(self, name) for name in LIMITS}
        for name, value in [*given.items(), *self.hyperparameters.items()]:
            least, most = LIMITS.get(name, (-math.inf, math.inf))
            if isinstance(value, int | float) and not least <= value <= most:
                message = f"setting {name} must be {least:,g} to {most:,g}, got {value!r}"
                raise InvalidSetting(message)
        self._check_texts()
        if self.log_level.upper() not in logging.getLevelNamesMapping():
            raise InvalidSetting(
                f"setting log_level must be DEBUG, INFO, WARNING or ERROR, got {self.log_level!r}"
            )

    def _check_texts(self) -> None:
        """Refuse texts that no path, URL or JSON can hold."""
        for name in self.__struct_fields__:
            if _NO_TEXT.search(str(getattr(self, name))):
                raise InvalidSetting(f"setting {name} must be text in UTF-8 without zero bytes")
        if not _FOLDER.fullmatch(self.data_dir):
            message = f"setting data_dir must have no '?' or '~name', got {self.data_dir!r}"
            raise InvalidSetting(message)
        if not _APP_ID.fullmatch(self.app_id):
            message = f"setting app_id must be 1 to 100 of A-Z a-z 0-9 . _ -, got {self.app_id!r}"
            raise InvalidSetting(message)

    @property
    def broker_url(self) -> str:
        """URL of the log: ``broker``, or the embedded log under ``data_dir``."""
        return self.broker or self.path("log.db").as_uri().replace("file:", "embedded:", 1)

    @property
    def catalogue_url(self) -> str:
        """URL of the catalogue: ``catalogue``, or an embedded store under ``data_dir``."""
        return self.catalogue or f"embedded://{self.path('catalogue')}"

    @property
    def models_url(self) -> str:
        """URL of the model store: ``models``, or a folder under ``data_dir``."""
        return self.models or f"file://{self.path('models')}"

    @property
    def checkpoints_url(self) -> str:
        """URL of the checkpoints: ``checkpoints``, or a folder under ``data_dir``."""
        return self.checkpoints or f"file://{self.path('checkpoints')}"

    @property
    def prunes_interactions(self) -> bool:
        """Whether events may be deleted behind a verified checkpoint."""
        return bool(self.keep_interactions_days or self.keep_interactions_events)

    @property
    def half_life_ms(self) -> float:
        """``half_life_days`` in milliseconds, the unit of event time."""
        return self.half_life_days * DAY_MS

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can reach the bridge."""
        return is_own_address(self.host)

    def path(self, *parts: str) -> Path:
        """Return an absolute path under ``data_dir``."""
        return Path(self.data_dir).expanduser().absolute().joinpath(*parts)

    def shown(self) -> dict[str, Any]:
        """Return the settings with secrets hidden."""
        shown: dict[str, Any] = msgspec.to_builtins(self)
        return {k: "***" if k in SECRETS and v else v for k, v in shown.items()}


def is_own_address(host: str) -> bool:
    """Return whether a host's name or address can only be this machine's."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"  # another name may have any address


def child_environ(settings: Settings) -> dict[str, str]:
    """Return this process's environment variables and the secrets, for a child process.

    Everybody on the machine can read a command line; only the owner can read its variables. No
    child imports modules from its working directory.
    """
    secrets = {
        f"RECSTREAM_{name.upper()}": getattr(settings, name)
        for name in SECRETS
        if getattr(settings, name)
    }
    return {**os.environ, **secrets, "PYTHONSAFEPATH": "1"}


def unknown_variables(environ: Mapping[str, str] | None = None) -> list[str]:
    """Return a sentence for each ``RECSTREAM_*`` variable that is no setting: the nearest name.

    >>> unknown_variables({"RECSTREAM_PARTITION": "8", "RECSTREAM_PORT": "80"})
    ['RECSTREAM_PARTITION is no setting; did you mean RECSTREAM_PARTITIONS?']
    """
    known = {name.upper() for name in Settings.__struct_fields__} | _OTHER_VARIABLES
    found = []
    for variable in sorted(os.environ if environ is None else environ):
        prefix, _, name = variable.partition("_")
        if prefix != "RECSTREAM" or name in known or _SERVICE_LINK.search(name):
            continue
        nearest = difflib.get_close_matches(name, known, 1)
        hint = (
            f"did you mean RECSTREAM_{nearest[0]}?"
            if nearest
            else "`recstream doctor --settings` lists all"
        )
        found.append(f"{variable} is no setting; {hint}")
    return found


def without_secrets(settings: Settings) -> Settings:
    """Return settings without their secrets, to send to another machine; see `with_secrets`."""
    return msgspec.structs.replace(settings, **dict.fromkeys(SECRETS, ""))


def with_secrets(settings: Settings) -> Settings:
    """Return settings that were sent here, with the secrets of this process's environment."""
    own = load()
    return msgspec.structs.replace(settings, **{name: getattr(own, name) for name in SECRETS})


def has_desktop(environ: Mapping[str, str] | None = None) -> bool:
    """Return whether this process could open a browser window."""
    variables = os.environ if environ is None else environ
    return sys.platform == "darwin" or bool(
        variables.get("DISPLAY") or variables.get("WAYLAND_DISPLAY")
    )


def load(
    flags: Mapping[str, Any] | None = None,
    *,
    environ: Mapping[str, str] | None = None,
    file: Path | None = None,
) -> Settings:
    """Return the settings from flags, environment, file and defaults, in that order.

    Parameters
    ----------
    flags : mapping, optional
        From the command line; None for flags that were not given.
    environ : mapping, optional
        Default: `os.environ`.
    file : Path, optional
        Default: ``RECSTREAM_CONFIG``, else an existing ``recstream.toml`` in the working directory.

    Raises
    ------
    InvalidSetting
        Names the setting, what was expected, and what came.
    """
    variables = os.environ if environ is None else environ
    path, in_file = _from_file(file, variables)
    in_environ = _from_environ(variables)
    given = {name: value for name, value in (flags or {}).items() if value is not None}
    values = in_file | in_environ | given
    origins = (
        dict.fromkeys(in_file, str(path))
        | {name: f"RECSTREAM_{name.upper()}" for name in in_environ}
        | dict.fromkeys(given, "the command line")
    )
    for name, value in values.items():
        if isinstance(value, str) and _NO_TEXT.search(value):
            raise InvalidSetting(f"setting {name} must be text in UTF-8 (from {origins[name]})")
    try:
        return msgspec.convert(values, Settings, strict=False)
    except msgspec.ValidationError as error:
        for name, value in values.items():
            _check_one(name, value, origins[name])
        raise InvalidSetting(str(error)) from error


def read_bounded(path: Path) -> bytes:
    """Return a small file's content without a byte order mark; raises `InvalidInput` beyond `MAX_FILE_BYTES`."""
    with path.open("rb") as file:
        content = file.read(MAX_FILE_BYTES + 1)
    if len(content) > MAX_FILE_BYTES:
        raise InvalidInput(f"{path} may have at most {MAX_FILE_BYTES:,} bytes, and has more")
    return content.removeprefix(codecs.BOM_UTF8)


def _check_one(name: str, value: Any, origin: str) -> None:
    """Raise with the origin of a value that can't be a setting's."""
    if name not in Settings.__struct_fields__:
        known = ", ".join(Settings.__struct_fields__)
        raise InvalidSetting(f"there is no setting {name} (from {origin}); known settings: {known}")
    try:
        msgspec.convert({name: value}, Settings, strict=False)
    except msgspec.ValidationError as error:
        cause = error.__cause__
        if isinstance(cause, InvalidSetting):
            raise InvalidSetting(f"{cause} (from {origin})") from error
        shown = "***" if name in SECRETS else repr(value)[:60]
        raise InvalidSetting(f"setting {name} can't be {shown} (from {origin}): {error}") from error


def _from_file(file: Path | None, variables: Mapping[str, str]) -> tuple[Path, dict[str, Any]]:
    named = file or (
        Path(variables["RECSTREAM_CONFIG"]) if "RECSTREAM_CONFIG" in variables else None
    )
    path = named or Path("recstream.toml")
    try:
        return path, tomllib.loads(read_bounded(path).decode())
    except FileNotFoundError:
        if named is None:
            return path, {}
        raise InvalidSetting(f"settings file {path} does not exist") from None
    except (OSError, InvalidInput, ValueError, RecursionError) as error:
        raise InvalidSetting(f"settings file {path} can't be read: {error}") from error


def _from_environ(variables: Mapping[str, str]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for name in Settings.__struct_fields__:
        variable = f"RECSTREAM_{name.upper()}"
        if variable in variables:
            values[name] = _structured(
                variable, variables[variable], Settings.__annotations__[name]
            )
        elif name in SECRETS and f"{variable}_FILE" in variables:
            path = Path(variables[f"{variable}_FILE"])
            try:
                values[name] = read_bounded(path).decode().strip()
            except (OSError, InvalidInput, UnicodeDecodeError) as error:
                raise InvalidSetting(
                    f"{variable}_FILE names {path}, which can't be read: {error}"
                ) from error
    return values


def _structured(variable: str, text: str, kind: Any) -> Any:
    """Return a variable's text, decoded as JSON if the setting is a structure."""
    if kind is not EventWeights and get_origin(kind) not in {dict, tuple}:
        return text
    try:
        return msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise InvalidSetting(f"{variable} must be JSON, got {text[:60]!r}: {error}") from error
