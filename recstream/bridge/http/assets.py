"""Pack the page's files: few requests, compressed once, under names that change with their content.

The folder `web/` runs unpacked (in tests under Node). For browsers, each entry module is packed with
the modules that it imports, and each style sheet with its imports. Addresses contain a digest of
the whole folder, so that browsers may keep them forever.
"""

import gzip
import hashlib
import posixpath
import re
import threading
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

ENTRY = "app.js"
CLIENT = "client/recstream.js"
"""The script that other shops load: packed whole, for any kind of script tag."""
PREFIX = "/assets"
_COMMENT = re.compile(r"^[ \t]*(?:/\*(?!!)(?:(?!\*/)[\s\S])*\*/[ \t]*\n|//.*\n)", re.MULTILINE)
_IMPORT = re.compile(
    r'^import\s+(?:(?P<default>\w+)|\{(?P<names>[^}]*)\})\s*from\s*"(?P<path>[^"]+)";', re.MULTILINE
)
_LAZY = re.compile(r'\bimport\("(?P<path>\.[^"]+)"\)')
_EXPORT = re.compile(
    r"^export (?P<code>(?:async )?(?:function\*?|class|const) (?P<name>\w+))", re.MULTILINE
)
_EXPORT_LIST = re.compile(r"\bexport\s*\{(?P<names>[^}]*)\};?\s*$")
_EXPORT_DEFAULT = re.compile(r"^export default (?P<name>\w+);", re.MULTILINE)
_CSS_IMPORT = re.compile(
    r'^@import url\("(?P<path>[^"]+)"\) layer\((?P<layer>\w+)\);', re.MULTILINE
)
_LINK = re.compile(r'(?P<name>href|src)="(?P<path>[a-z][\w./-]*)"')


@dataclass(frozen=True)
class Asset:
    """One file as it is sent."""

    body: bytes

    @cached_property
    def gzipped(self) -> bytes:
        """The body, compressed as far as gzip goes."""
        return gzip.compress(self.body, 9, mtime=0)


@dataclass
class _Build:
    stamp: tuple[tuple[str, int, int], ...]
    files: dict[str, bytes]
    digest: str
    packed: dict[str, Asset] = field(default_factory=dict)


class Assets:
    """Files of the page, packed. Thread-safe; a changed file is seen at the next page load."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._mutex = threading.Lock()
        self._build: _Build | None = None

    def shell(self) -> Asset:
        """Return the document of every page, with links to the packed files."""
        build = self._newest()

        def link(match: re.Match[str]) -> str:
            return f'{match["name"]}="{PREFIX}/{build.digest}/{match["path"]}"'

        if "index.html" not in build.packed:
            text = build.files["index.html"].decode()
            build.packed["index.html"] = Asset(_LINK.sub(link, text).encode())
        return build.packed["index.html"]

    def file(self, digest: str, path: str) -> Asset | None:
        """Return a file of the folder with this digest, or None."""
        build = self._build or self._newest()
        if digest != build.digest or path not in build.files or path == "index.html":
            return None
        if path not in build.packed:
            build.packed[path] = Asset(_pack(build, path))
        return build.packed[path]

    def client(self) -> Asset:
        """Return the script for other shops; it defines the global ``recstream``."""
        build = self._newest()
        if CLIENT not in build.packed:
            code = "".join(_wrapped(build, name) for name in _graph(build, CLIENT))
            head, tail = "(() => {\nconst M = {};\n", "})();\n"
            given = f'globalThis.recstream = M["{CLIENT}"].recstream;\n'
            build.packed[CLIENT] = Asset((head + code + given + tail).encode())
        return build.packed[CLIENT]

    def _newest(self) -> _Build:
        with self._mutex:
            stamp = tuple(
                (path.relative_to(self._folder).as_posix(), stat.st_mtime_ns, stat.st_size)
                for path in sorted(self._folder.rglob("*"))
                if path.is_file() and not path.name.startswith(".")
                for stat in [path.stat()]
            )
            if self._build is None or self._build.stamp != stamp:
                files = {name: (self._folder / name).read_bytes() for name, _, _ in stamp}
                parts = (name.encode() + b"\0" + body for name, body in files.items())
                digest = hashlib.sha256(b"\0".join(parts)).hexdigest()[:16]
                self._build = _Build(stamp, files, digest)
            return self._build


def _pack(build: _Build, path: str) -> bytes:
    if path.endswith(".css"):
        return _pack_styles(build, path).encode()
    if not path.endswith(".js") or path == "early.js":
        return build.files[path]
    modules = _graph(build, path)
    if path == ENTRY:
        head, tail = "const M = {};\n", "export { M };\n"
    else:
        entry = _graph(build, ENTRY)
        modules = [name for name in modules if name not in entry]
        names = [exported for exported, _ in _exports(_source(build, path))]
        head = f'import {{ M }} from "{PREFIX}/{build.digest}/{ENTRY}";\n'
        tail = f'export const {{ {", ".join(names)} }} = M["{path}"];\n'
    return (head + "".join(_wrapped(build, name) for name in modules) + tail).encode()


def _source(build: _Build, path: str) -> str:
    if path not in build.files:
        raise ValueError(f"the page imports {path}, which is not a file of its folder")
    return _COMMENT.sub("", build.files[path].decode())


def _graph(build: _Build, path: str) -> list[str]:
    """Return a module and all that it imports, the imported first."""
    ordered: dict[str, None] = {}

    def visit(name: str) -> None:
        if name in ordered:
            return
        for match in _IMPORT.finditer(_source(build, name)):
            visit(_resolve(name, match["path"]))
        ordered[name] = None

    visit(path)
    return list(ordered)


def _resolve(importer: str, path: str) -> str:
    return posixpath.normpath(posixpath.join(posixpath.dirname(importer), path))


def _exports(code: str) -> list[tuple[str, str]]:
    """Return the exported names of a module, each with its name inside."""
    found = [(match["name"], match["name"]) for match in _EXPORT.finditer(code)]
    found += [("default", match["name"]) for match in _EXPORT_DEFAULT.finditer(code)]
    listed = _EXPORT_LIST.search(code)
    for part in (listed["names"] if listed else "").split(","):
        inside, _, outside = part.strip().partition(" as ")
        if inside:
            found.append((outside or inside, inside))
    return found


def _wrapped(build: _Build, path: str) -> str:
    """Return a module as a function that runs once; its imports come from the registry ``M``."""
    code = _source(build, path)
    exports = ", ".join(f"{outside}: {inside}" for outside, inside in _exports(code))

    def imported(match: re.Match[str]) -> str:
        names = f"default: {match['default']}" if match["default"] else match["names"]
        renamed = re.sub(r"\s+as\s+", ": ", names)
        return f'const {{ {renamed} }} = M["{_resolve(path, match["path"])}"];'

    def lazy(match: re.Match[str]) -> str:
        return f'import("{PREFIX}/{build.digest}/{_resolve(path, match["path"])}")'

    code = _LAZY.sub(lazy, _IMPORT.sub(imported, code))
    code = _EXPORT_DEFAULT.sub("", _EXPORT_LIST.sub("", _EXPORT.sub(r"\g<code>", code)))
    if unknown := re.search(r"^(?:import|export)\b.*", code, re.MULTILINE):
        raise ValueError(f"{path}: expected one of the forms that can be packed, got {unknown[0]}")
    return f'M["{path}"] ??= (() => {{\n{code}\nreturn {{ {exports} }};\n}})();\n'


def _pack_styles(build: _Build, path: str) -> str:
    def inlined(match: re.Match[str]) -> str:
        inner = _pack_styles(build, _resolve(path, match["path"]))
        return f"@layer {match['layer']} {{\n{inner}}}\n"

    return _CSS_IMPORT.sub(inlined, _source(build, path))
