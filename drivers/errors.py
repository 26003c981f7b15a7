"""The one exception of this layer."""


class DriverError(Exception):
    """A driver, agent or driver file cannot be built, read or used; the text is one sentence for the user."""
