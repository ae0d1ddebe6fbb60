from hypothesis import given
from hypothesis import strategies as st

from pipelines.forms.media import is_hidden

PARTS = st.sampled_from(["a", "b.png", ".c", "__MACOSX", "x__MACOSX", "__MACOSXx", "d.", "e..png"])


@given(st.lists(PARTS, min_size=1, max_size=4))
def test_hidden_is_what_a_file_manager_leaves_behind(parts: list[str]) -> None:
    expected = any(part.startswith(".") or part == "__MACOSX" for part in parts)
    assert is_hidden("/".join(parts)) == expected
