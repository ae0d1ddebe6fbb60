"""From a run folder to its report.html and figures/."""

import datetime
import sys
from collections.abc import Callable, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

from pipelines.modalities import modality_of
from pipelines.storage.places import Storage
from raytrain.errors import RaytrainError
from raytrain.reporting.figures.canvas import Drawing
from raytrain.reporting.report.blocks import Missing, Page, Section, drawings_of
from raytrain.reporting.report.render import render
from raytrain.reporting.report.sections.classes import classes
from raytrain.reporting.report.sections.layers import layers
from raytrain.reporting.report.sections.motion import motion
from raytrain.reporting.report.sections.operators import operators
from raytrain.reporting.report.sections.origin import origin
from raytrain.reporting.report.sections.representations import TITLE as SIDE_BY_SIDE
from raytrain.reporting.report.sections.representations import representations
from raytrain.reporting.report.sections.results import gain_figure, results
from raytrain.reporting.report.sections.seeds import seeds, seeds_figure, short
from raytrain.reporting.report.sections.shortcut import shortcut
from raytrain.reporting.report.sections.space import chosen_classes, nearest_neighbours
from raytrain.reporting.report.sections.subsets import subsets
from raytrain.reporting.report.sections.training import health, losses, waiting
from raytrain.reporting.report.words import headline, subtitle, warnings
from raytrain.reporting.run_data import RunData, choose_classes, load_run
from raytrain.reporting.runs import Runs, has_seeds, load_runs
from raytrain.reporting.seeds import Rows, cell, seeds_table
from raytrain.training.paths import FIGURES, REPORT
from raytrain.training.run_folder import write_atomic


def write_report(folder: Path, *, classes: str = "", data_root: str = "") -> Path:
    """Write report.html and figures/ of a run, or of a folder of seeds; return the page's path.

    Args:
        classes: names or numbers with commas between, for the pictures of the feature space; empty: the
            four with most test samples.
        data_root: where the run's data lie now, if they moved.

    Raises:
        ConfigError: not a run folder, nothing trained yet, or unknown classes.
        DataError: a broken summary.
        StorageError: the report cannot be written.
    """
    folder = Path(folder).absolute()
    if has_seeds(folder):
        page = _seeds_page(folder)
    else:
        page = _run_page(load_run(folder, data_root=data_root), classes)
    drawings = [*page.hero, *(drawing for one in page.sections for drawing in drawings_of(one.blocks))]
    storage = Storage(str(folder))
    for drawing in drawings:
        storage.write_atomic(f"{FIGURES}/{drawing.name}.svg", drawing.svg.encode())
        storage.write_atomic(f"{FIGURES}/{drawing.name}.png", drawing.png)
    write_atomic(folder / REPORT, render(page))
    return folder / REPORT


def _run_page(run: RunData, wanted: str) -> Page:
    chosen, own = choose_classes(run, wanted), modality_of(run.config).sections
    makers: list[tuple[str, str, Callable[[RunData], Section]]] = [
        ("results", "Results", results),
        *([("representations", SIDE_BY_SIDE, _side_by_side)] if "representations" in own else []),
        ("layers", "Layer by layer", layers),
        ("subsets", "Combinations of pathways", subsets),
        ("classes", "Class by class", classes),
        ("neighbours", "Nearest neighbours", nearest_neighbours),
        ("space", "Some classes in feature space", lambda one: chosen_classes(one, chosen)),
        *([("motion", "Motion", motion)] if run.summary.get("motion") else []),
        *([("shortcut", "Shortcut and gain", shortcut)] if "shortcut" in own else []),
        ("losses", "Losses", losses),
        ("health", "Health of the layers", health),
        ("waits", "Where the time went", waiting),
        ("operators", "What the encoders see", operators),
        ("origin", "What was run", origin),
    ]
    gain = _drawn(gain_figure, run)
    return Page(
        title=run.title,
        subtitle=subtitle(run),
        lead=headline(run),
        warnings=warnings(run),
        hero=[gain] if gain else [],
        sections=[_made(name, title, make, run) for name, title, make in makers],
        stamp=_stamp(),
    )


def _side_by_side(run: RunData) -> Section:
    return representations(Runs.of(run))


def _made(name: str, title: str, make: Callable[[RunData], Section], run: RunData) -> Section:
    """Return a section; damaged or missing files leave a line in its place."""
    try:
        return make(run)
    except RaytrainError as error:
        return Section(name=name, title=title, blocks=[Missing(f"Not shown: {error}")])
    except Exception as error:  # the report never depends on one figure, whatever a drawing library raises
        return Section(name=name, title=title, blocks=[Missing(f"Not shown, which is a bug: {_said(error)}")])


def _drawn(draw: Callable[..., Drawing | None], *of: Any) -> Drawing | None:
    """Return a figure of the page's head; one that fails is left out: the sections say it too."""
    try:
        return draw(*of)
    except Exception as error:
        sys.stderr.write(f"WARNING: the figure at the head of the report is not shown: {_said(error)}\n")
        return None


def _said(error: Exception) -> str:
    return f"{type(error).__name__}: {str(error).partition(chr(10))[0]}"


def _seeds_page(folder: Path) -> Page:
    runs = load_runs(folder)
    table, first = seeds_table(runs), runs.first
    figure = _drawn(seeds_figure, table, first.styles)
    sections = [seeds(table, [run.folder for run in runs.runs])]
    if "representations" in modality_of(first.config).sections:
        sections.append(representations(runs))
    return Page(
        title=f"{first.config.preset}, {len(runs.runs)} seeds",
        subtitle=subtitle(first).removesuffix(".").split(";")[0] + ", each seed.",
        lead=_seeds_words(table),
        warnings=_seeds_warnings(runs.runs),
        hero=[figure] if figure else [],
        sections=[*sections, origin(first)],
        stamp=_stamp(),
    )


def _seeds_words(table: dict[str, Rows]) -> list[str]:
    rows = table["representations"]
    sentences = []
    for word, sign in (("gain", 1), ("lose", -1)):
        found = [name for name, row in rows.items() if all(sign * gain > 0 for gain in row["gain"]["seeds"])]
        if found:
            each = ", ".join(f"{short(name)} {cell('gain', rows[name]['gain'])}" for name in found)
            sentences.append(f"In every seed these {word} (points, mean of the seeds): {each}.")
    return sentences or ["No representation gains or loses in every seed: chance may explain each gain."]


def _seeds_warnings(runs: Sequence[RunData]) -> list[str]:
    found = []
    if len(runs) < 3:
        found.append(f"{len(runs)} seeds say little about the spread between seeds.")
    by_seed = {run.config.seed: warnings(run) for run in runs}
    for text in dict.fromkeys(text for texts in by_seed.values() for text in texts):
        seeds_of = [str(seed) for seed, texts in by_seed.items() if text in texts]
        who = "Every seed" if len(seeds_of) == len(runs) else f"Seed {', '.join(seeds_of)}"
        found.append(f"{who}: {text}")
    return found


def _stamp() -> str:
    now = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC")
    return f"Written by raytrain {metadata.version('raytrain')} on {now}. The figures are in figures/ too."
