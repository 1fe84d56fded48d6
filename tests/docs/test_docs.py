"""What the documents say is so: links lead somewhere, every command and setting is there."""

import doctest
import importlib
import json
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import msgspec
import pytest

from recstream.cli import cli
from recstream.core.evaluation import gate
from recstream.log import topic_specs
from recstream.settings import Settings

ROOT = Path(__file__).parents[2]
PAGES = sorted(
    [ROOT / name for name in ("README.md", "CHANGELOG.md", "CONTRIBUTING.md")]
    + [*ROOT.glob("docs/**/*.md")]
)
README = (ROOT / "README.md").read_text()
LINK = re.compile(r"!?\[[^\]]*\]\(([^)#\s]+)[^)]*\)")


CODE_PATH = re.compile(r"`((?:recstream|scripts|tests|web|docs)/[\w./-]*)`")


def blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)


def named(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_every_link_leads_to_a_file(page: Path) -> None:
    targets = [target for target in LINK.findall(page.read_text()) if "://" not in target]

    assert [target for target in targets if not (page.parent / target).exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_every_path_named_in_code_exists(page: Path) -> None:
    paths = CODE_PATH.findall(page.read_text())

    assert [path for path in paths if not (ROOT / path).exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_every_module_named_in_code_exists(page: Path) -> None:
    names = re.findall(r"(?:`|::: )(recstream(?:\.[\w-]+)+)", page.read_text())

    assert [name for name in names if not resolves(name)] == []


def resolves(dotted: str) -> bool:
    """Return whether a dotted name is a module, an attribute of one, or a topic."""
    if dotted in {spec.name for spec in topic_specs(1)} | {
        "recstream.forget-requests",
        "recstream.meta",
        "recstream.v1",
    }:
        return True
    if dotted == "recstream.toml":
        return True
    owner, _, attribute = dotted.rpartition(".")
    try:
        importlib.import_module(dotted)
    except ModuleNotFoundError:
        return hasattr(importlib.import_module(owner), attribute)
    return True


def test_every_page_is_in_the_navigation() -> None:
    listed = set(re.findall(r"^\s+- (\S+\.md)$", (ROOT / "mkdocs.yml").read_text(), re.MULTILINE))

    assert listed == {str(path.relative_to(ROOT / "docs")) for path in ROOT.glob("docs/**/*.md")}


def test_every_promise_is_held_by_tests_that_exist() -> None:
    page = (ROOT / "docs" / "explanation" / "what-is-promised.md").read_text()
    tests = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", page)

    assert tests
    assert [
        f"{path}::{name}"
        for path, name in tests
        if not (ROOT / path).exists() or f"def {name}(" not in (ROOT / path).read_text()
    ] == []


def test_every_promise_names_a_test_or_says_that_it_has_none() -> None:
    page = (ROOT / "docs" / "explanation" / "what-is-promised.md").read_text()
    rows = re.findall(r"^\| (?!promise|---)(.+?) \| (.+) \|$", page, re.MULTILINE)

    assert [
        promise for promise, tests in rows if "::" not in tests and "no test" not in tests
    ] == []


def test_every_topic_is_documented() -> None:
    page = (ROOT / "docs" / "reference" / "topics.md").read_text()

    assert [spec.name for spec in topic_specs(1) if f"`{spec.name}`" not in page] == []


def test_the_readme_is_short() -> None:
    assert len(README.splitlines()) <= 150


@pytest.mark.parametrize("script", ["scripts/reference.py", "scripts/bench/report.py"])
def test_pages_made_by_a_script_are_up_to_date(script: str) -> None:
    done = subprocess.run(
        [sys.executable, str(ROOT / script), "--check"], capture_output=True, text=True, check=False
    )

    assert done.returncode == 0, done.stderr


def test_every_decision_is_in_the_index() -> None:
    folder = ROOT / "docs" / "decisions"
    index = (folder / "README.md").read_text()

    for path in folder.glob("*.md"):
        if path.name != "README.md":
            title = path.read_text().partition("\n")[0].removeprefix("# ")
            assert f"[{title}]({path.name})" in index


def setting_rows() -> dict[str, str]:
    text = (ROOT / "docs" / "reference" / "settings.md").read_text()
    return dict(re.findall(r"^\| `(\w+)` \| `([^`]*)` \| .+ \|$", text, re.MULTILINE))


def test_every_setting_has_a_row_with_its_default() -> None:
    defaults = {
        name: msgspec.json.encode(getattr(Settings(), name)).decode()
        for name in Settings.__struct_fields__
    }

    rows = {name: json.loads(default) for name, default in setting_rows().items()}

    assert rows == {name: json.loads(default) for name, default in defaults.items()}


def leaves(group: click.Group = cli, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        if isinstance(command, click.Group):
            yield from leaves(command, (*path, name))
        else:
            yield (*path, name)


@pytest.mark.parametrize("path", list(leaves()), ids=" ".join)
def test_every_command_is_in_the_documents(path: tuple[str, ...]) -> None:
    said = "\n".join(page.read_text() for page in PAGES if page.name != "CHANGELOG.md")

    assert re.search(rf"\b{re.escape(' '.join(path))}\b", said)


def commands_in(text: str) -> list[list[str]]:
    lines = "\n".join(blocks(text, "sh")).replace("\\\n", " ").splitlines()
    commands = [shlex.split(line, comments=True) for line in lines if line.startswith("recstream ")]
    return [
        words[: min(map(words.index, {">", "<"} & set(words)), default=None)] for words in commands
    ]


SHOWN = [
    pytest.param(words, id=f"{named(page)}: {' '.join(words)[:60]}")
    for page in PAGES
    for words in commands_in(page.read_text())
]


@pytest.mark.parametrize("words", SHOWN)
def test_every_command_shown_has_these_arguments(
    words: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Parse the command line without running it; files need not be there."""
    monkeypatch.setattr(click.Path, "convert", lambda _self, value, _param, _ctx: value)
    command: click.Command = cli
    context = click.Context(cli, info_name="recstream")
    rest = words[1:]
    while isinstance(command, click.Group):
        found = command.get_command(context, rest.pop(0))
        assert found is not None, words
        command, context = found, click.Context(found, parent=context, info_name=found.name)

    command.parse_args(context, rest)


def test_the_two_commands_are_scripts_that_can_be_run() -> None:
    for line in blocks(README, "sh")[0].splitlines():
        script = ROOT / line
        assert script.stat().st_mode & 0o111, f"{line} has no run bit"
        subprocess.run(["bash", "-n", str(script)], check=True)  # noqa: S607 - the shell on the path


def test_the_readmes_python_runs() -> None:
    (program,) = blocks(README, "python")
    names: dict[str, object] = {}

    exec(program, names)  # noqa: S102 - it is our own README

    assert getattr(names["ids"], "shape", None) == (2, 3)


SOURCES = [path for path in ROOT.glob("recstream/**/*.py") if ">>> " in path.read_text()]
MODULES = sorted(".".join(path.relative_to(ROOT).with_suffix("").parts) for path in SOURCES)


@pytest.mark.parametrize("name", MODULES)
def test_every_example_in_a_docstring_is_true(name: str) -> None:
    result = doctest.testmod(importlib.import_module(name), optionflags=doctest.ELLIPSIS)

    assert result.attempted > 0
    assert result.failed == 0


def test_the_console_says_how_the_gate_evaluates() -> None:
    page = (ROOT / "web/pages/models/models.js").read_text("utf-8")

    assert f'["Recall@{gate.CUT}"' in page
    assert f"the first {gate.CUT} of the list" in page
    assert f"{100 * gate.HELD_OUT_SHARE:g} % of all" in page
    assert f"at most {gate.MAX_HELD_OUT:,}" in page
