"""Inputs as people have them, made by a script beside the test data: each is read, or refused by a line.

What is asserted of each: the exit code of `raytrain inspect`, the samples that it counts, and words of the
line that says what is odd.
"""

import importlib.util
import re
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

import pytest

from raytrain.cli import main


class Case(NamedTuple):
    """What inspecting a case gives."""

    words: str
    """a pattern that the output holds"""
    samples: int = -1
    """-1: refused"""
    code: int = 0


IMAGES: dict[str, Case] = {
    "avif_inside": Case(r"bad +0", 40),
    "base_images": Case(r"bad +0", 40),
    "broken_link": Case(r"1 missing\)", 41),
    "capital_splits": Case(r"test +12 samples", 36),
    "class_folders_unicode_forms": Case(r"look the same and are two; merge them", code=3),
    "csv_bom_crlf_quotes": Case(r"classes +x, a, x, b", 24),
    "csv_case_of_suffix": Case(r"there is img/a/000\.png: mend the paths", code=3),
    "csv_no_header": Case(r"the header is missing; add a line", code=3),
    "csv_no_label_column": Case(r"no column 'label' \(data\.csv\.label_column\)", code=2),
    "csv_nul": Case(r"line 26: 1 fields, but the header has 2", code=3),
    "csv_one_line_a_label": Case(r"in the lines 2 and 26; .*data\.csv\.repeated = labels", code=3),
    "csv_open_quote": Case(r"line 5: field larger than field limit", code=3),
    "csv_other_headers": Case(r"no column 'path' \(data\.csv\.path_column\); known: class, image_id", code=2),
    "csv_sep_line": Case(r"classes +a, b", 24),
    "csv_suffix_left_out": Case(r"there is img/a/000\.png: mend the paths", code=3),
    "csv_upper_name": Case(r"classes +a, b", 24),
    "csv_utf16": Case(r"classes +a, b", 24),
    "csv_windows_absolute": Case(r"there is img/a/000\.png: mend the paths", code=3),
    "dollar_classes": Case(r"\$5_to_\$10, <b>&amp;, a_\$x\^\{2, back\\slash", 40),
    "kaggle_gtsrb": Case(r"classes +00000, 00001, 00002", 69),
    "latin1_name": Case(r"is not UTF-8; rename it", code=3),
    "left_behind": Case(r"left out: 7 files left behind by other programs", 20),
    "lfs_pointers": Case(r"it is a pointer of Git LFS, fetch the file by git lfs pull", 20),
    "multi_page_tiff_called_png": Case(r"float\.png: floating-point pixels", 42),
    "odd_names": Case(r"classes +-rf, 50% off #2, New York, NY", 42),
    "one_large_image": Case(r"largest 9000 x 7000", 21),
    "one_sample_class": Case(r"classes have no test samples, e\.g\. c", 43),
    "only_pgm": Case(r"bad +0", 20),
    "splits_below_a_folder": Case(r"holds the splits test, train; set data\.root to .*/my_set", code=3),
    "strange_pixels": Case(r"it is a web page, download the file again", 78),
    "symlinks": Case(r"classes +cats, dogs", 24),
    "tar_concatenated": Case(r"10 members lie behind the first end", 20),
    "tar_hard_links": Case(r"is a link; pack plain files only", code=3),
    "tar_pax": Case(r"classes +a, b", 22),
    "tar_soft_links": Case(r"is a link; pack plain files only", code=3),
    "tar_twice": Case(r"20 members have the name of an earlier one, .* the last counts", 20),
    "tar_webdataset": Case(r"more is left out than read .*20 \.cls, 20 \.json", 20),
    "tif_beside_png": Case(r"bad +0", 54),
    "tiny_and_long": Case(r"bad +0", 44),
    "zip_backslashes": Case(r"classes +a, b", 20),
    "zip_password": Case(r"is encrypted; pack it without a password", code=3),
}
CLIPS: dict[str, Case] = {
    "clips_base": Case(r"bad +0", 16),
    "clips_damaged": Case(r"sound\.mp4: holds no video, only audio", 22),
    "clips_late_key": Case(r"4 clips begin between two key frames, .* 8 in all", 12),
    "clips_odd_times": Case(r"bad +0", 15),
    "clips_pixel_formats": Case(r"bad +0", 21),
    "clips_size_changes": Case(r"bad +0", 10),
    "kinetics_small": Case(r"2 of 16 listed videos are missing", 14),
    "ucf101_some_missing": Case(r"8 clips are listed in another case", 32),
    "ucf101_spelling": Case(r"8 clips are listed in another case", 16),
}
EVENTS: dict[str, Case] = {
    "aedat2_wraps": Case(r"bad +0", 12),
    "csv_of_recordings": Case(r"columns x, y, t, p; stamps in microseconds: 500 events", 12),
    "dat_cut_off": Case(r"no whole number of events of 8 bytes; cut off", 16),
    "dat_plain": Case(r"bad +0", 12),
    "dat_without_header": Case(r"bad +0", 12),
    "dvs_gesture_original": Case(r"write windows\.csv into data\.root", code=3),
    "events_4_by_n": Case(r"columns x, y, t, p; stamps in microseconds: 800 events", 12),
    "events_npy": Case(r"columns x, y, t, p; stamps in microseconds: 800 events", 12),
    "events_npz": Case(r"stamps in microseconds: 800 events", 12),
    "events_pickled": Case(r"12 damaged.*pickled objects; save its columns by numpy\.savez", 12),
    "events_polarity_12": Case(r"12 damaged.*polarities of 1 and 2, .*subtract 1", 12),
    "events_some_empty": Case(r"bad +0", 16),
    "events_structured": Case(r"stamps in seconds: 800 events in 0\.09978 s", 12),
    "events_t_first": Case(r"columns t, x, y, p; stamps in microseconds: 800 events in 0\.02993 s", 12),
    "events_t_first_seconds": Case(r"columns t, x, y, p; stamps in seconds: 800 events in 0\.09978 s", 12),
    "events_unsorted": Case(r"12 recordings have events that come late", 12),
    "h5_compound": Case(r"stamps in microseconds: 800 events", 12),
    "h5_dsec": Case(r"stamps in microseconds: 800 events", 12),
    "h5_e2vid": Case(r"stamps in seconds: 800 events in 0\.09978 s", 12),
    "h5_mvsec": Case(r"columns x, y, t, p; stamps in seconds: 800 events in 0\.09978 s", 12),
    "h5_offset_array": Case(r"stamps in microseconds: 800 events", 12),
    "h5_t_offset_text": Case(r"stamps in microseconds: 800 events", 12),
    "h5_x_is_a_group": Case(r"12 damaged.*no columns x, y, t, p", 12),
    "nmnist_capital": Case(r"left out: 1 file of other kinds \(1 \.zip\), e\.g\. Test\.zip", 18),
    "npy_structured_2d": Case(r"stamps in microseconds: 800 events", 12),
    "npy_time_is_text": Case(r"12 damaged.*each must have one number an event", 12),
}
PRESETS = {"shapes-demo": IMAGES, "clips-small": CLIPS, "events-demo": EVENTS}
ALL = [(preset, name) for preset, cases in PRESETS.items() for name in cases]


@pytest.fixture
def script(real_data: Path) -> ModuleType:
    path = real_data.parent / "cases" / "make_cases.py"
    if not path.exists():
        pytest.skip(f"no {path}: no cases to test on")
    spec = importlib.util.spec_from_file_location("make_cases", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def root_of(folder: Path, name: str) -> Path:
    """Where a user would point data.root: at the archive, the list, or the folder."""
    kind = name.partition("_")[0]
    if kind in ("tar", "zip"):
        return folder / f"set.{kind}"
    lists = [path for path in folder.iterdir() if path.suffix.lower() == ".csv"]
    if kind == "csv":
        return lists[0]
    return folder / "set" if name == "symlinks" else folder


def inspected(preset: str, root: Path) -> int:
    arguments = ["inspect", preset, "--data.source", "auto", "--data.root", str(root)]
    if preset == "events-demo":
        arguments += ["--data.events.sensor-width", "128", "--data.events.sensor-height", "128"]
    return main(arguments)


@pytest.mark.parametrize(("preset", "name"), ALL, ids=[name for _, name in ALL])
def test_each_case_is_read_or_refused_by_a_line(
    script: ModuleType, preset: str, name: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("h5py", reason="h5py is not installed")
    (tmp_path / name).mkdir()
    script.CASES[name](tmp_path / name)
    capfd.readouterr()
    expected = PRESETS[preset][name]
    code = inspected(preset, root_of(tmp_path / name, name))
    output = "".join(capfd.readouterr())
    assert code == expected.code, output
    assert re.search(expected.words, output, re.DOTALL), output
    assert "Traceback" not in output
    if expected.samples < 0:
        assert output.strip().splitlines()[-1].startswith("raytrain: "), output
    else:
        assert f"samples    {expected.samples} of " in output


def test_cases_that_are_not_named_here_end_well_too(
    script: ModuleType, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    for name in sorted(script.CASES.keys() - {name for _, name in ALL}):
        (tmp_path / name).mkdir()
        script.CASES[name](tmp_path / name)
        codes = {inspected(preset, root_of(tmp_path / name, name)) for preset in PRESETS}
        assert codes <= {0, 2, 3}, (name, codes)
    assert "Traceback" not in "".join(capfd.readouterr())
    assert {name for _, name in ALL} <= script.CASES.keys()
