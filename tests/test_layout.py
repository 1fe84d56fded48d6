"""The layout of the repository: one face a folder, few files in it, tests beside their subject."""

import ast
import functools
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "recstream"
MOST_FILES = 13
"""Python files in a folder, its `__init__.py` among them."""
MOST_CORE_NAMES = 10
MANY_NAMES = {
    "recstream.core.records": 42,  # a struct and a decoder for each record
    "recstream.core.steering": 28,  # documents and requests are made of them
    "recstream.core.content": 21,  # four users: importer, trainer, generation, ranking
    "recstream.core.als": 13,  # training in blocks needs parts of a fit
    "recstream.core.neighbours": 12,
    "recstream.core.search": 11,
    "recstream.core.history": 19,
    "recstream.core.ranking": 12,
    "recstream.core.popularity": 12,
    "recstream.core.evaluation": 11,
    "recstream.core.serving": 22,
    "recstream.core.validation": 12,  # a function for each kind of argument
}
"""Packages of the core with more names, which stay to be cut."""
LOOSE = {"__init__", "__main__", "settings", "errors", "metrics"}
TOOLBOXES = {
    "recstream",
    "recstream.core",
    "recstream.core.numeric",
    "recstream.runtime",
    "recstream.spark",
}
"""Packages whose modules are imported one by one."""
FUTURES = ("create_task", "ensure_future", "run_in_executor")
AWAITED_LATER = {"recstream.log.faust.batches": 1, "recstream.worker.loop": 1}
"""Futures that a module waits for in another line."""
FOLDERS = sorted({path.parent for path in PACKAGE.rglob("*.py")})


def module_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_of(path): path for path in PACKAGE.rglob("*.py")}
PACKAGES = {name for name, path in MODULES.items() if path.name == "__init__.py"}


@functools.cache
def tree(module: str) -> ast.Module:
    return ast.parse(MODULES[module].read_text("utf-8"))


@functools.cache
def offered(module: str) -> set[str]:
    """Return the names in ``__all__`` of a module; without it, those that the module imports."""
    imported: set[str] = set()
    for node in tree(module).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
            return set(ast.literal_eval(node.value))
        if isinstance(node, ast.ImportFrom) and node.module != "__future__":
            imported |= {alias.asname or alias.name for alias in node.names}
    return imported


def imports(module: str) -> Iterator[str]:
    """Yield the module of each of our imports, but for those that wait inside a function."""
    nodes = list(ast.walk(tree(module)))
    waiting = (ast.FunctionDef, ast.AsyncFunctionDef, ast.If)  # if TYPE_CHECKING
    late = {id(each) for node in nodes if isinstance(node, waiting) for each in ast.walk(node)}
    for node in nodes:
        if id(node) in late or not isinstance(node, ast.ImportFrom):
            continue
        if not (node.module or "").startswith("recstream"):
            continue
        for alias in node.names:
            full = f"{node.module}.{alias.name}"
            package = str(node.module)
            is_module = full in MODULES and not (
                package in PACKAGES and alias.name in offered(package)
            )
            yield full if is_module else str(node.module)


def group(module: str) -> str:
    """Return the folder that a module belongs to: of the core by subject, else of the package."""
    parts = module.split(".")
    return ".".join(parts[:3] if parts[1:2] == ["core"] else parts[:2])


def test_a_folder_holds_few_files():
    n_files = {str(folder): len(list(folder.glob("*.py"))) for folder in FOLDERS}
    assert {folder: n for folder, n in n_files.items() if n > MOST_FILES} == {}


def test_only_settings_errors_and_metrics_stand_loose():
    assert {path.stem for path in PACKAGE.glob("*.py")} == LOOSE


def test_a_module_imports_other_folders_by_their_face():
    inside = [
        (module, target)
        for module in MODULES
        for target in imports(module)
        if target not in PACKAGES
        and group(target) != group(module)
        and target.rpartition(".")[0] not in TOOLBOXES
    ]
    assert inside == []


def test_a_name_is_imported_from_the_module_that_defines_it_or_from_a_face():
    borrowed = [
        (module, f"{node.module}.{alias.name}")
        for module in MODULES
        for node in ast.walk(tree(module))
        if isinstance(node, ast.ImportFrom) and node.module in MODULES.keys() - PACKAGES
        for alias in node.names
        if alias.name in offered(str(node.module))
    ]
    assert borrowed == []


def test_a_face_says_what_it_is_for_and_exports_its_names():
    faces = PACKAGES - TOOLBOXES
    silent = {face for face in faces if len((ast.get_docstring(tree(face)) or "").split()) < 5}
    assert silent == set()

    n_names = {face: len(offered(face)) for face in faces if face.startswith("recstream.core.")}
    most = {face: MANY_NAMES.get(face, MOST_CORE_NAMES) for face in n_names}
    assert {face: n for face, n in n_names.items() if not 1 <= n <= most[face]} == {}


def test_tests_lie_beside_their_subject():
    """Each folder of tests is a folder of the package, or one of the kinds that cross it.

    Each folder of the package has tests, but for those whose users' tests cover them.
    """
    crossing = {
        "bench",
        "browser",
        "contracts",
        "crash",
        "docs",
        "golden",
        "integration",
        "snapshots",
        "web",
    }
    subjects = {
        path.parent.relative_to(ROOT / "tests") for path in (ROOT / "tests").rglob("test_*.py")
    }

    astray = {
        str(subject)
        for subject in subjects
        if subject.parts and subject.parts[0] not in crossing and not (PACKAGE / subject).is_dir()
    }

    assert astray == set()
    folders = {folder.relative_to(PACKAGE) for folder in FOLDERS}
    assert {str(each) for each in folders - subjects} == {"cli/system", "core/records"}


def test_threads_and_futures_are_supervised():
    """A thread of one's own, or a future that nobody waits for, would end in silence."""
    unwatched = {}
    for module in MODULES:
        if module == "recstream.process.threads":
            continue
        nodes = list(ast.walk(tree(module)))
        awaited = {id(node.value) for node in nodes if isinstance(node, ast.Await)}
        called = [
            getattr(node.func, "attr", getattr(node.func, "id", ""))
            for node in nodes
            if isinstance(node, ast.Call) and id(node) not in awaited
        ]
        n_futures = sum(called.count(name) for name in FUTURES)
        n_unwatched = called.count("Thread") + max(0, n_futures - called.count("watch"))
        if n_unwatched > AWAITED_LATER.get(module, 0):
            unwatched[module] = n_unwatched
    assert not unwatched, "use start_thread, run_in_thread or watch of recstream.process"
