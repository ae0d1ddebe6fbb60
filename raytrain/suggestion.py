"""Which preset reads what lies at a place, and the command that trains it."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch

from pipelines.sources import open_manifest
from pipelines.sources.look import Look, look
from pipelines.storage.manifest import Manifest
from raytrain.config import DataConfig, RunConfig, load_preset, presets_taking
from raytrain.config.flags import as_flags, differing, with_values
from raytrain.config.stems import NoStemConfig
from raytrain.errors import ConfigError, DataError
from raytrain.training.estimate import setup_to_look_at

_SMALL_WIDTH = 0.25
"""of encoders that are trained on a laptop"""


@dataclass(frozen=True, kw_only=True)
class Suggestion:
    """Settings that read some data, and how to train with them."""

    look: Look
    config: RunConfig
    """of the first preset that takes the data; of one that fits least badly where none does"""
    refused: str = ""
    """why no preset takes the data as they are"""

    def lines(self) -> Iterator[str]:
        """Yield what is to be said below a report; the last line is the command, as a shell takes it."""
        for note in self.look.notes:
            yield f"NOTE       {note}"
        if self.refused:
            yield f"no preset takes these data as they are: {self.refused}"
            return
        others = [name for name in presets_taking(self.config.modality) if name != self.config.preset]
        yield f"presets    for {self.look.kind}, also: {', '.join(others)}; see `raytrain list presets`"
        yield "to train:"
        yield self.command

    @property
    def command(self) -> str:
        """The command that trains on the data."""
        base = load_preset(self.config.preset)
        flags = {"data.root": self.config.data.root} | differing(self.config, base)
        return f"raytrain train {self.config.preset} {as_flags(flags)}"


def suggest(config: DataConfig, refine: Callable[[DataConfig], DataConfig] = lambda data: data) -> Suggestion:
    """Return settings that read the data at config.root, by looking at what lies there.

    config: what is said of the data; anything else is found out. refine: sets what was said again, on the
    settings of a preset.

    Raises:
        DataError, ConfigError: nothing there is read; see `pipelines.sources.look`.
        StorageError: storage failed for longer than the retries.
    """
    found = look(config)
    refused: list[tuple[RunConfig | None, str]] = []
    for name in _ranked(found):
        run = None
        try:
            run, manifest = _run_of(name, found, config, refine)
            setup = setup_to_look_at(run, manifest)
            for pathway in run.pathways:
                setup.pathway(pathway, torch.device("cpu"))
            return Suggestion(look=found, config=run)
        except (ConfigError, DataError) as error:
            refused.append((run, str(error)))
    run, why = next(((run, why) for run, why in refused if run), refused[0])
    if run is None:
        raise ConfigError(
            f"data.root {config.root}: holds {found.kind}, which no preset takes as they are: {why}"
        )
    return Suggestion(look=found, config=run, refused=why)


def _run_of(
    name: str, found: Look, config: DataConfig, refine: Callable[[DataConfig], DataConfig]
) -> tuple[RunConfig, Manifest]:
    """Return a preset's settings on the data, and their manifest.

    Raises:
        ConfigError, DataError: they cannot be read with its settings.
    """
    base = load_preset(name)
    source = base.data.source if base.data.source == found.source else "auto"
    data = refine(with_values(base.data, {"source": source, "root": config.root} | found.values))
    manifest = open_manifest(data)
    return _adjusted(with_values(base, {"data": data}), manifest), manifest


def _ranked(found: Look) -> list[str]:
    """Return the presets for the kind of samples, the one to begin with first.

    Small ones before those of a paper's size, those made for the layout before others, those of generated
    data last; then the cheaper ones, fixed operators before stems, of equals the one that compares most.
    """

    def rank(name: str) -> tuple[bool, bool, bool, float, bool, int]:
        config = load_preset(name)
        pathways = config.pathways.values()
        width = max(getattr(pathway.encoder, "width", 0.0) for pathway in pathways)
        return (
            width > _SMALL_WIDTH,
            found.source == "auto" or config.data.source != found.source,
            config.data.is_generated,
            config.training.epochs * width**2,
            any(not isinstance(pathway.stem, NoStemConfig) for pathway in pathways),
            -len(pathways),
        )

    return sorted(presets_taking(found.manifest.modality), key=rank)


def _adjusted(config: RunConfig, manifest: Manifest) -> RunConfig:
    """Return the settings with what few or unlabelled samples need."""
    values: dict[str, object] = {}
    if not all(len(manifest.indices(split)) for split in ("probe_train", "test")):
        values["probe.enabled"] = False
    num_samples = len(manifest.indices("pretrain"))
    if 2 <= num_samples < config.training.batch_size:
        values["training.batch_size"] = num_samples // 2 * 2
    return with_values(config, values)
