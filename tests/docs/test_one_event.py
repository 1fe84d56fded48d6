"""docs/explanation/one-event.md names files and functions that exist, in at most ten steps."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs/explanation/one-event.md"
STEP = re.compile(r"^\d+\. \*\*`(recstream/[\w/]+\.py)`: (.+?)\.\*\*", re.MULTILINE)
STEPS = STEP.findall(PAGE.read_text("utf-8"))


def functions_in(path: Path) -> set[str]:
    """Return the functions of a file, methods as ``Class.method``, nested ones by their own name."""
    found: set[str] = set()

    def visit(node: ast.AST, prefix: str) -> None:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.ClassDef):
                visit(child, f"{child.name}.")
            elif isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
                found.add(prefix + child.name)
                visit(child, "")
            else:
                visit(child, prefix)

    visit(ast.parse(path.read_text("utf-8")), "")
    return found


def test_an_event_passes_at_most_ten_files_and_none_twice():
    files = [file for file, _ in STEPS]

    assert 5 <= len(files) <= 10
    assert len(set(files)) == len(files)


@pytest.mark.parametrize(("file", "names"), STEPS, ids=[file for file, _ in STEPS])
def test_each_step_names_a_file_and_functions_that_exist(file, names):
    named = set(re.findall(r"`([\w.]+)`", names))

    assert named
    assert named <= functions_in(ROOT / file)


def test_the_worker_lists_its_files_in_the_same_order():
    """The folder's docstring and the page agree on the order of the worker's files."""
    listed = re.findall(
        r"^    (\w+) {2,}", (ROOT / "recstream/worker/__init__.py").read_text("utf-8"), re.MULTILINE
    )
    walked = [Path(file).stem for file, _ in STEPS if file.startswith("recstream/worker/")]

    assert all((ROOT / f"recstream/worker/{name}.py").is_file() for name in listed)
    assert [name for name in listed if name in walked] == walked
