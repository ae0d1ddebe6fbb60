"""The decoders' bench gives complete rows; how fast they are is not tested here."""

import pytest

from pipelines.decode.video_decord import is_installed
from raytrain.bench import video


def test_rows_are_complete(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAYTRAIN_TEST_DATA", raising=False)
    rows = {row["name"]: row for row in video.run(repeats=1, num_frames=45, size=(64, 48))}
    decoders = ["pyav", *(["decord"] if is_installed() else [])]
    rates = [
        f"{name}: {kind}, {plan} frames"
        for kind in video.CODECS
        for plan in ("16", "all")
        for name in decoders
    ]
    assert list(rows) == [*rates, "in a child process: 16 frames", "in a child process: all frames"]
    for name, row in rows.items():
        assert set(row) == {"name", "value", "unit", "against", "ratio", "bound"}
        assert row["value"] > 0
        assert row["unit"] == ("ms/clip" if "child" in name else "frames/s")
        if name.startswith("pyav"):
            assert row["against"] is row["ratio"] is None
        else:
            assert row["ratio"] == pytest.approx(row["value"] / row["against"])
