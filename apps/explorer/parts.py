"""Pieces that every page is made of: a state with what to type, a chart with its text, words.

Text from data goes through ``st.text``, ``st.dataframe`` or ``for_markdown``; never into Markdown as it is.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import streamlit as st

from ..charts import PLOTLY_CONFIG, description
from ..labels import for_markdown

if TYPE_CHECKING:
    from plotly.graph_objects import Figure


def theme() -> str:
    """How the browser shows the page: "dark" or "light"."""
    return "dark" if st.context.theme.type == "dark" else "light"


def state(title: str, words: str, *commands: str) -> None:
    """A state without content: what it is, why, and what to type.

    Parameters
    ----------
    title : fixed text
    words : may hold text from data, such as the message of an error
    """
    with st.container(border=True):
        st.markdown(f"**{title}**")
        st.markdown(for_markdown(words))
        for line in commands:
            st.code(line, language=None, wrap_lines=True)


def numbers(counts: Mapping[str, int]) -> None:
    """A row of counts with fixed names."""
    for column, (name, count) in zip(st.columns(len(counts)), counts.items(), strict=True):
        column.metric(name, f"{count:,}".replace(",", "\u2009"))


def chart(figure: "Figure", key: str) -> None:
    """A chart with a text that stands for it."""
    config = PLOTLY_CONFIG | {"displayModeBar": "hover"}
    st.plotly_chart(figure, theme=None, config=config, key=key, alt=description(figure))


def words(items: Sequence[tuple[str, str]]) -> None:
    """Terms and their explanations."""
    for term, text in items:
        st.markdown(f"**{for_markdown(term)}**  \n{for_markdown(text)}")
