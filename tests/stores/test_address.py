"""Addresses, names and tokens, as users write them."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ipfs_log_handlers.errors import ConfigurationError
from ipfs_log_handlers.stores import open_store
from ipfs_log_handlers.stores.address import authorization, check_name, normalise, normalise_token, store_name

SAME = [
    ("http://127.0.0.1:5001", "http://127.0.0.1:5001"),
    (" http://127.0.0.1:5001/ ", "http://127.0.0.1:5001"),
    ("HTTP://127.0.0.1:5001/api/v0", "http://127.0.0.1:5001"),
    ("http://127.0.0.1:5001/api/v0/", "http://127.0.0.1:5001"),
    ("/ip4/127.0.0.1/tcp/5001", "http://127.0.0.1:5001"),
    ("/ip4/127.0.0.1/tcp/5001/http", "http://127.0.0.1:5001"),
    ("/ip4/127.0.0.1/tcp/05001/", "http://127.0.0.1:5001"),
    ("http://Kubo:5001", "http://kubo:5001"),
    ("/dns4/kubo/tcp/5001", "http://kubo:5001"),
    ("/dns/Kubo/tcp/5001", "http://kubo:5001"),
    ("/dns6/kubo/tcp/5001", "http://kubo:5001"),
    ("http://[::1]:5001", "http://[::1]:5001"),
    ("/ip6/::1/tcp/5001", "http://[::1]:5001"),
    ("/ip6/0:0:0:0:0:0:0:1/tcp/5001", "http://[::1]:5001"),
    ("https://kubo.example", "https://kubo.example"),
    ("https://kubo.example:443/", "https://kubo.example"),
    ("/dns4/kubo.example/tcp/443/https", "https://kubo.example"),
    ("/dns4/kubo.example/tcp/443/tls/http", "https://kubo.example"),
    ("http://kubo:80/", "http://kubo"),
    ("https://proxy.example/kubo//one/", "https://proxy.example/kubo/one"),
    ("https://proxy.example/kubo/api/v0", "https://proxy.example/kubo"),
    ("/unix/run/kubo/api.sock", "/unix/run/kubo/api.sock"),
    ("/unix//run/kubo/api.sock/", "/unix/run/kubo/api.sock"),
    ("auto", "auto"),
    ("AUTO", "auto"),
    ("memory:a.b-c_1", "memory:a.b-c_1"),
]

WRONG = [
    "",
    " ",
    "localhost:5001",
    "127.0.0.1:5001",
    "kubo",
    "ftp://kubo:5001",
    "http://",
    "http://:5001",
    "http:///api/v0",
    "http://kubo:0",
    "http://kubo:65536",
    "http://kubo:port",
    "http://kubo:5001?x=1",
    "http://kubo:5001#x",
    "http://ku bo:5001",
    "http://[::1:5001",
    "http://kubo:5001/../x",
    "http://kubo:5001\r\nX: y",
    "/ip4/127.0.0.1",
    "/ip4/localhost/tcp/5001",
    "/ip4/::1/tcp/5001",
    "/ip6/127.0.0.1/tcp/5001",
    "/ip4/127.0.0.1/udp/5001",
    "/ip4/127.0.0.1/tcp/70000",
    "/ip4/127.0.0.1/tcp/5001/ws",
    "/unix",
    "/unix/",
    "/unix/../x",
    "/run/kubo.sock",
    "memory:",
    "memory:../x",
    "x" * 3000,
]


class TestAddress:
    @pytest.mark.parametrize(("written", "normal"), SAME)
    def test_one_spelling(self, written, normal):
        """Every spelling of an address becomes one, which stays as it is, and so does its name."""
        assert normalise(written) == normal
        assert normalise(normal) == normal
        assert store_name(written) == hashlib.sha256(normal.encode()).hexdigest()[:16]
        assert open_store(written).address == normal

    @pytest.mark.parametrize("written", WRONG)
    def test_no_address(self, written):
        """What cannot be an address is a configuration error that shows one that can."""
        with pytest.raises(ConfigurationError) as caught:
            open_store(written)
        assert len(str(caught.value)) < 3000

    @pytest.mark.parametrize(
        ("written", "url"),
        [
            ("localhost:5001", "http://localhost:5001"),
            ("localhost", "http://localhost:5001"),
            ("Kubo.local", "http://kubo.local:5001"),
            ("10.0.0.7:8080", "http://10.0.0.7:8080"),
            ("5001", "http://127.0.0.1:5001"),
        ],
    )
    def test_missing_scheme(self, written, url):
        """A host, a port or both alone get the URL that they would be."""
        with pytest.raises(ConfigurationError) as caught:
            normalise(written)
        assert str(caught.value) == f"not the address of a store; found '{written}', perhaps {url}"
        assert normalise(url) == url

    @pytest.mark.parametrize("written", ["localhost:99999", "999999", "-", "ftp://x"])
    def test_no_url_at_all(self, written):
        """What is no host and no port gets the forms, and no URL that would be refused too."""
        with pytest.raises(ConfigurationError, match=r"expected http://127.*speaks http or https") as caught:
            normalise(written)
        assert "perhaps" not in str(caught.value)

    @pytest.mark.parametrize(
        "written",
        ["http://us:s3cret@kubo:5001", "http://s3cret@kubo", "us:s3cret@kubo:5001", "/dns4/s3cret@kubo/tcp/1"],
    )
    def test_user_information(self, written):
        """A credential in an address is an error that does not show it."""
        with pytest.raises(ConfigurationError) as caught:
            open_store(written)
        assert "s3cret" not in str(caught.value)

    @given(st.text(max_size=60) | st.text(alphabet="htp:/@[].?#%12ab-_ ", max_size=40))
    def test_any_text(self, written):
        """Any text is an address with one spelling, or a ConfigurationError and nothing else."""
        try:
            normal = normalise(written)
        except ConfigurationError:
            return
        assert normalise(normal) == normal
        assert "@" not in normal

    def test_not_text(self):
        """An address of another type is named by its type."""
        with pytest.raises(ConfigurationError, match="found int"):
            normalise(5001)  # type: ignore[arg-type]


class TestName:
    def test_given(self):
        """A given name is the store's name, when it can be a file name."""
        assert open_store("auto", name="here").name == "here"

    @pytest.mark.parametrize("name", ["", ".", "..", "a/b", "-a", ".a", "a" * 65, "a\n", "ä"])
    def test_no_file_name(self, name):
        """A name that could leave its directory is a configuration error."""
        with pytest.raises(ConfigurationError):
            check_name(name)


class TestToken:
    @pytest.mark.parametrize(
        "token", ["odd:s3cret", "bearer:", "bearer:s3 cret", "basic:", "basic:s3cret!", "s3\ncret"]
    )
    def test_wrong(self, token):
        """A token of no known form is a configuration error that does not show it."""
        with pytest.raises(ConfigurationError) as caught:
            open_store("auto", token=token)
        assert "s3" not in str(caught.value)
        assert "cret" not in str(caught.value).replace("SECRET", "")

    @pytest.mark.parametrize("token", ["env:", "file:", "file: "])
    def test_names_nothing(self, token):
        """`env:` and `file:` name something."""
        with pytest.raises(ConfigurationError, match=r"^token: nothing after (env|file):; expected bearer:SECRET"):
            normalise_token(token)

    @pytest.mark.parametrize(
        ("token", "found"),
        [
            ("enf:KUBO_TOKEN", "'enf', perhaps env:"),
            ("flie:/x", "'flie', perhaps file:"),
            ("Bearer:abc", "'Bearer', perhaps bearer:"),
            ("Bearer abc", "'Bearer', perhaps bearer:"),
            ("basic\tabc", "'basic', perhaps basic:"),
        ],
    )
    def test_misspelt_kind(self, token, found):
        """Of a token of no known kind the kind that it was to be is told, and nothing behind it."""
        with pytest.raises(ConfigurationError) as caught:
            normalise_token(token)
        forms = "bearer:SECRET, basic:USER:PASSWORD, env:NAME or file:PATH"
        assert str(caught.value) == f"token: of no known kind; expected {forms}, found {found}"

    @pytest.mark.parametrize("token", ["hush4f:1d9c", "hush 4f:1d9c"])
    def test_secret_with_a_colon(self, token):
        """What stands before the first colon may be a part of the secret: like no kind, it is not shown."""
        with pytest.raises(
            ConfigurationError, match=r"of no known kind.*Write bearer: before a token that contains a colon"
        ) as caught:
            normalise_token(token)
        assert "hush" not in str(caught.value)

    def test_is_not_looked_up(self):
        """Making a store reads no variable and no file."""
        assert normalise_token("env:NO_SUCH_VARIABLE") == "env:NO_SUCH_VARIABLE"
        assert normalise_token("file:/no/such/file") == "file:/no/such/file"
        open_store("auto", token="file:/no/such/file")

    def test_none(self):
        """No token, or an empty one, is none."""
        assert normalise_token(None) is None
        assert normalise_token("") is None

    def test_utf8(self):
        """A password may be any text."""
        assert authorization("basic:us:pässwörd") == "Basic dXM6cMOkc3N3w7ZyZA=="
