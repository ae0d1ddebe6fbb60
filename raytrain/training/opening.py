"""The data of a run: opened, or why they do not go with its settings, in the words of the preset."""

import shlex

from pipelines.modalities import MODALITIES
from pipelines.sources import SOURCES, open_manifest
from pipelines.sources.look import KINDS, NothingReadableError, described, look, reads
from pipelines.storage.manifest import Manifest
from raytrain.config import DataConfig, RunConfig, preset_names, presets_taking
from raytrain.errors import ConfigError, DataError

_LAYOUTS = {name for name, source in SOURCES.items() if source.detect}
"""of known data sets, which name the files they expect"""


def open_data(config: RunConfig) -> Manifest:
    """Return the manifest of a run's data, of the kind that its pathways take.

    Raises:
        ConfigError: samples of another kind, with the presets that take them; or settings that do not fit.
        DataError: no usable data, with what was found instead.
    """
    try:
        manifest = open_manifest(config.data)
    except (ConfigError, DataError) as error:
        raise explained(config, config.data.root, error) from error
    check_kind(config, manifest)
    return manifest


def check_kind(config: RunConfig, manifest: Manifest) -> None:
    """Raise ConfigError where the samples are of another kind than the pathways take."""
    if manifest.modality == config.modality:
        return
    name, pathway = next(iter(config.pathways.items()))
    raise ConfigError(
        f"the data are of kind {manifest.modality}, but pathways.{name}.cut {pathway.cut.name} takes "
        f"{config.modality}; {_presets_for(manifest.modality, config.data.root)}, or use "
        f"{MODALITIES[manifest.modality].wanted}"
    )


def explained(config: RunConfig, root: str, error: ConfigError | DataError) -> ConfigError | DataError:
    """Return the error of data that a preset could not open, or a better one by what lies at the root."""
    if not root or config.preset not in preset_names():
        return error
    try:
        found = look(DataConfig(root=root))
    except NothingReadableError:
        if config.data.source in _LAYOUTS:  # which says itself what it reads
            return DataError(f"{error}; {described(root)}")
        what = f"no {reads(config.modality)}, which preset {config.preset} takes"
        return DataError(f"data.root {root}: {what}; {described(root)}")
    except (ConfigError, DataError):
        return error
    kind = KINDS[config.modality]
    if found.manifest.modality != config.modality:
        return ConfigError(
            f"data.root {root}: holds {found.kind}, but preset {config.preset} takes {kind}; "
            f"{_presets_for(found.manifest.modality, root)}"
        )
    source = found.values.get("source", "auto")
    if config.data.source in ("auto", source, found.source):
        return error
    return type(error)(f"{error}; the {kind} there are read by --data.source {source}")


def _presets_for(modality: str, root: str) -> str:
    """Name the presets that take a kind of samples."""
    names = ", ".join(presets_taking(modality))
    advice = f" (`raytrain inspect {shlex.quote(root)}` gives the whole command)" if root else ""
    return f"presets for {KINDS[modality]}: {names}{advice}"
