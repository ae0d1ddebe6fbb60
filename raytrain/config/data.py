"""Settings of the data: source, canvas, splits, stream."""

from dataclasses import dataclass, field
from typing import Literal

from raytrain.config.checks import at_least, positive, share
from raytrain.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class ShapesConfig:
    """The generated data set: textured, coloured, lit shapes with known factors."""

    num_train: int = 1024
    num_test: int = 512
    size_px: int = 64
    seed: int = 0

    def __post_init__(self) -> None:
        at_least("data.shapes.num_train", self.num_train, 1)
        at_least("data.shapes.num_test", self.num_test, 1)
        at_least("data.shapes.size_px", self.size_px, 16)


@dataclass(frozen=True, kw_only=True)
class CsvConfig:
    """Which columns of a list say what; a column of a default name may be absent."""

    file: str = ""
    """the list below data.root; empty: the only .csv there"""
    delimiter: str = ""
    """empty: comma, semicolon or tab, whichever the header has most of"""
    path_column: str = "path"
    """file of a sample, relative to data.root"""
    label_column: str = "label"
    """class name, or several joined by label_separator; empty: unlabelled"""
    label_separator: str = ";"
    label_columns: str = ""
    """names of 0/1 columns joined by commas, one a label; replaces label_column"""
    split_column: str = "split"
    """train, pretrain, probe_train, select (or val) or test"""
    repeated: Literal["refuse", "labels"] = "refuse"
    """a file that several lines name: a mistake, or a line for each of its labels"""
    group_column: str = "group"
    """track, source image or object: never divided between splits"""

    def __post_init__(self) -> None:
        if len(self.delimiter) > 1:
            raise ConfigError(f"data.csv.delimiter is {self.delimiter!r}; it must be one character")
        if not self.path_column:
            raise ConfigError("data.csv.path_column is empty; name the column that holds the files")
        if not self.label_separator:
            raise ConfigError("data.csv.label_separator is empty; name what stands between two labels")
        if self.label_columns and len(self.label_column_names) < 2:
            raise ConfigError(
                f"data.csv.label_columns is {self.label_columns!r}; name two or more 0/1 columns joined by "
                "commas, or use data.csv.label_column"
            )

    @property
    def label_column_names(self) -> tuple[str, ...]:
        """The names in label_columns."""
        return tuple(name.strip() for name in self.label_columns.split(",") if name.strip())


@dataclass(frozen=True, kw_only=True)
class SplitRootsConfig:
    """Roots of the four splits of a run where they are not all of one data set; empty: data.root."""

    pretrain: str = ""
    probe_train: str = ""
    select: str = ""
    test: str = ""


@dataclass(frozen=True, kw_only=True)
class GeneratedClipsConfig:
    """The generated clips: textured shapes whose object or camera moves, written as encoded files."""

    num_train: int = 192
    num_test: int = 96
    size_px: int = 96
    """short side; frames are 4:3"""
    num_frames: int = 96
    rate_hz: float = 24.0
    seed: int = 0

    def __post_init__(self) -> None:
        at_least("data.generated.num_train", self.num_train, 1)
        at_least("data.generated.num_test", self.num_test, 1)
        at_least("data.generated.size_px", self.size_px, 32)
        if self.size_px % 2:
            raise ConfigError(f"data.generated.size_px is {self.size_px}; it must be even, for the encoders")
        at_least("data.generated.num_frames", self.num_frames, 2)
        positive("data.generated.rate_hz", self.rate_hz)


@dataclass(frozen=True, kw_only=True)
class VideoConfig:
    """How video files are decoded."""

    decoder: Literal["auto", "decord", "torchcodec", "pyav"] = "auto"
    """auto: decord, then torchcodec where it imports, then PyAV, whichever takes the file"""
    decode_timeout_s: float = 60.0
    """a clip that takes longer, and alone twice as long, is quarantined; its decoder is killed"""
    frame_rate_hz: float = 24.0
    """of clips that are folders of frames, which have no time stamps"""
    split_list: int = 1
    """which official list of UCF101 or HMDB51 names training and test clips: 1, 2 or 3"""

    def __post_init__(self) -> None:
        positive("data.video.decode_timeout_s", self.decode_timeout_s)
        positive("data.video.frame_rate_hz", self.frame_rate_hz)
        if self.split_list not in (1, 2, 3):
            raise ConfigError(f"data.video.split_list is {self.split_list}; there are lists 1, 2 and 3")


@dataclass(frozen=True, kw_only=True)
class GeneratedEventsConfig:
    """The generated event recordings: a textured shape that moves before a simulated sensor."""

    num_train: int = 256
    num_test: int = 128
    size_px: int = 64
    """side of the sensor"""
    duration_ms: int = 150
    seed: int = 0

    def __post_init__(self) -> None:
        at_least("data.moving_shapes.num_train", self.num_train, 1)
        at_least("data.moving_shapes.num_test", self.num_test, 1)
        at_least("data.moving_shapes.size_px", self.size_px, 16)
        at_least("data.moving_shapes.duration_ms", self.duration_ms, 10)


@dataclass(frozen=True, kw_only=True)
class EventsConfig:
    """How recordings of event cameras are read and packed."""

    sensor_width: int = 0
    """px; 0: the data set's own, or what the files say"""
    sensor_height: int = 0
    sort_within_us: int = 1000
    """events of a file that come late by less are sorted in and counted, as merged USB packets leave them; by
    more: the recording is bad"""
    columns: str = ""
    """order of the columns of .npy, .npz and .h5 files of [N, 4], e.g. txyp; empty: told by their values"""
    time_unit: Literal["auto", "s", "ms", "us", "ns"] = "auto"
    """of the stamps of .npy, .npz and .h5 files; auto: the data set's own, else told by their size"""
    slice_ms: float = 0.0
    """`raytrain prepare --shards encoded` cuts recordings into slices of this time; 0: by events, or whole"""
    slice_events: int = 0
    """... or of this number of events; 0: by time, or whole"""
    compression: Literal["none", "lz4", "zstd"] = "none"
    """of packed recordings, 9 bytes an event; lz4 saves about a sixth and is read at half the speed, zstd
    saves about half and is read at a fifth: for storage across a network"""

    def __post_init__(self) -> None:
        for name in ("sensor_width", "sensor_height", "slice_ms", "slice_events", "sort_within_us"):
            at_least(f"data.events.{name}", getattr(self, name), 0)
        for name in ("sensor_width", "sensor_height"):
            if getattr(self, name) > 2**16:
                raise ConfigError(f"data.events.{name} is {getattr(self, name)}; it must be at most {2**16}")
        if bool(self.sensor_width) != bool(self.sensor_height):
            raise ConfigError(
                f"data.events.sensor_width is {self.sensor_width}, data.events.sensor_height "
                f"{self.sensor_height}; set both or neither"
            )
        if self.columns and sorted(self.columns) != sorted("xytp"):
            raise ConfigError(
                f"data.events.columns is {self.columns!r}; it must be x, y, t and p in their order, e.g. txyp"
            )
        if self.slice_ms and self.slice_events:
            raise ConfigError("data.events.slice_ms and data.events.slice_events are both set; drop one")

    @property
    def tick_us(self) -> float:
        """Microseconds a tick of stamps, as set; 0: not set."""
        return {"auto": 0.0, "s": 1e6, "ms": 1e3, "us": 1.0, "ns": 1e-3}[self.time_unit]

    @property
    def slice_us(self) -> int:
        """Length of a slice in microseconds; 0: not by time."""
        return max(1, round(1000 * self.slice_ms)) if self.slice_ms else 0

    @property
    def cuts(self) -> bool:
        """Whether recordings are cut into slices when they are packed."""
        return bool(self.slice_ms or self.slice_events)


@dataclass(frozen=True, kw_only=True)
class DataConfig:
    """Where the samples come from and how they are streamed."""

    source: str = "auto"
    """one of `raytrain list sources`; auto: a prepared manifest, or the layout that root holds"""
    root: str = ""
    """folder of the data set or of a prepared manifest, a .tar or .zip of it, or a .csv list"""
    splits: SplitRootsConfig = field(default_factory=SplitRootsConfig)
    csv: CsvConfig = field(default_factory=CsvConfig)
    shapes: ShapesConfig = field(default_factory=ShapesConfig)
    generated: GeneratedClipsConfig = field(default_factory=GeneratedClipsConfig)
    video: VideoConfig = field(default_factory=VideoConfig)
    events: EventsConfig = field(default_factory=EventsConfig)
    moving_shapes: GeneratedEventsConfig = field(default_factory=GeneratedEventsConfig)
    canvas_px: int = 64
    """every image is brought to this square, because a batch must have one size"""
    fit: Literal["squash", "cover", "pad"] = "squash"
    select_fraction: float = 0.1
    """share of the training groups kept for model selection, when the data set has no such split"""
    test_fraction: float = 0.2
    """share of the groups kept for testing, when the data set has no test split"""
    split_seed: int = 0
    """seed of the group split; apart from the run's seed so that several seeds share one test set"""
    shared_groups: Literal["refuse", "drop"] = "refuse"
    """groups that a list puts on both sides of a split; drop: leave their training samples out"""
    cache: Literal["none", "memory", "disk"] = "none"
    """keep decoded samples: each is decoded once a run; memory starts cold when a run goes on"""
    cache_gib: float = 4.0
    """upper bound of the decoded cache"""
    quarantine_budget: float = 0.01
    """share of samples that may fail to decode before the run stops"""
    max_pixels: int = 64_000_000
    """an image that claims more pixels is quarantined unread (decompression bombs)"""
    lanes: int = 0
    """0: the least common multiple of the pathways' workers"""
    chunk_mib: float = 0.0
    """size of a chunk, the unit of decoding and broadcast; 0: up to 32 MiB, see `default_chunk_samples`"""
    window_mib: float = 256.0
    """how far the fastest pathway may run ahead of the slowest, in decoded bytes"""
    decode_tasks: Literal["auto"] | int = "auto"
    """decode tasks of a stream at a time; auto: the CPUs that the workers leave"""
    read_timeout_s: float = 60.0
    read_retries: int = 3
    lease_s: float = 120.0
    """a pathway unheard of for longer no longer holds the others"""

    def __post_init__(self) -> None:
        at_least("data.canvas_px", self.canvas_px, 16)
        share("data.select_fraction", self.select_fraction)
        share("data.test_fraction", self.test_fraction)
        share("data.quarantine_budget", self.quarantine_budget)
        at_least("data.lanes", self.lanes, 0)
        if self.decode_tasks != "auto":
            at_least("data.decode_tasks", self.decode_tasks, 1)
        at_least("data.read_retries", self.read_retries, 0)
        at_least("data.chunk_mib", self.chunk_mib, 0)
        for name in ("window_mib", "lease_s", "read_timeout_s", "cache_gib", "max_pixels"):
            positive(f"data.{name}", getattr(self, name))
        if not self.is_generated:
            return
        if self.root:
            raise ConfigError(
                f"data.root is set but data.source = {self.source} is generated; drop one of them"
            )
        named = [name for name in ("pretrain", "probe_train", "select", "test") if getattr(self.splits, name)]
        if named:
            raise ConfigError(
                f"data.splits.{named[0]} is set but data.source = {self.source} is generated; "
                "drop one of them"
            )

    @property
    def is_generated(self) -> bool:
        """Whether the data need no root."""
        return self.source in ("shapes", "clips", "moving_shapes")
