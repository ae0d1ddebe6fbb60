"""What one pass over the packets of an encoded clip tells before a frame is decoded: when frames are shown.

All decoders number the frames of a clip by this index, so that a plan means the same frames to each of them.
"""

import io
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from typing import cast

import av
import numpy as np
from av.container import InputContainer
from av.packet import Packet
from av.sidedata.sidedata import SideData
from av.video.frame import VideoFrame
from av.video.stream import VideoStream
from numpy.typing import NDArray

from pipelines.decode.mpeg4 import PictureReader
from pipelines.forms.beginnings import beginning
from pipelines.forms.clips import ClipMeta, Int64s
from pipelines.forms.quarantine import BadSample

# Only plain containers: FFmpeg knows others that open further files (hls, concat) or show any text (tty).
FORMATS = (
    *("mov", "mp4", "avi", "matroska", "webm", "flv", "mpegts", "mpeg"),
    *("asf", "ogg", "ivf", "gif", "mxf"),
)
_REORDERING = ("h264", "hevc", "mpeg1video", "mpeg2video", "vc1", "wmv3")
"""codecs whose frames may come out in another order than their packets, which AVI has no stamps for"""
LONGEST = 64
"""how many times longer than the other a frame's side may be: resizing its short side must not fill memory"""


@dataclass(frozen=True)
class Turn:
    """How a stored frame is brought upright: transposed first, then mirrored."""

    transposed: bool = False
    left_right: bool = False
    up_down: bool = False

    def __call__(self, frame: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Return the frame u8[H, W, 3] upright."""
        frame = frame.transpose(1, 0, 2) if self.transposed else frame
        frame = frame[:, ::-1] if self.left_right else frame
        return frame[::-1] if self.up_down else frame


@dataclass(frozen=True, kw_only=True)
class ClipIndex:
    """The frames of one clip in display order."""

    meta: ClipMeta
    stamps: Int64s | None
    """time stamp of each frame in units of time_base; None where only their order identifies frames"""
    keys: Int64s
    """numbers of the frames that decoding can start at, of use where there are stamps; the first is 0"""
    in_order: bool
    """packets and frames come in the same order, one frame a packet"""
    num_packets: int
    time_base: Fraction
    turn: Turn
    format: str
    """name of the container"""
    decoders_agree: bool
    """nothing in the file that decoders number differently: frames cut out or before a key, several videos"""


@contextmanager
def opened(source: bytes) -> Iterator[tuple[InputContainer, VideoStream]]:
    """Open encoded bytes and their video stream, to be decoded by one thread.

    Raises:
        BadSample: empty, no known container, or no video in it; whatever goes wrong while it is open.
    """
    try:
        with _open(source) as container:
            stream = _video_stream(container)
            stream.codec_context.thread_count = 1
            yield container, stream
    except av.error.FFmpegError as error:
        raise BadSample(f"cannot be decoded: {error.strerror}") from None


def _open(source: bytes) -> InputContainer:
    if not source:
        raise BadSample("empty file (0 bytes)")
    allowed = {"format_whitelist": ",".join(FORMATS)}
    try:
        return av.open(io.BytesIO(source), "r", options=allowed, metadata_errors="replace")
    except av.error.FFmpegError as error:
        raise BadSample(
            f"no video in a known format, or broken; {beginning(source)} ({error.strerror})"
        ) from None


def _video_stream(container: InputContainer) -> VideoStream:
    stream = container.streams.best("video")
    if not isinstance(stream, VideoStream) or stream.disposition & av.stream.Disposition.attached_pic:
        kinds = ", ".join(sorted({other.type for other in container.streams})) or "nothing"
        raise BadSample(f"holds no video, only {kinds}")
    if stream.codec_context is None:
        raise BadSample("holds video of a codec that is not known")
    return stream


def read_index(container: InputContainer, stream: VideoStream, *, max_pixels: int) -> ClipIndex:
    """Return the index of an opened clip; the container is at its end then.

    Raises:
        BadSample: too large, no frames, or fewer than the container claims.
    """
    width, height = stream.codec_context.width, stream.codec_context.height
    _check_size(width, height, max_pixels)
    packets = _read_packets(container, stream)
    if not packets.slots:
        raise BadSample("holds no frames")
    _check_complete(stream, packets, container.format.name)
    stamps, num_lead = _from_first_key(packets)
    unique = bool((np.diff(stamps) > 0).all())
    identified = packets.stamped and unique
    in_order = identified and packets.in_order and packets.count == len(stamps)
    turn = packets.turn
    return ClipIndex(
        meta=ClipMeta(
            times_s=_times(stamps, stream),
            width=height if turn.transposed else width,
            height=width if turn.transposed else height,
            num_lead=num_lead,
        ),
        stamps=stamps if identified else None,
        keys=np.unique(np.searchsorted(stamps, [stamps[0], *packets.keys])),
        in_order=in_order,
        num_packets=packets.count,
        time_base=_time_base(stream),
        turn=turn,
        format=container.format.name,
        decoders_agree=not (packets.cut_out or num_lead)
        and sum(other.type == "video" for other in container.streams) == 1,
    )


def _check_size(width: int, height: int, max_pixels: int) -> None:
    if not width * height:
        raise BadSample(f"has no pixels ({width} x {height})")
    if width * height > max_pixels:
        raise BadSample(
            f"claims frames of {width} x {height} pixels, "
            f"more than the {max_pixels} that data.max_pixels allows"
        )
    if max(width, height) > LONGEST * min(width, height):
        raise BadSample(
            f"claims frames of {width} x {height} pixels, one side more than {LONGEST} times the other"
        )


@dataclass
class _Packets:
    """What one pass over the packets of a stream tells."""

    slots: list[int]
    """when frames are shown, one a frame, in any order"""
    keys: list[int]
    num_lead: int | None
    """how many of `slots` came before the first key frame; None: no key frame came yet"""
    stamped: bool
    """the decoder's frames carry the time stamps of `slots`"""
    in_order: bool
    count: int
    last_slot: int
    cut_out: bool
    """some frames lie outside of what the container's edit list shows"""
    turn: Turn
    broken_end: bool


def _read_packets(container: InputContainer, stream: VideoStream) -> _Packets:
    codec, is_avi = stream.codec_context.name, container.format.name == "avi"
    reader = PictureReader(bytes(stream.codec_context.extradata or b"")) if codec == "mpeg4" else None
    found = _Packets([], [], None, True, True, 0, 0, False, Turn(), False)
    if is_avi and codec in _REORDERING:
        found.stamped = False
    pending, turn_known = 0, False
    for packet in _packets(container, stream, found):
        if packet.pts is None and packet.dts is None and not packet.size:
            continue  # the end's
        found.count += 1
        # AVI has no time stamps, only places; what FFmpeg makes of them is right without reordering only.
        slot = packet.dts if is_avi or packet.pts is None else packet.pts
        if slot is None:
            slot, found.stamped = found.last_slot + 1, False
        found.in_order &= found.count == 1 or slot > found.last_slot
        found.last_slot, found.broken_end = slot, packet.is_corrupt
        if packet.is_keyframe and found.num_lead is None:
            found.num_lead = len(found.slots)
        if packet.is_discard:
            found.cut_out = True
            continue
        if not turn_known and packet.is_keyframe:
            found.turn, turn_known = _read_turn(stream, packet, container.format.name), True
        pictures = _num_pictures(packet, reader, found, is_avi)
        pending += pictures
        if pending:
            found.slots.append(slot)
            pending -= 1
        if packet.is_keyframe and pictures:
            found.keys.append(slot)
    # A picture that still waits for its empty packet comes out of no decoder: the clip was cut there.
    return found


def _from_first_key(packets: _Packets) -> tuple[Int64s, int]:
    """Return when the frames are shown that a decoder has all it needs for, and how many it has not.

    A file that was cut between two key frames begins with changes to a picture that is not in it: decoders
    drop these frames, or draw them on grey. A clip without any key frame is left to the decoders.
    """
    num_lead = packets.num_lead or 0
    slots = packets.slots[num_lead:]
    # Frames that come behind the key but are shown before it need the lost ones too.
    first = slots[0] if num_lead and packets.stamped and slots else None
    kept = np.sort(np.array([slot for slot in slots if first is None or slot >= first], np.int64))
    if not len(kept):
        raise BadSample("holds no frames behind its first key frame")
    return kept, len(packets.slots) - len(kept)


def _packets(
    container: InputContainer, stream: VideoStream, found: _Packets
) -> "Iterator[Packet[VideoStream]]":
    try:
        yield from container.demux(stream)
    except (av.error.FFmpegError, IndexError):  # IndexError: streams that come and go in a broken file
        found.broken_end = True


def _num_pictures(
    packet: "Packet[VideoStream]", reader: PictureReader | None, found: _Packets, is_avi: bool
) -> int:
    """Return how many frames a packet gives; note what that says of the others' stamps."""
    if not packet.size:
        return 0
    codec = packet.stream.codec_context.name
    if codec == "vp8":
        return bytes(packet)[0] >> 4 & 1  # 0: a frame that others refer to and that is not shown
    if reader is None:
        return 1
    pictures = reader(bytes(packet))
    if pictures.coded != 1 or (pictures.bidirectional and is_avi):
        found.stamped = False
    return pictures.coded


def _check_complete(stream: VideoStream, packets: _Packets, format_name: str) -> None:
    claimed = stream.frames
    # A frame that AVI leaves out keeps its place: the last place counts, not the number of frames.
    there = packets.last_slot + 1 if format_name == "avi" else packets.count
    if claimed > there:
        raise BadSample(f"truncated: claims {claimed} frames but ends after {there}")
    if packets.broken_end:
        raise BadSample(f"truncated: ends within its frame {packets.count}")


def _side_data(frames: Sequence[VideoFrame]) -> Iterable[SideData]:
    # Typed there as the dictionary that it is not.
    return cast("Iterable[SideData]", frames[0].side_data) if frames else ()


def _times(stamps: Int64s, stream: VideoStream) -> NDArray[np.float64]:
    times: NDArray[np.float64] = (stamps - stamps[0]) * float(_time_base(stream))
    return times


def _time_base(stream: VideoStream) -> Fraction:
    return stream.time_base or Fraction(1, 25)


def _read_turn(stream: VideoStream, packet: "Packet[VideoStream]", format_name: str) -> Turn:
    """Return how frames are turned, which one of them is decoded for where the container can say it."""
    if not ("mp4" in format_name or "matroska" in format_name):
        return Turn()
    context = stream.codec_context
    try:
        frames = [*context.decode(packet), *context.decode(None)]
    except av.error.FFmpegError:
        return Turn()  # a broken frame: whoever plans it will meet the error
    finally:
        context.flush_buffers()
    kept = {data.type.name: bytes(data) for data in _side_data(frames)}
    if "DISPLAYMATRIX" not in kept:
        return Turn()
    matrix = np.frombuffer(kept["DISPLAYMATRIX"], np.int32)
    across_x, down_x, across_y, down_y = (int(value) for value in matrix[[0, 1, 3, 4]])
    if abs(across_x) >= abs(down_x):
        return Turn(left_right=across_x < 0, up_down=down_y < 0)
    return Turn(transposed=True, left_right=across_y < 0, up_down=down_x < 0)
