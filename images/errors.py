"""The one exception of this layer."""


class ImageError(Exception):
    """An image cannot be found, built or trusted; the message is one sentence that says what to do next."""
