"""Bar charts as SVG, written by hand. Knows no figure's meaning."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape

WIDTH = 880
LABEL, VALUE = 210, 190
BAR, GAP, PANEL = 16, 6, 44
HEAD = 40
ACCENT, PLAIN, INK, FAINT = "#1f6feb", "#b6c2cf", "#1f2328", "#59636e"


@dataclass(frozen=True, slots=True)
class Bar:
    """A median, with the smallest and the largest of what it is the median of."""

    label: str
    value: float
    low: float
    high: float
    accent: bool


@dataclass(frozen=True, slots=True)
class Panel:
    """Bars that share a scale."""

    title: str
    bars: Sequence[Bar]


def chart(title: str, panels: Sequence[Panel], form: str = ",.0f") -> str:
    """Panels below each other, each with a scale of its own. `form` is how a value is printed."""
    parts, top = [_text(12, 26, title, INK, 17, bold=True)], HEAD
    for panel in panels:
        parts.append(_text(12, top + 24, panel.title, INK, 13, bold=True))
        parts += _bars(panel, top + 34, form)
        top += PANEL + len(panel.bars) * (BAR + GAP)
    head = f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{top + 12}" role="img" '
    head += f'aria-label="{escape(title)}" font-family="system-ui, sans-serif">'
    return "\n".join([head, '<rect width="100%" height="100%" fill="#ffffff"/>', *parts, "</svg>", ""])


def _bars(panel: Panel, top: int, form: str) -> Iterator[str]:
    scale = (WIDTH - LABEL - VALUE) / max(bar.high for bar in panel.bars)
    for number, bar in enumerate(panel.bars):
        y, end = top + number * (BAR + GAP), LABEL + bar.value * scale
        yield _text(LABEL - 8, y + 12, bar.label, FAINT, 12, anchor="end")
        fill = ACCENT if bar.accent else PLAIN
        yield f'<rect x="{LABEL}" y="{y}" width="{bar.value * scale:.1f}" height="{BAR}" rx="2" fill="{fill}"/>'
        low, high, middle = LABEL + bar.low * scale, LABEL + bar.high * scale, y + BAR / 2
        yield f'<path d="M{low:.1f} {middle}H{high:.1f}M{low:.1f} {y + 4}v8M{high:.1f} {y + 4}v8" stroke="{INK}"/>'
        yield _text(max(end, high) + 8, y + 12, format(bar.value, form), INK, 12)


def _text(x: float, y: float, text: str, fill: str, size: int, *, anchor: str = "start", bold: bool = False) -> str:
    weight = ' font-weight="600"' if bold else ""
    place = f'x="{x:.1f}" y="{y}" fill="{fill}" font-size="{size}" text-anchor="{anchor}"{weight}'
    return f"<text {place}>{escape(text)}</text>"
