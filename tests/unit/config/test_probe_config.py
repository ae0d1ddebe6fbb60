import pytest

from raytrain.config import ClassifierProbeConfig, ProbeConfig, from_mapping
from raytrain.config.probe import PROTOCOLS as NAMES
from raytrain.errors import ConfigError
from raytrain.evaluation.protocols import PROTOCOLS


def test_the_settings_know_the_protocols_that_there_are() -> None:
    assert tuple(PROTOCOLS) == NAMES


def test_ridge_comes_first() -> None:
    assert ProbeConfig().protocol_names == ("ridge",)
    assert ProbeConfig(protocols="knn, ridge ,classifier").protocol_names == ("ridge", "knn", "classifier")
    assert ProbeConfig(protocols="knn,logistic").protocol_names == ("knn", "logistic")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"protocols": "ridge,kn"}, "probe.protocols: unknown protocol 'kn'; did you mean 'knn'?"),
        (
            {"protocols": " , "},
            "probe.protocols is ' , '; name one or more of ridge, logistic",
        ),
        ({"protocols": "knn,knn"}, "probe.protocols is 'knn,knn'; it names a protocol twice"),
        ({"classifier": {"hidden": 0}}, "probe.classifier.hidden is 0; it must be at least 1"),
        (
            {"classifier": {"dropout": 1.0}},
            "probe.classifier.dropout is 1.0; it must be at least 0",
        ),
        ({"classifier": {"learning_rate": 0.0}}, "classifier.learning_rate is 0.0; it must be greater"),
        (
            {"classifier": {"weight_decay": -1.0}},
            "classifier.weight_decay is -1.0; it must be at least 0",
        ),
        ({"classifier": {"select_fraction": 0.0}}, "select_fraction is 0.0; it must be greater than 0"),
        (
            {"classifier": {"select_fraction": 1.0}},
            "select_fraction is 1.0; it must be at least 0",
        ),
        ({"classifier": {"hiden": 4}}, "unknown setting probe.classifier.hiden; did you mean 'hidden'?"),
    ],
)
def test_wrong_settings_are_named(values: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        from_mapping({"pathways": {"a": {}}, "probe": values}, where="run.toml")
    assert message in str(caught.value)


def test_the_defaults_are_the_papers() -> None:
    settings = ClassifierProbeConfig()
    assert (settings.hidden, settings.dropout, settings.epochs) == (512, 0.5, 30)
    assert (settings.learning_rate, settings.weight_decay) == (5e-5, 1e-5)
