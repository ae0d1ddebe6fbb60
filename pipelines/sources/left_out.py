"""Nothing below a root vanishes: what is no sample is counted, under the reason why."""

from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field

from pipelines.forms.media import IMAGES, OF_MODALITY, Medium, extension, is_hidden
from pipelines.sources.own_folders import own_folders
from pipelines.sources.split_names import split_of
from pipelines.storage.frames import is_frames
from pipelines.storage.listing import FileInfo
from pipelines.storage.manifest import Manifest
from pipelines.storage.places import Storage

_SHOWN = 6


@dataclass
class LeftOut:
    """The files below a root that are no samples, by reason."""

    medium: Medium
    num_read: int = 0
    """files that hold samples"""
    lists: list[FileInfo] = field(default_factory=list)
    """that tell of the samples: the one reason of which nothing is said"""
    others: list[FileInfo] = field(default_factory=list)
    """of other kinds, by their suffix"""
    unused: list[FileInfo] = field(default_factory=list)
    """of the samples' kind, where the layout has no place for them, or not in its lists"""
    left_behind: list[FileInfo] = field(default_factory=list)
    """by systems, storage devices and editors"""
    own: list[FileInfo] = field(default_factory=list)
    """written by raytrain itself"""

    def note(self) -> tuple[str, ...]:
        """Return what is to be said of it; of nothing, nothing."""
        reasons = (
            (self.others, f"of other kinds ({by_suffix(self.others)})"),
            (self.unused, f"of {self.medium.name} that the layout or its lists do not use"),
            (self.left_behind, "left behind by other programs"),
            (self.own, "written by raytrain"),
        )
        counted = [
            f"{len(files)} file{'s' * (len(files) > 1)} {says}, e.g. {files[0].path}"
            for files, says in reasons
            if files
        ]
        more = len(self.others) + len(self.unused) > self.num_read
        begins = f"more is left out than read ({self.num_read} files)" if more else "left out"
        return (f"{begins}: {'; '.join(counted)}",) if counted else ()


def empty_folders(storage: Storage, files: Iterable[FileInfo]) -> tuple[str, ...]:
    """Return the note of folders in the places of splits and classes that hold no file; else none."""
    holding = {file.path.rpartition("/")[0] for file in files}
    full = {"/".join(folder.split("/")[:depth]) for folder in holding for depth in (1, 2)}
    tops = storage.list_folders()
    inner = [folder for top in tops if split_of(top) for folder in storage.list_folders(top)]
    empty = [folder for folder in (*tops, *inner) if folder not in full and not is_hidden(folder)]
    if not empty:
        return ()
    return (f"{len(empty)} folder{'s are' if len(empty) > 1 else ' is'} empty, e.g. {empty[0]}",)


def left_out(manifest: Manifest, files: Iterable[FileInfo], lists: Collection[str] = ()) -> LeftOut:
    """Return why each of the files below the root of a manifest, as its source read it, is no sample.

    lists: paths of files that the source read: they, and what lies beside them with the same suffix, tell of
    the samples and are not left out.
    """
    telling = {(path.rpartition("/")[0], extension(path)) for path in lists}
    used = set(manifest.table["uri"].to_pylist())
    of_frames = len(manifest) > 0 and is_frames(manifest.payload_of(0))
    found = LeftOut(IMAGES if of_frames else OF_MODALITY[manifest.modality])
    rest = []
    for file in files:
        if of_frames and found.medium.holds(file.path):
            held = file.path.rpartition("/")[0] in used
        else:
            held = file.path in used
        if held:
            found.num_read += 1
        else:
            rest.append(file)
    own = own_folders(rest)
    for file in rest:
        if own and file.path.startswith(own):
            found.own.append(file)
        elif is_hidden(file.path):
            found.left_behind.append(file)
        elif (file.path.rpartition("/")[0], extension(file.path)) in telling:
            found.lists.append(file)
        elif found.medium.holds(file.path):
            found.unused.append(file)
        else:
            found.others.append(file)
    return found


def by_suffix(files: list[FileInfo]) -> str:
    """Count files by their suffix, e.g. `10 .txt, 2 .csv`."""
    kinds = Counter(extension(file.path) or "without extension" for file in files)
    rest = sum(count for _, count in kinds.most_common()[_SHOWN:])
    shown = [f"{count} {kind}" for kind, count in kinds.most_common(_SHOWN)] + [f"{rest} others"] * bool(rest)
    return ", ".join(shown)
