"""A relay that runs is found, and what is none is told apart."""

from __future__ import annotations

import unittest
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread

from ccrelay_providers.commands.running import find, url
from ccrelay_providers.core.settings import Server
from ccrelay_providers.wire.errors import RelayError
from tests.relay import ECHO, Relay


class Stranger(BaseHTTPRequestHandler):
    """Some other program's server."""

    body = b"<html>hello</html>"

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("content-length", str(len(self.body)))
        self.end_headers()
        self.wfile.write(self.body)

    def log_message(self, format: str, *arguments: object) -> None:
        pass


class JsonStranger(Stranger):
    body = b'["hello"]'


class TestFind(unittest.TestCase):
    def assertNotFound(self, server: Server, sentence: str) -> None:
        with self.assertRaises(RelayError) as caught:
            find(server)
        self.assertIn(sentence, caught.exception.message)

    def test_a_relay_with_a_token(self) -> None:
        with Relay('[server]\ntoken = "right"\n' + ECHO) as relay:
            found = find(Server(port=relay.port, token="right"))
            self.assertEqual(found.get("/v1/models")["data"][0]["id"], "echo/echo")
            self.assertNotIn("right", repr(found))
            self.assertNotFound(Server(port=relay.port, token="wrong"), "the relay's token is missing or wrong")
            with self.assertRaisesRegex(RelayError, "/v1/nothing: no such endpoint"):
                found.get("/v1/nothing")

    def test_nobody(self) -> None:
        self.assertNotFound(Server(port=1), "no relay listens on http://127.0.0.1:1")
        self.assertNotFound(Server(port=0), "no relay can be found")

    def test_somebody_else(self) -> None:
        for stranger in (Stranger, JsonStranger):
            with HTTPServer(("127.0.0.1", 0), stranger) as server:
                Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
                port = server.server_address[1]
                self.assertNotFound(Server(port=port), f"what listens on http://127.0.0.1:{port} is not ccrelay")
                server.shutdown()


class TestUrl(unittest.TestCase):
    def test_a_server_on_every_address_is_reached_on_this_machine(self) -> None:
        for host, address in (("0.0.0.0", "127.0.0.1"), ("::", "[::1]"), ("::1", "[::1]"), ("relay.lan", "relay.lan")):
            self.assertEqual(url(host, 80), f"http://{address}:80")


if __name__ == "__main__":
    unittest.main()
