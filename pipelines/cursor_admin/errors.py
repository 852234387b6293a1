"""What can go wrong between this source and the API. Messages carry no key, no header, no body and no full e-mail."""

from __future__ import annotations


class ApiError(Exception):
    """The API did not give an answer that can be used. The message names the endpoint and the next step."""


class AuthError(ApiError):
    """401 or 403: the key, its scope or the plan does not allow the route.

    `status` is the HTTP status, `path` the route, without host and parameters.
    """

    def __init__(self, message: str, *, status: int, path: str) -> None:
        super().__init__(message)
        self.status = status
        self.path = path


class NotFoundError(ApiError):
    """404: there is no such thing, or no longer."""


class RateLimitError(ApiError):
    """429 until the total time allowed for one request was used up."""


class ApiShapeError(ApiError):
    """An answer lacks a key, or a value has another type, than the API reference says."""


class IncompleteWindowError(ApiError):
    """Pages moved while they were read, three times in a row."""
