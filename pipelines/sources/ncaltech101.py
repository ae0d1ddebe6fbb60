"""N-Caltech101: Caltech101/<class>/*.bin, or training, validation and testing with <class>/*.npy in each.

The first is the published form, without a split: shares are cut off. The second is the split of Gehrig et
al., whose files may also be .bin; validation is the select split. Sensor: 240 x 180 px, of which a recording
uses a part.
Source: Orchard et al. 2015; Gehrig et al., "End-to-end learning of representations for asynchronous
event-based data", ICCV 2019.
"""

from pipelines.forms.media import extension
from pipelines.sources.event_files import find_base, first_file, read_layout
from pipelines.sources.records import join
from pipelines.storage.manifest import Manifest
from pipelines.storage.places import Storage
from raytrain.config.data import DataConfig

SENSOR = (240, 180)
EXTENSIONS = (".bin", ".npy")
_BASES = ("", "N-Caltech101", "NCALTECH101")
_WHOLE = "Caltech101"
_SPLITS = {"training": "train", "validation": "select", "testing": "test"}


def detect(storage: Storage) -> bool:
    """Return whether the root holds either form."""
    whole = find_base(storage, _BASES, (_WHOLE,))
    if whole is not None and first_file(storage, join(whole, _WHOLE)).endswith(".bin"):
        return True
    base = find_base(storage, _BASES, ("training",))
    if base is None or not storage.exists(join(base, "testing")):
        return False
    return extension(first_file(storage, join(base, "training"))) in EXTENSIONS


def read_ncaltech101(config: DataConfig, storage: Storage) -> Manifest:
    """Return the manifest; each recording is a group of its own.

    Raises:
        DataError: neither form is there.
    """
    whole = find_base(storage, _BASES, (_WHOLE,))
    base = find_base(storage, _BASES, ("training",)) if whole is None else join(whole, _WHOLE)
    place = _place_split if whole is None else _place_whole
    return read_layout(
        config,
        storage,
        place,
        base=base,
        absent=f"holds neither {_WHOLE}/<class> nor training/<class>; name the folder above them",
        extensions=EXTENSIONS,
        sensor=SENSOR,
    )


def _place_whole(path: str) -> tuple[str, str, str] | None:
    parts = path.split("/")
    return ("train", parts[0], "") if len(parts) == 2 else None


def _place_split(path: str) -> tuple[str, str, str] | None:
    parts = path.split("/")
    return (_SPLITS[parts[0]], parts[1], "") if len(parts) == 3 and parts[0] in _SPLITS else None
