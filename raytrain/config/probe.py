"""Settings of the probes: what is measured, and the protocols."""

from dataclasses import dataclass, field
from typing import Literal

from raytrain.config.checks import at_least, positive, share
from raytrain.errors import ConfigError, did_you_mean

PROTOCOLS = ("ridge", "logistic", "knn", "classifier")


@dataclass(frozen=True, kw_only=True)
class ClassifierProbeConfig:
    """The trained probe of the decomposed-encoder paper: Linear, dropout, Linear, without a nonlinearity."""

    hidden: int = 512
    dropout: float = 0.5
    learning_rate: float = 5e-5
    weight_decay: float = 1e-5
    epochs: int = 30
    batch_size: int = 64
    select_fraction: float = 0.1
    """share of the training groups that picks the epoch where there is no select split"""

    def __post_init__(self) -> None:
        for name in ("hidden", "epochs", "batch_size"):
            at_least(f"probe.classifier.{name}", getattr(self, name), 1)
        share("probe.classifier.dropout", self.dropout)
        positive("probe.classifier.learning_rate", self.learning_rate)
        at_least("probe.classifier.weight_decay", self.weight_decay, 0)
        positive("probe.classifier.select_fraction", self.select_fraction)
        share("probe.classifier.select_fraction", self.select_fraction)


def protocol_names(text: str) -> tuple[str, ...]:
    """Return the protocols named in a text such as `ridge,knn`, ridge first where it is among them.

    Raises:
        ConfigError: none, an unknown one, or one twice.
    """
    names = [name.strip() for name in text.split(",") if name.strip()]
    if not names:
        raise ConfigError(f"probe.protocols is {text!r}; name one or more of {', '.join(PROTOCOLS)}")
    for name in names:
        if name not in PROTOCOLS:
            raise ConfigError(f"probe.protocols: unknown protocol {name!r}{did_you_mean(name, PROTOCOLS)}")
    if len(set(names)) < len(names):
        raise ConfigError(f"probe.protocols is {text!r}; it names a protocol twice")
    return tuple(sorted(names, key=lambda name: name != "ridge"))


@dataclass(frozen=True, kw_only=True)
class ProbeConfig:
    """What is measured on the frozen representation."""

    enabled: bool = True
    features: Literal["flat", "pooled"] = "flat"
    """flat: every cell's channels; pooled: their mean over the cells"""
    protocols: str = "ridge"
    """classifiers joined by commas: ridge, logistic, knn, classifier; a supervised pathway's own is added"""
    layers: bool = True
    """measure every layer of each pathway too: its channels averaged over the cells, by ridge"""
    subsets: bool = False
    """measure every subset of the pathways too, by ridge"""
    classifier: ClassifierProbeConfig = field(default_factory=ClassifierProbeConfig)
    batch_size: int = 64
    num_bootstrap: int = 2000
    """resamples of the test groups for the 95 % intervals"""
    max_features_gib: float = 20.0
    shortcut: bool = True
    """how far the light of a patch alone solves the task, an operator: seconds, without labels"""

    def __post_init__(self) -> None:
        at_least("probe.batch_size", self.batch_size, 1)
        at_least("probe.num_bootstrap", self.num_bootstrap, 100)
        protocol_names(self.protocols)
        positive("probe.max_features_gib", self.max_features_gib)

    @property
    def protocol_names(self) -> tuple[str, ...]:
        """The names in `protocols`, ridge first."""
        return protocol_names(self.protocols)
