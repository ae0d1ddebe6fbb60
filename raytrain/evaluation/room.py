"""What a probe may hold at once: counted before anything is allocated, refused with the numbers."""

from collections.abc import Mapping

from raytrain.errors import ConfigError
from raytrain.evaluation.features import GIB

MAX_GIB = 8.0
"""of what grows with samples x features or samples x classes; blocks of bounded size come on top"""
ADVICE = "set probe.features = 'pooled' or lower encoder.width"
FEWER_TESTED = "test on fewer samples"


def check_room(what: str, parts: Mapping[str, float], *, advice: str = ADVICE) -> None:
    """Raise ConfigError where arrays of so many bytes would not fit together.

    Args:
        what: e.g. `probe of lbp: 7 training samples x 10 features`.
        parts: bytes by name of what is held.
    """
    gib = sum(parts.values()) / GIB
    if gib > MAX_GIB:
        listed = ", ".join(f"{name} {num_bytes / GIB:.3g}" for name, num_bytes in parts.items())
        raise ConfigError(
            f"{what}: needs {gib:.3g} GiB ({listed}), more than the {MAX_GIB:g} GiB that a probe may hold; "
            f"{advice}"
        )
