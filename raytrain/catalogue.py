"""What `raytrain list` shows: all that is chosen by a name, each with a line on what it is for.

The line stands where the thing gets its name: the first comment of a preset, `purpose` of the settings of a
part of a pathway, of a source, of a modality, of a probe.
"""

import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import resources
from typing import Any

from pipelines.modalities import MODALITIES
from pipelines.sources import SOURCES
from raytrain.config import CacheConfig, ObjectiveConfig, preset_names
from raytrain.config.cuts import CutConfig
from raytrain.config.encoders import EncoderConfig
from raytrain.config.operators import AnyOperatorConfig
from raytrain.config.stems import StemConfig
from raytrain.errors import ConfigError
from raytrain.evaluation.protocols import PROTOCOLS


@dataclass(frozen=True)
class Kind:
    """A kind of things that are chosen by name."""

    says: str
    """what they are, and where one is named"""
    lines: Callable[[], dict[str, str]]
    """name -> what it is for"""


def preset_purpose(name: str) -> str:
    """Return the first comment line of a preset."""
    text = resources.files("raytrain.presets").joinpath(f"{name}.toml").read_text(encoding="utf-8")
    return text.partition("\n")[0].removeprefix("# ")


def _of_settings(union: Any) -> dict[str, str]:
    """Return the lines of the settings that a union offers, by their names."""
    kinds = typing.get_args(union)
    return {kind.__dataclass_fields__["name"].default: kind.purpose for kind in kinds}


def _of_table(table: Mapping[str, Any]) -> dict[str, str]:
    return {name: member.purpose for name, member in table.items()}


def _cached() -> dict[str, str]:
    """Return a line about each entry of the encoder cache, the most recently used first."""
    from raytrain.training.cache import EncoderCache

    cache = EncoderCache.open(CacheConfig())
    if cache is None:
        return {"off": "switched off by RAYTRAIN_CACHE=off"}
    lines = {
        row["key"]: f"{row['name']}: {row['operator']}, {row['objective']}, seed {row['seed']}, "
        f"{'/'.join(map(str, row['steps'])) or '0'} steps, {row['mib']:.1f} MiB, used {row['used']}"
        for row in cache.listing()
    }
    return lines or {"empty": str(cache.folder)}


KINDS = {
    "presets": Kind(
        "whole runs to begin with: raytrain train PRESET",
        lambda: {name: preset_purpose(name) for name in preset_names()},
    ),
    "sources": Kind(
        "layouts of data; told by themselves, or named by data.source", lambda: _of_table(SOURCES)
    ),
    "operators": Kind(
        "fixed transform before the encoder: pathways.NAME.operator", lambda: _of_settings(AnyOperatorConfig)
    ),
    "stems": Kind(
        "trained maps of recordings, behind operator events: pathways.NAME.stem",
        lambda: _of_settings(StemConfig),
    ),
    "cuts": Kind("what an encoder sees at a time: pathways.NAME.cut", lambda: _of_settings(CutConfig)),
    "encoders": Kind("the trained network: pathways.NAME.encoder", lambda: _of_settings(EncoderConfig)),
    "objectives": Kind(
        "what it is trained for: pathways.NAME.objective", lambda: _of_settings(ObjectiveConfig)
    ),
    "protocols": Kind("how the representation is measured: probe.protocols", lambda: _of_table(PROTOCOLS)),
    "modalities": Kind("kinds of samples; operator and cut decide", lambda: _of_table(MODALITIES)),
}
CACHE = Kind("pathways trained before; RAYTRAIN_CACHE names the folder", _cached)
"""asked for by its name alone: it grows"""


def kinds(name: str = "") -> dict[str, Kind]:
    """Return the kind of a name, or all but the cache.

    Raises:
        ConfigError: no such kind.
    """
    known = {**KINDS, "cache": CACHE}
    if name and name not in known:
        raise ConfigError(f"unknown kind {name!r}; known: {', '.join(known)}")
    return {name: known[name]} if name else KINDS
