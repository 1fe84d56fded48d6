"""A folder of exported slices: listed, read, and opened to look into."""

import re
import threading
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path

from recstream.analysis import Slice
from recstream.errors import InvalidInput, NotFound

MAX_OPEN = 2
MAX_KEPT = 50
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}\.zip")


class SliceFolder:
    """Slices in a folder. Thread-safe.

    Parameters
    ----------
    folder : Path
        Created by the first export; files that are copied into it are found too.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._mutex = threading.Lock()
        self._open: OrderedDict[tuple[str, int], Slice] = OrderedDict()

    def path(self, name: str) -> Path:
        """Return the path of a slice.

        Raises
        ------
        InvalidInput
            It is no name like ``monday.zip``.
        """
        if _NAME.fullmatch(name) is None:
            raise InvalidInput(f"expected a slice's name like monday.zip, got {name!r}")
        return self._folder / name

    def existing(self, name: str) -> Path:
        """Return the path of a slice that exists; raises `NotFound` too."""
        path = self.path(name)
        if not path.is_file():
            raise NotFound(f"there is no slice {name!r}; copy one into {self._folder.name}/")
        return path

    def list(self) -> list[Path]:
        """Return the slices, the newest first."""
        found = [path for path in self._folder.glob("*.zip") if _NAME.fullmatch(path.name)]
        return sorted(found, key=lambda path: -path.stat().st_mtime)

    def write(self, name: str, export: Callable[[Path], object]) -> Path:
        """Write a slice by a function; a file appears when it is complete.

        Raises
        ------
        InvalidInput
            The folder is full.
        """
        path = self.path(name)
        if len(self.list()) >= MAX_KEPT:
            raise InvalidInput(f"there are {MAX_KEPT} slices; delete some first")
        self._folder.mkdir(parents=True, exist_ok=True)
        unfinished = path.with_suffix(".unfinished")
        try:
            export(unfinished)
            unfinished.replace(path)
        finally:
            unfinished.unlink(missing_ok=True)
        return path

    def delete(self, name: str) -> None:
        """Delete a slice."""
        self.existing(name).unlink()

    def open(self, name: str) -> Slice:
        """Return an open slice; the newest `MAX_OPEN` are kept in memory.

        Raises
        ------
        InvalidInput
            It is no slice, or damaged.
        """
        path = self.existing(name)
        key = name, path.stat().st_mtime_ns
        with self._mutex:
            if key not in self._open:
                self._open[key] = Slice(path, name)
                if len(self._open) > MAX_OPEN:
                    self._open.popitem(last=False)
            self._open.move_to_end(key)
            return self._open[key]
