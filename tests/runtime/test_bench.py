"""`recstream bench`: every scenario beside its reference."""

import json

import pytest

from recstream.cli import run


@pytest.mark.slow
def test_every_scenario_is_measured_beside_a_reference(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["bench", "--json"]) == 0

    answer = json.loads(capsys.readouterr().out)
    scenarios = [each["scenario"] for each in answer["scenarios"]]
    assert scenarios == ["append", "import", "fit", "fold_in", "top_n"]
    for each in answer["scenarios"]:
        assert each["per_second"] >= each["slowest_per_second"] > 0.0
        assert each["reference_per_second"] > 0.0
    assert answer["machine"]["cores"] >= 1
