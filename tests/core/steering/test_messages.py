"""What an invalid document's error says: where it is wrong, and what is possible there."""

import pytest

from recstream.core.steering import decode_steering
from recstream.errors import InvalidSteering


@pytest.mark.parametrize(
    ("text", "pointer", "said"),
    [
        ('{"rule": []}', "", "unknown field `rule`; known: rules, diversity, rotation"),
        ('{"rules": [{"action": "bost"}]}', "/rules/0/action", "known: exclude, only, boost, pin"),
        (
            '{"rules": [{"action": "exclude", "name": "r", "where": {"colour": "a"}}]}',
            "/rules/0/where",
            "unknown field `colour`; known: category, brand, price, attributes",
        ),
        (
            '{"rules": [{"action": "exclude", "name": "r", "where": {"price": {"mx": 1}}}]}',
            "/rules/0/where/price",
            "unknown field `mx`; known: min, max",
        ),
        (
            '{"arms": [{"name": "a", "share": 1, "diversity": {"strength": 0.5, "by": ["x"]}}]}',
            "/arms/0/diversity/by/0",
            "Invalid enum value 'x'; known: brand, category, taste",
        ),
        (
            '{"rules": [{"action": "exclude", "name": "r", "where": {"attributes": {"a": {"q": 1}}}}]}',
            "/rules/0/where/attributes",
            "unknown field `q`; known: eq, in, min, max, exists",
        ),
        (
            '{"rules": [{"action": "pin", "name": "p", "items": ["a"], "where": {}}]}',
            "/rules/0",
            "unknown field `where`",
        ),
    ],
)
def test_a_wrong_name_or_value_is_answered_by_those_that_exist(
    text: str, pointer: str, said: str
) -> None:
    with pytest.raises(InvalidSteering) as raised:
        decode_steering(text)

    assert raised.value.pointer == pointer
    assert said in raised.value.reason
