"""Principal components of activity on disk, beside the plain read; and in memory, beside what others offer.

    python3 run.py bench streaming_pca [GB]

1. A store of 300 units, 16 GB when decoded (or the GB given, or what the disk has room for): smoothed activity,
   float32, in the blocks and codecs of the lab store. PCA beside reading the same chunks and doing nothing.
2. 200,000 bins x 400 units in memory: beside dask-ml, xeofs and scikit-learn's IncrementalPCA, where installed.
3. 20,000 bins x 3,000 units: beside the matrix product that makes the covariance.
"""

import importlib
import resource
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

import dask.array
import numpy as np
import xarray as xr
import zarr
from scipy.linalg import subspace_angles
from sklearn.decomposition import IncrementalPCA
from table import Row, print_table, row, timed
from threadpoolctl import threadpool_limits
from zarr.codecs import BloscCodec, Crc32cCodec

from mitral.decode import make_reducer, reduce
from mitral.decode.trajectories.moments import map_in_order

GB, SHARE_OF_DISK = 16.0, 0.5
N_TIMES, N_UNITS, N_LATENTS = 125, 300, 8
BLOCK, SHARD = (50, 125, 50), (200, 125, 300)  # as the lab store cuts activity
WORKERS = 2


class Peak:
    """Most memory of this process while it is open, above what it held before, from samples of its resident size."""

    def __enter__(self) -> "Peak":
        self.bytes, self._stop = 0, threading.Event()
        self._before = self._resident()
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._stop.wait(0.02):
            self.bytes = max(self.bytes, self._resident())

    @staticmethod
    def _resident() -> int:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        return pages * resource.getpagesize()


def smoothed(rng: np.random.Generator, n_trials: int) -> np.ndarray:
    """Sparse counts smoothed over three bins, driven by a few latents: (n_trials, N_TIMES, N_UNITS) float32."""
    loadings = np.random.default_rng(1).normal(size=(N_LATENTS, N_UNITS)) * np.linspace(1.2, 0.5, N_LATENTS)[:, None]
    latents = rng.normal(size=(n_trials, N_TIMES // 5, N_LATENTS)).repeat(5, axis=1)
    counts = rng.poisson(0.3 * np.exp(0.5 * latents @ loadings).clip(max=8)).astype(np.float32)
    return (counts + np.roll(counts, 1, axis=1) + np.roll(counts, 2, axis=1)) / np.float32(3)


def write(path: Path, n_shards: int) -> xr.DataArray:
    """The activity on disk, lazy; a few different shards are written in turn."""
    rng = np.random.default_rng(0)
    parts = [smoothed(rng, SHARD[0]) for _ in range(4)]
    array = zarr.create_array(
        path, shape=(n_shards * SHARD[0], *SHARD[1:]), chunks=BLOCK, shards=SHARD, dtype=np.float32,
        compressors=[BloscCodec(cname="zstd", clevel=5, shuffle="shuffle"), Crc32cCodec()],
    )  # fmt: skip
    for k in range(n_shards):
        scale = np.float32(1 + 0.1 * (k // 4 % 7))  # so that no two shards are alike for long
        array[k * SHARD[0] : (k + 1) * SHARD[0]] = parts[k % 4] * scale
    return labelled(dask.array.from_zarr(array, chunks=SHARD))


def labelled(values: dask.array.Array | np.ndarray) -> xr.DataArray:
    """Activity with names."""
    n_trials, n_times, n_units = values.shape
    coords = {"trial": np.arange(n_trials), "time": (np.arange(n_times) + 0.5) * 0.01, "unit": np.arange(n_units)}
    attrs = {"session": "s", "animal": "m", "event": "onset", "bin_width_s": 0.01, "units": "a.u."}
    return xr.DataArray(values, dims=("trial", "time", "unit"), coords=coords, attrs=attrs)


def read_all(activity: xr.DataArray) -> int:
    """Every chunk, by as many threads as PCA uses; nothing is kept."""
    data = activity.data
    loads = [lambda k=k: data.blocks[k].compute(scheduler="synchronous") for k in range(data.numblocks[0])]
    return sum(map_in_order(lambda load: load().nbytes, loads, n_workers=WORKERS))


def on_disk(gigabytes: float) -> tuple[Row, str]:
    """PCA of a store beside its plain read, peak memory, and the angle to the answer in memory on a part."""
    with tempfile.TemporaryDirectory() as folder:
        room = SHARE_OF_DISK * shutil.disk_usage(folder).free / 1e9
        size = min(gigabytes, room)
        shard_bytes = int(np.prod(SHARD)) * 4
        activity = write(Path(folder) / "activity.zarr", max(int(size * 1e9 / shard_bytes), 4))
        n_bytes = activity.size * 4
        written = sum(file.stat().st_size for file in Path(folder).rglob("*") if file.is_file())
        pca = make_reducer("pca", n_latents=N_LATENTS)
        ours, theirs, peaks = [], [], []
        for _ in range(3 if size < 4 else 1):  # in turn, so that both meet the same machine
            start = time.perf_counter()
            n_read = read_all(activity)
            theirs.append(time.perf_counter() - start)
            with Peak() as peak:
                start = time.perf_counter()
                reduce(activity, pca)
                ours.append(time.perf_counter() - start)
            peaks.append(peak.bytes)
        part = activity[: 4 * SHARD[0]]
        streamed = reduce(part, pca)
        in_memory = pca.fit(part.to_numpy().astype(np.float64))
        centred = part.to_numpy().reshape(-1, N_UNITS) - in_memory.mean_
        found = np.linalg.lstsq(centred[:5000], streamed.to_numpy().reshape(-1, N_LATENTS)[:5000], rcond=None)[0]
        angle = subspace_angles(found, in_memory.loadings_).max()
    where = f"{n_bytes / 1e9:.3g} GB decoded ({written / 1e9:.2g} GB on disk), {N_UNITS} units"
    answer = f"angle to the answer in memory {angle:.1g} rad; peak {max(peaks) / 1e9:.2g} GB resident"
    note = (
        f"Plain read: {n_read / 1e9:.3g} GB in {min(theirs):.3g} s. A ratio of 1 is the read itself, held to 0.67 "
        f"(1.5 times the read). The room on the disk was {room:.3g} GB."
    )
    return row(where, "plain read of the chunks", ours, theirs, same_answer=answer, held_to="0.67 x"), note


def beside_peers(n_bins: int = 200_000, n_units: int = 400) -> tuple[list[Row], list[str]]:
    """One row for each peer that is installed, and a sentence for each that is not."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(n_bins, 10)) @ rng.normal(size=(10, n_units)) * np.linspace(2, 1, n_units)
    X += rng.normal(size=X.shape)
    activity = X.reshape(200, -1, n_units)
    ours, fitted = timed(lambda: make_reducer("pca", n_latents=10).fit(activity), repeats=3)
    rows, notes = [], []
    for name, fit in (("scikit-learn IncrementalPCA", incremental), ("dask-ml", dask_ml), ("xeofs", of_xeofs)):
        try:
            theirs, loadings = timed(lambda fit=fit: fit(X), repeats=1)  # type: ignore[misc]
        except ModuleNotFoundError as error:
            notes.append(f"{name} is not measured: {error.name} is not installed.")
            continue
        except Exception as error:  # whatever a peer does with the versions that are installed here
            notes.append(f"{name} is not measured: it fails here with {type(error).__name__}: {error}.")
            continue
        angle = subspace_angles(loadings, fitted.loadings_).max()
        job = f"{n_bins} bins x {n_units} units, 10 latents"
        rows.append(row(job, name, ours, theirs, same_answer=f"angle {angle:.1g} rad", held_to="1 x"))
    return rows, notes


def incremental(X: np.ndarray) -> np.ndarray:
    """Loadings by scikit-learn, in batches of 5 bins a unit, its default."""
    return IncrementalPCA(10).fit(X).components_.T


def dask_ml(X: np.ndarray) -> np.ndarray:
    """Loadings by dask-ml's exact solver."""
    library = importlib.import_module("dask_ml.decomposition")
    return library.PCA(10, svd_solver="tsqr").fit(dask.array.from_array(X, chunks=(10_000, -1))).components_.T


def of_xeofs(X: np.ndarray) -> np.ndarray:
    """Loadings by xeofs with its defaults."""
    library = importlib.import_module("xeofs.single")
    model = library.EOF(n_modes=10, random_state=0)
    coords = {"bin": np.arange(len(X)), "unit": np.arange(X.shape[1])}
    model.fit(xr.DataArray(X, dims=("bin", "unit"), coords=coords), dim="bin")
    return np.asarray(model.components().transpose("unit", "mode"))


def many_units(n_bins: int = 20_000, n_units: int = 3_000) -> Row:
    """Beside X'X alone, which numpy makes by the routine for symmetric products."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(n_bins, 20)) @ rng.normal(size=(20, n_units)) + rng.normal(size=(n_bins, n_units))
    loads: list[Callable[[], np.ndarray]] = [lambda k=k: X[k : k + 5000].reshape(20, -1, n_units) for k in
                                             range(0, n_bins, 5000)]  # fmt: skip
    pca = make_reducer("pca", n_latents=10)
    ours, theirs = [], []
    for _ in range(3):
        ours += timed(lambda: pca.fit_blocks(loads, n_workers=1), repeats=1)[0]
        theirs += timed(lambda: X.T @ X, repeats=1)[0]
    values = np.linalg.eigvalsh(np.cov(X[:, :].T))[::-1][:10]
    off = np.abs(pca.explained_variance_ratio_ * np.trace(np.cov(X.T)) / values - 1).max()
    return row(
        f"{n_bins} bins x {n_units} units, 10 latents", "X'X alone", ours, theirs,
        same_answer=f"eigenvalues within {off:.1g}", held_to="0.67 x",
    )  # fmt: skip


def main() -> None:
    """Measure and print."""
    gigabytes = float(sys.argv[1]) if len(sys.argv) > 1 else GB
    disk, note = on_disk(gigabytes)
    with threadpool_limits(limits=1):
        rows, notes = beside_peers()
        rows.append(many_units())
    print_table([disk, *rows], notes=[note, *notes, "On disk two threads on both sides; in memory one."])


if __name__ == "__main__":
    main()
