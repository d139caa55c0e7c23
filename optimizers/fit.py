"""Weighted least squares of J on α, in closed form."""

import math

import attrs
import numpy as np

ROUNDING = 1e-12
"""Relative size of what float arithmetic may leave behind."""
QUANTUM = 1e-9
"""Step in which a kernel counts J, and so the smallest noise there is."""


@attrs.frozen
class Line:
    """Slope of J (per unit of α) with its standard error."""

    slope: float
    error: float

    @property
    def significance(self) -> float:
        """Slope in standard errors, 0 for a slope of 0."""
        return self.slope / self.error if self.error > 0.0 else 0.0


@attrs.frozen
class Parabola:
    """J ≈ level + slope·x + ½·curvature·x² with x = α − centre; errors rest on the noise of one J."""

    centre: float
    level: float
    slope: float
    slope_error: float
    curvature: float
    curvature_error: float
    noise: float

    def at(self, alpha: float) -> float:
        """Return J of the parabola at alpha."""
        x = alpha - self.centre
        return self.level + self.slope * x + 0.5 * self.curvature * x**2

    @property
    def line(self) -> Line:
        """The tangent at the centre."""
        return Line(self.slope, self.slope_error)


def scale(sigma: float, objective: float) -> float:
    """Return sigma, or the quantum of J where that is larger."""
    return max(sigma, QUANTUM * max(1.0, abs(objective)))


def line(
    alphas: list[float], objectives: list[float], sigma: float, forgetting: float = 1.0, misfit: bool = False
) -> Line | None:
    """Fit a line to samples, oldest first; None when all α are equal.

    Args:
        alphas: α of n samples.
        objectives: J of the same samples.
        sigma: standard deviation of one J.
        forgetting: weight of a sample relative to the next newer one, in (0, 1].
        misfit: let the residuals widen the error where J is no line over these samples.
    """
    x, y = np.array(alphas), np.array(objectives)
    if len(x) < 2:
        return None
    weights = forgetting ** np.arange(len(x) - 1, -1, -1.0)
    total = float(weights.sum())
    x = x - float(weights @ x) / total
    spread = float(weights @ (x * x))
    if not spread > total * ROUNDING**1.5:
        return None
    mean = float(weights @ y) / total
    noise = scale(sigma, mean)
    slope = float((weights * x) @ (y - mean)) / spread
    if misfit:
        residual = y - mean - slope * x
        noise = max(noise, math.sqrt(float(weights @ (residual * residual)) / total))
    error = noise * math.sqrt(float((weights * weights) @ (x * x))) / spread
    return Line(slope, error)


def parabola(
    alphas: list[float],
    objectives: list[float],
    sigma: float,
    centre: float,
    curvature_prior: tuple[float, float],
    forgetting: float,
) -> Parabola | None:
    """Fit a parabola around centre to samples, oldest first; None when fewer than two α differ.

    Residuals larger than sigma widen the errors: J is no parabola there, or it moved. The curvature has a
    normal prior (mean, standard deviation), so that two distinct α are enough and a short window does not
    invent a curvature out of noise.
    """
    x, y = np.array(alphas) - centre, np.array(objectives)
    if len(x) < 3 or not float(np.ptp(x)) > ROUNDING**0.75:
        return None
    weights = forgetting ** np.arange(len(x) - 1, -1, -1.0)
    noise = scale(sigma, float(y[-1]))
    prior_mean, prior_deviation = curvature_prior
    span = float(np.max(np.abs(x)))
    design = np.stack([np.ones_like(x), x / span, 0.5 * (x / span) ** 2], axis=1)
    precision = (design.T * weights) @ design / noise**2
    moment = (design.T * weights) @ (y - float(y[-1])) / noise**2
    prior_precision = 1.0 / (prior_deviation * span**2) ** 2
    precision[2, 2] += prior_precision
    moment[2] += prior_precision * prior_mean * span**2
    precision += np.eye(3) * (ROUNDING * float(np.trace(precision)))
    covariance = np.linalg.inv(precision)
    solution = covariance @ moment
    residual = y - float(y[-1]) - design @ solution
    misfit = math.sqrt(float(weights @ (residual * residual)) / float(weights.sum()))
    widening = max(1.0, misfit / noise)
    errors = np.sqrt(np.maximum(np.diag(covariance), 0.0)) * widening
    return Parabola(
        centre,
        float(y[-1]) + float(solution[0]),
        float(solution[1]) / span,
        float(errors[1]) / span,
        float(solution[2]) / span**2,
        float(errors[2]) / span**2,
        noise * widening,
    )
