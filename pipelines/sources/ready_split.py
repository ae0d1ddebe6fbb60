"""Folders of a ready split: train/<class>/ beside test/<class>/, or <class>/train/ beside <class>/test/.

A folder that is part of such a layout is never a class: where the reading is in doubt, it is refused.
"""

import re
from dataclasses import dataclass

from pipelines.forms.media import Medium
from pipelines.sources.split_names import is_hardly_a_class, is_validation, split_of, split_within
from pipelines.storage.listing import FileInfo
from raytrain.errors import DataError

_FOLD = re.compile(r"(fold|part|batch|shard|chunk)[ _-]?\d+", re.IGNORECASE)


@dataclass(frozen=True)
class Found:
    """A file with what its place in the folders says."""

    file: FileInfo
    split: str
    class_name: str
    """empty: unlabelled"""


def read_splits(files: list[FileInfo], *, root: str, medium: Medium) -> list[Found]:
    """Return the files by the split that their folders name; empty where all folders are classes.

    Raises:
        DataError: some folders look like splits and the rest does not fit: they may be classes.
    """
    # All that is decided here depends on the folders: they are few, the files may be millions.
    folders = sorted({file.path.rpartition("/")[0] for file in files})
    parts = [folder.split("/") for folder in folders if folder]
    tops = sorted({path[0] for path in parts})
    named = [top for top in tops if split_of(top)]
    # A class may be called "train" too: then its files lie directly in it, and no other name is a split's.
    trained = [top for top in named if split_of(top) == "train"]
    nested = any(path[0] in named and len(path) > 1 for path in parts)
    loose = next((file.path for file in files if "/" not in file.path), "") if "" in folders else ""
    if (trained and nested) or len(named) > 1:
        _check_all_splits(tops, named, loose, nested=nested, root=root, medium=medium)
        _check_class_folders(parts, root)
        return _by_split(files, parts, depth=0)
    _check_beside_classes(tops, named, parts, root)
    if not loose:
        _check_above(parts, root)
    if not named and tops and not loose:
        below = sorted({path[1] for path in parts if len(path) > 1})
        if len({split_of(name) for name in below} & {"train", "test", "select"}) > 1:
            _check_all_below(files, parts, below, root=root)
            return _by_split(files, parts, depth=1)
    _check_alike(parts, root)
    _check_within(parts, root)
    return []


def _check_beside_classes(tops: list[str], named: list[str], parts: list[list[str]], root: str) -> None:
    """Refuse one split beside what it may be a split of: test/cat beside cat, or test beside cat and dog."""
    others = [top for top in tops if top not in named]
    if len(named) != 1 or not others:
        return
    if _below(parts)[named[0]].intersection(others) or is_hardly_a_class(named[0]):
        raise _odd(root, named, others)


def _check_class_folders(parts: list[list[str]], root: str) -> None:
    """Refuse splits whose class folders lie deeper: train/train/cat, or train/images/cat beside test/cat."""
    below = _below(parts)
    for top, names in below.items():
        deep = {path[1] for path in parts if path[0] == top and len(path) > 2}
        elsewhere = set().union(*(inner for other, inner in below.items() if other != top))
        doubled = [name for name in deep if split_of(name) == split_of(top)]
        alone = [name for name in deep if names == {name} and elsewhere and name not in elsewhere]
        if doubled or alone:
            raise DataError(
                f"data.root {root}: the class folders of {top} lie in {top}/{(doubled + alone)[0]}; move "
                f"them up to {top}"
            )


def _check_alike(parts: list[list[str]], root: str) -> None:
    """Refuse what would be classes: seg_train and seg_test, train_x/cat and test_y/cat, fold1 and fold2."""
    below = _below(parts)
    splits = {top: split_within(top) for top in below}
    worded = [top for top, (split, _) in splits.items() if split]
    for number, one in enumerate(worded):
        for other in worded[:number]:
            (split, rest), (its_split, its_rest) = splits[one], splits[other]
            if split != its_split and (rest == its_rest or below[one] & below[other]):
                raise DataError(
                    f"data.root {root}: {other} and {one} look like splits; call them {its_split} and "
                    f"{split}, with the class folders directly below, or list the files in a .csv"
                )
    if len(below) > 1 and all(map(_FOLD.fullmatch, below)) and set.intersection(*below.values()):
        raise DataError(
            f"data.root {root}: {' and '.join(sorted(below)[:3])} look like parts of one data set, which "
            "hold the same classes; put the classes together, or list the files in a .csv with a column split"
        )


def same_folders_below(files: list[FileInfo]) -> tuple[str, ...]:
    """Return the note of classes that all hold the same folders, which may be the classes; else none."""
    folders = {file.path.rpartition("/")[0] for file in files}
    below = _below([folder.split("/") for folder in folders if folder])
    names = next(iter(below.values()), set())
    if len(below) < 2 or len(names) < 2 or any(inner != names for inner in below.values()):
        return ()
    shown, inner = (", ".join(sorted(found)[:3]) for found in (below, names))
    return (
        f"the classes ({shown}) all hold the same folders ({inner}): where those are the classes, name one "
        "of the former as data.root, or list the files in a .csv",
    )


def _below(parts: list[list[str]]) -> dict[str, set[str]]:
    """Return the names of the folders directly below each top folder."""
    below: dict[str, set[str]] = {}
    for path in parts:
        below.setdefault(path[0], set()).update(path[1:2])
    return below


def _check_within(parts: list[list[str]], root: str) -> None:
    """Refuse splits that lie deeper within what would be a class: they would be mixed."""
    inner: dict[tuple[str, ...], set[str]] = {}
    for path in parts:
        for depth in range(1, len(path)):
            inner.setdefault(tuple(path[:depth]), set()).add(path[depth])
    for above, names in inner.items():
        splits = sorted(name for name in names if split_of(name))
        if len({split_of(name) for name in splits} & {"train", "test", "select"}) > 1:
            inside = "/".join(above)
            raise DataError(
                f"data.root {root}: {inside} holds the splits {', '.join(splits)}, but other folders lie "
                f"beside it; set data.root to {root}/{inside}, or list the files in a .csv"
            )


def _check_above(parts: list[list[str]], root: str) -> None:
    """Refuse a root that holds the folder of the splits alone, or that within others."""
    first, last = min(parts, default=[]), max(parts, default=[])
    shared = [one == other for one, other in zip(first, last, strict=False)]
    depth = shared.index(False) if False in shared else len(shared)
    below = sorted({path[depth] for path in parts if len(path) > depth})
    splits = [name for name in below if split_of(name)]
    if depth and "train" in map(split_of, splits) and len(splits) > 1:
        inner = "/".join(first[:depth])
        raise DataError(
            f"data.root {root}: holds {inner} alone, which holds the splits {', '.join(splits)}; set "
            f"data.root to {root}/{inner}"
        )


def _check_all_splits(
    tops: list[str], named: list[str], loose: str, *, nested: bool, root: str, medium: Medium
) -> None:
    """Refuse what stands beside splits and is none, splits without class folders, and none to train on."""
    others = [top for top in tops if top not in named]
    which = " and ".join(named)
    if others:
        raise _odd(root, named, others)
    if loose:
        raise DataError(
            f"data.root {root}: {which} look like splits, but {loose} lies beside "
            f"{'them' if named[1:] else 'it'}; move it into a class folder of a split, or elsewhere"
        )
    if not nested:
        raise DataError(
            f"data.root {root}: {which} look like splits, but hold {medium.name} and no class folders; "
            f"make a folder a class in each, list them in a .csv, or read them without "
            "labels by data.source = flat"
        )
    if not {split_of(top) for top in named} & {"train", "pretrain"}:
        raise DataError(
            f"data.root {root}: {which} look like splits, but none is for training; add a train folder "
            "beside them, or list the files in a .csv"
        )


def _odd(root: str, named: list[str], others: list[str]) -> DataError:
    """Return the error of folders that look like splits, beside others that do not."""
    shown = ", ".join(others[:3]) + ", ..." * (len(others) > 3)
    looks, them = ("look like splits", "them") if len(named) > 1 else ("looks like a split", "it")
    return DataError(
        f"data.root {root}: {' and '.join(named)} {looks}, but {shown} beside {them} "
        f"{'does' if len(others) == 1 else 'do'} not; move what is no split, rename a class that is called "
        "like a split, or list the files in a .csv"
    )


def _by_split(files: list[FileInfo], parts: list[list[str]], *, depth: int) -> list[Found]:
    """Return the files by split, named by their part at `depth`, and class, by the other of the first two.

    Without a folder that is called after the test split, `val` is the test split. parts: of all folders.
    """
    has_test = any(split_of(path[depth]) == "test" for path in parts)

    def told(path: list[str]) -> tuple[str, str]:
        split = "test" if not has_test and is_validation(path[depth]) else split_of(path[depth])
        return split, "" if split == "pretrain" or len(path) < 2 else path[1 - depth]

    known = {"/".join(path): told(path) for path in parts}
    return [Found(file, *known[file.path.rpartition("/")[0]]) for file in files]


def _check_all_below(files: list[FileInfo], parts: list[list[str]], below: list[str], *, root: str) -> None:
    """Refuse classes that hold a folder a split each, and something else, or the real classes below."""
    odd = [name for name in below if not split_of(name)]
    odd = odd or [file.path for file in files if file.path.count("/") < 2]
    above = next(path[0] for path in parts if len(path) > 1 and split_of(path[1]))
    if odd:
        names = " and ".join(name for name in below if split_of(name))
        raise DataError(
            f"data.root {root}: {names} in {above} look like splits, but {odd[0]} does not; move it, or list "
            "the files in a .csv"
        )
    deeper: dict[str, set[str]] = {}
    for path in parts:
        deeper.setdefault(path[0], set()).update(path[2:3])
    first = deeper[above]
    if len(deeper) > 1 and len(first) > 1 and all(names == first for names in deeper.values()):
        raise DataError(
            f"data.root {root}: {' and '.join(sorted(deeper)[:3])} hold splits of the same folders "
            f"({', '.join(sorted(first)[:3])}); name one of them as data.root, or list the files in a .csv"
        )
