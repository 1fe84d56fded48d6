"""`recstream token`: issue an access token for the bridge."""

import time

import click

from recstream.cli.options import json_option, say, settings_options, user_option
from recstream.errors import InvalidSetting
from recstream.settings import Settings


@click.command()
@user_option("May act for this user only.  [default: a service, for all]")
@click.option("--ttl", "ttl_s", type=click.IntRange(1, 315_360_000), default=3600, help="Seconds.")
@settings_options()
@json_option
def token(settings: Settings, user: str | None, ttl_s: int, as_json: bool) -> None:
    """Issue an access token for a user, or for a service that acts for all users.

    Needs the bridge's secret: RECSTREAM_SECRET or RECSTREAM_SECRET_FILE.

    \b
    Examples:
      RECSTREAM_SECRET_FILE=/run/secrets/recstream recstream token --user u42
      recstream token --ttl 86400 --json
    """
    from recstream.bridge.auth import Authenticator

    if not settings.secret:
        raise InvalidSetting(
            "a token needs the bridge's secret: set RECSTREAM_SECRET, or RECSTREAM_SECRET_FILE to "
            "the path of a file that holds it"
        )
    made, expires_s = Authenticator(settings.secret, now=lambda: time.time_ns() / 1e9).issue(
        user, ttl_s=ttl_s
    )
    say({"token": made, "expires_s": expires_s, "user": user}, made, as_json=as_json)
