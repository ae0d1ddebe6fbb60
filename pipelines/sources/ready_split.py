"""Folders of a ready split: train/<class>/ beside test/<class>/, or <class>/train/ beside <class>/test/.

A folder that is part of such a layout is never a class: where the reading is in doubt, it is refused.
"""

from dataclasses import dataclass

from pipelines.forms.media import Medium
from pipelines.sources.split_names import is_validation, split_of, split_within
from pipelines.storage.listing import FileInfo
from raytrain.errors import DataError


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
        _check_no_split_within(parts, root)
        return _by_split(files, parts, depth=0)
    if not loose:
        _check_above(parts, root)
    if not named and tops and not loose:
        below = sorted({path[1] for path in parts if len(path) > 1})
        if len({split_of(name) for name in below} & {"train", "test", "select"}) > 1:
            _check_all_below(files, parts, below, root=root)
            return _by_split(files, parts, depth=1)
    _check_alike(tops, root)
    _check_within(parts, root)
    return []


def _check_no_split_within(parts: list[list[str]], root: str) -> None:
    """Refuse train/train: unpacked twice, or with the folder's name again, the class folders lie deeper."""
    doubled = [path for path in parts if len(path) > 2 and split_of(path[1]) == split_of(path[0])]
    if doubled and all(len(path) > 2 and split_of(path[1]) for path in parts):
        first = "/".join(doubled[0][:2])
        raise DataError(
            f"data.root {root}: {first} is a split within a split; move its class folders up to "
            f"{doubled[0][0]}"
        )


def _check_alike(tops: list[str], root: str) -> None:
    """Refuse seg_train beside seg_test, which would be two classes."""
    alike: dict[str, dict[str, str]] = {}
    for top in tops:
        split, rest = split_within(top)
        if split:
            alike.setdefault(rest, {})[split] = top
    for named in alike.values():
        if len(named) > 1:
            which = " and ".join(named.values())
            raise DataError(
                f"data.root {root}: {which} look like splits; call them {' and '.join(named)}, with the "
                "class folders directly below, or list the files in a .csv"
            )


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
        shown = ", ".join(others[:3]) + ", ..." * (len(others) > 3)
        raise DataError(
            f"data.root {root}: {which} look like splits, but {shown} beside {'them' if named[1:] else 'it'} "
            f"{'does' if len(others) == 1 else 'do'} not; move what is no split, rename a class that "
            "is called like a split, or list the files in a .csv"
        )
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
    """Refuse classes that hold a folder a split each, and something else."""
    odd = [name for name in below if not split_of(name)]
    odd = odd or [file.path for file in files if file.path.count("/") < 2]
    if odd:
        names = " and ".join(name for name in below if split_of(name))
        raise DataError(
            f"data.root {root}: {names} in {parts[0][0]} look like splits, but {odd[0]} does not; move it, "
            "or list the files in a .csv"
        )
