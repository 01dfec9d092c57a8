"""Redis's protocol as far as it is spoken here, to a Redis that really runs and to some that misbehave."""

from __future__ import annotations

import datetime as dt
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from ipaddress import ip_address
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from retain.errors import ConfigError
from serving.resp import Connection, RedisError, RefusedByRedis


@contextmanager
def running(*more: str) -> Iterator[int]:
    if shutil.which("redis-server") is None:
        pytest.skip("redis-server is not installed; `apt-get install redis-server` brings it")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        at = free.getsockname()[1]
    listening = ["--port", "0", "--tls-port", str(at)] if "--tls-cert-file" in more else ["--port", str(at)]
    command = ["redis-server", *listening, "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", *more]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        end = time.monotonic() + 20
        while time.monotonic() < end:
            with suppress(OSError), socket.create_connection(("127.0.0.1", at), 1.0):
                break
            if process.poll() is not None:
                pytest.skip("this redis-server was built without TLS")
            time.sleep(0.01)
        yield at
    finally:
        process.kill()
        process.wait()


@pytest.mark.parametrize(
    "url",
    ["http://here", "redis://", "redis://here/first", "unix://", "redis://here:port", "redis://here?ssl=no", "redis://:s3cret@here/first", "here"],
)
def test_an_address_that_cannot_be_is_told_without_its_password(url: str) -> None:
    with pytest.raises(ConfigError, match="RETAIN_REDIS") as told:
        Connection(url)
    assert "s3cret" not in told.value.message


def test_answers_come_to_who_asked_whatever_they_are() -> None:
    with running() as port, closing(Connection(f"redis://127.0.0.1:{port}/2")) as asked:
        odd = bytes(range(256)) * 2000 + b"\r\n$-1\r\n"
        found = asked.calls([["SET", "k", odd], ["GET", "k"], ["GET", "none"], ["INCR", "n"], ["LRANGE", "none", 0, -1]], within_s=5)
        assert found == [b"OK", odd, None, 1, []]
        with pytest.raises(RefusedByRedis, match="WRONGTYPE"):
            asked.calls([["LPUSH", "k", "x"], ["GET", "k"]], within_s=5)
        assert asked.call("GET", "k", within_s=5) == odd, "what was refused is read to its end"
        with pytest.raises(RedisError):
            asked.call("BLPOP", "none", 5, within_s=0.05)
        assert asked.call("GET", "none", within_s=5) is None, "an answer that came too late is nobody's"


def test_a_password_is_asked_for_and_not_repeated(tmp_path: Path) -> None:
    with running("--requirepass", "s3cret/@", "--unixsocket", str(tmp_path / "s")) as port:
        for who in (":s3cret%2F%40@", "default:s3cret%2F%40@"):
            with closing(Connection(f"redis://{who}127.0.0.1:{port}")) as asked:
                assert asked.call("PING", within_s=5) == b"PONG"
        for url in (f"redis://127.0.0.1:{port}", f"redis://:wr0ng@127.0.0.1:{port}", f"unix://{tmp_path / 's'}"):
            with closing(Connection(url)) as asked, pytest.raises(RefusedByRedis, match=r"NOAUTH|WRONGPASS") as told:
                asked.call("PING", within_s=5)
            assert "wr0ng" not in told.value.message


def test_a_certificate_is_verified(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ours, other = (_certificate(tmp_path / name) for name in ("ours", "other"))
    with running(
        "--tls-cert-file", str(ours[0]), "--tls-key-file", str(ours[1]), "--tls-ca-cert-file", str(ours[0]), "--tls-auth-clients", "no"
    ) as port:
        monkeypatch.setenv("SSL_CERT_FILE", str(ours[0]))
        with closing(Connection(f"rediss://127.0.0.1:{port}")) as asked:
            assert asked.call("ECHO", "x" * 100_000, within_s=5) == b"x" * 100_000
        for url, file in ((f"rediss://localhost:{port}", ours), (f"rediss://127.0.0.1:{port}", other)):
            monkeypatch.setenv("SSL_CERT_FILE", str(file[0]))
            with closing(Connection(url)) as asked, pytest.raises(RedisError, match="SSLCertVerificationError"):
                asked.call("PING", within_s=5)


def _certificate(folder: Path) -> tuple[Path, Path]:
    """A certificate that signs itself, for 127.0.0.1 and no name."""
    folder.mkdir()
    key, name = ec.generate_private_key(ec.SECP256R1()), x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "redis")])
    begin = dt.datetime(2020, 1, 1, tzinfo=dt.UTC)
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number(), begin, begin.replace(year=2120))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    (folder / "cert.pem").write_bytes(made.public_bytes(serialization.Encoding.PEM))
    plain = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    (folder / "key.pem").write_bytes(plain)
    return folder / "cert.pem", folder / "key.pem"


def _dribbles(line: socket.socket) -> None:
    while True:
        line.sendall(b"x")
        time.sleep(0.01)


def _says_nothing(line: socket.socket) -> None:
    while line.recv(1024):
        pass


@pytest.mark.parametrize(
    "work",
    [
        _dribbles,
        _says_nothing,
        socket.socket.fileno,
        lambda line: line.sendall(b"$10\r\nshort"),
        lambda line: line.sendall(b"$4\r\nlonger"),
        lambda line: line.sendall(b"?what\r\n"),
        lambda line: line.sendall(b":many\r\n"),
        lambda line: line.sendall(b"$99999999999\r\n"),
        lambda line: line.sendall(b"*1\r\n" * 1000),
    ],
)
def test_whatever_the_other_side_does_the_wait_ends(work: Callable[[socket.socket], None]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            line, _ = server.accept()
            with line, suppress(OSError):
                line.recv(1024)
                work(line)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        with closing(Connection(f"redis://127.0.0.1:{server.getsockname()[1]}")) as asked, pytest.raises(RedisError, match="does not answer"):
            asked.call("PING", within_s=0.3)
        thread.join(20)
        assert not thread.is_alive()
    with pytest.raises(RedisError, match="does not answer"):
        Connection("unix:///nowhere/redis.sock").call("PING", within_s=0.2)
