"""Dates as people write them, made with a seed, and as ISO 8601 writes them: a table for `elman train transduce`.

python examples/transduce_dates.py 5000 > dates.tsv
python examples/transduce_dates.py 500 1 > more-dates.tsv      # another seed: other dates
"""

from __future__ import annotations

import datetime
import random
import sys

FORMS = (
    "{d} {month} {y}",
    "{month} {d}, {y}",
    "{weekday} {d} {short} {y}",
    "{d}.{m}.{y}",
    "{m}/{d}/{y}",
    "the {nth} of {month} {y}",
)


def nth(day: int) -> str:
    """1st, 2nd, 3rd, 4th, ..., 11th, ..."""
    return f"{day}{'th' if 10 < day < 14 else {1: 'st', 2: 'nd', 3: 'rd'}.get(day % 10, 'th')}"


def written(date: datetime.date, form: str) -> str:
    """A date in one of the forms."""
    return form.format(
        d=date.day, m=date.month, y=date.year, nth=nth(date.day), month=date.strftime("%B"), short=date.strftime("%b"),
        weekday=date.strftime("%A"),
    )  # fmt: skip


def main(count: int = 1000, seed: int = 0) -> None:
    """Print a header and `count` lines: the date as written, a tab, the date in ISO 8601."""
    chance = random.Random(seed)
    first, last = datetime.date(1900, 1, 1).toordinal(), datetime.date(2099, 12, 31).toordinal()
    print("source\ttarget")
    for _ in range(count):
        date = datetime.date.fromordinal(chance.randint(first, last))
        print(f"{written(date, chance.choice(FORMS))}\t{date.isoformat()}")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
