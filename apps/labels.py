"""Text from data, made safe for where it is shown: Plotly, HTML, Markdown.

Names of sessions, odors and units come from other people's files. Plotly renders a subset of HTML,
formulas between dollar signs and ``%{...}`` in hover templates; Markdown fetches images.
Here is what every chart, report and page uses; nothing else may put such text on a screen.
"""

import html
import re
import unicodedata
from typing import Any

REORDERING = frozenset("\u061c\u200b\u200e\u200f\u2060\ufeff") | {
    chr(code) for block in (range(0x202A, 0x202F), range(0x2066, 0x206A)) for code in block
}
LINK_STARTS = r"(?i)(?<=:)(?=//)|(?<=www)(?=\.)|(?<=@)|(?<=mailto:)|(?<=xmpp:)"  # inside http://, www., me@
PLOTLY_ENTITIES = {"$": "&#36;", "%": "&#37;"}


def clean(text: Any, *, limit: int | None = None) -> str:
    r"""Text on one line, without characters that hide or reorder it, at most ``limit`` long.

    Examples
    --------
    >>> clean("limonene\n1 %", limit=8)
    'limonen…'
    """
    shown = "".join(_visible(character) for character in str(text))
    return shown if limit is None or len(shown) <= limit else shown[: limit - 1] + "…"


def for_html(text: Any) -> str:
    """Cleaned text for an HTML page, also inside an attribute.

    Examples
    --------
    >>> for_html("<b>")
    '&lt;b&gt;'
    """
    return html.escape(clean(text))


def for_plotly(text: Any, *, limit: int = 120) -> str:
    """Cleaned text for a Plotly name, label, title or hover: shown as it is written.

    Examples
    --------
    >>> for_plotly("<b>%{x}</b>")
    '&lt;b&gt;&#37;{x}&lt;/b&gt;'
    """
    escaped = html.escape(clean(text, limit=limit), quote=False)
    return "".join(PLOTLY_ENTITIES.get(character, character) for character in escaped)


def for_markdown(text: Any) -> str:
    r"""Cleaned text for Markdown: every punctuation mark escaped, so nothing is markup.

    Streamlit makes links of bare addresses even so; a word joiner, which takes no room, breaks them.

    Examples
    --------
    >>> for_markdown("![x](y)")
    '\\!\\[x\\]\\(y\\)'
    """
    unlinked = re.sub(LINK_STARTS, "\u2060", clean(text))
    return re.sub(r"([!-/:-@\[-`{-~])", r"\\\1", unlinked)


def spoken(name: Any) -> str:
    """A name from code as words: ``balanced_accuracy`` -> ``balanced accuracy``."""
    return clean(name).replace("_", " ")


def _visible(character: str) -> str:
    if character in REORDERING:
        return "\ufffd"
    category = unicodedata.category(character)
    if category in ("Cc", "Zl", "Zp"):
        return " " if character.isspace() else "\ufffd"
    return "\ufffd" if category == "Cs" else character
