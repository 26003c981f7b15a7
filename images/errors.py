"""The one exception of this layer."""

from wsklab.common.errors import WsklabError


class ImageError(WsklabError):
    """An image cannot be found, built or trusted; the message is one sentence that says what to do next."""
