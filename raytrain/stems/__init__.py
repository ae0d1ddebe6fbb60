"""Trainable front ends over events by name; what each is for stands in its settings."""

from collections.abc import Callable

from raytrain.config.stems import TrainedStemConfig
from raytrain.layers import keyed_initial_values
from raytrain.stems.base import Stem
from raytrain.stems.est import Est
from raytrain.stems.matrix_lstm import MatrixLstm, SurfaceState
from raytrain.stems.phased_lstm import PhasedLstm

STEMS: dict[str, Callable[..., Stem]] = {"matrix_lstm": MatrixLstm, "est": Est, "phased_lstm": PhasedLstm}


def build_stem(config: TrainedStemConfig, *, seed_words: tuple[int | str, ...]) -> Stem:
    """Return the stem on the CPU; initial values depend on `seed_words`, e.g. (seed, pathway), alone."""
    with keyed_initial_values("stem", *seed_words):
        return STEMS[config.name](config)


__all__ = [
    "STEMS",
    "Est",
    "MatrixLstm",
    "PhasedLstm",
    "Stem",
    "SurfaceState",
    "build_stem",
]
