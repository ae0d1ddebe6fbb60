"""A .csv list: a column of paths, one of class names or several labels; splits and groups if it has them.

Labels: a class name a row; several names joined by `;`; or one 0/1 column a label (data.csv.label_columns). A
row without a label is unlabelled. Without a split column every row is for training, and shares are cut off.
"""

import codecs
import csv
import io
import re
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipelines.forms.media import IMAGES, LISTS, RECORDINGS, VIDEOS, Medium, extension
from pipelines.forms.quarantine import BadSample
from pipelines.sources.class_names import check_apart
from pipelines.sources.event_files import finish_manifest, sensor_of
from pipelines.sources.samples import Sample, build_manifest
from pipelines.sources.split_names import READY_SPLITS, split_of
from pipelines.storage.manifest import SPLITS, Manifest
from pipelines.storage.places import Storage
from raytrain.config.data import CsvConfig, DataConfig
from raytrain.errors import ConfigError, DataError, did_you_mean

_SPLIT_NAMES = READY_SPLITS | {name: name for name in SPLITS}
_DEFAULTS = CsvConfig()
_UTF16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
_SEPARATOR = re.compile(r'"?sep=(.)"?[,;\t]*', re.IGNORECASE)
_SUFFIXES = {suffix for medium in (IMAGES, VIDEOS, RECORDINGS) for suffix in medium.extensions}
_SHOWN = 3
_YES, _NO = ("1", "1.0"), ("0", "0.0")


@dataclass(frozen=True)
class _List:
    """A list as read: the rows with the line that each ends on."""

    where: str
    columns: tuple[str, ...]
    rows: list[dict[str, str]]
    lines: list[int]


def read_csv(
    config: DataConfig, storage: Storage, *, group_of: Callable[[str], str] | None = None
) -> Manifest:
    """Return the manifest of a list; `group_of` names the group of a path that the list gives none.

    Raises:
        ConfigError: no such list or column.
        DataError: broken, or it names files that are missing, unknown splits, or labels that are none.
    """
    listed = read_list(config.csv, storage)
    settings = _as_spelled(config.csv, listed.columns)
    _check_columns(listed, settings)
    listed, notes = _one_line_each(listed, settings, storage.root)
    paths = [row[settings.path_column] for row in listed.rows]
    sizes = _sizes(paths, listed, storage)
    names, label_sets, labels = _labels(listed, settings)
    notes += check_apart(names, listed.where)
    splits = [_split(row.get(settings.split_column, ""), listed, line) for row, line in _lines(listed)]
    samples = [
        Sample(
            key=path,
            uri=path,
            size=sizes[path],
            # A row without a label can only be pretrained on, unless its split is stated.
            split=split or ("train" if label >= 0 else "pretrain"),
            label=label,
            group=row.get(settings.group_column, "") or (group_of(path) if group_of else ""),
        )
        for path, split, label, row in zip(paths, splits, labels, listed.rows, strict=True)
    ]
    medium = _medium(paths, listed)
    manifest = build_manifest(
        samples,
        root=storage.root,
        classes=names,
        config=config,
        label_sets=label_sets,
        modality=medium.modality,
        notes=notes,
    )
    if medium is RECORDINGS:
        sensor = sensor_of(manifest, storage, config)
        return finish_manifest(manifest, storage, config, sensor=sensor)
    return manifest


def _medium(paths: list[str], listed: _List) -> Medium:
    """Return the kind of the listed files; what has no known suffix is an image."""
    for medium in (VIDEOS, RECORDINGS):
        held = [medium.holds(path) for path in paths]
        if all(held):
            return medium
        if any(held):
            raise DataError(
                f"{listed.where}: names {sum(held)} {medium.name} among {len(paths)} files, e.g. "
                f"{paths[held.index(True)]} beside {paths[held.index(False)]}; list files of one kind"
            )
    return IMAGES


def _one_line_each(listed: _List, settings: CsvConfig, root: str) -> tuple[_List, tuple[str, ...]]:
    """Return the list with its paths inside the root and a line for each, and what is to be said of that.

    Raises:
        DataError: a path outside the root; or several lines for one that do not say the same.
    """
    rows: dict[str, dict[str, str]] = {}
    lines: dict[str, int] = {}
    counted = Counter[str]()
    for found, line in _lines(listed):
        path = _inside(found[settings.path_column], listed, line, root)
        row, label = found | {settings.path_column: path}, settings.label_column
        kept = rows.setdefault(path, row)
        first = lines.setdefault(path, line)
        if kept is row:
            continue
        if kept == row:
            counted["lines that say the same as another count once"] += 1
            continue
        differing = {name for name in row if row[name] != kept[name]}
        if settings.repeated == "refuse" or differing != {label}:
            advice = (
                "" if differing != {label} else ", or set data.csv.repeated = labels if each is a label of it"
            )
            raise DataError(f"{listed.where}: names {path} in the lines {first} and {line}; drop one{advice}")
        rows[path] = kept | {label: settings.label_separator.join((kept[label], row[label]))}
        counted["lines add a label to a file named before"] += 1
    notes = tuple(f"{listed.where}: {count} {what}" for what, count in counted.items())
    return replace(listed, rows=list(rows.values()), lines=list(lines.values())), notes


def _lines(listed: _List) -> "zip[tuple[dict[str, str], int]]":
    return zip(listed.rows, listed.lines, strict=True)


def read_list(settings: CsvConfig, storage: Storage) -> _List:
    """Return the rows of the list that the settings name, or of the only one in the root.

    Raises:
        ConfigError: no such list, or several.
        DataError: broken.
    """
    path = settings.file or _only_list(storage)
    where = f"{storage.root}/{path}"
    try:
        storage.lists.add(path)
        data = storage.read_bytes(path)
        text = data.decode("utf-16" if data.startswith(_UTF16) else "utf-8-sig")
    except BadSample as bad:
        raise ConfigError(f"data.csv.file {where}: {bad.reason}; name the list below data.root") from None
    except UnicodeDecodeError:
        raise DataError(f"{where}: not UTF-8 text; save the list as UTF-8") from None
    head, _, below = text.partition("\n")
    stated = _SEPARATOR.fullmatch(head.strip("\r"))
    if stated:  # written for, and by, spreadsheets
        text = f"\n{below}"
    delimiter = settings.delimiter or (stated[1] if stated else max(",;\t", key=head.count))
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    try:
        if stated:
            next(reader)
        columns = tuple(name.strip() for name in next(reader, ()))
        rows, lines = [], []
        for fields in reader:
            if len(fields) not in (0, len(columns)):
                raise DataError(
                    f"{where}, line {reader.line_num}: {len(fields)} fields, but the header has "
                    f"{len(columns)}; repair the line"
                )
            if fields:
                rows.append(dict(zip(columns, map(str.strip, fields), strict=True)))
                lines.append(reader.line_num)
    except csv.Error as error:
        raise DataError(f"{where}, line {reader.line_num}: {error}; repair the line") from None
    if len(set(columns)) < len(columns):
        raise DataError(f"{where}: two columns have the same name; rename one: {', '.join(columns)}")
    if not rows:
        raise DataError(f"{where}: holds no lines below its header; list the files in it")
    return _List(where, columns, rows, lines)


def _only_list(storage: Storage) -> str:
    files = [f.path for f in storage.list_files(recursive=False) if f.path.lower().endswith(LISTS)]
    if len(files) == 1:
        return files[0]
    found = f"{len(files)} .csv files: {', '.join(files[:_SHOWN])}" if files else "no .csv file"
    raise ConfigError(f"data.root {storage.root}: {found}; name the list by data.csv.file")


def _as_spelled(settings: CsvConfig, columns: tuple[str, ...]) -> CsvConfig:
    """Return the settings with the columns' names in the case in which the list has them."""
    changed: dict[str, Any] = {}
    for setting in ("path_column", "label_column", "split_column", "group_column"):
        named = getattr(settings, setting)
        alike = [column for column in columns if column.casefold() == named.casefold()]
        if named not in columns and len(alike) == 1:
            changed[setting] = alike[0]
    return replace(settings, **changed) if changed else settings


def _check_columns(listed: _List, settings: CsvConfig) -> None:
    wanted = {"path_column": settings.path_column}
    for name in ("split_column", "group_column"):
        if getattr(settings, name) != getattr(_DEFAULTS, name):
            wanted[name] = getattr(settings, name)
    others = set(listed.columns) - {settings.path_column, settings.split_column, settings.group_column}
    if not settings.label_columns and (others or settings.label_column != _DEFAULTS.label_column):
        wanted["label_column"] = settings.label_column
    wanted |= {f"label_columns ({name})": name for name in settings.label_column_names}
    for setting, column in wanted.items():
        if column and column not in listed.columns:
            if any(extension(name) in _SUFFIXES for name in listed.columns):
                raise DataError(
                    f"{listed.where}: its first line names a file, so the header is missing; add a line "
                    f"with the columns' names before it, e.g. {settings.path_column},{settings.label_column}"
                )
            raise ConfigError(
                f"{listed.where}: no column {column!r} (data.csv.{setting})"
                f"{did_you_mean(column, listed.columns)}"
            )


def _inside(path: str, listed: _List, line: int, root: str) -> str:
    """Return a listed path relative to the root, with forward slashes."""
    clean, inside = _below(path, root), as_path(path, root)
    if not inside:
        raise DataError(f"{listed.where}, line {line}: no path; name the file or drop the line")
    if clean.startswith("/") or ".." in inside.split("/") or "://" in clean:
        raise DataError(
            f"{listed.where}, line {line}: {path} lies outside data.root {root}; name a root above all files"
        )
    return inside


def as_path(text: str, root: str) -> str:
    """Return what a list calls a file as a path below the root: its own slashes, without ./ and the root."""
    return "/".join(part for part in _below(text, root).split("/") if part not in ("", "."))


def _below(text: str, root: str) -> str:
    return text.replace("\\", "/").removeprefix(f"{root.rstrip('/')}/")


def _sizes(paths: list[str], listed: _List, storage: Storage) -> dict[str, int]:
    """Return the bytes of each listed file; all must be there."""
    known = {file.path: file.size for file in storage.all_files()}
    missing = [path for path in paths if path not in known]
    if missing:
        shown = ", ".join(missing[:_SHOWN])
        near = _near(missing[0], known)
        advice = f"there is {near}: mend the paths" if near else "restore them or drop their lines"
        raise DataError(
            f"{listed.where}: names {len(missing)} files of {len(paths)} that are missing, e.g. {shown}; "
            f"{advice}"
        )
    return known


def _near(path: str, known: Iterable[str]) -> str:
    """Return the file that a path most likely means, of another case, suffix or root; empty: none."""

    def plain(text: str) -> str:
        return text.casefold().removesuffix(extension(text))

    wanted = plain(path)
    tails = [found for found in known if wanted.endswith(plain(found)) or plain(found).endswith(f"/{wanted}")]
    return max(tails, key=len, default="")


def _split(name: str, listed: _List, line: int) -> str:
    split = _SPLIT_NAMES.get(name.lower(), "") or split_of(name)
    if name and not split:
        raise DataError(
            f"{listed.where}, line {line}: unknown split {name!r}{did_you_mean(name.lower(), _SPLIT_NAMES)}"
        )
    return split


def _labels(
    listed: _List, settings: CsvConfig
) -> tuple[tuple[str, ...], NDArray[np.uint8] | None, list[int]]:
    """Return the class names, the label matrix where a sample has several, and each sample's label."""
    if settings.label_columns:
        return _from_columns(listed, settings.label_column_names)
    texts = [row.get(settings.label_column, "") for row in listed.rows]
    if not any(settings.label_separator in text for text in texts):
        names = tuple(sorted(set(texts) - {""}))
        numbers = {name: number for number, name in enumerate(names)} | {"": -1}
        return names, None, [numbers[text] for text in texts]
    sets = [{part.strip() for part in text.split(settings.label_separator)} - {""} for text in texts]
    names = tuple(sorted(set().union(*sets)))
    label_sets = np.array([[name in found for name in names] for found in sets], np.uint8)
    return names, label_sets, [0 if found else -1 for found in sets]


def _from_columns(
    listed: _List, names: tuple[str, ...]
) -> tuple[tuple[str, ...], NDArray[np.uint8], list[int]]:
    label_sets = np.zeros((len(listed.rows), len(names)), np.uint8)
    labels = []
    for place, (row, line) in enumerate(_lines(listed)):
        values = [row[name] for name in names]
        labels.append(0 if any(values) else -1)
        if not any(values):
            continue
        for name, value in zip(names, values, strict=True):
            if value not in (*_YES, *_NO):
                raise DataError(
                    f"{listed.where}, line {line}: {name} is {value!r}; it must be 0 or 1 (all empty: "
                    "unlabelled)"
                )
        label_sets[place] = [value in _YES for value in values]
    return names, label_sets, labels


def with_labels(config: DataConfig, names: tuple[str, ...]) -> DataConfig:
    """Return the settings with one 0/1 column for each of the names, unless they name columns themselves."""
    if config.csv.label_columns:
        return config
    return replace(config, csv=replace(config.csv, label_columns=",".join(names)))
