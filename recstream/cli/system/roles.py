"""`recstream worker`, `trainer`, `bridge`: one role of a deployment in the foreground."""

import logging
import sys

import click
import msgspec

from recstream.cli.options import json_option, settings_options
from recstream.settings import Settings, unknown_variables

supervised_option = click.option(
    "--supervised",
    is_flag=True,
    hidden=True,
    help="Stop when standard input closes: the supervisor has ended.",
)


@click.command()
@settings_options()
@json_option
@supervised_option
def worker(settings: Settings, as_json: bool, supervised: bool) -> None:
    """Fold events into histories, fold users in, publish their lists.

    Run at most as many as the topics have partitions; they share the partitions.

    \b
    Examples:
      recstream worker
      recstream worker --broker kafka://localhost:9092
    """
    _start("worker", settings, as_json=as_json, supervised=supervised)
    from recstream.worker import run

    run(settings)


@click.command()
@settings_options()
@json_option
@supervised_option
def trainer(settings: Settings, as_json: bool, supervised: bool) -> None:
    """Train on the histories, announce generations and their deltas.

    One is active; others stand by and take over when it ends.

    \b
    Examples:
      recstream trainer
      recstream trainer --set n_factors=128 --set train_every_s=300
    """
    _start("trainer", settings, as_json=as_json, supervised=supervised)
    from recstream.trainer.process import run

    run(settings)


@click.command()
@settings_options("host", "port")
@json_option
@supervised_option
def bridge(settings: Settings, as_json: bool, supervised: bool) -> None:
    """Serve REST, WebSocket and the page.

    Run any number behind a proxy; each keeps its own view of the log.

    \b
    Examples:
      recstream bridge --port 8000
      RECSTREAM_SECRET_FILE=/run/secrets/recstream recstream bridge --host 0.0.0.0
    """
    _start("bridge", settings, as_json=as_json, supervised=supervised)
    from recstream.bridge.server import run

    run(settings)


class _JsonLines(logging.Formatter):
    """A log line as one JSON object."""

    def __init__(self, role: str) -> None:
        super().__init__()
        self._role = role

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "ts": int(record.created * 1000),
            "role": self._role,
            "pid": record.process,
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return msgspec.json.encode(line).decode()


def _start(role: str, settings: Settings, *, as_json: bool, supervised: bool) -> None:
    """Set up logging, the data directory, and the end with the supervisor."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        _JsonLines(role)
        if as_json
        else logging.Formatter(
            f"%(asctime)s {role}[%(process)d] %(levelname)s %(name)s: %(message)s"
        )
    )
    logging.basicConfig(level=settings.log_level.upper(), handlers=[handler], force=True)
    for sentence in unknown_variables():
        logging.getLogger(__name__).warning("variable ignored: %s", sentence)
    from recstream.runtime.doctor import prepare_data_dir, wait_for_space

    if supervised:
        from recstream.process import follow_parent

        follow_parent()
        wait_for_space(settings)
    else:
        prepare_data_dir(settings)
