"""What `wattlake up` prints while it runs."""

from datetime import UTC, datetime
from typing import cast

import pytest
from rich.text import Text

from local_stack.cli import up
from local_stack.cli.efficiency_tables import STATUS_STYLES, FleetHour, VehicleHour
from local_stack.client.collector import Collector
from local_stack.errors import CollectorError
from local_stack.terminal import Terminal

HOUR = FleetHour.model_validate(
    {
        "hourStart": datetime(2026, 3, 1, 12, tzinfo=UTC),
        "ratedEnergyAcKwh": 100.0,
        "ratedEnergyDcKwh": 90.0,
        "lossKwh": 10.0,
        "efficiencyPercent": 90.0,
        **{f"vehicles_{status}": 0 for status in STATUS_STYLES},
    },
    by_name=True,
    by_alias=True,
)


def test_an_hour_is_printed_once_its_vehicles_can_be_read_as_well(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    are_away = True

    def worst_vehicles(*_: object) -> list[VehicleHour]:
        if are_away:
            raise CollectorError("the lake can't be read")
        return []

    monkeypatch.setattr(up, "fleet_hours", lambda *_: [HOUR])
    monkeypatch.setattr(up, "worst_vehicles", worst_vehicles)
    collector, shown = cast("Collector", None), None
    with Terminal() as terminal:
        for _ in range(3):
            with pytest.raises(CollectorError):
                up.show_efficiency(terminal, collector, shown)
        assert capsys.readouterr().out == ""
        are_away = False
        for _ in range(3):
            shown = up.show_efficiency(terminal, collector, shown)
    assert capsys.readouterr().out.count("90.0 %") == 1


def test_a_long_line_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    text = "the database ended (SIGKILL; see /srv/" + 30 * "long/" + "server.log) and starts again"
    with Terminal() as terminal:
        terminal.print(Text(text, style="yellow"))
    assert capsys.readouterr().out == f"{text}\n"
