"""Classes: the confusion matrix and the accuracy of each class, trained against untrained."""

import numpy as np
from numpy.typing import NDArray

from raytrain.reporting.figures.canvas import Drawing
from raytrain.reporting.figures.confusion import confusion, worst_pairs
from raytrain.reporting.figures.palette import INK
from raytrain.reporting.figures.per_class import per_class
from raytrain.reporting.predictions import Predictions
from raytrain.reporting.report.blocks import Beside, Block, Chooser, Figures, Missing, Section, Table, Text
from raytrain.reporting.report.words import figure_name, representation
from raytrain.reporting.run_data import RunData

Floats = NDArray[np.float64]
MAX_CLASSES = 150
MAX_PAIRS = 8


def classes(run: RunData) -> Section:
    """Return a chooser of representations, the joined one first."""
    title = "Class by class"
    found = run.predictions
    keys = [] if found is None else _keys(run, found)
    if found is None or not keys:
        text = f"The predictions of this run were not kept. `raytrain probe {run.folder}` keeps them."
        return Section(name="classes", title=title, blocks=[Missing(text)])
    if found.several_labels:
        text = "A sample of this data set may have several labels, so there is no confusion matrix."
        return Section(name="classes", title=title, blocks=[Missing(text), *_several(run, found, keys)])
    choices = [(name, _of(run, found, key, name)) for key, name in keys]
    return Section(name="classes", title=title, blocks=[Chooser(legend="Representation", choices=choices)])


def _keys(run: RunData, found: Predictions) -> list[tuple[str, str]]:
    """Return (key, name) of the results of the main protocol that have a control, the joined one first."""
    known = set(found.keys(run.protocol))
    sets = [entry["pathways"] for entry in run.probes]
    ordered = sorted(sets, key=lambda names: -len(names))
    keys = [("+".join(names), representation(names, run.probed)) for names in ordered]
    return [(key, name) for key, name in keys if {key, f"{key}.control"} <= known]


def _of(run: RunData, found: Predictions, key: str, name: str) -> list[Block]:
    names = run.classes
    num = max(len(names), 1 + int(max(found.truth.max(), found.predicted[run.protocol][key].max())))
    names = names + [str(number) for number in range(len(names), num)]
    counts = np.zeros((num, num), np.int64)
    np.add.at(counts, (found.truth, found.predicted[run.protocol][key]), 1)
    worst = worst_pairs(counts, MAX_PAIRS)
    blocks: list[Block] = []
    if num > MAX_CLASSES:
        blocks.append(Text(f"{num} classes are too many for a confusion matrix on a page."))
    else:
        said = "; ".join(f"{names[row]} for {names[col]} {count} times" for row, col, count, _ in worst[:3])
        colour = run.styles[key].colour if key in run.styles else INK
        figure = confusion(
            counts,
            names,
            colour=colour,
            name=figure_name("confusion", key.split("+")),
            title=f"{name}: what was taken for what",
            alt=f"Confusion matrix of {name} over {num} classes. Most often: {said or 'nothing wrong'}.",
        )
        caption = "Hits lie on the diagonal; mistakes are orange; depth is the share of the row."
        blocks.append(Figures(drawings=[figure], caption=caption, wide=True))
    rows = [[f"{names[row]} for {names[col]}", f"{count} of {total}"] for row, col, count, total in worst]
    table = Table(caption="Most frequent mistakes", header=["taken for", "test samples"], rows=rows)
    blocks.append(Beside(drawing=_bars(run, found, key, name, names), blocks=[table]))
    return blocks


def _bars(run: RunData, found: Predictions, key: str, name: str, names: list[str]) -> Drawing:
    totals = np.bincount(found.truth, minlength=len(names))
    shares = []
    for one in (key, f"{key}.control"):
        right = np.bincount(found.truth, found.correct(run.protocol, one), minlength=len(names))
        shares.append(right / np.maximum(totals, 1))
    return _compared(
        (shares[0], shares[1]),
        names,
        totals,
        key=key,
        name=name,
        unit="share of the class's test samples right",
    )


def _several(run: RunData, found: Predictions, keys: list[tuple[str, str]]) -> list[Block]:
    """Return the F1 score of each label for every representation."""
    choices: list[tuple[str, list[Block]]] = []
    for key, name in keys:
        results = found.predicted[run.protocol]
        scores = (_f1(found.truth, results[key]), _f1(found.truth, results[f"{key}.control"]))
        totals = found.truth.sum(axis=0).astype(np.int64)
        figure = _compared(scores, run.classes, totals, key=key, name=name, unit="F1 score of the label")
        choices.append((name, [Figures(drawings=[figure])]))
    return [Chooser(legend="Representation", choices=choices)]


def _f1(truth: NDArray[np.integer], predicted: NDArray[np.integer]) -> Floats:
    both = (truth * predicted).sum(axis=0).astype(np.float64)
    return np.asarray(2 * both / np.maximum(truth.sum(axis=0) + predicted.sum(axis=0), 1), np.float64)


def _compared(
    scores: tuple[Floats, Floats],
    names: list[str],
    totals: NDArray[np.int64],
    *,
    key: str,
    name: str,
    unit: str,
) -> Drawing:
    trained, control = scores
    better, worse = int((trained > control).sum()), int((trained < control).sum())
    return per_class(
        trained,
        control,
        names,
        totals,
        name=figure_name("classes", key.split("+")),
        title=f"{name}: by class (test samples)",
        alt=f"{name} against its untrained control, {unit}: {better} better, {worse} worse.",
        unit=unit,
    )
