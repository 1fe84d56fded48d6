"""What the documents say is so: links lead somewhere, every command and setting is there."""

from __future__ import annotations

import doctest
import importlib
import json
import re
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path

import click
import msgspec
import pytest

from recstream.cli import cli
from recstream.settings import Settings

ROOT = Path(__file__).parents[2]
PAGES = sorted([ROOT / "README.md", ROOT / "CHANGELOG.md", *ROOT.glob("docs/**/*.md")])
README = (ROOT / "README.md").read_text()
LINK = re.compile(r"!?\[[^\]]*\]\(([^)#\s]+)[^)]*\)")


def blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)


def named(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_every_link_leads_to_a_file(page: Path) -> None:
    targets = [target for target in LINK.findall(page.read_text()) if "://" not in target]

    assert [target for target in targets if not (page.parent / target).exists()] == []


def test_every_decision_is_in_the_index() -> None:
    folder = ROOT / "docs" / "decisions"
    index = (folder / "README.md").read_text()

    for path in folder.glob("*.md"):
        if path.name != "README.md":
            title = path.read_text().partition("\n")[0].removeprefix("# ")
            assert f"[{title}]({path.name})" in index


def setting_rows() -> dict[str, str]:
    text = (ROOT / "docs" / "settings.md").read_text()
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
    return [shlex.split(line, comments=True) for line in lines if line.startswith("recstream ")]


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
