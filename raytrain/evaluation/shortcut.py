"""The shortcut score: how far the light of a patch alone solves the task that an objective trains on.

CLAPP and its kin learn to tell a patch of the same image from one of another image. Where mean and deviation
of the patches (brightness, contrast, colour cast) already tell, an encoder need not learn shapes: an operator
that hides the light leaves it nothing else. A hint, not a verdict: no label is read.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from pipelines.forms.chunk import Chunk
from pipelines.forms.randomness import generator
from pipelines.modalities import modality_of
from pipelines.storage.manifest import Manifest
from pipelines.stream.source import first_samples
from pipelines.views.augmentations import ImageAugmentation
from pipelines.views.cuts import Patches
from pipelines.views.operators import build_operator
from pipelines.views.standardise import Standardiser
from raytrain.config import PathwayConfig, RunConfig
from raytrain.config.cuts import PatchesConfig
from raytrain.metrics import CONFIDENCE, Interval, resample_counts
from raytrain.objectives.scores import Pairs

NUM_IMAGES = 512
PIECE = 32  # images cut at a time: bounds memory
SEED = 0
NUM_BOOTSTRAP = 1000
NUM_BINS = 1024  # of the scores, for the resamples
RESOLUTION = 1e-2
"""of a mean or deviation, in units of its channel's deviation: less than a grey level is no light to see"""
STEPS, SKIP = 5, 1  # CLAPP's, for objectives without pairs of their own

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class Shortcut:
    """The score of one operator."""

    name: str
    """the operator's; for its second, other settings `operator.pathway`"""
    pathways: tuple[str, ...]
    """that see it"""
    score: Interval
    num_images: int
    num_groups: int
    num_pairs: int


def shortcut_scores(config: RunConfig, manifest: Manifest) -> dict[str, float]:
    """Return the shortcut score of every operator of a run by name; see `measure_shortcuts`."""
    return {found.name: round(found.score.estimate, 4) for found in measure_shortcuts(config, manifest)}


def score_of(scores: Mapping[str, float], *, operator: str, pathway: str) -> float | None:
    """Return what `shortcut_scores` says of a pathway's operator."""
    return scores.get(f"{operator}.{pathway}", scores.get(operator))


def measure_shortcuts(
    config: RunConfig, manifest: Manifest, *, num_images: int = NUM_IMAGES
) -> list[Shortcut]:
    """Return the shortcut score of every operator of a run, on the first images of its pretrain split.

    The score is the area under the ROC curve, 0.5 where light tells nothing and 1 where it tells all, with
    which `shortcut_auc` tells pairs of one image from pairs of two; the images are cropped in the centre. A
    pathway without two rows of patches has no pairs, and no score; nor have clips.
    """
    if "shortcut" not in modality_of(config).sections:
        return []
    chunk = first_samples(manifest, config.data, seed=SEED, count=num_images)
    images = torch.from_numpy(chunk.images[chunk.valid])
    groups = _groups(chunk)
    found: list[Shortcut] = []
    for name, names in _distinct_inputs(config).items():
        pathway = config.pathways[names[0]]
        light = patch_light(images, pathway, canvas_px=config.data.canvas_px)
        pairs = _pairs(light.shape, pathway.objective)
        if pairs is None:
            continue
        score = shortcut_auc(light, groups, pairs)
        sizes = {"num_images": len(images), "num_groups": len(np.unique(groups))}
        found.append(
            Shortcut(name=name, pathways=tuple(names), score=score, num_pairs=2 * len(pairs.context), **sizes)
        )
    return found


@torch.no_grad()
def patch_light(images: torch.Tensor, pathway: PathwayConfig, *, canvas_px: int) -> Floats:
    """Return mean and deviation of each channel of each patch, f64[R, B, Q, 2 C], of u8[B, 3, H, W].

    The patches are those that the pathway's encoder sees, normalised where its cut does so, rounded to
    RESOLUTION. In units of the channel's deviation over all pixels.
    """
    operator = build_operator(pathway.operator)
    augmentation = ImageAugmentation(pathway.augmentation, canvas_px=canvas_px)
    assert isinstance(pathway.cut, PatchesConfig)
    cut = Patches(pathway.cut)
    standardiser: Standardiser | None = None
    parts = []
    for piece in torch.split(images, PIECE):
        maps = operator(augmentation(piece, None))
        standardiser = standardiser or Standardiser.estimate([maps])
        patches = cut(standardiser(maps)).flatten(-2)
        deviation, mean = torch.std_mean(patches, dim=-1, correction=0)
        parts.append(torch.cat([mean, deviation], dim=-1))
    light = torch.cat(parts, dim=1).double().numpy()
    rounded: Floats = np.round(light / RESOLUTION) * RESOLUTION
    return rounded


def shortcut_auc(light: Floats, groups: ArrayLike, pairs: Pairs) -> Interval:
    """Return the AUC of light alone on the objective's own pairs, with its 95 % interval.

    A pair is a context patch at row y of image b, and a target patch of the same column k + skip rows below,
    for k = 1 .. K and all y; in the other kind of pair the target is of another image, one drawn for each b
    and k by a fixed seed, at the same place. A pair's score is minus the squared distance between the
    two patches' vectors of mean and deviation, in the units of `patch_light`; nothing is fitted. The area is
    that of all pairs of both kinds, ties counted half. Its interval resamples groups of images; a pair
    belongs to its context's group.

    `light` f64[R, B, Q, F] of `patch_light`, `groups` int[B].
    """
    flat = light.reshape(-1, light.shape[-1])
    step, context, image = pairs.step, pairs.context, pairs.image
    away = generator(SEED, "shortcut").integers(1, pairs.num_images, (pairs.num_steps, pairs.num_images))
    other = (image + away[step, image]) % pairs.num_images
    own = context + pairs.offset
    same = _closeness(flat, context, own)
    different = _closeness(flat, context, own + (other - image) * pairs.num_columns)
    resampled = _resampled_areas(same, different, np.asarray(groups)[image])
    low, high = np.quantile(resampled, ((1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2))
    return Interval(estimate=area_under_roc(same, different), low=float(low), high=float(high))


def area_under_roc(positive: ArrayLike, negative: ArrayLike) -> float:
    """Return the probability that a positive's score is above a negative's, ties counted half: f[P], f[N]."""
    first, second = np.asarray(positive, np.float64), np.asarray(negative, np.float64)
    ranks = stats.rankdata(np.concatenate([first, second]))
    above = ranks[: len(first)].sum() - len(first) * (len(first) + 1) / 2
    return float(above / (len(first) * len(second)))


def rank_correlation(scores: Sequence[float], gains: Sequence[float]) -> float | None:
    """Return Spearman's rank correlation of shortcut scores and probe gains, a pathway each.

    None where it is not defined: fewer than three pathways, or no difference on one side. Below 0: the more
    the light gives away, the less training gained.
    """
    if len(scores) != len(gains):
        raise ValueError(f"rank_correlation takes a gain for each score; got {len(scores)} and {len(gains)}")
    if len(scores) < 3 or len(set(scores)) == 1 or len(set(gains)) == 1:
        return None
    return float(stats.spearmanr(scores, gains).statistic)


def shortcut_lines(found: Sequence[Shortcut]) -> list[str]:
    """Return the scores as a table, and what to make of it."""
    lines = ["shortcut   AUC of a patch's mean and deviation alone; a hint, .5: the light gives nothing away"]
    for one in found:
        interval = f"[{one.score.low:.3f}, {one.score.high:.3f}]"
        lines.append(
            f"           {one.name:<16} {one.score.estimate:.3f} {interval}  {', '.join(one.pathways)}"
        )
    if not found:
        return [lines[0], "           no pathway has two rows of patches: no pairs to tell apart"]
    sizes = f"{found[0].num_images} images of {found[0].num_groups} groups"
    lines.append(f"           {sizes}; no labels read; a probe with its control decides")
    return lines


def _distinct_inputs(config: RunConfig) -> dict[str, list[str]]:
    """Return the pathways that see the same, by the name of their score."""
    names: dict[str, str] = {}
    found: dict[str, list[str]] = {}
    for name, pathway in config.pathways.items():
        operator = pathway.operator.name
        asked = _steps(pathway.objective)
        seen = repr((pathway.augmentation.crop_px, pathway.operator, pathway.cut, asked))
        if seen not in names:
            names[seen] = f"{operator}.{name}" if operator in found else operator
        found.setdefault(names[seen], []).append(name)
    return found


def _steps(objective: Any) -> tuple[int, int]:
    return getattr(objective, "num_steps", STEPS), getattr(objective, "skip", SKIP)


def _pairs(shape: tuple[int, ...], objective: Any) -> Pairs | None:
    """Return the objective's pairs on f[R, B, Q, F]; as many of CLAPP's as fit where it has none."""
    num_rows, num_images, num_columns, _ = shape
    steps, skip = _steps(objective)
    skip = min(skip, num_rows - 2)
    if num_rows < 2 or num_images < 2:
        return None
    return Pairs(
        num_rows=num_rows,
        num_images=num_images,
        num_columns=num_columns,
        num_steps=min(steps, num_rows - 1 - skip),
        skip=skip,
    )


def _groups(chunk: Chunk) -> Integers:
    """Return the images' groups; each image by itself where all are of one group."""
    groups = chunk.groups[chunk.valid]
    return groups if len(np.unique(groups)) > 1 else np.arange(len(groups))


def _closeness(values: Floats, first: Integers, second: Integers) -> Floats:
    closeness: Floats = -np.square(values[first] - values[second]).sum(axis=1)
    return closeness


def _resampled_areas(same: Floats, different: Floats, groups: Integers) -> Floats:
    """Return the AUC of NUM_BOOTSTRAP resamples of the groups, f64[NUM_BOOTSTRAP], from binned scores.

    With c[g] how often group g was drawn, n[g] its pairs of each kind, and wins[g, h] in how many a pair of
    one image in g beats a pair of two in h, the area is sum_gh c[g] c[h] wins[g, h] / (sum_g c[g] n[g])^2.
    """
    members = np.unique(groups, return_inverse=True)[1]
    num_groups = int(members.max()) + 1
    edges = np.quantile(np.concatenate([same, different]), np.linspace(0, 1, NUM_BINS + 1)[1:-1])
    counts = [
        np.bincount(
            members * NUM_BINS + np.searchsorted(edges, scores), minlength=num_groups * NUM_BINS
        ).reshape(num_groups, NUM_BINS)
        for scores in (same, different)
    ]
    below = np.cumsum(counts[1], axis=1) - 0.5 * counts[1]
    wins = counts[0] @ below.T
    sizes = counts[0].sum(axis=1)
    areas = [
        ((drawn @ wins) * drawn).sum(axis=1) / (drawn @ sizes) ** 2
        for drawn in resample_counts(num_groups, num_resamples=NUM_BOOTSTRAP, seed=SEED)
    ]
    return np.concatenate(areas)
