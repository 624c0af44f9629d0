"""Memory of several processes over time: samples, as CSV and as a picture."""

from __future__ import annotations

import csv
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import NamedTuple

from bench.processes import pss_kb

_WIDTH, _HEIGHT, _LEFT, _RIGHT, _TOP, _BOTTOM = 760, 360, 60, 130, 56, 36
_COLOURS = ("#0969da", "#1a7f37", "#9a6700", "#cf222e", "#8250df", "#57606a", "#bf3989", "#0e7490")
_STYLE = """
  text { font: 12px system-ui, sans-serif; fill: #57606a } .grid { stroke: #d0d7de } path { fill: none }
  .mark { stroke: #cf222e; stroke-dasharray: 2 4 }
"""


class Samples:
    """The memory of processes in MB, sampled every ``every_s`` seconds. ``pids`` gives those that run now."""

    def __init__(self, pids: Callable[[], Mapping[str, int]], every_s: float) -> None:
        self.rows: list[dict[str, float]] = []
        self._pids = pids
        self._every_s = every_s
        self._begun = time.monotonic()
        self._next = self._begun

    def take(self, more: Callable[[], Mapping[str, float]]) -> None:
        """Sample if it is time to; ``more`` gives further columns."""
        now = time.monotonic()
        if now < self._next:
            return
        self._next = now + self._every_s
        row = {"seconds": round(now - self._begun, 1)}
        for name, pid in self._pids().items():
            try:
                row[name] = round(pss_kb(pid) / 1024, 1)
            except OSError:
                # The process, or a child of it, has just ended.
                continue
        self.rows.append({**row, **more()})

    def highest(self, column: str) -> float:
        """The highest value of a column."""
        return max((row.get(column, 0.0) for row in self.rows), default=0.0)

    @property
    def columns(self) -> list[str]:
        """The columns in the order in which they appeared."""
        return list(dict.fromkeys(name for row in self.rows for name in row))

    def write(self, path: Path) -> None:
        """Write them as CSV."""
        with path.open("w", newline="") as file:
            writer = csv.DictWriter(file, self.columns, restval="")
            writer.writeheader()
            writer.writerows(self.rows)


def picture(samples: Samples, title: str, columns: Sequence[str], marks: Mapping[str, float]) -> str:
    """The columns as lines over time in an SVG. ``marks`` are times with names, in seconds."""
    frame = _Frame(max(1.0, samples.highest("seconds")), max(1.0, *map(samples.highest, columns)))
    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img">']
    parts.append(f"<title>{escape(title)}</title><style>{_STYLE}</style>")
    parts.append(f'<text x="16" y="22">{escape(title)}: MB over seconds</text>')
    parts += _axes(frame)
    for name, at_s in marks.items():
        x = frame.x(at_s)
        parts.append(f'<line class="mark" x1="{x:.1f}" y1="{_TOP}" x2="{x:.1f}" y2="{_HEIGHT - _BOTTOM}">')
        parts.append(f"<title>{escape(name)}</title></line>")
    for number, name in enumerate(columns):
        colour = _COLOURS[number % len(_COLOURS)]
        points = [(row["seconds"], row[name]) for row in samples.rows if name in row]
        steps = " L".join(f"{frame.x(at_s):.1f},{frame.y(mb):.1f}" for at_s, mb in points)
        parts.append(f'<path d="M{steps}" stroke="{colour}" stroke-width="1.5"/>')
        x, y = _WIDTH - _RIGHT + 12, _TOP + 10 + 18 * number
        parts.append(f'<text x="{x}" y="{y}" style="fill:{colour}">{escape(name)}</text>')
    return "\n".join([*parts, "</svg>", ""])


class _Frame(NamedTuple):
    """Seconds and MB to pixels, from zero to these."""

    most_s: float
    most_mb: float

    def x(self, at_s: float) -> float:
        return _LEFT + at_s / self.most_s * (_WIDTH - _LEFT - _RIGHT)

    def y(self, mb: float) -> float:
        return _HEIGHT - _BOTTOM - mb / self.most_mb * (_HEIGHT - _TOP - _BOTTOM)


def _axes(frame: _Frame) -> Iterator[str]:
    for part in (0.0, 0.25, 0.5, 0.75, 1.0):
        at_s, mb = part * frame.most_s, part * frame.most_mb
        x, y = frame.x(at_s), frame.y(mb)
        yield f'<line class="grid" x1="{_LEFT}" y1="{y:.1f}" x2="{_WIDTH - _RIGHT}" y2="{y:.1f}"/>'
        yield f'<text x="{_LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{mb:.0f}</text>'
        yield f'<text x="{x:.1f}" y="{_HEIGHT - 14}" text-anchor="middle">{at_s:.0f}</text>'
