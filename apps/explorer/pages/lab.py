"""The lab at a glance: its last result and what it means, its sessions, and the tables of one of them."""

import streamlit as st

from mitral.apps import charts, summary
from mitral.apps.explorer import parts, state
from mitral.datasets.errors import MitralError, StoreError


def latest(lab: state.Catalogue) -> None:
    """The last result, or another that is chosen: finding, chart, table, meaning."""
    st.header("What was decoded", divider="gray", anchor=False)
    if lab.results.empty:
        words = "Decode something, and it will stand here."
        parts.state("No result yet", words, state.command("mitral run CONFIG.toml"))
        return
    names = lab.results["name"].tolist()[::-1]
    name = names[0]
    if len(names) > 1:
        name = st.selectbox("Result, newest first", names, key="result", bind="query-params")
    try:
        study = state.result(lab.path, lab.position, name)
        finding, rows = summary.finding(study), summary.readable(summary.table(study))
        figure = charts.accuracy(study, theme=parts.theme())
        attrs, warnings = state.explained(lab.path, lab.position, name)
    except MitralError as error:
        parts.state("This result cannot be read", str(error), state.command("mitral verify"))
        return
    st.subheader(parts.for_markdown(finding), anchor=False)
    parts.chart(figure, key="accuracy")
    st.dataframe(rows, hide_index=True, alt="Score, interval, chance, null band and p of each population")
    if "confusion" in study:
        parts.chart(charts.confusion(study, theme=parts.theme()), key="confusion")
    for warning in warnings:
        st.warning(parts.for_markdown(warning))
    with st.expander("What these numbers mean"):
        parts.words(summary.meaning(attrs))


def sessions(lab: state.Catalogue) -> None:
    """The catalogue, and the first rows of the trial and unit tables of one session."""
    st.header("What was recorded", divider="gray", anchor=False)
    if lab.sessions.empty:
        parts.state(
            "No session yet",
            "This store is empty. Put recordings into it, or look at the simulated lab first.",
            state.command("mitral ingest SOURCE PATH"),
            "mitral demo",
        )
        return
    st.dataframe(lab.sessions, hide_index=True, alt="Sessions of the store")
    chosen = st.selectbox("Session", lab.sessions["session"].tolist(), key="session", bind="query-params")
    for tab, dim in zip(st.tabs(["Trials", "Units"]), ("trial", "unit"), strict=True):
        with tab:
            try:
                table = state.columns(lab.path, lab.position, chosen, dim)
            except MitralError as error:
                parts.state("This session cannot be read", str(error), state.command("mitral verify"))
                continue
            st.dataframe(table, hide_index=True, alt=f"First rows of the {dim} table")
            st.caption(f"The first {len(table)} rows; the whole session is read with Store(path).session(name).")


def page() -> None:
    """The whole page."""
    st.title("Lab", anchor=False)
    try:
        lab = state.catalogue()
    except StoreError as error:
        parts.state("No lab store", str(error), state.start_command(), "mitral demo")
        return
    st.text(lab.path)
    parts.numbers(state.totals(lab))
    latest(lab)
    sessions(lab)


if __name__ == "__main__":
    page()
