"""Trainable encoders by name; what each is for stands in its settings."""

from collections.abc import Callable

from raytrain.config.encoders import EncoderConfig
from raytrain.encoders.base import Encoder, EncoderLayer, Layer, mean_over_pixels
from raytrain.encoders.movnet import VolumeEncoder, build_movnet
from raytrain.encoders.none import build_none
from raytrain.encoders.resnet import build_resnet, load_pretrained
from raytrain.encoders.vgg6 import build_vgg6
from raytrain.layers import keyed_initial_values

ENCODERS: dict[str, Callable[..., Encoder]] = {
    "vgg6": build_vgg6,
    "movnet": build_movnet,
    "resnet18": build_resnet,
    "resnet34": build_resnet,
    "none": build_none,
}


def build_encoder(config: EncoderConfig, *, in_channels: int, seed_words: tuple[int | str, ...]) -> Encoder:
    """Return the encoder on the CPU; initial values depend on `seed_words`, e.g. (seed, pathway), alone."""
    with keyed_initial_values("encoder", *seed_words):
        return ENCODERS[config.name](config, in_channels=in_channels)


__all__ = [
    "ENCODERS",
    "Encoder",
    "EncoderLayer",
    "Layer",
    "VolumeEncoder",
    "build_encoder",
    "load_pretrained",
    "mean_over_pixels",
]
