"""What is installed: one version, the public names, a wheel that carries the page."""

import subprocess
import sys
import tomllib
import zipfile
from importlib.metadata import entry_points, version
from pathlib import Path

import pytest

import recstream

ROOT = Path(__file__).parents[1]


def test_the_version_is_said_in_one_way() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]

    assert project["version"] == recstream.__version__ == version("recstream")


def test_the_public_names_are_these() -> None:
    assert recstream.__all__ == ["ALS", "ALSModel", "__version__"]
    assert all(getattr(recstream, name) for name in recstream.__all__)


def test_another_name_is_refused_as_python_does() -> None:
    with pytest.raises(AttributeError, match="no attribute 'colour'"):
        _ = recstream.colour


def test_importing_the_package_connects_to_nothing_and_loads_nothing_heavy() -> None:
    program = (
        "import sys, recstream\n"
        "heavy = {'numpy', 'numba', 'faust', 'flask', 'sqlite3'} & {*sys.modules}\n"
        "sys.exit(f'loaded {heavy}' if heavy else 0)"
    )

    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=False)

    assert done.returncode == 0, done.stderr.decode()


def test_faust_finds_our_transport_by_its_entry_point() -> None:
    (found,) = [e for e in entry_points(group="faust.transports") if e.name == "embedded"]

    assert found.value.startswith("recstream.log.faust.transport")
    assert found.load()


def test_the_lock_file_names_the_public_index_only() -> None:
    lock = tomllib.loads((ROOT / "uv.lock").read_text())
    registries = {
        package["source"]["registry"]
        for package in lock["package"]
        if "registry" in package["source"]
    }

    assert registries == {"https://pypi.org/simple"}


@pytest.mark.slow
def test_the_wheel_carries_the_page_and_the_types(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]

    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)

    (wheel,) = tmp_path.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    web = {
        str(path.relative_to(ROOT / "web")) for path in (ROOT / "web").rglob("*") if path.is_file()
    }
    assert {name.removeprefix("recstream/_web/") for name in names if "/_web/" in name} == web
    assert "recstream/py.typed" in names
    assert not any(name.startswith("tests/") for name in names)
