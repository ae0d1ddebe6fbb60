"""What lies at a place that nobody has described, and the settings that read it.

The layouts that say of themselves what they are come first; then a list in the root that names its files;
then what auto would read; then what is left where that is refused: one kind of several, or images without
labels. What was tried in vain is told with the reason.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipelines.decode.recordings import foreign
from pipelines.forms.media import IMAGES, LISTS, OF_MODALITY, Medium, extension
from pipelines.generated import MAKERS
from pipelines.sources import SOURCES, absolute_root, open_manifest, open_storage
from pipelines.sources.look_frames import are_clips
from pipelines.sources.look_list import list_readings
from pipelines.sources.look_sensor import sensor_of_events
from pipelines.sources.media import describe, split_by_medium
from pipelines.storage.archive import ArchiveStorage, is_archive, is_gzipped
from pipelines.storage.listing import FileInfo
from pipelines.storage.manifest import MANIFEST_FILE, Manifest
from pipelines.storage.places import Storage
from raytrain.config.data import DataConfig
from raytrain.config.flags import differing, with_values
from raytrain.errors import ConfigError, DataError

KINDS = {"image": "images", "clip": "clips", "events": "recordings of events"}
"""what samples of a modality are called"""
_SENSOR = ("events.sensor_width", "events.sensor_height")
_LARGEST_PX = 2**16


class NothingReadableError(DataError):
    """A place that holds no sample of any kind."""


@dataclass(frozen=True, kw_only=True)
class Look:
    """What was found at a place."""

    source: str
    """name of the layout, where it says so itself or was named; else auto, or csv, frames, flat, ..."""
    values: dict[str, Any]
    """settings of the data that read it, by their dotted names, without the root"""
    manifest: Manifest
    notes: tuple[str, ...] = ()
    """what was told by value, what else the place may be, and what was tried in vain"""

    @property
    def kind(self) -> str:
        """What the samples are called."""
        return KINDS[self.manifest.modality]


@dataclass(frozen=True)
class _Reading:
    source: str
    values: dict[str, Any]
    note: str = ""


def is_place(word: str) -> bool:
    """Return whether a word names a file, a folder, or a place across the network."""
    return "://" in word or Path(word).expanduser().exists()


def look(config: DataConfig) -> Look:
    """Return what lies at data.root; what else the settings say is taken as said.

    Raises:
        NothingReadableError: no sample of any kind.
        DataError, ConfigError: samples, but in no order that can be read: the first reason.
        StorageError: storage failed for longer than the retries.
    """
    said = differing(config, DataConfig())
    failed: list[ConfigError | DataError] = []
    notes: list[str] = []
    for reading in _readings(config):
        try:
            values, manifest, told = _open(
                config, {name: value for name, value in reading.values.items() if name not in said}
            )
        except (ConfigError, DataError) as error:
            failed.append(error)
            notes.append(f"not read as {reading.source}: {error}")
            continue
        notes += [note for note in (reading.note, told) if note]
        return Look(source=reading.source, values=values, manifest=manifest, notes=tuple(notes))
    raise failed[0]


def described(root: str) -> str:
    """Say in a word which files lie at a place that holds no sample."""
    return describe(split_by_medium(_storage(DataConfig(root=root)).all_files(), IMAGES)[1])


def reads(modality: str) -> str:
    """Say what is read for a modality, e.g. `images (.png, ...)`."""
    medium = OF_MODALITY[modality]
    frames = " and folders of frames" if modality == "clip" else ""
    return f"{medium.name}{frames} ({', '.join(medium.extensions)})"


def _storage(config: DataConfig) -> Storage:
    root = absolute_root(config.root)
    if is_archive(root) and ("://" in root or not Path(root).is_dir()):
        return ArchiveStorage(root, read_timeout_s=config.read_timeout_s, read_retries=config.read_retries)
    return open_storage(root, config)


def _readings(config: DataConfig) -> Iterator[_Reading]:
    """Yield the settings to try, the likeliest first."""
    root = absolute_root(config.root)
    if config.source != "auto" or not open_storage(root, config).exists(""):
        yield _Reading(config.source, {})
        return
    if root.lower().endswith(LISTS) and ("://" in root or not Path(root).is_dir()):
        folder, _, name = root.rpartition("/")
        storage = open_storage(folder or "/", config)
        files = [file.path for file in storage.all_files()]
        settings = with_values(config.csv, {"file": name})
        for values in list_readings(settings, storage, files):
            yield _Reading("csv", values)
        yield _Reading("csv", {})
        return
    if is_gzipped(root) or (Path(root).is_file() and not is_archive(root)):
        yield _Reading("auto", {})  # which says why it is not read
        return
    storage = _storage(config)
    if storage.exists(MANIFEST_FILE):
        yield _Reading("auto", _prepared(Manifest.load(f"{root}/{MANIFEST_FILE}", schemes=MAKERS)))
        return
    known = [name for name, source in SOURCES.items() if source.detect and source.detect(storage)]
    for name in known:
        others = ", ".join(other for other in known if other != name)
        note = f"also has the layout of {others}: --data.source reads it so" if others else ""
        yield _Reading(name, {"source": name} if others else {}, note)
    if not known:
        yield from _own_readings(config, storage)


def _prepared(manifest: Manifest) -> dict[str, Any]:
    """Return the settings that a prepared folder was made with and must be read with."""
    if manifest.payload != "uint8":
        return {}
    return {"canvas_px": manifest.canvas_px, "fit": manifest.fit}


def _own_readings(config: DataConfig, storage: Storage) -> Iterator[_Reading]:
    """Yield the settings to try on files in an order of somebody's own."""
    files = storage.all_files()
    counts = {medium.name: len(split_by_medium(files, medium)[0]) for medium in OF_MODALITY.values()}
    if not any(counts.values()) and not any(file.path.lower().endswith(LISTS) for file in files):
        raise _nothing(config.root, files)
    paths = [file.path for file in files]
    for values in list_readings(config.csv, storage, paths):
        yield _Reading("csv", {"source": "csv"} | values)
    if are_clips(paths, storage, config):
        note = (
            "the images of each folder are numbered and much alike: taken for the frames of a clip; where a "
            "folder is a class, --data.source folder reads it so"
        )
        yield _Reading("frames", {"source": "frames"}, note)
    if not any(counts.values()):
        raise _nothing(config.root, files)
    yield _Reading("auto", {})
    if sum(map(bool, counts.values())) > 1:
        by_number: list[Medium] = sorted(OF_MODALITY.values(), key=lambda medium: -counts[medium.name])
        for medium in by_number:
            if counts[medium.name]:
                yield _Reading(medium.source, {"source": medium.source})
    if counts[IMAGES.name]:
        yield _Reading("flat", {"source": "flat"}, "read without labels")


def _nothing(root: str, files: list[FileInfo]) -> NothingReadableError:
    kinds = "; ".join(map(reads, OF_MODALITY))
    # Of a .txt nobody knows what it holds.
    known = foreign.by_suffix({extension(file.path) for file in files} - {".txt"})
    advice = f"; {known}" if known else ""
    return NothingReadableError(
        f"data.root {root}: nothing that raytrain reads; {describe(files)}{advice}; it reads {kinds}; lists "
        f"of them ({', '.join(LISTS)}), .tar and .zip of them, and the data sets of `raytrain list sources`"
    )


def _open(config: DataConfig, values: dict[str, Any]) -> tuple[dict[str, Any], Manifest, str]:
    """Return the settings of a reading with the sensor's size if it takes that, its manifest, and a note.

    Raises:
        ConfigError, DataError: it cannot be read so.
    """
    reading = with_values(config, values)
    try:
        return values, open_manifest(reading), ""
    except ConfigError:
        sensor, told = _sensor_of(reading)
        if not all(sensor):
            raise
    values = values | dict(zip(_SENSOR, sensor, strict=True))
    return values, open_manifest(with_values(config, values)), told


def _sensor_of(config: DataConfig) -> tuple[tuple[int, int], str]:
    """Return the size of a sensor, and how it was told, where that alone is missing; else (0, 0)."""
    if config.events.sensor_width:
        return (0, 0), ""
    try:
        manifest = open_manifest(with_values(config, dict.fromkeys(_SENSOR, _LARGEST_PX)))
    except (ConfigError, DataError):
        return (0, 0), ""
    if manifest.modality != "events":
        return (0, 0), ""
    return sensor_of_events(manifest, open_storage(manifest.root, config), config)
