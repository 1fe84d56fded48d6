"""Opened artifacts: the folder of a host in which its processes memory-map generations.

The first process that needs an artifact checks its digest and writes the generation's arrays as ``.npy``
files, ready to serve. All processes of the host map them: pages that no delta touched are shared. A folder
is written under another name and renamed, so it is whole or not there. After a restart of the machine
it is written again.
"""

import contextlib
import fcntl
import json
import logging
import os
import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recstream.core.generation import Generation, OpenedArrays, open_generation, opened_arrays
from recstream.core.numeric.arrays import GrowableArray
from recstream.errors import ArtifactCorrupt, RecstreamError
from recstream.models.artifact import unpack_with_digest
from recstream.models.store import ReadableStore, checked_name

log = logging.getLogger(__name__)

FORMAT = "2"
"""Changes when the arrays or the code that makes them change: older folders are written again."""
KEEP = 3
"""Opened generations that are kept: the serving one, the next one, and one more."""
MIN_BYTES = 8 << 20
"""A smaller artifact is read by each process: there is little to share."""
_INDEX = "arrays.json"
_DIGEST = re.compile(r"[0-9a-f]{1,128}")
_MIN_SHARED_BYTES = 1 << 20


class OpenedArtifacts:
    """Generations of a store, memory-mapped where the host has a folder for them.

    Parameters
    ----------
    store : ReadableStore
        Its ``opened_folder``, if it has one, is this host's folder.
    """

    def __init__(self, store: ReadableStore) -> None:
        self._store = store
        self._root: Path | None = getattr(store, "opened_folder", None)

    def open(self, name: str, digest: str | None = None) -> tuple[str, Generation]:
        """Return an artifact's digest and generation, without what only trainings need.

        Parameters
        ----------
        digest : str, optional
            From the announcement; without it, any artifact of this name.

        Raises
        ------
        NotFound
            The artifact is gone.
        ArtifactCorrupt
            It does not match its digest.
        """
        if digest is not None and not _DIGEST.fullmatch(digest):
            raise ArtifactCorrupt(f"{name}: a digest is hexadecimal digits, got {digest!r}")
        found = self._mapped(checked_name(name), digest)
        if found is not None:
            return found
        content = self._store.get(name)
        if self._root is None or len(content) < MIN_BYTES:
            return _owned(content, name, digest)
        try:
            with self._locked(self._root):
                found = self._mapped(name, digest)  # another process may have been faster
                if found is None:
                    actual, generation = unpack_with_digest(content, name, digest)
                    self._write(name, actual, generation)
                    found = self._mapped(name, actual) or (actual, generation)
                return found
        except OSError as error:  # a full disk, or no right to write
            log.warning("artifact not opened in %s, read instead: %s", self._root, error)
            return _owned(content, name, digest)

    def add(self, name: str, digest: str, generation: Generation, size_bytes: int) -> None:
        """Open a generation that has just been stored, without deltas, so that others find it."""
        if self._root is not None and size_bytes >= MIN_BYTES:
            try:
                with self._locked(self._root):
                    self._write(name, digest, generation)
            except OSError as error:
                log.warning("artifact not opened in %s: %s", self._root, error)

    @contextlib.contextmanager
    def _locked(self, root: Path) -> Iterator[None]:
        """Let one process of the host at a time write."""
        root.mkdir(mode=0o700, parents=True, exist_ok=True)
        status = root.stat()
        if status.st_uid != os.getuid() or status.st_mode & 0o022:
            raise PermissionError(f"{root} must belong to this user alone")
        with (root / ".lock").open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def _mapped(self, name: str, digest: str | None) -> tuple[str, Generation] | None:
        """Return a generation from its folder; None if there is none that can be used."""
        for path in self._folders(f"{name}.{digest or '*'}.{_host_version()}"):
            try:
                generation = _map(path)
            except (OSError, KeyError, TypeError, ValueError, RecstreamError) as error:
                log.warning("opened artifact not usable: %s", error)
                shutil.rmtree(path, ignore_errors=True)
                continue
            os.utime(path)
            return path.name.removeprefix(f"{name}.").partition(".")[0], generation
        return None

    def _folders(self, pattern: str) -> list[Path]:
        return [] if self._root is None else list(self._root.glob(pattern))

    def _write(self, name: str, digest: str, generation: Generation) -> None:
        if self._root is None:
            return
        path = self._root / f"{name}.{digest}.{_host_version()}"
        if path.exists():
            return
        for old in self._root.glob(".writing-*"):  # of a process that was killed
            shutil.rmtree(old, ignore_errors=True)
        newest = sorted(self._folders("*.*.*"), key=lambda each: each.stat().st_mtime)
        for old in newest[: max(0, len(newest) - KEEP + 1)]:
            shutil.rmtree(old, ignore_errors=True)
        temporary = Path(tempfile.mkdtemp(prefix=".writing-", dir=self._root))
        try:
            _save(temporary, opened_arrays(generation))
            temporary.replace(path)
        except BaseException:
            shutil.rmtree(temporary, ignore_errors=True)
            raise


def _owned(content: bytes, name: str, digest: str | None) -> tuple[str, Generation]:
    """Return an artifact's digest and generation in memory of this process, with room for deltas."""
    actual, generation = unpack_with_digest(content, name, digest)
    generation.content_arrays.clear()
    generation.own()
    return actual, generation


def _host_version() -> str:
    """Return what an opened folder depends on, besides the artifact: the form, and this boot."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()
    except OSError:
        boot = "any"
    return f"{FORMAT}-{boot}"


def _save(folder: Path, arrays: OpenedArrays) -> None:
    """Write arrays as ``.npy`` files; files of growable ones have room for half as many rows more."""
    index: dict[str, dict[str, Any]] = {}
    written: dict[str, NDArray[Any]] = {}
    for name, array in {**arrays.growable, **arrays.fixed}.items():
        grows = name in arrays.growable
        room = max(len(array) * 3 // 2, 64) if grows else len(array)
        same = next((each for each, known in written.items() if _is_equal(known, array)), None)
        path = folder / f"{same or name}.npy"
        if same is None:
            written[name] = array
            np.save(path, np.ascontiguousarray(array), allow_pickle=False)
        offset = path.stat().st_size - array.nbytes if same is None else index[same]["offset"]
        index[name] = {
            "file": path.name, "dtype": array.dtype.str, "shape": array.shape, "offset": offset,
            "room": room, "grows": grows,
        }  # fmt: skip
        if same is None and array.size:
            os.truncate(path, offset + room * (array.nbytes // len(array)))
    (folder / _INDEX).write_text(json.dumps(index), "utf-8")


def _is_equal(one: NDArray[Any], other: NDArray[Any]) -> bool:
    """Return whether one file can hold both: factors of many lengths are the same in two arrays."""
    return (
        one.nbytes > _MIN_SHARED_BYTES
        and (one.shape, one.dtype) == (other.shape, other.dtype)
        and np.array_equal(one, other)
    )


def _map(folder: Path) -> Generation:
    """Return the generation of a folder."""
    index: Mapping[str, Mapping[str, Any]] = json.loads((folder / _INDEX).read_text("utf-8"))
    fixed: dict[str, NDArray[Any]] = {}
    growable: dict[str, GrowableArray] = {}
    for name, each in index.items():
        dtype, shape = np.dtype(each["dtype"]), (each["room"], *each["shape"][1:])
        if 0 in each["shape"]:
            buffer = np.zeros(shape, dtype)
        else:
            path = folder / each["file"]
            buffer = np.asarray(np.memmap(path, dtype, "c", each["offset"], shape))
        if each["grows"]:
            growable[name] = GrowableArray.over(buffer, each["shape"][0])
        else:
            fixed[name] = buffer
    return open_generation(fixed, growable)
