"""A made-up study of five mice, in the shape of the contract: what charts, report and explorer are given."""

import json
import shutil

import numpy as np
import pytest
import xarray as xr

ODORS = ["2-heptanone", "benzaldehyde", "citral", "ethyl butyrate", "eugenol", "hexanal", "isoamyl acetate", "limonene"]
SKILL = {"mouse-1": 0.86, "mouse-2": 0.74, "mouse-3": 0.91, "mouse-4": 0.62, "mouse-5": 0.80}
CONFIG = {"decode": {"target": "odor", "estimator": "lda"}, "bins": {"window_s": [0.0, 0.5], "bin_width_s": 0.05}}
HOSTILE = (
    "<img src=x onerror=alert(1)><script>alert(2)</script>[a](javascript:alert(3))![b](http://127.0.0.1:9/x)"
    "$\\href{x}{y}$%{customdata}=cmd|' /C calc'!A0\u202egnp.exe\n{0.__class__}\"><b>" + "x" * 130
)


def make_result(animal, skill, *, odors=ODORS, n_repeats=30, n_folds=5, n_permutations=200, seed=0):
    """A decoding result: ``skill`` of the trials are right, the others fall on neighbours more often."""
    rng = np.random.default_rng([seed, *animal.encode()])
    n = len(odors)
    target = np.repeat(np.arange(n), n_repeats)
    wrong = (target + rng.choice([1, 1, 2, 3, n - 1], size=target.size)) % n
    predicted = np.where(rng.random(target.size) < skill, target, wrong)
    fold = rng.permutation(np.arange(target.size) % n_folds)
    prediction = np.where(fold == np.arange(n_folds)[:, None], predicted, -1).astype(np.int16)
    confusion = np.zeros((n, n), dtype=int)
    np.add.at(confusion, (target, predicted), 1)
    score = float(np.mean(confusion.diagonal() / confusion.sum(axis=1)))
    null = rng.normal(1 / n, 0.022, n_permutations)
    low, high = np.quantile(null, [0.025, 0.975])
    return xr.Dataset(
        {
            "score": ("fold", [float(np.mean((predicted == target)[fold == k])) for k in range(n_folds)]),
            "prediction": (("fold", "trial"), prediction),
            "target": ("trial", target.astype(np.int16)),
            "confusion": (("label", "predicted_label"), confusion),
            "null_score": ("permutation", null),
        },
        coords={
            "label": np.array(odors), "predicted_label": np.array(odors), "trial": np.arange(target.size),
            "odor": ("trial", np.array(odors)[target]),
        },
        attrs={
            "kind": "decoding", "session": f"{animal}-day1", "animal": animal, "population": "session",
            "name": f"odor-{animal}", "target": "odor", "metric": "balanced_accuracy",
            "estimator": "Pipeline(StandardScaler, LinearDiscriminantAnalysis(shrinkage='auto', solver='lsqr'))",
            "event": "inhalation_onset", "window_s": [0.0, 0.5], "bin_width_s": 0.05,
            "folds": "5 folds of whole blocks, classes in equal parts", "n_trials": int(target.size),
            "n_units": int(30 + 50 * rng.random()), "n_animals": 1, "n_sessions": 1, "score_mean": score,
            "score_low": score - 0.045, "score_high": score + 0.04, "interval_level": 0.95, "interval_over": "trials",
            "chance": 1 / n, "null_low": float(low), "null_high": float(high),
            "p_value": (1 + int((null >= score).sum())) / (1 + n_permutations), "p_smallest": 1 / (1 + n_permutations),
            "n_permutations": n_permutations, "null_scheme": "labels of whole trials permuted within block",
            "random_state": seed, "warnings": [], "config": json.dumps(CONFIG), "version": "0.1.0", "store_position": 6,
            "computed_at": "2026-11-24T09:30:00+00:00", "user": "ada", "threads": 2,
            "packages": json.dumps({"numpy": "2.4.0", "scikit-learn": "1.9.1", "xarray": "2026.9.0"}),
        },
    )  # fmt: skip


def make_study(results):
    """The table over populations, as ``mitral run`` makes it."""
    taken = ("score_low", "score_high", "null_low", "null_high", "p_value", "p_smallest", "chance", "n_trials",
             "n_units")  # fmt: skip
    names = list(results)
    scores = np.array([results[name].attrs["score_mean"] for name in names])
    half = 1.96 * scores.std(ddof=1) / np.sqrt(scores.size) if scores.size > 1 else 0.0
    first = results[names[0]].attrs
    return xr.Dataset(
        {"score": ("population", scores)}
        | {name: ("population", [results[key].attrs[name] for key in names]) for name in taken},
        coords={
            "population": names,
            "animal": ("population", [results[key].attrs["animal"] for key in names]),
            "session": ("population", [results[key].attrs["session"] for key in names]),
            "result": ("population", [results[key].attrs["name"] for key in names]),
        },
        attrs={
            "kind": "study", "name": "odor identity in five mice", "target": "odor", "metric": "balanced_accuracy",
            "score_mean": float(scores.mean()), "score_low": float(scores.mean() - half),
            "score_high": float(scores.mean() + half), "interval_level": 0.95,
            "interval_over": "animals, then sessions, then trials", "n_permutations": first["n_permutations"],
            "null_scheme": first["null_scheme"], "folds": first["folds"], "config": first["config"],
        },
    )  # fmt: skip


def make_trajectory(animal, *, odors=ODORS, n_repeats=30, n_latents=3, n_fitted=None, seed=0):
    """Loops in latent space, one per odor, from a common rest."""
    rng = np.random.default_rng([seed, *animal.encode(), 7])
    time = np.round(np.arange(-0.475, 1.0, 0.05), 3)
    target = np.repeat(np.arange(len(odors)), n_repeats)
    rise = np.where(time > 0, 1 - np.exp(-time / 0.08), 0.0) * np.exp(-np.maximum(time, 0) / 0.6)
    turn = np.where(time > 0, np.sin(2 * np.pi * np.maximum(time, 0)), 0.0)
    out, side = rng.normal(size=(2, len(odors), n_latents)) * np.array([3.0, 2.2, 1.6, 1.0, 0.7])[:n_latents]
    mean = rise[:, None] * out[:, None] + 0.5 * turn[:, None] * side[:, None]
    noise = rng.normal(size=(target.size, time.size, n_latents)).cumsum(axis=1) * 0.12
    n_fitted = target.size if n_fitted is None else n_fitted
    return xr.DataArray(
        (mean[target] + noise + rng.normal(size=(target.size, 1, n_latents)) * 0.25).astype(np.float32),
        dims=("trial", "time", "latent"),
        coords={
            "trial": np.arange(target.size), "time": ("time", time, {"units": "s"}), "latent": np.arange(n_latents),
            "odor": ("trial", np.array(odors)[target]), "in_fit": ("trial", np.arange(target.size) < n_fitted),
            "concentration": ("trial", np.tile([0.1, 1.0, 10.0], target.size // 3), {"units": "ppm"}),
        },
        attrs={
            "session": f"{animal}-day1", "animal": animal, "event": "inhalation_onset", "bin_width_s": 0.05,
            "reducer": "PCA(n_components=3)", "explained_variance": [0.23, 0.14, 0.09, 0.05, 0.03][:n_latents],
        },
    )  # fmt: skip


@pytest.fixture(scope="session")
def results():
    """One result per mouse."""
    return {animal: make_result(animal, skill) for animal, skill in SKILL.items()}


@pytest.fixture(scope="session")
def study(results):
    """The study over the five results."""
    return make_study(results)


@pytest.fixture(scope="session")
def paths():
    """One trajectory per mouse."""
    return {animal: make_trajectory(animal) for animal in SKILL}


@pytest.fixture(scope="session")
def hostile():
    """Text that attacks whatever shows it, 300 characters and more."""
    return HOSTILE


@pytest.fixture(scope="session")
def made():
    """The three makers, for a test that needs something else: result, study, trajectory."""
    return {"result": make_result, "study": make_study, "trajectory": make_trajectory}


CHROMIUM_FLAGS = (
    "--headless --no-sandbox --disable-gpu --enable-unsafe-swiftshader --disable-quic --no-first-run "
    "--disable-background-networking --disable-component-update --disable-sync"
).split()  # charts in space need WebGL, here without a graphics card


class Watched:
    """A page of a real browser, with what went wrong in it and what it asked the network for."""

    def __init__(self, page):
        self.page, self.errors, self.requests, self.dialogs = page, [], [], []
        page.on("console", lambda message: self.errors.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.on("request", lambda request: self.requests.append(request.url))
        page.on("dialog", self._dismiss)

    def _dismiss(self, dialog):
        self.dialogs.append(dialog.message)
        dialog.dismiss()

    def foreign(self, allowed):
        """Requests to other places than those that start with ``allowed``."""
        return [url for url in self.requests if not url.startswith((*allowed, "data:", "blob:"))]

    def overflow(self):
        """By how many pixels the page is wider than its window."""
        return self.page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")


@pytest.fixture(scope="session")
def chromium(tmp_path_factory):
    """Debian's Chromium with a fresh profile, driven by Playwright; skips the test where it is absent."""
    program = shutil.which("chromium")
    if program is None:
        pytest.skip("no chromium on the PATH: apt-get install chromium")
    playwright = pytest.importorskip(
        "playwright.sync_api", reason="playwright is not installed: pip install playwright"
    )
    with playwright.sync_playwright() as driver:
        profile = tmp_path_factory.mktemp("chromium")
        context = driver.chromium.launch_persistent_context(
            str(profile), executable_path=program, headless=True, args=CHROMIUM_FLAGS
        )
        yield context
        context.close()


@pytest.fixture
def watched(chromium):
    """A function that opens an address in a new page: ``watched(url, dark=True, width=390)``."""
    opened = []

    def show(url, *, dark=False, width=1280, height=900):
        page = Watched(chromium.new_page())
        opened.append(page.page)
        page.page.emulate_media(color_scheme="dark" if dark else "light")
        page.page.set_viewport_size({"width": width, "height": height})
        page.page.goto(url)
        return page

    yield show
    for page in opened:
        page.close()
