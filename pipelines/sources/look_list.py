"""Which columns of a list hold what, where nobody has said so: told by their values and names."""

import re
from collections.abc import Collection, Iterator, Sequence

from pipelines.sources.csv import as_path, read_list
from pipelines.sources.split_names import split_of
from pipelines.storage.places import Storage
from raytrain.config.data import CsvConfig
from raytrain.errors import ConfigError, DataError

_LABELS = (
    *("label", "labels", "class", "classname", "classlabel", "labelname", "category", "target", "species"),
    *("diagnosis", "action", "gesture", "object", "y"),
)
_SPLITS = ("split", "subset", "set", "partition", "fold", "usage", "phase", "dataset")
_GROUPS = (
    *("group", "groupid", "track", "trackid", "subject", "subjectid", "patient", "patientid", "person"),
    *("personid", "user", "userid", "scene", "sceneid", "source", "video", "videoid", "site"),
)
_SPLIT_WORDS = ("probe_train", "")
_DEFAULTS = CsvConfig()


def list_readings(settings: CsvConfig, storage: Storage, files: Collection[str]) -> Iterator[dict[str, str]]:
    """Yield settings of `data.csv`, by name, that a list may be read with, the likeliest first.

    Nothing where there is no single list, or none of its columns names files of the root. files: their paths.
    """
    try:
        listed = read_list(settings, storage)
    except (ConfigError, DataError):
        return
    columns = {name: [row[name] for row in listed.rows] for name in listed.columns}
    path = _path_column(columns, set(files), storage.root)
    if not path:
        return
    del columns[path]
    found = {"csv.path_column": path}
    split = _named([name for name, values in columns.items() if _are_splits(values)], _SPLITS)
    if split:
        found["csv.split_column"] = split
        del columns[split]
    group = _named(columns, _GROUPS)
    without_group = found | _labels({name: values for name, values in columns.items() if name != group})
    if group:
        rest = {name: values for name, values in columns.items() if name != group}
        yield _told(found | {"csv.group_column": group} | _labels(rest))
        without_group = found | _labels(columns)
    yield _told(without_group)
    yield _told(without_group) | {"csv.repeated": "labels"}


def _told(found: dict[str, str]) -> dict[str, str]:
    """Return what differs from the defaults."""
    own = {name: getattr(_DEFAULTS, name.removeprefix("csv.")) for name in found}
    return {name: value for name, value in found.items() if value != own[name]}


def _path_column(columns: dict[str, list[str]], files: set[str], root: str) -> str:
    """Return the column that names files of the root in most of its lines; empty: none does in half."""
    held = {
        name: sum(as_path(value, root) in files for value in values) / len(values)
        for name, values in columns.items()
    }
    # The default name comes first where several do alike.
    best = max(held, key=lambda name: (held[name], name == _DEFAULTS.path_column), default="")
    return best if best and held[best] > 0.5 else ""


def _named(columns: Collection[str], names: Sequence[str]) -> str:
    """Return the column with one of the names, the earlier ones first; empty: none."""
    plain = {re.sub(r"[^a-z0-9]", "", column.lower()): column for column in reversed(list(columns))}
    return next((plain[name] for name in names if name in plain), "")


def _labels(columns: dict[str, list[str]]) -> dict[str, str]:
    """Return the column of class names, or those of 0 and 1; without either the samples have no label."""
    # Beside an x, y is a place.
    named = _named(columns, _LABELS if not _named(columns, ("x",)) else _LABELS[:-1])
    if named:
        return {"csv.label_column": named}
    marks = [name for name, values in columns.items() if {*values} <= {"0", "1", "0.0", "1.0", ""}]
    marks = [name for name in marks if any(columns[name])]
    if len(marks) > 1:
        return {"csv.label_columns": ",".join(marks)}
    for name, values in columns.items():
        distinct = {*values} - {""}
        if 2 <= len(distinct) <= len(values) / 2 and not all(_is_fraction(value) for value in distinct):
            return {"csv.label_column": name}
    return {"csv.label_column": ""} if columns else {}


def _are_splits(values: Collection[str]) -> bool:
    return all(split_of(value) or value.lower() in _SPLIT_WORDS for value in set(values))


def _is_fraction(text: str) -> bool:
    return bool(re.fullmatch(r"[-+]?\d*\.\d+([eE][-+]?\d+)?", text))
