"""Animals that share latent dynamics: the simulation of the aligned mixture of latent dynamical systems.

For stimulus k, trial n, bin t, animal m:

    z_1 ~ N(x0_k, Q_k),  z_t ~ N(A_k z_{t-1} + s b_{k,t}, Q_k),   x_t ~ N(C_m z_t, R_m)

Settings of Herrero-Vidal, Rinberg & Savin (2021, NeurIPS): A_k has N(0.4, 0.1) on and N(0, 0.2) off its diagonal,
drawn again until its norm is below 1; Q_k and R_m are diagonal, |N(0.55, 0.0025)| and |N(0, 0.5)|; x0_k ~ N(0, 0.35);
b_k is (1.1 sin, cos, cos)(π t / n_times) less its start, turned about the first axis by an angle of its own out of
0 to 170 degrees; further latents have no input. C_ref' = U S V' ~ N(0, 0.25) is one for all, and C_m' = U S V_m', V_m
the columns of V / |V| + ``difference`` · N(0, 1) scaled to lengths N(1, 1/30). s is the concentration.
Every animal has loadings and noise of its own, the last one too. What |V| is, the paper leaves open; the norm of the
whole matrix makes animals differ most: loadings of two animals then correlate by about 0.4.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import xarray as xr

from ..errors import SchemaError, UnknownName
from ..schema import make_session
from ..tables import nearest

BIN_S = 0.01
GAP_S = 0.5  # between trials laid end to end


@dataclass(frozen=True)
class LatentSpace:
    """What was simulated, and the truth behind it.

    Attributes
    ----------
    trials : session id -> (n_trials, n_times, n_units), arbitrary units
    odor, concentration : session id -> (n_trials,)
    latents : session id -> (n_trials, n_times, n_latents), what happened in each trial
    A, b, Q, x0 : (n_odors, d, d), (n_odors, n_times - 1, d), (n_odors, d, d), (n_odors, d); Q also of the first bin
    loadings, noise : session id -> (n_units, d) and (n_units,), variance
    odors : (n_odors,) names
    """

    trials: dict[str, np.ndarray]
    odor: dict[str, np.ndarray]
    concentration: dict[str, np.ndarray]
    latents: dict[str, np.ndarray]
    A: np.ndarray
    b: np.ndarray
    Q: np.ndarray
    x0: np.ndarray
    loadings: dict[str, np.ndarray]
    noise: dict[str, np.ndarray]
    odors: np.ndarray

    def activity(self, session: str) -> xr.DataArray:
        """Activity (trial, time, unit) of one session, without a copy.

        Raises
        ------
        UnknownName : no such session
        """
        if session not in self.trials:
            raise UnknownName(f"LatentSpace: no session {session!r}. {nearest(session, self.trials)}")
        values = self.trials[session]
        coords = {
            "trial": np.arange(len(values)),
            "time": (np.arange(values.shape[1]) + 0.5) * BIN_S,
            "unit": _unit_names(session, values.shape[2]),
            "odor": ("trial", self.odor[session]),
            "concentration": ("trial", self.concentration[session], {"units": "dilution"}),
        }
        attrs = {
            "session": session, "animal": session, "event": "odor_onset", "bin_width_s": BIN_S, "units": "a.u.",
            "window_s": [0.0, values.shape[1] * BIN_S],
        }  # fmt: skip
        return xr.DataArray(values, dims=("trial", "time", "unit"), coords=coords, attrs=attrs, name="activity")

    @cached_property
    def sessions(self) -> dict[str, xr.Dataset]:
        """The recordings in the session schema: traces with the trials end to end, 0.5 s apart."""
        return {name: _session(name, self) for name in self.trials}


def simulate_latent_space(
    *,
    random_state: int,
    n_animals: int = 5,
    n_odors: int = 50,
    n_trials: int = 50,
    n_units: int = 40,
    n_times: int = 41,
    n_latents: int = 3,
    difference: float = 0.1,
    process_noise: float = 0.55,
    observation_noise: float = 0.5,
    concentrations: tuple[float, ...] = (1.0,),
) -> LatentSpace:
    """Simulate; the defaults are the published setting.

    Parameters
    ----------
    random_state : seed; each animal has a stream of its own, so adding one leaves the others as they are
    n_animals : sessions "mouse-1" ...
    n_odors, n_trials : stimuli, and trials of each in each animal at each concentration
    n_units, n_times, n_latents : sizes; at least 3 latents
    difference : of the loadings between animals; 0 makes them equal, 1 unrelated
    process_noise, observation_noise : level of Q, and scale of R
    concentrations : what the input b is multiplied by

    Raises
    ------
    SchemaError : a size below 1, fewer than 3 latents or not fewer than units, a concentration that is not positive

    Examples
    --------
    >>> space = simulate_latent_space(random_state=0, n_animals=2, n_odors=4, n_trials=3, n_units=10)
    >>> space.trials["mouse-2"].shape
    (12, 41, 10)
    """
    sizes = {"n_animals": n_animals, "n_odors": n_odors, "n_trials": n_trials, "n_units": n_units, "n_times": n_times}
    for name, size in sizes.items():
        if size < 1:
            raise SchemaError(f"simulate_latent_space: {name} must be at least 1, got {size}. Give one or more.")
    if not 3 <= n_latents < n_units:
        raise SchemaError(
            f"simulate_latent_space: n_latents must be at least 3 and below n_units ({n_units}), got {n_latents}."
        )
    if not concentrations or min(concentrations) <= 0:
        raise SchemaError(f"simulate_latent_space: concentrations must be positive, got {tuple(concentrations)}.")
    shared, *streams = np.random.SeedSequence(random_state).spawn(n_animals + 1)
    rng = np.random.default_rng(shared)
    A = np.array([_stable(rng, n_latents) for _ in range(n_odors)])
    Q = np.abs(rng.normal(process_noise, 0.0025, (n_odors, n_latents)))[:, :, None] * np.eye(n_latents)
    x0 = rng.normal(0, 0.35, (n_odors, n_latents))
    b = _inputs(n_odors, n_times, n_latents)
    reference = rng.normal(0, 0.25, (n_units, n_latents))
    space = LatentSpace({}, {}, {}, {}, A, b, Q, x0, {}, {}, np.array([f"odor-{k + 1:02d}" for k in range(n_odors)]))
    for number, stream in enumerate(streams, start=1):
        rng, name = np.random.default_rng(stream), f"mouse-{number}"
        C, R = _loadings(rng, reference, difference), np.abs(rng.normal(0, observation_noise, n_units))
        k = np.tile(np.repeat(np.arange(n_odors), len(concentrations)), n_trials)
        scale = np.tile(np.asarray(concentrations, float), n_trials * n_odors)
        z = _run(rng, A[k], scale[:, None, None] * b[k], Q[k], x0[k])
        noise = rng.normal(size=(*z.shape[:2], n_units))
        space.trials[name] = z @ C.T + np.sqrt(R) * noise
        space.latents[name], space.loadings[name], space.noise[name] = z, C, R
        space.odor[name], space.concentration[name] = space.odors[k], scale
    return space


def _stable(rng: np.random.Generator, d: int) -> np.ndarray:
    while True:
        A = rng.normal(0, 0.2, (d, d))
        np.fill_diagonal(A, rng.normal(0.4, 0.1, d))
        if np.linalg.norm(A, 2) < 1:
            return A


def _inputs(n_odors: int, n_times: int, d: int) -> np.ndarray:
    """b of the bins after the first (n_odors, n_times - 1, d)."""
    phase = np.pi * np.arange(n_times) / n_times
    course = np.column_stack([1.1 * np.sin(phase), np.cos(phase), np.cos(phase)])
    course = (course - course[0])[1:]
    angle = np.deg2rad(np.linspace(0, 170, n_odors))[:, None]
    b = np.zeros((n_odors, n_times - 1, d))
    b[:, :, 0] = course[:, 0]
    b[:, :, 1] = np.cos(angle) * course[:, 1] - np.sin(angle) * course[:, 2]
    b[:, :, 2] = np.sin(angle) * course[:, 1] + np.cos(angle) * course[:, 2]
    return b


def _loadings(rng: np.random.Generator, reference: np.ndarray, difference: float) -> np.ndarray:
    turn, S, V = np.linalg.svd(reference.T, full_matrices=False)
    other = V.T / np.linalg.norm(V) + difference * rng.normal(size=V.T.shape)
    lengths = 1 + rng.normal(0, 1 / 30, len(S))
    return other / np.linalg.norm(other, axis=0) * lengths @ (turn * S).T


def _run(rng: np.random.Generator, A: np.ndarray, b: np.ndarray, Q: np.ndarray, x0: np.ndarray) -> np.ndarray:
    """Latents (n_trials, n_times, d) of trials with the dynamics of each."""
    spread = np.sqrt(np.diagonal(Q, axis1=1, axis2=2))
    z = rng.normal(size=(len(x0), b.shape[1] + 1, x0.shape[1])) * spread[:, None]
    z[:, 0] += x0
    for t in range(1, z.shape[1]):
        z[:, t] += np.einsum("nij,nj->ni", A, z[:, t - 1]) + b[:, t - 1]
    return z


def _unit_names(session: str, n_units: int) -> list[str]:
    return [f"{session}/u{u:03d}" for u in range(n_units)]


def _session(name: str, space: LatentSpace) -> xr.Dataset:
    values = space.trials[name]
    n_trials, n_times, n_units = values.shape
    onset = np.arange(n_trials) * (n_times * BIN_S + GAP_S)
    sample_time = onset[:, None] + (np.arange(n_times) + 0.5) * BIN_S
    return make_session(
        name,
        name,
        trials={
            "odor": space.odor[name],
            "concentration": space.concentration[name],
            "odor_onset": onset,
            "recorded_start": onset,
            "recorded_stop": onset + n_times * BIN_S,
        },
        trial_units={"concentration": "dilution", "odor_onset": "s", "recorded_start": "s", "recorded_stop": "s"},
        units={"unit": _unit_names(name, n_units)},
        recorded_s=(0.0, float(onset[-1] + n_times * BIN_S)),
        trace=values.reshape(-1, n_units).astype(np.float32),
        sample_time_s=sample_time.ravel(),
        attrs={"date": "2026-01-01", "source": "simulate_latent_space", "licence": "CC0-1.0", "is_simulated": True},
    )
