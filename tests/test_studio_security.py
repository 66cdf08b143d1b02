"""The studio's door: foreign pages, rebound names, tokens."""

import ssl
import urllib.request

import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from tests import studio_fixtures, toy_models
from tests.test_server_tls import pem_pair
from tf_talkinghead.errors import InputError
from tf_talkinghead.studio import uploads
from tf_talkinghead.studio.security import COOKIE, Access, is_loopback
from tf_talkinghead.studio.server import running
from tf_talkinghead.studio.studio import StudioOptions

TOKEN = "a-token-of-the-tests"


@pytest.fixture(scope="module")
def visitor(tmp_path_factory):
    """A visitor of a studio that needs a token."""
    models = tmp_path_factory.mktemp("models")
    toy_models.publish(models, "ann", 1)
    with studio_fixtures.open_studio(models, token=TOKEN) as visitor:
        yield visitor


def bearer(**headers):
    return {"Authorization": f"Bearer {TOKEN}", **headers}


def port_of(visitor):
    return visitor.address.rpartition(":")[2]


def test_without_the_token_nothing_is_told(visitor):
    for path in ("/", "/api/people", "/api/people/ann", "/page/app.js", "/stage/ann"):
        assert "a token is needed" in visitor.refused("GET", path)
        wrong = visitor.refused("GET", path, Authorization="Bearer wrong")
        assert "a token is needed" in wrong
    with pytest.raises(InvalidStatus) as refusal, visitor.socket("/api/live/ann"):
        pass
    assert refusal.value.response.status_code == 403
    assert b"a token is needed" in refusal.value.response.body


def test_the_address_with_the_token_leaves_a_cookie(visitor):
    assert "a token is needed" in visitor.refused("GET", "/?token=wrong")
    status, _, headers = visitor.ask("GET", f"/stage/ann?token={TOKEN}&colour=ff00ff")
    assert status == 303 and headers["Location"] == "/stage/ann?colour=ff00ff"
    cookie = headers["Set-Cookie"]
    assert "HttpOnly" in cookie and "SameSite=strict" in cookie
    kept = cookie.split(";")[0]
    assert kept == f"{COOKIE}={TOKEN}"
    assert visitor.ask("GET", "/api/people", Cookie=kept)[0] == 200
    with visitor.live("ann", Cookie=kept) as tab:
        assert tab.hello["type"] == "ready"
    # A path of two slashes would lead to another host.
    assert visitor.ask("GET", f"//evil.example/?token={TOKEN}")[2]["Location"] == "/evil.example/"


def test_foreign_pages_are_refused(visitor):
    for origin in ("https://evil.example", "null", f"https://localhost:{port_of(visitor)}0"):
        why = visitor.refused("POST", "/api/drafts", {}, **bearer(Origin=origin))
        assert f"a page of {origin!r} may not" in why
        put = ("PUT", "/api/people/ann/films?name=a.mp4", b"x" * 100)
        assert "may not" in visitor.refused(*put, **bearer(Origin=origin))
        with (
            pytest.raises(InvalidStatus) as refusal,
            visitor.socket("/api/live/ann", **bearer(Origin=origin)),
        ):
            pass
        assert refusal.value.response.status_code == 403
    own = bearer(Origin=visitor.address)
    assert visitor.ask("POST", "/api/drafts", {}, **own)[0] == 200
    with visitor.live("ann", **own) as tab:
        assert tab.hello["type"] == "ready"
    # A picture on another page sends no Origin, and says that it comes from elsewhere.
    for site in ("cross-site", "same-site"):
        picture = ("GET", "/api/people/ann/neutral.jpg")
        why = visitor.refused(*picture, **bearer(Sec_Fetch_Site=site))
        assert why == "another page may not use the studio"


def test_a_name_that_was_rebound_is_refused(visitor):
    for host in ("evil.example", f"evil.example:{port_of(visitor)}", "localhost.evil.example", ""):
        assert "is not called" in visitor.refused("GET", "/api/people", **bearer(Host=host))
    assert visitor.ask("GET", "/api/people", **bearer(Host="127.0.0.1"))[0] == 200


def test_digits_need_a_token_and_names_must_be_known():
    alone, shared = Access(), Access("t" * 20, frozenset({"studio.lan"}))
    assert alone.knows_host("localhost:7860") and alone.knows_host("[::1]:7860")
    assert not alone.knows_host("192.168.1.5") and not alone.knows_host("studio.lan")
    assert shared.knows_host("192.168.1.5:7860") and shared.knows_host("STUDIO.lan:80")
    for host in ("a@localhost", "localhost:x", "localhost/evil", "[::1", "evil.example"):
        assert not alone.knows_host(host) and not shared.knows_host(host), host
    assert alone.admits(None) and not shared.admits(None) and shared.admits("t" * 20)
    assert is_loopback("127.0.0.5") and is_loopback("::1") and not is_loopback("0.0.0.0")


def test_answers_keep_themselves_from_other_pages(visitor):
    for path in ("/", "/api/people", "/page/style.css"):
        _, _, headers = visitor.ask("GET", path, **bearer())
        assert "default-src 'none'" in headers["Content-Security-Policy"]
        assert headers["X-Frame-Options"] == "DENY"
        assert headers["Cross-Origin-Resource-Policy"] == "same-origin"
        assert headers["X-Content-Type-Options"] == "nosniff"


def test_bodies_are_bounded(visitor, monkeypatch):
    long = b'{"draft": "' + b"x" * 100_000 + b'"}'
    assert "longer than" in visitor.refused("POST", "/api/people", long, **bearer())
    assert "JSON object" in visitor.refused("POST", "/api/people", b"[1]", **bearer())
    monkeypatch.setattr(uploads, "MAX_FILM_BYTES", 1 << 20)
    film = b"\0\0\0 ftypisom" + b"x" * (1 << 20)
    for path in ("/api/check?name=a.mp4", "/api/people/ann/films?name=a.mp4"):
        assert visitor.refused("PUT", path, film, **bearer()) == "a.mp4: larger than 1 MB"
    assert list(visitor.studio.uploads.iterdir()) == []


def test_https_and_its_cookie(tmp_path):
    """Over TLS the cookie is secure, and the live sessions are encrypted too."""
    authority = pem_pair(tmp_path, "authority")
    pem_pair(tmp_path, "server", authority)
    tls = (str(tmp_path / "server.crt"), str(tmp_path / "server.key"))
    trust = ssl.create_default_context(cafile=tmp_path / "authority.crt")
    options = StudioOptions(str(tmp_path / "models"), access=Access(TOKEN))
    with running(options, server="localhost:1", tls=tls) as started:
        assert started.address.startswith("https://localhost:")
        opener = urllib.request.build_opener(
            urllib.request.HTTPSHandler(context=trust), urllib.request.HTTPCookieProcessor()
        )
        with opener.open(f"{started.address}?token={TOKEN}") as answer:
            assert b"<title>Studio</title>" in answer.read()
        address = started.address.replace("https", "wss") + "api/live/nobody"
        with connect(address, ssl=trust, additional_headers=bearer(), proxy=None) as socket:
            assert "no avatar called nobody" in socket.recv(timeout=20)
    broken = (tls[0], str(tmp_path / "authority.key"))
    with (
        pytest.raises(InputError, match="cannot be used"),
        running(options, tls=broken, server="a:1"),
    ):
        pass
