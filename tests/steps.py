"""A small pathway of every kind in float64, batches with broken samples, and what one step leaves behind."""

import numpy as np
import torch

from pipelines.forms.randomness import generator, hash_keys
from pipelines.stream.batch import Batch
from pipelines.stream.stage import operated_name
from pipelines.views.events import Events
from pipelines.views.standardise import Standardiser
from raytrain.config import (
    AugmentationConfig,
    ClappConfig,
    ClappVideoConfig,
    HingeCpcConfig,
    InfonceConfig,
    LbpConfig,
    MotionObjectiveConfig,
    MovnetConfig,
    PathwayConfig,
    Resnet18Config,
    SupervisedConfig,
    TrainingConfig,
    Vgg6Config,
)
from raytrain.config.cuts import BinsConfig, FramesConfig, MotionConfig, SurfaceConfig, VolumeConfig
from raytrain.config.encoders import NoEncoderConfig
from raytrain.config.operators import CountConfig, PlainEventsConfig
from raytrain.config.stems import LearntEstConfig, MatrixLstmConfig, PhasedLstmConfig
from raytrain.pathway import Pathway

CANVAS_PX, CLIP_PX, SENSOR = 44, 67, (20, 18)
NUM_CLASSES = 3
CPU = torch.device("cpu")
SHORT = {"num_steps": 2, "skip": 0}
PLAIN, NORMED = Vgg6Config(width=1 / 64), Vgg6Config(width=1 / 64, batch_norm=True)
NEGATIVES = ("same_image", "per_location", "everywhere")


def of_images(objective, *, encoder=NORMED, **more):
    augmentation = AugmentationConfig(crop_px=40, flip=True)
    return PathwayConfig(
        augmentation=augmentation, operator=LbpConfig(), encoder=encoder, objective=objective, **more
    )


def of_volumes(objective, cut=None):
    return PathwayConfig(
        cut=cut or VolumeConfig(num_frames=18), encoder=MovnetConfig(width=1 / 32), objective=objective
    )


def of_stem(stem, objective, *, cut, encoder):
    return PathwayConfig(
        operator=PlainEventsConfig(), stem=stem, cut=cut, encoder=encoder, objective=objective
    )


KINDS = {
    "clapp": of_images(ClappConfig(**SHORT)),
    "clapp, no batch norm": of_images(ClappConfig(**SHORT), encoder=PLAIN),
    "clapp symmetric": of_images(ClappConfig(symmetric=True, **SHORT)),
    "clapp feedback": of_images(ClappConfig(synchronous=True, feedback=True, **SHORT)),
    "clapp feedback symmetric": of_images(
        ClappConfig(synchronous=True, feedback=True, symmetric=True, num_negatives=2, **SHORT)
    ),
    **{
        f"clapp synchronous {kind}": of_images(
            ClappConfig(synchronous=True, negatives=kind, num_negatives=3, **SHORT)
        )
        for kind in NEGATIVES
    },
    **{
        f"clapp {kind}": of_images(ClappConfig(negatives=kind, num_negatives=2, **SHORT))
        for kind in NEGATIVES[1:]
    },
    "clapp, in the stream": of_images(ClappConfig(**SHORT), placement="stream"),
    "clapp of frames": PathwayConfig(
        cut=FramesConfig(num_frames=3), encoder=NORMED, objective=ClappConfig(num_steps=1, skip=0)
    ),
    "hinge_cpc": of_images(HingeCpcConfig(**SHORT)),
    "hinge_cpc synchronous": of_images(HingeCpcConfig(synchronous=True, symmetric=True, **SHORT)),
    **{f"infonce {kind}": of_images(InfonceConfig(negatives=kind, **SHORT)) for kind in NEGATIVES},
    "infonce end to end": of_images(InfonceConfig(local=False, symmetric=False, **SHORT)),
    "supervised": of_images(SupervisedConfig()),
    "supervised, no batch norm": of_images(SupervisedConfig(pool="flat"), encoder=PLAIN),
    "supervised, several labels": of_images(SupervisedConfig()),
    "supervised resnet18": of_images(SupervisedConfig(), encoder=Resnet18Config(width=1 / 64)),
    "clapp_video flat": of_volumes(ClappVideoConfig(num_steps=1)),
    "clapp_video spatial": of_volumes(ClappVideoConfig(num_steps=1, vectors="spatial", local=False)),
    "motion": of_volumes(MotionObjectiveConfig(hidden=8), MotionConfig(num_frames=9)),
    "clapp of events": PathwayConfig(
        operator=CountConfig(num_bins=3),
        cut=BinsConfig(),
        encoder=NORMED,
        objective=ClappConfig(num_steps=1, skip=0),
    ),
    "clapp behind matrix_lstm": of_stem(
        MatrixLstmConfig(hidden=2, bins=3, max_events=16),
        ClappConfig(num_steps=1, skip=0),
        cut=BinsConfig(),
        encoder=NORMED,
    ),
    "supervised behind est": of_stem(
        LearntEstConfig(bins=3, units=4), SupervisedConfig(), cut=SurfaceConfig(), encoder=NORMED
    ),
    "supervised behind phased_lstm": of_stem(
        PhasedLstmConfig(channels=4, embedding=4, max_events=16),
        SupervisedConfig(),
        cut=SurfaceConfig(),
        encoder=NoEncoderConfig(),
    ),
}
"""a pathway's settings by what is special about them"""


def pathway_of(kind):
    """Return a pathway in float64."""
    config = KINDS[kind]
    channels = {"lbp": 1, "count": 6, "events": 0}.get(config.operator.name, 3)
    pathway = Pathway(
        "some",
        config,
        seed=0,
        canvas_px=CLIP_PX if config.modality == "clip" else CANVAS_PX,
        sensor=SENSOR,
        num_classes=NUM_CLASSES,
        device=CPU,
        training=TrainingConfig(),
        standardiser=Standardiser(mean=[0.3] * channels, deviation=[0.25] * channels),
    )
    pathway.encoder.double()
    pathway.objective.double()
    plain = pathway.cut_views
    pathway.cut_views = lambda views: plain(views).double()
    pathway._no_views = pathway._no_views.double()
    return pathway


def batch_of(kind, positions, broken=(), *, valid=False):
    """Return some samples of a kind, all different; the `broken` ones hold noise, and count if `valid`."""
    positions, config = np.asarray(positions), KINDS[kind]
    bad = np.isin(positions, broken)
    keys = [
        f"{'broken' if wrong else 'sample'}-{position}"
        for position, wrong in zip(positions, bad, strict=True)
    ]
    labels = np.where(bad, NUM_CLASSES - 1, positions % (NUM_CLASSES + 1) - 1)  # every fourth has none
    sets = generator("sets").integers(0, 2, (64, NUM_CLASSES), dtype=np.uint8)[positions]
    several = kind.endswith("several labels")
    common = {
        "epoch": 1,
        "step": 4,
        "keys": keys,
        "key_hashes": hash_keys(keys),
        "positions": positions,
        "valid": ~bad | valid,
        "groups": positions // 2,
        "labels": torch.from_numpy(labels),
        "factors": torch.from_numpy(positions[:, None].astype(np.float32)),
        "label_sets": torch.from_numpy(sets if several else np.zeros((len(positions), 0), np.uint8)),
    }
    if config.modality == "events":
        return Batch(**common, pixels=_events(keys))
    if config.modality == "clip":
        frames = _pixels(keys, (config.cut.num_frames, 3, CLIP_PX, CLIP_PX))
        motion = torch.from_numpy(np.stack([positions % 2, positions % 12], 1))
        return Batch(**common, pixels=frames, motion=motion if kind == "motion" else None)
    images = _pixels(keys, (3, CANVAS_PX, CANVAS_PX))
    operated = {}
    if config.placement == "stream":
        maps = _pixels([f"{key} operated" for key in keys], (1, 40, 40)).float() / 255
        operated = {operated_name(config): maps}
    return Batch(**common, pixels=images, operated=operated)


def _pixels(keys, shape):
    pixels = [generator("pixels", key).integers(0, 256, shape, dtype=np.uint8) for key in keys]
    return torch.from_numpy(np.stack(pixels) if pixels else np.zeros((0, *shape), np.uint8))


def _events(keys):
    width, height = SENSOR
    columns, counts = {name: [] for name in "xytp"}, [0]
    for key in keys:
        rng = generator("events", key)
        count = int(rng.integers(20, 60))
        counts.append(count)
        for name, most in zip("xyp", (width, height, 2), strict=True):
            columns[name].append(rng.integers(0, most, count))
        columns["t"].append(np.sort(rng.integers(0, 5000, count)))
    types = {"x": torch.int32, "y": torch.int32, "t": torch.int64, "p": torch.uint8}
    flat = {name: torch.from_numpy(np.concatenate(parts)).to(types[name]) for name, parts in columns.items()}
    return Events(**flat, offsets=torch.tensor(counts).cumsum(0), width=width, height=height)


def step_of(pathway, batch, *, rank=0):
    """Take a step; return its losses, its gradients (None: none) and the running statistics behind it."""
    gradients = {}

    def note(*arguments, **flags):
        for name, parameter in pathway._parameters.items():
            gradients[name] = None if parameter.grad is None else parameter.grad.clone()

    plain, pathway.optimizer.step = pathway.optimizer.step, note
    try:
        losses = pathway.step(batch, rank=rank).losses
    finally:
        pathway.optimizer.step = plain
    statistics = {name: value.clone() for name, value in pathway.encoder.named_buffers()}
    return {"losses": losses, "gradients": gradients, "statistics": statistics}


def difference(found, expected):
    """Return the largest difference of any loss, gradient or statistic of two steps; inf: one lacks some."""
    values = [(found["losses"], expected["losses"])]
    for part in ("gradients", "statistics"):
        assert found[part].keys() == expected[part].keys()
        values += [(found[part][name], expected[part][name]) for name in expected[part]]
    if any((one is None) is not (other is None) for one, other in values):
        return float("inf")
    pairs = [(one, other) for one, other in values if one is not None]
    return max(float((one - other).abs().max()) for one, other in pairs if one.numel())
