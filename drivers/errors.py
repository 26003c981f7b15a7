"""The one exception of this layer."""

from wsklab.common.errors import WsklabError


class DriverError(WsklabError):
    """A driver, agent or driver file cannot be built, read or used; the text is one sentence for the user."""
