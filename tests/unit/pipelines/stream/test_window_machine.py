"""The broadcast's window under any order of calls, deaths and restarts."""

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from pipelines.stream.window import Window

NAMES = ("a", "b", "c")
LEASE_S = 10.0


class Broadcast(RuleBasedStateMachine):
    """A producer that makes what the window asks for, and readers that take chunk after chunk."""

    @initialize(
        readers=st.sets(st.sampled_from(NAMES), min_size=1),
        size=st.integers(1, 6),
        num_chunks=st.integers(1, 20),
        unused=st.sets(st.integers(0, 19)),
    )
    def begin(self, readers: set[str], size: int, num_chunks: int, unused: set[int]) -> None:
        self.now, self.size, self.num_chunks, self.unused = 0.0, size, num_chunks, unused
        self.cursors = dict.fromkeys(sorted(readers), 0)
        """what each reader wants next; whether the window knows of it is in `heard`"""
        self.heard: dict[str, float] = {}
        self.done: set[str] = set()
        self.window = self.make_window()

    def make_window(self) -> Window[str]:
        return Window(
            self.cursors,
            self.size,
            self.num_chunks,
            LEASE_S,
            clock=lambda: self.now,
            unused=self.unused.__contains__,
        )

    def hear(self, reader: str) -> None:
        self.window.hear(reader, self.cursors[reader])
        self.heard[reader] = self.now
        self.done.discard(reader)

    def active(self) -> dict[str, int]:
        """Cursors of the readers that hold the floor: within their lease and not done."""
        return {
            name: cursor
            for name, cursor in self.cursors.items()
            if name not in self.done and self.now - self.heard.get(name, 0.0) <= LEASE_S
        }

    def held(self) -> set[int]:
        return {chunk for chunk in range(self.num_chunks) if self.window.get(chunk) is not None}

    def missing(self, first: int, end: int) -> list[int]:
        chunks = set(range(first, min(end, self.num_chunks))) - self.held() - self.unused
        return sorted(chunks)

    @rule(data=st.data())
    def call(self, data: st.DataObject) -> None:
        self.advance(data.draw(st.sampled_from(sorted(self.cursors))))

    @rule(count=st.integers(1, 8))
    def run_undisturbed(self, count: int) -> None:
        """Producer and readers take turns: how a window gets far from its start."""
        for _ in range(count):
            self.produce()
            for reader in [name for name in self.cursors if name not in self.done]:
                self.advance(reader)

    def finish(self, reader: str) -> None:
        self.window.finish(reader)
        self.done.add(reader)

    def advance(self, reader: str) -> None:
        """Take the chunk that is wanted if it is held, and say what is wanted next, or that all is read."""
        wanted = self.cursors[reader]
        if wanted in self.unused or self.window.get(wanted) is not None:
            self.cursors[reader] = min(wanted + 1, self.num_chunks)
        self.hear(reader)
        if self.cursors[reader] == self.num_chunks:
            self.finish(reader)

    @rule(data=st.data(), back=st.integers(1, 12))
    def fall_back(self, data: st.DataObject, back: int) -> None:
        """A reader died and goes on from an earlier checkpoint, one that was done too."""
        reader = data.draw(st.sampled_from(sorted(self.cursors)))
        self.cursors[reader] = max(0, self.cursors[reader] - back)
        self.hear(reader)

    @rule(data=st.data())
    def stop_early(self, data: st.DataObject) -> None:
        self.finish(data.draw(st.sampled_from(sorted(self.cursors))))

    @rule()
    def produce(self) -> None:
        chunk = self.window.next_missing()
        if chunk is not None:
            self.window.put(chunk, f"chunk {chunk}")
            assert self.window.get(chunk) == f"chunk {chunk}", "made in vain: given up at once"

    @rule(data=st.data())
    def produce_late(self, data: st.DataObject) -> None:
        """A block that was under way when the window moved: whatever chunk it is."""
        chunk = data.draw(st.integers(0, self.num_chunks - 1))
        floor, before = self.window.floor, self.held()
        self.window.put(chunk, f"chunk {chunk}")
        if floor is not None and chunk < floor:
            assert self.held() == before

    @precondition(lambda self: self.window.floor)
    @rule(data=st.data())
    def produce_too_late(self, data: st.DataObject) -> None:
        """A block that every reader has passed meanwhile is not held."""
        floor = self.window.floor
        assert floor is not None
        chunk, before = data.draw(st.integers(0, floor - 1)), self.held()
        self.window.put(chunk, f"chunk {chunk}")
        assert self.held() == before

    @precondition(lambda self: self.held())
    @rule(data=st.data())
    def lose(self, data: st.DataObject) -> None:
        """A block is lost with its node."""
        chunk = data.draw(st.sampled_from(sorted(self.held())))
        self.window.forget(chunk)
        assert self.window.get(chunk) is None

    @rule()
    def restart(self) -> None:
        """The producer starts anew with nothing; its readers call again in their own time."""
        self.window, self.heard = self.make_window(), {}
        for reader in self.done:
            self.window.finish(reader)
        for reader in self.cursors:
            self.heard[reader] = self.now

    @rule(seconds=st.sampled_from([1.0, 6.0, 11.0]))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @invariant()
    def no_more_than_the_size_is_held(self) -> None:
        assert len(self.held()) <= max(2, self.size)

    @invariant()
    def values_are_those_of_their_chunks(self) -> None:
        assert all(self.window.get(chunk) == f"chunk {chunk}" for chunk in self.held())

    @invariant()
    def the_floor_is_the_slowest_active_reader(self) -> None:
        floor, active = self.window.floor, self.active()
        if floor is not None:
            assert floor == min(active.values())

    @invariant()
    def the_smallest_missing_chunk_within_reach_is_asked_for(self) -> None:
        floor, asked = self.window.floor, self.window.next_missing()
        if floor is None:
            assert asked is None
            return
        missing = self.missing(floor, floor + max(2, self.size))
        assert asked in (None, *missing[:1])
        near = [chunk for chunk in missing if chunk <= floor + 1]
        room = len(self.held()) < max(2, self.size)
        assert (asked is not None) == bool(near or (missing and room))

    @invariant()
    def what_is_upcoming_is_missing_and_in_order(self) -> None:
        upcoming, asked = self.window.upcoming(5), self.window.next_missing()
        assert upcoming == ([] if asked is None else self.missing(asked, asked + 5))

    @invariant()
    def lost_readers_are_those_beyond_their_lease(self) -> None:
        for name in self.cursors:
            late = self.now - self.heard.get(name, 0.0) > LEASE_S
            assert self.window.was_lost(name) == (late and name not in self.done)

    def teardown(self) -> None:
        """From wherever the calls led, every reader gets to the end: nobody waits for ever."""
        if not hasattr(self, "window"):
            return
        for reader in self.cursors:
            self.hear(reader)
        for _ in range(4 * len(self.cursors) * (self.num_chunks + 1)):
            if self.window.finished:
                break
            self.produce()
            for reader in [name for name in self.cursors if name not in self.done]:
                self.advance(reader)
        assert self.window.finished, f"waits for ever: {self.cursors}"
        assert self.window.next_missing() is None


TestBroadcast = Broadcast.TestCase
TestBroadcast.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
