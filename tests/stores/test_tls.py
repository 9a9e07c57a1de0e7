"""A daemon behind TLS: a certificate of an authority of one's own is trusted by `SSL_CERT_FILE`, any other is not."""

from __future__ import annotations

import contextlib
import datetime as dt
import ipaddress
import socket
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.kubo.daemon import Daemon
from tests.support import programs
from tests.support.sample_homes import status

LOGS = """
    configure(kubo=KUBO, flush_timeout=20.0)
    for i in range(20): log.info("r%d", i)
    logging.shutdown()
"""


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make `ca.pem`, and signed by it `server.pem` (certificate and key) and `expired.pem`."""
    where = tmp_path_factory.mktemp("tls")
    ca_key, key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    ca_name, name = (x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, each)]) for each in ("our own", "localhost"))
    ca = certificate(ca_name, ca_name, ca_key.public_key(), ca_key, ca=True)
    server = certificate(name, ca_name, key.public_key(), ca_key, ca=False)
    pem = serialization.Encoding.PEM
    secret = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    (where / "ca.pem").write_bytes(ca.public_bytes(pem))
    (where / "server.pem").write_bytes(server.public_bytes(pem) + secret)
    expired = certificate(name, ca_name, key.public_key(), ca_key, ca=False, days=-1)
    (where / "expired.pem").write_bytes(expired.public_bytes(pem) + secret)
    return where


def certificate(
    name: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePublicKey,
    signer: ec.EllipticCurvePrivateKey,
    *,
    ca: bool,
    days: int = 1,
) -> x509.Certificate:
    """Make a certificate for some days, which may all have passed."""
    now = dt.datetime.now(dt.timezone.utc)
    names = x509.SubjectAlternativeName([x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    usage = dict.fromkeys(
        ("content_commitment", "key_encipherment", "data_encipherment", "key_agreement", "encipher_only"), False
    )
    return (
        x509.CertificateBuilder(issuer, name, key, x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=9))
        .not_valid_after(now + dt.timedelta(days=days))
        .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
        .add_extension(names, critical=False)
        .add_extension(
            x509.KeyUsage(digital_signature=True, key_cert_sign=ca, crl_sign=ca, decipher_only=False, **usage),
            critical=True,
        )
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False)
        .sign(signer, hashes.SHA256())
    )


@contextlib.contextmanager
def ending_tls(pem: Path, port: int) -> Iterator[int]:
    """Run a proxy that ends TLS with this certificate and key, and return its port."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        threading.Thread(target=serve, args=(listening, context, port), daemon=True).start()
        yield listening.getsockname()[1]
        with contextlib.suppress(OSError):
            listening.shutdown(socket.SHUT_RDWR)


@pytest.fixture
def tls(authority: Path, kubo: Daemon) -> Iterator[str]:
    """Return the address of the daemon behind a proxy that ends TLS."""
    with ending_tls(authority / "server.pem", kubo.port) as port:
        yield f"https://localhost:{port}"


def serve(listening: socket.socket, context: ssl.SSLContext, port: int) -> None:
    """Pass on what comes, each connection on threads of its own."""
    with contextlib.suppress(OSError):
        while True:
            plain, _ = listening.accept()
            threading.Thread(target=meet, args=(plain, context, port), daemon=True).start()


def meet(plain: socket.socket, context: ssl.SSLContext, port: int) -> None:
    """One connection; one that is refused for our certificate ends here."""
    with contextlib.suppress(OSError), plain:
        inner = context.wrap_socket(plain, server_side=True)
        with inner, socket.create_connection(("127.0.0.1", port)) as outer:
            back = threading.Thread(target=pump, args=(outer, inner), daemon=True)
            back.start()
            pump(inner, outer)
            back.join()


def pump(source: socket.socket, target: socket.socket) -> None:
    """Pass bytes on until one side ends."""
    with contextlib.suppress(OSError):
        while data := source.recv(1 << 16):
            target.sendall(data)
    with contextlib.suppress(OSError):
        target.shutdown(socket.SHUT_WR)


def test_an_authority_of_ones_own(home, tls, authority):
    """With `SSL_CERT_FILE` the program ships through TLS from `logging.shutdown()`, everything pinned."""
    programs.run(home, LOGS, KUBO=tls, env={"SSL_CERT_FILE": str(authority / "ca.pem")}).clean()
    [found] = status(home)
    assert (20, None) == (found["shipped"], found["last_error"])


def test_an_unknown_authority(home, tls):
    """Without it nothing is sent; the records stay sealed, and status says who is not trusted, and what to do."""
    programs.run(home, LOGS, KUBO=tls).clean()
    [found] = status(home)
    assert (20, 0) == (found["sealed"], found["shipped"])
    assert "no trusted authority has signed its certificate" in found["last_error"]
    assert "SSL_CERT_FILE" in found["last_error"]


PROBE = """
    import asyncio
    from ipfs_log_handlers.errors import StoreDenied
    from ipfs_log_handlers.stores.kubo import KuboStore
    async def probe():
        store = KuboStore(KUBO)
        try: await store.probe()
        except StoreDenied as error: print(error)
        finally: await store.close()
    asyncio.run(probe())
"""


@pytest.mark.parametrize(
    ("pem", "host", "told"),
    [
        ("server.pem", "kubo.localhost", "its certificate is for another name (Hostname mismatch"),
        ("expired.pem", "localhost", "its certificate has expired\n"),
    ],
)
def test_a_wrong_certificate(home, authority, pem, host, told):
    """A certificate of a trusted authority that does not hold is told with what is wrong with it."""
    with ending_tls(authority / pem, 9) as port:
        address = f"https://{host}:{port}"
        ended = programs.run(home, PROBE, KUBO=address, env={"SSL_CERT_FILE": str(authority / "ca.pem")}).clean()
    assert ended.out.startswith(f"{address}: {told}")
    assert len(ended.out.splitlines()) == 1
