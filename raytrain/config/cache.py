"""Settings of the encoder cache."""

from dataclasses import dataclass

from raytrain.config.checks import positive


@dataclass(frozen=True, kw_only=True)
class CacheConfig:
    """Trained pathways and their features, kept by what they were made of."""

    enabled: bool = True
    """a pathway that was trained before, with the same code, data and settings, is loaded"""
    folder: str = ""
    """empty: $RAYTRAIN_CACHE, else ~/.cache/raytrain; RAYTRAIN_CACHE=off switches it off"""
    max_gib: float = 20.0
    """above it, what was unused longest is removed"""

    def __post_init__(self) -> None:
        positive("cache.max_gib", self.max_gib)
