"""What is trained for a table: pathways, objectives, seeds; one run an objective and seed, on one stream."""

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from raytrain.config import (
    DtcwtConfig,
    IdentityConfig,
    LbpConfig,
    ObjectiveConfig,
    OperatorConfig,
    PatchesConfig,
    PathwayConfig,
    RgConfig,
    RunConfig,
)
from raytrain.config.loader import settings_of
from raytrain.errors import ConfigError, did_you_mean

OPERATORS: dict[str, OperatorConfig] = {
    "base": IdentityConfig(),
    "base_normalized": IdentityConfig(),
    "lbp": LbpConfig(),
    "rg": RgConfig(),
    "dtcwt": DtcwtConfig(),
}
"""pathway name to operator; names also key the initial weights, so a pathway has one control in all runs"""
OURS = ("lbp", "rg", "dtcwt")
MOVNET = "movnet"
OURS_MOVNET = (*OURS, MOVNET)


@dataclass(frozen=True, kw_only=True)
class Study:
    """A table or figure, and what it needs."""

    title: str
    pathways: tuple[str, ...]
    objectives: tuple[str, ...]
    one_seed: bool = False
    only: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """the pathways of objectives that are not asked of all"""
    template: str = "table-small"
    """preset that gives the settings"""

    def pathways_of(self, objective: str) -> tuple[str, ...]:
        """Return the pathways that are trained under an objective; movnet has one of its own."""
        return self.only.get(objective, self.pathways)


STUDIES = {
    "table1": Study(
        title="Table 1: every operator under every objective",
        pathways=tuple(OPERATORS),
        objectives=("clapp", "hinge_cpc", "supervised"),
    ),
    "table2": Study(
        title="Table 2: is it the operators, or only more encoders",
        pathways=("base", *OURS),
        objectives=("clapp",),
    ),
    "figure2": Study(
        title="Figure 2: t-SNE of four classes, without and with decomposition",
        pathways=("base", *OURS),
        objectives=("clapp",),
        one_seed=True,
    ),
    "table4": Study(
        title="Table 4: video, with and without the motion pathway",
        pathways=("base", *OURS, MOVNET),
        objectives=("clapp", "hinge_cpc", "supervised"),
        only={"supervised": ("base",)},
        template="clips-small",
    ),
}


@dataclass(frozen=True, kw_only=True)
class GridRun:
    """One run of the grid."""

    objective: str
    seed: int
    config: RunConfig


def find_study(name: str) -> Study:
    """Return a study. Raises: ConfigError for an unknown one."""
    if name not in STUDIES:
        raise ConfigError(f"unknown table or figure {name!r}{did_you_mean(name, STUDIES)}")
    return STUDIES[name]


def grid_runs(study: Study, template: RunConfig, *, num_seeds: int, out: Path) -> Iterator[GridRun]:
    """Yield the runs of a study; encoder, cut, optimiser and data are those of the template's first pathway.

    Raises:
        ConfigError: fewer than one seed.
    """
    if num_seeds < 1:
        raise ConfigError(f"--seeds is {num_seeds}; it must be at least 1")
    first = next(iter(template.pathways.values()))
    if (first.cut.modality == "clip") != (MOVNET in study.pathways):
        kind = "clips" if MOVNET in study.pathways else "images"
        raise ConfigError(f"{study.title}: takes {kind}; name a --preset of {kind}, e.g. {study.template}")
    for seed in range(template.seed, template.seed + (1 if study.one_seed else num_seeds)):
        for objective in study.objectives:
            names = study.pathways_of(objective)
            pathways = {
                name: _movnet(template) if name == MOVNET else _pathway(first, name, objective)
                for name in names
            }
            config = dataclasses.replace(
                template,
                seed=seed,
                out=str(out / objective / f"seed-{seed}"),
                pathways=pathways,
                report=False,
            )
            yield GridRun(objective=objective, seed=seed, config=config)


def _movnet(template: RunConfig) -> PathwayConfig:
    """Return the template's motion pathway."""
    for pathway in template.pathways.values():
        if pathway.cut.name == "motion":
            return pathway
    raise ConfigError("the table needs a pathway with cut motion; take e.g. --preset clips-small")


def _pathway(template: PathwayConfig, name: str, objective: str) -> PathwayConfig:
    """Return a pathway of the grid; what its objective shares with the template's is set like there."""
    default = settings_of(ObjectiveConfig, objective, where="reproduce", path="objective")
    shared = {
        field.name: getattr(template.objective, field.name)
        for field in dataclasses.fields(default)
        if field.name != "name" and hasattr(template.objective, field.name)
    }
    cut = template.cut
    if isinstance(cut, PatchesConfig):
        cut = dataclasses.replace(cut, normalize="patch" if name == "base_normalized" else "none")
    return dataclasses.replace(
        template, operator=OPERATORS[name], cut=cut, objective=dataclasses.replace(default, **shared)
    )
