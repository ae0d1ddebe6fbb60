"""Where the code of each kind of result begins, and what of it decides nothing."""

import functools
from collections.abc import Mapping

from raytrain.config import PathwayConfig
from raytrain.identity.code import Choice, Closure, Registry, closure

CHUNK = ("pipelines.stream.source",)
"""the making of a chunk"""
STANDARDISER = ("raytrain.training.factory", *CHUNK)
"""the estimate, and the samples that it is made from"""
PATHWAY = ("raytrain.training.loop", "raytrain.training.plan", "pipelines.stream.batch", *STANDARDISER)
"""the step and what it reads: which samples a batch holds, how they are decoded and joined"""
REPRESENT = ("raytrain.evaluation.represent",)
"""features of given weights, their pooling, the pass that calibrates a control, the floors"""
FIT = ("raytrain.reproduction.fit",)

DECIDES_NOTHING = {
    "raytrain.api": "the verbs; named by the package's lazy import",
    "raytrain.exported": "the same",
    "raytrain.identity": "it names results and makes none; a change of what is named shows in the key",
    "raytrain.errors": "texts of errors",
    "raytrain.config.loader": "settings enter a key as values, however they were read",
    "raytrain.config.cache": "where results are kept",
    "raytrain.config.checks": "it refuses settings, and changes none",
    "raytrain.config.parts": "the same",
    "raytrain.health": "it watches tensors, and changes none",
    "raytrain.training.allotment": "where ranks run; the device that they run on is an ingredient itself",
    "raytrain.training.memory": "refuses what does not fit; what it lets through is the same",
    "raytrain.training.timekeeping": "it measures time",
    "raytrain.training.paths": "where files lie",
    "raytrain.reproduction.kept_fits": "where fits are kept",
}
"""modules that entries import, and why they are not followed"""
OF_OTHERS: Mapping[str, tuple[str, ...]] = {
    "image": ("pipelines.generated.clips", "pipelines.generated.moving_shapes"),
    "clip": ("pipelines.generated.shapes", "pipelines.generated.moving_shapes"),
    "events": ("pipelines.generated.clips",),
}
"""modality -> renderers of samples of another one"""
NO_ENCODER = ("raytrain.pathway", "raytrain.checkpoint")
"""through which what needs no encoder never comes"""

REGISTRIES = {
    "pipelines.modalities": Registry(part="modality", tables=("MODALITIES",)),
    "pipelines.views.operators": Registry(part="operator", tables=("OPERATORS",)),
    "pipelines.views.operators.events": Registry(part="operator", tables=("EVENT_OPERATORS",)),
    "raytrain.encoders": Registry(part="encoder", tables=("ENCODERS",)),
    "raytrain.objectives": Registry(part="objective", tables=("OBJECTIVES",)),
    "raytrain.stems": Registry(part="stem", tables=("STEMS",)),
    "raytrain.config.operators": Registry(part="operator"),
    "raytrain.config.encoders": Registry(part="encoder"),
    "raytrain.config.objectives": Registry(part="objective"),
    "raytrain.config.stems": Registry(part="stem"),
    "raytrain.config.cuts": Registry(part="cut"),
}
PARTS = ("operator", "encoder", "objective", "stem", "cut")


def chosen_by(*pathways: PathwayConfig, parts: tuple[str, ...] = PARTS) -> dict[str, frozenset[str]]:
    """Return which members of the registries some pathways are made with."""
    return {part: frozenset(getattr(pathway, part).name for pathway in pathways) for part in parts}


def code_of(
    entries: tuple[str, ...], *, modality: str, chosen: Choice, left_out: tuple[str, ...] = ()
) -> Closure:
    """Return the modules that decide a result of some entries; computed once a process.

    Raises:
        LookupError: an entry is no module.
    """
    chosen = {**chosen, "modality": (modality,)}
    frozen = tuple(sorted((part, frozenset(names)) for part, names in chosen.items()))
    return _code_of(entries, modality, frozen, left_out)


@functools.cache
def _code_of(
    entries: tuple[str, ...],
    modality: str,
    chosen: tuple[tuple[str, frozenset[str]], ...],
    left_out: tuple[str, ...],
) -> Closure:
    return closure(
        entries,
        registries=REGISTRIES,
        chosen=dict(chosen),
        left_out=(*DECIDES_NOTHING, *OF_OTHERS.get(modality, ()), *left_out),
    )
