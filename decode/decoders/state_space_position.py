"""State-space decoder of a number over time: position, binned, moves as it moved in training."""

from typing import Self

import numpy as np
from sklearn.utils import Tags

from ...datasets.errors import SchemaError
from .markov import forward, forward_backward
from .observations import fit_observations, refuse_negative, refuse_unknown
from .sequences import OverTime, refuse_constant

MOST_STATES = 1000


class StateSpacePosition(OverTime):
    """Hidden bin of position s_t with p(s_t | s_{t-1}) from training and activity that depends on s_t.

    p(s_t | x_1..t) ∝ p(x_t | s_t) sum_s' p(s_t | s') p(s' | x_1..t-1)  (Brown et al. 1998; discrete as in
    Denovellis et al. 2021). Transitions are counted between neighbouring bins of training trials and drawn
    towards going anywhere alike by ``prior_trials`` pseudo-counts a state; the first bin starts from the
    occupancy. The prediction is the state at which the posterior passes one half: of all states it has the
    least expected absolute error.

    Parameters
    ----------
    n_states : equal bins between the least and largest training value; None takes the values themselves as
        states, for a target that is binned already
    observation : "poisson" for counts, "gaussian" for traces, with one covariance over all states
    is_causal : forward posterior, of the activity up to each bin; else forward-backward, of the whole trial
    prior_trials : weight, in bins, of the mean over states in each state's rates; above 0

    Attributes
    ----------
    states_ : (n_states,) values
    weights_, constants_ : (1, n_states, n_units) and (1, n_states), log likelihood of a bin
    log_prior_ : (n_states,) occupancy
    transition_ : (n_states, n_states), rows sum to 1

    Notes
    -----
    Time O(n_bins · n_states · (n_units + n_states)). One output only. Smoothed counts count the same spikes
    in several bins, and the posterior is then too sure.

    Examples
    --------
    >>> y = np.array([[0, 0, 1, 1, 2, 2]] * 3)
    >>> X = np.eye(3)[y] * 4
    >>> StateSpacePosition().fit(X, y).predict(X[:1]).tolist()
    [[0.0, 0.0, 1.0, 1.0, 2.0, 2.0]]
    """

    def __init__(
        self,
        n_states: int | None = None,
        *,
        observation: str = "poisson",
        is_causal: bool = True,
        prior_trials: float = 1.0,
    ) -> None:
        self.n_states = n_states
        self.observation = observation
        self.is_causal = is_causal
        self.prior_trials = prior_trials

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.positive_only = self.observation == "poisson"
        return tags

    def fit(self, X: np.ndarray, y: np.ndarray) -> Self:
        """X (n_trials, n_times, n_units), y (n_trials, n_times).

        Raises
        ------
        SchemaError : shapes that do not fit, several outputs, a constant target, a negative count, an unknown
            observation, a number of states out of range
        """
        refuse_unknown(self.observation, "StateSpacePosition")
        X, present, Y = self._learn_shapes(X, y)
        if Y.shape[2] != 1:
            raise SchemaError(f"StateSpacePosition decodes one output, got {Y.shape[2]}. Fit one decoder for each.")
        target = np.where(present, Y[:, :, 0], np.nan)
        known = np.isfinite(target)
        refuse_constant(target[known][:, None], "StateSpacePosition")
        self.states_ = self._make_states(target[known])
        state = np.full(target.shape, -1)
        state[known] = np.abs(target[known][:, None] - self.states_).argmin(axis=1)
        n = len(self.states_)
        self.weights_, self.constants_ = fit_observations(
            X[known][:, None],
            np.ones((known.sum(), 1), bool),
            state[known],
            n,
            observation=self.observation,
            prior_trials=self.prior_trials,
        )
        occupancy = np.bincount(state[known], minlength=n) + self.prior_trials / n
        self.log_prior_ = np.log(occupancy / occupancy.sum())
        pairs = known[:, :-1] & known[:, 1:]
        moves = state[:, :-1][pairs] * n + state[:, 1:][pairs]
        counts = np.bincount(moves, minlength=n * n).reshape(n, n) + self.prior_trials / n
        self.transition_ = counts / counts.sum(axis=1, keepdims=True)
        return self

    def predict(self, X: np.ndarray) -> np.ndarray:
        """Values (n_trials, n_times), in the shape of the target; NaN in absent bins."""
        reached = np.cumsum(self.predict_proba(X), axis=2) >= 0.5
        reached[:, :, -1] = True
        values = self.states_[reached.argmax(axis=2)]
        return self._shaped(values[:, :, None], self._known_units(X)[1])

    def predict_proba(self, X: np.ndarray) -> np.ndarray:
        """Posterior (n_trials, n_times, n_states); absent bins are bridged by the transitions."""
        X, present = self._known_units(X)
        if self.observation == "poisson":
            refuse_negative(X, "StateSpacePosition")
        terms = (X @ self.weights_[0].T + self.constants_[0]) * present[:, :, None]
        posterior = forward if self.is_causal else forward_backward
        return posterior(terms, np.exp(self.log_prior_), self.transition_)

    def _make_states(self, values: np.ndarray) -> np.ndarray:
        if self.n_states is None:
            states = np.unique(values)
            if len(states) > MOST_STATES:
                raise SchemaError(
                    f"StateSpacePosition: the target takes {len(states)} values, more than {MOST_STATES}. Give "
                    f"n_states to bin it."
                )
            return states
        if not 2 <= self.n_states <= MOST_STATES:
            raise SchemaError(f"StateSpacePosition: n_states is 2 to {MOST_STATES}, got {self.n_states}.")
        edges = np.linspace(values.min(), values.max(), self.n_states + 1)
        return (edges[:-1] + edges[1:]) / 2
