"""CODEBRIM, concrete defects: six labels a crop, by its own XML lists or by a .csv of 0/1 columns.

train|val|test / background|defects / image_0000001_crop_0000001.png beside metadata/background.xml and
defects.xml; copies made for balance are called <name>_-_<number>.png. The crops of one image are a group.
Without the XML lists a .csv is read, as by data.source = csv, with a column for each of CLASSES.
Source: Mundt et al., "Meta-learning convolutional neural architectures for multi-target concrete defect
classification with the CODEBRIM dataset", CVPR 2019.
"""

import re
from xml.etree import ElementTree

import numpy as np

from pipelines.forms.quarantine import allowed
from pipelines.sources.csv import read_csv, with_labels
from pipelines.sources.folder import is_image
from pipelines.sources.records import find_base, join, read_file
from pipelines.sources.samples import Sample, build_manifest
from pipelines.sources.split_names import split_of
from pipelines.storage.listing import FileInfo
from pipelines.storage.manifest import Manifest
from pipelines.storage.places import Storage
from raytrain.config.data import DataConfig
from raytrain.errors import DataError

CLASSES = ("Background", "Crack", "Spallation", "Efflorescence", "ExposedBars", "CorrosionStain")
LISTS = ("background", "defects")
_BASES = ("", "classification_dataset_balanced", "classification_dataset")
_SPLITS = ("train", "select", "test")
_COPY = "_-_"
_IMAGE = re.compile(r"(.+?)_crop_\d+")

Key = tuple[str, str]
"""list and file name: the same name may stand in both lists"""


def detect(storage: Storage) -> bool:
    """Return whether the root holds the XML lists."""
    return _find_lists(storage) is not None


def read_codebrim(config: DataConfig, storage: Storage) -> Manifest:
    """Return the manifest, several labels a sample.

    Raises:
        DataError: another layout, broken lists, images without labels, or labels of missing images.
    """
    found = _find_lists(storage)
    if found is None:
        if config.csv.file or any(f.path.endswith(".csv") for f in storage.list_files(recursive=False)):
            return read_csv(with_labels(config, CLASSES), storage, group_of=image_of)
        raise DataError(
            f"data.root {storage.root}: not CODEBRIM's layout; expected metadata/defects.xml and "
            "metadata/background.xml beside train, val and test, or a .csv list"
        )
    base, folder = found
    labels: dict[Key, tuple[int, ...]] = {}
    for name in LISTS:
        labels |= _read_list(storage, join(folder, f"{name}.xml"), name)
    files = _images(storage, base)
    _check_complete(files, labels, storage.root, config)
    label_sets = np.array([labels[key] for _, _, key in files], np.uint8).reshape(-1, len(CLASSES))
    samples = [
        Sample(
            key=file.path.removeprefix(f"{base}/"),
            uri=file.path,
            size=file.size,
            split=split,
            label=0,
            group=image_of(key[1]),
        )
        for file, split, key in files
    ]
    return build_manifest(samples, root=storage.root, classes=CLASSES, config=config, label_sets=label_sets)


def image_of(name: str) -> str:
    """Return the image that a crop was cut from: image_0000001 of image_0000001_crop_0000001.png."""
    stem = name.rpartition("/")[2].rpartition(".")[0].partition(_COPY)[0]
    found = _IMAGE.match(stem)
    return found[1] if found else stem


def _find_lists(storage: Storage) -> tuple[str, str] | None:
    """Return the folder of the splits and the folder of the XML lists."""
    for folder in ("metadata", ""):
        base = find_base(storage, _BASES, (join(folder, "defects.xml"),))
        if base is not None:
            return base, join(base, folder) if folder else base
    return None


def _read_list(storage: Storage, path: str, name: str) -> dict[Key, tuple[int, ...]]:
    where = f"{storage.root}/{path}"
    try:
        root = ElementTree.fromstring(read_file(storage, path))
    except ElementTree.ParseError as error:
        raise DataError(f"{where}: no XML: {error}; download it again") from None
    labels = {}
    for entry in root.iter("Defect"):
        values = tuple((entry.findtext(label) or "").strip() for label in CLASSES)
        file_name = entry.get("name", "")
        if not file_name or not set(values) <= {"0", "1"}:
            raise DataError(
                f"{where}: the entry of {file_name!r} needs 0 or 1 for each of "
                f"{', '.join(CLASSES)}; download the list again"
            )
        labels[name, file_name] = tuple(map(int, values))
    if not labels:
        raise DataError(f'{where}: no entries <Defect name="...">; not a list of CODEBRIM, download it again')
    return labels


def _images(storage: Storage, base: str) -> list[tuple[FileInfo, str, Key]]:
    """Return the images with split and list entry, in the order of their paths."""
    found = []
    tops = {split_of(top.rpartition("/")[2]): top for top in storage.list_folders(base)}
    for split in (split for split in _SPLITS if split in tops):
        for name in LISTS:
            folder = join(tops[split], name)
            if not storage.exists(folder):
                continue
            for file in storage.list_files(folder):
                stem, dot, extension = file.path.rpartition("/")[2].rpartition(".")
                if is_image(file.path) and not stem.startswith("."):
                    found.append((file, split, (name, stem.partition(_COPY)[0] + dot + extension)))
    if not found:
        raise DataError(
            f"data.root {storage.root}: no images in train|val|test/{'|'.join(LISTS)} beside the lists; "
            "unpack the images too"
        )
    return found


def _check_complete(
    files: list[tuple[FileInfo, str, Key]],
    labels: dict[Key, tuple[int, ...]],
    root: str,
    config: DataConfig,
) -> None:
    strays = [file.path for file, _, key in files if key not in labels]
    if strays:
        raise DataError(
            f"data.root {root}: {len(strays)} of {len(files)} images have no entry in the lists, e.g. "
            f"{strays[0]}; remove them or complete the lists"
        )
    present = {key for _, _, key in files}
    missing = ["/".join(key) for key in labels if key not in present]
    if len(missing) > allowed(config.quarantine_budget, len(labels)):
        raise DataError(
            f"data.root {root}: the lists name {len(missing)} files of {len(labels)} that are missing, e.g. "
            f"{', '.join(missing[:3])}; restore them, or raise data.quarantine_budget "
            f"{config.quarantine_budget:g}"
        )
