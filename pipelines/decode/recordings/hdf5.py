""".h5 of events: columns x, y, t, p in the group `events`, in another usual one, or in the file itself.

`t_offset` beside them, as DSEC has it, is added. Needs h5py, which is loaded here only.
"""

import io
import math
from typing import Any

import numpy as np

from pipelines.decode.recordings.arrays import NAMES, from_arrays
from pipelines.decode.recordings.columns import Columns
from pipelines.forms.bombs import refuse_bomb
from pipelines.forms.quarantine import BadSample
from raytrain.errors import ConfigError

MAGIC = b"\x89HDF\r\n\x1a\n"
_GROUPS = ("events", "CD/events", "davis/left/events", "")


def decode_hdf5(data: bytes, tick_us: float = 0.0) -> Columns:
    """Return the events; `tick_us` as in `decode_npy`.

    Raises:
        BadSample: damaged, or no such columns.
        ConfigError: h5py is not installed.
    """
    try:
        import h5py
    except ImportError:
        raise ConfigError("recordings in .h5 files need h5py: pip install h5py") from None
    try:
        with h5py.File(io.BytesIO(data), "r") as file:
            columns, offset = _columns(file, len(data))
    except (OSError, RuntimeError, KeyError, ValueError, AttributeError) as error:
        raise BadSample(f".h5: cannot be read: {str(error)[:120]}") from None
    found = from_arrays(columns, tick_us)
    return Columns(x=found.x, y=found.y, t=found.t + offset, p=found.p)


def _columns(file: Any, stored: int) -> tuple[dict[str, Any], int]:
    for name in _GROUPS:
        group = file.get(name) if name else file
        if group is None:
            continue
        members = _members(group)
        fields = {wanted: next((key for key in NAMES[wanted] if key in members), None) for wanted in "xytp"}
        if None in fields.values():
            continue
        times = [file["t_offset"]] if "t_offset" in file else []
        stored_columns = [group[key] for key in fields.values()] if hasattr(group, "keys") else [group]
        _check_extent([*stored_columns, *times], file, stored)
        offset = int(np.asarray(times[0]).reshape(())) if times else 0
        return {wanted: np.asarray(group[key]) for wanted, key in fields.items()}, offset
    raise BadSample(f".h5: no columns x, y, t, p, e.g. events/x; it holds {', '.join(list(file)[:6])}")


def _check_extent(datasets: list[Any], file: Any, stored: int) -> None:
    """Raise BadSample where data sets lie in other files, or claim far more than this one holds."""
    for dataset in datasets:
        if dataset.file != file or dataset.external or dataset.is_virtual:
            raise BadSample(f".h5: the column {dataset.name} leads to another file")
    # A chunk is unpacked as a whole, however little of it is the data set's.
    sizes = [dataset.dtype.itemsize * max(dataset.size, *_chunk(dataset)) for dataset in datasets]
    refuse_bomb(sum(sizes), stored, ".h5")


def _chunk(dataset: Any) -> list[int]:
    return [math.prod(dataset.chunks)] if dataset.chunks else [0]


def _members(group: Any) -> set[str]:
    if hasattr(group, "keys"):
        return set(group.keys())
    return set(group.dtype.names or ())
