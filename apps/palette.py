"""Colours, symbols and line styles that charts on the screen and in print share.

Okabe and Ito's eight colours (jfly.uni-koeln.de/color, 2008): under simulated protanopia, deuteranopia
and tritanopia the closest two stay 16 CIELAB units apart; a darker yellow, easier to see on white,
would fall to 2. So the yellow stays, last in the order, and every class has its own symbol too.
"""

from typing import NamedTuple

BLUE = "#0072B2"
BLACK = "#000000"
OKABE_ITO = (BLUE, "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", BLACK, "#F0E442")
SYMBOLS = ("circle", "square", "diamond", "cross", "x", "circle-open", "square-open", "diamond-open")
DASHES = ("solid", "dash", "dot", "longdash", "dashdot", "longdashdot")
MOST_CLASSES = len(OKABE_ITO) * len(DASHES)

INK = {"light": BLACK, "dark": "#E6E9ED"}  # black marks turn into this on a dark ground
GREY = "#7A828C"  # chance, and what is not data: over 3:1 on both grounds
BAND = "rgba(122, 130, 140, 0.28)"
SHADES = {  # of a share from 0 to 1
    "light": ("#F4F8FB", "#9CC7E3", "#2E8BC0", "#00507E"),
    "dark": ("#1B2129", "#0F3D5E", "#16609A", "#2B82C4"),
}


class Style(NamedTuple):
    """How one class looks: no two of the first 48 agree in all three."""

    color: str
    symbol: str
    dash: str


def style(position: int, theme: str = "light") -> Style:
    """Colour, symbol and dash of the class at ``position``.

    Examples
    --------
    >>> style(0)
    Style(color='#0072B2', symbol='circle', dash='solid')
    >>> style(8).color == style(0).color, style(8).symbol == style(0).symbol
    (True, False)
    """
    cycle = position // len(OKABE_ITO)
    color = OKABE_ITO[position % len(OKABE_ITO)]
    return Style(
        INK[theme] if color == BLACK else color,
        SYMBOLS[(position + cycle) % len(SYMBOLS)],
        DASHES[cycle % len(DASHES)],
    )
