"""What a curve tends to: a saturating form fitted by least squares, and whether the data determine it.

    s(n) = c + (A - c) f(n / n0),   f(x) = 1 - exp(-x)  (exponential)   or   x / (1 + x)  (hyperbolic)

with c the chance level, A the asymptote and n0 the scale. Both forms have two parameters, so the smaller sum of
squares chooses fairly. For a given n0 the best A is a ratio of sums, so the fit is a search over n0 alone, on a
grid that is refined once: no starting values, no local minima.
"""

import numpy as np
import xarray as xr

from ..datasets.errors import SchemaError
from .curves import LEVEL, size_dim

FORMS = {
    "exponential": lambda x: -np.expm1(-x),
    "hyperbolic": lambda x: x / (1 + x),
}
HALF_WAY = {"exponential": np.log(2.0), "hyperbolic": 1.0}  # f(x) = 1/2
LIMITS = {  # of a metric; others are unbounded
    **dict.fromkeys(("balanced_accuracy", "accuracy", "auroc"), (0.0, 1.0)),
    **dict.fromkeys(("top_2_accuracy", "top_3_accuracy", "top_5_accuracy"), (0.0, 1.0)),
    **dict.fromkeys(("mean_absolute_error", "mean_class_error", "log_loss"), (0.0, np.inf)),
    "brier_score": (0.0, 2.0),
    "r2": (-np.inf, 1.0),
    "rank_correlation": (-1.0, 1.0),
}
WIDEST = 0.2  # an interval wider than this share of the rise from chance does not determine the asymptote
N_GRID, N_FINE = 400, 100  # steps of 3 % in the scale, then of 0.07 %


def fit_saturation(curve: xr.Dataset, *, n_bootstrap: int = 1000, random_state: int) -> xr.Dataset:
    """The curve with a fitted saturation and intervals of its parameters.

    Parameters
    ----------
    curve : of ``neuron_dropping``, ``learning_curve``, ``pooled_curve`` or ``mean_curve``, at least three sizes
    n_bootstrap : resamples of the repeats, or of the animals of a mean curve; each chooses its form anew
    random_state : seed of the resamples

    Returns
    -------
    curve with ``fitted`` (size) and attrs ``saturation`` (form), ``asymptote``, ``n_half`` (units or trials to
    half of the rise), each with ``_low`` and ``_high`` (middle 95 %), ``is_asymptote_determined``, ``n_bootstrap``;
    ``warnings`` say when the asymptote is not determined: its interval is wider than a fifth of the rise

    Raises
    ------
    SchemaError : not a curve, fewer than three sizes, scores that are NaN

    Notes
    -----
    The asymptote is held to the metric's range. The interval is over draws of units or trials (or animals) and
    over the two forms; a third form could tend elsewhere, so trust it no further than a few times the largest
    size. Time O(n_bootstrap n_sizes).

    Examples
    --------
    >>> import numpy as np, xarray as xr
    >>> n = np.array([5, 10, 20, 40, 80])
    >>> scores = 0.1 + 0.8 * (1 - np.exp(-n / 12))
    >>> curve = xr.Dataset({"score": ("n_units", scores), "repeat_score": (("n_units", "repeat"), scores[:, None])},
    ...     coords={"n_units": n}, attrs={"kind": "curve", "metric": "accuracy", "chance": 0.1, "warnings": []})
    >>> fitted = fit_saturation(curve, random_state=0)
    >>> fitted.attrs["saturation"], round(fitted.attrs["asymptote"], 3)
    ('exponential', 0.9)
    """
    dim = size_dim(curve)
    n = curve[dim].to_numpy().astype(np.float64)
    over = "animal_score" if "animal_score" in curve else "repeat_score"
    scores = curve[over].transpose(dim, ...).to_numpy()
    if len(n) < 3:
        raise SchemaError(f"a saturation has two parameters and is fitted to at least three {dim}, got {len(n)}.")
    if not np.isfinite(scores).all():
        first = n[~np.isfinite(scores).all(axis=1)][0]
        raise SchemaError(f"the curve holds NaN at {dim} {first:g}. Leave that size out.")
    rng = np.random.default_rng(random_state)
    drawn = rng.integers(0, scores.shape[1], (n_bootstrap, scores.shape[1]))
    rows = np.concatenate([scores.mean(axis=1)[None], scores[:, drawn].mean(axis=2).T])
    chance, limits = float(curve.attrs["chance"]), LIMITS.get(curve.attrs["metric"], (-np.inf, np.inf))
    fits = {form: _profile(n, rows, chance, limits, form) for form in FORMS}
    names = list(FORMS)
    best = np.argmin([fits[form][2] for form in names], axis=0)
    asymptote = np.choose(best, [fits[form][0] for form in names])
    n_half = np.choose(best, [fits[form][1] * HALF_WAY[form] for form in names])
    form = names[best[0]]
    fitted = chance + (asymptote[0] - chance) * FORMS[form](n / (n_half[0] / HALF_WAY[form]))
    attrs = {"saturation": form, "asymptote": float(asymptote[0]), "n_half": float(n_half[0])}
    for name, values in (("asymptote", asymptote[1:]), ("n_half", n_half[1:])):
        low, high = np.quantile(values, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
        attrs |= {f"{name}_low": float(low), f"{name}_high": float(high)}
    other = fits[names[1 - best[0]]]
    said, is_determined = list(curve.attrs.get("warnings", [])), _is_determined(attrs, chance, scores.shape[1])
    if not is_determined:
        said.append(_undetermined(attrs, names[1 - best[0]], float(other[0][0]), dim, int(n[-1])))
    attrs |= {"n_bootstrap": n_bootstrap, "is_asymptote_determined": is_determined, "warnings": said}
    return curve.assign(fitted=(dim, fitted)).assign_attrs(attrs)


def _profile(
    n: np.ndarray, rows: np.ndarray, chance: float, limits: tuple[float, float], form: str
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Asymptote, scale and sum of squares (n_rows,) of the best fit to each row (n_rows, n_sizes)."""
    rise, bounds = rows - chance, (limits[0] - chance, limits[1] - chance)
    grid = np.geomspace(n[0] / 20, n[-1] * 1000, N_GRID)
    coarse = _squares(FORMS[form](n / grid[:, None])[None], rise, bounds)[1].argmin(axis=1)
    step = grid[1] / grid[0]
    fine = grid[coarse, None] * np.geomspace(1 / step, step, N_FINE)
    amplitude, squares = _squares(FORMS[form](n / fine[:, :, None]), rise, bounds)
    best, row = squares.argmin(axis=1), np.arange(len(rows))
    return chance + amplitude[row, best], fine[row, best], squares[row, best]


def _squares(f: np.ndarray, rise: np.ndarray, bounds: tuple[float, float]) -> tuple[np.ndarray, np.ndarray]:
    """Best amplitudes and sums of squares (n_rows, n_scales) for shapes (n_rows or 1, n_scales, n_sizes)."""
    product = np.matmul(f, rise[:, :, None])[:, :, 0]
    norm = np.sum(f**2, axis=2)
    amplitude = np.clip(product / norm, *bounds)
    return amplitude, np.sum(rise**2, axis=1)[:, None] + amplitude * (amplitude * norm - 2 * product)


def _is_determined(attrs: dict, chance: float, n_resampled: int) -> bool:
    width = attrs["asymptote_high"] - attrs["asymptote_low"]
    return bool(n_resampled > 1 and width <= WIDEST * abs(attrs["asymptote"] - chance))


def _undetermined(attrs: dict, other_form: str, other: float, dim: str, largest: int) -> str:
    return (
        f"The asymptote is not determined: with at most {largest} {dim} it lies between {attrs['asymptote_low']:.3g} "
        f"and {attrs['asymptote_high']:.3g} ({attrs['saturation']} form {attrs['asymptote']:.3g}, {other_form} form "
        f"{other:.3g}). Do not quote it."
    )
