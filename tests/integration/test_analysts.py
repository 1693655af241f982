"""The examples for analysts do what they say, and so does their notebook."""

import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.harness.command_line import DONE, wattlake
from tests.harness.pipelines import PipelineStack, StackTemplate, copied_stack

DOCS = Path(__file__).parents[2] / "docs"
# What an example in Python shows, by a word that it alone has.
EXAMPLES = {
    "hours.plot": "efficiency_percent",
    "pl.date": "METER002",
    "import duckdb": "VEH002",
    "to_pandas": "critical",
}


def examples(language: str) -> list[str]:
    """The code blocks of the guide for analysts."""
    text = (DOCS / "analysts.md").read_text(encoding="utf-8")
    found: list[str] = re.findall(rf"^```{language}\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    return found


@pytest.fixture(scope="module")
def computed(
    computed_template: StackTemplate, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[PipelineStack]:
    """Three hours of three cars, computed with their day; the tests only look at them."""
    with copied_stack(computed_template, tmp_path_factory.mktemp("analysts") / "lake") as stack:
        yield stack


@pytest.mark.parametrize("word", EXAMPLES)
def test_an_example_in_python_shows_what_it_says(
    computed: PipelineStack,
    word: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert len(examples("python")) == len(EXAMPLES) + 1  # Spark is not at hand
    (code,) = [code for code in examples("python") if word in code]
    monkeypatch.chdir(tmp_path)
    exec(code.replace("FOLDER/lake", computed.lake.uri), {})
    written = [file.read_text(encoding="utf-8") for file in tmp_path.iterdir()]
    assert EXAMPLES[word] in capsys.readouterr().out + "".join(written)


def test_the_query_examples_show_the_tables_and_the_critical_vehicle(
    computed: PipelineStack, tmp_path: Path
) -> None:
    (block,) = [block for block in examples("") if "wattlake query" in block]
    listing, query = re.findall(r"wattlake (query (?:[^\n\"]|\"[^\"]*\")*)", block)
    folder = str(Path(computed.lake.uri).parent)
    tables = wattlake(tmp_path, *shlex.split(listing), DATA_FOLDER=folder)
    assert (tables.returncode, "percent" in tables.stdout) == (DONE, True), tables.stderr
    rows = wattlake(tmp_path, *shlex.split(query), DATA_FOLDER=folder)
    assert rows.returncode == DONE, rows.stderr
    assert "VEH002" in rows.stdout
    assert "VEH001" not in rows.stdout


def test_the_notebook_runs_as_a_script(computed: PipelineStack, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", str(DOCS / "notebooks" / "efficiency.py")],
        cwd=tmp_path,
        env={"LAKE_URI": computed.lake.uri, "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "METER002" in done.stdout
    assert "Sessions of the last week" in (tmp_path / "efficiency.html").read_text("utf-8")
