"""Cells of a row as ids, numbers and times: normalise them, or say why they can't be read."""

import math
import re
import unicodedata
from datetime import UTC, datetime

from recstream.core.events import timestamp_ms

SECONDS_BELOW = 1e11
MILLISECONDS_BELOW = 1e14
"""A number below this counts milliseconds since 1970."""
MICROSECONDS_BELOW = 1e17
"""A number below this counts microseconds since 1970, one above nanoseconds."""
LATEST_MS = 7_258_118_400_000
"""The year 2200: a later time was read in the wrong unit."""
MAX_EXACT = 2.0**53

_MISSING = frozenset(
    {
        "",
        "nan",
        "null",
        "none",
        "n/a",
        "<na>",
        "#n/a",
        "nat",
        "undefined",
        "nil",
        "\\n",
        "(not set)",
    }
)
"""How programs write that there is no value, in lower case."""
_WHOLE_FLOAT = re.compile(r"([+-]?\d+)\.0+")
_INVISIBLE = dict.fromkeys(map(ord, "\u200b\u2060\ufeff\u00ad"))
"""Zero-width space, word joiner, byte order mark, soft hyphen: left by copying, never meant."""
_COMPACT_TIMES = {8: "%Y%m%d", 12: "%Y%m%d%H%M", 14: "%Y%m%d%H%M%S"}


def is_missing(text: str) -> bool:
    """Whether a text says that there is no value.

    >>> [is_missing(text) for text in ("", "NaN", "NULL", "nancy")]
    [True, True, True, False]
    """
    return text.casefold() in _MISSING or text == "NA"


def parse_id(text: str, what: str = "an id") -> str:
    r"""Return an id: a whole number without its decimals, a text without invisible characters.

    Raises ValueError where there is none.

    >>> parse_id("123.0"), parse_id("\ufeffa\u200b1"), parse_id("1.5")
    ('123', 'a1', '1.5')
    """
    if not text.isascii():
        text = text.translate(_INVISIBLE).strip()
        undecodable = next((c for c in text if "\udc80" <= c <= "\udcff"), None)
        if undecodable is not None:
            raise ValueError(
                f"expected {what}, got bytes that the file's encoding can't decode "
                f"(0x{ord(undecodable) - 0xDC00:02x}); name the encoding with --encoding"
            )
    if is_missing(text):
        got = f"{text!r}, which means no value" if text else "an empty one"
        raise ValueError(f"expected {what}, got {got}")
    whole = _WHOLE_FLOAT.fullmatch(text)
    return whole[1] if whole else text


def describe_unprintable(text: str) -> str:
    r"""Name the first character of a text that can't be printed.

    >>> describe_unprintable("a\u202eb")
    'U+202E RIGHT-TO-LEFT OVERRIDE'
    """
    for character in text:
        if not character.isprintable():
            name = unicodedata.name(character, "a control character")
            return f"U+{ord(character):04X} {name}"
    return ""


def parse_number(text: str) -> float:
    """Return a number, NaN where there is none."""
    if is_missing(text):
        return math.nan
    try:
        return _number(text)
    except ValueError:
        hint = "; write decimals with a point" if "," in text else ""
        raise ValueError(f"expected a number as value, got {text[:40]!r}{hint}") from None


def _number(text: str) -> float:
    """Return a number; Python's own form with underscores is none: it is a code or a name."""
    if "_" in text:
        raise ValueError
    return float(text)


def parse_time(text: str, form: str = "") -> int:
    """Return milliseconds since 1970 of a time.

    Parameters
    ----------
    text : str
        A number since 1970 (seconds to nanoseconds, by its size), a compact date like 20191001, or
        ISO 8601. Without a zone, UTC.
    form : str
        Read the text by this format of `datetime.strptime` instead.

    Examples
    --------
    >>> parse_time("1260759144"), parse_time("1260759144000"), parse_time("2009-12-14 02:52:24")
    (1260759144000, 1260759144000, 1260759144000)
    >>> parse_time("20191001") == parse_time("2019-10-01")
    True
    """
    if form:
        try:
            milliseconds = _moment_ms(datetime.strptime(text, form))  # noqa: DTZ007 - see _moment_ms
        except ValueError as error:
            why = "" if str(error).startswith("time data") else f": {error}"
            raise ValueError(f"expected a time like {form}, got {text[:40]!r}{why}") from None
    else:
        try:
            number = _number(text)
        except ValueError:
            milliseconds = _moment_ms(_iso(text))
        else:
            milliseconds = _number_ms(text, number)
    if not 0 <= milliseconds < LATEST_MS:
        raise ValueError(f"expected a time from 1970 to 2200, got {text[:40]!r}")
    return milliseconds


def _moment_ms(moment: datetime) -> int:
    return timestamp_ms(moment if moment.tzinfo else moment.replace(tzinfo=UTC))


def _number_ms(text: str, number: float) -> int:
    if not math.isfinite(number):
        raise ValueError(f"expected a time, got {text[:40]!r}")
    digits = text.removesuffix(".0")
    form = _COMPACT_TIMES.get(len(digits))
    if form is not None and digits.isdecimal() and digits[:2] in {"19", "20", "21"}:
        try:
            moment = datetime.strptime(digits, form)  # noqa: DTZ007 - UTC is added below
        except ValueError:
            pass
        else:
            return _moment_ms(moment)
    if number < SECONDS_BELOW:
        number *= 1000.0
    elif number >= MICROSECONDS_BELOW:
        number /= 1e6
    elif number >= MILLISECONDS_BELOW:
        number /= 1000.0
    return int(number)


def _iso(text: str) -> datetime:
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(
            "expected a time as a number since 1970 or like 2026-11-22T10:00:00Z, got "
            f"{text[:40]!r}; name another form with --time-format"
        ) from None
