"""The file of alert rules: what may stand in it, and how its faults are told."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import jsonschema_rs
import pytest
import yaml

from ingestion_api.alerts.evaluation import HourReading, observe_hour
from ingestion_api.alerts.rule_file import DEFAULT_RULES, BadRules, read_rules
from ingestion_api.alerts.rules import EfficiencyDrop, EfficiencyStatus, RuleFile, SocFalling
from ingestion_api.alerts.state_machine import Level

HOUR = datetime(2026, 3, 1, 10, tzinfo=UTC)
LIMITS = (80.0, 85.0, 90.0, 50.0)


def refusal(folder: Path, text: str) -> str:
    """What is said of a file, without its name."""
    file = folder / "rules.yaml"
    file.write_text(text)
    with pytest.raises(BadRules) as error:
        read_rules(str(file))
    return str(error.value).replace(str(file), "FILE")


def test_the_shipped_rules_keep_to_their_own_schema_and_cover_every_kind() -> None:
    rules = read_rules()
    schema = RuleFile.model_json_schema(by_alias=True)
    assert jsonschema_rs.is_valid(schema, yaml.safe_load(DEFAULT_RULES.read_text()))
    assert {rule.kind for rule in rules.rules} == {
        "battery_temperature",
        "voltage",
        "silent",
        "soc_falling",
        "efficiency_status",
        "efficiency_drop",
        "maintenance_visit",
    }
    falling = next(rule for rule in rules.live if isinstance(rule, SocFalling))
    assert falling.hold == timedelta(minutes=5)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "rules:\n- name: hot\n  kind: voltage\n  threshold: high\n  severity: critical\n",
            "FILE, line 4, rule 'hot': threshold: must be a valid number, unable to parse "
            "string as a number",
        ),
        (
            "rules:\n- {name: a, kind: silent, threshold: 5m, severity: info}\n"
            "- name: hot\n  kind: voltage\n  threshold: 5\n  for: 5 parsecs\n  severity: info\n",
            "FILE, line 6, rule 'hot': for: is no duration: write seconds, or a "
            "number with s, m, h, d as in 90s, 2h",
        ),
        (
            "rules:\n- name: hot\n  kind: voltage\n  threshold: 5\n  clear: 6\n  severity: info\n",
            "FILE, line 2, rule 'hot': clear must not be above threshold",
        ),
        (
            "rules:\n- name: hot\n  kind: heat\n  severity: info\n",
            "FILE, line 2, rule 'hot': Input tag 'heat' found using 'kind' does not match any of "
            "the expected tags: 'battery_temperature', 'voltage', 'soc_falling', 'silent', "
            "'efficiency_status', 'efficiency_drop', 'maintenance_visit'",
        ),
        (
            "rules:\n- {name: a, kind: silent, threshold: 5m, severity: info}\n"
            "- {name: a, kind: voltage, threshold: 5, severity: info}\n",
            "FILE, line 3: there is a rule 'a' above already",
        ),
        (
            "rules:\n- {kind: silent, threshold: 5m, severity: info}\n",
            "FILE, line 2, rule number 1: name: is required",
        ),
        (
            "rules:\n- silent\n",
            "FILE, line 2, rule number 1: must be a valid dictionary or object to extract "
            "fields from",
        ),
        (
            "rules: [\n",
            "FILE: is not YAML: line 2: expected the node content, but found '<stream end>'",
        ),
        ("", "FILE, line 1: the file must have a list `rules`"),
        ("rules:\n", "FILE, line 1: rules: must be a list, [] for none"),
        (
            "rulez: []\n",
            "FILE, line 1: rules: is required; line 1: rulez: there is no such field, did you mean "
            "rules? There are rules",
        ),
        (
            "rules:\n- {name: a, kind: silent, threshold: 5m, for: 5m, severity: info}\n",
            "FILE, line 2, rule 'a': for: there is no such field; there are name, severity, "
            "depots, groups, kind, threshold, device_kind",
        ),
        (
            "rules:\n- {name: Hot, kind: voltage, threshold: 5, severity: bad}\n"
            "- {name: b, kind: voltage, treshold: 5, threshold: 5, severity: info}\n",
            "FILE, line 2, rule 'Hot': name: must be 1-60 characters of a-z, 0-9, _ and -, a "
            "letter or digit first; line 2, rule 'Hot': severity: must be 'info', "
            "'warning' or 'critical'; line 3, rule 'b': treshold: there is no such field, did you "
            "mean threshold? There are name, severity, depots, groups, for, threshold, clear, kind",
        ),
    ],
)
def test_a_fault_is_told_with_its_line_and_rule(tmp_path: Path, text: str, said: str) -> None:
    assert refusal(tmp_path, text) == said


def test_a_missing_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(BadRules, match=r"nowhere\.yaml: No such file or directory"):
        read_rules(str(tmp_path / "nowhere.yaml"))


@pytest.mark.parametrize(
    ("statuses", "status", "efficiency", "level"),
    [
        ({"critical"}, "critical", 79.9, Level.RAISED),
        ({"critical"}, "warning", 80.9, Level.BETWEEN),
        ({"critical"}, "warning", 81.0, Level.CLEARED),
        ({"warning"}, "critical", 70.0, Level.CLEARED),
        ({"warning"}, "good", 85.5, Level.BETWEEN),
        ({"warning", "critical"}, "good", 86.0, Level.CLEARED),
        ({"implausible"}, "implausible", None, Level.RAISED),
        ({"implausible"}, "excellent", 99.5, Level.BETWEEN),
        ({"implausible"}, "excellent", 99.0, Level.CLEARED),
        ({"implausible"}, "implausible", 49.0, Level.RAISED),
        ({"implausible"}, "critical", 50.5, Level.BETWEEN),
        ({"implausible"}, "critical", 51.0, Level.CLEARED),
        ({"critical"}, "implausible", None, Level.CLEARED),
    ],
)
def test_a_status_ends_a_point_beyond_its_limit(
    statuses: set[str], status: str, efficiency: float | None, level: Level
) -> None:
    rule = EfficiencyStatus.model_validate(
        {
            "name": "a",
            "kind": "efficiency_status",
            "statuses": statuses,
            "clear": 1,
            "severity": "info",
        }
    )
    seen = observe_hour(rule, HourReading(HOUR, status, efficiency, None, LIMITS))
    assert seen is not None
    assert (seen.level, seen.value) == (level, efficiency)


@pytest.mark.parametrize(
    ("status", "efficiency", "usual", "level"),
    [
        ("good", 85.0, 90.1, Level.RAISED),
        ("good", 85.0, 90.0, Level.BETWEEN),
        ("good", 88.0, 91.0, Level.CLEARED),
        ("excellent", 95.0, 90.0, Level.CLEARED),
        ("good", 85.0, None, None),
        ("implausible", 120.0, 90.0, None),
    ],
)
def test_a_drop_is_judged_against_the_vehicle_itself(
    status: str, efficiency: float, usual: float | None, level: Level | None
) -> None:
    rule = EfficiencyDrop.model_validate(
        {"name": "a", "kind": "efficiency_drop", "threshold": 5, "clear": 3, "severity": "info"}
    )
    seen = observe_hour(rule, HourReading(HOUR, status, efficiency, usual, LIMITS))
    assert (seen.level if seen else None) == level
