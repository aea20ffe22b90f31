"""The table that a benchmark prints: what was measured, what is demanded of it, and how the two compare."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Row:
    """One figure: its runs, all in `unit`, and the most it may be (0: nothing is demanded)."""

    what: str
    runs: Sequence[float]
    unit: str
    demand: float = 0.0
    note: str = ""

    @property
    def median(self) -> float:
        return statistics.median(self.runs)

    def cells(self) -> tuple[str, ...]:
        """What the table shows of it; the ratio is the median over the demand, 1 or less is kept."""
        spread = f"{number(min(self.runs))}-{number(max(self.runs))}" if len(self.runs) > 1 else ""
        ratio = f"{self.median / self.demand:.2f}" if self.demand else ""
        demand = f"<= {number(self.demand)} {self.unit}" if self.demand else ""
        return self.what, f"{number(self.median)} {self.unit}", spread, demand, ratio, self.note


@dataclass
class Table:
    """Rows in the order in which they were measured."""

    title: str
    rows: list[Row] = field(default_factory=list)

    def add(self, what: str, runs: Sequence[float], unit: str, *, demand: float = 0.0, note: str = "") -> Row:
        """Keep a figure; returns it."""
        row = Row(what, tuple(runs), unit, demand, note)
        self.rows.append(row)
        return row

    def text(self) -> str:
        """A Markdown table, aligned so that it reads in a terminal as well."""
        lines = [("what", "median", "range", "demand", "ratio", "how"), *(row.cells() for row in self.rows)]
        widths = [max(len(line[column]) for line in lines) for column in range(6)]
        drawn = [
            "| " + " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) + " |"
            for line in lines
        ]
        drawn.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
        return "\n".join([self.title, "", *drawn])


def number(value: float) -> str:
    """Three figures that matter, and no exponent."""
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}"
