"""What a request needs to be let in, checked before anything is sent: the address, the key, the certificates."""

from __future__ import annotations

import base64
import os
import re
from pathlib import Path
from urllib.parse import urlsplit

from pipelines.cursor_admin.errors import ApiError
from pipelines.cursor_admin.settings import BASE_URL, LOOPBACK_HOSTS

# Scheme, host, port and folder alone: what two parsers of addresses read differently could carry the key elsewhere.
_BASE_URL_PATTERN = re.compile(r"https?://(\[::1\]|[A-Za-z0-9.-]+)(:\d{1,5})?(/[A-Za-z0-9._~-]+)*")


class RefusedRequestError(ApiError, ValueError):
    """Not sent: the route is not on the list of reads, or the address or the key cannot be used safely."""


def checked_base_url(base_url: str) -> str:
    """The address without a slash at its end; https, or http to loopback."""
    url = base_url.rstrip("/")
    setting = "base_url under [sources.cursor_admin] in .dlt/config.toml"
    if not _BASE_URL_PATTERN.fullmatch(url):
        raise RefusedRequestError(f"Set {setting} to an address such as {BASE_URL}: no user, password or parameters.")
    parts = urlsplit(url)
    if parts.scheme == "http" and parts.hostname not in LOOPBACK_HOSTS:
        raise RefusedRequestError(
            f"The key would travel in clear text to {parts.hostname}. Set {setting} to its https address: "
            "plain http is accepted for loopback only."
        )
    return url


def request_headers(api_key: str, setting: str = "api_key") -> dict[str, str]:
    """HTTP Basic: the key is the user name, the password is empty (https://cursor.com/docs/api)."""
    if not re.fullmatch(r"[!-9;-~]+", api_key):  # printable ASCII without space, and without the colon that ends it
        raise RefusedRequestError(
            f"The key is empty or holds characters no key has. Set {setting} under [sources.cursor_admin] in "
            ".dlt/secrets.toml to the key exactly as Cursor showed it."
        )
    return {
        # written by hand: several toolkits drop the header, or its colon, when the password is empty
        "Authorization": "Basic " + base64.b64encode(f"{api_key}:".encode()).decode(),
        "Accept": "application/json",
        "Accept-Encoding": "gzip",
        "User-Agent": "cursor-chargeback",
    }


def certificates() -> bool | str:
    """The bundle a company sets for its own proxies, as `requests` reads it; else the usual authorities."""
    bundle = os.environ.get("REQUESTS_CA_BUNDLE") or os.environ.get("CURL_CA_BUNDLE")
    if bundle and not Path(bundle).exists():
        raise RefusedRequestError(f"REQUESTS_CA_BUNDLE or CURL_CA_BUNDLE names {bundle}, which does not exist.")
    return bundle or True
