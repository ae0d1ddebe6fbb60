"""What a motion pathway learned: kind and speed of held-out clips, told by its own heads.

The clips are drawn as in training, but of the test split and with draws of their own. The heads are asked
three times: as trained; the same heads shown one random frame of each clip, repeated, which tells nothing of
motion; and with the initial weights. All see the same clips.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.compute as pc
import torch
from numpy.typing import NDArray

from pipelines.forms.clip_columns import motion_of, read_clips
from pipelines.forms.clips import EGO, NUM_SPEEDS, ClipPlanner, request_name
from pipelines.order.plan import ChunkPlan
from pipelines.storage.manifest import Manifest
from pipelines.stream.source import StreamSource, row_chunks
from raytrain.checkpoint import load_latest
from raytrain.config import RunConfig
from raytrain.config.cuts import MotionConfig
from raytrain.errors import ConfigError
from raytrain.metrics import Paired
from raytrain.objectives.motion import Motion
from raytrain.pathway import Pathway

ROUNDS = 4
"""clips drawn of each test sample"""
MAX_SAMPLES = 1000
"""of the test split, evenly spread"""

Integers = NDArray[np.int64]


def measure_motion(
    config: RunConfig,
    manifest: Manifest,
    *,
    build: Callable[[str, torch.device], Pathway],
    folder_of: Callable[[str], Path],
    device: torch.device,
) -> list[dict[str, Any]]:
    """Return summary.json's `motion`, an entry for each motion pathway; [] where there is none.

    `build`: makes a pathway with its initial weights; `folder_of`: its checkpoints.

    Raises:
        ConfigError: a pathway has no checkpoint.
    """
    rows = _test_rows(manifest)
    return [
        _measure(config, manifest, rows, name, build(name, device), build(name, device), folder_of(name))
        for name, pathway in config.pathways.items()
        if isinstance(pathway.cut, MotionConfig) and len(rows)
    ]


def _test_rows(manifest: Manifest) -> Integers:
    rows = np.flatnonzero(pc.equal(manifest.table["split"], "test").to_numpy())
    if len(rows) > MAX_SAMPLES:
        rows = rows[np.linspace(0, len(rows) - 1, MAX_SAMPLES).round().astype(np.int64)]
    return np.asarray(rows, np.int64)


def _measure(
    config: RunConfig,
    manifest: Manifest,
    rows: Integers,
    name: str,
    trained: Pathway,
    initial: Pathway,
    folder: Path,
) -> dict[str, Any]:
    checkpoint = load_latest(folder)
    if checkpoint is None:
        raise ConfigError(f"{folder}: no whole checkpoint of pathway {name}; train it first")
    trained.load_state_tensors(checkpoint.tensors)
    cut = config.pathways[name].cut
    assert isinstance(cut, MotionConfig)
    truth, (told, control) = _ask([trained, initial], _clips(config, manifest, rows, cut))
    _, (one_frame,) = _ask([trained], _clips(config, manifest, rows, replace(cut, still=True)))
    answers = {"": told, "one_frame": one_frame, "control": control}
    groups = np.tile(manifest.group_ids[rows], ROUNDS)
    right = {
        f"{side}{'_' if side else ''}{head}": answer[:, column] == truth[:, column]
        for side, answer in answers.items()
        for column, head in enumerate(("kind", "speed"))
    }
    paired = Paired(right, groups, num_resamples=config.probe.num_bootstrap, seed=config.seed)
    found: dict[str, Any] = {"pathway": name, "sees": "one random frame" if cut.still else "the clip"}
    for key in right:
        value = paired.sum([key])
        found |= {key: value.estimate, f"{key}_interval": value.bounds}
    confusion = np.zeros((NUM_SPEEDS, NUM_SPEEDS), np.int64)
    np.add.at(confusion, (truth[:, 1], answers[""][:, 1]), 1)
    share = max(np.mean(truth[:, 0] == EGO), np.mean(truth[:, 0] != EGO))
    return {
        **found,
        "most_frequent_kind": float(share),
        "confusion": confusion.tolist(),
        "n": len(truth),
        "groups": int(np.unique(groups).size),
        "split": "test",
    }


def _clips(
    config: RunConfig, manifest: Manifest, rows: Integers, cut: MotionConfig
) -> Iterator[tuple[torch.Tensor, Integers]]:
    """Yield the test clips in pieces, ROUNDS draws of each: u8[n, T, 3, H, W], kind and speed i64[n, 2]."""
    request = request_name(cut)
    source = StreamSource(
        manifest=manifest,
        rows=rows,
        data=config.data,
        seed=config.seed,
        plan=ChunkPlan(num_samples=len(rows), chunk_samples=2),
        clips=ClipPlanner(requests={request: cut}, seed=config.seed),
    )
    for draw in range(1, ROUNDS + 1):
        for piece in row_chunks(rows, config.probe.batch_size):
            chunk = source.decode_rows(piece, epoch=-draw)  # training counts its epochs from 0
            motions = [motion_of(chunk, place, request) or (-1, -1) for place in range(len(chunk))]
            yield torch.from_numpy(read_clips(chunk, request)), np.array(motions, np.int64)


@torch.no_grad()
def _ask(
    pathways: Sequence[Pathway], clips: Iterator[tuple[torch.Tensor, Integers]]
) -> tuple[Integers, list[Integers]]:
    """Return the truth and what each pathway's heads tell, kind and speed of each clip, i64[n, 2] each."""
    truths: list[Integers] = []
    told: list[list[Integers]] = [[] for _ in pathways]
    for pixels, truth in clips:
        truths.append(truth)
        for pathway, answers in zip(pathways, told, strict=True):
            objective = pathway.objective
            assert isinstance(objective, Motion)
            heads = objective.predict(pathway.representation_of(pixels))
            answers.append(torch.stack([logits.argmax(1) for logits in heads], dim=1).cpu().numpy())
    return np.concatenate(truths), [np.concatenate(answers) for answers in told]
