"""What a manifest from elsewhere may name: files below its root, and samples that are made, not read."""

from collections.abc import Collection, Sequence
from itertools import takewhile
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from pipelines.storage.archive_members import ZIP_MARK
from pipelines.storage.columns import codes_of
from raytrain.errors import ConfigError, DataError

# Back slashes and drives too: the same manifest may be read on Windows.
_OUTSIDE = r"^[/\\]|^[A-Za-z]:[/\\]|(^|[/\\])\.\.([/\\]|$)|://|\x00"
_BUCKET_PARTS = len(["s3:", "", "bucket"])


def check_inside(uris: pa.ChunkedArray, where: str, *, schemes: Collection[str] = ()) -> None:
    """Raise DataError where a uri leads out of the root that it is relative to.

    Links inside the root are followed: whoever made them may read what they lead to.

    Args:
        uris: a manifest's column.
        where: the manifest, for the message.
        schemes: of samples that are made, e.g. `shapes://`; uris that begin so name no file.
    """
    coded = pa.types.is_dictionary(uris.type)
    codes, texts = codes_of(uris) if coded else (None, uris)  # many rows may name one file
    outside: Any = pc.fill_null(pc.match_substring_regex(texts, _OUTSIDE), True)
    for scheme in schemes:
        outside = pc.and_not(outside, pc.starts_with(texts, scheme))
    first = pc.index(outside, True).as_py()
    if first >= 0:
        first = first if codes is None else int((codes == first).argmax())
        raise DataError(
            f"{where}: row {first} names {uris[first].as_py()!r}, which is not below the root of the data; "
            "prepare it again, or do not use it if it is not yours"
        )


def under_one_root(uris: Sequence[str], *, schemes: Collection[str] = ()) -> tuple[str, list[str]]:
    """Return the deepest folder that uris without a root have in common, and them relative to it.

    Raises:
        ConfigError: they have none.
    """
    made = tuple(schemes)
    folders = [uri.partition(ZIP_MARK)[0].split("/")[:-1] for uri in uris if not uri.startswith(made)]
    if not folders:
        return "", list(uris)
    # What the first and the last in order have in common, all have.
    ends = zip(min(folders), max(folders), strict=False)
    parts = [first for first, _ in takewhile(lambda pair: pair[0] == pair[1], ends)]
    start = "/".join(parts) + "/"
    if not parts or (parts[0] and len(parts) < _BUCKET_PARTS):
        raise ConfigError(
            f"the joined data have no folder in common, e.g. {uris[0]} and {uris[-1]}; pack them: add "
            "--shards encoded"
        )
    root = start.rstrip("/") or "/"
    return root, [uri if uri.startswith(made) else uri[len(start) :] for uri in uris]
