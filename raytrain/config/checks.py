"""Range checks shared by the settings; each message names the setting."""

from raytrain.errors import ConfigError


def at_least(name: str, value: float, low: float) -> None:
    """Raise ConfigError unless value >= low."""
    if not value >= low:
        raise ConfigError(f"{name} is {value}; it must be at least {low}")


def positive(name: str, value: float) -> None:
    """Raise ConfigError unless value > 0."""
    if not value > 0:
        raise ConfigError(f"{name} is {value}; it must be greater than 0")


def share(name: str, value: float) -> None:
    """Raise ConfigError unless 0 <= value < 1."""
    if not 0 <= value < 1:
        raise ConfigError(f"{name} is {value}; it must be at least 0 and below 1")
