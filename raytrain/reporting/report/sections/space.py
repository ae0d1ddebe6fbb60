"""The feature space: nearest neighbours, t-SNE and principal components, trained beside untrained."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from pipelines.forms.randomness import generator
from pipelines.modalities import modality_of
from raytrain.errors import DataError
from raytrain.evaluation.neighbours import Nearest, nearest
from raytrain.evaluation.probe import control_name
from raytrain.evaluation.represent import evaluation_source
from raytrain.evaluation.space import principal_components, tsne
from raytrain.reporting.figures.canvas import Drawing
from raytrain.reporting.figures.embedding import embedding
from raytrain.reporting.figures.neighbours import Neighbours, neighbours
from raytrain.reporting.figures.palette import class_styles
from raytrain.reporting.report.blocks import Block, Chooser, Figures, Missing, Section, Text
from raytrain.reporting.report.words import figure_name, representation
from raytrain.reporting.run_data import RunData
from raytrain.training.paths import FEATURES

NUM_NEIGHBOURS = 5
NUM_SHOWN = 6
MAX_QUERIES = 500
MAX_CANDIDATES = 20_000
MAX_PER_CLASS = 150

Int64s = NDArray[np.int64]


def nearest_neighbours(run: RunData) -> Section:
    """Return a chooser of sheets, one a representation, over the same queries."""
    missing = _missing(run)
    if missing:
        return Section(name="neighbours", title="Nearest neighbours", blocks=[Missing(missing)])
    queries, candidates = _spread(run.splits["test"], MAX_QUERIES), run.splits["probe_train"]
    limited = _spread(candidates, MAX_CANDIDATES)
    shown = _shown_queries(run, queries)
    found: dict[str, tuple[Nearest, Nearest]] = {}
    for names in _sets(run):
        files = (names, [control_name(name) for name in names])
        trained, control = (
            nearest(
                run.folder / FEATURES,
                one,
                queries,
                limited,
                num=min(NUM_NEIGHBOURS, len(limited)),
                mode=run.config.probe.features,
            )
            for one in files
        )
        found["+".join(names)] = (trained, control)
    places = np.unique(
        np.concatenate([queries[shown], *(one.rows[shown].ravel() for one, _ in found.values())])
    )
    images = _decode(run, places)
    choices: list[tuple[str, Sequence[Block]]] = []
    for names in _sets(run):
        trained, control = found["+".join(names)]
        name = representation(names, run.probed)
        shares = [_share_right(run, queries, one) for one in (trained, control)]
        sheet = _sheet(run, names, trained, queries, shown, places, images)
        text = (
            f"Of the {NUM_NEIGHBOURS} nearest training samples of {len(queries)} test samples, "
            f"{100 * shares[0]:.1f} % are of the same class; untrained {100 * shares[1]:.1f} %."
        )
        choices.append((name, [Text(text), Figures(drawings=[sheet], wide=True)]))
    notes = "The joined cosine is the mean of the pathways'."
    if len(limited) < len(candidates):
        notes += f" Looked for among {len(limited):,} of {len(candidates):,} training samples."
    blocks: list[Block] = [Chooser(legend="Representation", choices=choices), Text(notes)]
    return Section(name="neighbours", title="Nearest neighbours", blocks=blocks)


def chosen_classes(run: RunData, classes: Sequence[int]) -> Section:
    """Return t-SNE and principal components of the test samples of some classes, trained beside untrained."""
    title = "Some classes in feature space"
    missing = _missing(run)
    if missing:
        return Section(name="space", title=title, blocks=[Missing(missing)])
    labels, test = run.labels, run.splits["test"]
    parts = [_spread(test[labels[test] == number], MAX_PER_CLASS) for number in classes]
    rows = np.concatenate(parts) if parts else np.zeros(0, np.int64)
    if len(rows) < 5:
        text = f"Only {len(rows)} test samples of these classes: too few. Name others with --classes."
        return Section(name="space", title=title, blocks=[Missing(text)])
    choices: list[tuple[str, Sequence[Block]]] = []
    for names in _sets(run):
        name = representation(names, run.probed)
        try:
            drawings = _embeddings(run, names, rows, labels[rows], classes)
        except DataError as error:
            choices.append((name, [Missing(str(error))]))
        else:
            choices.append((name, [Figures(drawings=drawings)]))
    listed = ", ".join(run.classes[number] for number in classes)
    text = (
        f"{len(rows)} test samples of the classes {listed}; `raytrain report {run.folder} --classes A,B` "
        "chooses others. t-SNE shows who is near whom; its distances between groups mean nothing."
    )
    blocks: list[Block] = [Text(text), Chooser(legend="Representation", choices=choices)]
    return Section(name="space", title=title, blocks=blocks)


def _missing(run: RunData) -> str:
    """Say why the feature space cannot be shown, or nothing."""
    if run.manifest is None:
        return f"Not shown: {run.manifest_problem}."
    if run.manifest.label_matrix is not None:
        return "Not shown: a sample of this data set may have several labels."
    lacking = [
        name
        for pathway in run.pathways
        for name in (pathway, control_name(pathway))
        if not (run.folder / FEATURES / f"{name}.npy").exists()
    ]
    if lacking:
        return f"No features of {', '.join(lacking)}. `raytrain represent {run.folder}` makes them."
    if not len(run.splits["test"]) or not len(run.splits["probe_train"]):
        return "Not shown: the data has no labelled test or training samples."
    return ""


def _sets(run: RunData) -> list[list[str]]:
    return ([run.probed] if len(run.probed) > 1 else []) + [[name] for name in run.probed]


def _spread(rows: Int64s, limit: int) -> Int64s:
    """Return at most `limit` of the rows, evenly spaced."""
    if len(rows) <= limit:
        return rows
    return rows[np.linspace(0, len(rows) - 1, limit).round().astype(np.int64)]


def _shown_queries(run: RunData, queries: Int64s) -> Int64s:
    """Return places in `queries` of different classes where there are enough, the same for every report."""
    order = generator(run.config.seed, "report neighbours").permutation(len(queries))
    labels = run.labels[queries]
    firsts: dict[int, int] = {}
    for place in order:
        firsts.setdefault(int(labels[place]), int(place))
    chosen = list(firsts.values())[:NUM_SHOWN]
    chosen += [int(place) for place in order if int(place) not in chosen][: NUM_SHOWN - len(chosen)]
    return np.array(chosen, np.int64)


def _share_right(run: RunData, queries: Int64s, found: Nearest) -> float:
    return float((run.labels[found.rows] == run.labels[queries][:, None]).mean())


def _decode(run: RunData, places: Int64s) -> NDArray[np.uint8]:
    """Return images u8[n, 3, H, W] of places in the feature files; of a clip the frame in the middle."""
    assert run.manifest is not None
    rows = run.splits["rows"][places]
    chunk = evaluation_source(run.config, run.manifest, rows).decode_rows(rows)
    kind, first = modality_of(run.config), next(iter(run.config.pathways.values()))
    return np.concatenate([kind.pictures(piece) for piece in kind.pieces(chunk, first, size=len(chunk))])


def _sheet(
    run: RunData,
    names: Sequence[str],
    found: Nearest,
    queries: Int64s,
    shown: Int64s,
    places: Int64s,
    images: NDArray[np.uint8],
) -> Drawing:
    title = representation(names, run.probed)
    rows, right = [], 0
    for place in shown:
        truth = run.labels[queries[place]]
        labels = run.labels[found.rows[place]]
        right += int((labels == truth).sum())
        rows.append(
            Neighbours(
                image=images[np.searchsorted(places, queries[place])],
                label=run.classes[truth],
                images=images[np.searchsorted(places, found.rows[place])],
                labels=[run.classes[label] for label in labels],
                cosines=found.cosines[place].tolist(),
                right=(labels == truth).tolist(),
            )
        )
    return neighbours(
        rows,
        name=figure_name("neighbours", names),
        title=title,
        alt=f"{len(rows)} test images and the {NUM_NEIGHBOURS} training images nearest to each by {title}; "
        f"{right} of {sum(len(row.images) for row in rows)} are of the right class.",
    )


def _embeddings(
    run: RunData, names: Sequence[str], rows: Int64s, labels: Int64s, classes: Sequence[int]
) -> list[Drawing]:
    title = representation(names, run.probed)
    components = {
        panel: principal_components(run.folder / FEATURES, files, rows, mode=run.config.probe.features)
        for panel, files in (("trained", names), ("control", [control_name(name) for name in names]))
    }
    panels = {
        "tsne": {panel: tsne(points, seed=run.config.seed) for panel, points in components.items()},
        "pca": {panel: points[:, :2] for panel, points in components.items()},
    }
    words = {"tsne": "t-SNE", "pca": "first two principal components"}
    listed = {number: run.classes[number] for number in classes}
    return [
        embedding(
            points,
            labels,
            class_styles(classes),
            listed,
            name=figure_name(kind, names),
            title=f"{title}: {words[kind]}",
            alt=f"{words[kind]} of {len(rows)} test samples of classes {', '.join(listed.values())} by "
            f"{title}, trained and untrained.",
        )
        for kind, points in panels.items()
    ]
