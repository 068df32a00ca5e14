"""A lab of mice that smell odors: mitral and tufted cells, locked to the sniff, with known truth.

Rate of unit u at time s after the last inhalation, in odor o diluted ``step`` decades (0 or negative):

    rate = baseline · exp(0.5 cos(2π (s - preferred) / 0.35)
                          + gain_uo max(1 + 0.25 step, 0) exp(-½ ((s - latency + 0.03 step) / width - ½)²))

so responses are locked to the sniff, later and weaker the more the odor is diluted. Gains are
positive or negative: loadings_m @ odor vectors, which all animals share, plus a private part.
A mixture of amounts a_o has the gain  sum_o a_o gain_uo / (1 + subadditivity max(sum_o a_o - 1, 0)).
The odor acts from the first inhalation after the valve opens. Spikes are Poisson. Trials come in
blocks that hold every stimulus once in random order.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import xarray as xr

from ..errors import SchemaError
from ..schema import make_session

ODORS = (
    "isoamyl acetate",
    "ethyl butyrate",
    "hexanal",
    "eugenol",
    "2-heptanone",
    "benzaldehyde",
    "limonene",
    "valeric acid",
)
TICKS_PER_S = 30_000
RATE_BIN_S = 0.005  # spikes are drawn from rates on this grid, at random ticks inside
TRIAL_S = 4.0  # from one valve opening to the next
VALVE_S = 1.0  # valve opens this long after the trial's start
ODOR_S = 1.5


@dataclass(frozen=True)
class Lab:
    """What the simulation knows: the sessions and the truth behind them.

    Attributes
    ----------
    sessions : session id -> session
    odor_vectors : (n_odors, n_latents), shared by all animals
    loadings : session id -> (n_units, n_latents)
    gains : session id -> (n_units, n_odors + n_mixtures), log gain at the highest concentration
    """

    sessions: dict[str, xr.Dataset]
    odor_vectors: np.ndarray
    loadings: dict[str, np.ndarray]
    gains: dict[str, np.ndarray]


def simulate_olfactory_lab(
    *,
    random_state: int,
    n_animals: int = 5,
    n_units: tuple[int, int] = (30, 80),
    odors: tuple[str, ...] = ODORS,
    concentrations: tuple[float, ...] = (0.001, 0.01, 0.1),
    n_blocks: int = 10,
    n_latents: int = 4,
    private: float = 0.3,
    strength: float = 0.8,
    mixtures: Mapping[str, Mapping[str, float]] | None = None,
    subadditivity: float = 0.0,
) -> Lab:
    """Sessions of several mice that share odor representations, and the truth.

    Parameters
    ----------
    random_state : seed; each animal has a stream of its own, so adding one leaves the others as they are
    n_animals : one session each
    n_units : fewest and most units of an animal, both included
    odors, concentrations : every pair is a stimulus; concentrations are dilutions in air
    n_blocks : each holds every stimulus once
    n_latents : dimension of the shared odor space
    private : standard deviation of the part of a gain that no other animal shares, relative to ``strength``
    strength : standard deviation of log gains at the highest concentration; 0 gives units blind to odor
    mixtures : name -> amount of each odor in it, such as {"a+b": {"a": 1, "b": 1}}; further stimuli beside the odors.
        Trials then have a column "amount of <odor>" for each odor
    subadditivity : 0 adds the gains of components; 1 takes their mean, for amounts of 1

    Returns
    -------
    lab, with sessions "mouse-1" ... ; trial columns odor, concentration, block, valve_open, odor_onset,
    inhalation_onset (first inhalation after the valve opened); unit columns kind (mitral, tufted), depth_um

    Raises
    ------
    SchemaError : no animals, units, odors, concentrations, blocks or latents; fewest units above most; an odor
        twice; a concentration that is not positive; a mixture called like an odor, or of odors that are not there, or
        of no positive amount; a negative subadditivity

    Examples
    --------
    >>> lab = simulate_olfactory_lab(random_state=0, n_animals=1, n_units=(3, 3), n_blocks=1)
    >>> lab.sessions["mouse-1"].sizes["trial"]
    24
    """
    _check_counts(
        n_animals=n_animals,
        n_units=n_units[0],
        odors=len(odors),
        concentrations=len(concentrations),
        n_blocks=n_blocks,
        n_latents=n_latents,
    )
    if n_units[1] < n_units[0]:
        raise SchemaError(f"simulate_olfactory_lab: n_units must be (fewest, most), got {tuple(n_units)}. Swap them.")
    for what, values in (("odor", odors), ("concentration", concentrations)):
        twice = [value for position, value in enumerate(values) if value in values[:position]]
        if twice:
            raise SchemaError(f"simulate_olfactory_lab: {what} {twice[0]!r} is there twice. Give each once.")
    if min(concentrations) <= 0:
        raise SchemaError(
            f"simulate_olfactory_lab: concentrations are positive dilutions, got {min(concentrations)}. "
            f"For trials without odor, use the time before the valve opens."
        )
    amounts = _amounts(odors, mixtures or {}, subadditivity)
    names = (*odors, *(mixtures or {}))
    shared, *streams = np.random.SeedSequence(random_state).spawn(n_animals + 1)
    odor_vectors = np.random.default_rng(shared).normal(size=(len(odors), n_latents)) / np.sqrt(n_latents)
    sessions, loadings, gains = {}, {}, {}
    for number, stream in enumerate(streams, start=1):
        rng = np.random.default_rng(stream)
        name = f"mouse-{number}"
        size = int(rng.integers(n_units[0], n_units[1] + 1))
        loadings[name] = rng.normal(size=(size, n_latents))
        own = rng.normal(size=(size, len(odors)))
        of_odors = strength * (loadings[name] @ odor_vectors.T + private * own) / np.hypot(1.0, private)
        more = np.maximum(amounts.sum(axis=1) - 1, 0)
        of_mixtures = of_odors @ (amounts / (1 + subadditivity * more)[:, None])[len(odors) :].T
        gains[name] = np.concatenate([of_odors, of_mixtures], axis=1)
        columns = {f"amount of {odor}": amounts[:, k] for k, odor in enumerate(odors)} if mixtures else {}
        sessions[name] = _simulate_session(name, rng, gains[name], names, columns, concentrations, n_blocks)
    return Lab(sessions, odor_vectors, loadings, gains)


def _check_counts(**counts: int) -> None:
    for name, number in counts.items():
        if number < 1:
            raise SchemaError(f"simulate_olfactory_lab: {name} must be at least 1, got {number}. Give one or more.")


def _amounts(odors: tuple[str, ...], mixtures: Mapping[str, Mapping[str, float]], subadditivity: float) -> np.ndarray:
    """Amount of each odor in each stimulus (n_odors + n_mixtures, n_odors): odors first, one each."""
    if subadditivity < 0:
        raise SchemaError(f"simulate_olfactory_lab: subadditivity is at least 0, got {subadditivity}. 0 adds gains.")
    amounts = np.zeros((len(odors) + len(mixtures), len(odors)))
    np.fill_diagonal(amounts, 1.0)
    for row, (name, of) in zip(amounts[len(odors) :], mixtures.items(), strict=True):
        absent = [odor for odor in of if odor not in odors]
        if name in odors or absent or not of or min(of.values()) < 0 or sum(of.values()) <= 0:
            what = f"component {absent[0]!r}, which is no odor" if absent else "an odor's name, or no amount above 0"
            raise SchemaError(
                f"simulate_olfactory_lab: mixture {name!r} has {what}. Say how much of which odors it holds, with a "
                f"name of its own: {{'a+b': {{'a': 1, 'b': 1}}}}."
            )
        for odor, amount in of.items():
            row[odors.index(odor)] = amount
    return amounts


def _simulate_session(
    name: str,
    rng: np.random.Generator,
    gain: np.ndarray,
    odors: tuple[str, ...],
    of_odors: Mapping[str, np.ndarray],
    concentrations: tuple[float, ...],
    n_blocks: int,
) -> xr.Dataset:
    stimuli = [(o, c) for o in range(len(odors)) for c in range(len(concentrations))]
    order = np.concatenate([rng.permutation(len(stimuli)) for _ in range(n_blocks)])
    odor, level = np.array(stimuli)[order].T
    n_trials = len(order)
    duration_s = n_trials * TRIAL_S + 1.0
    valve = np.arange(n_trials) * TRIAL_S + VALVE_S
    inhalations = _sniffs(rng, duration_s)
    first = inhalations[np.searchsorted(inhalations, valve)]
    step = np.log10(np.asarray(concentrations) / max(concentrations))
    rate = _rates(rng, gain, inhalations, valve, odor, step[level], duration_s)
    ticks, unit = _poisson_spikes(rng, rate)
    n_units = len(gain)
    kind = np.where(rng.random(n_units) < 0.6, "mitral", "tufted")
    return make_session(
        name,
        name,
        trials={
            "odor": np.array(odors)[odor],
            "concentration": np.asarray(concentrations)[level],
            "block": np.repeat(np.arange(n_blocks), len(stimuli)),
            **{column: values[odor] for column, values in of_odors.items()},
            "valve_open": valve,
            "odor_onset": valve,
            "inhalation_onset": first,
        },
        trial_units={"concentration": "dilution", "valve_open": "s", "odor_onset": "s", "inhalation_onset": "s"},
        units={
            "unit": [f"{name}/u{u:03d}" for u in range(n_units)],
            "kind": kind,
            "area": np.full(n_units, "olfactory bulb"),
            "depth_um": np.round(np.where(kind == "mitral", 350, 200) + rng.normal(0, 20, n_units), 1),
        },
        recorded_s=(0.0, duration_s),
        spike_ticks=ticks,
        spike_unit=unit,
        ticks_per_s=TICKS_PER_S,
        signals={"sniff": (*_sniff_signal(inhalations, duration_s), "a.u.")},
        attrs={
            "date": "2026-01-01",
            "source": "simulate_olfactory_lab",
            "licence": "CC0-1.0",
            "concentration_kind": "nominal",
            "is_simulated": True,
        },
    )


def _sniffs(rng: np.random.Generator, duration_s: float) -> np.ndarray:
    """Inhalation onsets in s: intervals near 0.35 s (about 3 Hz), as in a mouse at rest."""
    n = int(duration_s / 0.2)
    onsets = np.cumsum(np.clip(rng.normal(0.35, 0.05, n), 0.2, 0.6))
    return onsets[onsets < duration_s + 1.0]


def _sniff_signal(inhalations: np.ndarray, duration_s: float) -> tuple[np.ndarray, np.ndarray]:
    """Time in s and pressure at 100 Hz: one negative-going cycle from each inhalation to the next."""
    time = np.arange(0.0, duration_s, 0.01)
    cycle = np.clip(np.searchsorted(inhalations, time, side="right") - 1, 0, len(inhalations) - 2)
    phase = (time - inhalations[cycle]) / (inhalations[cycle + 1] - inhalations[cycle])
    return time, np.round(-np.sin(2 * np.pi * phase), 4).astype(np.float32)


def _rates(
    rng: np.random.Generator,
    gain: np.ndarray,
    inhalations: np.ndarray,
    valve: np.ndarray,
    odor: np.ndarray,
    step: np.ndarray,
    duration_s: float,
) -> np.ndarray:
    """Rates (n_bins, n_units) in Hz on the grid of RATE_BIN_S."""
    n_units = len(gain)
    time = (np.arange(int(round(duration_s / RATE_BIN_S))) + 0.5) * RATE_BIN_S
    since = time - inhalations[np.clip(np.searchsorted(inhalations, time, side="right") - 1, 0, None)]
    baseline = rng.gamma(3.0, 4.0, n_units)
    preferred = rng.uniform(0, 0.35, n_units)
    log_rate = 0.5 * np.cos(2 * np.pi * (since[:, None] - preferred) / 0.35)
    latency = rng.uniform(0.03, 0.12, n_units)
    width = rng.uniform(0.04, 0.10, n_units)
    trial = np.clip(np.searchsorted(valve, time, side="right") - 1, 0, None)
    smells = (time - since >= valve[trial]) & (time < valve[trial] + ODOR_S)  # inhaled after the valve opened
    here = np.flatnonzero(smells)
    decades = step[trial[here], None]
    bump = np.exp(-0.5 * ((since[here, None] - latency + 0.03 * decades) / width - 0.5) ** 2)
    weaker = np.maximum(1.0 + 0.25 * decades, 0.0)
    log_rate[here] += gain[:, odor[trial[here]]].T * weaker * bump
    return baseline * np.exp(log_rate)


def _poisson_spikes(rng: np.random.Generator, rate: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Ticks and units of Poisson spikes, uniform inside each bin of the rate."""
    per_bin = int(RATE_BIN_S * TICKS_PER_S)
    counts = rng.poisson(rate * RATE_BIN_S)
    bins, unit = np.nonzero(counts)
    repeats = counts[bins, unit]
    bins, unit = np.repeat(bins, repeats), np.repeat(unit, repeats)
    return bins * per_bin + rng.integers(0, per_bin, len(bins)), unit
