"""What can go wrong, as one tree.

    MezzotintError
    ├── ConfigError        a recipe, an override or a stored config that cannot be understood
    ├── DataError          images, labels, folders, class names
    ├── CheckpointError    a weights file that is missing, cut short, foreign or unsafe
    ├── OutputError        a result that would overwrite another, a full disk
    ├── NumericError       a loss that is no longer a number
    └── MissingExtraError  an optional package that is not installed

Every message is one line: what is wrong, where, what was expected, what to do.
"""


class MezzotintError(ValueError):
    """Base of every error that a user can cause and mend."""


class ConfigError(MezzotintError):
    """A recipe, an override or a stored config that cannot be understood."""


class DataError(MezzotintError):
    """Images, labels, folders or class names that cannot be used."""


class CheckpointError(MezzotintError):
    """A weights file that is missing, cut short, of another kind, or unsafe to read."""


class OutputError(MezzotintError):
    """A result that cannot be written: it would overwrite another one, or the disk is full."""


class NumericError(MezzotintError):
    """A computation that stopped being finite."""


class MissingExtraError(MezzotintError):
    """An optional package that is not installed; the message holds the command that installs it."""

    def __init__(self, package: str, extra: str) -> None:
        super().__init__(f"{package} is not installed; run: pip install 'mezzotint[{extra}]'")
