"""The likeliest amplitudes of a Gaussian covariance, given what they are about. No I/O.

r ~ N(0, K),    K = fixed + sum_k a_k^2 M_k,    log a_k ~ N(log guess_k, doubt^2)
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.linalg import cho_factor, cho_solve
from scipy.optimize import minimize

from .law import Floats

LOOKS = 40
BOUNDS = (-9.0, 1.0)  # of the logarithm of an amplitude


@dataclass(frozen=True, slots=True)
class Readings:
    """Residuals r, shape (n,), and the matrices of their covariance, shape (n, n) each."""

    residual: Floats
    parts: Sequence[Floats]
    fixed: Floats | float = 0.0

    def covariance(self, amplitudes: Floats) -> Floats:
        total = np.zeros_like(self.parts[0]) + self.fixed
        for amplitude, part in zip(amplitudes, self.parts, strict=True):
            total += amplitude**2 * part
        return np.asarray(total)

    def unlikely(self, amplitudes: Floats) -> tuple[float, Floats]:
        """Minus the logarithm of r's density but for a constant, and its slope by log amplitudes."""
        try:
            factor = cho_factor(self.covariance(amplitudes))
        except np.linalg.LinAlgError:
            return 1e12, np.zeros(len(self.parts))
        solved = cho_solve(factor, self.residual)
        tension = np.outer(solved, solved) - cho_solve(factor, np.eye(len(solved)))
        value = 0.5 * self.residual @ solved + np.log(np.diag(factor[0])).sum()
        slope = [
            -(a**2) * np.sum(tension * part) for a, part in zip(amplitudes, self.parts, strict=True)
        ]
        return float(value), np.array(slope)


def likeliest(
    tables: Sequence[Readings], guess: Floats, doubt: float | Floats, looks: int = LOOKS
) -> Floats:
    """The amplitudes that make the residuals of all tables likeliest, each table by itself."""
    middle = np.log(guess)

    def unlikely(logs: Floats) -> tuple[float, Floats]:
        found = [each.unlikely(np.exp(logs)) for each in tables]
        off = (logs - middle) / doubt
        value = sum(one[0] for one in found) + 0.5 * float(off @ off)
        return value, np.sum([one[1] for one in found], axis=0) + off / doubt

    bounds = [BOUNDS] * len(middle)
    found = minimize(
        unlikely, middle, jac=True, method="L-BFGS-B", bounds=bounds, options={"maxiter": looks}
    )
    return np.asarray(np.exp(found.x))
