"""Checks of this machine and of an installation, for `recstream doctor` and before a start."""

import errno
import logging
import os
import shutil
import socket
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from importlib.metadata import PackageNotFoundError, version
from typing import Literal, NamedTuple

import msgspec

from recstream.core.records import TrainerStatus, WorkerStatus, decode_pipeline
from recstream.errors import NotFound, OutOfSpace, RecstreamError, StartupError
from recstream.metrics import HEARTBEAT_LATE_S
from recstream.process import bound_socket, is_running, system_clock_ms
from recstream.settings import Settings, unknown_variables

log = logging.getLogger(__name__)

MIN_FREE_BYTES = 64 * 1024 * 1024
MIN_PYTHON = (3, 11)
HEARTBEAT_RECORDS = 500
LATE_CHECKPOINTS = 3
"""Events that have waited for so many times ``checkpoint_every_s`` should have a checkpoint."""
RETRY_S = 1.0
WARN_EVERY = 30


class Finding(NamedTuple):
    """The result of one check. ``advice`` says what to do unless the state is ``ok``."""

    check: str
    state: Literal["ok", "warning", "failed"]
    detail: str
    advice: str = ""


def prepare_data_dir(settings: Settings) -> None:
    """Create the data directory, and check that it can be written and has free space.

    Raises
    ------
    OutOfSpace
        Its disk is full, or nearly so.
    StartupError
        It can't be used; the message names the folder and what to do.
    """
    folder = settings.path()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(b"recstream")
    except OSError as error:
        if error.errno in {errno.ENOSPC, errno.EDQUOT}:
            raise OutOfSpace(
                f"data directory {folder} can't be used: {error.strerror}; free some space there"
            ) from error
        raise StartupError(
            f"data directory {folder} can't be used: {error.strerror}; make it writable, or choose "
            "another with --data-dir or RECSTREAM_DATA_DIR"
        ) from error
    free_bytes = shutil.disk_usage(folder).free
    if free_bytes < MIN_FREE_BYTES:
        raise OutOfSpace(
            f"data directory {folder} has {free_bytes // 1024**2} MiB free, at least "
            f"{MIN_FREE_BYTES // 1024**2} are needed; free some space there"
        )


def wait_for_space(settings: Settings) -> None:
    """Prepare the data directory; wait while its disk is full.

    A supervised role that ended instead would be given up after three tries.

    Raises
    ------
    StartupError
        The data directory can't be used for another reason.
    """
    attempt = 0
    while True:
        try:
            prepare_data_dir(settings)
        except OutOfSpace as error:
            if attempt % WARN_EVERY == 0:
                log.warning("waiting for space: %s", error)
            attempt += 1
            time.sleep(RETRY_S)
        else:
            return


def warm_up_kernels(settings: Settings) -> Finding:
    """Train, fold in and rank once on synthetic data, so that numba caches the compiled kernels."""
    import numpy as np  # noqa: PLC0415 - slow to import, and not needed by the other checks
    from scipy import sparse  # noqa: PLC0415

    from recstream.core.als.trainer import ALS  # noqa: PLC0415
    from recstream.core.popularity.popularity import Popularity  # noqa: PLC0415
    from recstream.process import fill_cache  # noqa: PLC0415

    started_s = time.perf_counter()
    n = 2 * settings.n_factors
    # Rows of every length from 1 up: short and long rows use different kernels.
    matrix = sparse.csr_array(np.tril(np.ones((n, n), dtype=np.float32)))
    model = ALS(n_factors=settings.n_factors, iterations=2, seed=0).fit(matrix)
    model = ALS(n_factors=settings.n_factors, iterations=1, seed=0).fit(matrix, init=model)
    model.fold_in_items(matrix[:3])
    model.recommend(model.fold_in(matrix[:3]), n=5, exclude=matrix[:3])
    Popularity.empty(2).observe(np.array([0, 1, 1], dtype=np.int64))
    fill_cache()
    return Finding("kernels", "ok", f"ready after {time.perf_counter() - started_s:.1f} s")


def examine(settings: Settings) -> Iterator[Finding]:
    """Yield one finding for each check; a failed check does not stop the others."""
    yield _python()
    yield from _packages(settings)
    checks: tuple[tuple[str, Callable[[Settings], Finding]], ...] = (
        ("variables", _variables),
        ("data directory", _data_dir),
        ("event log", _event_log),
        ("roles", _roles),
        ("catalogue", _catalogue),
        ("models", lambda settings: _store("models", settings.models_url)),
        ("checkpoints", _checkpoints),
        ("port", _port),
        ("access", _access),
    )
    for name, check in checks:
        try:
            yield check(settings)
        except (RecstreamError, OSError, ImportError) as error:
            yield Finding(name, "failed", str(error))


def _python() -> Finding:
    found = ".".join(map(str, sys.version_info[:3]))
    if sys.version_info < MIN_PYTHON:
        return Finding("python", "failed", found, "recstream needs Python 3.11 or newer")
    return Finding("python", "ok", f"{found}, {os.cpu_count()} cores")


def _packages(settings: Settings) -> Iterator[Finding]:
    needed = ["faust-streaming", "numba", "rocksdict"]
    if settings.broker_url.startswith("kafka:"):
        needed += ["aiokafka", "confluent-kafka"]
    stores = [settings.models_url, settings.checkpoints_url]
    if any(url.startswith("mongodb") for url in (settings.catalogue_url, *stores)):
        needed.append("pymongo")
    if any(not url.startswith(("file:", "mongodb")) for url in stores):
        needed.append("fsspec")
    if settings.spark_master:
        needed.append("pyspark")
    for package in needed:
        try:
            yield Finding(package, "ok", version(package))
        except PackageNotFoundError:
            advice = f"install it: pip install {package}"
            yield Finding(package, "failed", "not installed", advice)


def _variables(settings: Settings) -> Finding:
    del settings
    if unknown := unknown_variables():
        return Finding("variables", "failed", "; ".join(unknown), "correct or unset them")
    return Finding("variables", "ok", "every RECSTREAM_ variable is a setting")


def _data_dir(settings: Settings) -> Finding:
    prepare_data_dir(settings)
    free_gib = shutil.disk_usage(settings.path()).free / 1024**3
    return Finding("data directory", "ok", f"{settings.path()}, {free_gib:.1f} GiB free")


def _has_no_log(settings: Settings) -> bool:
    """Return whether the log is embedded and no role has created it yet."""
    from recstream.log import embedded_file  # noqa: PLC0415 - slow to import

    path = embedded_file(settings.broker_url)
    return path is not None and not path.exists()


def _event_log(settings: Settings) -> Finding:
    from recstream.log import open_log  # noqa: PLC0415 - a Kafka client is loaded only if used
    from recstream.log.topics import INTERACTIONS  # noqa: PLC0415

    if _has_no_log(settings):
        return Finding("event log", "ok", "none yet; `recstream up` creates it")
    event_log = open_log(settings.broker_url, settings)
    try:
        partitions = event_log.partitions(INTERACTIONS)
        n_records = sum(event_log.high_watermark(INTERACTIONS, p) for p in range(partitions))
    except NotFound:
        return Finding("event log", "ok", f"epoch {event_log.epoch}, no topics yet")
    finally:
        event_log.close()
    if partitions != settings.partitions:
        return Finding(
            "event log",
            "failed",
            f"{INTERACTIONS} has {partitions} partitions, the settings say {settings.partitions}",
            f"set partitions={partitions}: the count is fixed once the log exists",
        )
    return Finding(
        "event log",
        "ok",
        f"epoch {event_log.epoch}, {partitions} partitions, {n_records:,} records of events",
    )


def _roles(settings: Settings) -> Finding:
    """Return which workers and trainers run, by their newest heartbeats."""
    from recstream.log import PIPELINE, open_log, read_records  # noqa: PLC0415 - as above

    if _has_no_log(settings):
        return Finding("roles", "ok", "none runs; `recstream up` starts them")
    with closing(open_log(settings.broker_url, settings)) as event_log:
        try:
            end = event_log.high_watermark(PIPELINE, 0)
        except NotFound:
            end = 0
        start = max(event_log.earliest(PIPELINE, 0), end - HEARTBEAT_RECORDS) if end else 0
        records = list(read_records(event_log, PIPELINE, 0, start)) if end else []
    values = [record.value for record in records if record.value is not None]
    running, silent = _heartbeats(values, time.time_ns() // 1_000_000)
    text = ", ".join(running) or "none runs; `recstream up` starts them"
    if not silent:
        return Finding("roles", "ok", text)
    advice = "`kill -CONT` resumes a stopped process; else end it and start it again"
    return Finding("roles", "warning", "; ".join([text, *silent]), advice)


def _heartbeats(values: Iterable[bytes], now_ms: float) -> tuple[list[str], list[str]]:
    """Return the roles whose heartbeats come, and those of this host that run without one."""
    newest: dict[str, WorkerStatus | TrainerStatus] = {}
    for value in values:
        try:
            found = decode_pipeline(value)
        except (msgspec.MsgspecError, ValueError, RecursionError):
            continue
        if isinstance(found, WorkerStatus):
            newest[f"worker {found.worker}"] = found
        elif isinstance(found, TrainerStatus):
            newest[f"trainer {found.trainer}"] = found
    running, silent = [], []
    for name, beat in sorted(newest.items()):
        age_s = (now_ms - beat.ts) / 1000
        if age_s <= HEARTBEAT_LATE_S:
            waits = getattr(beat, "waits_for", "")
            running.append(f"{name} (waits for {waits})" if waits else name)
        elif _runs_here(name.partition(" ")[2]):
            silent.append(f"{name} runs, but its last heartbeat is {age_s:.0f} s old")
    return running, silent


def _runs_here(process: str) -> bool:
    """Return whether a process, named by host and id, runs on this host."""
    host, _, pid = process.rpartition("-")
    return host == socket.gethostname() and pid.isdecimal() and is_running(int(pid))


def _catalogue(settings: Settings) -> Finding:
    if settings.catalogue_url.startswith("embedded:"):
        return Finding("catalogue", "ok", "embedded")
    from recstream.catalogue import open_catalogue  # noqa: PLC0415 - an extra that may be missing

    catalogue = open_catalogue(settings.catalogue_url)
    try:
        return Finding("catalogue", "ok", f"{catalogue.count():,} items")
    finally:
        catalogue.close()


def _store(name: str, url: str) -> Finding:
    from recstream.models import open_store  # noqa: PLC0415 - an extra that may be missing

    store = open_store(url, name)
    try:
        return Finding(name, "ok", f"{len(store.list()):,} files")
    finally:
        if close := getattr(store, "close", None):
            close()


def _checkpoints(settings: Settings) -> Finding:
    """Return whether the store can be listed, and whether events wait too long for a checkpoint."""
    found = _store("checkpoints", settings.checkpoints_url)
    late = _late_partitions(settings, time.time_ns() // 1_000_000)
    if not late:
        return found
    oldest_s = max(late.values())
    return found._replace(
        state="warning",
        detail=f"{found.detail}; partitions {', '.join(map(str, late))} have events without a "
        f"checkpoint since {oldest_s:,.0f} s, the setting checkpoint_every_s is "
        f"{settings.checkpoint_every_s:g}",
        advice="the log of the worker that owns them says why",
    )


def _late_partitions(settings: Settings, now_ms: int) -> dict[int, float]:
    """Return the seconds since when events have no checkpoint, by partition, if they are too many."""
    from recstream.checkpoints import open_checkpoints  # noqa: PLC0415 - as above
    from recstream.log import INTERACTIONS, histories_changelog, open_log, read_records  # noqa: PLC0415

    late: dict[int, float] = {}
    if _has_no_log(settings) or not settings.checkpoint_every_s:
        return late
    with closing(open_log(settings.broker_url, settings)) as event_log:
        checkpoints = open_checkpoints(event_log, settings)
        for partition in range(event_log.topics().get(INTERACTIONS, 0)):
            made = checkpoints.newest(partition, histories_changelog(settings.app_id))
            start = event_log.earliest(INTERACTIONS, partition)
            start = start if made is None else max(start, made.offset)
            first = next(read_records(event_log, INTERACTIONS, partition, start), None)
            if first is not None:
                since_ms = max(first.timestamp_ms, 0 if made is None else made.made_ts)
                waited_s = (now_ms - since_ms) / 1000
                if waited_s > LATE_CHECKPOINTS * settings.checkpoint_every_s:
                    late[partition] = waited_s
    return late


def _port(settings: Settings) -> Finding:
    try:
        bound_socket(settings.host, settings.port).close()
    except StartupError as error:
        return Finding("port", "warning", str(error), "no problem if recstream itself runs there")
    return Finding("port", "ok", f"{settings.host}:{settings.port} is free")


def _access(settings: Settings) -> Finding:
    from recstream.bridge.auth import Authenticator  # noqa: PLC0415 - slow to import

    authenticator = Authenticator.from_settings(settings, now=lambda: system_clock_ms() / 1000)
    return Finding("access", "ok", "this machine only" if authenticator.is_open else "tokens")
