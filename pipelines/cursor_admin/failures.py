"""What an attempt that gave no answer means: the message for a person, and whether trying again can help.

Nothing of the HTTP library's errors is quoted: they carry addresses with passwords of proxies, headers and bodies.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import orjson
import requests
import urllib3

from pipelines.cursor_admin.errors import ApiError, AuthError, NotFoundError, RateLimitError
from pipelines.cursor_admin.settings import RETRIED_STATUSES

_MESSAGE_CHARACTERS = 120
_EMAIL = re.compile(r"[^\s@\"'<>(),;:]+@[^\s@\"'<>(),;:]+")
_KEY = re.compile(r"\b(crsr|key)_\w+")

_NEXT_RUN = "nothing was changed, the next run continues."
_SET_BASE_URL = "Set base_url under [sources.cursor_admin] in .dlt/config.toml"
_KEY_SETTING = "api_key under [sources.cursor_admin] in .dlt/secrets.toml to a key with the admin scope."
_ORGANIZATION_KEY_SETTING = (
    "organization_api_key and organization_id under [sources.cursor_admin] in .dlt/secrets.toml to a key with the "
    "scope usage:* that has not expired, and to the organization it belongs to."
)


@dataclass(frozen=True)
class Failure:
    """One attempt without an answer. `error` is what a person reads if no further attempt is made."""

    error: ApiError
    reason: str
    is_final: bool = False
    is_throttled: bool = False
    is_unreached: bool = False
    retry_after: float | None = None


def not_reached(error: Exception, host: str, path: str) -> Failure:
    """No answer, or only a part of one."""
    if isinstance(error, requests.exceptions.SSLError) and "CERTIFICATE_VERIFY_FAILED" in str(error):
        message = (
            f"The certificate of {host} could not be verified ({path}). If a proxy of your company signs its own, set "
            f"REQUESTS_CA_BUNDLE to its certificate file; {_NEXT_RUN}"
        )
        return Failure(ApiError(message), "certificate not verified", is_final=True)
    is_unreached = False
    if isinstance(error, requests.exceptions.ProxyError):
        reason, is_unreached = "the proxy did not let the connection through", True
    elif isinstance(error, requests.exceptions.ConnectTimeout):
        reason, is_unreached = "the connection was not accepted in time", True
    elif isinstance(error, requests.exceptions.Timeout | urllib3.exceptions.TimeoutError):
        reason = "no answer in time"
    elif "NameResolutionError" in repr(error):
        reason, is_unreached = "its name is not known", True
    elif "NewConnectionError" in repr(error):
        reason, is_unreached = "the connection was refused", True
    else:
        return broken_answer(path, "the connection broke", host)
    message = f"Could not reach {host} ({path}): {reason}. Check base_url and the network; {_NEXT_RUN}"
    return Failure(ApiError(message), reason, is_unreached=is_unreached)


def broken_answer(path: str, reason: str, host: str) -> Failure:
    """The connection was there, the answer was not, or not whole."""
    message = f"{host} gave no whole answer ({path}): {reason}. Check the network; {_NEXT_RUN}"
    return Failure(ApiError(message), reason)


def not_json(path: str, content_type: str | None, size: int) -> Failure:
    """A page of a proxy or a gateway, or JSON that was cut off."""
    return _not_readable("JSON", path, content_type, size)


def not_csv(path: str, content_type: str | None, size: int) -> Failure:
    """A page of a proxy or a gateway, or bytes that are no UTF-8."""
    return _not_readable("CSV", path, content_type, size)


def _not_readable(wanted: str, path: str, content_type: str | None, size: int) -> Failure:
    kind = re.match(r"[\w.+-]{1,40}/[\w.+-]{1,40}", content_type or "")
    what = f"{kind.group() if kind else 'no content type'}, {size} bytes"
    message = (
        f"{path} answered 200 with something that is not {wanted} ({what}). {_SET_BASE_URL} and check proxies between; "
    )
    return Failure(ApiError(message + _NEXT_RUN), f"not {wanted} ({what})")


def refused_status(status: int, path: str, body: bytes, retry_after: float | None, secrets: tuple[str, ...]) -> Failure:
    """Any status but 200. `secrets` are taken out of what the server says."""
    said = server_message(body, secrets)
    answered = f"{path} answered {status} ({said})" if said else f"{path} answered {status}"
    setting = _ORGANIZATION_KEY_SETTING if path.startswith("/organizations/") else _KEY_SETTING
    error: ApiError
    if status == 401:
        message = f"Cursor refused the key (401, {path}). Set {setting}"
        error = AuthError(message + (f" Cursor said: {said}" if said else ""), status=status, path=path)
    elif status == 403:
        message = (
            f"{answered}: the plan of this team or the key's scope does not allow it. "
            f"Check in Cursor's dashboard that the team is on the plan that offers this route, or set {setting}"
        )
        error = AuthError(message, status=status, path=path)
    elif status == 404:
        error = NotFoundError(
            f"{answered}. {_SET_BASE_URL} if it is not Cursor's; else the API has changed; {_NEXT_RUN}"
        )
    elif status == 429:
        error = RateLimitError(
            f"{answered} until the attempts for one request were used up. If something else reads this team's data, "
            "run it at another time, or lower rate_limit_per_minute or set rate_limit_shared = true under "
            f"[sources.cursor_admin] in .dlt/config.toml; {_NEXT_RUN}"
        )
    elif 300 <= status < 400:
        error = ApiError(
            f"{path} answered {status}, a redirect; none is followed, so that the key goes nowhere else. "
            f"{_SET_BASE_URL} to the address that answers itself."
        )
    elif status in RETRIED_STATUSES:
        error = ApiError(f"{answered} each time it was tried. Cursor has a problem: run again later; {_NEXT_RUN}")
    else:
        error = ApiError(f"{answered}. {_SET_BASE_URL} if it is not Cursor's; else the API has changed; {_NEXT_RUN}")
    return Failure(
        error,
        f"status {status}",
        is_final=status not in RETRIED_STATUSES,
        is_throttled=status == 429,
        retry_after=retry_after,
    )


def server_message(body: bytes, secrets: tuple[str, ...] = ()) -> str:
    """The `message`, else the `error`, of an error body: one line, at most 120 characters, no e-mail, no key."""
    try:
        payload = orjson.loads(body)
    except orjson.JSONDecodeError:
        return ""
    if not isinstance(payload, dict):
        return ""
    text = next((payload[key] for key in ("message", "error") if isinstance(payload.get(key), str)), "")
    for secret in secrets:
        text = text.replace(secret, "[key]")
    text = _EMAIL.sub("[e-mail]", _KEY.sub("[key]", text))
    text = " ".join("".join(character if character.isprintable() else " " for character in text).split())
    return text if len(text) <= _MESSAGE_CHARACTERS else text[: _MESSAGE_CHARACTERS - 1] + "…"


def http_date(value: str | None) -> datetime | None:
    """The instant of an HTTP date, in UTC; None for anything else."""
    try:
        parsed = parsedate_to_datetime(value or "")
    except ValueError:
        return None
    return parsed.replace(tzinfo=UTC) if parsed.tzinfo is None else parsed.astimezone(UTC)


def retry_after_seconds(value: str | None, answered_at: datetime | None) -> float | None:
    """`Retry-After` in seconds or as an HTTP date, which is measured by the server's own clock where it sent one."""
    if value is None:
        return None
    if re.fullmatch(r"\d{1,9}(\.\d+)?", value.strip()):
        return float(value)
    instant = http_date(value)
    return None if instant is None else max(0.0, (instant - (answered_at or datetime.now(UTC))).total_seconds())
