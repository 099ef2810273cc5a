"""The server as a stranger meets it: who is let in, that the newest request wins, and that nothing brings it down."""

import http.client
import json
import random
import re
import socket
from contextlib import contextmanager, suppress
from itertools import pairwise

import numpy as np
import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from localgrad.explorer import session
from localgrad.explorer.frames import unpack
from localgrad.explorer.launch import PORT, is_loopback, serve
from localgrad.explorer.session import KINDS
from localgrad.explorer.state import State, read_state
from localgrad.explorer.views import mode_space

LEAKS = re.compile(r"Traceback|File \"|\.py\b|/(usr|home|work|root|tmp|opt)\b|site-packages|0x[0-9a-f]{6}")


def get(explorer, path="/", **headers):
    connection = http.client.HTTPConnection("127.0.0.1", explorer.port, timeout=20)
    connection.request("GET", path, headers=headers)
    answer = connection.getresponse()
    body = answer.read()
    connection.close()
    return answer, body


@contextmanager
def page(explorer, **options):
    host = f"127.0.0.1:{explorer.port}"
    options = {"origin": f"http://{host}", "compression": None, "max_size": None} | options
    with connect(f"ws://{host}/socket", **options) as opened:
        yield opened


def ask(opened, number=1, kind="basin", rest=False, **state):
    opened.send(json.dumps({"kind": kind, "id": number, "rest": rest, "state": state}))


def answer(opened):
    return unpack(opened.recv(timeout=60))


# --- who is let in ---------------------------------------------------------------------------------------------------


def test_the_page_may_load_nothing_from_elsewhere(explorer):
    found, body = get(explorer)
    assert found.status == 200
    assert found.headers["Content-Security-Policy"].startswith("default-src 'none'; script-src 'self'; ")
    assert "unsafe" not in found.headers["Content-Security-Policy"]
    assert found.headers["X-Content-Type-Options"] == "nosniff"
    assert b"<title>localgrad explorer</title>" in body


@pytest.mark.parametrize("name", ["main.js", "style.css", "index.html", "icon.svg", "spec.json"])
def test_files_of_the_page_name_no_other_host(explorer, name):
    found, body = get(explorer, f"/{name}")
    assert found.status == 200
    addresses = re.findall(rb"(?:https?|wss?)://[^\s\"'`]*", body)
    assert [x for x in addresses if x not in (b"http://www.w3.org/2000/svg", b"ws://${location.host}/socket")] == []


@pytest.mark.parametrize(
    "path", ["/../py.typed", "/%2e%2e/py.typed", "/static/main.js", "/explorer", "//etc/passwd", "/x"]
)
def test_other_files_are_not_there(explorer, path):
    found, body = get(explorer, path)
    assert found.status == 404
    assert not LEAKS.search(body.decode())


@pytest.mark.parametrize("host", ["example.com", "example.com:80", "127.0.0.1", "127.0.0.1:1", "localhost.example.com"])
def test_other_names_of_this_machine_are_refused(explorer, host):
    """A site that gives its own name this machine's address."""
    assert get(explorer, Host=host)[0].status == 421
    assert get(explorer, Host=f"localhost:{explorer.port}")[0].status == 200


@pytest.mark.parametrize("origin", ["http://example.com", "null", "https://127.0.0.1", None])
def test_other_sites_cannot_drive_it(explorer, origin):
    with pytest.raises(InvalidStatus, match="403"), page(explorer, origin=origin):
        pass
    with page(explorer) as opened:
        ask(opened)
        assert answer(opened)[0]["id"] == 1


def test_a_port_in_use_is_said_and_without_one_another_is_taken(explorer):
    with pytest.raises(ValueError, match=rf"port {explorer.port} is in use; give another, or none to take one that is"):
        serve(State(), port=explorer.port)
    with socket.socket() as holder:
        with suppress(OSError):  # someone else's, which serves as well
            holder.bind(("127.0.0.1", PORT))
            holder.listen()
        other = serve(State())
        assert other.port != PORT
        other.close()


@pytest.mark.parametrize("port", [-1, 65536, 1.5, "80", True])
def test_what_is_no_port_is_refused(port):
    with pytest.raises(ValueError, match="port must be a whole number from 0 to 65535"):
        serve(State(), port=port)


def test_which_addresses_are_this_machines_own():
    assert all(map(is_loopback, ("127.0.0.1", "localhost", "::1")))
    assert not any(map(is_loopback, ("0.0.0.0", "192.168.0.1", "example.com")))
    with pytest.raises(ValueError, match=r"the server cannot listen at 203\.0\.113\.1 \("):
        serve(State(), host="203.0.113.1")


# --- what is answered ------------------------------------------------------------------------------------------------


def test_a_map_is_the_array_that_python_computes(explorer):
    state = {"feedback": 0.8, "decay": 0.3, "plane": "aw", "fixed": 1.0}
    with page(explorer) as opened:
        ask(opened, 7, **state)
        header, arrays = answer(opened)
    expected = next(part for part in mode_space.basin(read_state(state), False) if part)
    assert (header["kind"], header["id"], header["count"]) == ("basin", 7, 64)
    assert np.array_equal(arrays["codes"], expected[1]["codes"])


def test_the_newest_request_wins_and_none_waits(explorer):
    """Of 300 requests for the finest map only few are begun; the last one is answered whole."""
    with page(explorer) as opened:
        for number in range(300):
            ask(opened, number, rest=number == 299, decay=round(number / 400, 4))
        answered = []
        while not answered or answered[-1] != (299, 1024):
            header, _ = answer(opened)
            answered.append((header["id"], header["count"]))
    assert all(a <= b for a, b in pairwise(answered))
    assert [x for x in answered if x[0] == 299] == [(299, 64), (299, 256), (299, 1024)]


def test_a_finer_map_is_given_up_for_a_newer_request(explorer):
    with page(explorer) as opened:
        ask(opened, 1, rest=True)
        while answer(opened)[0]["count"] != 256:
            pass
        ask(opened, 2)
        header, _ = answer(opened)
    assert (header["id"], header["count"]) in [(2, 64), (1, 1024)]  # the latter where it had just been finished


def test_paths_know_how_they_end(explorer):
    with page(explorer) as opened:
        ask(opened, 3, "paths")
        header, arrays = answer(opened)
    ends = {found["key"]: (found["outcome"], found["branch"], round(found["length"], 2)) for found in header["found"]}
    assert ends["rflo"] == ("converged", -1, 4.71)  # docs/theory.md, section 8
    assert ends["bptt"] == ("converged", 1, 0.23)
    assert arrays["path0"].shape == (3, len(arrays["time"]))
    assert arrays["loss0"][-1] < 1e-6


def test_what_cannot_be_computed_is_said_in_a_sentence(explorer):
    with page(explorer) as opened:
        ask(opened, 4, poles="lru", fixed=-0.5)
        header, arrays = answer(opened)
        assert header["error"].startswith("initial w = -0.5")
        assert (header["kind"], header["id"], arrays) == ("basin", 4, {})
        ask(opened, 5, feedback=0.0)
        assert "teaches nothing" in answer(opened)[0]["error"]


def test_a_fault_of_ours_leaks_nothing(explorer, monkeypatch):
    def faulty(state, rest):
        raise KeyError("/home/someone/secret.txt")
        yield

    monkeypatch.setitem(session.KINDS, "basin", faulty)
    with page(explorer) as opened:
        ask(opened, 6)
        header, _ = answer(opened)
    assert header["error"] == (
        "this could not be computed (KeyError); it is a bug, please report it with the page's link"
    )


# --- what nobody should send -----------------------------------------------------------------------------------------

FIELDS = list(State.model_fields)
VALUES = [
    None, True, "", "x" * 500, "../../etc/passwd", "__class__", "\x00", "😀", -1, 0, 2**70, 1e308, -1e-320,
    [], {}, [[[]]],
    {"a": {"b": {}}}, "NaN", "1e999", "' OR 1=1 --", "<script>", "${7*7}", "{{7*7}}", "%s%n", "\ud800",
]  # fmt: skip


CHEAP = sorted(set(KINDS) - {"network"})  # networks compile programs of their own


def hostile(rng):
    """One message that is malformed or absurd, of text or of bytes."""
    shape = rng.randrange(8)
    if shape == 0:
        return rng.randbytes(rng.randrange(200))
    if shape == 1:
        return "".join(chr(rng.randrange(1, 0xD7FF)) for _ in range(rng.randrange(80)))
    if shape == 2:
        return rng.choice("[{") * rng.randrange(1, 5000)
    if shape == 3:
        return json.dumps(rng.choice(VALUES))
    message = {"kind": rng.choice(CHEAP), "id": rng.randrange(2**40), "rest": False, "state": {}}
    for _ in range(rng.randrange(3)):
        message["state"][rng.choice([*FIELDS, "x", "__init__"])] = rng.choice(VALUES)
    if shape < 6:
        message[rng.choice(["kind", "id", "rest", "state", "more"])] = rng.choice(VALUES)
    text = json.dumps(message)
    if shape == 7:
        cut = rng.randrange(len(text))
        return text[:cut] + rng.choice(["", "Infinity", "\\u0000", "}", "9" * 5000]) + text[cut + rng.randrange(3) :]
    return text


def bombard(explorer, count, seed):
    """Send many, read all answers; returns how many were refused."""
    rng, refused = random.Random(seed), 0
    with page(explorer) as opened:
        for _ in range(count // 50):
            for _ in range(50):
                opened.send(hostile(rng))
            ask(opened, 2**41, "paths")
            while True:
                header, _ = answer(opened)
                refused += "error" in header
                assert not LEAKS.search(header.get("error", "")), header
                assert len(header.get("error", "")) < 400
                if header["id"] == 2**41 and header["kind"] == "paths":
                    assert "error" not in header
                    break
    return refused


def test_a_thousand_hostile_messages(explorer):
    assert bombard(explorer, 1000, seed=1) > 500


@pytest.mark.slow
def test_ten_thousand_hostile_messages(explorer):
    assert bombard(explorer, 10_000, seed=2) > 5000


def test_a_message_too_long_ends_that_page_only(explorer):
    with page(explorer) as opened:
        opened.send("x" * 2**17)
        with pytest.raises(ConnectionClosed):
            opened.recv(timeout=20)
    with page(explorer) as opened:
        ask(opened)
        assert "codes" in answer(opened)[1]


def test_sockets_cut_in_the_middle_and_what_is_no_http(explorer):
    rng = random.Random(3)
    for _ in range(30):
        with socket.create_connection(("127.0.0.1", explorer.port), timeout=10) as raw:
            raw.sendall(
                rng.choice([b"GET / HT", b"\x16\x03\x01", b"GET /socket HTTP/1.1\r\nUpgrade: websocket\r\n\r\n"])
            )
            raw.sendall(rng.randbytes(50))
    for _ in range(10):
        with page(explorer) as opened:
            ask(opened, rest=True)
            opened.socket.close()
    with page(explorer) as opened:
        ask(opened)
        assert "codes" in answer(opened)[1]
