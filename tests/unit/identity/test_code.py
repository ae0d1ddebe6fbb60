"""The digest of code: what is followed, what counts, and that no module that decides a result is missed."""

import ast
import functools

import pytest

from raytrain.identity import entries
from raytrain.identity.code import Closure, Read, Registry, Source, closure, read_module


def reader(**modules: str) -> Read:
    """Modules by name, a double underscore for a dot; with "/" in front: a package."""
    texts = {name.replace("__", "."): text for name, text in modules.items()}

    def read(name: str) -> Source | None:
        if name not in texts:
            return None
        text = texts[name]
        return Source(text.removeprefix("/"), text.startswith("/"))

    return read


def reached(*names: str, **modules: str) -> set[str]:
    return set(closure(names, read=reader(**modules)).modules)


def test_every_form_of_import_is_followed() -> None:
    found = reached(
        "raytrain.a",
        raytrain="/",
        raytrain__a="import raytrain.b as b\nfrom raytrain import c\nfrom raytrain.d import x\n"
        "from . import e\nfrom .f import y\nb, c, e\ndef later():\n    from raytrain import g\n    g\n",
        raytrain__b="",
        raytrain__c="",
        raytrain__d="import pipelines.h\nx = pipelines.h",
        raytrain__e="COMMAND = ('-m', 'raytrain.i')",
        raytrain__f="y = 1",
        raytrain__g="",
        raytrain__i="",
        raytrain__j="",
        pipelines="/",
        pipelines__h="",
    )
    assert found == {"raytrain", "pipelines", "pipelines.h", *(f"raytrain.{name}" for name in "abcdefgi")}


def test_what_a_package_hands_on_is_followed_only_where_it_is_asked_for() -> None:
    package = "/from raytrain.p.one import One\nfrom raytrain.p.two import Two\n__all__ = ['One', 'Two']\n"
    texts = {
        "raytrain": "/",
        "raytrain__p": package,
        "raytrain__p__one": "class One: ...",
        "raytrain__p__two": "",
    }
    assert reached("raytrain.a", raytrain__a="from raytrain.p import One\nOne()", **texts) == {
        "raytrain",
        "raytrain.a",
        "raytrain.p",
        "raytrain.p.one",
    }
    with_call = {**texts, "raytrain__p": package + "made = Two()\n"}
    assert "raytrain.p.two" in reached("raytrain.a", raytrain__a="import raytrain.p", **with_call)


def test_libraries_are_named_without_the_standard_library() -> None:
    text = "import os\nimport numpy as np\nfrom PIL import Image\ndef later():\n    import av.codec\n"
    assert closure(["raytrain.a"], read=reader(raytrain="/", raytrain__a=text)).libraries == {
        "numpy",
        "PIL",
        "av",
    }


@pytest.mark.parametrize(
    ("first", "second", "same"),
    [
        ("x = 1  # one", "x  =  1", True),
        ('"""A."""\nx = 1', '"""B."""\nx = 1\n"""of x"""', True),
        ("def f():\n    '''A.'''\n    return 1", "def f():\n    return 1", True),
        (
            "from typing import Literal\nx: Literal['a']",
            "from typing import Literal\nx: Literal['a', 'b']",
            True,
        ),
        ("if TYPE_CHECKING:\n    import raytrain.b\nx = 1", "x = 1", True),
        ("class A:\n    purpose: str = 'a'", "class A:\n    purpose: str = 'b'", True),
        ("class A:\n    purpose = 'a'", "class A:\n    purpose = 'b'", True),
        ("f(1, purpose='a')", "f(1, purpose='b')", True),
        ("f(1, purpose=2)", "f(1, purpose=3)", False),
        ("purpose = 2", "purpose = 3", False),
        ("x = 1", "x = 2", False),
        ("def f(): return 1", "def g(): return 1", False),
        ("class A:\n    x: int = 1", "class A:\n    x: float = 1", False),
        ("from math import sin as f\nf(1)", "from math import cos as f\nf(1)", False),
    ],
)
def test_statements_count_and_words_about_them_do_not(first: str, second: str, same: bool) -> None:
    digests = [closure(["raytrain.a"], read=reader(raytrain__a=text)).digest for text in (first, second)]
    assert (digests[0] == digests[1]) is same


REGISTRY = {
    "raytrain": "/",
    "raytrain__r": "/from raytrain.r.one import One\nfrom raytrain.r.two import Two\n"
    "TABLE: dict = {'one': One, 'two': Two}\ndef build(name):\n    return TABLE[name]()\n",
    "raytrain__r__one": "class One: ...",
    "raytrain__r__two": "class Two: ...",
}


def of_registry(*chosen: str, **changed: str) -> Closure:
    registries = {
        "raytrain.r": Registry(part="part", tables=("TABLE",)),
        "raytrain.settings": Registry(part="part"),
    }
    read = reader(**REGISTRY | changed)
    return closure(["raytrain.r"], registries=registries, chosen={"part": chosen}, read=read)


def test_of_a_registry_the_chosen_members_count() -> None:
    assert set(of_registry("one").modules) == {"raytrain", "raytrain.r", "raytrain.r.one"}
    more = REGISTRY["raytrain__r"].replace("'two': Two", "'two': Two, 'three': Three")
    more = "/from raytrain.r.three import Three\n" + more.removeprefix("/")
    added = of_registry("one", raytrain__r=more, raytrain__r__three="")
    assert added.digest == of_registry("one").digest
    assert of_registry("one", "two").digest != of_registry("one").digest
    other = REGISTRY["raytrain__r"].replace("TABLE[name]()", "TABLE[name](1)")
    assert of_registry("one", raytrain__r=other).digest != of_registry("one").digest


def test_a_member_that_another_module_asks_for_counts_though_it_is_not_chosen() -> None:
    one = "from raytrain.r import Two\nclass One(Two): ..."
    assert "raytrain.r.two" in of_registry("one", raytrain__r__one=one).modules


SETTINGS = """
class Base: ...
class OneConfig(Base):
    name: str = "one"
class TwoConfig(Base):
    name: str = "two"
Config = OneConfig | TwoConfig
"""


def test_settings_of_members_that_are_not_chosen_do_not_count() -> None:
    def digest(text: str, *chosen: str) -> str:
        build = "/from raytrain.settings import Config\ndef build(config: Config): ...\n"
        return of_registry(*chosen, raytrain__r=build, raytrain__settings=text).digest

    third = (
        SETTINGS.replace("| TwoConfig", "| TwoConfig | ThreeConfig")
        + "class ThreeConfig:\n    name: str = 'three'\n"
    )
    assert digest(third, "one") == digest(SETTINGS, "one")
    for changed in ('"one"\n    size = 1', '"two"\n    size = 1'):
        text = SETTINGS.replace(changed.partition("\n")[0], changed)
        assert (digest(text, "one") == digest(SETTINGS, "one")) is ("two" in changed)
    of_base = SETTINGS.replace("class Base: ...", "class Base:\n    size = 1")
    assert digest(of_base, "one") != digest(SETTINGS, "one")
    inherits = SETTINGS.replace("TwoConfig(Base)", "TwoConfig(OneConfig)")
    assert digest(inherits.replace('"one"', '"one"\n    size = 1'), "two") != digest(inherits, "two")


def test_an_entry_that_is_no_module_is_refused() -> None:
    with pytest.raises(
        LookupError, match=r"raytrain\.gone: no such module; the entries of a key name modules"
    ):
        closure(["raytrain.gone"])


CHOSEN = {
    "image": {"operator": {"lbp"}, "encoder": {"vgg6"}, "objective": {"clapp"}, "cut": {"patches"}},
    "clip": {"operator": {"dtcwt"}, "encoder": {"movnet"}, "objective": {"clapp_video"}, "cut": {"volume"}},
    "events": {
        "operator": {"events"},
        "stem": {"matrix_lstm"},
        "encoder": {"resnet18"},
        "objective": {"supervised"},
        "cut": {"surface"},
    },
}
KINDS = {
    "pathway": (entries.PATHWAY, ()),
    "control": ((*entries.STANDARDISER, *entries.REPRESENT), ()),
    "floor": (entries.REPRESENT, entries.NO_ENCODER),
    "features": (entries.REPRESENT, ()),
    "standardisers": (entries.STANDARDISER, entries.NO_ENCODER),
    "chunks": (entries.CHUNK, ()),
    "fit": (entries.FIT, ()),
}


unchanged = functools.cache(read_module)


def of_kind(kind: str, modality: str, read: Read) -> Closure:
    begins, left_out = KINDS[kind]
    return closure(
        begins,
        registries=entries.REGISTRIES,
        chosen={**CHOSEN[modality], "modality": {modality}},
        left_out=(*entries.DECIDES_NOTHING, *entries.OF_OTHERS[modality], *left_out),
        read=read,
    )


def changed_in_one_character(name: str, source: Source, modality: str) -> Source | None:
    """Return a module with another letter in the name of its first statement that is no import.

    None where there is no such statement. In a registry, of a member that was chosen.
    """
    registry = entries.REGISTRIES.get(name)
    lines = source.text.splitlines(keepends=True)
    for node in ast.parse(source.text).body:
        if isinstance(node, ast.Assign) and registry is None:
            column = node.col_offset
        elif isinstance(node, ast.FunctionDef) or (
            isinstance(node, ast.ClassDef) and _chosen(node, modality)
        ):
            column = lines[node.lineno - 1].index(node.name)
        else:
            continue
        line = lines[node.lineno - 1]
        other = "r" if line[column] == "q" else "q"
        lines[node.lineno - 1] = line[:column] + other + line[column + 1 :]
        return Source("".join(lines), source.is_package)
    return None


def _chosen(node: ast.ClassDef, modality: str) -> bool:
    names = {name for chosen in CHOSEN[modality].values() for name in chosen}
    text = ast.unparse(node)
    return "name: Literal" not in text or any(f"name: Literal['{name}'] =" in text for name in names)


@pytest.mark.parametrize("modality", CHOSEN)
@pytest.mark.parametrize("kind", KINDS)
def test_one_character_of_a_statement_in_any_reachable_module_changes_the_key(
    kind: str, modality: str
) -> None:
    whole = of_kind(kind, modality, unchanged)
    for name in whole.modules:
        original = unchanged(name)
        assert original is not None
        changed = changed_in_one_character(name, original, modality)
        if changed is None:  # a package that says what it holds, or settings of which none is chosen
            body = ast.parse(original.text).body
            assert name in entries.REGISTRIES or all(
                isinstance(n, ast.Expr | ast.ImportFrom) for n in body
            ), name
            continue

        def read(one: str, name: str = name, changed: Source = changed) -> Source | None:
            return changed if one == name else unchanged(one)

        found = of_kind(kind, modality, read)
        assert found.modules.keys() == whole.modules.keys()
        assert {one for one in found.modules if found.modules[one] != whole.modules[one]} == {name}
        assert found.digest != whole.digest
