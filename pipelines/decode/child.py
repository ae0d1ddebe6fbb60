"""Clips decoded in a child process: a decoder that hangs is killed, one that crashes takes nobody with it."""

import atexit
import contextlib
import operator
import os
import pickle
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from pipelines.decode.image import Fit
from pipelines.decode.pipe import Pipe, PipeClosedError, PipeMessageError, PipeTimeoutError
from pipelines.forms.clips import LARGE, ClipMeta, DecodedClip
from pipelines.forms.quarantine import BadSample
from raytrain.config.data import VideoConfig

T = TypeVar("T")

_COMMAND = ("-P", "-m", "pipelines.decode.child_main")
_START_TIMEOUT_S = 300.0
CLIPS_A_CHILD = 2_000
"""a child is replaced after so many clips: what decoders leak goes with it"""
_PIPE_SIZE = 1 << 20
_MOST_ANSWER_BYTES = 2**32
_KEPT_VARIABLES = (
    *("PATH", "HOME", "LANG", "LC_", "TZ", "TMP", "TEMP", "PYTHON", "VIRTUAL_ENV", "CONDA_PREFIX"),
    *("LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "SYSTEMROOT"),
    *("OMP_", "MKL_", "OPENBLAS_", "MALLOC_", "DECORD_"),
)
"""how the names of those variables begin that a decoder is given"""


class ClipDecoder:
    """Decodes clips in one child process, which is started when first needed; for one thread at a time.

    Args:
        config: decoder and time-out.
    """

    def __init__(self, config: VideoConfig) -> None:
        self._config = config
        self._process: subprocess.Popen[bytes] | None = None
        self._pipe: Pipe | None = None
        self._left = 0
        self._owner = os.getpid()
        self.num_started = 0
        """children started so far"""

    def decode(self, source: bytes, plan: Any, *, canvas_px: int, fit: Fit, max_pixels: int) -> DecodedClip:
        """Return the planned frames of a clip; see `decode_clip`.

        Args:
            source: a video file's bytes.
            plan: picklable, takes a ClipMeta, gives a FramePlan.

        Raises:
            BadSample: as `decode_clip`; or the decoder hung, or crashed.
        """
        settings = {
            "canvas_px": canvas_px,
            "fit": fit,
            "max_pixels": max_pixels,
            "decoder": self._config.decoder,
        }
        said, payloads = self._ask("decode", settings, [source, pickle.dumps(plan)])
        with self._distrusting():
            times, frames, large = payloads
            return DecodedClip(
                meta=_meta(said, times),
                frames=_squares(frames, said["frames"], side=canvas_px),
                large=_squares(large, said["large"], side=LARGE * canvas_px),
                decoder=str(said["decoder"]),
            )

    def probe(self, source: bytes, *, max_pixels: int) -> ClipMeta:
        """Return what is known of a clip before its frames are decoded; see `probe_clip`.

        Raises:
            BadSample: as `probe_clip`; or the decoder hung, or crashed.
        """
        said, payloads = self._ask("probe", {"max_pixels": max_pixels}, [source])
        with self._distrusting():
            (times,) = payloads
            return _meta(said, times)

    def close(self) -> None:
        """End the child, if there is one, and wait for its end."""
        if (
            self._process is None or self._owner != os.getpid()
        ):  # a forked copy leaves its parent's child alone
            return
        self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                stream.close()
        self._process = self._pipe = None

    def _ask(self, kind: str, settings: dict[str, Any], payloads: list[bytes]) -> tuple[Any, list[bytearray]]:
        if not self._left:
            self.close()
        pipe = self._pipe or self._start()
        timeout_s = self._config.decode_timeout_s
        self._left -= 1
        try:
            pipe.send((kind, timeout_s, settings), payloads, timeout_s=timeout_s)
            (verdict, answer), rest = pipe.receive(timeout_s=timeout_s, most_bytes=_MOST_ANSWER_BYTES)
        except (PipeMessageError, ValueError, TypeError) as error:
            self.close()
            raise BadSample(f"the decoder's answer is none: {error}") from None
        except PipeTimeoutError:
            self.close()
            raise BadSample(
                f"decoding took longer than {timeout_s:g} s; raise data.video.decode_timeout_s", "timed_out"
            ) from None
        except PipeClosedError:
            raise BadSample(f"the decoder {self._end()}") from None
        except (
            BaseException
        ):  # interrupted half-way through an answer: the rest of it must not be the next one
            self.close()
            raise
        if verdict == "bad":
            raise BadSample(answer)
        if verdict == "error":
            raise RuntimeError(f"in the decoder's process: {answer}")
        return answer, rest

    @contextlib.contextmanager
    def _distrusting(self) -> Iterator[None]:
        """End a child whose answer does not fit together: a damaged file may have taken it over."""
        try:
            yield
        except (KeyError, TypeError, ValueError) as error:
            self.close()
            raise BadSample(f"the decoder's answer is none: {error}") from None

    def _start(self) -> Pipe:
        self._process = subprocess.Popen(
            [sys.executable, *_COMMAND],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            bufsize=0,
            env=_environment(),
        )
        self.num_started += 1
        self._left = CLIPS_A_CHILD
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        read, write = self._process.stdout.fileno(), self._process.stdin.fileno()
        _widen(read, write)
        self._pipe = Pipe(read, write)
        try:
            (verdict, answer), _ = self._pipe.receive(timeout_s=_START_TIMEOUT_S, most_bytes=0)
        except (PipeClosedError, PipeTimeoutError, PipeMessageError):
            raise RuntimeError(f"the decoder's process does not start: it {self._end()}") from None
        if verdict == "error":
            self.close()
            raise RuntimeError(f"the decoder's process does not start: {answer}")
        return self._pipe

    def _end(self) -> str:
        """End the child and return how it ended, in words."""
        assert self._process is not None
        try:
            code = self._process.wait(timeout=1)
        except subprocess.TimeoutExpired:
            code = 0
        self.close()
        if code < 0:
            return f"crashed ({signal.Signals(-code).name})"
        return f"ended (exit code {code})"

    def __del__(self) -> None:
        self.close()


class _Turns:
    """Many decode at a time, or one alone."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._decoding = 0
        self._one_alone = False

    @contextlib.contextmanager
    def with_others(self) -> Iterator[None]:
        """Wait for one that wants to be alone, then decode beside others."""
        with self._changed:
            self._changed.wait_for(lambda: not self._one_alone)
            self._decoding += 1
        try:
            yield
        finally:
            with self._changed:
                self._decoding -= 1
                self._changed.notify_all()

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        """Let nobody begin, wait for those who have begun, then decode alone."""
        with self._changed:
            self._changed.wait_for(lambda: not self._one_alone)
            self._one_alone = True
            self._changed.wait_for(lambda: not self._decoding)
        try:
            yield
        finally:
            with self._changed:
                self._one_alone = False
                self._changed.notify_all()


_TURNS = _Turns()  # of this process, whatever the settings


class SharedDecoder:
    """Decodes clips for any number of threads, each in a child of its own for the time; see `ClipDecoder`.

    What takes too long is tried once more, with twice the time and alone: late is not broken.
    """

    def __init__(self, config: VideoConfig) -> None:
        self._config = config
        self._lock = threading.Lock()
        self._idle: list[ClipDecoder] = []

    def decode(self, source: bytes, plan: Any, *, canvas_px: int, fit: Fit, max_pixels: int) -> DecodedClip:
        """Return the planned frames of a clip; see `ClipDecoder.decode`."""

        def work(decoder: ClipDecoder) -> DecodedClip:
            return decoder.decode(source, plan, canvas_px=canvas_px, fit=fit, max_pixels=max_pixels)

        clip, late = self._patiently(work)
        return replace(clip, late=late)

    def probe(self, source: bytes, *, max_pixels: int) -> ClipMeta:
        """Return what is known of a clip before its frames are decoded; see `ClipDecoder.probe`."""
        return self._patiently(lambda decoder: decoder.probe(source, max_pixels=max_pixels))[0]

    def close(self) -> None:
        """End all children that are idle."""
        with self._lock:
            idle, self._idle = self._idle, []
        for decoder in idle:
            decoder.close()

    def _patiently(self, work: Callable[[ClipDecoder], T]) -> tuple[T, bool]:
        """Return what the work gives, and whether it needed its second try."""
        with _TURNS.with_others():
            decoder = self._take()
            try:
                return work(decoder), False
            except BadSample as bad:
                if bad.fate != "timed_out":
                    raise
            finally:
                self._give(decoder)
        once_s = self._config.decode_timeout_s
        with _TURNS.alone():
            patient = ClipDecoder(replace(self._config, decode_timeout_s=2 * once_s))
            try:
                return work(patient), True
            except BadSample as bad:
                if bad.fate != "timed_out":
                    raise
                raise BadSample(
                    f"decoding took longer than {once_s:g} s, and alone than {2 * once_s:g} s; raise "
                    "data.video.decode_timeout_s",
                    bad.fate,
                ) from None
            finally:
                patient.close()

    def _take(self) -> ClipDecoder:
        with self._lock:
            return self._idle.pop() if self._idle else ClipDecoder(self._config)

    def _give(self, decoder: ClipDecoder) -> None:
        with self._lock:
            self._idle.append(decoder)


_SHARED: dict[tuple[int, VideoConfig], SharedDecoder] = {}
_SHARED_LOCK = threading.Lock()


def shared_decoder(config: VideoConfig) -> SharedDecoder:
    """Return this process's decoder of these settings; its children end with the process."""
    with _SHARED_LOCK:
        # By process: a forked copy must not talk into its parent's pipes.
        return _SHARED.setdefault((os.getpid(), config), SharedDecoder(config))


@atexit.register
def _close_all() -> None:
    for (process, _), decoder in list(_SHARED.items()):
        if process == os.getpid():
            decoder.close()


def _meta(said: Any, times: bytearray) -> ClipMeta:
    """Return what a child says of a clip.

    Raises: ValueError, TypeError or KeyError where it cannot be.
    """
    times_s = np.frombuffer(times, "<f8").astype(np.float64)
    width, height, num_lead = (operator.index(said[name]) for name in ("width", "height", "num_lead"))
    if min(width, height, len(times_s), num_lead + 1) < 1 or not (np.diff(times_s, prepend=0) >= 0).all():
        raise ValueError(f"{len(times_s)} frames of {width} x {height} px, or times that run back")
    return ClipMeta(times_s=times_s, width=width, height=height, num_lead=num_lead)


def _squares(payload: bytearray, shape: Any, *, side: int) -> NDArray[np.uint8]:
    """Return a child's frames u8[n, 3, side, side].

    Raises: ValueError or TypeError where they are no such frames.
    """
    count, *frame = map(operator.index, shape)
    if frame != [3, side, side] or count < 0:
        raise ValueError(f"frames of the shape {shape}, not n x 3 x {side} x {side}")
    return np.frombuffer(payload, np.uint8).reshape(count, 3, side, side)


def _environment() -> dict[str, str]:
    """Return what a child needs of this process's environment; tokens and keys are not among it."""
    kept = {name: value for name, value in os.environ.items() if name.startswith(_KEPT_VARIABLES)}
    # Found where this process found it, whatever its working folder is.
    return kept | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}


def _widen(*descriptors: int) -> None:
    """Let the kernel hold more of a message at a time, where it can."""
    try:
        import fcntl

        for descriptor in descriptors:
            fcntl.fcntl(descriptor, fcntl.F_SETPIPE_SZ, _PIPE_SIZE)
    except (ImportError, AttributeError, OSError):
        pass
