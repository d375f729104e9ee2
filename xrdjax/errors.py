"""The mistakes a user can make, each told in one line that names the file, the field, the value and the remedy."""


class XrdjaxError(Exception):
    """A mistake in the user's input; scripts print it without a traceback."""


class CifError(XrdjaxError):
    """A CIF that cannot be read as one crystal."""

    def __init__(self, path: object, reason: str) -> None:
        """Keep the file and the reason apart, so that a summary can count reasons over many files."""
        super().__init__(str(path), reason)
        self.path = str(path)
        self.reason = reason

    def __str__(self) -> str:
        """Return the path and the reason on one line."""
        return f"{self.path}: {self.reason}"


class StoreError(XrdjaxError):
    """A crystal store that is missing, damaged or of another version."""


class ConfigError(XrdjaxError):
    """A configuration that contradicts itself or names something that does not exist."""


class WorkdirError(XrdjaxError):
    """A run directory that cannot be used as asked."""


class DivergedError(XrdjaxError):
    """A run whose loss or gradient is no longer a sensible number."""

    def __init__(self, step: int, reason: str) -> None:
        """Keep the step, so that its batch can be looked at."""
        super().__init__(reason)
        self.step = step


class ModelError(XrdjaxError):
    """A file or directory that holds no network that can be used."""


class PictureError(XrdjaxError):
    """A picture, spot list or reflection file that cannot be read as a pattern."""
