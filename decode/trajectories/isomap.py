"""Isomap: latents whose straight distances are the shortest paths between neighbouring bins."""

from typing import Any, Self

import numpy as np
from sklearn.manifold import Isomap as TwoAxisIsomap

from ...datasets.errors import SchemaError
from ...datasets.preprocess import three_axes
from .loadings import check_fit, signs
from .per_bin import PerBin
from .with_gaps import check_whole


class Isomap(PerBin):
    """Tenenbaum, de Silva & Langford (2000): multidimensional scaling of path lengths in the graph of neighbours.

    Every bin of every trial is a point, joined to its ``n_neighbors`` nearest. New bins are placed by their paths
    through their nearest bins of the fit, each by itself. The largest coordinate of each latent is positive.

    Parameters
    ----------
    n_latents : how many
    n_neighbors : neighbours of each bin, itself not counted: few follow a curved sheet, many bridge gaps and noise

    Attributes
    ----------
    embedding_ : (n_trials, n_times, n_latents), of the bins of the fit
    reconstruction_error_ : root mean square of what the latents miss of the doubly centred path lengths
    signs_ : (n_latents,), with which scikit-learn's latents are multiplied
    transformer_ : scikit-learn's fitted Isomap

    Notes
    -----
    Time O(n_bins² · (n_neighbors + log n_bins)) and memory O(n_bins²), n_bins = n_trials · n_times: at 5,000 bins the
    paths alone take 200 MB. Of more, fit on part of the trials and carry the others through.

    Examples
    --------
    >>> angle = np.linspace(0, np.pi, 60)
    >>> arc = np.stack([np.cos(angle), np.sin(angle)], axis=1).reshape(6, 10, 2)
    >>> z = Isomap(n_latents=1, n_neighbors=4).fit(arc).embedding_
    >>> round(float(np.ptp(z)), 2)
    3.14
    """

    def __init__(self, n_latents: int = 3, *, n_neighbors: int = 15) -> None:
        self.n_latents = n_latents
        self.n_neighbors = n_neighbors

    def fit(self, X: np.ndarray, y: Any = None) -> Self:
        """Learn from all bins of X (n_trials, n_times, n_units); ``y`` is not used.

        Raises
        ------
        SchemaError : NaN; no more bins than neighbours or latents; bins that fall into groups that no neighbour joins
        ConfigError : ``n_latents`` or ``n_neighbors`` is no whole number of at least 1
        """
        X = self._complete(three_axes(X, "Isomap"))
        n_latents = check_fit(X, self.n_latents, "Isomap")
        check_whole(self.n_neighbors, "n_neighbors", "Isomap")
        rows = X.reshape(-1, X.shape[2]).astype(np.float64)
        refuse_few(len(rows), int(self.n_neighbors), "Isomap")
        refuse_apart(rows, int(self.n_neighbors))
        self._fit_bins(
            rows.reshape(X.shape),
            TwoAxisIsomap(n_neighbors=int(self.n_neighbors), n_components=n_latents, eigen_solver="dense"),
        )
        self.signs_ = signs(self.transformer_.embedding_)
        self.embedding_ = (self.transformer_.embedding_ * self.signs_).reshape(*X.shape[:2], n_latents)
        self.reconstruction_error_ = float(self.transformer_.reconstruction_error())
        return self

    def transform(self, X: np.ndarray) -> np.ndarray:
        """(n_trials, n_times, n_units) -> (n_trials, n_times, n_latents), each bin by itself.

        Raises
        ------
        SchemaError : NaN, or another number of units than in the fit
        """
        return super().transform(np.asarray(X, np.float64)) * self.signs_


def refuse_few(n_bins: int, n_neighbors: int, who: str) -> None:
    """Refuse a fit on no more bins than neighbours.

    Raises
    ------
    SchemaError : with both numbers
    """
    if n_bins <= n_neighbors:
        raise SchemaError(
            f"{who}: each bin has {n_neighbors} neighbours beside itself, and the fit has {n_bins} bins in all. "
            f"Ask for fewer neighbours, or fit on more trials."
        )


def refuse_apart(rows: np.ndarray, n_neighbors: int) -> None:
    """Refuse bins (n_bins, n_units) whose graph of neighbours falls apart.

    Raises
    ------
    SchemaError : with the number of groups
    """
    from scipy.sparse.csgraph import connected_components
    from sklearn.neighbors import kneighbors_graph

    n_groups, group = connected_components(kneighbors_graph(rows, n_neighbors), directed=False)
    if n_groups > 1:
        raise SchemaError(
            f"Isomap: with {n_neighbors} neighbours the {len(rows)} bins fall into {n_groups} groups that no neighbour "
            f"joins (the smallest has {np.bincount(group).min()} bins), so there is no path between them. Ask for more "
            f"neighbours, or smooth the activity."
        )
