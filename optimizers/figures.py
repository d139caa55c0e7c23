"""Checks of figures that come from outside, and the reader of stored states."""

from collections.abc import Mapping

from optimizers.errors import OptimizerStateError

LARGEST = 1e12
"""Largest magnitude taken for a measurement: its square, summed over any window, is still finite."""
LARGEST_DERIVED = 1e60
"""Largest magnitude of what is reckoned from measurements: a slope, a variance, a sum of squares.

Its square is still finite as well, and nothing that is reckoned from measurements alone comes near it.
"""


def measured(value: object, largest: float = LARGEST) -> float | None:
    """Return value as a float if it is a number a measurement can have, else None. bool is not a number."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if -largest <= value <= largest else None


def clip(value: float, low: float, high: float) -> float:
    """Return the number of [low, high] that lies nearest to value."""
    return min(max(value, low), high)


class StateReader:
    """Reads a stored state key by key, and knows at the end which keys nobody wanted."""

    def __init__(self, state: Mapping[str, object]) -> None:
        if not isinstance(state, Mapping):
            raise OptimizerStateError(f"state is {type(state).__name__}, must be a mapping")
        if not all(isinstance(key, str) for key in state):
            raise OptimizerStateError("state holds a key that is not a string")
        self._state = state
        self._read: set[str] = set()

    def _take(self, key: str) -> object:
        self._read.add(key)
        if key not in self._state:
            raise OptimizerStateError(f"state lacks {key}")
        return self._state[key]

    def number(self, key: str, low: float = -LARGEST, high: float = LARGEST) -> float:
        """Return the number at key, which must lie in [low, high].

        Raises:
            OptimizerStateError: the key is missing, or holds no such number.
        """
        stored = self._take(key)
        number = measured(stored, LARGEST_DERIVED)
        if number is not None and low <= number <= high:
            return number
        raise OptimizerStateError(f"{key} is {stored!r}, must be a number in [{low}, {high}]")

    def integer(self, key: str, low: int, high: int) -> int:
        """Return the integer at key, which must lie in [low, high].

        Raises:
            OptimizerStateError: the key is missing, or holds no such integer.
        """
        stored = self._take(key)
        if isinstance(stored, int) and not isinstance(stored, bool) and low <= stored <= high:
            return stored
        raise OptimizerStateError(f"{key} is {stored!r}, must be an integer in [{low}, {high}]")

    def text(self, key: str) -> str:
        """Return the string at key.

        Raises:
            OptimizerStateError: the key is missing, or holds no string.
        """
        stored = self._take(key)
        if isinstance(stored, str):
            return stored
        raise OptimizerStateError(f"{key} is {stored!r}, must be a string")

    def rows(self, key: str, width: int, most: int, largest: float = LARGEST) -> list[tuple[float, ...]]:
        """Return the flat list of numbers within ±largest at key as at most `most` rows of `width`.

        Raises:
            OptimizerStateError: the key is missing, or holds no such list.
        """
        stored = self._take(key)
        if not isinstance(stored, list) or len(stored) % width or len(stored) > width * most:
            raise OptimizerStateError(f"{key} must be a list of at most {most} rows of {width} numbers")
        numbers = [measured(item, largest) for item in stored]
        sound = [number for number in numbers if number is not None]
        if len(sound) != len(numbers):
            raise OptimizerStateError(f"{key} holds something that is not a number within ±{largest:g}")
        return [tuple(sound[start : start + width]) for start in range(0, len(sound), width)]

    def optional(self, key: str, largest: float = LARGEST) -> float | None:
        """Return the number in the list at key, None for an empty list.

        Raises:
            OptimizerStateError: the key is missing, or holds no list of at most one number within ±largest.
        """
        rows = self.rows(key, 1, 1, largest)
        return rows[0][0] if rows else None

    def part(self, prefix: str) -> dict[str, object]:
        """Return what is stored under prefix, without the prefix."""
        part = {key[len(prefix) :]: item for key, item in self._state.items() if key.startswith(prefix)}
        self._read.update(prefix + key for key in part)
        return part

    def finish(self) -> None:
        """Raise OptimizerStateError if the state holds a key that was never read."""
        unknown = sorted(key for key in self._state if key not in self._read)
        if unknown:
            raise OptimizerStateError(f"state holds unknown {', '.join(unknown)}")


def optional(value: float | None) -> list[float]:
    """Store a number that may be unknown as a list of one or none."""
    return [] if value is None else [value]
