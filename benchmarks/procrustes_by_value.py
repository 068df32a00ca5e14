"""Label-matched Procrustes of 47,431 with 10,178 samples, where a table of all label distances runs out of memory.

    python3 run.py bench procrustes_by_value

CEBRA's ``OrthogonalProcrustesAlignment`` makes the distances between all labels, 47,431 x 10,178 numbers, and sorts
them (its issue 307). It is timed at a twelfth of the samples on both sides, where both can be compared: same answer.
The last row's peer is that measured time scaled by 144, for it is never finished at full size.
"""

import numpy as np
from table import peak_bytes, print_table, row, timed

from mitral.align import procrustes_by_value

N_X, N_Y, D, N_NEAREST = 47_431, 10_178, 16, 5


def make(n_x: int, n_y: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Two embeddings of a position in the plane, one of them turned, with noise."""
    rng = np.random.default_rng(0)
    weights, turn = rng.normal(size=(2, D)), np.linalg.qr(rng.normal(size=(D, D)))[0]
    x, y = rng.uniform(size=(n_x, 2)), rng.uniform(size=(n_y, 2))
    return np.sin(4 * x @ weights) @ turn + 0.1 * rng.normal(size=(n_x, D)), np.sin(4 * y @ weights), x, y


def main() -> None:
    """Measure and print."""
    rows, notes, small, large = [], [], make(N_X // 12, N_Y // 12), make(N_X, N_Y)
    our_s, ours = timed(lambda: procrustes_by_value(*small, n_nearest=N_NEAREST), repeats=5)
    full_s, _ = timed(lambda: procrustes_by_value(*large, n_nearest=N_NEAREST), repeats=3)
    try:
        from importlib.metadata import version

        from cebra.data.helper import OrthogonalProcrustesAlignment
    except ImportError:
        print("CEBRA is not installed, so there is no peer: pip install mitral[cebra]")
    else:
        X, Y, x, y = small
        peer_s, peer = timed(lambda: OrthogonalProcrustesAlignment(N_NEAREST).fit(Y, X, y, x), repeats=3)
        differ = np.abs(peer._transform - ours).max()
        same = "yes" if differ < 1e-6 else f"no, they differ by {differ:.3g}"
        name = f"CEBRA {version('cebra')}"
        rows.append(row(f"{len(X)} x {len(Y)} samples", name, our_s, peer_s, same_answer=same, held_to="10 x"))
        scaled = [144 * seconds for seconds in peer_s]
        full = row(f"{N_X} x {N_Y} samples", f"{name}, scaled", full_s, scaled, same_answer="—", held_to="runs at all")
        rows.append(full)
    peak = peak_bytes(lambda: procrustes_by_value(*large, n_nearest=N_NEAREST))
    table = N_X * N_Y * 8
    notes.append(f"Most memory at once: {peak / 1e6:.0f} MB; the table of distances alone is {table / 1e9:.1f} GB.")
    notes.append(f"Full size: {min(full_s):.2f} s.")
    print_table(rows, notes=notes)


if __name__ == "__main__":
    main()
