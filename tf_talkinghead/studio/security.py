"""Access control of the studio: checks the host name, origin and token of every request.

Every request is checked before its body is read:

  Host    a name that cannot be rebound: loopback, a numeric address, or one of `names`. A foreign
          page that points its own domain at this machine (DNS rebinding) is refused;
  Origin  if the browser sends one (uploads, changes, WebSockets), it must be the studio's own;
  token   if one is set: in the cookie, in ?token=... of a page, or as Authorization: Bearer.

Headers of the answers keep them from other pages: a Content-Security-Policy that loads nothing from
elsewhere, no framing, no content sniffing, no referrer.
"""

import hmac
import ipaddress
from dataclasses import dataclass, field
from urllib.parse import parse_qs, urlencode, urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import cookie_parser
from starlette.responses import JSONResponse, RedirectResponse, Response

COOKIE = "studio_token"
_LOOPBACK = ("localhost", "127.0.0.1", "::1")
_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; "
        "media-src 'self' blob:; connect-src 'self'; base-uri 'none'; form-action 'none'; "
        "frame-ancestors 'none'"
    ),
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Permissions-Policy": "camera=(self), microphone=(self)",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}


@dataclass(frozen=True)
class Access:
    """Who may use the studio.

    Attributes:
      token: secret that every request needs; None where the studio listens on loopback only.
      names: host names allowed besides loopback names and numeric addresses.
    """

    token: str | None = None
    names: frozenset[str] = field(default_factory=frozenset)

    def knows_host(self, host: str) -> bool:
        """Whether a Host header names this studio, by a name that no foreign page can rebind."""
        name = _name_of(host)
        if name is None:
            return False
        if name in _LOOPBACK or name in self.names:
            return True
        # Numeric addresses cannot be rebound; without a token the studio listens on loopback only.
        return self.token is not None and _is_address(name)

    def admits(self, given: str | None) -> bool:
        """Whether a token is the right one, in constant time."""
        if self.token is None:
            return True
        return hmac.compare_digest((given or "").encode(), self.token.encode())


def is_loopback(host: str) -> bool:
    """Whether an address or name to listen on is this machine's own."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


class Guard:
    """ASGI middleware that refuses what `Access` does not allow."""

    def __init__(self, app, access: Access):
        self._app, self._access = app, access

    async def __call__(self, scope, receive, send):
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        why = self._refusal(scope, headers)
        query = parse_qs(scope.get("query_string", b"").decode("latin-1"))
        given = (query.get("token") or [None])[0]
        if why is None and scope["type"] == "http" and given and self._access.admits(given):
            await self._with_cookie(scope, query)(scope, receive, send)
            return
        if why is None and not self._access.admits(given or _token(headers)):
            why = "a token is needed: open the studio by the address that it printed at its start"
        if why is not None:
            await self._refuse(why, scope, receive, send)
            return

        async def marked(message):
            if message["type"] == "http.response.start":
                answer = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    answer.setdefault(name, value)
            await send(message)

        await self._app(scope, receive, marked)

    def _refusal(self, scope, headers):
        """The reason why Host or Origin is refused; None where both are right."""
        host, origin = headers.get("host", ""), headers.get("origin")
        if not self._access.knows_host(host):
            return f"the studio is not called {host[:80]!r}: use the address that it printed"
        if origin is not None:
            ours = urlsplit(origin)
            if ours.scheme not in ("http", "https") or ours.netloc.lower() != host.lower():
                return f"a page of {origin[:80]!r} may not use the studio"
            return None
        # Other sites may link to the pages, but not load the interface as pictures or scripts.
        foreign = headers.get("sec-fetch-site", "none") not in ("none", "same-origin")
        if foreign and scope["path"].startswith(("/api/", "/films/")):
            return "another page may not use the studio"
        return None

    def _with_cookie(self, scope, query):
        """Redirects to the same page without the token in its address; sets it as a cookie."""
        rest = {name: values for name, values in query.items() if name != "token"}
        address = scope["path"] + ("?" + urlencode(rest, doseq=True) if rest else "")
        # A path that begins with two slashes would lead to another host.
        answer = RedirectResponse("/" + address.lstrip("/"), 303)
        answer.set_cookie(
            COOKIE,
            self._access.token or "",
            httponly=True,
            samesite="strict",
            secure=scope.get("scheme") == "https",
        )
        return answer

    async def _refuse(self, why, scope, receive, send):
        answer = JSONResponse({"error": why}, 403, headers=_HEADERS)
        if scope["type"] == "http":
            await answer(scope, receive, send)
        elif "websocket.http.response" in scope.get("extensions", {}):
            await receive()
            await _denied(answer, send)
        else:
            await receive()
            await send({"type": "websocket.close", "code": 1008, "reason": why[:120]})


async def _denied(answer: Response, send):
    """Answers a WebSocket's handshake with an HTTP response."""
    start = {"status": answer.status_code, "headers": answer.raw_headers}
    await send({"type": "websocket.http.response.start", **start})
    await send({"type": "websocket.http.response.body", "body": answer.body})


def _token(headers):
    """The token of the Authorization header or the cookie."""
    scheme, _, value = headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        return value.strip()
    return cookie_parser(headers.get("cookie", "")).get(COOKIE)


def _name_of(host):
    """The name in a Host header, in lower case and without port; None where it is malformed."""
    try:
        parts = urlsplit(f"//{host}")
        _ = parts.port
    except ValueError:
        return None
    if not host or parts.path or parts.query or "@" in host:
        return None
    return parts.hostname


def _is_address(name):
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
