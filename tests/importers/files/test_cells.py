"""Cells of files become times."""

import pytest

from recstream.importers.files.cells import parse_time


@pytest.mark.parametrize(
    ("text", "milliseconds"),
    [
        ("0", 0),
        ("1260759144", 1_260_759_144_000),
        ("1396437466.94", 1_396_437_466_940),
        ("1260759144000", 1_260_759_144_000),
        ("1260759144000000", 1_260_759_144_000),
        ("1260759144000000000", 1_260_759_144_000),
        ("2009-12-14", 1_260_748_800_000),
        ("2009-12-14 02:52:24", 1_260_759_144_000),
        ("2009-12-14T03:52:24+01:00", 1_260_759_144_000),
    ],
)
def test_a_time_is_a_number_since_1970_or_iso_8601(text: str, milliseconds: int) -> None:
    assert parse_time(text) == pytest.approx(milliseconds, abs=1)


@pytest.mark.parametrize(
    "text", ["", "soon", "nan", "inf", "-1", "9999-12-31", "1e300", "1_260_759_144"]
)
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="expected a time"):
        parse_time(text)
