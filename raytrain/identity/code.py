"""The code that decides a result: all modules that some entry modules import, by their syntax trees.

The tree counts, not the text: comments, layout and docstrings are free. An import anywhere in a module is
followed (in a function too, and a module named in a text, as for `python -m`), and so is the package of
each module. A name that a package only hands on is followed to the module that makes it, and only where it
is asked for. Of a `Registry` only the chosen members count: a new operator is no news to the others.
"""

import ast
import functools
import hashlib
import importlib.util
import sys
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

ROOTS = ("pipelines", "raytrain")
Choice = Mapping[str, Collection[str]]
"""part of a pathway, e.g. "operator" -> the members of its registries that a result is made with"""


@dataclass(frozen=True)
class Source:
    """A module's text."""

    text: str
    is_package: bool


Read = Callable[[str], Source | None]
"""Returns a module's text by its dotted name; None where there is no such module."""


@dataclass(frozen=True, kw_only=True)
class Registry:
    """A module whose members are chosen by name.

    Its tables lose the members that are not chosen; its classes of settings with a `name` (a default of their
    own) are left out where that is not chosen, as are the unions that list them.
    """

    part: str
    """which part of a pathway chooses"""
    tables: tuple[str, ...] = ()
    """its dicts from names to members"""


@dataclass(frozen=True, kw_only=True)
class Closure:
    """The modules that were reached."""

    modules: Mapping[str, str]
    """name -> digest of its tree"""
    libraries: frozenset[str]
    """what they import from elsewhere, without the standard library, e.g. `PIL`"""

    @property
    def digest(self) -> str:
        """One digest of all."""
        whole = "".join(f"{name} {digest}\n" for name, digest in sorted(self.modules.items()))
        return hashlib.sha256(whole.encode()).hexdigest()


@dataclass(frozen=True, kw_only=True)
class _Facts:
    """What is known of one module."""

    digest: str
    imports: tuple[tuple[str, str], ...]
    """(module, name taken of it, or "") of what its own statements use"""
    handed_on: Mapping[str, tuple[str, str]]
    """name -> (module, name there) of all that it imports"""
    named: tuple[str, ...]
    """texts that may be the name of a module"""


def read_module(name: str) -> Source | None:
    """Return the text of a module of this project, of the installed files."""
    root, *inner = name.split(".")
    if root not in ROOTS:
        return None
    path = _folder_of(root).joinpath(*inner)
    for file, is_package in ((path / "__init__.py", True), (path.with_suffix(".py"), False)):
        if inner or is_package:
            try:
                stat = file.stat()
            except OSError:
                continue
            return _read(file, is_package, stat.st_mtime_ns, stat.st_size)
    return None


@functools.lru_cache(maxsize=1024)
def _read(file: Path, is_package: bool, mtime_ns: int, size: int) -> Source:
    return Source(file.read_text(encoding="utf-8"), is_package)


@functools.cache
def _folder_of(root: str) -> Path:
    spec = importlib.util.find_spec(root)
    assert spec is not None, f"{root} is installed with this module"
    assert spec.submodule_search_locations, f"{root} is a package"
    return Path(next(iter(spec.submodule_search_locations)))


def closure(
    entries: Iterable[str],
    *,
    registries: Mapping[str, Registry] | None = None,
    chosen: Choice | None = None,
    left_out: Collection[str] = (),
    read: Read = read_module,
) -> Closure:
    """Return all modules that the entries reach, themselves among them.

    Args:
        registries: by module.
        chosen: of a part without an entry no member is.
        left_out: modules, with all below them, that are not followed: they decide no result.

    Raises:
        LookupError: an entry is no module.
    """
    registries, chosen = registries or {}, chosen or {}
    modules: dict[str, str] = {}
    libraries: set[str] = set()
    todo = list(entries)
    for entry in todo:
        if read(entry) is None:
            raise LookupError(f"{entry}: no such module; the entries of a key name modules of this project")
    while todo:
        name = todo.pop()
        if name in modules or _among(name, left_out) or (source := read(name)) is None:
            continue
        facts = _facts(name, source, *_choice(registries.get(name), chosen))
        modules[name] = facts.digest
        todo.append(name.rpartition(".")[0])
        for module, taken in facts.imports:
            if module.split(".")[0] in ROOTS:
                todo += _followed(module, taken, read)
            else:
                libraries.add(module.split(".")[0])
        todo += (text for text in facts.named if read(text) is not None)
    return Closure(modules=modules, libraries=frozenset(libraries - sys.stdlib_module_names))


def _among(name: str, modules: Collection[str]) -> bool:
    return name in modules or any(name.startswith(f"{module}.") for module in modules)


def _choice(registry: Registry | None, chosen: Choice) -> tuple[Registry | None, frozenset[str]]:
    return registry, frozenset(chosen.get(registry.part, ())) if registry else frozenset()


def _followed(module: str, taken: str, read: Read) -> list[str]:
    """Return the modules behind `from module import taken`: itself, and the one that makes the name."""
    found = [module]
    while taken:
        if read(f"{module}.{taken}") is not None:
            return [*found, f"{module}.{taken}"]
        source = read(module)
        if source is None or not source.is_package:
            return found
        module, taken = _facts(module, source).handed_on.get(taken, ("", ""))
        if module.split(".")[0] not in ROOTS:
            return found
        found.append(module)
    return found


@functools.lru_cache(maxsize=4096)
def _facts(
    name: str, source: Source, registry: Registry | None = None, members: frozenset[str] = frozenset()
) -> _Facts:
    tree = ast.parse(source.text)
    _Bare().visit(tree)
    handed_on = _imports(tree, package=name if source.is_package else name.rpartition(".")[0])
    if registry is not None:
        _prune(tree, registry.tables, members)
    used = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    if source.is_package:  # a module has no import that it does not use
        _drop_imports(tree, used)
    texts = {node.value for node in ast.walk(tree) if isinstance(node, ast.Constant)}
    return _Facts(
        digest=hashlib.sha256(ast.dump(tree).encode()).hexdigest(),
        imports=tuple(
            origin for bound, origin in handed_on.items() if bound in used or not source.is_package
        ),
        handed_on=handed_on,
        named=tuple(sorted(text for text in texts if isinstance(text, str) and _may_be_module(text))),
    )


def _imports(tree: ast.Module, *, package: str) -> dict[str, tuple[str, str]]:
    """Return what every import of a module binds: name -> (module, name there or "").

    Names that two functions bind to different things are told apart.
    """
    found: dict[str, tuple[str, str]] = {}

    def add(name: str, origin: tuple[str, str]) -> None:
        while found.setdefault(name, origin) != origin:
            name += "'"

    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                add(alias.asname or alias.name.partition(".")[0], (alias.name, ""))
        elif isinstance(node, ast.ImportFrom):
            above = ".".join(package.split(".")[: len(package.split(".")) - node.level + 1])
            module = ".".join(filter(None, (above if node.level else "", node.module or "")))
            for alias in node.names:
                add(alias.asname or alias.name, (module, alias.name))
    return found


def _drop_imports(tree: ast.Module, used: set[str]) -> None:
    """Take the imports away that a package only hands on."""
    for node in tree.body:
        if isinstance(node, ast.ImportFrom):
            node.names = [alias for alias in node.names if (alias.asname or alias.name) in used]
    tree.body = [node for node in tree.body if not isinstance(node, ast.ImportFrom) or node.names]


class _Bare(ast.NodeTransformer):
    """Takes away what decides nothing: docstrings, `__all__`, what a thing is for, imports for types, what a
    setting may be.

    Which value a setting has is part of the key itself.
    """

    def visit_Expr(self, node: ast.Expr) -> ast.AST | None:
        return None if isinstance(node.value, ast.Constant) else self.generic_visit(node)

    def visit_If(self, node: ast.If) -> ast.AST | None:
        for_types = isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"
        return None if for_types and not node.orelse else self.generic_visit(node)

    def visit_Assign(self, node: ast.Assign) -> ast.AST | None:
        names = _targets(node)
        return None if names == ["__all__"] or _is_purpose(names, node.value) else self.generic_visit(node)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.AST | None:
        return None if _is_purpose(_targets(node), node.value) else self.generic_visit(node)

    def visit_keyword(self, node: ast.keyword) -> ast.AST | None:
        return None if _is_purpose([node.arg], node.value) else self.generic_visit(node)

    def visit_Subscript(self, node: ast.Subscript) -> ast.AST:
        is_literal = isinstance(node.value, ast.Name) and node.value.id == "Literal"
        return node.value if is_literal else self.generic_visit(node)


def _is_purpose(names: list[str] | list[str | None], value: ast.expr | None) -> bool:
    """Return whether a text is the line of `raytrain list` that says what a thing is for."""
    return names == ["purpose"] and isinstance(value, ast.Constant) and isinstance(value.value, str)


def _prune(tree: ast.Module, tables: Collection[str], members: Collection[str]) -> None:
    """Take the members of a registry away that are not chosen."""
    classes = {node.name: node for node in tree.body if isinstance(node, ast.ClassDef)}
    names = {name: _name_of(node) for name, node in classes.items()}
    kept = {name for name, own in names.items() if not own or own in members}
    bases = {
        name: {base.id for base in node.bases if isinstance(base, ast.Name)} for name, node in classes.items()
    }
    while above := {base for name in kept for base in bases[name] & classes.keys()} - kept:
        kept |= above
    tree.body = [
        node
        for node in tree.body
        if not (isinstance(node, ast.ClassDef) and node.name not in kept)
        and not (isinstance(node, ast.Assign) and isinstance(node.value, ast.BinOp) and _is_union(node.value))
    ]
    for node in tree.body:
        if isinstance(node, ast.Assign | ast.AnnAssign) and {*_targets(node)} & {*tables}:
            assert isinstance(node.value, ast.Dict), "a table is written down as a dict"
            _prune_table(node.value, members)


def _prune_table(table: ast.Dict, members: Collection[str]) -> None:
    pairs = [
        (key, value)
        for key, value in zip(table.keys, table.values, strict=True)
        if not isinstance(key, ast.Constant) or key.value in members
    ]
    table.keys, table.values = [key for key, _ in pairs], [value for _, value in pairs]


def _is_union(value: ast.expr) -> bool:
    """Return whether a value lists classes, of which the settings say which one is meant."""
    if isinstance(value, ast.BinOp):
        return isinstance(value.op, ast.BitOr) and _is_union(value.left) and _is_union(value.right)
    return isinstance(value, ast.Name)


def _name_of(node: ast.ClassDef) -> str:
    """Return the default of a class's field `name`, or ""."""
    for one in node.body:
        if isinstance(one, ast.AnnAssign) and isinstance(one.target, ast.Name) and one.target.id == "name":
            return str(one.value.value) if isinstance(one.value, ast.Constant) else ""
    return ""


def _targets(node: ast.Assign | ast.AnnAssign) -> list[str]:
    targets = node.targets if isinstance(node, ast.Assign) else [node.target]
    return [target.id for target in targets if isinstance(target, ast.Name)]


def _may_be_module(text: str) -> bool:
    first, *inner = text.split(".")
    return first in ROOTS and all(part.isidentifier() for part in inner)
