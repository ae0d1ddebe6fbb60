"""The shortcut score of each operator against its pathway's gain: a hint, no more."""

from raytrain.reporting.figures.shortcut import ShortcutPoint
from raytrain.reporting.figures.shortcut import shortcut as draw_shortcut
from raytrain.reporting.report.blocks import Beside, Missing, Section, Table, Text
from raytrain.reporting.results import points
from raytrain.reporting.run_data import RunData

TITLE = "Shortcut and gain"


def shortcut(run: RunData) -> Section:
    """Return the scores, the gains, and their rank correlation where there are three points or more."""
    scores = run.summary.get("shortcut") or {}
    gains = {entry["pathways"][0]: entry for entry in run.probes if len(entry["pathways"]) == 1}
    chosen = []
    for pathway, settings in run.config.pathways.items():
        operator = settings.operator.name  # a second one with other settings has its pathway's name too
        score = scores.get(f"{operator}.{pathway}", scores.get(operator))
        if score is not None and pathway in gains:
            entry = gains[pathway]
            chosen.append(
                ShortcutPoint(
                    label=pathway,
                    style=run.styles[pathway],
                    score=float(score),
                    gain=100 * entry["gain"],
                    interval=[100 * end for end in entry["gain_interval"]],
                )
            )
    if not chosen:
        text = f"This run has no shortcut scores. `raytrain probe {run.folder}` measures them."
        return Section(name="shortcut", title=TITLE, blocks=[Missing(text)])
    correlation = _rank_correlation([one.score for one in chosen], [one.gain for one in chosen])
    figure = draw_shortcut(
        chosen,
        name="shortcut",
        title="Shortcut score and gain",
        alt="; ".join(f"{one.label}: score {one.score:.3f}, gain {one.gain:+.1f} points" for one in chosen),
    )
    rows = [
        [
            one.label,
            f"{one.score:.3f}",
            points(one.gain / 100, [end / 100 for end in one.interval]),
        ]
        for one in chosen
    ]
    table = Table(
        caption="Score of the operator and gain of its pathway",
        header=["pathway", "shortcut score", "gain, points"],
        rows=rows,
    )
    blocks = [Beside(drawing=figure, blocks=[table, Text(_words(correlation, len(chosen)))])]
    return Section(name="shortcut", title=TITLE, blocks=blocks)


def _rank_correlation(first: list[float], second: list[float]) -> float | None:
    """Return Spearman's rank correlation; None for fewer than three points or a constant."""
    if len(first) < 3 or len(set(first)) < 2 or len(set(second)) < 2:
        return None
    from scipy.stats import spearmanr

    return float(spearmanr(first, second).statistic)


def _words(correlation: float | None, num: int) -> str:
    said = (
        "The score says how far brightness and contrast alone tell a patch of the same image from one of "
        "another, as AUC: 0.5 means that the operator leaves no such shortcut. "
    )
    if correlation is None:
        return f"{said}With {num} point(s) there is no rank correlation."
    return (
        f"{said}Spearman's rank correlation of score and gain is {correlation:+.2f} over {num} pathways: a "
        "hint, not a finding; so few points allow no interval."
    )
