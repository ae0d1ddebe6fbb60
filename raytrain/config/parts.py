"""Whether the parts of a pathway belong together."""

from raytrain.config.cuts import BinsConfig, MotionConfig, PatchesConfig, SurfaceConfig
from raytrain.config.encoders import NoEncoderConfig
from raytrain.config.objectives import PredictionSettings
from raytrain.config.operators import EventOperatorConfig, PlainEventsConfig
from raytrain.config.pathway import AugmentationConfig, PathwayConfig
from raytrain.config.stems import NoStemConfig, PhasedLstmConfig
from raytrain.errors import ConfigError

_FLAT = ("patches", "frames", "bins", "surface")
CUTS_OF_ENCODERS = {
    "vgg6": _FLAT,
    "resnet18": _FLAT,
    "resnet34": _FLAT,
    "movnet": ("volume", "motion"),
    "none": ("bins", "surface"),
}


def check_cut(name: str, pathway: PathwayConfig, *, canvas_px: int) -> None:
    """Raise ConfigError where a view is too small for the cut, or a sequence too short to predict along."""
    view_px = pathway.augmentation.crop_px or canvas_px
    if view_px > canvas_px:
        raise ConfigError(
            f"pathways.{name}.augmentation.crop_px is {view_px}, larger than data.canvas_px {canvas_px}"
        )
    if isinstance(pathway.cut, BinsConfig):
        rows = pathway.num_bins
    elif isinstance(pathway.cut, SurfaceConfig):
        rows = 1
    elif pathway.modality == "events":
        return  # patches of a sensor whose size the data set says: see `Pathway`
    else:
        rows = pathway.cut.num_steps(view_px)
    if isinstance(pathway.objective, PredictionSettings):
        needed = pathway.objective.num_steps + pathway.objective.skip + 1
        if rows < needed:
            raise ConfigError(
                f"pathways.{name}: {_sequence(pathway, rows, view_px)}, but objective.num_steps "
                f"{pathway.objective.num_steps} with skip {pathway.objective.skip} needs {needed}; "
                f"lower num_steps or {_longer(pathway)}"
            )
    if isinstance(pathway.cut, PatchesConfig) and rows < 1:
        raise ConfigError(f"pathways.{name}: cut.size_px {pathway.cut.size_px} exceeds the {view_px} px view")


def _sequence(pathway: PathwayConfig, length: int, view_px: int) -> str:
    if isinstance(pathway.cut, PatchesConfig):
        return f"{length} rows of patches on {view_px} px"
    if isinstance(pathway.cut, BinsConfig):
        return f"{length} bins of time ({_bins_setting(pathway)})"
    if isinstance(pathway.cut, SurfaceConfig):
        return "one whole surface, which is no sequence"
    return f"{length} frames (cut.num_frames)"


def _longer(pathway: PathwayConfig) -> str:
    if isinstance(pathway.cut, PatchesConfig):
        return "the cut's stride_px, or raise data.canvas_px"
    if isinstance(pathway.cut, BinsConfig):
        return f"raise {_bins_setting(pathway)}"
    return "set cut to bins" if isinstance(pathway.cut, SurfaceConfig) else "raise cut.num_frames"


def _bins_setting(pathway: PathwayConfig) -> str:
    return "operator.num_bins" if isinstance(pathway.stem, NoStemConfig) else "stem.bins"


def _check_events(name: str, pathway: PathwayConfig) -> None:
    if not isinstance(pathway.operator, EventOperatorConfig):
        raise ConfigError(
            f"pathways.{name}: cut {pathway.cut.name} takes the surface of an event operator, e.g. operator "
            f"= 'voxel_grid', or of a stem; got operator {pathway.operator.name}"
        )
    if not isinstance(pathway.cut, PatchesConfig | BinsConfig | SurfaceConfig):
        raise ConfigError(
            f"pathways.{name}: operator {pathway.operator.name} makes a surface of events, which cut "
            f"patches, bins or surface takes, not {pathway.cut.name}"
        )
    if pathway.augmentation.crop_px:
        raise ConfigError(
            f"pathways.{name}.augmentation.crop_px is {pathway.augmentation.crop_px}, but recordings are not "
            "cropped; leave it out, or move their events with augmentation.shift_px"
        )


def _check_stem(name: str, pathway: PathwayConfig) -> None:
    operator, stem = pathway.operator.name, pathway.stem.name
    if (operator == PlainEventsConfig.name) != (stem != NoStemConfig.name):
        raise ConfigError(
            f"pathways.{name}: a stem reads operator events, the recording itself; got operator {operator} "
            f"with stem {stem}"
        )
    if (
        stem != NoStemConfig.name
        and isinstance(pathway.cut, PatchesConfig)
        and pathway.cut.normalize != "none"
    ):
        raise ConfigError(
            f"pathways.{name}.cut.normalize is {pathway.cut.normalize}, but a patch of a stem's map that no "
            "event touches is flat: dividing by its deviation has no gradient; set it to none"
        )
    if pathway.encoder.name == NoEncoderConfig.name and stem == NoStemConfig.name:
        raise ConfigError(f"pathways.{name}: encoder none behind no stem leaves nothing to train; set one")
    if stem == PhasedLstmConfig.name and (pathway.encoder.name, pathway.cut.name) != ("none", "surface"):
        raise ConfigError(
            f"pathways.{name}: stem phased_lstm makes no map but a vector; set encoder to none and cut to "
            f"surface, got {pathway.encoder.name} and {pathway.cut.name}"
        )


def check_parts(name: str, pathway: PathwayConfig) -> None:
    """Raise ConfigError where cut, encoder and objective do not belong together."""
    cut, encoder, objective = pathway.cut.name, pathway.encoder.name, pathway.objective.name
    if cut not in CUTS_OF_ENCODERS[encoder]:
        raise ConfigError(
            f"pathways.{name}: encoder {encoder} takes cut {' or '.join(CUTS_OF_ENCODERS[encoder])}, "
            f"not {cut}"
        )
    if (cut == "motion") != (objective == "motion"):
        raise ConfigError(
            f"pathways.{name}: cut motion and objective motion go together; got cut {cut} with objective "
            f"{objective}"
        )
    if cut == "volume" and isinstance(pathway.objective, PredictionSettings):
        raise ConfigError(
            f"pathways.{name}: objective {objective} predicts along patches or frames; for cut volume use "
            "objective clapp_video or supervised"
        )
    if objective == "clapp_video" and cut != "volume":
        raise ConfigError(f"pathways.{name}: objective clapp_video takes cut volume, not {cut}")
    if pathway.modality != "image" and pathway.placement == "stream":
        raise ConfigError(f"pathways.{name}.placement is stream, which is for images; set it to worker")
    _check_stem(name, pathway)
    if pathway.modality == "events":
        _check_events(name, pathway)
    elif pathway.augmentation.shift_px:
        raise ConfigError(
            f"pathways.{name}.augmentation.shift_px is {pathway.augmentation.shift_px}, which moves "
            f"the events of recordings; for samples of kind {pathway.modality} use augmentation.crop_px"
        )
    if isinstance(pathway.cut, MotionConfig) and pathway.augmentation != AugmentationConfig():
        raise ConfigError(
            f"pathways.{name}.augmentation: cut motion takes windows of its own, and a mirrored motion is "
            "another one; leave augmentation out"
        )
