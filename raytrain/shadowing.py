"""Modules that would be imported instead of the right ones: a `torch/` or `ray.py` in the working folder.

Python looks into the working folder first (`python -m`) and into PYTHONPATH, so a file of a user's own that
is called like a library takes its place, and fails where it is used, long after the start. Looked for before
any library is imported: nothing else of raytrain is, and of Python itself only what it has already loaded.
"""

# ruff: noqa: PTH100, PTH118, PTH119, PTH120, PTH121, PTH208
# Not by pathlib: it imports much of Python, which may be what is in the way.

import os
import sys
from importlib.machinery import PathFinder

OURS = ("raytrain", "pipelines", "tune_spaces")
_HOME = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


def find_shadow() -> tuple[str, str] | None:
    """Return a module on the path that stands before one that is needed: its place, and the right one's.

    None: there is none.
    """
    folders = [
        (folder or os.curdir, [path for path in sys.path[number + 1 :] if not _same(path, folder)])
        for number, folder in enumerate(sys.path)
        if not _holds_packages(folder or os.curdir)
    ]
    # Python's own first: to know which others are needed, more of it is imported.
    shadows = [shadow for folder, later in folders for shadow in _shadows_in(folder, later)]
    of_python = [shadow for shadow in shadows if shadow[0] in sys.stdlib_module_names]
    needed = of_python or [shadow for shadow in shadows if shadow[0] in OURS or shadow[0] in _required()]
    return needed[0][1:] if needed else None


def _shadows_in(folder: str, later: list[str]) -> list[tuple[str, str, str]]:
    """Return the name of each module in a folder that stands before another, its place, and the other's."""
    shadows = []
    for name in _modules_in(folder):
        found = _place(name, [folder])  # of a folder without code there is none: it takes nothing's place
        right = os.path.join(_HOME, name) if name in OURS else _place(name, later)
        if found and right and not found.startswith(right):
            shadows.append((name, found, right))
    return shadows


def _place(name: str, path: list[str]) -> str:
    spec = PathFinder.find_spec(name, path)
    return os.path.abspath(spec.origin) if spec is not None and spec.origin else ""


def _modules_in(folder: str) -> list[str]:
    """Return what lies in a folder and could be imported, by name."""
    with os.scandir(folder) as entries:
        names = {
            e.name.partition(".")[0] for e in entries if e.name.endswith((".py", ".so", ".pyd")) or e.is_dir()
        }
    return sorted(name for name in names if name.isidentifier())


def _holds_packages(folder: str) -> bool:
    """Return whether a folder is one that packages are installed into, or Python's own."""
    if _same(folder, os.path.dirname(os.__file__)):
        return True
    try:
        installed = any(name.endswith(".dist-info") for name in os.listdir(folder))
    except OSError:  # a zip, or a folder that is not there
        return True
    return installed or os.path.basename(folder) == "lib-dynload"


def _required() -> set[str]:
    """Return the top-level modules of the libraries that raytrain requires, and that those require."""
    import re
    from importlib import metadata

    def plain(name: str) -> str:
        return re.sub(r"[-_.]+", "-", name).lower()

    modules: dict[str, list[str]] = {}
    for module, libraries in metadata.packages_distributions().items():
        for library in libraries:
            modules.setdefault(plain(library), []).append(module)
    waiting, seen = ["raytrain"], set[str]()
    while waiting:
        library = waiting.pop()
        if library in seen:
            continue
        seen.add(library)
        try:
            requirements = metadata.requires(library) or []
        except metadata.PackageNotFoundError:
            continue
        waiting += [plain(found[0]) for text in requirements if (found := re.match(r"[\w.-]+", text))]
    return {module for library in seen for module in modules.get(library, ())}


def _same(one: str, other: str) -> bool:
    try:
        return os.path.samefile(one or os.curdir, other or os.curdir)
    except OSError:
        return False
