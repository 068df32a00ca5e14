"""EM of a linear dynamical system beside dynamax: 60 trials x 200 bins x 50 units, 8 latents, from one start.

    python3 run.py bench lds

Both learn A, b, Q, x0, Q0, C, offset and a diagonal R from the same start, in float64, until an iteration gains less
than 1e-5 nats a bin; dynamax has no such rule, so it is told the number of iterations that mitral needed. The
subclass below changes two lines of its M step, and leaves its E step as it is. R: the diagonal is kept, which is the
maximiser for a diagonal R. Q0: with N trials dynamax 1.0.3 subtracts N m m' instead of m m' from the second moment, so
Q0 is not positive and the second iteration is NaN; it is put right, because a run that returns NaN does not count.
The same start then gives the same likelihood at each iteration: that is the same answer.
Seconds of dynamax are given for ``fit_em``, which compiles in every call, and for its iteration compiled beforehand.
"""

import os

import numpy as np
from table import print_table, row, timed

from mitral.decode.trajectories.lds import LDS

N_TRIALS, N_TIMES, N_UNITS, N_LATENTS, TOL = 60, 200, 50, 8, 1e-5


def simulate() -> np.ndarray:
    """Four rotations of different speed, seen by all units."""
    rng = np.random.default_rng(0)
    A = np.zeros((N_LATENTS, N_LATENTS))
    for k, angle in enumerate(np.linspace(0.05, 0.5, N_LATENTS // 2)):
        turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        A[2 * k : 2 * k + 2, 2 * k : 2 * k + 2] = (0.96 - 0.02 * k) * turn
    z = rng.normal(size=(N_TRIALS, N_TIMES, N_LATENTS))
    for t in range(1, N_TIMES):
        z[:, t] = z[:, t - 1] @ A.T + 0.3 * z[:, t]
    noise = np.sqrt(rng.uniform(0.5, 4, N_UNITS)) * rng.normal(size=(N_TRIALS, N_TIMES, N_UNITS))
    return z @ rng.normal(size=(N_LATENTS, N_UNITS)) + rng.normal(size=N_UNITS) + noise


def main() -> None:
    """Measure and print."""
    try:
        os.environ.setdefault("JAX_PLATFORMS", "cpu")
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # XLA says at length that it compiles slowly
        import jax
        import jax.numpy as jnp
        from dynamax.linear_gaussian_ssm import LinearGaussianSSM
    except ImportError:
        raise SystemExit("this benchmark needs its peer: pip install dynamax==1.0.3") from None
    jax.config.update("jax_enable_x64", True)

    class DiagonalNoise(LinearGaussianSSM):
        """dynamax's model with a diagonal R, held as a vector, and the Q0 of several trials."""

        def m_step(self, params, props, batch_stats, m_step_state):  # type: ignore[no-untyped-def]
            first, second, n_trials = (part.sum(axis=0) for part in batch_stats[0])
            mean = first / n_trials
            params, m_step_state = super().m_step(params, props, batch_stats, m_step_state)
            return params._replace(
                initial=params.initial._replace(cov=second / n_trials - jnp.outer(mean, mean)),
                emissions=params.emissions._replace(cov=jnp.diag(params.emissions.cov)),
            ), m_step_state

    X = simulate()
    start = LDS(N_LATENTS, max_iter=1).fit(X)  # one iteration evaluates the starting values, and keeps them
    peer = DiagonalNoise(N_LATENTS, N_UNITS, has_dynamics_bias=True, has_emissions_bias=True)
    params, props = peer.initialize(
        initial_mean=jnp.array(start.start_),
        initial_covariance=jnp.array(start.start_cov_),
        dynamics_weights=jnp.array(start.dynamics_),
        dynamics_bias=jnp.array(start.drive_),
        dynamics_covariance=jnp.array(start.drive_cov_),
        emission_weights=jnp.array(start.loadings_),
        emission_bias=jnp.array(start.offset_),
        emission_covariance=jnp.array(start.noise_variance_),
    )

    our_s, ours = timed(lambda: LDS(N_LATENTS, tol=TOL).fit(X), repeats=5)

    def theirs(n_iter: int) -> np.ndarray:
        return np.asarray(peer.fit_em(params, props, jnp.array(X), num_iters=n_iter, verbose=False)[1])

    @jax.jit
    def iteration(params, emissions):  # type: ignore[no-untyped-def]
        stats, log_p = jax.vmap(lambda trial: peer.e_step(params, trial))(emissions)
        return peer.m_step(params, props, stats, None)[0], log_p.sum()

    def compiled(n_iter: int) -> float:
        now, emissions = params, jnp.array(X)
        for _ in range(n_iter):
            now, log_p = iteration(now, emissions)
        return float(log_p)

    compiled(1)
    peer_s, trace = timed(lambda: theirs(ours.n_iter_), repeats=2)
    running_s, _ = timed(lambda: compiled(ours.n_iter_), repeats=5)
    difference = np.abs(trace / ours.log_likelihoods_ - 1).max()
    same = f"{'yes' if difference < 1e-8 else 'no'}, log-likelihoods differ by at most {difference:.1e} of their size"
    job = f"EM, {N_TRIALS} x {N_TIMES} x {N_UNITS}, {N_LATENTS} latents, {ours.n_iter_} iterations"
    rows = [
        row(job, "dynamax 1.0.3 fit_em", our_s, peer_s, same_answer=same, held_to="5 x"),
        row(job, "dynamax 1.0.3, compiled beforehand", our_s, running_s, same_answer=same, held_to="none"),
    ]
    print_table(rows, notes=[f"Log-likelihood a bin: {ours.log_likelihoods_[-1] / X[..., 0].size:.6f} on both sides."])


if __name__ == "__main__":
    main()
