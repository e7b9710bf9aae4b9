"""Tables on a row's page."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Table:
    """Rows under headings; numbers names the headings whose cells stand to the right."""

    id: str
    title: str
    headings: Sequence[str]
    rows: Sequence[Sequence[Any]]
    numbers: Sequence[str] = ()
    empty: str = "None."
    note: str = ""

    def cells(self) -> Iterator[list[tuple[Any, bool]]]:
        """Return each row's cells, and whether each is a number."""
        right = [heading in self.numbers for heading in self.headings]
        for row in self.rows:
            yield list(zip(row, right, strict=True))
