"""Samples that are pure functions of their uris: drawn, rendered, recorded by a simulated sensor.

A generated data set is one renderer here, registered by the scheme of its uris, and one source that lists it.
"""

from collections.abc import Callable
from typing import Any

from pipelines.generated import clips, moving_shapes, shapes

MAKERS: dict[str, Callable[[str], Any]] = {
    shapes.SCHEME: shapes.draw_shape,
    clips.SCHEME: clips.clip_bytes,
    moving_shapes.SCHEME: moving_shapes.record,
}
"""scheme -> what makes a sample of its uri: an image u8[3, S, S], a clip's encoded bytes, or a recording"""


def is_generated(uri: str) -> bool:
    """Return whether a sample is made from its uri rather than stored."""
    return _scheme(uri) in MAKERS


def make_sample(uri: str) -> Any:
    """Return the sample of a generated uri, see `MAKERS`.

    Raises:
        BadSample: the uri is none of its data set.
    """
    return MAKERS[_scheme(uri)](uri)


def _scheme(uri: str) -> str:
    scheme, mark, _ = uri.partition("://")
    return scheme + mark
