"""One run of `recstream import`: the log, progress bars, and the report."""

from collections.abc import Callable
from pathlib import Path
from typing import Self

from rich.console import Console
from rich.progress import Progress

from recstream.cli.options import is_terminal, say
from recstream.importers import ImportReport
from recstream.log import open_log, topic_specs
from recstream.runtime.doctor import prepare_data_dir
from recstream.settings import Settings


class Import:
    """One import: the log, a progress bar on a terminal, and the report."""

    def __init__(self, settings: Settings, file: Path | None, *, as_json: bool) -> None:
        self._settings = settings
        self._as_json = as_json
        shows = file is not None and file.is_file() and is_terminal() and not as_json
        self._bars = _Bars(file) if file is not None and shows else None

    def __enter__(self) -> Self:
        prepare_data_dir(self._settings)
        self.log = open_log(self._settings.broker_url, self._settings)
        self.log.create_topics(topic_specs(self._settings.partitions))
        return self

    def __exit__(self, *error: object) -> None:
        if self._bars is not None:
            self._bars.close()
        self.log.close()

    @property
    def on_progress(self) -> Callable[[int], None] | None:
        """Shows how much of the file was read; None without a terminal."""
        return None if self._bars is None else self._bars.read

    @property
    def on_written(self) -> Callable[[int, int], None] | None:
        """Shows how many events were appended; None without a terminal."""
        return None if self._bars is None else self._bars.written

    def finish(self, report: ImportReport, *, done: str = "imported") -> None:
        """Print the report; ``done`` says what was done with the events."""
        if self._bars is not None:
            self._bars.close()
        n = report.imported + report.undone
        rate = n / max(report.seconds, 1e-9)
        lines = [f"{_counted(n, 'event')} {done} in {report.seconds:.2f} s ({rate:,.0f}/s)"]
        if report.users:
            lines.append(
                f"the file names {_counted(report.users, 'user')} and "
                f"{_counted(report.items, 'item')}"
            )
        if report.already:
            lines.append(f"{report.already:,} had been {done} before")
        if report.products:
            lines.append(f"{_counted(report.products, 'product')} put into the catalogue")
        if report.skipped:
            lines.append(f"{_counted(report.skipped, 'row')} of other types skipped")
        if report.rejected:
            lines.append(f"{_counted(report.rejected, 'line')} rejected; the first:")
            lines += [f"  line {problem.line}: {problem.reason}" for problem in report.problems]
        lines += [f"note: {note}" for note in report.notes]
        say(report, "\n".join(lines), as_json=self._as_json)


def _counted(n: int, noun: str) -> str:
    return f"{n:,} {noun}{'' if n == 1 else 's'}"


class _Bars:
    """Progress on standard error: reading, then writing, with the time left."""

    def __init__(self, file: Path) -> None:
        self._progress = Progress(console=Console(stderr=True), transient=True)
        self._reading = self._progress.add_task(f"reading {file.name}", total=file.stat().st_size)
        self._writing = self._progress.add_task("appending events", total=None, visible=False)
        self._progress.start()

    def read(self, n_bytes: int) -> None:
        """Show how much of the file has been read."""
        self._progress.update(self._reading, completed=n_bytes)

    def written(self, done: int, total: int) -> None:
        """Show how many events have been appended."""
        self._progress.update(self._writing, completed=done, total=total, visible=True)

    def close(self) -> None:
        """Remove the bars."""
        self._progress.stop()
