import hashlib
from collections import Counter
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.storage import columns
from pipelines.storage.columns import TEXT, codes_of, compact, repeated, text_hashes, update_digest

TEXTS = st.lists(st.text(max_size=20), max_size=40)
NULLABLE = st.lists(st.one_of(st.none(), st.text("ab", max_size=3)), max_size=30)


def digest(column: pa.ChunkedArray, name: str = "x") -> str:
    found = hashlib.sha256()
    update_digest(found, name, column)
    return found.hexdigest()


def column_of(values: list[Any], kind: pa.DataType = TEXT) -> pa.ChunkedArray:
    return pa.chunked_array([pa.array(values, kind)])


@settings(deadline=None)  # the first example makes Arrow load what it has not yet
@given(NULLABLE, st.lists(st.integers(0, 30), max_size=3), st.integers(0, 2), st.booleans())
def test_a_digest_does_not_depend_on_how_a_column_is_cut_or_stored(
    values: list[Any], cuts: list[int], form: int, sliced: bool
) -> None:
    whole = column_of(["before", *values, "behind"]) if sliced else column_of(values)
    bounds = sorted({0, len(whole), *(cut for cut in cuts if cut < len(whole))})
    pieces = [whole.slice(a, b - a).combine_chunks() for a, b in pairwise(bounds)]
    made = pa.chunked_array(pieces, TEXT)
    made = made.slice(1, len(values)) if sliced else made
    made = [made, made.cast(pa.string()), made.dictionary_encode()][form]
    assert digest(made) == digest(column_of(values))


@given(NULLABLE, NULLABLE)
def test_different_texts_have_different_digests(first: list[Any], second: list[Any]) -> None:
    assert (digest(column_of(first)) == digest(column_of(second))) == (first == second)


def test_texts_that_join_alike_nulls_kinds_and_names_are_told_apart() -> None:
    made = [
        digest(column_of(["ab", ""])),
        digest(column_of(["a", "b"])),
        digest(column_of(["", "ab"])),
        digest(column_of([None, "ab"])),
        digest(column_of(["ab", None])),
        digest(column_of(["ab", ""]), "y"),
        digest(column_of([0, 1], pa.int64())),
        digest(column_of([0, None], pa.int64())),
        digest(column_of([None, 0], pa.int64())),
        digest(column_of([0, 1], pa.float32())),
    ]
    assert len(set(made)) == len(made)


def test_blocks_are_counted_in_rows_of_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(columns, "_BLOCK", 4)
    values = [str(number) for number in range(11)]
    cut = pa.chunked_array(
        [pa.array(values[:3], TEXT), pa.array(values[3:9], TEXT), pa.array(values[9:], TEXT)]
    )
    assert digest(cut) == digest(column_of(values))
    assert digest(cut) != digest(column_of([*values[:10], "x"]))


@given(TEXTS)
def test_equal_texts_have_equal_hashes_and_others_do_not(texts: list[str]) -> None:
    hashes = text_hashes(column_of(texts)).tolist()
    assert len(hashes) == len(texts)
    assert len(set(hashes)) == len(set(texts))
    assert dict(zip(texts, hashes, strict=True)) == {
        text: text_hashes(column_of([text]))[0] for text in texts
    }


@given(TEXTS)
def test_repeated_texts_are_counted(texts: list[str]) -> None:
    counts = Counter(texts)
    found = repeated(column_of(texts))
    if len(counts) == len(texts):
        assert found is None
    else:
        assert found is not None
        assert found[0] == len(texts) - len(counts)
        assert counts[found[1]] > 1


def test_equal_hashes_of_different_texts_are_no_repetition(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(columns, "text_hashes", lambda column: np.zeros(len(column), np.uint64))
    assert repeated(column_of(["b", "a", "c"])) is None
    assert repeated(column_of(["b", "a", "b"])) == (1, "b")


@given(TEXTS, st.booleans())
def test_codes_are_numbered_by_first_appearance(texts: list[str], coded: bool) -> None:
    column = column_of(["unused", *texts]).dictionary_encode().slice(1) if coded else column_of(texts)
    codes, names = codes_of(column)
    assert [names[code].as_py() for code in codes] == texts
    assert names.to_pylist() == list(dict.fromkeys(texts))


@given(TEXTS, st.booleans())
def test_compacting_keeps_the_values(texts: list[str], coded: bool) -> None:
    made = compact(column_of(texts, pa.string()), coded=coded)
    assert made.to_pylist() == texts
    assert made.num_chunks == 1
    assert made.type == TEXT or (coded and pa.types.is_dictionary(made.type))


def test_only_columns_that_repeat_are_coded() -> None:
    assert pa.types.is_dictionary(compact(column_of(["a"] * 10), coded=True).type)
    assert compact(column_of([str(n) for n in range(10)]), coded=True).type == TEXT
    # One that only begins with repetitions.
    late = ["a"] * 5000 + [str(n) for n in range(20_000)]
    assert compact(column_of(late), coded=True).type == TEXT
