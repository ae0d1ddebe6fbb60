""".h5 of events: data sets x, y, t, p in one group, or one data set of events, wherever they lie in the file.

Where several groups hold events, as of a stereo pair, the usual ones come first. `t_offset` beside them or in
the file itself, as DSEC has it, is added. Needs h5py, which is loaded here only.
"""

import contextlib
import io
import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from pipelines.decode.recordings.arrays import from_array, from_columns, named_fields
from pipelines.decode.recordings.columns import Columns, Known
from pipelines.forms.bombs import refuse_bomb
from pipelines.forms.quarantine import BadSample
from raytrain.errors import ConfigError

MAGIC = b"\x89HDF\r\n\x1a\n"
_FIRST = ("events", "CD/events", "davis/left/events", "prophesee/left", "")
_MOST_OBJECTS = 2000
_OFFSET = "t_offset"


@dataclass(frozen=True)
class _Place:
    """Where events lie: a group with its columns, or a data set."""

    name: str
    node: Any
    fields: dict[str, str]
    """of a group: which member is x, y, t, p; empty: the node is a data set"""
    others: tuple[str, ...] = ()
    """further places of events in the file, which are passed over"""

    @property
    def datasets(self) -> list[Any]:
        return [self.node[field] for field in self.fields.values()] or [self.node]


def decode_hdf5(data: bytes, known: Known) -> Columns:
    """Return the events.

    Raises:
        BadSample: damaged, no such columns, or in several places of which none is a usual one.
        ConfigError: h5py is not installed.
    """
    try:
        import h5py
    except ImportError:
        raise ConfigError("recordings in .h5 files need h5py: pip install raytrain[events]") from None
    with contextlib.suppress(ImportError):
        import hdf5plugin  # noqa: F401 - makes the codecs known that DSEC and Prophesee compress with
    try:
        with h5py.File(io.BytesIO(data), "r") as file:
            place = _place(file, h5py)
            offsets = [node[_OFFSET] for node in (place.node, file) if _is_parent(node) and _OFFSET in node][
                :1
            ]
            _check_extent([*place.datasets, *offsets], file, len(data))
            found = _with_others(_read(place, known), place)
            return _moved(found, offsets[0]) if offsets else found
    except (OSError, RuntimeError, KeyError, ValueError) as error:
        raise BadSample(f".h5: cannot be read: {_in_words(error)}") from None


def _read(place: _Place, known: Known) -> Columns:
    if place.fields:
        return from_columns(
            {name: np.asarray(place.node[field]) for name, field in place.fields.items()}, known
        )
    return from_array(np.asarray(place.node), known, f".h5: {place.name}")


def _with_others(found: Columns, place: _Place) -> Columns:
    if not place.others:
        return found
    return replace(found, read_as=f"{place.name} alone, not {', '.join(place.others[:2])}; {found.read_as}")


def _moved(found: Columns, stored: Any) -> Columns:
    """Return the events with the offset of their stamps added."""
    value = np.asarray(stored)
    try:
        offset = float(value.item().decode() if value.dtype.kind in "SO" else value.item())
    except (ValueError, AttributeError, TypeError):
        offset = math.nan
    if not math.isfinite(offset):
        raise BadSample(f".h5: {_OFFSET} is {value.dtype} of shape {value.shape}; it must be one number")
    return replace(found, t=found.t + round(offset * found.tick_us))


def _place(file: Any, h5py: Any) -> _Place:
    """Return where the events lie."""
    places = {place.name: place for place in _places(file, h5py)}
    if len(places) > 1:
        first = next((name for name in _FIRST if name in places), None)
        if first is None:
            raise BadSample(
                f".h5: events lie in {' and '.join(list(places)[:3])}; keep one of them in a file"
            )
        return replace(places[first], others=tuple(name for name in places if name != first))
    if not places:
        raise BadSample(f".h5: no columns x, y, t, p, e.g. events/x; it holds {', '.join(_names(file)[:6])}")
    return next(iter(places.values()))


def _places(file: Any, h5py: Any) -> Iterator[_Place]:
    """Yield all places of events, without following links into other files."""
    nodes: list[tuple[str, Any]] = [("", file)]
    for number, (name, node) in enumerate(nodes):
        if number > _MOST_OBJECTS:
            return
        if isinstance(node, h5py.Dataset):
            if named_fields(node.dtype.names or ()) or _is_table(name, node):
                yield _Place(name, node, {})
            continue
        members = [key for key in _names(node) if isinstance(node.get(key, getlink=True), h5py.HardLink)]
        inner = {key: node[key] for key in members}
        fields = named_fields(key for key, member in inner.items() if isinstance(member, h5py.Dataset))
        if fields:
            yield _Place(name, node, fields)
            continue
        nodes += [(f"{name}/{key}" if name else key, member) for key, member in inner.items()]


def _is_table(name: str, node: Any) -> bool:
    called = name.rpartition("/")[2].lower().startswith("event")
    return called and node.ndim == 2 and 4 in node.shape


def _is_parent(node: Any) -> bool:
    return hasattr(node, "keys")


def _names(node: Any) -> list[str]:
    return list(itertools.islice(node, _MOST_OBJECTS))


def _in_words(error: Exception) -> str:
    text = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    if "filter" in text or "plugin" in text:
        return "compressed by a codec that is not installed: pip install raytrain[events]"
    return text[:120]


def _check_extent(datasets: list[Any], file: Any, stored: int) -> None:
    """Raise BadSample where data sets lie in other files, or claim far more than this one holds."""
    for dataset in datasets:
        if dataset.file != file or dataset.external or dataset.is_virtual:
            raise BadSample(f".h5: the column {dataset.name} leads to another file")
    # A chunk is unpacked as a whole, however little of it is the data set's.
    sizes = [dataset.dtype.itemsize * max(dataset.size or 0, *_chunk(dataset)) for dataset in datasets]
    refuse_bomb(sum(sizes), stored, ".h5")


def _chunk(dataset: Any) -> list[int]:
    return [math.prod(dataset.chunks)] if dataset.chunks else [0]
