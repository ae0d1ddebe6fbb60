"""Train what no other run trains, then wait for the others' and load it: every pathway is trained once."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

from raytrain.errors import Interrupted
from raytrain.training.cache import EncoderCache, Loaded
from raytrain.training.marks import Holder, Marks
from raytrain.training.plan import RunSetup

POLL_S = 0.5


class Training(Protocol):
    """What a run does in its turn."""

    def train(self, names: list[str]) -> tuple[list[dict[str, Any]], dict[str, Any]]:
        """Train some pathways; return (their outcomes, the recorder's counts)."""

    def keep(self, done: "Done", names: list[str]) -> None:
        """Put what has been trained to the end into the cache."""

    def stop(self) -> bool:
        """Return whether a stop was asked for."""

    def say(self, text: str) -> None:
        """Take a line of text."""


@dataclass
class Done:
    """What has been trained and loaded."""

    outcomes: list[dict[str, Any]] = field(default_factory=list)
    counts: dict[str, Any] = field(default_factory=dict)
    loaded: dict[str, Loaded] = field(default_factory=dict)

    @property
    def stopped(self) -> bool:
        """Whether a pathway was stopped before its last step."""
        return any(outcome["stopped"] for outcome in self.outcomes)

    def add(self, outcomes: list[dict[str, Any]], counts: dict[str, Any]) -> None:
        """Take what a turn has made; the counts are of the whole run, but for the starts."""
        starts = self.counts.get("starts", {}) | counts.get("starts", {})
        self.outcomes += outcomes
        self.counts |= counts | ({"starts": starts} if starts else {})


def train_in_turns(
    setup: RunSetup,
    cache: EncoderCache | None,
    done: Done,
    training: Training,
    *,
    sleep: Callable[[float], None] = time.sleep,
) -> None:
    """Train or load every pathway that is not done yet.

    Raises:
        Interrupted: stopped while another run's pathway was waited for.
    """
    if cache is None:
        if names := _open(setup):
            done.add(*training.train(names))
        return
    told: set[str] = set()
    with Marks(cache.folder) as marks:
        while names := _open(setup):
            held = _claim(setup, cache, marks, names)
            # What another run has finished between the look into the cache and the mark is there now.
            _load(setup, cache, [name for name in names if name not in held], done, training)
            own = [name for name in names if name not in held and not setup.done(name)]
            if own:
                done.add(*training.train(own))
                training.keep(done, own)
            marks.release()
            if done.stopped:
                return
            if held and not own:
                _wait(setup, held, told, training, sleep)
                _load(setup, cache, list(held), done, training)


def _open(setup: RunSetup) -> list[str]:
    return [name for name in setup.config.pathways if not setup.done(name)]


def _load(setup: RunSetup, cache: EncoderCache, names: list[str], done: Done, training: Training) -> None:
    for name, found in cache.load_all(setup, names).items():
        done.loaded[name] = found
        training.say(found.text)


def _claim(setup: RunSetup, cache: EncoderCache, marks: Marks, names: list[str]) -> dict[str, Holder]:
    """Mark what this run trains now; return who trains the rest."""
    claimed = {name: marks.claim(cache.name_of(setup, name), setup.num_steps(name)) for name in names}
    return {name: holder for name, holder in claimed.items() if holder is not None}


def _wait(
    setup: RunSetup,
    held: dict[str, Holder],
    told: set[str],
    training: Training,
    sleep: Callable[[float], None],
) -> None:
    """Say once who trains what, and wait a moment."""
    for name, holder in held.items():
        text = f"pathway {name} is being trained by {holder.text}; waiting for it"
        if text not in told:
            told.add(text)
            training.say(text)
    if training.stop():
        names = ", ".join(held)
        raise Interrupted(
            f"stopped while another run was training {names}; what this run has trained is kept; the same "
            "command goes on from there"
        )
    sleep(POLL_S)
