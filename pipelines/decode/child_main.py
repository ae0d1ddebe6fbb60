"""The child's side of `child`: decodes clips that come over a pipe until the pipe ends."""

import os
import signal
import sys
import traceback
from typing import Any

from pipelines.decode.pipe import Pipe, PipeClosedError

READY = "ready"
Answer = tuple[tuple[str, Any], list[Any]]
"""verdict and what is said of it, for JSON; then the arrays' bytes"""


def main() -> None:
    """Answer jobs from standard input on standard output."""
    pipe = _private_pipe()
    try:
        from pipelines.decode.video import decode_clip, probe_clip
        from pipelines.forms.quarantine import BadSample
    except BaseException:
        pipe.send(("error", traceback.format_exc()), [], timeout_s=None)
        return
    pipe.send((READY, None), [], timeout_s=None)
    while True:
        try:
            (kind, timeout_s, settings), (source, *rest) = pipe.receive(timeout_s=None)
        except PipeClosedError:
            return
        # Should the parent die while a decoder hangs, nobody would end this process: the kernel does.
        signal.setitimer(signal.ITIMER_REAL, 2 * timeout_s)
        try:
            if kind == "probe":
                answer = _probed(probe_clip(bytes(source), **settings))
            else:
                answer = _decoded(decode_clip(bytes(source), **_with_plan(settings, rest)))
        except BadSample as bad:
            answer = (("bad", bad.reason), [])
        except Exception:
            answer = (("error", traceback.format_exc()), [])
        signal.setitimer(signal.ITIMER_REAL, 0)
        try:
            pipe.send(*answer, timeout_s=None)
        except PipeClosedError:
            return


def _with_plan(settings: dict[str, Any], rest: list[bytearray]) -> dict[str, Any]:
    import pickle

    return settings | {"plan": pickle.loads(rest[0])}


def _probed(meta: Any) -> Answer:
    said = {"width": meta.width, "height": meta.height, "num_lead": meta.num_lead}
    return ("probed", said), [meta.times_s.astype("<f8").tobytes()]


def _decoded(clip: Any) -> Answer:
    (_, said), times = _probed(clip.meta)
    arrays = {"frames": clip.frames, "large": clip.large}
    said |= {"decoder": clip.decoder} | {name: array.shape for name, array in arrays.items()}
    return ("decoded", said), [*times, *(array.reshape(-1).data for array in arrays.values())]


def _private_pipe() -> Pipe:
    """Take the two pipes away from whatever prints: decoders write to both outputs."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    read, write = os.dup(0), os.dup(1)
    nothing = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(nothing, descriptor)
    sys.stdout = sys.stderr
    return Pipe(read, write)


if __name__ == "__main__":
    main()
