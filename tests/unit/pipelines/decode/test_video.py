import io
import random
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import av
import numpy as np
import pytest

from pipelines.decode import video, video_decord
from pipelines.decode.mpeg4 import PictureReader
from pipelines.decode.video import decode_clip, probe_clip
from pipelines.forms.clips import ClipMeta, DecodedClip, FramePlan
from pipelines.forms.quarantine import BadSample
from tests.clip_files import (
    cut_first,
    numbered_frame,
    plan_of,
    plan_whole,
    shown_number,
    shown_numbers,
    write_clip,
    write_sound,
)

NUM = 40
UNEVEN = np.cumsum([0.0] + [(0.04, 0.08, 0.02)[number % 3] for number in range(NUM - 1)])
DECORD = pytest.param(
    "decord", marks=pytest.mark.skipif(not video_decord.is_installed(), reason="decord is not installed")
)
KINDS: dict[str, dict[str, Any]] = {
    "in order.mp4": {"options": {"bf": "0"}},
    "b-frames.mp4": {"options": {"bf": "3"}},
    "open gop.mp4": {"options": {"x264-params": "open-gop=1:scenecut=0:bframes=3:b-adapt=0"}},
    "variable rate.mp4": {"times_s": UNEVEN, "options": {"bf": "2"}},
    "starts late.mp4": {"times_s": 5 + np.arange(NUM) / 25, "options": {"bf": "2"}},
    "starts late.mkv": {"times_s": 5 + np.arange(NUM) / 25, "options": {"bf": "2"}},
    "sound.mp4": {"audio": True, "options": {"bf": "2"}},
    "xvid.avi": {"codec": "mpeg4", "options": {"bf": "2"}},
    "xvid in order.avi": {"codec": "mpeg4", "options": {"bf": "0"}},
    "mpeg4.mp4": {"codec": "mpeg4", "options": {"bf": "2"}},
    "h264.avi": {"options": {"bf": "2"}},
    "vp8.webm": {"codec": "libvpx"},
    "vp9.webm": {"codec": "libvpx-vp9", "options": {"cpu-used": "8"}},
    "transport.ts": {"options": {"bf": "2"}},
    "program.mpg": {"codec": "mpeg2video", "options": {"bf": "2"}},
}
REFUSED_BY_DECORD = ("transport.ts", "program.mpg")


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    folder = tmp_path_factory.mktemp("clips")
    return {name: write_clip(folder / name, NUM, **kind).read_bytes() for name, kind in KINDS.items()}


def decode(source: bytes, plan: FramePlan | None = None, **settings: Any) -> DecodedClip:
    """Decode; no plan: all frames."""
    values = {"canvas_px": 32, "fit": "squash", "max_pixels": 10**6, "decoder": "auto"} | settings
    return decode_clip(source, plan_whole if plan is None else lambda _: plan, **values)


@pytest.mark.parametrize("decoder", ["pyav", DECORD])
@pytest.mark.parametrize("name", KINDS)
def test_frames_by_number_are_those_of_a_decoding_in_order(
    name: str, decoder: str, clips: dict[str, bytes]
) -> None:
    draw = random.Random(name)
    plans = [range(NUM), [NUM - 1], [13, 14, 30], *(sorted(draw.sample(range(NUM), 5)) for _ in range(4))]
    for wanted in plans:
        try:
            clip = decode(clips[name], plan_of(wanted), decoder=decoder)
        except BadSample:
            assert (name in REFUSED_BY_DECORD, decoder) == (True, "decord")
            clip = decode(clips[name], plan_of(wanted))
            assert clip.decoder == "pyav"
        assert shown_numbers(clip.frames) == list(wanted)
        assert clip.meta.num_frames == NUM


def test_frames_that_are_not_shown_are_not_counted(clips: dict[str, bytes]) -> None:
    source = clips["vp8.webm"]
    with av.open(io.BytesIO(source)) as container:
        packets = [bytes(packet) for packet in container.demux(video=0) if packet.size]
    for number in (7, 20):  # their bit that says so
        hidden = bytes([packets[number][0] & ~0x10]) + packets[number][1:]
        assert source.count(packets[number]) == 1
        source = source.replace(packets[number], hidden)
    shown = [number for number in range(NUM) if number not in (7, 20)]
    for decoder in ("pyav", "auto"):
        clip = decode(source, decoder=decoder)
        assert shown_numbers(clip.frames) == shown
        np.testing.assert_allclose(clip.meta.times_s, np.array(shown) / 25, atol=1.1e-3)
        assert shown_numbers(decode(source, plan_of([15, 37]), decoder=decoder).frames) == [
            shown[15],
            shown[37],
        ]


@pytest.mark.parametrize("decoder", ["pyav", DECORD])
def test_two_sizes_of_one_clip(decoder: str, clips: dict[str, bytes]) -> None:
    clip = decode(clips["b-frames.mp4"], plan_of([3, 17], [17, 18, 30], offset=0.0), decoder=decoder)
    assert shown_numbers(clip.frames) == [3, 17]
    assert clip.large.shape == (3, 3, 64, 64)
    expected = np.stack([numbered_frame(number)[:, :48].transpose(2, 0, 1) for number in (17, 18, 30)])
    assert np.abs(clip.large[:, :, ::4, ::4].astype(int) - expected[:, :, ::3, ::3]).mean() < 12


@pytest.mark.parametrize("decoder", ["auto", "pyav", DECORD])
def test_pixels_do_not_depend_on_what_else_is_planned(decoder: str, clips: dict[str, bytes]) -> None:
    """A pathway's frames are the same whatever the others ask of the clip."""
    for name in ("b-frames.mp4", "in order.mp4"):
        alone = decode(clips[name], plan_of([3, 17], []), decoder=decoder)
        large = decode(clips[name], plan_of([], [17, 30]), decoder=decoder)
        both = decode(clips[name], plan_of([3, 5, 17, 20], [2, 17, 30]), decoder=decoder)
        np.testing.assert_array_equal(both.frames[[0, 2]], alone.frames)
        np.testing.assert_array_equal(both.large[[1, 2]], large.large)


@pytest.mark.parametrize("decoder", ["auto", "pyav"])
@pytest.mark.parametrize(
    ("name", "codec", "bf"),
    [
        ("late.mkv", "libx264", "0"),
        ("late.mp4", "libx264", "0"),
        ("late.mp4", "libx264", "2"),
        ("late.mp4", "mpeg4", "0"),
        ("late.ts", "libx264", "0"),
    ],
)
def test_frames_before_the_first_key_frame_have_no_number(
    name: str, codec: str, bf: str, decoder: str, tmp_path: Path
) -> None:
    options = {"g": "12", "bf": bf, "x264-params": "scenecut=0"} if codec == "libx264" else {"g": "12"}
    whole = write_clip(tmp_path / "whole.mp4", NUM, codec=codec, options=options).read_bytes()
    clip = decode(cut_first(whole, tmp_path / name, 5), decoder=decoder)
    assert shown_numbers(clip.frames) == list(range(12, NUM))
    assert clip.meta.num_lead == 7
    assert clip.meta.times_s[0] == 0
    assert decode(whole, decoder=decoder).meta.num_lead == 0


def test_times_are_the_streams(clips: dict[str, bytes]) -> None:
    even = np.arange(NUM) / 25
    for name in KINDS:
        meta = probe_clip(clips[name], max_pixels=10**6)
        expected = UNEVEN if name == "variable rate.mp4" else even
        np.testing.assert_allclose(meta.times_s, expected, atol=1.1e-3, err_msg=name)
        assert (meta.width, meta.height) == (64, 48)


@pytest.mark.parametrize("decoder", ["auto", "pyav"])
@pytest.mark.parametrize(
    ("rotation", "mirrored"), [(90, False), (180, False), (270, False), (0, True), (90, True)]
)
def test_turned_clips_come_upright(rotation: int, mirrored: bool, decoder: str, tmp_path: Path) -> None:
    source = write_clip(tmp_path / "turned.mp4", 6, rotation=rotation, mirrored=mirrored).read_bytes()
    clip = decode(source, plan_of([0, 4], [1]), decoder=decoder)
    assert (clip.meta.width, clip.meta.height) == (64, 48)
    assert clip.decoder == "pyav"  # decord misreads them
    assert shown_numbers(clip.frames) == [0, 4]
    with pytest.raises(BadSample, match="decord"):
        decode(source, decoder="decord")


@pytest.mark.parametrize("decoder", ["pyav", DECORD])
def test_fits(decoder: str, clips: dict[str, bytes]) -> None:
    source = clips["in order.mp4"]
    frame = numbered_frame(37).transpose(2, 0, 1).astype(int)
    plan = plan_of([37])

    padded = decode(source, plan, fit="pad", canvas_px=64, decoder=decoder).frames[0]
    assert (padded[:, :8] == 128).all()
    assert (padded[:, -8:] == 128).all()
    assert np.abs(padded[:, 8:-8] - frame).mean() < 12
    assert shown_number(padded[:, 8:-8]) == 37
    covered = decode(source, plan, fit="cover", canvas_px=48, decoder=decoder).frames[0]
    assert np.abs(covered - frame[:, :, 8:-8]).mean() < 12


@pytest.mark.parametrize("offset", [0.0, 0.5, 1.0])
def test_the_large_square_is_cut_where_the_plan_says(offset: float, clips: dict[str, bytes]) -> None:
    clip = decode(clips["in order.mp4"], plan_of([], [37], offset=offset), canvas_px=24)
    left = round(16 * offset)
    assert clip.large.shape == (1, 3, 48, 48)
    frame = numbered_frame(37).transpose(2, 0, 1).astype(int)
    assert np.abs(clip.large[0] - frame[:, :, left : left + 48]).mean() < 12
    assert clip.frames.shape == (0, 3, 24, 24)


@pytest.mark.skipif(not video_decord.is_installed(), reason="decord is not installed")
@pytest.mark.parametrize("canvas_px", [16, 24, 33, 48, 50])
def test_decord_and_pyav_give_the_same_pixels(canvas_px: int, clips: dict[str, bytes]) -> None:
    plan = plan_of([2, 31])
    by_decord, by_pyav = (
        decode(clips["b-frames.mp4"], plan, canvas_px=canvas_px, decoder=decoder)
        for decoder in ("decord", "pyav")
    )
    assert (by_decord.decoder, by_pyav.decoder) == ("decord", "pyav")
    assert np.abs(by_decord.frames.astype(int) - by_pyav.frames).mean() < 2.5


def test_auto_takes_what_is_installed(clips: dict[str, bytes], monkeypatch: pytest.MonkeyPatch) -> None:
    source = clips["in order.mp4"]
    for installed, taken in ((("decord", "pyav"), "decord"), (("pyav",), "pyav")):
        monkeypatch.setattr(video, "_is_installed", installed.__contains__)
        if taken == "pyav" or video_decord.is_installed():
            assert decode(source, plan_of([3])).decoder == taken
    assert decode(source, plan_of([3], [4])).decoder == "pyav"


def test_a_plan_outside_of_the_clip_is_a_fault_of_the_program(clips: dict[str, bytes]) -> None:
    for wrong in ([NUM], [-1], [3, 3], [4, 2]):
        with pytest.raises(ValueError, match="must ascend within"):
            decode(clips["in order.mp4"], plan_of(wrong))
    with pytest.raises(ValueError, match="no decoder 'gpu'"):
        decode(clips["in order.mp4"], decoder="gpu")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "empty file"),
        (b"\x89PNG\r\n\x1a\n" + bytes(500), "no video in a known format"),
        (b"#EXTM3U\n#EXT-X-VERSION:3\n#EXTINF:1,\n/etc/hostname\n", "no video in a known format"),
        (b"only text, and rather a lot of it\n" * 400, "no video in a known format"),
    ],
)
def test_no_video(content: bytes, reason: str) -> None:
    with pytest.raises(BadSample, match=reason):
        decode(content)
    with pytest.raises(BadSample, match=reason):
        probe_clip(content, max_pixels=10**6)


def test_sound_only(tmp_path: Path) -> None:
    with pytest.raises(BadSample, match="holds no video, only audio"):
        decode(write_sound(tmp_path / "sound.mp4").read_bytes())


def test_absurd_sizes(clips: dict[str, bytes], tmp_path: Path) -> None:
    with pytest.raises(
        BadSample, match=r"claims frames of 64 x 48 pixels, more than the 3000 that data\.max_pixels"
    ):
        decode(clips["in order.mp4"], max_pixels=3000)
    strip = write_clip(tmp_path / "strip.mp4", 2, size=(2080, 16)).read_bytes()
    with pytest.raises(BadSample, match="one side more than 64 times the other"):
        decode(strip)


@pytest.mark.parametrize("name", ["xvid.avi", "starts late.mkv"])
def test_an_extension_does_not_matter_but_the_content_does(
    name: str, clips: dict[str, bytes], tmp_path: Path
) -> None:
    (tmp_path / "named.mp4").write_bytes(clips[name])
    assert shown_numbers(decode((tmp_path / "named.mp4").read_bytes()).frames) == list(range(NUM))


def test_truncated_avi(clips: dict[str, bytes]) -> None:
    source = clips["xvid.avi"]
    start = source.index(b"movi")
    with pytest.raises(BadSample, match=r"truncated: claims 40 frames but ends after \d+"):
        decode(source[: start + (len(source) - start) // 2])


def test_truncated_mp4(clips: dict[str, bytes], tmp_path: Path) -> None:
    source = clips["in order.mp4"]
    with pytest.raises(
        BadSample, match="no video in a known format, or broken"
    ):  # what tells where the frames are is at its end
        decode(source[: len(source) // 2])
    fast = write_clip(tmp_path / "b.mkv", 30).read_bytes()
    decoded = probe_clip(fast[: len(fast) * 2 // 3], max_pixels=10**6)
    assert (
        0 < decoded.num_frames < 30
    )  # a stream format claims no number of frames: what is there is the clip


def test_a_frame_that_cannot_be_decoded_is_not_replaced(clips: dict[str, bytes]) -> None:
    source = bytearray(clips["in order.mp4"])
    middle = source.index(b"mdat") + 4 + (source.index(b"moov") - source.index(b"mdat")) // 2
    source[middle : middle + 700] = bytes(700)
    whole = plan_of(range(NUM))
    for decoder in ("pyav", "auto"):
        with pytest.raises(BadSample, match=r"cannot be decoded|missing or broken"):
            decode(bytes(source), whole, decoder=decoder)
    assert shown_numbers(decode(bytes(source), plan_of([0, 1, 2])).frames) == [0, 1, 2]


class FakeTorchcodec:
    """Answers as torchcodec's documentation says, from frames decoded before."""

    def __init__(self, clip: DecodedClip, *, start_s: float = 0.0, num_frames: int | None = None) -> None:
        self.pixels = clip.frames.transpose(0, 2, 3, 1)
        self.times = clip.meta.times_s + start_s
        self.num_frames = clip.meta.num_frames if num_frames is None else num_frames

    def decoder(self, source: bytes, *, dimension_order: str, num_ffmpeg_threads: int, seek_mode: str) -> Any:
        assert (dimension_order, num_ffmpeg_threads, seek_mode) == ("NHWC", 1, "exact")
        return SimpleNamespace(
            metadata=SimpleNamespace(num_frames=self.num_frames), get_frames_at=self.frames_at
        )

    def frames_at(self, indices: Sequence[int]) -> Any:
        return SimpleNamespace(data=_Tensor(self.pixels[indices]), pts_seconds=_Tensor(self.times[indices]))

    def install(self, monkeypatch: pytest.MonkeyPatch) -> None:
        package, decoders = ModuleType("torchcodec"), ModuleType("torchcodec.decoders")
        decoders.VideoDecoder = self.decoder  # type: ignore[attr-defined]
        package.decoders = decoders  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, "torchcodec", package)
        monkeypatch.setitem(sys.modules, "torchcodec.decoders", decoders)


class _Tensor:
    def __init__(self, values: Any) -> None:
        self._values = values

    def numpy(self) -> Any:
        return self._values


def test_torchcodec_where_it_is(clips: dict[str, bytes], monkeypatch: pytest.MonkeyPatch) -> None:
    source = clips["starts late.mp4"]
    frames = decode(source, canvas_px=48)
    FakeTorchcodec(frames, start_s=5.0).install(monkeypatch)
    clip = decode(source, plan_of([1, 20]), decoder="torchcodec")
    assert (clip.decoder, shown_numbers(clip.frames)) == ("torchcodec", [1, 20])

    FakeTorchcodec(frames, start_s=4.0).install(monkeypatch)
    with pytest.raises(BadSample, match="frames of other times"):
        decode(source, plan_of([1, 20]), decoder="torchcodec")
    FakeTorchcodec(frames, start_s=5.0, num_frames=41).install(monkeypatch)
    with pytest.raises(BadSample, match="torchcodec counts 41 frames, not 40"):
        decode(source, plan_of([1, 20]), decoder="torchcodec")


def test_pictures_of_packed_packets() -> None:
    header = bytes.fromhex("00000120") + _bits(
        "0 00000001 0 0001 0 00 1 0000000000011001 1"
    )  # 25 ticks a second
    reader = PictureReader(header)
    shown = bytes.fromhex("000001b6") + _bits("00 0 1 00000 1 1") + bytes(40)
    between = bytes.fromhex("000001b6") + _bits("10 10 1 00011 1 1") + bytes(40)
    left_out = bytes.fromhex("000001b6") + _bits("01 0 1 00001 1 0")
    assert (reader(shown).coded, reader(shown).bidirectional) == (1, False)
    assert (reader(shown + between).coded, reader(shown + between).bidirectional) == (2, True)
    assert reader(left_out).coded == 0
    assert reader(b"\x7f").coded == 0


def _bits(text: str) -> bytes:
    digits = text.replace(" ", "")
    digits += "0" * (-len(digits) % 8)
    return int(digits, 2).to_bytes(len(digits) // 8, "big")


@pytest.mark.slow
def test_real_clips_have_the_frames_of_a_second_decoder(real_data: Path) -> None:
    files = [
        path
        for name in ("ucf101", "hmdb51", "kinetics")
        for path in sorted((real_data / name).rglob("*.[am][vp][i4]"))
    ]
    assert len(files) >= 6
    for path in files:
        with av.open(str(path), metadata_errors="replace") as container:
            frames = [frame.to_ndarray(format="gray").mean() for frame in container.decode(video=0)]
        for decoder in ("auto", "pyav"):
            last = {}

            def plan(meta: ClipMeta, last: dict[str, int] = last) -> FramePlan:
                last["number"] = meta.num_frames - 1
                return plan_of([0, meta.num_frames // 2, meta.num_frames - 1])

            clip = decode(path.read_bytes(), decoder=decoder) if decoder == "auto" else None
            ends = decode_clip(
                path.read_bytes(), plan, canvas_px=32, fit="squash", max_pixels=10**6, decoder=decoder
            )
            assert last["number"] + 1 == len(frames), path.name
            assert clip is None or len(clip.frames) == len(frames)
            shade = ends.frames.mean((1, 2, 3))
            expected = np.array([frames[0], frames[len(frames) // 2], frames[-1]])
            assert np.abs((shade - shade.mean()) - (expected - expected.mean())).max() < 3, path.name
