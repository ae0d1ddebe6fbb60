import numpy as np
import pytest

from pipelines.forms.quarantine import BadSample
from pipelines.generated.shapes import FACTORS, SHAPES, draw_shape
from pipelines.sources import open_manifest
from raytrain.config.data import DataConfig, ShapesConfig

SUM_OF_PIXELS = 19_580_067


def config(**shapes: int) -> DataConfig:
    return DataConfig(source="shapes", shapes=ShapesConfig(**({"num_train": 160, "num_test": 80} | shapes)))


def test_the_manifest_is_balanced_and_knows_its_factors() -> None:
    made = open_manifest(config())
    assert made.classes == tuple(SHAPES)
    assert len(SHAPES) == 8
    assert np.bincount(made.labels[made.indices("test")]).tolist() == [10] * 8
    assert np.bincount(made.labels[made.indices("pretrain")]).tolist() == [18] * 8
    assert len(made.indices("select")) == 16
    assert made.factor_names == tuple(FACTORS)
    low, high = np.array(list(FACTORS.values())).T
    assert (made.factors >= low - 1e-6).all()
    assert (made.factors <= high + 1e-6).all()
    # Independent draws that fill their ranges: no factor gives another away, nor the class.
    known = np.column_stack([made.factors, made.labels])
    assert np.abs(np.corrcoef(known.T) - np.eye(9)).max() < 0.25
    assert ((made.factors.max(0) - made.factors.min(0)) / (high - low)).min() > 0.9


def test_an_image_is_a_function_of_its_uri_only() -> None:
    made, larger = open_manifest(config()), open_manifest(config(num_train=400))
    uris, more = made.table["uri"].to_pylist(), larger.table["uri"].to_pylist()
    assert uris[-80:] == more[-80:]
    assert np.array_equal(made.factors[-80:], larger.factors[-80:])
    assert np.array_equal(draw_shape(uris[5]), draw_shape(uris[5]))
    assert draw_shape(uris[5]).shape == (3, 64, 64)
    assert draw_shape(uris[5]).dtype == np.uint8
    others = [uris[13], open_manifest(config(seed=1)).table["uri"][5].as_py(), uris[-75]]
    for other in others:
        assert np.abs(draw_shape(uris[5]).astype(int) - draw_shape(other)).mean() > 10
    # Pinned: other pixels would make figures measured before worthless.
    total = sum(int(draw_shape(uri).astype(np.int64).sum()) for uri in uris[:16])
    assert abs(total / SUM_OF_PIXELS - 1) < 1e-4


def test_the_same_scene_at_another_size() -> None:
    small = open_manifest(config(size_px=32))
    large = open_manifest(config(size_px=128))
    assert np.array_equal(small.factors, large.factors)
    for row in (0, 9, 18):
        fine = draw_shape(large.table["uri"][row].as_py()).astype(float)
        coarse = draw_shape(small.table["uri"][row].as_py())
        shrunk = fine.reshape(3, 32, 4, 32, 4).mean((2, 4))
        assert np.abs(shrunk - coarse).mean() < 2


def test_edges_are_antialiased() -> None:
    made = open_manifest(config(size_px=64))
    fine = open_manifest(config(size_px=512))
    for row in range(8):
        exact = draw_shape(fine.table["uri"][row].as_py()).astype(float).reshape(3, 64, 8, 64, 8).mean((2, 4))
        drawn = draw_shape(made.table["uri"][row].as_py())
        # A hard edge would be off by half of the contrast (about 50) along every outline.
        assert np.sqrt(((drawn - exact) ** 2).mean()) < 3.5, row


def test_light_is_a_strong_nuisance() -> None:
    made = open_manifest(config())
    images = np.stack([draw_shape(uri) for uri in made.table["uri"].to_pylist()]).astype(float)
    means = images.mean((1, 2, 3))
    left_right = images[..., 40:].mean((1, 2, 3)) - images[..., :24].mean((1, 2, 3))
    top_bottom = images[..., 40:, :].mean((1, 2, 3)) - images[..., :24, :].mean((1, 2, 3))
    direction, strength = made.factors[:, 2], made.factors[:, 3]
    assert np.corrcoef(left_right, strength * np.cos(direction))[0, 1] > 0.8
    assert np.corrcoef(top_bottom, strength * np.sin(direction))[0, 1] > 0.8
    assert means.std() > 25
    assert np.hypot(left_right, top_bottom)[strength > 0.5].mean() > 40


def test_foreign_uris_are_bad() -> None:
    for uri in ("shapes://1", "shapes://0/64/train/x", "shapes://a/64/train/0", "shapes://0/0/train/1"):
        with pytest.raises(BadSample, match=r"^no generated shape: 'shapes://"):
            draw_shape(uri)
