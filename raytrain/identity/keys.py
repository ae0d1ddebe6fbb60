"""The ingredients of every kind of result: which settings, entries of code and files each is made of."""

import dataclasses
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from raytrain.config import PathwayConfig, RunConfig
from raytrain.identity import entries
from raytrain.identity.code import Choice
from raytrain.identity.files import contents
from raytrain.identity.ingredients import Ingredients
from raytrain.identity.libraries import versions
from raytrain.identity.settings import (
    computing_settings,
    data_settings,
    flatten,
    pathway_settings,
    schedule_settings,
    training_settings,
)

PIXELS = "pixels"
"""the floor that no operator makes"""


@dataclass(frozen=True, kw_only=True)
class Identity:
    """What identifies the results of one run."""

    config: RunConfig
    data: str
    """fingerprint of the manifest"""
    device: str
    """the kind that the pathways are trained on"""

    def pathway(self, name: str) -> Ingredients:
        """Return what a trained pathway is made of.

        The number of epochs is none of it while the learning rate is constant: a longer training goes on.
        """
        pathway = self.config.pathways[name]
        settings = data_settings(self.config) | training_settings(self.config, name)
        return self._ingredients(
            "pathway",
            entries.PATHWAY,
            settings | schedule_settings(self.config, name) | pathway_settings(pathway),
            name=name,
            chosen=entries.chosen_by(pathway),
            files=self._files(pathway),
        )

    def control(self, name: str) -> Ingredients:
        """Return what a pathway's initial weights and their statistics are made of: no objective is in it."""
        pathway = self.config.pathways[name]
        parts = ("augmentation", "operator", "stem", "cut", "encoder")
        settings = data_settings(self.config) | training_settings(self.config, name)
        return self._ingredients(
            "control",
            (*entries.STANDARDISER, *entries.REPRESENT),
            settings | pathway_settings(pathway, parts),
            name=name,
            chosen=entries.chosen_by(pathway, parts=("operator", "encoder", "stem", "cut")),
            files=self._files(pathway),
        )

    def floor(self, operator: str) -> Ingredients:
        """Return what the features of an operator's output, or of `PIXELS`, are made of.

        The first pathway with the operator stands for it, as the first of all does for the pixels.
        """
        pathways = self.config.pathways.values()
        first = next(p for p in pathways if operator in (PIXELS, p.operator.name))
        parts: tuple[str, ...] = () if operator == PIXELS else ("augmentation", "operator")
        parts += ("cut",) if first.modality == "clip" else ()  # which says what frames there are
        maker = "count" if operator == PIXELS else operator
        chosen: Choice = {"operator": (maker,), "cut": (first.cut.name,)}
        return self._ingredients(
            "floor",
            entries.REPRESENT,
            data_settings(self.config) | pathway_settings(first, parts),
            name=operator,
            chosen=chosen,
            left_out=entries.NO_ENCODER,
        )

    def features(self, rows: NDArray[np.int64]) -> Ingredients:
        """Return which samples are represented, and how they come to the encoder: the rest is its maker's."""
        settings = data_settings(self.config) | computing_settings(self.config)
        return self._ingredients(
            "features",
            entries.REPRESENT,
            settings | {"probe.batch_size": self.config.probe.batch_size, "rows": _digest_of(rows)},
            chosen={"operator": ("count",) if self.config.modality == "events" else ()},
        )

    def standardisers(self) -> Ingredients:
        """Return what the operators' means and deviations are estimated from."""
        pathways = self.config.pathways
        parts = ("augmentation", "operator", "cut")
        own = {name: pathway_settings(pathway, parts) for name, pathway in pathways.items()}
        return self._ingredients(
            "standardisers",
            entries.STANDARDISER,
            data_settings(self.config) | {"seed": self.config.seed} | flatten({"pathways": own}),
            chosen=entries.chosen_by(*pathways.values(), parts=("operator", "cut")),
            left_out=entries.NO_ENCODER,
            device="cpu",
        )

    def chunks(self, stream: str, plan: Mapping[str, Any]) -> Ingredients:
        """Return what the decoded chunks of a stream are made of; `plan`: how its epochs are cut."""
        return self._ingredients(
            "chunks",
            entries.CHUNK,
            data_settings(self.config) | {"seed": self.config.seed} | flatten({"plan": dict(plan)}),
            name=stream,
            chosen={},
            device="cpu",
        )

    def _files(self, pathway: PathwayConfig) -> dict[str, str]:
        return contents(flatten(dataclasses.asdict(pathway)))

    def _ingredients(
        self,
        kind: str,
        begins: tuple[str, ...],
        settings: dict[str, Any],
        *,
        chosen: Choice,
        name: str = "",
        files: Mapping[str, str] | None = None,
        left_out: tuple[str, ...] = (),
        device: str = "",
    ) -> Ingredients:
        code = entries.code_of(begins, modality=self.config.modality, chosen=chosen, left_out=left_out)
        return Ingredients(
            kind=kind,
            name=name,
            settings=settings,
            data=self.data,
            code=code.digest,
            libraries=versions(code.libraries),
            files=files or {},
            device=device or self.device,
        )


def fit_ingredients(
    settings: Mapping[str, Any], *, arrays: Mapping[str, NDArray[np.int64]], files: Mapping[str, str]
) -> Ingredients:
    """Return what a fit of a table is made of.

    Args:
        settings: which features are fitted, and how.
        arrays: labels, groups and rows by name.
        files: name -> sha256 of the features.
    """
    code = entries.code_of(entries.FIT, modality="", chosen={})
    return Ingredients(
        kind="fit",
        settings={**settings, **{name: _digest_of(values) for name, values in arrays.items()}},
        data="",
        code=code.digest,
        libraries=versions(code.libraries),
        files=files,
        device="cpu",
    )


def _digest_of(values: NDArray[np.int64]) -> str:
    return hashlib.sha256(np.asarray(values, "<i8").tobytes()).hexdigest()
