"""What stands between a browser and a study: addresses, origins, form tokens, sizes and rates.

`docs/rating.md` says what each of these is for. Nothing here knows what is asked or answered.
"""

import hashlib
import hmac
import ipaddress
import time
from collections.abc import Mapping
from typing import NamedTuple
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect, Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from accord.errors import ConfigError
from accord.rating.refusals import RefusalError
from accord.rating.settings import ServeSettings

MAX_BODY = 65_536
"""Bytes of a request's body; an answer has some 200."""
COOKIE = "accord"
COOKIE_SECONDS = 365 * 24 * 3600
LOOPBACK_NAMES = ("127.0.0.1", "localhost", "[::1]")
SECURITY_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'; object-src 'none'"
    ),
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    # Not no-referrer: with that, browsers send "Origin: null" with a form, and our own would be refused. To other
    # sites, neither the link nor the origin is sent.
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}


# -- addresses --------------------------------------------------------------------------------------------------


class Addresses(NamedTuple):
    """`base`: what links begin with; `origins`: what a browser on our pages calls itself; `hosts`: what it asks for."""

    base: str
    origins: frozenset[str]
    hosts: frozenset[str]
    is_https: bool


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach a server that listens on `host`."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def addresses(settings: ServeSettings, port: int) -> Addresses:
    """Where the server is to be found, listening on `port`.

    Raises:
        ConfigError: the public URL is none, or is needed and missing.
    """
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    names = [*LOOPBACK_NAMES, host] if is_loopback(settings.host) else [host]
    local = [f"http://{name}:{port}" for name in dict.fromkeys(names)]
    if settings.public_url is None:
        if settings.host in ("0.0.0.0", "::", ""):
            raise ConfigError(
                f'--host "{settings.host}" listens on every address, so say by which one annotators reach it: '
                f"--public-url http://192.168.1.5:{port}"
            )
        base = f"http://{host}:{port}"
    else:
        base = _origin(settings.public_url)
    origins = frozenset([base, *local])
    return Addresses(base, origins, frozenset(urlsplit(origin).netloc for origin in origins), base.startswith("https:"))


def _origin(url: str) -> str:
    """The origin as a browser writes it: small letters, no default port, no path."""
    parts = urlsplit(url)
    try:
        port = parts.port
    except ValueError:
        port = -1
    if (
        parts.scheme not in ("http", "https")
        or not parts.hostname
        or port == -1
        or parts.path.strip("/")
        or parts.query
    ):
        raise ConfigError(
            f'--public-url "{url}" is not an address like http://192.168.1.5:8765 or https://rate.example.'
        )
    name = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    is_default = port is None or (parts.scheme, port) in (("http", 80), ("https", 443))
    return f"{parts.scheme}://{name}" if is_default else f"{parts.scheme}://{name}:{port}"


class Guard:
    """The outermost layer: refuses hosts that are not ours (DNS rebinding), adds the headers to every response."""

    def __init__(self, app: ASGIApp, hosts: frozenset[str]) -> None:
        self.app = app
        self.hosts = hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in SECURITY_HEADERS.items():
                    headers[name] = value
                headers.setdefault("Cache-Control", "no-store")
            await send(message)

        hosts = Headers(scope=scope).getlist("host")
        scope["accord.is_our_host"] = len(hosts) == 1 and hosts[0].lower() in self.hosts
        await self.app(scope, receive, send_with_headers)


# -- state-changing requests ------------------------------------------------------------------------------------


def check_host(request: Request) -> None:
    """
    Raises:
        RefusalError: the browser was led here under a name that is not ours.
    """
    if not request.scope.get("accord.is_our_host"):
        raise RefusalError(421, "wrong_host", "This server does not answer under that name. Use your link as it is.")


def check_origin(request: Request, origins: frozenset[str]) -> None:
    """
    Raises:
        RefusalError: the request does not come from one of our own pages.
    """
    found = request.headers.getlist("origin")
    if len(found) != 1 or found[0] not in origins:
        raise RefusalError(403, "wrong_origin", "This request comes from another site. Open your link and try there.")


def session_cookie(key: bytes, path: str) -> str:
    """The cookie of a link: the same in every tab, and nobody who does not have the link can tell it."""
    return _signed(key, "cookie", path)


def form_token(key: bytes, path: str, form: str) -> str:
    """What a form must bring back, bound to the cookie of the link and to the form's name."""
    return _signed(key, "form", session_cookie(key, path), form)


def check_form_token(request: Request, key: bytes, path: str, form: str, token: str) -> None:
    """
    Raises:
        RefusalError: the cookie is not the link's, or the token not the form's.
    """
    has_cookie = hmac.compare_digest(request.cookies.get(COOKIE, "").encode(), session_cookie(key, path).encode())
    if not (has_cookie and hmac.compare_digest(token.encode(), form_token(key, path, form).encode())):
        raise RefusalError(403, "wrong_token", "This page is out of date. Load it again; what you entered is kept.")


def _signed(key: bytes, *parts: str) -> str:
    return hmac.new(key, "\x1f".join(parts).encode(), hashlib.sha256).hexdigest()[:40]


async def read_body(request: Request, content_type: str) -> bytes:
    """The body, given up as soon as it is too long, whatever its announced length says.

    Raises:
        RefusalError: too long, of another type, or broken off.
    """
    found = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if found != content_type:
        raise RefusalError(415, "wrong_type", f"Expected a body of type {content_type}.")
    too_long = RefusalError(413, "too_long", f"The request is longer than {MAX_BODY} bytes.", {"Connection": "close"})
    if not _is_short(request.headers):
        raise too_long
    body = bytearray()
    try:
        async for chunk in request.stream():
            body += chunk
            if len(body) > MAX_BODY:
                raise too_long
    except ClientDisconnect:
        raise RefusalError(400, "broken_off", "The request broke off.") from None
    return bytes(body)


def _is_short(headers: Mapping[str, str]) -> bool:
    length = headers.get("content-length", "0")
    return length.isdigit() and int(length) <= MAX_BODY


# -- rates ------------------------------------------------------------------------------------------------------


class RateLimit:
    """For each key so many requests at once, and `per_second` more as time goes by."""

    def __init__(self, *, at_once: int, per_second: float, max_keys: int = 10_000) -> None:
        self.at_once, self.per_second, self.max_keys = at_once, per_second, max_keys
        self._full_at: dict[object, float] = {}

    def check(self, key: object, now: float | None = None) -> None:
        """
        Raises:
            RefusalError: too many; says after how many seconds to ask again. Nothing of the request was done.
        """
        now = time.monotonic() if now is None else now
        if len(self._full_at) > self.max_keys:
            self._full_at = {known: full_at for known, full_at in self._full_at.items() if full_at > now}
        full_at = max(self._full_at.get(key, now), now) + 1 / self.per_second
        wait = (full_at - now) - self.at_once / self.per_second
        if wait > 0:
            text = "Too many requests at once. Nothing is lost: wait a moment, it is tried again."
            raise RefusalError(429, "too_many", text, {"Retry-After": str(max(1, round(wait)))})
        self._full_at[key] = full_at
