"""The shortcut score: the formula written plainly, planted light, and German traffic signs."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from pipelines.forms.randomness import generator
from pipelines.sources import open_manifest
from pipelines.views.operators import build_operator
from raytrain import api
from raytrain.cli import main
from raytrain.config import (
    AugmentationConfig,
    ClappConfig,
    DtcwtConfig,
    IdentityConfig,
    LbpConfig,
    PatchesConfig,
    PathwayConfig,
    RgConfig,
    RunConfig,
    SupervisedConfig,
    from_mapping,
    load_preset,
)
from raytrain.evaluation import shortcut
from raytrain.evaluation.shortcut import (
    area_under_roc,
    measure_shortcuts,
    patch_light,
    rank_correlation,
    score_of,
    shortcut_auc,
    shortcut_lines,
    shortcut_scores,
)
from raytrain.metrics import resample_counts
from raytrain.objectives.scores import Pairs
from tests.conftest import small_values

PAIRS = Pairs(num_rows=7, num_images=48, num_columns=7, num_steps=5, skip=1)


def noise(*, images=48, seed=0):
    """Independent pixels of one distribution, u8[B, 3, 64, 64]."""
    return generator("noise", seed).integers(80, 176, (images, 3, 64, 64)).astype(np.uint8)


def score(images, pathway=None, groups=None):
    light = patch_light(torch.from_numpy(images), pathway or PathwayConfig(), canvas_px=64)
    return shortcut_auc(light, np.arange(len(images)) if groups is None else groups, PAIRS)


def test_noise_gives_nothing_away():
    found = score(noise())
    assert found.estimate == pytest.approx(0.5, abs=0.02)
    assert found.low < 0.5 < found.high


def test_an_image_s_own_brightness_gives_all_away():
    levels = generator("levels").integers(0, 160, 48).astype(np.uint8)
    bright = noise() // 4 + levels[:, None, None, None]
    found = score(bright)
    assert found.estimate > 0.95
    assert found.low <= found.estimate <= found.high
    assert found.low > 0.9


def test_an_image_s_own_contrast_or_colour_gives_it_away_too():
    factors = generator("contrast").uniform(0.05, 1, 48)[:, None, None, None]
    contrast = (128 + factors * (noise().astype(float) - 128)).astype(np.uint8)
    assert score(contrast).estimate > 0.9
    tint = generator("tint").uniform(0.3, 1, (48, 3))[:, :, None, None]
    assert score((noise() * tint).astype(np.uint8)).estimate > 0.9


def test_an_operator_that_hides_the_light_hides_it_here():
    levels = generator("levels").integers(0, 160, 48).astype(np.uint8)
    bright = noise() // 4 + levels[:, None, None, None]
    assert score(bright, PathwayConfig(operator=LbpConfig())).estimate == pytest.approx(0.5, abs=0.03)
    hidden = PathwayConfig(cut=PatchesConfig(normalize="patch"))
    assert score(bright, hidden).estimate == pytest.approx(0.5, abs=0.001)


@pytest.mark.parametrize("operator", [IdentityConfig(), RgConfig(), DtcwtConfig()], ids=lambda o: o.name)
def test_light_is_mean_and_deviation_of_each_channel_of_each_patch(operator):
    images = torch.from_numpy(noise(images=5))
    config = PathwayConfig(operator=operator, augmentation=AugmentationConfig(crop_px=48, flip=True))
    light = patch_light(images, config, canvas_px=64)
    maps = build_operator(operator)(images[:, :, 8:56, 8:56].contiguous()).double().numpy()
    channels = maps.shape[1]
    assert light.shape == (5, 5, 5, 2 * channels)
    unit = maps.std((0, 2, 3))
    patch = maps[3, :, 8 * 2 : 8 * 2 + 16, 8 * 4 : 8 * 4 + 16]
    expected = (patch.mean((1, 2)) - maps.mean((0, 2, 3))) / unit
    np.testing.assert_allclose(light[2, 3, 4, :channels], expected, atol=6e-3)
    np.testing.assert_allclose(light[2, 3, 4, channels:], patch.std((1, 2)) / unit, atol=6e-3)


def test_the_area_counts_wins_and_half_the_ties():
    rng = generator("area")
    first, second = rng.integers(0, 9, 40), rng.integers(0, 7, 30)
    wins = [float(a > b) + 0.5 * (a == b) for a in first for b in second]
    assert area_under_roc(first, second) == pytest.approx(np.mean(wins))
    assert area_under_roc([1.0, 1.0], [1.0]) == 0.5


def small_light():
    rng = generator("light")
    return rng.normal(size=(4, 6, 2, 3)) + 0.7 * rng.normal(size=(1, 6, 1, 3))


def closeness_of_pairs(light):
    """Return the two kinds' scores and the context's image of each pair, by loops."""
    steps, skip, num_images = 2, 1, light.shape[1]
    away = generator(0, "shortcut").integers(1, num_images, (steps, num_images))
    same, different, image = [], [], []
    for k in range(steps):
        for row in range(4 - (k + 1 + skip)):
            for b in range(num_images):
                for column in range(2):
                    context, below = light[row, b, column], light[row + k + 1 + skip]
                    same.append(-((context - below[b, column]) ** 2).sum())
                    other = (b + away[k, b]) % num_images
                    assert other != b
                    different.append(-((context - below[other, column]) ** 2).sum())
                    image.append(b)
    return np.array(same), np.array(different), np.array(image)


def test_the_score_is_the_formula():
    pairs = Pairs(num_rows=4, num_images=6, num_columns=2, num_steps=2, skip=1)
    light, groups = small_light(), np.array([0, 0, 1, 1, 2, 3])
    same, different, image = closeness_of_pairs(light)
    found = shortcut_auc(light, groups, pairs)
    assert found.estimate == pytest.approx(area_under_roc(same, different))
    areas = []
    for counts in resample_counts(4, num_resamples=shortcut.NUM_BOOTSTRAP, seed=0):
        for drawn in counts.astype(int):
            times = drawn[groups[image]]
            areas.append(area_under_roc(np.repeat(same, times), np.repeat(different, times)))
    expected = np.quantile(areas, (0.025, 0.975))
    np.testing.assert_allclose((found.low, found.high), expected, atol=0.01)


def test_a_constant_channel_says_nothing():
    light = small_light()
    groups, pairs = np.arange(6), Pairs(num_rows=4, num_images=6, num_columns=2, num_steps=2, skip=1)
    constant = np.concatenate([light, np.full((*light.shape[:3], 1), 0.3)], axis=-1)
    assert shortcut_auc(constant, groups, pairs) == shortcut_auc(light, groups, pairs)
    assert shortcut_auc(constant[..., -1:], groups, pairs).estimate == 0.5


def shapes(**pathways):
    values = small_values(data__shapes={"num_train": 40, "num_test": 16})
    return dataclasses.replace(from_mapping(values), pathways=pathways)


def pathway(operator, *, objective=None, **cut):
    return PathwayConfig(
        operator=operator,
        objective=objective or ClappConfig(num_steps=1),
        cut=PatchesConfig(**cut),
        augmentation=AugmentationConfig(crop_px=32),
    )


def scores_of(config: RunConfig):
    return shortcut_scores(config, open_manifest(config.data))


def test_equal_views_share_a_score_and_other_settings_have_their_own():
    config = shapes(
        one=pathway(DtcwtConfig()),
        two=pathway(DtcwtConfig()),
        bands=pathway(DtcwtConfig(lowpass=False)),
        rg=pathway(RgConfig()),
    )
    found = measure_shortcuts(config, open_manifest(config.data))
    assert [(one.name, one.pathways) for one in found] == [
        ("dtcwt", ("one", "two")),
        ("dtcwt.bands", ("bands",)),
        ("rg", ("rg",)),
    ]
    scores = scores_of(config)
    assert scores == {one.name: round(one.score.estimate, 4) for one in found}  # twice the same
    assert score_of(scores, operator="dtcwt", pathway="two") == scores["dtcwt"]
    assert score_of(scores, operator="dtcwt", pathway="bands") == scores["dtcwt.bands"] != scores["dtcwt"]
    assert score_of(scores, operator="lbp", pathway="x") is None
    assert {(one.num_images, one.num_groups, one.num_pairs) for one in found} == {(40, 40, 2 * 40 * 3)}


def test_an_objective_without_pairs_is_asked_clapp_s_and_one_row_has_none():
    supervised = shapes(a=pathway(IdentityConfig(), objective=SupervisedConfig()))
    clapp = shapes(a=pathway(IdentityConfig()))
    assert scores_of(supervised) == scores_of(clapp)
    one_row = shapes(a=pathway(IdentityConfig(), objective=SupervisedConfig(), size_px=32))
    assert scores_of(one_row) == {}
    assert "no pairs" in shortcut_lines([])[-1]


def test_images_that_cannot_be_read_are_left_out(tmp_path: Path):
    for index in range(24):
        folder = tmp_path / "data" / f"class{index % 2}"
        folder.mkdir(parents=True, exist_ok=True)
        pixels = generator("image", index).integers(0, 256, (36, 36, 3)).astype(np.uint8)
        Image.fromarray(pixels).save(folder / f"{index}.png")
    (tmp_path / "data" / "class0" / "0.png").write_bytes(b"broken")
    data = {"source": "folder", "root": str(tmp_path / "data"), "canvas_px": 36}
    config = from_mapping(small_values(data={**data, "select_fraction": 0.0, "test_fraction": 0.0}))
    (first, *_) = measure_shortcuts(config, open_manifest(config.data))
    assert first.num_images == 23


def test_a_probed_run_has_the_scores_in_its_summary(tmp_path: Path):
    for wanted in (True, False):
        values = small_values(
            out=str(tmp_path / str(wanted)), training__epochs=1, probe={"enabled": True, "shortcut": wanted}
        )
        summary = api.train(from_mapping(values)).summary
        assert ("shortcut" in summary) is wanted
        if wanted:
            assert list(summary["shortcut"]) == ["identity", "lbp"]
            assert all(0.3 < value < 1 for value in summary["shortcut"].values())
            assert json.loads((tmp_path / "True" / "summary.json").read_text()) == summary


def test_inspect_prints_the_scores_as_a_hint(capsys: pytest.CaptureFixture[str]):
    sizes = ["--data.shapes.num-train=40", "--data.shapes.num-test=8"]
    assert main(["inspect", "shapes-demo", *sizes]) == 0
    assert "shortcut" not in capsys.readouterr().out
    assert main(["inspect", "shapes-demo", *sizes, "--shortcut"]) == 0
    said = capsys.readouterr().out
    assert "a hint" in said
    rows = [line.split() for line in said.splitlines()[-4:]]
    assert rows[1][0] == rows[1][-1] == "identity"
    assert float(rows[1][2].strip("[,")) <= float(rows[1][1]) <= float(rows[1][3].strip("]"))
    assert rows[2][0] == "lbp"
    assert said.splitlines()[-1].strip().startswith("40 images of 40 groups; no labels read")


def test_rank_correlation():
    assert rank_correlation([0.74, 0.72, 0.70, 0.60], [-3.0, -1.0, 2.0, 11.0]) == pytest.approx(-1)
    assert rank_correlation([1.0, 2.0, 3.0], [1.0, 100.0, 1000.0]) == pytest.approx(1)
    ranks = np.corrcoef([1.5, 1.5, 3, 4], [2, 1, 4, 3])[0, 1]  # ties get their mean rank
    assert rank_correlation([0.1, 0.1, 0.2, 0.3], [5.0, 4.0, 9.0, 7.0]) == pytest.approx(ranks)
    assert rank_correlation([0.7, 0.6], [1.0, 2.0]) is None
    assert rank_correlation([0.7, 0.7, 0.7], [1.0, 2.0, 3.0]) is None
    assert rank_correlation([0.7, 0.6, 0.5], [1.0, 1.0, 1.0]) is None
    with pytest.raises(ValueError, match="a gain for each score; got 3 and 2"):
        rank_correlation([0.1, 0.2, 0.3], [0.1, 0.2])


@pytest.mark.slow
def test_traffic_signs(real_data: Path):
    preset = load_preset("gtsrb-small")
    bands = PathwayConfig(operator=DtcwtConfig(lowpass=False))
    hidden = PathwayConfig(cut=PatchesConfig(normalize="patch"))
    config = dataclasses.replace(
        preset,
        data=dataclasses.replace(preset.data, root=str(real_data / "gtsrb")),
        pathways={**preset.pathways, "bands": bands, "hidden": hidden},
    )
    found = scores_of(config)
    assert found["identity"] > found["lbp"] + 0.08
    expected = {"identity": 0.74, "rg": 0.72, "dtcwt": 0.70, "dtcwt.bands": 0.67, "lbp": 0.60}
    assert {name: found[name] for name in expected} == pytest.approx(expected, abs=0.03)
    assert found["identity.hidden"] == pytest.approx(0.5, abs=0.02)
