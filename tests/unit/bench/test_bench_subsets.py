"""The bench of subsets gives complete rows and equal predictions; how fast they are is not tested here."""

from pathlib import Path

import numpy as np
import pytest

from raytrain.bench import subsets
from raytrain.errors import ConfigError

SMALL = {
    "num_train": 96,
    "num_test": 24,
    "num_pathways": 3,
    "channels": 12,
    "num_classes": 3,
    "group_size": 4,
}


def test_rows_are_complete() -> None:
    rows = subsets.run(repeats=1, **SMALL)  # type: ignore[arg-type]
    assert [row["name"].split()[0] for row in rows] == ["7"] * 4
    for row in rows:
        assert set(row) == {"name", "value", "unit", "against", "ratio", "bound"}
        assert row["value"] > 0
    assert rows[0]["ratio"] == pytest.approx(rows[2]["value"] / rows[0]["value"])
    assert rows[1]["ratio"] == pytest.approx(rows[3]["value"] / rows[1]["value"])
    assert (rows[0]["bound"], rows[1]["bound"]) == (10, None)


def test_plain_fits_are_no_straw_man(tmp_path: Path) -> None:
    """They are right, and predict better than chance."""
    labels, groups = subsets._labels(120, num_classes=3, group_size=4)
    train, test = np.arange(96), np.arange(96, 120)
    files = {name: subsets._stored(tmp_path, name, labels, groups, channels=12) for name in ("p0", "p1")}
    plain = subsets.plain_fits(files, labels, groups, train, test)
    ours = subsets.shared_fits(files, labels, groups, train, test)
    assert plain.keys() == ours.keys()
    for names, predictions in ours.items():
        np.testing.assert_array_equal(predictions, plain[names])
    assert np.mean(plain["p0", "p1"] == labels[test]) > 0.5


def test_differing_predictions_are_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    plain = subsets.plain_fits

    def wrong(*given: object) -> object:
        return {names: values + (names == ("p1",)) for names, values in plain(*given).items()}  # type: ignore[arg-type]

    monkeypatch.setattr(subsets, "plain_fits", wrong)
    with pytest.raises(ConfigError, match="24 of 24 predictions of p1 differ from those of the plain fits"):
        subsets.run(repeats=1, **SMALL)  # type: ignore[arg-type]


def test_only_the_cpu_is_measured() -> None:
    with pytest.raises(ConfigError, match="--device is cuda; bench subsets measures the CPU only"):
        subsets.run(device="cuda")
