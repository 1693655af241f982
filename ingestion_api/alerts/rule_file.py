"""Reader of the alert rule file; its errors name the lines at fault."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import yaml
from pydantic import ValidationError
from pydantic_core import ErrorDetails

from ingestion_api.alerts.rules import RULE_KINDS, RuleFile
from ingestion_api.rest.validation_messages import describe_error, json_fields

DEFAULT_RULES: Final = Path(__file__).with_name("default_rules.yaml")


class BadRules(ValueError):
    """The file can't be used; the text says where and what to change."""


def read_rules(name: str = "") -> RuleFile:
    """The rules of a YAML file, of the shipped one if none is named. Raises BadRules."""
    path = Path(name) if name else DEFAULT_RULES
    try:
        text = path.read_text(encoding="utf-8")
        root = yaml.compose(text, Loader=yaml.SafeLoader)
        content = yaml.safe_load(text)
    except OSError as error:
        raise BadRules(f"{path}: {error.strerror}") from error
    except UnicodeError as error:
        raise BadRules(f"{path}: is not UTF-8") from error
    except yaml.YAMLError as error:
        raise BadRules(f"{path}: is not YAML: {_one_line(error)}") from error
    try:
        rules = RuleFile.model_validate(content)
    except ValidationError as error:
        raise _bad(path, _told(root, content, error)) from None
    if twice := list(_named_twice(root, rules)):
        raise _bad(path, twice)
    return rules


def _bad(path: Path, told: Sequence[str]) -> BadRules:
    # In one line: of a process that does not start the last line is what is shown.
    return BadRules(f"{path}, {'; '.join(told)}")


def _named_twice(root: yaml.Node | None, rules: RuleFile) -> Iterator[str]:
    seen = set[str]()
    for index, rule in enumerate(rules.rules):
        if rule.name in seen:
            line = _line(root, ("rules", index, "name"))
            yield f"line {line}: there is a rule {rule.name!r} above already"
        seen.add(rule.name)


def _told(root: yaml.Node | None, content: object, error: ValidationError) -> list[str]:
    told = []
    for one in error.errors(include_url=False, include_input=False):
        location = one["loc"]
        where = f"line {_line(root, location)}"
        if location[:1] == ("rules",) and len(location) > 1:
            where += f", rule {_name(content, location[1])}"
            # Behind the index pydantic names the kind, which the file says elsewhere.
            location = location[3:]
        field = ".".join(map(str, location))
        told.append(f"{where}: {f'{field}: ' if field else ''}{_reason(one)}")
    return told


def _reason(error: ErrorDetails) -> str:
    match error["type"], error["loc"]:
        case "model_type", ():
            return "the file must have a list `rules`"
        case "tuple_type", _:
            return "must be a list, [] for none"
        case "extra_forbidden", ("rules", _, str(kind), _):
            return describe_error(error, json_fields(RULE_KINDS[kind]))
        case _:
            return describe_error(error, json_fields(RuleFile))


def _name(content: object, index: str | int) -> str:
    """A rule as a person finds it in the file, whatever else is wrong with it."""
    if not isinstance(index, int):
        return repr(index)
    rules = content.get("rules") if isinstance(content, dict) else None
    rule = rules[index] if isinstance(rules, list) else None
    named = rule.get("name") if isinstance(rule, dict) else None
    return f"number {index + 1}" if named is None else repr(named)


def _line(root: yaml.Node | None, location: Sequence[str | int]) -> int:
    """Line of the innermost node on the way to a location that the file has."""
    node, line = root, 1
    for part in location:
        if isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
            node = node.value[part]
            line = node.start_mark.line + 1
        elif isinstance(node, yaml.MappingNode):
            for key, value in node.value:
                if key.value == part:
                    node, line = value, key.start_mark.line + 1
                    break
    return line


def _one_line(error: yaml.YAMLError) -> str:
    if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark:
        return f"line {error.problem_mark.line + 1}: {error.problem}"
    return " ".join(str(error).split())
