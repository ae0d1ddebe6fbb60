"""A replayed step as text, and its batch as a contact sheet."""

import textwrap
from pathlib import Path
from typing import Any

import numpy as np

from pipelines.views.events import polarities
from raytrain.health import Health
from raytrain.reporting.contact_sheet import contact_sheet
from raytrain.training.observe import TensorFigures
from raytrain.training.replay import Replay

SHEET_ROWS = 32
"""samples drawn at most: those that made something not finite first"""
TITLE_LETTERS = 17
MAX_BAD = 8
"""tensors that are not finite, of the main ones"""
WIDTH = 110


def replay_text(replay: Replay, *, every_tensor: bool = False) -> str:
    """Return what is said of a replayed step on one rank; of `every_tensor`, or of the layers' outputs."""
    of_ranks = f", rank {replay.rank} of {replay.num_ranks}" if replay.num_ranks > 1 else ""
    parts = [
        f"pathway {replay.pathway}, step {replay.step} (epoch {replay.cursor.epoch}, batch "
        f"{replay.cursor.step} of {replay.steps_per_epoch}){of_ranks}",
        _on_the_way(replay),
        _batch(replay),
        _losses(replay),
        _health(replay.health),
        _table(replay.figures if every_tensor else _main_figures(replay.figures)),
        _verdict(replay),
    ]
    return "\n".join(part for part in parts if part)


def replay_sheet(replay: Replay, path: Path) -> int:
    """Draw samples, those augmented, and the operator's output; return how many samples are shown."""
    order = [*replay.blamed, *(place for place in range(len(replay.keys)) if place not in replay.blamed)]
    shown = order[:SHEET_ROWS]
    titles = [_title(replay.keys[place], blamed=place in replay.blamed) for place in shown]
    images, bytes_ = (_one_frame(made[shown]) for made in (replay.images, replay.augmented))
    columns = {"augmented": np.asarray(bytes_ / np.float32(255), np.float32)}
    if replay.maps is not None:
        maps = _one_frame(replay.maps[shown])
        of_events = replay.num_polarities > 0
        columns[replay.pathway] = polarities(maps, replay.num_polarities) if of_events else maps
    path.parent.mkdir(parents=True, exist_ok=True)
    contact_sheet(images, columns, str(path), row_titles=titles)
    return len(shown)


def _one_frame(made: Any) -> Any:
    """Return images as they are, and of clips [n, T, C, H, W] the frame in the middle."""
    return made if made.ndim == 4 else made[:, made.shape[1] // 2]


def _on_the_way(replay: Replay) -> str:
    if replay.first_other is not None:
        return (
            f"on the way: {replay.num_agreed} logged step(s) came out the same, step {replay.first_other} "
            "first did not: another machine, device, number of threads, or version"
        )
    if replay.num_agreed:
        return f"on the way: {replay.num_agreed} logged step(s), losses bitwise as in metrics.jsonl"
    return ""


def _batch(replay: Replay) -> str:
    if replay.logged_before:
        compared = "logged by an earlier version, whose hash knew no order: not compared"
    elif replay.logged_hash is None:
        compared = "not logged"
    elif replay.logged_hash == replay.sequence_hash:
        compared = "equal to metrics.jsonl"
    else:
        compared = f"metrics.jsonl has {replay.logged_hash}: other samples"
    note = f"; {len(replay.left_out)} more left out, for they cannot be decoded" if replay.left_out else ""
    keys = textwrap.fill(
        " ".join(replay.keys), WIDTH, initial_indent="  ", subsequent_indent="  ", break_on_hyphens=False
    )
    return f"batch: {len(replay.keys)} samples, hash {replay.sequence_hash} ({compared}){note}\n{keys}"


def _losses(replay: Replay) -> str:
    lines = [f"{'loss':<12} {'recomputed':>16} {'metrics.jsonl':>16}"]
    for layer, loss in replay.losses.items():
        line = f"{layer:<12} {loss:>16.9g}"
        if replay.logged_losses is not None and layer in replay.logged_losses:
            logged = replay.logged_losses[layer]
            line += f" {logged:>16.9g}  " + ("equal" if logged == loss else f"differs by {loss - logged:.3g}")
        lines.append(line)
    if replay.logged_losses is None:
        lines[0] = f"{'loss':<12} {'recomputed':>16}  (step {replay.step} is not in metrics.jsonl)"
    return "\n".join(lines)


def _health(health: Health) -> str:
    names = list(dict.fromkeys(name for figures in health.values() for name in figures))
    if not names:
        return ""
    lines = [f"{'health':<12} " + " ".join(f"{name:>16}" for name in names)]
    for layer, figures in health.items():
        values = (f"{figures[name]:>16.4g}" if name in figures else " " * 16 for name in names)
        lines.append(f"{layer:<12} " + " ".join(values))
    return "\n".join(lines)


def _main_figures(figures: list[TensorFigures]) -> list[TensorFigures]:
    """Return inputs, layers' outputs and their gradients, and the first tensors that are not finite."""
    bad = [entry for entry in figures if not entry.finite][:MAX_BAD]
    return [
        entry
        for entry in figures
        if entry.kind == "input" or entry.name.endswith((" output", " representation")) or entry in bad
    ]


def _table(figures: list[TensorFigures]) -> str:
    lines = [
        f"{'tensor, in the order of computing':<48} {'shape':<20} {'finite':<13} {'rms':>9} {'min':>10} "
        f"{'max':>10} {'zeros':>6}"
    ]
    for entry in figures:
        shape = "[" + ",".join(map(str, entry.shape)) + "]"
        finite = "yes" if entry.finite else f"NO ({entry.num_bad})"
        lines.append(
            f"{entry.name:<48} {shape:<20} {finite:<13} {entry.rms:>9.3g} {entry.least:>10.3g} "
            f"{entry.greatest:>10.3g} {entry.zeros:>6.1%}"
        )
    return "\n".join(lines)


def _verdict(replay: Replay) -> str:
    bad = replay.first_bad
    lines = [replay.diverged] if replay.diverged else []
    if bad is None:
        return "\n".join([*lines, "all tensors of this step are finite"])
    layer = f" of layer{bad.layer + 1}" if bad.layer is not None else ""
    lines.append(
        f"first not finite: {bad.name} ({bad.kind}{layer}), {bad.num_bad} of {int(np.prod(bad.shape))} "
        f"values; {replay.verdict}"
    )
    if replay.blamed:
        keys = " ".join(replay.keys[place] for place in replay.blamed)
        lines.append(textwrap.fill(f"samples: {keys}", WIDTH, subsequent_indent="  ", break_on_hyphens=False))
    return "\n".join(lines)


def _title(key: str, *, blamed: bool) -> str:
    """Return the last two parts of a key below each other, as much as fits beside a picture."""
    parts = [
        part if len(part) <= TITLE_LETTERS else "..." + part[3 - TITLE_LETTERS :] for part in key.split("/")
    ]
    return "\n".join([*parts[-2:], *(["NOT FINITE"] if blamed else [])])
