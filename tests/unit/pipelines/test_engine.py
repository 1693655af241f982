"""The engine of large computations, and what its settings ask for before anything is computed."""

from contextlib import closing

import pytest
from pydantic import ValidationError

from pipelines import settings as module
from pipelines.engine import run_tasks
from pipelines.settings import PipelineSettings
from warehouse_sql.settings import settings_fault

LOCAL = PipelineSettings(_env_file=None)


def test_here_results_come_in_order_and_each_when_it_is_asked_for() -> None:
    begun = []

    def square(number: int) -> int:
        begun.append(number)
        return number * number

    with closing(run_tasks(LOCAL, square, [3, 1, 2])) as results:
        assert next(results) == 9
        assert next(results) == 1
    assert begun == [3, 1]
    assert list(run_tasks(LOCAL, square, [])) == []


def test_an_error_of_a_task_is_that_of_its_function() -> None:
    with pytest.raises(ZeroDivisionError):
        list(run_tasks(LOCAL, lambda number: 1 // number, [1, 0]))


@pytest.fixture
def with_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    """An installation with the extra, as far as the settings can tell."""
    monkeypatch.setattr(module, "find_spec", lambda _: object())


def test_ray_without_the_extra_is_refused_with_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "find_spec", lambda _: None)
    with pytest.raises(ValidationError) as refused:
        PipelineSettings(_env_file=None, engine="ray", ray_address="head:6379")
    assert "pip install '.[ray]'" in settings_fault(refused.value)


@pytest.mark.usefixtures("with_ray")
def test_ray_needs_the_address_of_its_head() -> None:
    with pytest.raises(ValidationError) as refused:
        PipelineSettings(_env_file=None, engine="ray")
    assert "RAY_ADDRESS" in settings_fault(refused.value)
    for wrong in ("head", "http://head:1", "head:port", "ray://head"):
        with pytest.raises(ValidationError, match="ray_address"):
            PipelineSettings(_env_file=None, engine="ray", ray_address=wrong)
    for right in ("head:6379", "ray://10.0.0.1:10001"):
        PipelineSettings(_env_file=None, engine="ray", ray_address=right)
