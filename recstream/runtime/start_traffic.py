"""Have the bridge send traffic of the demo shop, so that its page shows it and can stop it."""

import urllib.error
import urllib.request
from collections.abc import Callable
from http.client import HTTPResponse

import msgspec

from recstream.settings import Settings

OVERLOADED = 503
TIMEOUT_S = 5.0


def open_bridge(request: urllib.request.Request | str, timeout_s: float) -> HTTPResponse:
    """Send a request to a bridge of this machine; a proxy that the environment names is not asked.

    Raises
    ------
    OSError
        It does not answer, or with an error.
    """
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    found: HTTPResponse = opener.open(request, timeout=timeout_s)
    return found


class BridgeTraffic:
    """Switch synthetic traffic on once for each bridge process.

    A restarted bridge sends none until it is asked again.

    Parameters
    ----------
    rate : float
        Events a second; 0: the bridge is left alone.
    now_s : callable
        Seconds since 1970, for the token.
    """

    def __init__(self, settings: Settings, rate: float, now_s: Callable[[], float]) -> None:
        self._settings = settings
        self._rate = rate
        self._now_s = now_s
        self._process_id = 0

    def ensure_on(self, url: str, process_id: int) -> str:
        """Switch the traffic on if this bridge process has not been asked; return what to say, or nothing.

        A bridge that does not answer yet is asked again by the next call.
        """
        if not self._rate or not url or process_id == self._process_id:
            return ""
        body = msgspec.json.encode({"rate": self._rate})
        headers = {"Content-Type": "application/json"}
        if self._settings.secret:
            from recstream.bridge.auth import Authenticator  # noqa: PLC0415 - slow to import

            token, _ = Authenticator(self._settings.secret, now=self._now_s).issue(None)
            headers["Authorization"] = f"Bearer {token}"
        request = urllib.request.Request(f"{url}/v1/traffic", body, headers, method="PUT")  # noqa: S310 - our own bridge
        try:
            open_bridge(request, TIMEOUT_S).close()
        except urllib.error.HTTPError as error:
            if error.code == OVERLOADED:
                return ""
            self._process_id = process_id
            return (
                f"no synthetic traffic: PUT {url}/v1/traffic was answered {error.code} {error.reason}; "
                "switch it on in the page's lab"
            )
        except OSError:
            return ""
        is_first, self._process_id = self._process_id == 0, process_id
        said = (
            f"synthetic customers send {self._rate:g} events/s; the page's lab shows and stops them"
        )
        return said if is_first else ""
