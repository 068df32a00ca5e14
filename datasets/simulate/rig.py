"""Signals of a rig with known truth: a sniff sensor, clean or with noise and movement. Clocks are in the tests."""

import numpy as np

from ..errors import SchemaError


def simulate_sniff(
    *,
    random_state: int,
    duration_s: float = 120.0,
    rate_hz: float = 500.0,
    noise: float = 0.0,
    artefacts_per_min: float = 0.0,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Pressure in the nose: negative while air goes in, positive while it goes out, zero in the pause between.

    Cycles last 0.15 s (sniffing) to 0.6 s (rest), inhalations 35 % of that, amplitudes vary by a fifth.

    Parameters
    ----------
    random_state : seed
    noise : standard deviation of white noise, in units of the mean amplitude of inhalations
    artefacts_per_min : slow swings of 0.5 to 1.5 s, one to three amplitudes high, as of a moving head

    Returns
    -------
    time_s, pressure (n_samples,); onset_s, end_s (n_sniffs,) of every whole inhalation

    Raises
    ------
    SchemaError : a duration below one second, a rate below 50 Hz, noise or artefacts below zero

    Examples
    --------
    >>> time, pressure, onset, end = simulate_sniff(random_state=0, duration_s=10.0)
    >>> bool((end > onset).all()), bool((pressure[(time > onset[0]) & (time < end[0])] < 0).all())
    (True, True)
    """
    if duration_s < 1 or rate_hz < 50 or noise < 0 or artefacts_per_min < 0:
        raise SchemaError(
            f"simulate_sniff: expected at least 1 s at 50 Hz, noise and artefacts not below zero; got {duration_s} s, "
            f"{rate_hz} Hz, noise {noise}, {artefacts_per_min} artefacts a minute."
        )
    rng = np.random.default_rng(random_state)
    time = np.arange(int(duration_s * rate_hz)) / rate_hz
    pace = 0.35 + 0.2 * np.sin(2 * np.pi * np.arange(int(duration_s / 0.1)) / 40 + rng.uniform(0, 2 * np.pi))
    cycle = np.clip(pace * rng.lognormal(0, 0.1, len(pace)), 0.15, 0.6)
    onset = rng.uniform(0.05, 0.3) + np.r_[0, np.cumsum(cycle)[:-1]]
    end = onset + 0.35 * cycle
    stop = onset + 0.8 * cycle  # of the exhalation; then the pause
    inhaled, exhaled = rng.lognormal(0, 0.2, (2, len(onset)))
    k = np.clip(np.searchsorted(onset, time, side="right") - 1, 0, None)
    into = (time - onset[k]) / (end - onset)[k]
    out = (time - end[k]) / (stop - end)[k]
    pressure = np.where((into >= 0) & (into < 1), -inhaled[k] * np.sin(np.pi * np.clip(into, 0, 1)), 0.0)
    pressure += np.where((out >= 0) & (out < 1), 0.6 * exhaled[k] * np.sin(np.pi * np.clip(out, 0, 1)), 0.0)
    for _ in range(rng.poisson(artefacts_per_min * duration_s / 60)):
        middle, width = rng.uniform(0, duration_s), rng.uniform(0.25, 0.75)
        pressure += rng.choice([-1, 1]) * rng.uniform(1, 3) * np.exp(-0.5 * ((time - middle) / width) ** 2)
    pressure += rng.normal(0, noise, len(time)) if noise else 0.0
    whole = end < time[-1]
    return time, pressure, onset[whole], end[whole]
