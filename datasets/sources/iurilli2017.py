"""Iurilli & Datta 2017 (Neuron 93:1180): single units of awake mice, piriform cortex and cortical amygdala.

Reads the authors' ``.mat`` files (MATLAB v5; ``espe(i).shank(j).SUA.cell(k).odor(o).spikeMatrix`` is 10 trials x
10000 ms) or, where only that is at hand, the lossless ``.npz`` form of the same spikes (see ``_from_npz``).
One session per experiment. Spikes are at 1 ms, and each trial is 10 s with the first inhalation after the valve
opened at 4 s. Trials are laid end to end, ``recorded_start`` and ``recorded_stop`` bound each.
Downloading is in ``fetch.py``.
"""

import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import scipy.io
import scipy.sparse
import xarray as xr

from ..errors import SchemaError, UnknownName
from ..schema import make_session
from ..tables import nearest
from .files import check_folder, sha256_of

N_REPEATS = 10
TRIAL_MS = 10_000
INHALATION_MS = 4_000
AREAS = {"aPCx": "anterior piriform cortex", "plCoA": "posterolateral cortical amygdala"}
LICENCE = (
    "No licence file in dattalab/Population-coding-in-an-Innately-Relevant-Olfactory-Area; a copy is in "
    "pyrfume/pyrfume-data (MIT). Cite Iurilli & Datta 2017, Neuron 93:1180; ask before passing the data on."
)
NOTE = (
    "The files do not say which mouse an experiment came from, so the animal is the experiment. "
    "They do not hold the order of odors, so trials are odor by odor: neighbours in time are not known."
)
# Stimuli as published in pyrfume/pyrfume-data, iurilli_2017/stimuli.csv, in its spelling: (odors, concentrations, unit)
CS_ODORS = ("2 phenylethanol", "isoamylacetate", "2,3,4-trimethyl-3-thiazoline")
CS_DILUTIONS = (1.0, 0.1, 0.01, 0.001, 0.0001)  # from 85 mM
ODORS_15 = (
    "pentanal", "hexanal", "heptanal", "heptanol", "octanol", "nonanol", "phenetol", "guaiacol", "m-cresol",
    "2,4,5-trimethylthiazole", "4,5-dimethylthiazole", "4-methylthiazole", "trimethylamine", "isopentylamine",
    "2-phenyl-ethylamine",
)  # fmt: skip
ODORS_AA = (
    "2,3,5-trimethyl-3-thiazoline", "2-methylbutyric acid", "2-propyltiethane", "3-mercapto-3-methuybutan-1-ol",
    "isopentylamine", "2,3-butanedione", "geraniol", "2-phenylethanol", "Peanut oil", "Estrus female urine",
)  # fmt: skip
PANELS: dict[str, tuple[tuple[str, ...], tuple[float, ...], str]] = {
    "15": (ODORS_15, (100.0,) * 15, "ppm"),
    "AA": (ODORS_AA, (100.0,) * 10, "ppm"),
    "CS": (tuple(odor for odor in CS_ODORS for _ in CS_DILUTIONS), CS_DILUTIONS * 3, "dilution"),
}
SETS = ("aPCx_15", "plCoA_15", "plCoA_AA", "plCoA_CS")
Columns = dict[str, np.ndarray]
UNREADABLE = (  # what scipy raises on a damaged file, and numpy on a struct of another layout
    *(ValueError, KeyError, IndexError, TypeError, AttributeError, EOFError, OSError, NotImplementedError),
    *(MemoryError, OverflowError, UnicodeError, scipy.io.matlab.MatReadError, zlib.error),
)


def read_iurilli2017(path: Path, *, set: str | Sequence[str] | None = None) -> Iterator[xr.Dataset]:
    """One session per experiment, in the order of the files.

    Parameters
    ----------
    path : folder with ``aPCx_15.mat`` and others of ``SETS``, ``.mat`` preferred to ``.npz``; or one such file
    set : one or several of ``SETS``; all that are present unless stated

    Yields
    ------
    session, with trial columns ``odor``, ``concentration`` (ppm, or dilution from 85 mM), ``repeat`` (0 to 9, the group
    for cross-validation) and the event ``inhalation_onset``; unit columns ``area``, ``shank``, ``l_ratio``,
    ``isolation_distance`` and ``snr`` (the highest of the shank's sites; NaN in the npz form)

    Raises
    ------
    UnknownName : no such set
    SchemaError : no file of a set is there, or a file is not of that layout
    """
    for name, file in _files(path, set).items():
        n_odors = len(PANELS[name.rpartition("_")[2]][0])
        spikes, units = (_from_mat if file.suffix == ".mat" else _from_npz)(file, n_odors)
        digest = sha256_of(file)
        for experiment in range(int(units["experiment"].max(initial=-1)) + 1):
            yield _session(name, experiment, spikes, units, source=f"iurilli2017: {file.name}", sha256=digest)


def _files(path: Path, wanted: str | Sequence[str] | None) -> dict[str, Path]:
    """Set name -> file, in the order of ``SETS``."""
    names = SETS if wanted is None else (wanted,) if isinstance(wanted, str) else tuple(wanted)
    for name in names:
        if name not in SETS:
            raise UnknownName(f"iurilli2017 has no set {name!r}. {nearest(name, SETS)}")
    if path.is_file():
        if path.stem not in names or path.suffix not in (".mat", ".npz"):
            raise SchemaError(
                f"expected {' or '.join(names)}, .mat or .npz, got {path.name!r}. Keep the published name."
            )
        return {path.stem: path}
    check_folder(path, holds="aPCx_15.mat and others")
    found = {}
    for name in [name for name in SETS if name in names]:
        file = next((path / f"{name}{end}" for end in (".mat", ".npz") if (path / f"{name}{end}").is_file()), None)
        if file is not None:
            found[name] = file
        elif wanted is not None:
            raise SchemaError(f"{path.name}: there is no {name}.mat. Get it with: mitral fetch iurilli2017")
    if not found:
        raise SchemaError(
            f"{path.name}: none of {', '.join(f'{name}.mat' for name in SETS)} is there. "
            f"Get them with: mitral fetch iurilli2017"
        )
    return found


def _from_mat(path: Path, n_odors: int) -> tuple[Columns, Columns]:
    """Spike columns (unit, tick in its experiment) and unit columns of an original file."""
    try:
        experiments = scipy.io.loadmat(path, variable_names=["espe"])["espe"]["shank"].ravel()
    except UNREADABLE as error:
        raise SchemaError(
            f"{path.name}: expected a MATLAB v5 file with the struct 'espe', cannot read it ({error}). Fetch it again."
        ) from error
    ticks: list[np.ndarray] = []
    spike_unit: list[np.ndarray] = []
    rows: list[tuple[float, ...]] = []
    try:
        for experiment, shanks in enumerate(experiments):
            for shank, cell in _cells(shanks):
                for odor, (matrix,) in enumerate(cell["odor"].ravel()):
                    _check_matrix(matrix, odor, n_odors, path)
                    repeat, ms = matrix.nonzero()
                    ticks.append((odor * N_REPEATS + repeat.astype(np.int64)) * TRIAL_MS + ms)
                    spike_unit.append(np.full(len(ms), len(rows)))
                quality = (cell["L_Ratio"].item(), cell["isolationDistance"].item(), cell["spikeSNR"].max())
                rows.append((experiment, shank, *quality))
    except UNREADABLE as error:
        raise SchemaError(
            f"{path.name}: experiment {experiment + 1} is not laid out as published ({error}). Fetch it again."
        ) from error
    names = ("experiment", "shank", "l_ratio", "isolation_distance", "snr")
    units = {name: np.asarray(column) for name, column in zip(names, zip(*rows, strict=True), strict=True)}
    return {"unit": np.concatenate(spike_unit), "tick": np.concatenate(ticks)}, units


def _cells(shanks: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    """(shank, struct of a single unit); a shank without single units holds an empty array."""
    for shank, (sua,) in enumerate(shanks.ravel()):
        if sua.size:
            for cell in sua["cell"].item().ravel():
                yield shank, cell


def _check_matrix(matrix: scipy.sparse.csc_array, odor: int, n_odors: int, path: Path) -> None:
    matrix.check_format(full_check=True)  # an index beyond the matrix, from a damaged file, crashes Python in scipy
    highest = matrix.data.max(initial=0)
    if matrix.shape != (N_REPEATS, TRIAL_MS) or odor >= n_odors or highest > 1:
        raise SchemaError(
            f"{path.name}: odor {odor + 1} has a spikeMatrix of shape {matrix.shape} and maximum {highest}; "
            f"expected {n_odors} odors of {N_REPEATS} trials x {TRIAL_MS} ms, one spike a ms at most."
        )


def _from_npz(path: Path, n_odors: int) -> tuple[Columns, Columns]:
    """The same from one row a spike (unit, odor, trial, ms) and one row a unit (session, shank, quality)."""
    try:
        with path.open("rb") as raw, np.load(raw, allow_pickle=False) as file:
            columns = (file[f"spike_{name}"].astype(np.int64) for name in ("unit", "odor", "trial", "ms"))
            unit, odor, repeat, ms = columns
            units = {
                "experiment": file["unit_session"].astype(np.int64),
                "shank": file["unit_shank"].astype(np.int64),
                "l_ratio": file["unit_L_ratio"],
                "isolation_distance": file["unit_isolation"],
                "snr": file["unit_snr"],
            }
    except (ValueError, TypeError, KeyError, OSError, EOFError, zipfile.BadZipFile) as error:
        raise SchemaError(f"{path.name}: not the npz form of a set ({error}). Use the published .mat.") from error
    for name, values, stop in (("odor", odor, n_odors), ("trial", repeat, N_REPEATS), ("ms", ms, TRIAL_MS)):
        if values.size == 0 or values.min() < 0 or values.max() >= stop:
            raise SchemaError(f"{path.name}: spike_{name} must hold 0 to {stop - 1}, and is empty or goes beyond.")
    return {"unit": unit, "tick": (odor * N_REPEATS + repeat) * TRIAL_MS + ms}, units


def _session(name: str, experiment: int, spikes: Columns, units: Columns, *, source: str, sha256: str) -> xr.Dataset:
    area, _, panel = name.partition("_")
    odors, concentrations, unit = PANELS[panel]
    session = f"iurilli2017-{name}-{experiment + 1:02d}"
    mine = np.flatnonzero(units["experiment"] == experiment)
    of_mine = np.isin(spikes["unit"], mine)
    start_s = np.arange(len(odors) * N_REPEATS) * (TRIAL_MS / 1000)
    columns: Mapping[str, np.ndarray] = {
        "odor": np.repeat(odors, N_REPEATS),
        "concentration": np.repeat(concentrations, N_REPEATS),
        "repeat": np.tile(np.arange(N_REPEATS), len(odors)),
        "inhalation_onset": start_s + INHALATION_MS / 1000,
        "recorded_start": start_s,
        "recorded_stop": start_s + TRIAL_MS / 1000,
    }
    events = ("inhalation_onset", "recorded_start", "recorded_stop")
    return make_session(
        session,
        session,
        trials=columns,
        units={
            "unit": [f"{session}/u{place:03d}" for place in range(len(mine))],
            "area": [AREAS[area]] * len(mine),
            **{column: values[mine] for column, values in units.items() if column != "experiment"},
        },
        trial_units={"concentration": unit, **dict.fromkeys(events, "s")},
        recorded_s=(0.0, float(start_s[-1]) + TRIAL_MS / 1000),
        spike_ticks=spikes["tick"][of_mine],
        spike_unit=np.searchsorted(mine, spikes["unit"][of_mine]),
        ticks_per_s=1000,
        attrs={
            "source": source,
            "source_sha256": sha256,
            "licence": LICENCE,
            "note": NOTE,
            "dropped": ["Mean waveforms and the SNR of each site of a shank: a session has no place for them."],
        },
    )
