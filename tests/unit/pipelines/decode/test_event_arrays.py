"""Files of numbers: which column is what, what a tick is, and where in a file the events lie."""

import contextlib
import io
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from pipelines.decode.events import decode_events
from pipelines.decode.recordings.column_order import ORDERS, column_order
from pipelines.decode.recordings.stamps import microseconds
from pipelines.forms.quarantine import BadSample
from pipelines.forms.recording import Recording
from tests.event_files import bin_file, dat_file, npy_file, random_recording, same, xytp

RECORDING = random_recording()
TABLE = xytp(RECORDING)


def in_order(order: str, table: np.ndarray = TABLE) -> np.ndarray:
    return table[:, ["xytp".index(name) for name in order]]


def changed(**columns: object) -> np.ndarray:
    table = TABLE.astype(np.float64)
    for name, values in columns.items():
        table[:, "xytp".index(name)] = values
    return table


ODD = {
    "as drawn": TABLE,
    "y holds only 0 and 1": changed(y=np.arange(300) % 2),
    "x holds only 0 and 1": changed(x=np.arange(300) % 2),
    "y is always the same": changed(y=7),
    "x is always the same": changed(x=7),
    "y only grows": changed(y=np.arange(300) // 10),
    "only brighter events": changed(p=1),
    "seconds": changed(t=RECORDING.t * 1e-6),
    "some events come late": changed(t=np.where(np.arange(300) % 50 == 9, RECORDING.t - 30, RECORDING.t)),
}


@pytest.mark.parametrize("name", ODD)
@pytest.mark.parametrize("order", ORDERS)
def test_the_order_is_found_by_the_values(name: str, order: str) -> None:
    assert column_order(in_order(order, ODD[name]), width=34, height=30) == order


@pytest.mark.parametrize("order", ORDERS)
def test_the_order_is_found_where_the_sensor_is_unknown(order: str) -> None:
    assert column_order(in_order(order, changed(y=7))) == order


def test_where_two_orders_fit_alike_none_is_guessed() -> None:
    one = npy_file(TABLE[:1])
    with pytest.raises(
        BadSample, match=r"may be x, y, t, p or t, x, y, p; set data\.events\.columns, e.g. to"
    ):
        decode_events(one, name="a.npy", width=128, height=128)
    found = decode_events(one, name="a.npy", width=128, height=128, columns="txyp")
    assert (found.t[0], found.x[0], found.y[0]) == tuple(TABLE[0, :3])
    assert len(decode_events(npy_file(TABLE[:0]), name="a.npy")) == 0


def test_stamps_that_fall_a_little_less_often_are_no_evidence() -> None:
    rng = np.random.default_rng(0)
    one, other = rng.integers(0, 30, 300), np.sort(rng.integers(0, 30, 300)) + rng.integers(-3, 4, 300)
    table = np.stack([one, RECORDING.y, np.abs(other), RECORDING.p], axis=1)
    with pytest.raises(BadSample, match=r"the columns may be x, y, t, p or t, x, y, p"):
        column_order(table, width=34, height=40)


def test_columns_that_are_set_are_not_told_by_value() -> None:
    found = decode_events(npy_file(in_order("tyxp")), name="a.npy", columns="tyxp")
    assert same(found, RECORDING)
    assert found.read_as == "columns t, y, x, p; stamps in microseconds"


@pytest.mark.parametrize("by_rows", [False, True])
def test_four_events_of_four_numbers(by_rows: bool) -> None:
    four = RECORDING.part(100, 104)
    array = xytp(four).T if by_rows else xytp(four)
    assert same(decode_events(npy_file(array), name="a.npy", width=34, height=30), four)


UNITS = [
    ("seconds", RECORDING.t * 1e-6, 300),
    ("seconds since 1970", 1.6e9 + np.arange(0, 0.1, 1e-4), 1000),
    ("whole microseconds", RECORDING.t, 300),
    ("whole microseconds as floats", RECORDING.t.astype(np.float64), 300),
    ("microseconds with fractions", np.arange(0, 30_000, 100) + 0.25, 300),
    ("microseconds since 1970", 1_600_000_000_000_000 + RECORDING.t, 300),
    ("nanoseconds of ten seconds", np.arange(0, 10_000_000_000, 100_000), 100_000),
    ("nanoseconds since 1970", 1_600_000_000_000_000_000 + RECORDING.t * 1000, 300),
    ("a sparse minute of microseconds", np.arange(0, 60_000_000, 10_000), 6000),
    ("nanoseconds of 70 ms", np.arange(0, 70_000_000, 20_000), 3500),
    ("a hand-made ten seconds of microseconds", np.arange(0, 10_000_000, 100_000), 100),
]


@pytest.mark.parametrize(("name", "stamps", "count"), UNITS, ids=[name for name, *_ in UNITS])
def test_the_unit_is_found_by_size(name: str, stamps: np.ndarray, count: int) -> None:
    expected = {"seco": 1e6, "nano": 1e-3}.get(name[:4], 1.0)
    found, tick_us = microseconds(stamps)
    assert tick_us == expected
    assert len(found) == count
    np.testing.assert_allclose(np.diff(found), np.diff(stamps) * expected, atol=1)


def test_nanoseconds_since_1970_are_rounded_once() -> None:
    stamps = 1_600_000_000_000_000_000 + np.array([1_499, 1_500, 2_499])
    assert (microseconds(stamps)[0] - 1_600_000_000_000_000).tolist() == [1, 2, 2]


def test_a_unit_may_be_set() -> None:
    found = decode_events(npy_file(TABLE), name="a.npy", tick_us=1000)
    np.testing.assert_array_equal(found.t, RECORDING.t * 1000)
    assert found.read_as.endswith("stamps in milliseconds")


def npz(**arrays: Any) -> bytes:
    file = io.BytesIO()
    np.savez(file, **arrays)
    return file.getvalue()


FIELDS = {name: getattr(RECORDING, name) for name in "txyp"}


@pytest.mark.parametrize(
    "data",
    [
        npz(**FIELDS),
        npz(
            ts=FIELDS["t"] * 1e-6,
            xs=FIELDS["x"],
            ys=FIELDS["y"],
            polarity=FIELDS["p"] > 0,
            index=np.arange(9),
        ),
        npz(events=TABLE, labels=np.arange(3)),
        npz(arr_0=in_order("txyp")),
    ],
    ids=["columns", "long names", "an array called events", "one array"],
)
def test_npz(data: bytes) -> None:
    assert same(decode_events(data, name="a.npz", width=34, height=30), RECORDING)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (
            npz(x=FIELDS["x"], y=FIELDS["y"], t=FIELDS["t"]),
            "no arrays x, y, t, p, or one of events; it holds x, y, t",
        ),
        (npz(**FIELDS)[:-50], "cannot be read"),
        (npz(**{**FIELDS, "x": FIELDS["x"][:5]}), "columns of different lengths"),
        (npz(**{**FIELDS, "x": np.zeros((300, 2))}), r"x.*\(300, 2\).*one number an event"),
        (npz(**{**FIELDS, "x": np.array(5)}), "one number an event"),
        (npz(**{**FIELDS, "p": np.array(["a"] * 300)}), "polarities of type <U1"),
        (npz(**{**FIELDS, "p": FIELDS["p"] + 1}), "polarities of 1 and 2"),
        (npz(a=np.array([{}], dtype=object)), "pickled objects"),
    ],
)
def test_npz_that_cannot_be_read(data: bytes, reason: str) -> None:
    with pytest.raises(BadSample, match=reason):
        decode_events(data, name="a.npz")


def h5(write: Callable[[Any], None]) -> bytes:
    h5py = pytest.importorskip("h5py", reason="h5py is not installed")
    file = io.BytesIO()
    with h5py.File(file, "w") as found:
        write(found)
    return file.getvalue()


def columns_in(group: str, **more: Any) -> Callable[[Any], None]:
    def write(file: Any) -> None:
        for name, column in FIELDS.items():
            file[f"{group}/{name}"] = column
        for name, value in more.items():
            file[name.replace("__", "/")] = value

    return write


def mvsec(file: Any) -> None:
    table = TABLE.astype(np.float64) * [1, 1, 1e-6, 1] + [0, 0, 1.5e9, 0]
    file["davis/left/events"] = table
    file["davis/right/events"] = table[:5]
    file["davis/left/imu_data"] = np.zeros((9, 6))


def moved(by: int) -> Recording:
    return Recording(x=RECORDING.x, y=RECORDING.y, t=RECORDING.t + by, p=RECORDING.p)


H5 = {
    "MVSEC": (mvsec, 1_500_000_000_000_000),
    "DSEC": (
        columns_in("events", ms_to_idx=np.arange(9), t_offset=np.array([57_000_000_000])),
        57_000_000_000,
    ),
    "v2e": (
        lambda file: file.__setitem__(
            "events", in_order("txyp", xytp(RECORDING, signs=False)).astype(np.uint32)
        ),
        0,
    ),
    "M3ED": (columns_in("prophesee/left", prophesee__right__x=np.zeros(3)), 0),
    "a group of any name": (columns_in("recordings/first"), 0),
    "an offset as text": (columns_in("events", t_offset="57000000000"), 57_000_000_000),
    "an offset beside the columns": (columns_in("events", events__t_offset=50), 50),
}


@pytest.mark.parametrize("name", H5)
def test_h5(name: str) -> None:
    write, offset = H5[name]
    found = decode_events(h5(write), name="a.h5", width=34, height=30)
    assert same(found, moved(offset))
    passed_over = "davis/left/events alone, not davis/right/events; columns x, y, t, p"
    assert found.read_as.startswith(passed_over) == (name == "MVSEC")


def test_h5_of_a_codec_that_dsec_uses() -> None:
    plugin = pytest.importorskip("hdf5plugin", reason="hdf5plugin is not installed")

    def write(file: Any) -> None:
        for name, column in FIELDS.items():
            file.create_dataset(f"events/{name}", data=column, **plugin.Blosc())

    assert same(decode_events(h5(write), name="a.h5"), RECORDING)


@pytest.mark.parametrize(
    ("write", "reason"),
    [
        (
            lambda file: columns_in("one")(file) or columns_in("two")(file),
            "events lie in one and two; keep one",
        ),
        (columns_in("events", t_offset="soon"), "t_offset is object of shape"),
        (columns_in("events", t_offset=np.zeros(2)), r"t_offset is float64 of shape \(2,\)"),
        (lambda file: file.__setitem__("events/x/data", np.zeros(3)), "no columns x, y, t, p"),
        (lambda file: file.__setitem__("events", np.zeros((5, 3))), "no columns x, y, t, p"),
    ],
)
def test_h5_that_cannot_be_read(write: Callable[[Any], None], reason: str) -> None:
    with pytest.raises(BadSample, match=reason):
        decode_events(h5(write), name="a.h5")


def test_a_dat_without_a_header_holds_2d_events() -> None:
    data = dat_file(RECORDING)
    body = data[data.index(bytes([0, 8])) + 2 :]
    assert same(decode_events(body, name="a.dat"), RECORDING)


@pytest.mark.parametrize(
    ("data", "name", "reason"),
    [
        (
            b"% date 2020\n% evt 3.0\n% end\n\x01",
            "a.raw",
            "raw stream of a Prophesee camera.*metavision_file_to_hdf5",
        ),
        (b"% evt 2.0\n\x01\x02", "a.dat", "raw stream of a Prophesee camera"),
        (b"#ROSBAG V2.0\n", "a.bag", "bag of ROS.*numpy.savez"),
        (b"0.003811000 96 133 0\n", "a.txt", "text of numbers.*numpy.loadtxt"),
        (b"MATLAB 5.0 MAT-file", "a.mat", "scipy.io.loadmat"),
    ],
)
def test_formats_that_are_not_read_say_how_to_convert_them(data: bytes, name: str, reason: str) -> None:
    with pytest.raises(BadSample, match=reason):
        decode_events(data, name=name)


KINDS = ["<i8", "<u2", "<f8", "<f4", "?", "<f2", "<u8", "<U4", "<c16", "|S3", "<M8[us]"]
SHAPES = [(0,), (1,), (9,), (9, 1), (4,), (4, 4), (9, 4), (4, 9), (9, 5), (), (0, 4), (2, 3, 4), (9, 4, 1)]
WORDS = ["x", "y", "t", "p", "xs", "ts", "polarity", "events", "Events", "arr_0", "x/data", "t_offset", "é"]


def strange_values(rng: np.random.Generator, shape: tuple[int, ...] = ()) -> np.ndarray:
    if not shape or rng.random() < 0.1:
        shape = SHAPES[rng.integers(len(SHAPES))]
    elif rng.random() < 0.8:
        return np.sort(rng.integers(0, 2, shape)).astype(KINDS[rng.integers(5)])
    if rng.random() < 0.3:
        names = rng.choice(WORDS[:9], rng.integers(1, 6), replace=False)
        kind = np.dtype([(str(name), KINDS[rng.integers(len(KINDS))]) for name in names])
        return np.zeros(shape, kind)
    values = rng.choice([0, 1, -1, 7, 2**31, 2**62, 1e300, np.nan, np.inf, 0.5], shape)
    with np.errstate(all="ignore"):
        if rng.random() < 0.5:
            values = np.sort(np.abs(values), axis=0) if values.ndim else values
        return np.asarray(values, np.float64).astype(KINDS[rng.integers(len(KINDS))])


def strange_file(rng: np.random.Generator) -> tuple[str, bytes]:
    form = rng.choice(["npy", "npz", "h5"])
    file = io.BytesIO()
    if form == "npy":
        np.save(file, strange_values(rng))
        return "a.npy", file.getvalue()
    whole = rng.random() < 0.6
    names = (
        [*"xytp", "é"] if whole else [str(n) for n in rng.choice(WORDS, rng.integers(1, 7), replace=False)]
    )
    shape = (9,) if whole else ()
    if form == "npz":
        np.savez(file, **{name: strange_values(rng, shape) for name in names})
        return "a.npz", file.getvalue()
    import h5py

    with h5py.File(file, "w") as found:
        group = str(rng.choice(["", "events/", "davis/left/events/", "any/"]))
        for name in names:
            with contextlib.suppress(
                TypeError, ValueError, OSError, RuntimeError
            ):  # what h5py does not store
                found[group + name] = strange_values(rng, shape)
    return "a.h5", file.getvalue()


@pytest.mark.slow
@pytest.mark.filterwarnings("error")
def test_no_shape_type_or_name_is_a_surprise() -> None:
    """2,000 files of every shape, type and name: each is read or refused with a reason, none raises."""
    pytest.importorskip("h5py", reason="h5py is not installed")
    rng, read, reasons = np.random.default_rng(0), 0, []
    for _ in range(2000):
        name, data = strange_file(rng)
        if rng.random() < 0.2:
            damaged = bytearray(data)
            for place in rng.integers(0, len(data), 4):
                damaged[place] = rng.integers(256)
            data = bytes(damaged[: len(data) - rng.integers(0, 30)])
        try:
            found = decode_events(data, name=name, width=100, height=100)
        except BadSample as bad:
            reasons.append(bad.reason)
            continue
        read += 1
        assert (np.diff(found.t) >= 0).all()
        assert found.x.max(initial=0) < 100
    assert read + len(reasons) == 2000
    assert read > 50
    assert all(reasons)
    surprises = sorted(reason for reason in reasons if reason.startswith("cannot be read: "))
    assert len(surprises) < 100, surprises[:5]


def test_numbers_that_begin_like_a_gzip_are_events() -> None:
    one = Recording(
        x=np.array([31, 5], np.uint16),
        y=np.array([139, 6], np.uint16),
        t=np.array([0x88000, 0x88001]),
        p=np.array([0, 1], np.uint8),
    )
    data = bin_file(one)
    assert data.startswith(b"\x1f\x8b\x08")
    assert same(decode_events(data, name="a.bin", width=240, height=180), one)
    with pytest.raises(BadSample, match="it is gzipped, unpack it"):
        decode_events(b"\x1f\x8b\x08" + bytes(9), name="a.aedat")
