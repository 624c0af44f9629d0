"""One SVG per workload beside peers: latency percentiles on a logarithmic scale, or memory as bars.

Written as text, so that it needs nothing; its colours follow the reader's light or dark scheme.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from html import escape
from pathlib import Path
from typing import NamedTuple

from bench.results import Results, Row
from bench.workloads import Kind, Workload

_POINTS = (("p50_ms", "p50", 6.0), ("p90_ms", "p90", 4.5), ("p99_ms", "p99", 6.0), ("p999_ms", "p99.9", 3.5))
_LEFT, _RIGHT, _TOP, _ROW, _BOTTOM, _WIDTH = 150, 30, 62, 46, 44, 760
_STYLE = """
  text { font: 13px system-ui, sans-serif; fill: #24292f } .small { font-size: 11px; fill: #57606a }
  .title { font-size: 15px; font-weight: 600 } .grid { stroke: #d0d7de } .line { stroke: #8c959f; stroke-width: 2 }
  .dot { fill: #8c959f } .spool .dot { fill: #0969da } .spool .line { stroke: #0969da }
  @media (prefers-color-scheme: dark) {
    text { fill: #e6edf3 } .small { fill: #9198a1 } .grid { stroke: #30363d } .spool .dot { fill: #4493f8 }
    .spool .line { stroke: #4493f8 }
  }
"""


def write(results: Results, directory: Path) -> list[Path]:
    """The files that were written."""
    written = []
    for workload, rows in results.rows:
        drawn = _DRAWN.get(workload.kind)
        shown = [row for row in rows if drawn and row.median(drawn.figure) and not row.skipped]
        if drawn and shown:
            path = directory / f"bench-{workload.name}.svg"
            path.write_text(drawn.draw(workload, shown))
            written.append(path)
    return written


def latencies(workload: Workload, rows: Sequence[Row]) -> str:
    """The picture of a paced workload; every row has latencies."""
    values = [row.median(name) or 0.001 for row in rows for name, _, _ in _POINTS]
    scale = _Scale(min(values), max(values))
    height = _TOP + _ROW * len(rows) + _BOTTOM
    parts = [*_head(workload, height, "ms from the time a token was due to its read; less is better")]
    parts += _axis(scale, height)
    for number, row in enumerate(rows):
        parts += _row(row, scale, _TOP + _ROW * number + _ROW / 2)
    return "\n".join([*parts, "</svg>", ""])


def memory(workload: Workload, rows: Sequence[Row]) -> str:
    """The picture of the idle streams: a bar for each subject."""
    most = max(row.median("idle_kb") or 0.0 for row in rows)
    height = _TOP + _ROW * len(rows) + 16
    parts = [*_head(workload, height, "KB of memory (PSS, all processes) for each stream; less is better")]
    for number, row in enumerate(rows):
        kb, y = row.median("idle_kb") or 0.0, _TOP + _ROW * number
        width = kb / most * (_WIDTH - _LEFT - 3 * _RIGHT)
        parts.append(f'<g class="{"spool" if row.subject == "spool" else "peer"}">')
        parts.append(f'<text x="16" y="{y + 24}">{escape(row.subject)}</text>')
        parts.append(f'<rect class="dot" x="{_LEFT}" y="{y + 10}" width="{width:.1f}" height="20"/>')
        parts.append(f'<text class="small" x="{_LEFT + width + 8:.1f}" y="{y + 24}">{kb:.1f}</text></g>')
    return "\n".join([*parts, "</svg>", ""])


class _Drawn(NamedTuple):
    figure: str
    """What a row must have to be in the picture."""
    draw: Callable[[Workload, Sequence[Row]], str]


_DRAWN = {Kind.PACED: _Drawn("p50_ms", latencies), Kind.IDLE: _Drawn("idle_kb", memory)}


def _head(workload: Workload, height: int, unit: str) -> Iterator[str]:
    yield f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" role="img">'
    yield f"<title>{escape(workload.title)}</title><style>{_STYLE}</style>"
    yield f'<text class="title" x="16" y="26">{escape(workload.title)}</text>'
    yield f'<text class="small" x="16" y="44">{unit}</text>'


class _Scale:
    """Milliseconds to pixels, logarithmic, from one power of ten to another."""

    def __init__(self, least: float, most: float) -> None:
        self.low = math.floor(math.log10(least))
        self.high = max(self.low + 1, math.ceil(math.log10(most)))

    def x(self, value_ms: float) -> float:
        """Where a latency is."""
        part = (math.log10(max(value_ms, 0.001)) - self.low) / (self.high - self.low)
        return _LEFT + max(0.0, part) * (_WIDTH - _LEFT - _RIGHT)


def _axis(scale: _Scale, height: int) -> Iterator[str]:
    bottom = height - _BOTTOM
    for power in range(scale.low, scale.high + 1):
        x = scale.x(10.0**power)
        yield f'<line class="grid" x1="{x:.1f}" y1="{_TOP - 6}" x2="{x:.1f}" y2="{bottom}"/>'
        yield f'<text class="small" x="{x:.1f}" y="{bottom + 16}" text-anchor="middle">{10.0**power:g}</text>'
    said = "from left to right: p50, p90, p99, p99.9 (medians of the runs)"
    yield f'<text class="small" x="16" y="{height - 8}">{said}</text>'


def _row(row: Row, scale: _Scale, y: float) -> Iterator[str]:
    xs = [(scale.x(row.median(name) or 0.001), name, label, radius) for name, label, radius in _POINTS]
    yield f'<g class="{"spool" if row.subject == "spool" else "peer"}">'
    yield f'<text x="16" y="{y + 4:.1f}">{escape(row.subject)}</text>'
    yield f'<line class="line" x1="{xs[0][0]:.1f}" y1="{y:.1f}" x2="{xs[-1][0]:.1f}" y2="{y:.1f}"/>'
    for x, name, label, radius in xs:
        figure = f"{row.median(name):.2f}"
        yield f'<circle class="dot" cx="{x:.1f}" cy="{y:.1f}" r="{radius}"><title>{label} {figure} ms</title></circle>'
        if label in ("p50", "p99"):
            above = y - 11 if label == "p50" else y + 19
            yield f'<text class="small" x="{x:.1f}" y="{above:.1f}" text-anchor="middle">{figure}</text>'
    yield "</g>"
