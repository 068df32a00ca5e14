"""The classes of the nearest training trials, scikit-learn's."""

from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler


def nearest_neighbours(*, n_neighbours: int = 5) -> Pipeline:
    """The commonest class among the nearest training trials, by distance between features of unit variance.

    Parameters
    ----------
    n_neighbours : how many vote; probabilities are shares of votes
    """
    return make_pipeline(StandardScaler(), KNeighborsClassifier(n_neighbors=n_neighbours))
