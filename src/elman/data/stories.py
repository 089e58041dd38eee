"""Made stories with a question: people go from room to room and take and drop things. After bAbI (Weston et al. 2015).

The source is the question, then the story; the target is the answer, of one word or of several.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

PEOPLE = ("anna", "ben", "clara", "david")
ROOMS = ("attic", "cellar", "garden", "kitchen", "library")
THINGS = ("apple", "hammer", "lamp", "letter")
KINDS = ("where", "whether", "who", "what", "how many")
"""Questions: where is anna ? is anna in the attic ? who has the lamp ? what does anna have ? how many things ... ?"""
NUMBERS = ("none", "one", "two", "three", "four")


class _World:
    """Where two or three people are, and what they have, in the order they took it; where things lie that fell."""

    def __init__(self, generator: np.random.Generator) -> None:
        self.generator = generator
        people = generator.permutation(PEOPLE)[: generator.integers(2, 4)].tolist()
        self.room: dict[str, str] = {}
        self.has: dict[str, list[str]] = {person: [] for person in people}
        self.lies: dict[str, str] = {}

    def pick(self, choices: Iterable[str]) -> str:
        """One of them, all equally likely."""
        choices = tuple(choices)
        return choices[int(self.generator.integers(len(choices)))]

    def held(self) -> list[str]:
        """What somebody has."""
        return [thing for things in self.has.values() for thing in things]

    def go_on(self) -> str:
        """What happens next. Nobody takes what is held or lies in another room; where a thing lay at first is open."""
        person = self.pick(self.has)
        room, has = self.room.get(person), self.has[person]
        near = [thing for thing in THINGS if thing not in self.held() and self.lies.get(thing, room) == room]
        ways = ["go"] + ["take"] * 3 * bool(room and near) + ["drop"] * bool(has)
        match self.pick(ways):
            case "take":
                has.append(self.pick(near))
                return f"{person} took the {has[-1]} ."
            case "drop":
                has.remove(thing := self.pick(has))
                self.lies[thing] = self.room[person]
                return f"{person} dropped the {thing} ."
            case _:
                self.room[person] = self.pick(other for other in ROOMS if other != room)
                return f"{person} went to the {self.room[person]} ."

    def ask(self, kind: str) -> tuple[str, str]:
        """A question of the kind, and its answer. What is had is asked rather of those who have something."""
        having = [person for person, things in self.has.items() if things]
        rather = self.generator.random() < 0.7
        person = self.pick((rather and kind in ("what", "how many") and having) or self.room)
        room, has = self.room[person], self.has[person]
        match kind:
            case "where":
                return f"where is {person} ?", room
            case "whether":
                said = self.pick((room, self.pick(other for other in ROOMS if other != room)))
                return f"is {person} in the {said} ?", "yes" if said == room else "no"
            case "who":
                thing = self.pick((rather and self.held()) or THINGS)
                return f"who has the {thing} ?", next((p for p in having if thing in self.has[p]), "nobody")
            case "what":
                return f"what does {person} have ?", " and ".join(f"the {thing}" for thing in has) or "nothing"
            case _:
                return f"how many things does {person} have ?", NUMBERS[len(has)]


def stories(generator: np.random.Generator, lengths: npt.NDArray[np.int64]) -> dict[str, list[Any]]:
    """Answer a question about a story; the length counts its sentences.

    Columns source (the question, then the story), target (the answer) and kind (one of KINDS, each as often as any
    other or once more).
    """
    kinds = generator.permutation([KINDS[place % len(KINDS)] for place in range(len(lengths))]).tolist()
    columns: dict[str, list[Any]] = {"source": [], "target": [], "kind": kinds}
    for kind, length in zip(kinds, lengths.tolist()):
        world = _World(generator)
        told: Sequence[str] = [world.go_on() for _ in range(length)]
        question, answer = world.ask(kind)
        columns["source"].append(" ".join([question, *told]))
        columns["target"].append(answer)
    return columns
