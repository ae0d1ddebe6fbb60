"""Carry out a table: train its grid or take it from the cache, fit all representations, write the result."""

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pipelines.sources import open_manifest
from pipelines.storage.manifest import Manifest
from raytrain.config import RunConfig
from raytrain.errors import ConfigError
from raytrain.evaluation.represent import VALID
from raytrain.reproduction.claims import ALL_SEEDS, CONTROL, Answers, Comparison, claims
from raytrain.reproduction.figure import draw_figure2
from raytrain.reproduction.fit import FitRequest, fit_all
from raytrain.reproduction.grid import OURS, OURS_MOVNET, GridRun, Study, find_study, grid_runs
from raytrain.reproduction.kept_fits import KeptFits
from raytrain.reproduction.paper import paper_cells
from raytrain.reproduction.table import differences_from_paper, table_text
from raytrain.training.evaluate import probe_rows
from raytrain.training.paths import FEATURES
from raytrain.training.run_folder import write_atomic

PROTOCOL = (
    "ridge classifier with intercept on frozen features, strength by leave-one-group-out accuracy on the "
    "training groups, tested once; control: the same with the initial weights; mean over seeds; "
    "95 % intervals from resamples of the test groups, the same draw for every figure"
)
FLOOR = "floor.pixels"


def reproduce(
    name: str,
    template: RunConfig,
    *,
    num_seeds: int,
    out: Path,
    train: Callable[[RunConfig], dict[str, Any]],
    say: Callable[[str], None],
    processes: int = 2,
) -> dict[str, Any]:
    """Return the result of a table, also written to `out/<name>.json`.

    Args:
        template: its first pathway gives encoder, cut and optimiser; its data and training hold for all.
        train: trains one run as far as its features, and returns its summary.
        processes: fits at a time.

    Raises:
        RaytrainError: what `train` raises; ConfigError for data that the table cannot be made of.
    """
    study = find_study(name)
    manifest = open_manifest(template.data)
    runs = list(grid_runs(study, template, num_seeds=num_seeds, out=out))
    trained = cached = 0
    for number, run in enumerate(runs):
        say(f"{name}: run {number + 1} of {len(runs)}: {run.objective}, seed {run.seed}: {run.config.out}")
        summary = train(run.config)
        from_cache = [p["cached_steps"] >= p["steps"] for p in summary["pathways"]]
        cached, trained = cached + sum(from_cache), trained + len(from_cache) - sum(from_cache)
    if study.one_seed:
        say(f"{name}: drawing")
        files = draw_figure2(
            Path(_features(runs[0])), manifest, mode=template.probe.features, seed=template.seed, out=out
        )
        return {"name": name, "title": study.title, "rows": [], "trainings": trained, "cached": cached} | {
            "files": [str(file) for file in files]
        }
    say(f"{name}: fitting")
    answers, fits = _fit_all(study, runs, manifest, template, processes)
    comparison = Comparison(answers, num_resamples=template.probe.num_bootstrap, seed=template.seed)
    files = [out / f"{name}.json", out / f"{name}.txt"]
    result = {
        "name": name,
        "title": study.title,
        "rows": list(_rows(study, comparison)),
        "claims": claims(comparison),
        "floor": _floor(comparison),
        "seeds": sorted({run.seed for run in runs}),
        "data": _describe(manifest, template),
        "protocol": f"{template.probe.features} features, {PROTOCOL}",
        "differs": differences_from_paper(template, num_images=len(manifest.indices("pretrain"))),
        "trainings": trained,
        "cached": cached,
        "fits": fits,
        "paper": paper_cells(name, num_classes=len(manifest.classes)),
        "files": [str(file) for file in files],
    }
    write_atomic(files[0], json.dumps(result, indent=1))
    write_atomic(files[1], table_text(result) + "\n")
    return result


def _rows(study: Study, comparison: Comparison) -> Iterator[dict[str, Any]]:
    for objective in study.objectives:
        for representation in (*study.pathways, "ours", "ours_movnet", "multi_encoder"):
            if (objective, representation) in comparison:
                yield comparison.row(objective, representation)


def _describe(manifest: Manifest, template: RunConfig) -> dict[str, Any]:
    test = manifest.indices("test")
    return {
        "root": template.data.root or template.data.source,
        "manifest_hash": manifest.hash,
        "classes": len(manifest.classes),
        "pretrain": len(manifest.indices("pretrain")),
        "probe_train": len(manifest.indices("probe_train")),
        "test": len(test),
        "test_groups": len(np.unique(manifest.group_ids[test])),
    }


def _fit_all(
    study: Study, runs: Sequence[GridRun], manifest: Manifest, template: RunConfig, processes: int
) -> tuple[Answers, dict[str, int]]:
    """Return the answers of every representation of every run, of the controls and of the pixels.

    And how many fits were made, and how many were known.
    """
    requests = list(_requests(study, runs, manifest, template))
    truth, groups = requests[0].labels[requests[0].test], requests[0].groups[requests[0].test]
    answers, fits = Answers(groups=groups), {"made": 0, "cached": 0}
    found = fit_all(requests, KeptFits.open(template.cache), processes=processes)
    for request, (predicted, known) in zip(requests, found, strict=True):
        fits["cached" if known else "made"] += len(predicted)
        for representation, predictions in predicted.items():
            answers.add((request.objective, representation), request.seed, predictions == truth)
    return answers, fits


def _floor(comparison: Comparison) -> dict[str, Any]:
    value = comparison.sum([(CONTROL, "pixels")])
    return {"accuracy": value.estimate, "interval": value.bounds}


def _requests(
    study: Study, runs: Sequence[GridRun], manifest: Manifest, template: RunConfig
) -> Iterator[FitRequest]:
    splits = probe_rows(manifest)
    valid = np.ones(len(splits["rows"]), np.bool_)
    for run in runs:
        valid &= np.load(Path(run.config.out) / FEATURES / VALID)
    labels = manifest.labels[splits["rows"]]
    if labels.size == 0 or len(manifest.classes) < 2:
        raise ConfigError("the table needs labels of two classes or more in the probe_train and test splits")
    shared: dict[str, Any] = {
        "mode": template.probe.features,
        "labels": labels,
        "groups": manifest.group_ids[splits["rows"]],
        "train": splits["probe_train"][valid[splits["probe_train"]]],
        "test": splits["test"][valid[splits["test"]]],
    }
    singles: dict[str, tuple[str, ...]] = {name: (name,) for name in study.pathways}
    joined = {"ours": OURS, "ours_movnet": OURS_MOVNET}
    joins = singles | {name: parts for name, parts in joined.items() if set(parts) <= set(study.pathways)}
    first_of: dict[int, GridRun] = {}
    for run in runs:
        first_of.setdefault(run.seed, run)
        yield FitRequest(
            objective=run.objective,
            folders=(_features(run),),
            seed=run.seed,
            names=tuple(run.config.pathways),
            joins={key: names for key, names in joins.items() if set(names) <= set(run.config.pathways)},
            **shared,
        )
    for seed, run in first_of.items():
        yield FitRequest(
            objective=CONTROL,
            folders=(_features(run),),
            seed=seed,
            names=tuple(f"{name}.control" for name in study.pathways),
            joins={key: tuple(f"{name}.control" for name in names) for key, names in joins.items()},
            **shared,
        )
    yield from _multi_encoder(study, runs, first_of, shared)
    any_run = _features(runs[0])
    pixels = {**shared, "mode": "flat"}
    yield FitRequest(
        objective=CONTROL,
        folders=(any_run,),
        seed=ALL_SEEDS,
        names=(FLOOR,),
        joins={"pixels": (FLOOR,)},
        **pixels,
    )


def _multi_encoder(
    study: Study, runs: Sequence[GridRun], first_of: dict[int, GridRun], shared: dict[str, Any]
) -> Iterator[FitRequest]:
    """Yield the joins of the base encoders of all seeds: they are trained already."""
    if len(first_of) < 2 or "base" not in study.pathways:
        return
    for objective in study.objectives:
        folders = tuple(_features(run) for run in runs if run.objective == objective)
        yield FitRequest(
            objective=objective,
            folders=folders,
            seed=ALL_SEEDS,
            names=("base",),
            joins={"multi_encoder": ("base",)},
            **shared,
        )
    yield FitRequest(
        objective=CONTROL,
        folders=tuple(_features(run) for run in first_of.values()),
        seed=ALL_SEEDS,
        names=("base.control",),
        joins={"multi_encoder": ("base.control",)},
        **shared,
    )


def _features(run: GridRun) -> str:
    return str(Path(run.config.out) / FEATURES)


def plan_text(name: str, template: RunConfig, *, num_seeds: int, out: Path) -> str:
    """Return what would be trained, for a dry run."""
    study = find_study(name)
    runs = list(grid_runs(study, template, num_seeds=num_seeds, out=out))
    lines = [study.title]
    lines += [f"  {run.config.out}: {', '.join(run.config.pathways)} under {run.objective}" for run in runs]
    total = sum(len(run.config.pathways) for run in runs)
    return "\n".join([*lines, f"{total} trainings in {len(runs)} runs; trained ones come from the cache"])
