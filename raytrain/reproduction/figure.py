"""Figure 2: t-SNE of a few classes of the test split, without and with decomposition."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pipelines.storage.manifest import Manifest
from raytrain.errors import ConfigError
from raytrain.evaluation.space import principal_components, tsne
from raytrain.reporting.figures.embedding import embedding
from raytrain.reporting.figures.palette import class_styles
from raytrain.reproduction.grid import OURS
from raytrain.reproduction.paper import FIGURE2_CLASSES
from raytrain.training.evaluate import probe_rows

NUM_CLASSES = 4
PANELS = {"base": ("base",), "ours (lbp+rg+dtcwt)": OURS}


def draw_figure2(features: Path, manifest: Manifest, *, mode: Any, seed: int, out: Path) -> list[Path]:
    """Write figure2.png and .svg of one run's features; return their paths.

    Four panels: base and ours, trained and with initial weights. The paper's classes where the data has 43,
    else the four most frequent of the test split.
    """
    splits = probe_rows(manifest)
    labels = manifest.labels[splits["rows"]]
    test = splits["test"]
    classes = choose_classes(labels[test], num_classes=len(manifest.classes))
    rows = test[np.isin(labels[test], classes)]
    if len(rows) < 5:
        raise ConfigError(f"figure2: {len(rows)} test images of classes {list(classes)}; it needs 5 or more")
    panels = {
        f"{title}{', initial weights' if ending else ''}": tsne(
            principal_components(features, [name + ending for name in names], rows, mode=mode), seed=seed
        )
        for ending in ("", ".control")
        for title, names in PANELS.items()
    }
    drawing = embedding(
        panels,
        labels[rows],
        class_styles(list(classes)),
        {number: manifest.classes[number] for number in classes},
        name="figure2",
        title="t-SNE of the test split, under clapp",
        alt="Points of four classes on two axes: base and ours, trained and with initial weights",
    )
    paths = [out / "figure2.svg", out / "figure2.png"]
    paths[0].write_text(drawing.svg, encoding="utf-8")
    paths[1].write_bytes(drawing.png)
    (out / "figure2.json").write_text(
        json.dumps({"classes": [manifest.classes[number] for number in classes], "samples": len(rows)}),
        encoding="utf-8",
    )
    return paths


def choose_classes(labels: Any, *, num_classes: int) -> Sequence[int]:
    """Return the classes that are drawn."""
    if num_classes == 43:
        return FIGURE2_CLASSES
    numbers, counts = np.unique(labels, return_counts=True)
    order = np.lexsort((numbers, -counts))[:NUM_CLASSES]
    return sorted(int(number) for number in numbers[order])
