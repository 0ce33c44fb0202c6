"""What must be refused, and with which status: other people's links and texts, other sites, scripts, paths, sizes."""

import http.client
import json
import re
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from starlette.testclient import TestClient

from accord.errors import ConfigError
from accord.json_files import write_jsonl
from accord.rating.annotators import revoke
from accord.rating.app import build_app
from accord.rating.draft import StudyInputs
from accord.rating.refusals import RefusalError
from accord.rating.security import COOKIE, MAX_BODY, RateLimit, addresses
from accord.rating.settings import RateSettings, ServeSettings
from accord.rating.store import Store
from accord.rating.study import open_study
from accord.records import Output
from rating_clients import ORIGIN, Person, admin_path, csrf_of, links, make_study, open_client, questions_of

ATTACK = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>{{ 7 * 7 }}"


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    found = make_study(tmp_path)
    yield found
    found.close()


@pytest.fixture
def client(store: Store) -> Iterator[TestClient]:
    with open_client(store) as found:
        yield found


@pytest.fixture
def person(store: Store, client: TestClient) -> Person:
    """An annotator in the middle of a page."""
    found = Person(client, links(store)[0])
    found.agree()
    found.open()
    return found


def an_answer(person: Person) -> dict[str, Any]:
    """What the page would send."""
    item, question, _, labels = questions_of(person.open() or "")[0]
    return {"item": item, "question": question, "label": labels[0], "csrf": person.csrf}


def n_answers(store: Store) -> int:
    return int(store.read("SELECT count(*) FROM history")[0][0])


# -- links ----------------------------------------------------------------------------------------------------------


def tampered(link: str) -> list[str]:
    token = link.removeprefix("/a/")
    other = "A" if token[-1] != "A" else "B"
    return [
        token[:-1] + other,
        token[:-1],
        token + "A",
        token.swapcase(),
        "%20" + token,
        "",
        "*",
        "r1",
        "1",
        "' OR 1=1 --",
    ]


def test_links_are_long_random_and_their_own(store: Store) -> None:
    """24 random bytes, 192 bits, each."""
    tokens = [link.removeprefix("/a/") for link in links(store)] + [admin_path(store).removeprefix("/admin/")]
    assert len(set(tokens)) == 3
    assert all(re.fullmatch(r"[\w-]{32}", token) for token in tokens)


def test_a_guessed_or_tampered_link_leads_nowhere(store: Store, client: TestClient, person: Person) -> None:
    body = an_answer(person)
    for token in tampered(person.link):
        for path in ("", "/welcome", "/tasks/1", "/done"):
            assert client.get(f"/a/{token}{path}").status_code in (404, 429)
        assert client.put(f"/a/{token}/answers", json=body).status_code in (404, 429)
    assert n_answers(store) == 0


def test_a_guessed_admin_secret_leads_nowhere(store: Store, client: TestClient) -> None:
    for secret in tampered(links(store)[0]):
        for path in ("", "?refresh", "/export.jsonl", "/export.csv"):
            assert client.get(f"/admin/{secret}{path}").status_code in (404, 429)
    assert client.get(links(store)[0].replace("/a/", "/admin/")).status_code in (404, 429)
    assert client.get(admin_path(store).replace("/admin/", "/a/")).status_code in (404, 429)


def test_guessing_is_slowed_down_and_others_are_not(store: Store, client: TestClient, person: Person) -> None:
    found = [client.get(f"/a/guess{number}").status_code for number in range(80)]
    assert found[0] == 404
    assert found[-1] == 429
    assert client.get(person.link).status_code == 303


def test_a_revoked_link_takes_nothing_more(store: Store, person: Person) -> None:
    """Also from a page that was opened before."""
    body = an_answer(person)
    store.write_now(lambda connection: revoke(connection, 1))
    assert person.client.put(f"{person.link}/answers", json=body).status_code == 410
    assert n_answers(store) == 0


def test_another_annotators_texts_are_out_of_reach(store: Store, client: TestClient, person: Person) -> None:
    """With one's own link, cookie and token, but the other's item; and with one's own token on the other's link."""
    other = Person(client, links(store)[1])
    other.agree()
    theirs = an_answer(other)
    assert client.put(f"{person.link}/answers", json={**theirs, "csrf": person.csrf}).status_code == 404
    assert client.put(f"{other.link}/answers", json={**theirs, "csrf": person.csrf}).status_code == 403
    assert client.get(f"{person.link}/tasks/2").status_code == 303
    assert n_answers(store) == 0


# -- other sites ----------------------------------------------------------------------------------------------------

FOREIGN_ORIGINS = [
    None,
    "http://evil.example",
    "null",
    "",
    "http://127.0.0.1:8765.evil.example",
    "http://127.0.0.1:876",
    "http://127.0.0.1",
    "https://127.0.0.1:8765",
    "http://127.0.0.1:8765/",
    "HTTP://127.0.0.1:8765",
    "http://127.0.0.1:8765, http://evil.example",
]


def test_a_forged_or_missing_origin_is_refused(store: Store, person: Person) -> None:
    """On every route that changes something, although cookie and token are right."""
    body = an_answer(person)
    client, admin = person.client, admin_path(store)
    csrf, welcome = csrf_of(client.get(admin).text), csrf_of(client.get(f"{person.link}/welcome").text)
    del client.headers["origin"]
    for origin in FOREIGN_ORIGINS:
        headers = {} if origin is None else {"Origin": origin}
        found = [
            client.put(f"{person.link}/answers", json=body, headers=headers),
            client.post(f"{person.link}/tasks/1/skip", json={"reason": "x", "csrf": person.csrf}, headers=headers),
            client.post(f"{person.link}/welcome", data={"csrf": welcome, "consent": "yes"}, headers=headers),
            *(
                client.post(f"{admin}/{action}", data={"csrf": csrf, "annotator": "r1"}, headers=headers)
                for action in ACTIONS
            ),
        ]
        assert [response.status_code for response in found] == [403] * 9, origin
        assert found[0].json()["reason"] == "wrong_origin"
    assert n_answers(store) == 0
    assert len(links(store)) == 2


ACTIONS = ("invite", "revoke", "delete", "pause", "resume", "close")


def test_a_missing_or_foreign_token_is_refused(store: Store, person: Person) -> None:
    """Each form has its own; a body without one is malformed."""
    body = an_answer(person)
    client, admin = person.client, admin_path(store)
    others = [
        csrf_of(client.get(admin).text),
        csrf_of(client.get(f"{person.link}/welcome").text),
        "",
        "é",
        body["csrf"][:-1],
    ]
    for csrf in others:
        assert client.put(f"{person.link}/answers", json={**body, "csrf": csrf}).status_code == 403
        assert client.post(f"{person.link}/tasks/1/skip", json={"reason": "x", "csrf": csrf}).status_code == 403
    del body["csrf"]
    assert client.put(f"{person.link}/answers", json=body).status_code == 400
    for fields in ({"csrf": ""}, {"annotator": "r1"}, {"csrf": person.csrf}):
        assert client.post(f"{person.link}/welcome", data={"consent": "yes", **fields}).status_code == 403
        assert client.post(f"{admin}/close", data=fields).status_code == 403
    assert n_answers(store) == 0


def test_a_token_without_its_cookie_is_refused(store: Store, person: Person) -> None:
    body = an_answer(person)
    person.client.cookies.clear()
    assert person.client.put(f"{person.link}/answers", json=body).status_code == 403
    person.client.cookies.set(COOKIE, "0" * 40)
    assert person.client.put(f"{person.link}/answers", json=body).status_code == 403
    assert n_answers(store) == 0


def test_the_cookie_stays_on_this_site_and_on_its_link(client: TestClient, store: Store) -> None:
    link = links(store)[0]
    cookie = client.get(f"{link}/welcome").headers["set-cookie"]
    assert {"HttpOnly", f"Path={link}", "SameSite=strict"} <= set(cookie.split("; "))
    assert "Secure" not in cookie
    assert link.removeprefix("/a/") not in cookie.split(";")[0]
    with open_client(store, public_url="https://rate.example") as public:
        assert "Secure" in public.get(f"{link}/welcome").headers["set-cookie"]


def test_a_name_that_is_not_ours_is_refused(person: Person, store: Store) -> None:
    """DNS rebinding: a page of evil.example, whose name now leads to 127.0.0.1, may not read or write anything."""
    body = an_answer(person)
    paths = ["/", "/static/rating.css", person.link, f"{person.link}/tasks/1", admin_path(store)]
    for host in ("evil.example", "127.0.0.1", "127.0.0.1:8766", "127.0.0.1:8765.evil.example", ""):
        headers = {"Host": host}
        assert [person.client.get(path, headers=headers).status_code for path in paths] == [421] * 5, host
        assert person.client.put(f"{person.link}/answers", json=body, headers=headers).status_code == 421, host


def test_every_response_carries_the_headers(client: TestClient, store: Store, person: Person) -> None:
    paths = [
        "/",
        "/nowhere",
        "/static/rating.css",
        "/a/guess",
        person.link,
        f"{person.link}/tasks/1",
        admin_path(store),
    ]
    for response in [*map(client.get, paths), client.put(f"{person.link}/answers", json={}), client.post("/")]:
        headers = response.headers
        assert headers["content-security-policy"].startswith("default-src 'self'; ")
        assert "frame-ancestors 'none'" in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "same-origin"
        assert headers["cache-control"] == ("no-cache" if "css" in str(response.url) else "no-store")
        assert "access-control-allow-origin" not in headers


# -- contents -------------------------------------------------------------------------------------------------------


def test_script_in_texts_names_and_traits_is_shown_as_text(tmp_path: Path) -> None:
    """In the prompt, the completion, the prompt's id, the system's name, a trait, a reason, the title."""
    path = tmp_path / "evil.jsonl"
    write_jsonl(path, [Output(id=f"p{ATTACK}", prompt=ATTACK, completion=ATTACK, system=f"s{ATTACK}")])
    settings = RateSettings(form="rule-of-thumb", title=ATTACK)
    with closing(open_study(tmp_path / "study", StudyInputs([path]), settings=settings, seed=0)) as store:
        with open_client(store) as client:
            csrf = csrf_of(client.get(admin_path(store)).text)
            client.post(f"{admin_path(store)}/invite", data={"csrf": csrf})
            person = Person(client, links(store)[0])
            person.agree(country=ATTACK)
            task = person.open() or ""
            for item, question, _, labels in questions_of(task):
                person.save(item, question, labels[0])
            person.skip(1, ATTACK)
            client.post(f"{admin_path(store)}/close", data={"csrf": csrf})
            admin = client.get(admin_path(store)).text
            pages = [task, admin]
        with open_client(store) as client:
            pages.append(client.get(f"{person.link}/welcome").text)
    for page in pages:
        assert "<script>alert" not in page
        assert "<img" not in page
        assert "49" not in re.sub(r"&#\d+;|\w{8,}", "", page)
        assert "&lt;script&gt;alert(1)&lt;/script&gt;&#34;&#39;&gt;" in page


PATHS = [
    "/static/../../store.py",
    "/static/..%2f..%2fstore.py",
    "/static/%2e%2e/%2e%2e/store.py",
    "/static/..%5c..%5cstore.py",
    "/static/%252e%252e%252fstore.py",
    "/static//etc/passwd",
    "/static/%2fetc%2fpasswd",
    "/static/rating.css%00.png",
    "/static/rating.css/",
    "/static/",
    "/static/.",
    "/static/__init__.py",
    "/forms/acceptable.yaml",
    "/study.sqlite",
]


def test_no_path_reaches_the_file_system(server: "RealServer") -> None:
    """Over a real socket, so that nothing tidies the path on its way."""
    for path in PATHS:
        status, body = server.ask("GET", path)
        assert status == 404, path
        assert b"root:" not in body
        assert b"import" not in body


def test_static_files_are_those_of_the_table(client: TestClient) -> None:
    response = client.get("/static/rating.css")
    assert (response.status_code, response.headers["content-type"]) == (200, "text/css; charset=utf-8")


def test_wrong_methods_are_refused(store: Store, client: TestClient, person: Person) -> None:
    body = an_answer(person)
    admin = admin_path(store)
    refused = [
        client.post(f"{person.link}/answers", json=body),
        client.get(f"{person.link}/answers"),
        client.delete(f"{person.link}/answers"),
        client.get(f"{person.link}/tasks/1/skip"),
        client.put(f"{person.link}/tasks/1"),
        client.post(person.link),
        client.get(f"{admin}/close"),
        client.put(f"{admin}/close"),
        client.post(f"{admin}/export.jsonl"),
        client.options(f"{person.link}/answers"),
    ]
    found = [response.status_code for response in refused]
    assert found[:8] + found[9:] == [405] * 9
    assert found[8] == 404
    assert refused[0].headers["allow"] == "PUT"
    assert client.post(f"{admin}/explode", data={"csrf": csrf_of(client.get(admin).text)}).status_code == 404


def test_answers_that_cannot_be_are_refused(store: Store, person: Person) -> None:
    changes: list[tuple[dict[str, Any], int]] = [
        ({"question": "kindness"}, 422),
        ({"question": ""}, 422),
        ({"label": "9"}, 422),
        ({"label": ""}, 422),
        ({"item": "t0000000000000000"}, 404),
        ({"item": "1"}, 404),
        ({"item": "' OR 1=1 --"}, 404),
        ({"label": 4}, 400),
        ({"label": ["1"]}, 400),
        ({"item": None}, 400),
    ]
    answer = an_answer(person)
    for change, status in changes:
        refused = person.client.put(f"{person.link}/answers", json={**answer, **change})
        assert refused.status_code == status, change
        assert set(refused.json()) == {"error", "reason"}
    assert n_answers(store) == 0


def test_bodies_that_are_no_answers_are_refused(person: Person) -> None:
    for raw in (b"", b"{", b"[]", b"null", b"\xff\xfe", b"[" * 50_000, b'{"item": "\\ud800"}', b"NaN"):
        kind = {"Content-Type": "application/json"}
        assert person.client.put(f"{person.link}/answers", content=raw, headers=kind).status_code == 400, raw[:20]


def test_page_numbers_that_cannot_be_are_refused(person: Person) -> None:
    """A number too long for the database, one too long for Python, digits of another script, none at all."""
    for number in ("99999999999999999999", "9" * 5000, "²", "١", "-1", "1.0", "0x1", "one", "%00"):
        assert person.client.get(f"{person.link}/tasks/{number}").status_code == 404, number[:30]
        assert person.client.post(f"{person.link}/tasks/{number}/skip", json={}).status_code == 404, number[:30]
    assert person.skip(0, "There is none").status_code == 404


def test_bodies_of_another_type_are_refused(person: Person) -> None:
    """A form of another site can send text/plain or a form without asking first, but no JSON."""
    body = json.dumps(an_answer(person)).encode()
    for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", ""):
        refused = person.client.put(f"{person.link}/answers", content=body, headers={"Content-Type": kind})
        assert refused.status_code == 415
    fields = {"Content-Type": "multipart/form-data; boundary=x"}
    assert person.client.post(f"{person.link}/welcome", content=b"--x--", headers=fields).status_code == 415


def test_a_closed_study_takes_nothing(store: Store, client: TestClient, person: Person) -> None:
    body = an_answer(person)
    late = links(store)[1]
    csrf = csrf_of(client.get(f"{late}/welcome").text)
    store.write_now(lambda connection: connection.execute("UPDATE study SET state = 'closed'"))
    assert client.put(f"{person.link}/answers", json=body).json()["reason"] == "closed"
    assert client.put(f"{person.link}/answers", json=body).status_code == 410
    assert person.skip(1, "reason").status_code == 410
    assert client.get(f"{person.link}/done").status_code == 410
    assert client.get(late).headers["location"] == f"{late}/welcome"
    assert client.get(f"{late}/welcome").status_code == 410
    assert client.get(f"{person.link}/welcome").status_code == 200  # what was agreed to can be read again
    assert client.post(f"{late}/welcome", data={"csrf": csrf, "consent": "yes"}).status_code == 410
    assert n_answers(store) == 0


# -- sizes and rates ------------------------------------------------------------------------------------------------


class RealServer:
    """The application behind a socket, asked without a client that would correct the request."""

    def __init__(self, store: Store) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        where = addresses(ServeSettings(), self.port)
        config = uvicorn.Config(build_app(store, where), log_level="critical", lifespan="on", ws="none")
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run, kwargs={"sockets": [self._listener]})

    def __enter__(self) -> "RealServer":
        self._thread.start()
        while not self._server.started:
            time.sleep(0.01)
        return self

    def __exit__(self, *_: object) -> None:
        self._server.should_exit = True
        self._thread.join()
        self._listener.close()

    def ask(self, method: str, path: str, headers: dict[str, str] | None = None, body: Any = None) -> tuple[int, bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        with closing(connection):
            is_chunked = "Transfer-Encoding" in (headers or {})
            connection.request(method, path, body=body, headers=headers or {}, encode_chunked=is_chunked)
            response = connection.getresponse()
            return response.status, response.read()


@pytest.fixture
def server(store: Store) -> Iterator[RealServer]:
    with RealServer(store) as found:
        yield found


def head_of(store: Store, server: RealServer, *, n_bytes: int) -> bytes:
    """The head of a request that announces a body."""
    lines = [f"PUT {links(store)[0]}/answers HTTP/1.1", f"Host: 127.0.0.1:{server.port}", f"Content-Length: {n_bytes}"]
    lines += [f"{name}: {value}" for name, value in headers_of(server).items()]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def headers_of(server: RealServer, **headers: str) -> dict[str, str]:
    return {"Origin": f"http://127.0.0.1:{server.port}", "Content-Type": "application/json", **headers}


def test_an_oversized_body_is_refused_whatever_it_says_of_itself(store: Store, server: RealServer) -> None:
    """Announced; announced shorter than it is cannot be (HTTP), so sent in chunks without any length."""
    path = f"{links(store)[0]}/answers"
    big = b"x" * (MAX_BODY + 1)
    assert server.ask("PUT", path, headers_of(server), big)[0] == 413
    chunks = (b"x" * 1000 for _ in range(MAX_BODY // 1000 + 2))
    assert server.ask("PUT", path, headers_of(server, **{"Transfer-Encoding": "chunked"}), chunks)[0] == 413
    form = headers_of(server, **{"Content-Type": "application/x-www-form-urlencoded"})
    assert server.ask("POST", path.replace("answers", "welcome"), form, big)[0] == 413
    assert server.ask("PUT", path, headers_of(server), b"x" * MAX_BODY)[0] == 400


def test_an_endless_body_is_given_up_while_it_arrives(store: Store, server: RealServer) -> None:
    """Announced as ten gigabytes: refused before the first byte of it is sent."""
    head = head_of(store, server, n_bytes=10_000_000_000)
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as connection:
        connection.sendall(head)
        assert connection.recv(100).startswith(b"HTTP/1.1 413 ")


def test_a_body_that_trickles_in_is_given_up(store: Store, server: RealServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("accord.rating.site.BODY_SECONDS", 0.2)
    head = head_of(store, server, n_bytes=100)
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as connection:
        connection.sendall(head + b"{")
        assert connection.recv(100).startswith(b"HTTP/1.1 408 ")


def test_no_host_or_two_are_refused(store: Store, server: RealServer) -> None:
    for host_lines in ("", f"Host: 127.0.0.1:{server.port}\r\nHost: evil.example\r\n"):
        with socket.create_connection(("127.0.0.1", server.port), timeout=10) as connection:
            connection.sendall(f"GET {links(store)[0]} HTTP/1.1\r\n{host_lines}\r\n".encode())
            assert connection.recv(100).split()[1] in (b"400", b"421"), host_lines


def test_too_many_requests_are_put_off_and_nothing_is_lost(store: Store, person: Person) -> None:
    """A hundred at once go through; then 429 with a time, after which the same answer is taken."""
    body = an_answer(person)
    for _ in range(200):
        response = person.client.put(f"{person.link}/answers", json=body)
        if response.status_code == 429:
            break
    assert response.status_code == 429
    assert response.headers["retry-after"] == "1"
    time.sleep(1)
    assert person.client.put(f"{person.link}/answers", json=body).status_code == 200


def test_rates_by_hand() -> None:
    """Two at once and one more every half second, for each key."""
    limit = RateLimit(at_once=2, per_second=2.0)

    def goes(key: str, now: float) -> bool:
        try:
            limit.check(key, now)
        except RefusalError:
            return False
        return True

    assert [goes("a", 0.0), goes("a", 0.0), goes("a", 0.0), goes("b", 0.0)] == [True, True, False, True]
    assert [goes("a", now) for now in (0.4, 0.5, 0.6, 9.0, 9.0, 9.0)] == [False, True, False, True, True, False]
    with pytest.raises(RefusalError) as refused:
        limit.check("a", 9.0)
    assert (refused.value.status, refused.value.headers) == (429, {"Retry-After": "1"})


def test_rates_of_many_strangers_take_no_memory_for_long() -> None:
    limit = RateLimit(at_once=2, per_second=2.0, max_keys=10)
    for number in range(100):
        limit.check(number, now=float(number))
    assert len(limit._full_at) <= 11


# -- addresses ------------------------------------------------------------------------------------------------------


def test_loopback_has_three_names_and_everything_else_one() -> None:
    local = addresses(ServeSettings(), 8765)
    assert local.base == ORIGIN
    assert local.hosts == {"127.0.0.1:8765", "localhost:8765", "[::1]:8765"}
    assert addresses(ServeSettings(host="192.168.1.5"), 80).hosts == {"192.168.1.5:80"}
    public = addresses(ServeSettings(host="0.0.0.0", public_url="HTTPS://Rate.Example:443/"), 8765)
    assert (public.base, public.is_https) == ("https://rate.example", True)
    assert public.hosts == {"rate.example", "0.0.0.0:8765"}


@pytest.mark.parametrize(
    "url", ["rate.example", "ftp://rate.example", "http://", "http://a/b", "http://a?b", "http://a:b"]
)
def test_a_public_url_is_an_address_and_nothing_else(url: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(f'--public-url "{url}" is not an address like')):
        addresses(ServeSettings(public_url=url), 8765)


@pytest.mark.parametrize("host", ["0.0.0.0", "::"])
def test_listening_everywhere_needs_a_name(host: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(f'--host "{host}" listens on every address, so say by which one')):
        addresses(ServeSettings(host=host), 8765)
