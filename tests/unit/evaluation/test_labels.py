import numpy as np
import pytest

from raytrain.errors import DataError
from raytrain.evaluation.labels import group_members, taught


def test_classes_become_columns_in_order() -> None:
    lesson = taught([7, 2, 7, 4], num_rows=4, num_classes=9, name="x")
    assert lesson.columns.tolist() == [2, 4, 7]
    np.testing.assert_array_equal(lesson.hot(), [[0, 0, 1], [1, 0, 0], [0, 0, 1], [0, 1, 0]])
    np.testing.assert_array_equal(lesson.signs(), 2 * lesson.hot() - 1)
    scores = np.array([[0.0, 1, 2], [3, 1, 2], [1, 5, 2], [0, 9, 1]])
    assert lesson.decide(scores).tolist() == [7, 2, 4, 4]
    assert (lesson.right(scores), lesson.decisions(4)) == (3, 4)
    assert lesson.right(scores[2:], slice(2, 4)) == 1
    np.testing.assert_array_equal(lesson.shares, lesson.hot().mean(axis=0))
    np.testing.assert_array_equal(lesson.take(np.array([3, 0])).hot(), lesson.hot(np.array([3, 0])))


def test_label_sets_are_decided_at_a_boundary() -> None:
    sets = np.array([[1, 0], [0, 0], [1, 1]])
    lesson = taught(sets, num_rows=3, num_classes=2, name="x")
    scores = np.array([[0.6, 0.4], [0.7, -0.1], [0.2, 0.5]])
    np.testing.assert_array_equal(lesson.decide(scores), [[1, 1], [1, 0], [1, 1]])
    np.testing.assert_array_equal(lesson.decide(scores, boundary=0.5), [[1, 0], [1, 0], [0, 0]])
    assert lesson.decide(scores).dtype == np.uint8
    assert (lesson.right(scores), lesson.decisions(3)) == (4, 6)
    assert lesson.right(scores[1:], np.array([1, 2])) == 3
    np.testing.assert_array_equal(lesson.shares, sets.mean(axis=0))
    assert lesson.right(scores, boundary=0.5) == 3


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([0, 0, 0], r"x: training labels \[0\]; needs two classes or more"),
        ([0, 1, 5], r"x: training labels \[0, 1, 5\]; .* all in 0\.\.4"),
        ([-1, 1, 2], r"all in 0\.\.4"),
        ([0, 1], r"x: 3 rows, but labels \(2,\)"),
        (np.zeros((3, 2, 2)), r"3 rows, but labels \(3, 2, 2\)"),
        (np.full((3, 2), 0.5), r"x: label sets \(3, 2\) must hold 0 and 1 in one column or more"),
    ],
)
def test_labels_that_do_not_fit(labels: list[int], message: str) -> None:
    with pytest.raises(DataError, match=message):
        taught(labels, num_rows=3, num_classes=5, name="x")


def test_groups() -> None:
    assert group_members([9, 4, 9], num_rows=3, name="x").tolist() == [1, 0, 1]
    with pytest.raises(DataError, match=r"x: 3 rows, but groups \(2,\)"):
        group_members([1, 2], num_rows=3, name="x")
    with pytest.raises(DataError, match="x: all training samples are of one group"):
        group_members([1, 1, 1], num_rows=3, name="x")
