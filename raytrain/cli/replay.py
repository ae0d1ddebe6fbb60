"""The verb `replay`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from raytrain.cli.parse import parse


@dataclass(frozen=True, kw_only=True)
class ReplayCommand:
    """Train one step again, bit by bit, from the nearest earlier checkpoint, and look at it from inside."""

    run: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")]
    """its run folder; RUN/replay/<pathway>-<step>.png and .txt are written to it, nothing else"""
    pathway: str
    """whose step"""
    step: int
    """as metrics.jsonl counts: 1 is the first; it need not be logged, and may be the one that diverged"""
    data_root: Annotated[str, tyro.conf.arg(name="data.root")] = ""
    """where the run's data lie now, if they moved"""


def replay(arguments: list[str]) -> int:
    """Run the verb `replay`."""
    known = {"pathway", "step", "data.root"}
    command = parse("replay", ReplayCommand, arguments, None, known=known)
    from raytrain import api
    from raytrain.reporting.replay import replay_text

    def say(text: str) -> None:
        print(text, flush=True)

    replays, sheets = api.replay(
        command.run, command.pathway, command.step, data_root=command.data_root, say=say
    )
    for one, sheet in zip(replays, sheets, strict=True):
        print(replay_text(one))
        print(f"contact sheet: {sheet}; every tensor: {sheet.with_suffix('.txt')}")
    return 0
