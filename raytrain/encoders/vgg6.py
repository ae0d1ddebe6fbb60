"""vgg6, the six-layer network of CLAPP."""

from raytrain.config.encoders import Vgg6Config
from raytrain.encoders.base import Encoder, Layer

POOLED = (False, True, False, True, True, True)


def build_vgg6(config: Vgg6Config, *, in_channels: int) -> Encoder:
    """Return 128, 256 M, 256, 512 M, 1024 M, 1024 M (M: max pool), times `config.width`.

    16,224,512 parameters at width 1 and one input channel, without batch norm.

    Source: Illing, Ventura, Bellec, Gerstner 2021, "Local plasticity rules can learn deep representations
    using self-supervised contrastive predictions"; no batch norm there, the decomposed encoders add it.
    """
    inputs = (in_channels, *config.channels[:-1])
    layers = [
        Layer(before, after, pool=pool, batch_norm=config.batch_norm, loss_at=config.loss_at)
        for before, after, pool in zip(inputs, config.channels, POOLED, strict=True)
    ]
    return Encoder(layers, channels=config.channels)
