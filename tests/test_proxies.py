"""Which proxy for which upstream: decisions only, no socket."""

from __future__ import annotations

import unittest

from ccrelay_providers.core.proxies import Proxies, Proxy

FAR = "api.z.ai"


class TestProxies(unittest.TestCase):
    def test_none(self) -> None:
        self.assertIsNone(Proxies({}).choose("https", FAR))
        self.assertIsNone(Proxies({"HTTPS_PROXY": ""}).choose("https", FAR))

    def test_by_scheme(self) -> None:
        proxies = Proxies({"HTTPS_PROXY": "http://s:1", "http_proxy": "p:2"})
        self.assertEqual(proxies.choose("https", FAR), Proxy("s", 1, {}))
        self.assertEqual(proxies.choose("http", FAR), Proxy("p", 2, {}))
        self.assertEqual(Proxies({"ALL_PROXY": "http://a:3"}).choose("http", FAR), Proxy("a", 3, {}))

    def test_never_for_this_machine(self) -> None:
        proxies = Proxies({"HTTP_PROXY": "http://p:1", "ALL_PROXY": "http://p:1"})
        for host in ("localhost", "127.0.0.1", "127.0.0.2", "::1"):
            self.assertIsNone(proxies.choose("http", host), host)

    def test_no_proxy(self) -> None:
        for listed in ("z.ai", ".z.ai", "*.z.ai", "x, api.z.ai", "*", "API.Z.AI"):
            self.assertIsNone(Proxies({"https_proxy": "p:1", "NO_PROXY": listed}).choose("https", FAR), listed)
        for listed in ("i.z.ai", "ai.z", "z.ai.com", "anthropic.com"):
            self.assertIsNotNone(Proxies({"https_proxy": "p:1", "no_proxy": listed}).choose("https", FAR), listed)

    def test_a_password(self) -> None:
        proxy = Proxies({"https_proxy": "http://user:p%40ss@p:1"}).choose("https", FAR)
        self.assertEqual(proxy, Proxy("p", 1, {"proxy-authorization": "Basic dXNlcjpwQHNz"}))

    def test_what_cannot_be_used_is_one_sentence_without_the_password(self) -> None:
        for given in ("socks5://user:secret@p:1", "http://user:secret@p:port", "http://"):
            with self.assertRaisesRegex(ValueError, "the proxy for https in the environment") as caught:
                Proxies({"https_proxy": given}).choose("https", FAR)
            self.assertNotIn("secret", str(caught.exception))


if __name__ == "__main__":
    unittest.main()
