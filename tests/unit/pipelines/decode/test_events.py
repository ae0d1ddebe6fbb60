"""Every format against plain writers, real files, tonic where it is right; damaged recordings."""

import importlib
import io
import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.decode.events import decode_events
from pipelines.forms.quarantine import BadSample
from pipelines.forms.recording import Recording, count_picture, cut_recording
from tests.event_files import (
    aedat2_file,
    aedat3_file,
    aedat4_file,
    bin_file,
    dat_file,
    npy_file,
    random_recording,
    same,
    xytp,
)

RECORDING = random_recording()
STRUCTURED = np.rec.fromarrays([RECORDING.t, RECORDING.x, RECORDING.y, RECORDING.p > 0], names="t,x,y,p")
XYPT = np.stack([RECORDING.x, RECORDING.y, RECORDING.p, RECORDING.t], axis=1)
FILES = {
    "a.bin": bin_file(RECORDING),
    "a.dat": dat_file(RECORDING),
    "two.aedat": aedat2_file(RECORDING),
    "three.aedat": aedat3_file(RECORDING),
    "lz4.aedat4": aedat4_file(RECORDING),
    "zstd.aedat4": aedat4_file(RECORDING, codec=3),
    "none.aedat4": aedat4_file(RECORDING, codec=0),
    "signs.npy": npy_file(xytp(RECORDING)),
    "seconds.npy": npy_file(xytp(RECORDING, seconds=True)),
    "bits.npy": npy_file(xytp(RECORDING, signs=False).astype(np.float32)),
    "xypt.npy": npy_file(XYPT),
    "structured.npy": npy_file(np.asarray(STRUCTURED)),
}


def decode(data: bytes, name: str, **settings: float) -> Recording:
    return decode_events(data, name=name, **{"width": 128, "height": 128, **settings})


@pytest.mark.parametrize("name", FILES)
def test_every_format_gives_the_same_events(name):
    found = decode(FILES[name], name)
    assert same(found, RECORDING)
    assert (found.width, found.height) == (128, 128)


@pytest.mark.parametrize("name", FILES)
def test_no_events_and_one(name):
    index = list(FILES).index(name)
    writers = [
        bin_file,
        dat_file,
        aedat2_file,
        aedat3_file,
        aedat4_file,
        lambda r: aedat4_file(r, codec=3),
        lambda r: aedat4_file(r, codec=0),
        lambda r: npy_file(xytp(r)),
        lambda r: npy_file(xytp(r)),
        lambda r: npy_file(xytp(r, signs=False)),
        lambda r: npy_file(np.stack([r.x, r.y, r.p, r.t], axis=1)),
        lambda r: npy_file(np.asarray(np.rec.fromarrays([r.t, r.x, r.y, r.p], names="t,x,y,p"))),
    ]
    for count in (0, 1):
        part = RECORDING.part(0, count)
        # The one event of [1, 4] numbers does not tell stamps from places.
        columns = "xypt" if name == "xypt.npy" else "xytp"
        assert same(decode(writers[index](part), name, columns=columns), part)


def test_a_file_says_the_size_of_its_sensor_unless_the_caller_does():
    assert decode_events(FILES["lz4.aedat4"], name="a").width == 34
    assert decode_events(FILES["two.aedat"], name="a").height == 128
    sized = decode_events(dat_file(RECORDING, sized=True), name="a.dat")
    assert (sized.width, sized.height) == (304, 240)
    assert decode_events(FILES["a.bin"], name="a.bin").width == 0


def test_of_several_streams_of_events_the_first_is_read_and_said():
    two = FILES["none.aedat4"].replace(b">IMUS<", b">EVTS<")
    with pytest.raises(BadSample, match="holds something else"):  # which the first of them now does
        decode(two, "a.aedat4")
    assert decode(FILES["none.aedat4"], "a.aedat4").read_as == ""
    three = FILES["none.aedat4"].replace(b'name="0"', b'name="7"').replace(b">IMUS<", b">EVTS<")
    assert decode(three, "a.aedat4").read_as == "the first of 2 streams of events"


def test_marks_of_the_clock_move_all_that_follows():
    late = random_recording(start_us=(1 << 23) - 300)
    data = bin_file(late)
    assert len(data) > 5 * len(late)
    assert same(decode(data, "a.bin"), late)


@pytest.mark.parametrize("write", [dat_file, aedat2_file])
def test_stamps_that_run_over_32_bits_go_on(write):
    late = random_recording(start_us=2**32 - 500)
    assert same(decode(write(late), "a.dat"), late)


def test_the_overflow_of_an_aedat3_packet_counts():
    late = random_recording(start_us=3 * 2**31 + 7)
    assert same(decode(aedat3_file(late), "a.aedat"), late)


def test_special_events_of_the_dvs128_are_no_pixels():
    data = FILES["two.aedat"]
    assert same(decode(data + struct.pack(">II", 0x8000, 10**6), "a.aedat"), RECORDING)


def test_ticks_of_an_array_may_be_given():
    found = decode(npy_file(XYPT), "a.npy", tick_us=1000)
    assert np.array_equal(found.t, RECORDING.t * 1000)


def test_hdf5(tmp_path):
    h5py = pytest.importorskip("h5py", reason="h5py is not installed")
    for group, names, offset in (("events/", "xytp", 0), ("", ("xs", "ys", "ts", "ps"), 50)):
        file = io.BytesIO()
        with h5py.File(file, "w") as h5:
            for name, column in zip(names, "xytp", strict=True):
                h5[group + name] = getattr(RECORDING, column)
            if offset:
                h5["t_offset"] = offset
        found = decode(file.getvalue(), "a.h5")
        assert np.array_equal(found.t, RECORDING.t + offset)
        assert np.array_equal(found.x, RECORDING.x)


def with_columns(**columns: object) -> np.ndarray:
    table = xytp(RECORDING).astype(np.float64)
    for name, values in columns.items():
        table[:, "xytp".index(name)] = values
    return table


BACK = RECORDING.t.copy()
BACK[[100, 200]] = BACK[[200, 100]] + [0, -1000]
DAMAGED = {
    "odd bytes": ("a.bin", FILES["a.bin"][:-2], "no whole number of events of 5 bytes"),
    "odd bytes of dat": ("a.dat", FILES["a.dat"][:-3], "no whole number of events of 8 bytes"),
    "odd bytes of aedat2": ("a.aedat", FILES["two.aedat"][:-3], "no whole number"),
    "cut aedat3": ("a.aedat", FILES["three.aedat"][:-13], "ends after the file|header of a packet"),
    "cut aedat4": ("a.aedat4", FILES["lz4.aedat4"][:-13], "cut off or damaged"),
    "cut header": ("a.aedat4", FILES["lz4.aedat4"][:40], "cut off or damaged|no stream"),
    "no end of header": ("a.aedat", b"#!AER-DAT2.0 # no line", "header has no end"),
    "no end of header of aedat3": ("a.aedat", b"#!AER-DAT3.1\r\n# no end\r\n", "header has no end"),
    "no end of header of dat": ("a.dat", b"% no line", "header has no end"),
    "only the header of dat": ("a.dat", b"% line\n", "ends within its header"),
    "dat of other events": ("a.dat", b"% line\n\x0e\x08", "type 14 and 8 bytes"),
    "aedat5": ("a.aedat", b"#!AER-DAT5.0\r\n", "'5.0'"),
    "another chip": ("a.aedat", aedat2_file(RECORDING, chip=b"eu.DAVIS240C"), "DAVIS240C; only DVS128"),
    "empty and unknown": ("a.xyz", b"", "is empty"),
    "unknown": ("a.xyz", b"hello events", "begins with b'hello ev'"),
    "pickle": ("a.npy", npy_file(np.array([{}], dtype=object)), "cannot be read"),
    "cut npy": ("a.npy", FILES["signs.npy"][:200], "cannot be read"),
    "a header that is no Python": (
        "a.npy",
        FILES["structured.npy"][:27] + b"\0" + FILES["structured.npy"][28:],
        "cannot be read",
    ),
    "half a header of npy": ("a.npy", FILES["signs.npy"][:9], "cannot be read"),
    "not four columns": ("a.npy", npy_file(np.zeros((5, 3))), r"shape \(5, 3\)"),
    "no fields": ("a.npy", npy_file(np.zeros(3, [("x", int), ("y", int)])), "x, y, t, p are needed"),
    "texts": ("a.npy", npy_file(np.full((3, 4), "a")), "events are"),
    "x outside": ("a.bin", bin_file(random_recording(width=250)), "x = .* outside the sensor of 128 px"),
    "y outside": ("a.npy", npy_file(with_columns(y=128)), "y = 128 of event 0 .* 300 of 300 events"),
    "x negative": ("a.npy", npy_file(with_columns(x=-1)), "x = -1"),
    "x huge": ("a.npy", npy_file(with_columns(x=1e300)), "x = "),
    "x not whole": ("a.npy", npy_file(with_columns(x=0.5)), "no pixels' numbers"),
    "x not a number": ("a.npy", npy_file(with_columns(x=np.nan)), "no pixels' numbers"),
    "t not a number": ("a.npy", npy_file(with_columns(t=np.nan)), "not finite"),
    "t without end": ("a.npy", npy_file(with_columns(t=np.inf)), "not finite"),
    "t huge": ("a.npy", npy_file(with_columns(t=1e300)), "too large"),
    "t huge and whole": ("a.npy", npy_file(np.full((2, 4), 2**62) * [0, 0, 1, 0]), "too large"),
    "p of many values": ("a.npy", npy_file(with_columns(p=np.arange(300) - 5)), "polarities"),
    "p of dat": ("a.dat", dat_file(RECORDING) + struct.pack("<II", 2**31, 7 << 28), "polarity 7"),
    "time runs back": (
        "a.npy",
        npy_file(with_columns(t=BACK)),
        r"time runs back at \d of 300 events, first at event 101: ",
    ),
    "time runs back in bin": (
        "a.bin",
        FILES["a.bin"][5:] + FILES["a.bin"][:5],
        "time runs back at 1 of 300 events, first at event 299: ",
    ),
    "unknown compression": (
        "a.aedat4",
        FILES["none.aedat4"].replace(struct.pack("<iiqI", 12, 0, -1, 4), struct.pack("<iiqI", 12, 9, -1, 4)),
        "compression 9 is not known",
    ),
    "no stream of events": (
        "a.aedat4",
        FILES["lz4.aedat4"].replace(b">EVTS<", b">FRME<"),
        "no stream of events",
    ),
}


@pytest.mark.parametrize("name", DAMAGED)
def test_a_damaged_recording_says_what_is_wrong(name):
    file, data, reason = DAMAGED[name]
    with pytest.raises(BadSample, match=reason):
        decode(data, file)


def test_all_stamps_equal_and_an_unknown_sensor_are_no_fault():
    flat = Recording(x=RECORDING.x, y=RECORDING.y, t=np.full(300, 7), p=RECORDING.p)
    found = decode_events(npy_file(xytp(flat)), name="a.npy")
    assert same(found, flat)
    assert (found.width, found.duration_us) == (0, 0)


@settings(max_examples=60, deadline=None)
@given(
    name=st.sampled_from(sorted(FILES)),
    flips=st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 255)), max_size=8),
    cut=st.integers(0, 10**6),
)
def test_no_damage_is_a_crash(name, flips, cut):
    data = bytearray(FILES[name])
    for place, value in flips:
        data[place % len(data)] = value
    try:
        found = decode(bytes(data[: len(data) - cut % 40]), name)
    except BadSample:
        return
    assert (np.diff(found.t) >= 0).all()
    assert found.x.max(initial=0) < 128
    assert set(np.unique(found.p)) <= {0, 1}


def test_slices_of_time_and_of_events():
    by_time = list(cut_recording(RECORDING, slice_us=100))
    start = int(RECORDING.t[0])
    for number, piece in enumerate(by_time):
        assert same(piece, RECORDING.between(start + 100 * number, start + 100 * (number + 1)))
    by_count = list(cut_recording(RECORDING, slice_events=70))
    assert [len(piece) for piece in by_count] == [70, 70, 70, 70]  # the last 20 are less than half
    assert [len(piece) for piece in cut_recording(RECORDING, slice_events=80)] == [80, 80, 80, 60]
    assert [len(piece) for piece in cut_recording(RECORDING, slice_events=1000)] == [300]
    assert same(next(cut_recording(RECORDING)), RECORDING)
    assert len(list(cut_recording(RECORDING.part(0, 0), slice_us=5))) == 1


def test_a_slice_without_events_is_left_out():
    gap = Recording(
        x=np.zeros(2, np.uint16), y=np.zeros(2, np.uint16), t=np.array([0, 950]), p=np.zeros(2, np.uint8)
    )
    assert [len(piece) for piece in cut_recording(gap, slice_us=100)] == [1, 1]


def test_the_picture_of_counts():
    one = Recording(
        x=np.array([1, 1, 2], np.uint16),
        y=np.array([0, 0, 1], np.uint16),
        t=np.arange(3),
        p=np.array([1, 1, 0], np.uint8),
        width=4,
        height=2,
    )
    picture = count_picture(one)
    assert picture.shape == (3, 2, 4)
    assert (picture[0] > 0).nonzero() == (0, 1)
    assert (picture[2] > 0).nonzero() == (1, 2)
    assert not picture[1].any()
    assert not count_picture(one.part(0, 0)).any()


def test_real_files(real_data: Path):
    folder = real_data / "event_samples"
    big = decode_events((folder / "sample.aedat4").read_bytes(), name="sample.aedat4")
    assert (len(big), big.width, big.height, big.duration_us) == (111954, 320, 240, 589917)
    cars = decode_events((folder / "sample_ncars.dat").read_bytes(), name="a.dat", width=120, height=100)
    assert (len(cars), cars.duration_us) == (2009, 99952)
    for path in sorted((real_data / "dvs128_objects").glob("*.aedat")):
        found = decode_events(path.read_bytes(), name=path.name)
        assert found.width == 128
        assert len(found) > 100_000


def test_marks_and_events_as_tonic_reads_them(real_data: Path):
    reader = _tonic("tonic.io").read_mnist_file
    dtype = np.dtype([("x", int), ("y", int), ("t", int), ("p", int)])
    for path in sorted((real_data / "nmnist").rglob("*.bin"))[::20]:
        theirs, ours = reader(str(path), dtype), decode(path.read_bytes(), path.name)
        assert all(np.array_equal(theirs[name], getattr(ours, name)) for name in "xytp")


def test_tonic_cannot_read_the_dvs128_at_all(real_data: Path):
    io = _tonic("tonic.io")
    with pytest.raises(ValueError, match="unpack"):
        io.read_dvs_128(str(real_data / "dvs128_objects" / "Caixa.aedat"))


def test_aedat4_as_the_aedat_package_reads_it(real_data: Path):
    aedat = pytest.importorskip("aedat", reason="aedat is not installed")
    path = real_data / "event_samples" / "sample.aedat4"
    theirs = np.concatenate([packet["events"] for packet in aedat.Decoder(path) if "events" in packet])
    ours = decode_events(path.read_bytes(), name=path.name)
    assert all(np.array_equal(theirs[name], getattr(ours, name)) for name in "txy")
    assert np.array_equal(theirs["on"], ours.p)


def _tonic(module: str):
    pytest.importorskip("tonic", reason="tonic is not installed", exc_type=ImportError)
    return importlib.import_module(module)


ORDERS = {
    "xytp": [0, 1, 2, 3],
    "xypt": [0, 1, 3, 2],
    "txyp": [2, 0, 1, 3],
    "tpxy": [2, 3, 0, 1],
    "pxyt": [3, 0, 1, 2],
}


@pytest.mark.parametrize("scale", [1, 1e-6], ids=["microseconds", "seconds"])
@pytest.mark.parametrize("order", ORDERS.values(), ids=ORDERS)
@pytest.mark.parametrize("by_rows", [False, True])
def test_columns_are_told_apart_by_their_values(order: list[int], scale: float, *, by_rows: bool) -> None:
    events = xytp(RECORDING) * np.array([1, 1, scale, 1])
    array = np.ascontiguousarray(events[:, order].T if by_rows else events[:, order])
    found = decode(npy_file(array), "a.npy")
    for name in "xytp":
        np.testing.assert_array_equal(getattr(found, name), getattr(RECORDING, name))


def test_events_that_come_a_little_late_are_sorted_in_and_counted() -> None:
    stamps = np.arange(0, 30_000, 100)
    late = stamps.copy()
    late[[50, 120]] -= 900
    events = xytp(RECORDING)
    events[:, 2] = late
    found = decode(npy_file(events), "a.npy", sort_within_us=1000)
    order = np.argsort(late, kind="stable")
    assert found.num_late == 2
    np.testing.assert_array_equal(found.t, late[order])
    np.testing.assert_array_equal(found.x, events[order, 0])
    with pytest.raises(BadSample, match=r"time runs back at 2 of 300 .* the latest by 800 us"):
        decode(npy_file(events), "a.npy", sort_within_us=800)
    assert decode(npy_file(xytp(RECORDING)), "a.npy", sort_within_us=1000).num_late == 0
