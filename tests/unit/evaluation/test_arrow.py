import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raytrain.evaluation import arrow as module
from raytrain.evaluation.arrow import arrow_of

SIZES = [1, 2, 3, 8, 9, 10, 11, 23, 24, 25, 40]


def positive(size: int, seed: int = 0, rank: int | None = None) -> np.ndarray:
    features = np.random.default_rng([seed, size]).standard_normal((rank or size + 3, size))
    return features.T @ features


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LEAF", 4)


@pytest.mark.parametrize("size", SIZES)
def test_the_basis_is_orthogonal_and_gives_the_matrix_back(size: int) -> None:
    matrix = positive(size)
    arrow, rotation = arrow_of(matrix)
    basis = rotation.matrix()
    np.testing.assert_allclose(basis.T @ basis, np.eye(size), atol=1e-12)
    np.testing.assert_allclose(basis @ arrow.matrix() @ basis.T, matrix, atol=1e-11 * size)
    assert (len(arrow.corner) > 0) == (size > 8)


@pytest.mark.parametrize("size", SIZES)
def test_rotating_and_turning_back_are_products_with_the_basis(size: int) -> None:
    random = np.random.default_rng(size)
    rotation = arrow_of(positive(size))[1]
    basis = rotation.matrix()
    rows, coordinates = random.standard_normal((7, size)), random.standard_normal((size, 3))
    np.testing.assert_allclose(rotation.rotate(rows.copy()), rows @ basis, atol=1e-12)
    np.testing.assert_allclose(rotation.rotate(np.asfortranarray(rows)), rows @ basis, atol=1e-12)
    np.testing.assert_allclose(rotation.back(coordinates), basis @ coordinates, atol=1e-12)


@settings(max_examples=40, deadline=None)
@given(size=st.integers(1, 40), seed=st.integers(0, 1000), exponent=st.floats(-5, 3))
def test_solutions_for_every_strength(size: int, seed: int, exponent: float) -> None:
    matrix = positive(size, seed, rank=max(1, size // 2) if seed % 2 else None)
    arrow, rotation = arrow_of(matrix)
    strengths = 10.0 ** np.array([exponent, exponent + 1])
    right = np.random.default_rng(seed).standard_normal((size, 2))
    basis = rotation.matrix()
    solved = arrow.solve(basis.T @ right, strengths)
    for index, strength in enumerate(strengths):
        expected = np.linalg.solve(matrix + strength * np.eye(size), right)
        scale = np.abs(right).max() / strength
        np.testing.assert_allclose(basis @ solved[index], expected, atol=1e-9 * scale)


def test_the_border_completes_the_quadratic_form() -> None:
    matrix = positive(30)
    arrow, rotation = arrow_of(matrix)
    rows = rotation.rotate(np.random.default_rng(1).standard_normal((6, 30)))
    strengths = np.array([0.1, 5.0])
    inverse = 1 / (arrow.diagonal + strengths[:, None])
    border, schur = arrow.border_rows(rows, strengths), arrow.schur(inverse, strengths)
    split = len(arrow.diagonal)
    for index, strength in enumerate(strengths):
        inner = (rows[:, :split] * inverse[index]) @ rows[:, :split].T
        found = inner + border[index] @ np.linalg.solve(schur[index], border[index].T)
        expected = rows @ np.linalg.solve(arrow.matrix() + strength * np.eye(30), rows.T)
        np.testing.assert_allclose(found, expected, atol=1e-11)


def test_a_diagonal_needs_no_border() -> None:
    arrow, _ = arrow_of(np.diag([3.0, 1.0, 2.0]))
    assert sorted(arrow.diagonal.tolist()) == [1.0, 2.0, 3.0]
    np.testing.assert_allclose(
        arrow.solve(np.ones((3, 1)), np.array([1.0]))[0, :, 0], 1 / (arrow.diagonal + 1)
    )
    assert arrow.border_rows(np.ones((5, 3)), np.array([1.0, 2.0])).shape == (2, 5, 0)
