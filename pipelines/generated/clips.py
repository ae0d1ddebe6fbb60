"""Generated clips with known motion of object or camera: eight kinds, as encoded .mp4 and .avi files.

A clip is a pure function of its uri, clips://<seed>/<size>/<frames>/<rate>/<split>/<number>.<avi|mp4>:
rendered (see `pipelines.generated.scenes`), encoded with H.264 or MPEG-4, and kept in a cache folder, so that
an epoch costs the reading of files. One frame tells nothing of the kind, which is the class. Each clip is a
scene, and a group, of its own, and no texture of a training clip occurs in a test clip.
"""

import hashlib
import importlib.metadata
import io
import os
import secrets
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from pathlib import Path

from pipelines.forms import randomness
from pipelines.forms.quarantine import BadSample
from pipelines.forms.randomness import hash_words
from pipelines.generated import scenes, shapes
from pipelines.generated.scenes import (
    KINDS,
    Scene,
    UInt8s,
    frame_width,
    make_scene,
    render,
)
from pipelines.storage.cache_folder import cache_folder
from raytrain.errors import ConfigError

SCHEME = "clips://"
# Constant steps of the quantiser: with constant quality, resting scenes would look better than moving ones.
_CODECS = {
    "mp4": ("libx264", {"preset": "veryfast", "qp": "19", "bf": "2", "threads": "1"}),
    "avi": ("mpeg4", {"qmin": "2", "qmax": "2", "threads": "1"}),
}
_GROUP_OF_PICTURES = 24
_MEMORY_BYTES = 32 * 2**20


@dataclass(frozen=True)
class ClipName:
    """What the uri of a generated clip says."""

    seed: int
    size_px: int
    num_frames: int
    rate_hz: float
    split: str
    number: int
    extension: str

    @classmethod
    def parse(cls, uri: str) -> "ClipName":
        """Return the parts of a uri.

        Raises:
            BadSample: the uri is none of this data set.
        """
        try:
            seed, size, frames, rate, split, file = uri.removeprefix(SCHEME).split("/")
            number, _, extension = file.partition(".")
            name = cls(int(seed), int(size), int(frames), float(rate), split, int(number), extension)
            if (
                str(name) != uri
                or name.size_px < 2
                or name.size_px % 2
                or min(name.num_frames - 1, name.number) < 0
            ):
                raise ValueError
            if name.split not in ("train", "test") or extension not in _CODECS or not 0 < name.rate_hz < 1e4:
                raise ValueError
        except ValueError:
            raise BadSample(f"no generated clip: {uri!r}") from None
        return name

    def __str__(self) -> str:
        return (
            f"{SCHEME}{self.seed}/{self.size_px}/{self.num_frames}/{self.rate_hz:g}/{self.split}/"
            f"{self.number}.{self.extension}"
        )

    @property
    def kind(self) -> str:
        """The class."""
        return KINDS[self.number % len(KINDS)]

    @property
    def scene_name(self) -> str:
        """What the draws are keyed by: size, length and rate are no part of it."""
        return f"{hash_words('clips', self.seed)}/{self.split}/{self.number}"


def clip_bytes(uri: str) -> bytes:
    """Return the encoded file of a uri, from the cache where it was made before.

    Raises:
        BadSample: the uri is none of this data set.
        ConfigError: PyAV is not installed, or its FFmpeg lacks an encoder.
    """
    name = ClipName.parse(uri)
    folder = _cache_folder()
    if folder is None:
        return _remembered(name)
    path = folder / f"{name.seed}-{name.size_px}-{name.num_frames}-{name.rate_hz:g}" / name.split
    path = path / f"{name.number}.{name.extension}"
    with suppress(OSError):
        if kept := path.read_bytes():
            return kept
    data = make_clip(name)
    _keep(path, data)
    return data


def scene_of(name: ClipName) -> Scene:
    """Return what a clip shows."""
    return make_scene(name.scene_name, split=name.split, kind=name.kind)


def make_clip(name: ClipName) -> bytes:
    """Render and encode a clip; the same bytes on every call, with one version of PyAV."""
    frames = render(scene_of(name), size_px=name.size_px, num_frames=name.num_frames, rate_hz=name.rate_hz)
    return _encode(frames, name)


def _encode(frames: Iterator[UInt8s], name: ClipName) -> bytes:
    try:
        import av
        from av.video.stream import VideoStream
    except ImportError:
        raise ConfigError("data.source = clips needs PyAV: pip install av") from None
    codec, options = _CODECS[name.extension]
    file = io.BytesIO()
    # Without the versions of libraries and the time of day in the file.
    bitexact = {"fflags": "+bitexact"}
    with av.open(file, "w", format=name.extension, options=bitexact) as container:
        try:
            rate = Fraction(name.rate_hz).limit_denominator(1000)
            stream = container.add_stream(codec, rate=rate, options={**options, "flags": "+bitexact"})
        except av.codec.codec.UnknownCodecError:
            raise ConfigError(
                f"data.source = clips: this PyAV has no encoder {codec}; install the wheel of av"
            ) from None
        assert isinstance(stream, VideoStream)
        stream.width, stream.height, stream.pix_fmt = frame_width(name.size_px), name.size_px, "yuv420p"
        stream.gop_size = _GROUP_OF_PICTURES
        stream.thread_count = 1
        for image in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode(None))
    return file.getvalue()


def _cache_folder() -> Path | None:
    """Return where clips of this renderer and this encoder are kept; None: nowhere."""
    home = cache_folder()
    if home is None:
        return None
    try:
        encoder = importlib.metadata.version("av")
    except importlib.metadata.PackageNotFoundError:
        encoder = "none"
    return home / "clips" / f"{renderer()}-av-{encoder}"


@cache
def renderer() -> str:
    """Return a digest of the text of all modules that decide what a clip looks like, and of NumPy's version.

    Their text, not their meaning: clips are rendered again in seconds, and nobody has to think of it.
    """
    digest = hashlib.sha256(importlib.metadata.version("numpy").encode())
    for file in (__file__, scenes.__file__, shapes.__file__, randomness.__file__):
        digest.update(Path(file).read_bytes())
    return digest.hexdigest()[:16]


def _keep(path: Path, data: bytes) -> None:
    """Write a clip whole or not at all; where it cannot be kept it is rendered again, which is slow only."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_bytes(data)
        temporary.replace(path)
    except OSError:
        with suppress(OSError):
            temporary.unlink()


_memory: "OrderedDict[ClipName, bytes]" = OrderedDict()


def _remembered(name: ClipName) -> bytes:
    """Return a clip, of the last ones made by this process where it is among them."""
    data = _memory.pop(name, None) or make_clip(name)
    _memory[name] = data
    while sum(map(len, _memory.values())) > _MEMORY_BYTES and len(_memory) > 1:
        _memory.popitem(last=False)
    return data
