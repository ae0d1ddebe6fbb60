"""`raytrain inspect`: what a data set holds, what is broken in it, and what leaks between its splits."""

import dataclasses
from array import array
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from pipelines.forms.quarantine import QuarantineEntry, by_fate, in_words
from pipelines.modalities import MODALITIES
from pipelines.modalities.base import Examined
from pipelines.preparing.examine import examine_rows
from pipelines.sources import open_manifest, open_storage
from pipelines.storage.columns import text_array
from pipelines.storage.manifest import SPLITS, Manifest, class_names
from raytrain.config.data import DataConfig

Size = tuple[int, int]
Int64s = NDArray[np.int64]


def _side(split: str) -> str:
    """Return "train" for all splits that are trained on: groups may lie in several of them."""
    return split if split in ("select", "test") else "train"


@dataclass(frozen=True, kw_only=True)
class SplitCount:
    """How much one split holds."""

    samples: int
    groups: int
    by_class: tuple[int, ...]
    """samples of each class, in the order of `classes`"""
    unlabelled: int


@dataclass(frozen=True)
class Duplicate:
    """Samples whose bytes are equal."""

    keys: tuple[str, ...]
    splits: tuple[str, ...]
    """the distinct splits they lie in; more than one is a leak unless all of them are for training"""

    @property
    def leaks(self) -> bool:
        """Return whether the samples stand on both sides of a split."""
        return len({_side(split) for split in self.splits}) > 1


@dataclass(frozen=True, kw_only=True)
class InspectReport:
    """What `inspect` found."""

    root: str
    manifest_hash: str
    classes: tuple[str, ...]
    several_labels: bool = False
    """whether a sample may have several of the classes"""
    num_samples: int
    num_bytes: int
    splits: dict[str, SplitCount]
    smallest: Size
    """width and height in pixels of the image with the fewest pixels"""
    median: Size
    """median width and median height"""
    largest: Size
    durations: tuple[tuple[int, float], ...] = ()
    """of clips: frames and seconds, the shortest, the median and the longest"""
    sizes: tuple[tuple[Size, int], ...]
    """the most frequent sizes with their counts"""
    bad: tuple[QuarantineEntry, ...]
    duplicates: tuple[Duplicate, ...]
    warnings: tuple[str, ...]

    def lines(self) -> Iterator[str]:
        """Yield the report as text."""
        yield f"data       {self.root}"
        size = f"{self.num_bytes / 2**20:.1f} MiB"
        kinds = f"{len(self.classes)} {'labels, several a sample' if self.several_labels else 'classes'}"
        yield f"samples    {self.num_samples} of {kinds}, {size}"
        if self.classes:
            yield f"classes    {class_names(self.classes)}"
        for name, count in self.splits.items():
            per_class = (
                f"{min(count.by_class)}..{max(count.by_class)} a class" if count.by_class else "no classes"
            )
            unlabelled = f", {count.unlabelled} unlabelled" if count.unlabelled else ""
            yield f"{name:<10} {count.samples} samples, {count.groups} groups, {per_class}{unlabelled}"
        sizes = (self.smallest, self.median, self.largest)
        yield "sizes      " + ", ".join(
            f"{name} {width} x {height}"
            for name, (width, height) in zip(("smallest", "median", "largest"), sizes, strict=True)
        )
        if self.durations:
            yield "lengths    " + ", ".join(
                f"{name} {frames} frames, {seconds:.1f} s"
                for name, (frames, seconds) in zip(
                    ("shortest", "median", "longest"), self.durations, strict=True
                )
            )
        yield f"bad        {in_words(by_fate(entry.fate for entry in self.bad))}"
        for entry in self.bad[:20]:
            yield f"           {entry.key}: {entry.reason}"
        if len(self.bad) > 20:
            yield f"           and {len(self.bad) - 20} more"
        yield f"duplicates {len(self.duplicates)} sets of equal files"
        for warning in self.warnings:
            yield f"WARNING    {warning}"


def inspect(
    config: DataConfig,
    progress: Callable[[int, int], None] | None = None,
    *,
    manifest: Manifest | None = None,
) -> InspectReport:
    """Open every sample once and say what the data set holds.

    progress: called with (samples done, samples in all). manifest: of these data, where it is open already.

    Raises:
        ConfigError: the settings do not fit the data.
        DataError: no usable data.
        StorageError: storage failed for longer than the retries.
    """
    manifest = manifest or open_manifest(config)
    storage = open_storage(manifest.root, config)
    bad: list[QuarantineEntry] = []
    sizes: Counter[Size] = Counter()
    checksums = _Checksums()
    frames, seconds = array("q"), array("d")
    leads, late, read_as = _Seen(), _Seen(), Counter[str]()
    num_bytes = 0
    for sample in examine_rows(manifest, range(len(manifest)), storage=storage, config=config):
        if sample.reason:
            bad.append(_entry(manifest, sample))
        else:
            sizes[sample.width, sample.height] += 1
            if sample.checksum:
                checksums.add(sample.row, sample.checksum)
            if MODALITIES[manifest.modality].has_lengths:
                frames.append(sample.num_frames)
                seconds.append(sample.duration_s)
            leads.add(sample.row, sample.num_lead)
            if sample.recording is not None:
                late.add(sample.row, sample.recording.num_late)
                read_as[sample.recording.read_as] += bool(len(sample.recording))
            num_bytes += len(sample.payload)
        if progress:
            progress(sample.row + 1, len(manifest))
    splits = _count_splits(manifest)
    duplicates = _duplicates(manifest, checksums.equal_rows())
    smallest, median, largest = _summary(sizes)
    return InspectReport(
        root=_places(config) or manifest.root,
        manifest_hash=manifest.hash,
        classes=manifest.classes,
        several_labels=manifest.label_matrix is not None,
        num_samples=len(manifest),
        num_bytes=num_bytes,
        splits=splits,
        smallest=smallest,
        median=median,
        largest=largest,
        durations=_three_lengths(np.asarray(frames), np.asarray(seconds)),
        sizes=tuple(sizes.most_common(10)),
        bad=tuple(bad),
        duplicates=duplicates,
        warnings=(
            *_warnings(manifest, config, splits=splits, duplicates=duplicates, num_bad=len(bad)),
            *_came_late(manifest, leads, late),
            *_read_differently(read_as),
        ),
    )


def _places(config: DataConfig) -> str:
    """Return the roots that the settings name; empty: the data are generated."""
    named = [f"{name} {root}" for name, root in dataclasses.asdict(config.splits).items() if root]
    return ", ".join(([config.root] if config.root else []) + named)


def _entry(manifest: Manifest, sample: Examined) -> QuarantineEntry:
    key, uri = (manifest.table[name][sample.row].as_py() for name in ("key", "uri"))
    return QuarantineEntry(key, uri, sample.reason, sample.fate or "damaged")


@dataclass
class _Seen:
    """In how many samples something was seen, how often in all, and in which row first."""

    samples: int = 0
    times: int = 0
    first: int = -1

    def add(self, row: int, times: int) -> None:
        """Note that it was seen so many times in a row's sample; 0: it was not."""
        if times:
            self.first = row if not self.samples else self.first
            self.samples, self.times = self.samples + 1, self.times + times


def _came_late(manifest: Manifest, leads: _Seen, late: _Seen) -> Iterator[str]:
    keys = manifest.table["key"]
    if leads.samples:
        yield (
            f"{leads.samples} clips begin between two key frames, e.g. {keys[leads.first]}: their first "
            f"frames, {leads.times} in all, cannot be decoded and are left out"
        )
    if late.samples:
        yield (
            f"{late.samples} recordings have events that come late, e.g. {keys[late.first]}: {late.times} in "
            "all, less than data.events.sort_within_us late, are sorted in"
        )


def _read_differently(read_as: Counter[str]) -> Iterator[str]:
    found = [(count, how or "their format says") for how, count in read_as.most_common() if count]
    if len(found) > 1:
        shown = ", ".join(f"{count} as {how}" for count, how in found)
        yield f"the recordings are not all read alike: {shown} (data.events.columns, data.events.time_unit)"


def _count_splits(manifest: Manifest) -> dict[str, SplitCount]:
    names = manifest.table["split"]
    counts = {}
    for split in SPLITS:
        rows = np.flatnonzero(pc.equal(names, split).to_numpy())
        if len(rows) == 0:
            continue
        labels = manifest.labels[rows]
        if manifest.label_matrix is not None:
            by_class = manifest.label_matrix[rows].sum(axis=0, dtype=np.int64)
        else:
            by_class = np.bincount(labels[labels >= 0], minlength=len(manifest.classes))
        counts[split] = SplitCount(
            samples=len(rows),
            groups=len(np.unique(manifest.group_ids[rows])),
            by_class=tuple(by_class.tolist()),
            unlabelled=int((labels < 0).sum()),
        )
    return counts


class _Checksums:
    """The checksums of many samples in 24 bytes each."""

    def __init__(self) -> None:
        self._rows, self._digests = array("q"), bytearray()

    def add(self, row: int, checksum: str) -> None:
        self._rows.append(row)
        self._digests += bytes.fromhex(checksum)

    def equal_rows(self) -> list[Int64s]:
        """Return the rows of each set of samples with equal checksums, both in the order of their first."""
        kind = pa.binary(len(self._digests) // max(1, len(self._rows)))
        digests = pa.Array.from_buffers(kind, len(self._rows), [None, pa.py_buffer(self._digests)])
        numbers = digests.dictionary_encode().indices.to_numpy()
        repeated = np.flatnonzero(np.bincount(numbers)[numbers] > 1)
        repeated = repeated[np.argsort(numbers[repeated], kind="stable")]
        starts = np.flatnonzero(np.diff(numbers[repeated], prepend=-1))
        return np.split(np.asarray(self._rows)[repeated], starts[1:]) if len(starts) else []


def _duplicates(manifest: Manifest, sets: list[Int64s]) -> tuple[Duplicate, ...]:
    known = manifest.table.select(["key", "split"]).take(np.concatenate([np.zeros(0, np.int64), *sets]))
    keys, names = known["key"].to_pylist(), known["split"].to_pylist()
    stops = np.cumsum([len(rows) for rows in sets], dtype=np.int64).tolist()
    places = [slice(stop - len(rows), stop) for stop, rows in zip(stops, sets, strict=True)]
    return tuple(Duplicate(tuple(keys[place]), tuple(sorted(set(names[place])))) for place in places)


def _summary(sizes: Counter[Size]) -> tuple[Size, Size, Size]:
    if not sizes:
        return (0, 0), (0, 0), (0, 0)
    by_area = sorted(sizes, key=lambda size: (size[0] * size[1], size))
    widths, heights = (np.repeat([size[axis] for size in sizes], list(sizes.values())) for axis in (0, 1))
    return by_area[0], (int(np.median(widths)), int(np.median(heights))), by_area[-1]


def _three_lengths(frames: Int64s, seconds: NDArray[np.float64]) -> tuple[tuple[int, float], ...]:
    order = np.lexsort((seconds, frames))
    places = order[[0, len(order) // 2, -1]] if len(order) else order
    return tuple(zip(frames[places].tolist(), seconds[places].tolist(), strict=True))


def _warnings(
    manifest: Manifest,
    config: DataConfig,
    *,
    splits: dict[str, SplitCount],
    duplicates: tuple[Duplicate, ...],
    num_bad: int,
) -> Iterator[str]:
    yield from manifest.notes
    leaks = [duplicate for duplicate in duplicates if duplicate.leaks]
    if leaks:
        keys = " = ".join(leaks[0].keys[:3])
        yield f"{len(leaks)} sets of equal files lie in more than one split, e.g. {keys}: a leak"
    yield from _group_leaks(manifest)
    yield from _empty_splits(manifest, splits)
    if num_bad > config.quarantine_budget * len(manifest):
        budget = f"data.quarantine_budget {config.quarantine_budget:g}"
        yield f"{num_bad} bad samples are more than {budget} allows"


def _empty_splits(manifest: Manifest, splits: dict[str, SplitCount]) -> Iterator[str]:
    if not (manifest.labels >= 0).any():
        yield "no labelled samples: a probe needs labels, e.g. from data.splits.probe_train and test"
        return
    for split in ("probe_train" if "probe_train" in splits else "train", "test"):
        if split not in splits:
            yield f"no samples in the {split} split"
        elif manifest.classes and 0 in splits[split].by_class:
            missing = [
                name
                for name, count in zip(manifest.classes, splits[split].by_class, strict=True)
                if not count
            ]
            yield f"{len(missing)} classes have no {split} samples, e.g. {missing[0]}"


def _group_leaks(manifest: Manifest) -> Iterator[str]:
    group, split = manifest.table["group"], manifest.table["split"]
    sides = [_side(name) for name in SPLITS]
    side = pa.array(sides).take(pc.index_in(split, pa.array(SPLITS)))
    pairs = pa.table({"group": group, "side": side}).group_by(["group", "side"]).aggregate([])
    counts = pc.value_counts(pairs["group"])
    divided = counts.field("values").filter(pc.greater(counts.field("counts"), 1))
    if len(divided):
        yield f"{len(divided)} groups lie in more than one split, e.g. {pc.min(text_array(divided))}: a leak"
