import os
import random
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipelines.decode import child
from pipelines.decode.child import ClipDecoder, SharedDecoder, shared_decoder
from pipelines.decode.video import decode_clip
from pipelines.forms.clips import DecodedClip
from pipelines.forms.quarantine import BadSample
from raytrain.config.data import VideoConfig
from tests import clip_files
from tests.clip_files import plan_ends, plan_whole, shown_numbers, write_clip

SETTINGS: dict[str, Any] = {"canvas_px": 32, "fit": "squash", "max_pixels": 10**6}
# Long enough for a machine that does much else; a test that runs into it is one of a hang.
PATIENT = VideoConfig(decode_timeout_s=60.0)


@pytest.fixture(scope="module")
def decoder() -> Iterator[ClipDecoder]:
    decoder = ClipDecoder(PATIENT)
    yield decoder
    decoder.close()


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    folder = tmp_path_factory.mktemp("clips")
    return {
        "mp4": write_clip(folder / "a.mp4", 30, options={"bf": "2"}).read_bytes(),
        "avi": write_clip(folder / "a.avi", 30, codec="mpeg4", options={"bf": "2"}).read_bytes(),
    }


def test_the_same_as_without_a_child(decoder: ClipDecoder, sources: dict[str, bytes]) -> None:
    for source in sources.values():
        here = decode_clip(source, plan_ends, decoder="auto", **SETTINGS)
        there = decoder.decode(source, plan_ends, **SETTINGS)
        np.testing.assert_array_equal(there.frames, here.frames)
        np.testing.assert_array_equal(there.large, here.large)
        np.testing.assert_array_equal(there.meta.times_s, here.meta.times_s)
        assert (there.decoder, there.meta.width) == (here.decoder, here.meta.width)
        assert decoder.probe(source, max_pixels=10**6).num_frames == 30
    there.frames[0] = 0  # the caller's own
    assert decoder.num_started == 1


def test_no_frames_are_wanted(decoder: ClipDecoder, sources: dict[str, bytes]) -> None:
    clip = decoder.decode(sources["mp4"], partial(_named, "plan_of", []), **SETTINGS)
    assert (clip.frames.shape, clip.large.shape) == ((0, 3, 32, 32), (0, 3, 64, 64))


def _named(name: str, *arguments: Any) -> Any:
    return getattr(clip_files, name)(*arguments[:-1])


@pytest.mark.slow
def test_a_hanging_decoder_is_killed(sources: dict[str, bytes]) -> None:
    decoder = ClipDecoder(VideoConfig(decode_timeout_s=0.5))
    with pytest.raises(
        BadSample, match=r"decoding took longer than 0\.5 s; raise data\.video\.decode_timeout_s"
    ):
        decoder.decode(sources["mp4"], clip_files.plan_sleeping, **SETTINGS)
    assert decoder._process is None
    decoder._config = PATIENT
    assert len(decoder.decode(sources["mp4"], plan_whole, **SETTINGS).frames) == 30
    assert decoder.num_started == 2
    decoder.close()


def test_a_crashing_decoder_takes_nobody_with_it(sources: dict[str, bytes]) -> None:
    decoder = ClipDecoder(PATIENT)
    with pytest.raises(BadSample, match=r"the decoder crashed \(SIGSEGV\)"):
        decoder.decode(sources["mp4"], clip_files.plan_crashing, **SETTINGS)
    decoder.close()


def test_faults_of_the_program_are_not_the_samples(decoder: ClipDecoder, sources: dict[str, bytes]) -> None:
    started = decoder.num_started
    with pytest.raises(RuntimeError, match="no such plan"):
        decoder.decode(sources["mp4"], clip_files.plan_failing, **SETTINGS)
    with pytest.raises(BadSample, match="empty file"):
        decoder.decode(b"", plan_whole, **SETTINGS)
    assert decoder.num_started == started


def test_what_decoders_print_is_kept_away(
    decoder: ClipDecoder, sources: dict[str, bytes], capfd: pytest.CaptureFixture[str]
) -> None:
    clip = decoder.decode(sources["mp4"], clip_files.plan_printing, **SETTINGS)
    assert shown_numbers(clip.frames) == list(range(30))
    assert capfd.readouterr() == ("", "")


def test_a_child_is_replaced_after_many_clips(
    sources: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(child, "CLIPS_A_CHILD", 2)
    decoder = ClipDecoder(PATIENT)
    for _ in range(3):
        decoder.decode(sources["mp4"], plan_ends, **SETTINGS)
    assert decoder.num_started == 2
    decoder.close()


def test_a_child_that_cannot_start_is_told(
    sources: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(child, "_COMMAND", ("-c", "raise SystemExit(3)"))
    with pytest.raises(RuntimeError, match=r"does not start: it ended \(exit code 3\)"):
        ClipDecoder(PATIENT).decode(sources["mp4"], plan_ends, **SETTINGS)


# What a decoder that was taken over may answer in place of a clip; `said` is put where its head belongs.
IMPOSTOR = """
import os, pickle, struct, sys
from pipelines.decode.pipe import Pipe
pipe = Pipe(os.dup(0), os.dup(1))
pipe.send(("ready", None), [], timeout_s=None)
pipe.receive(timeout_s=None)
{answer}
pipe.receive(timeout_s=None)
"""
EIGHT = {"width": 8, "height": 8, "num_lead": 0, "decoder": "pyav", "large": [0, 3, 64, 64]}
PICKLED = """
class Code:
    def __reduce__(self):
        return os.mkdir, (os.environ["HOME"] + "/taken",)
data = pickle.dumps(((("decoded", Code()), []), []))
os.write(1, struct.pack("<Q", len(data)) + data)
"""


def sent(said: object, *payloads: str) -> str:
    return f"pipe.send(('decoded', {said!r}), [{', '.join(payloads)}], timeout_s=None)"


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (PICKLED, "a head that cannot be read: "),
        ("os.write(1, b'\\xff' * 8)", "a head of 18446744073709551615 bytes"),
        ("os.write(1, struct.pack('<Q', 14) + b'[[1, 2], [-1]]')", r"payloads of \[-1\] bytes"),
        ("os.write(1, struct.pack('<Q', 24) + b'[[1, 2], [999999999999]]')", r"payloads of \[9+\] bytes"),
        ("os.write(1, struct.pack('<Q', 7) + b'[3, []]')", "cannot unpack"),
        (sent(EIGHT), "not enough values"),
        (sent(EIGHT | {"frames": [1, 3, 32, 31]}, "bytes(8)", "bytes(2976)", "b''"), "not n x 3 x 32 x 32"),
        (sent(EIGHT | {"frames": [2, 3, 32, 32]}, "bytes(8)", "bytes(3072)", "b''"), "cannot reshape"),
        (sent(EIGHT | {"frames": [0, 3, 32, 32]}, "bytes(7)", "b''", "b''"), "buffer size must be"),
        (sent(EIGHT | {"frames": [0, 3, 32, 32]}, "b''", "b''", "b''"), "0 frames of 8 x 8 px"),
        (sent({"frames": [0, 3, 32, 32]}, "bytes(8)", "b''", "b''"), "'width'"),
    ],
)
def test_an_answer_is_only_data(
    answer: str, reason: str, sources: dict[str, bytes], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(child, "_COMMAND", ("-c", IMPOSTOR.format(answer=answer)))
    decoder = ClipDecoder(PATIENT)
    with pytest.raises(BadSample, match=rf"^the decoder's answer is none: .*{reason}"):
        decoder.decode(sources["mp4"], plan_ends, **SETTINGS)
    assert decoder._process is None  # whoever answers so is not asked again
    assert list(tmp_path.iterdir()) == []


def test_a_child_inherits_no_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    secrets = ("RAY_AUTH_TOKEN", "AWS_SECRET_ACCESS_KEY", "HF_TOKEN", "WANDB_API_KEY", "DB_PASSWORD", "ANY")
    for name in secrets:
        monkeypatch.setenv(name, "secret")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    decoder = ClipDecoder(PATIENT)
    decoder._start()
    assert decoder._process is not None
    inherited = Path(f"/proc/{decoder._process.pid}/environ").read_bytes().decode().split("\0")
    decoder.close()
    names = {line.partition("=")[0] for line in inherited}
    assert not names & set(secrets)
    assert {"PATH", "PYTHONPATH", "OMP_NUM_THREADS"} <= names


def test_threads_share_a_decoder(sources: dict[str, bytes]) -> None:
    shared = SharedDecoder(PATIENT)
    found: list[list[int]] = []

    def work() -> None:
        clip = shared.decode(sources["avi"], plan_whole, **SETTINGS)
        found.append(shown_numbers(clip.frames))

    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [list(range(30))] * 2
    shared.close()
    assert shared_decoder(PATIENT) is shared_decoder(VideoConfig(decode_timeout_s=60.0))
    assert shared_decoder(PATIENT) is not shared_decoder(VideoConfig(decoder="pyav"))


@pytest.mark.slow
def test_what_takes_too_long_is_tried_once_more_with_twice_the_time(
    sources: dict[str, bytes], tmp_path: Path
) -> None:
    shared = SharedDecoder(VideoConfig(decode_timeout_s=1.5))
    late = shared.decode(sources["mp4"], clip_files.PlanLate(str(tmp_path / "mark")), **SETTINGS)
    assert late.late
    assert shown_numbers(late.frames) == list(range(30))
    assert not shared.decode(sources["mp4"], plan_whole, **SETTINGS).late
    started = time.monotonic()
    with pytest.raises(BadSample) as caught:
        shared.decode(sources["mp4"], clip_files.plan_sleeping, **SETTINGS)
    assert time.monotonic() - started >= 3 * 1.5
    assert caught.value.fate == "timed_out"
    assert caught.value.reason == (
        "decoding took longer than 1.5 s, and alone than 3 s; raise data.video.decode_timeout_s"
    )
    shared.close()


def test_what_is_broken_is_not_tried_again(sources: dict[str, bytes]) -> None:
    shared = SharedDecoder(PATIENT)
    with pytest.raises(BadSample) as caught:
        shared.decode(sources["mp4"][:200], plan_whole, **SETTINGS)
    assert caught.value.fate == "damaged"
    (decoder,) = shared._idle
    assert decoder.num_started == 1
    shared.close()


def test_alone_means_that_nobody_else_decodes() -> None:
    turns, order = child._Turns(), list[str]()
    begun, leave = threading.Event(), threading.Event()

    def first() -> None:
        with turns.with_others():
            begun.set()
            leave.wait()
            order.append("first")

    def alone() -> None:
        with turns.alone():
            order.append("alone")

    def beside() -> None:
        with turns.with_others():
            order.append("beside")

    threads = [
        threading.Thread(target=first),
        threading.Thread(target=alone),
        threading.Thread(target=beside),
    ]
    threads[0].start()
    begun.wait()
    threads[1].start()
    while not turns._one_alone:  # it waits for the first
        time.sleep(0.001)
    threads[2].start()
    time.sleep(0.02)
    assert order == []
    leave.set()
    for thread in threads:
        thread.join()
    assert order == ["first", "alone", "beside"]


def test_a_child_ends_with_its_parent() -> None:
    script = (
        "from pipelines.decode.child import ClipDecoder; from raytrain.config.data import VideoConfig\n"
        "import os\n"
        "decoder = ClipDecoder(VideoConfig()); decoder._start(); print(decoder._process.pid, flush=True); "
        "os.kill(os.getpid(), 9)"
    )
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    parent = subprocess.run([sys.executable, "-c", script], capture_output=True, env=environment, check=False)
    process = Path(f"/proc/{int(parent.stdout)}")
    deadline = time.monotonic() + 30
    while process.exists() and "State:\tZ" not in _status(process):
        assert time.monotonic() < deadline, "the child lives on"
        time.sleep(0.02)


def _status(process: Path) -> str:
    try:
        return (process / "status").read_text()
    except OSError:
        return "State:\tZ"


def damaged(sources: dict[str, bytes]) -> Iterator[tuple[str, bytes]]:
    """Yield 19 damaged files by name."""
    draw = random.Random(0)
    for name, source in sources.items():
        for number in range(5):
            yield f"{name} cut {number}", source[: draw.randrange(len(source))]
        for number in range(3):
            start, length = draw.randrange(len(source)), draw.randrange(1, 2000)
            zeros = bytes(len(source[start : start + length]))
            yield f"{name} zeroed {number}", source[:start] + zeros + source[start + length :]
    yield "nothing", b""
    yield "an image with another extension", b"\x89PNG\r\n\x1a\n" + sources["mp4"][8:]
    yield "avi named mp4", sources["avi"]


def test_twenty_damaged_clips(decoder: ClipDecoder, sources: dict[str, bytes]) -> None:
    fates: dict[str, DecodedClip | str] = {}
    for name, source in damaged(sources):
        try:
            fates[name] = decoder.decode(source, plan_ends, **SETTINGS)
        except BadSample as bad:
            fates[name] = bad.reason
    hung = ClipDecoder(VideoConfig(decode_timeout_s=0.2))
    with pytest.raises(BadSample) as caught:
        hung.decode(sources["mp4"], clip_files.plan_sleeping, **SETTINGS)
    fates["hangs"] = caught.value.reason
    assert len(fates) == 20
    reasons = {name: fate for name, fate in fates.items() if isinstance(fate, str)}
    assert all(reasons.values())
    assert {name for name in fates if "cut" in name} <= set(reasons)
    assert {"nothing", "an image with another extension", "hangs"} <= set(reasons)
    for name, fate in fates.items():
        if isinstance(fate, DecodedClip):
            assert (len(fate.frames), len(fate.large)) == (2, 1), name
    assert shown_numbers(fates["avi named mp4"].frames) == [0, 29]  # type: ignore[union-attr]
