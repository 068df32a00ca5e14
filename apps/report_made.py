"""The last two sections of a report: how it was made, and what to do next."""

import json
import shlex
from collections.abc import Mapping
from typing import Any

import pandas as pd
import xarray as xr

from .labels import clean, for_html, spoken
from .report_page import html_table

TELLERS = {  # words of the table -> attributes of the results that they come from
    "Decoder": "estimator",
    "Folds": "folds",
    "Null": "null_scheme",
    "Shuffles": "n_permutations",
    "Seed": "random_state",
}
RUN = {
    "Name": "name",
    "Store": "store",
    "Store position": "store_position",
    "mitral": "version",
    "Python": "python",
    "Machine": "machine",
    "Packages": "packages",
    "Threads": "threads",
    "Computed": "computed_at",
    "By": "user",
}
APART = {*RUN.values(), "config", "inputs"}


def how_it_was_made(
    study: xr.Dataset,
    results: Mapping[str, xr.Dataset],
    trajectories: Mapping[str, xr.DataArray],
    provenance: Mapping[str, Any],
) -> str:
    """The section "How it was made": data, settings, folds, null, seeds, versions, threads, store.

    Parameters
    ----------
    study, results, trajectories : what the report shows
    provenance : plain values; what it does not say is taken from the study or the first result
    """
    known = _known(study, results, provenance)
    rows = {"Activity": _activity(study, results)}
    rows |= {word: _joined(r.attrs.get(key) for r in results.values()) for word, key in TELLERS.items()}
    rows["Trajectories"] = _joined(t.attrs.get("reducer") for t in trajectories.values())
    rows |= {word: _plain(known.get(key)) for word, key in RUN.items()}
    rows["Threads"] = _threads(known.get("threads"))
    rows |= {spoken(key).capitalize(): _plain(value) for key, value in provenance.items() if key not in APART}
    cells = "".join(f'<tr><th scope="row">{for_html(k)}</th><td>{for_html(v)}</td></tr>' for k, v in rows.items() if v)
    made = f'<table class="made"><caption>Settings and surroundings.</caption><tbody>{cells}</tbody></table>'
    inputs, config = _inputs(known.get("inputs")), _config(known.get("config"))
    return f"<section>\n<h2>How it was made</h2>\n{made}\n{inputs}\n{config}\n</section>"


def next_steps(study: xr.Dataset, rows: pd.DataFrame, provenance: Mapping[str, Any]) -> str:
    """The section "What to do next": what to type, with the names of this run."""
    store = clean(provenance.get("store") or "lab")
    name = study.attrs.get("name") if study.attrs.get("kind") == "study" else next(iter(rows["result"]), "")
    script = [
        "from mitral.datasets.store import Store",
        "from mitral.apps.figures import save_figure",
        "",
        f"store = Store({store!r})",
        f"study = store.result({clean(name)!r})",
    ]
    if study.attrs.get("kind") == "study":
        script.append('print(study[["score", "chance", "p_value"]].to_dataframe())')
    script.append('save_figure("accuracy", study, "accuracy.svg", width_mm=85)')
    quoted = shlex.quote(store)
    steps = [
        ("Look closer, in the browser:", f"mitral app --store {quoted}"),
        ("Take the numbers into Python, and a figure for print:", "\n".join(script)),
        (
            "Ask another question: change the configuration above, save it as a file, and run it:",
            f"mitral run FILE.toml --store {quoted}",
        ),
    ]
    items = "".join(f"<li>{for_html(words)}<pre tabindex='0'>{_lines(code)}</pre></li>" for words, code in steps)
    return f'<section>\n<h2>What to do next</h2>\n<ol class="next">{items}</ol>\n</section>'


def as_toml(config: Mapping[str, Any], prefix: str = "") -> str:
    """Nested plain values as TOML; None is left out, as it is the default.

    Examples
    --------
    >>> print(as_toml({"name": "odor", "bins": {"width_s": 0.1, "window_s": [0, 1]}}))
    name = "odor"
    <BLANKLINE>
    [bins]
    width_s = 0.1
    window_s = [0, 1]
    """
    plain = {key: value for key, value in config.items() if not isinstance(value, Mapping) and value is not None}
    lines = [f"{_toml_key(key)} = {json.dumps(value)}" for key, value in plain.items()]
    for key, value in config.items():
        if isinstance(value, Mapping):
            name = f"{prefix}{_toml_key(key)}"
            lines += ["", f"[{name}]", as_toml(value, f"{name}.")]
    return "\n".join(lines).strip("\n")


def _toml_key(key: str) -> str:
    return key if key.replace("_", "").replace("-", "").isalnum() and key.isascii() else json.dumps(key)


def _known(study: xr.Dataset, results: Mapping[str, xr.Dataset], provenance: Mapping[str, Any]) -> dict[str, Any]:
    """Provenance as given; what it lacks from the study, then from the first result. JSON text is read."""
    known: dict[str, Any] = {}
    for source in (provenance, study.attrs, *(r.attrs for r in list(results.values())[:1])):
        for key in APART:
            if key not in known and source.get(key) not in (None, ""):
                known[key] = source[key]
    for key in ("config", "inputs", "packages", "threads"):
        if isinstance(known.get(key), str):
            try:
                known[key] = json.loads(known[key])
            except ValueError:
                pass  # a text that is no JSON is shown as it is
    return known


def _activity(study: xr.Dataset, results: Mapping[str, xr.Dataset]) -> str:
    attrs = next(iter(results.values())).attrs if results else study.attrs
    if not attrs.get("window_s"):
        return ""
    start, stop = attrs["window_s"]
    width = attrs.get("bin_width_s")
    bins = f", in bins of {width:g} s" if width else ""
    return f"{start:g} to {stop:g} s from {clean(attrs.get('event', 'the event'))}{bins}"


def _joined(values: Any) -> str:
    return "; ".join(dict.fromkeys(_plain(value) for value in values if value not in (None, "")))


def _plain(value: Any) -> str:
    """A plain value in one line."""
    if value is None:
        return ""
    if isinstance(value, Mapping):
        return ", ".join(f"{clean(key)} {_plain(item)}" for key, item in value.items())
    if isinstance(value, list | tuple):
        return "; ".join(_plain(item) for item in value)
    return clean(value)


def _threads(pools: Any) -> str:
    """Threads of each linear-algebra library: ``openblas 2, openmp 2``."""
    if not isinstance(pools, list) or not all(isinstance(pool, Mapping) for pool in pools):
        return _plain(pools)
    return ", ".join(dict.fromkeys(clean(f"{pool.get('internal_api')} {pool.get('num_threads')}") for pool in pools))


def _inputs(inputs: Any) -> str:
    if not isinstance(inputs, Mapping) or not inputs:
        return ""
    cells = [[clean(session), clean(key)] for session, key in inputs.items()]
    caption = "Sessions that were read, and the stored object of each."
    listed = html_table(caption, ["session", "object"], cells, css="made")
    return f"<details><summary>Recordings ({len(cells)})</summary>{listed}</details>"


def _config(config: Any) -> str:
    if not config:
        return ""
    text = as_toml(config) if isinstance(config, Mapping) else str(config)
    return f"<details><summary>Configuration</summary><pre tabindex='0'>{_lines(text)}</pre></details>"


def _lines(text: str) -> str:
    """Text of several lines, each one cleaned and escaped."""
    return "\n".join(for_html(line) for line in text.split("\n"))
