"""Who is let in: hosts, origins, the relay's own token."""

from __future__ import annotations

import unittest

from ccrelay_providers.core.guard import Guard, credentials, host_name, is_loopback
from ccrelay_providers.core.settings import Server
from ccrelay_providers.wire.errors import AuthenticationFailed, InvalidRequest, PermissionDenied
from ccrelay_providers.wire.http1 import Headers


def headers(**fields: str) -> Headers:
    return Headers((name.replace("_", "-"), value) for name, value in fields.items())


class TestOrigin(unittest.TestCase):
    guard = Guard(Server(host="192.168.1.5", token="t", allowed_hosts=("Relay.lan",)))

    def allowed(self, **fields: str) -> bool:
        try:
            self.guard.check_origin(headers(**fields))
        except PermissionDenied:
            return False
        return True

    def test_loopback_the_bound_address_and_allowed_hosts(self) -> None:
        known = (
            "localhost:8787 LOCALHOST 127.0.0.1 127.0.0.1:1 127.8.9.1 [::1]:1 192.168.1.5:8787 relay.lan RELAY.LAN:80"
        )
        for host in known.split():
            self.assertTrue(self.allowed(Host=host), host)
        self.assertTrue(self.allowed())

    def test_other_names(self) -> None:
        for (
            host
        ) in "evil.com localhost.evil.com:8787 192.168.1.6 [::2] 0.0.0.0 127.0.0.1.evil.com relay.lan.evil.com".split():
            self.assertFalse(self.allowed(host=host), host)
        self.assertFalse(self.allowed(host=""))

    def test_bound_to_every_address_any_of_them_will_do(self) -> None:
        guard = Guard(Server(host="0.0.0.0", token="t"))
        guard.check_origin(headers(host="192.168.1.5:8787"))
        with self.assertRaises(PermissionDenied):
            guard.check_origin(headers(host="rebound.example:8787"))

    def test_the_refusal_names_the_key(self) -> None:
        with self.assertRaisesRegex(PermissionDenied, "'evil.com'.*server.allowed_hosts"):
            self.guard.check_origin(headers(host="evil.com:1"))

    def test_only_the_own_origin(self) -> None:
        host = "127.0.0.1:8787"
        self.assertTrue(self.allowed(host=host, origin="http://127.0.0.1:8787"))
        for origin in "null http://127.0.0.1:3000 http://localhost:8787 https://evil.com http://[ ://".split():
            self.assertFalse(self.allowed(host=host, origin=origin), origin)
        self.assertFalse(self.allowed(origin="null"))

    def test_two_hosts_are_no_request(self) -> None:
        with self.assertRaises(InvalidRequest):
            self.guard.check_origin(Headers([("Host", "localhost"), ("host", "localhost")]))
        self.guard.check_origin(Headers([("Host", "localhost"), ("a", "1"), ("A", "2")]))

    def test_cross_site(self) -> None:
        for site in ("cross-site", "same-site"):
            self.assertFalse(self.allowed(host="localhost", sec_fetch_site=site))
        for site in ("same-origin", "none"):
            self.assertTrue(self.allowed(host="localhost", sec_fetch_site=site))


class TestToken(unittest.TestCase):
    guard = Guard(Server(token="s3cret"))

    def test_each_way_to_show_it_and_it_goes_no_further(self) -> None:
        for shown in (
            {"authorization": "Bearer s3cret"},
            {"Authorization": "bearer  s3cret"},
            {"x-api-key": "s3cret"},
            {"X-CCRelay-Token": "s3cret"},
        ):
            kept = self.guard.authenticate(Headers([*shown.items(), ("accept", "*/*")]))
            self.assertEqual(kept, [("accept", "*/*")], shown)

    def test_the_clients_own_credential_stays(self) -> None:
        asked = headers(x_ccrelay_token="s3cret", authorization="Bearer mine", x_api_key="mine")
        self.assertEqual(self.guard.authenticate(asked), [("authorization", "Bearer mine"), ("x-api-key", "mine")])

    def test_wrong_or_missing(self) -> None:
        for shown in ("", "s3cre", "s3cret2", "S3CRET", "Basic s3cret", "s3cret", "\xff", "Bearer"):
            with self.subTest(shown), self.assertRaisesRegex(AuthenticationFailed, "server.token"):
                self.guard.authenticate(headers(authorization=shown, x_api_key="no", cookie="s3cret"))

    def test_without_a_token_everything_passes(self) -> None:
        asked = headers(x_api_key="anything")
        self.assertIs(Guard(Server()).authenticate(asked), asked)


class TestCredentials(unittest.TestCase):
    def test_all_that_a_client_shows(self) -> None:
        shown = headers(authorization="Bearer a", x_api_key="b", x_ccrelay_token="c", cookie="d=e", accept="*/*")
        self.assertEqual(credentials(shown), ["a", "b", "c", "d=e"])


class TestNames(unittest.TestCase):
    def test_host_name(self) -> None:
        for host, name in (
            ("[::1]:8787", "::1"),
            ("Localhost:8787", "localhost"),
            ("localhost.", "localhost"),
            ("a", "a"),
        ):
            self.assertEqual(host_name(host), name)

    def test_is_loopback(self) -> None:
        self.assertTrue(is_loopback("127.0.0.1") and is_loopback("::1"))
        self.assertFalse(is_loopback("10.0.0.1") or is_loopback("localhost") or is_loopback(""))


if __name__ == "__main__":
    unittest.main()
