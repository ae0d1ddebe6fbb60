"""Modules that would be imported instead of the right ones: a `torch/` or `ray.py` in the working folder.

Python looks into the working folder first (`python -m`, or PYTHONPATH with a dot), so a file of a user's own
that is called like a library takes its place, and fails where it is used, long after the start. Looked for
before any library is imported: nothing else of raytrain is, and of Python only what it has already loaded.
Other folders on PYTHONPATH are there because somebody wants what lies in them.
"""

# ruff: noqa: PTH100, PTH118, PTH120, PTH121, PTH208
# Not by pathlib: it imports much of Python, which may be what is in the way.

import os
import sys
from importlib.machinery import PathFinder

OURS = ("raytrain", "pipelines", "tune_spaces")
_HOME = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
_NOBODY_IMPORTS = {"antigravity", "idlelib", "lib2to3", "test", "this", "tkinter", "turtle", "turtledemo"}


def find_shadow() -> tuple[str, str] | None:
    """Return where a module of the working folder lies that stands before a needed one, and where that lies.

    None: there is none, or the folder cannot be looked into.
    """
    try:
        here = next((place for place, folder in enumerate(sys.path) if _same(folder, os.curdir)), None)
        if here is None or _same(os.curdir, _HOME) or _holds_packages(os.curdir):
            return None
        shadows = _shadows(
            sys.path[here + 1 :], before_ours=not any(_same(p, _HOME) for p in sys.path[:here])
        )
        # Python's own first: to know which others are needed, more of it is imported.
        of_python = [shadow for shadow in shadows if shadow[0] in sys.stdlib_module_names]
        needed = of_python or [shadow for shadow in shadows if shadow[0] in OURS or shadow[0] in _required()]
    except OSError:
        return None
    return needed[0][1:] if needed else None


def _shadows(later: list[str], *, before_ours: bool) -> list[tuple[str, str, str]]:
    """Return the name of each module of the working folder that stands before another, and both places."""
    later = [folder for folder in later if not _same(folder, os.curdir)]
    shadows = []
    for name in _modules_here():
        found = _place(name, [os.path.abspath(os.curdir)])
        if not found:  # a folder without code takes nothing's place
            continue
        if name in OURS:
            right = os.path.join(_HOME, name) if before_ours else ""
        else:
            right = _place(name, later)
        if right:
            shadows.append((name, found, right))
    return shadows


def _place(name: str, path: list[str]) -> str:
    spec = PathFinder.find_spec(name, path)
    return os.path.abspath(spec.origin) if spec is not None and spec.origin else ""


def _modules_here() -> list[str]:
    """Return what lies in the working folder and could be imported, by name."""
    with os.scandir(os.curdir) as entries:
        names = {
            entry.name.partition(".")[0]
            for entry in entries
            if entry.name.endswith((".py", ".so", ".pyd")) or _is_folder(entry)
        }
    return sorted(name for name in names if name.isidentifier() and name not in _NOBODY_IMPORTS)


def _is_folder(entry: "os.DirEntry[str]") -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link that loops, a mount that is dead
        return False


def _holds_packages(folder: str) -> bool:
    """Return whether a folder is one that packages are installed into."""
    return any(name.endswith((".dist-info", ".egg-info")) for name in os.listdir(folder))


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
        needed = [text for text in requirements if "extra ==" not in text]
        waiting += [plain(found[0]) for text in needed if (found := re.match(r"[\w.-]+", text))]
    return {module for library in seen for module in modules.get(library, ())}


def _same(one: str, other: str) -> bool:
    try:
        return os.path.samefile(one or os.curdir, other or os.curdir)
    except OSError:
        return False
