"""The ways between host and device within a step: none of them waits."""

import torch
from torch import Tensor


def to_device(values: Tensor, device: torch.device) -> Tensor:
    """Return host values on a device without waiting for the copy; on the CPU they are what they were.

    To a GPU through page-locked memory: out of ordinary memory a copy waits for all that the device has been
    given to do, and with it the next step's launch and the deferred check of the last one's losses.
    """
    if device.type == "cuda":
        return values.pin_memory().to(device, non_blocking=True)
    return values.to(device, non_blocking=True)


class LateFlag:
    """A flag that a device computes, read when the device has long been given other work."""

    def __init__(self, flag: Tensor) -> None:
        self._here = flag.to("cpu", non_blocking=True)
        self._copied = torch.cuda.current_stream(flag.device).record_event()

    def __bool__(self) -> bool:
        self._copied.synchronize()
        return bool(self._here)
