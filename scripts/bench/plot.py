"""A line plot as an SVG file, with logarithmic axes."""

import math
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import NamedTuple

WIDTH, HEIGHT = 720, 420
LEFT, RIGHT, TOP, BOTTOM = 64, 190, 16, 48
STYLE = 'font-family="sans-serif" font-size="12" fill="#57606a"'
COLOURS = ("#1f6feb", "#d1242f", "#1a7f37", "#9a6700")


class Series(NamedTuple):
    """A line: its name and points."""

    name: str
    x: Sequence[float]
    y: Sequence[float]
    is_dashed: bool = False


def _ticks(low: float, high: float) -> list[float]:
    """Return 1, 2 and 5 times the powers of ten in a range."""
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    found = [step * 10.0**power for power in range(first, last + 1) for step in (1, 2, 5)]
    return [each for each in found if low <= each <= high]


def write_plot(path: Path, x_name: str, y_name: str, series: Sequence[Series]) -> None:
    """Write lines over logarithmic axes; values of 0 are left out."""
    xs = [value for each in series for value in each.x]
    ys = [value for each in series for value in each.y if value > 0]
    x_low, x_high, y_low, y_high = min(xs), max(xs), min(ys) / 1.3, max(ys) * 1.3

    def x_of(value: float) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * math.log(value / x_low) / math.log(x_high / x_low)

    def y_of(value: float) -> float:
        return (
            HEIGHT
            - BOTTOM
            - (HEIGHT - TOP - BOTTOM) * math.log(value / y_low) / math.log(y_high / y_low)
        )

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" {STYLE}>',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#fff"/>',
    ]
    for value in _ticks(y_low, y_high):
        y = y_of(value)
        parts.append(f'<path d="M{LEFT} {y:.1f}H{WIDTH - RIGHT}" stroke="#d0d7de"/>')
        parts.append(f'<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{value:g}</text>')
    for value in sorted(set(xs)):
        x, y = x_of(value), HEIGHT - BOTTOM + 16
        parts.append(f'<text x="{x:.1f}" y="{y}" text-anchor="middle">{value:g}</text>')
    middle = (LEFT + WIDTH - RIGHT) / 2
    parts.append(
        f'<text x="{middle}" y="{HEIGHT - 8}" text-anchor="middle">{escape(x_name)}</text>'
    )
    parts.append(
        f'<text transform="translate(14 {HEIGHT / 2}) rotate(-90)" text-anchor="middle">'
        f"{escape(y_name)}</text>"
    )
    for each, colour in zip(series, COLOURS, strict=False):
        points = [(x_of(x), y_of(y)) for x, y in zip(each.x, each.y, strict=True) if y > 0]
        if not points:
            continue
        line = "L".join(f"{x:.1f} {y:.1f}" for x, y in points)
        dashes = ' stroke-dasharray="5 4"' if each.is_dashed else ""
        parts.append(f'<path d="M{line}" fill="none" stroke="{colour}" stroke-width="2"{dashes}/>')
        x, y = points[-1]
        parts.append(
            f'<text x="{x + 8:.1f}" y="{y + 4:.1f}" fill="{colour}">{escape(each.name)}</text>'
        )
    path.write_text("\n".join([*parts, "</svg>"]) + "\n")
