"""https://ollama.com through the sockets: a relay, a proxy to reach it by, and a server that speaks TLS in its name."""

from __future__ import annotations

import shutil
import socket
import ssl
import subprocess
import tempfile
import threading
import unittest
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import ClassVar

from tests.relay import PATIENCE, Relay, turn
from tests.upstreams import RecordedRequest, Upstream

TABLES = """
[providers.cloud]
type = "ollama"
base_url = "https://ollama.com"
api_key = "the-key"
num_ctx = 4096

[providers.stranger]
type = "ollama"
base_url = "https://ollama.com"
api_key = "another-key"
models = ["qwen3:8b"]
"""


class Proxy:
    """Answers CONNECT, ends TLS with the certificate, and passes what was inside on to a plain server."""

    def __init__(self, server_port: int, certificate: Path) -> None:
        self._server_port = server_port
        self._tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._tls.load_cert_chain(certificate)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self.asked_for: list[bytes] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._listener.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                threading.Thread(target=self._serve, args=(self._listener.accept()[0],), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with suppress(OSError), client:
            head = b""
            while b"\r\n\r\n" not in head:
                head += client.recv(4096)
            self.asked_for.append(head.split(b"\r\n")[0])
            client.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
            server = socket.create_connection(("127.0.0.1", self._server_port), PATIENCE)
            with server, self._tls.wrap_socket(client, server_side=True) as inside:
                threading.Thread(target=pump, args=(server, inside), daemon=True).start()
                pump(inside, server)


def pump(source: socket.socket, sink: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(65536):
            sink.sendall(data)
        sink.shutdown(socket.SHUT_WR)


def certificate(folder: Path) -> Path:
    """A key and a certificate for ollama.com in one file."""
    command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=ollama.com"
    path = folder / "ollama.pem"
    files = ["-addext", "subjectAltName=DNS:ollama.com", "-keyout", str(path), "-out", str(folder / "certificate.pem")]
    subprocess.run([*command.split(), *files], check=True, capture_output=True)
    path.write_text(path.read_text("ascii") + (folder / "certificate.pem").read_text("ascii"), "ascii")
    return path


@unittest.skipUnless(shutil.which("openssl"), "needs the openssl command")
class Cloud(unittest.TestCase):
    server: ClassVar[Upstream]
    proxy: ClassVar[Proxy]
    relay: ClassVar[Relay]

    @classmethod
    def setUpClass(cls) -> None:
        stack = ExitStack()
        cls.addClassCleanup(stack.close)
        path = certificate(Path(stack.enter_context(tempfile.TemporaryDirectory())))
        cls.server = stack.enter_context(Upstream("ollama", "--key", "the-key"))
        cls.proxy = Proxy(cls.server.port, path)
        stack.callback(cls.proxy.close)
        environ = {"HTTPS_PROXY": cls.proxy.url, "SSL_CERT_FILE": str(path)}
        cls.relay = stack.enter_context(Relay(TABLES, environ=environ))

    def asked(self, path: str) -> RecordedRequest:
        """The last request for a path that the key opened."""
        found = [one for one in self.server.requests() if one.header("authorization") == "Bearer the-key"]
        return [one for one in found if one.path == path][-1]

    def test_what_is_there_is_found_with_the_key(self) -> None:
        self.assertEqual(self.relay.request("GET", "/v1/models/cloud/qwen3:8b").status, 200)
        self.assertEqual(self.asked("/api/tags").header("host"), "ollama.com")
        self.assertEqual({line[:-1] for line in self.proxy.asked_for}, {b"CONNECT ollama.com:443 HTTP/1."})

    def test_a_turn_asks_for_no_window_and_shows_nothing_of_the_client(self) -> None:
        self.assertIn("hello", self.relay.messages(turn("cloud/qwen3:8b", "hello", stream=True)).text)
        chat = self.asked("/api/chat")
        self.assertEqual(set(chat.json["options"]), {"num_predict"})
        self.assertEqual(chat.json["model"], "qwen3:8b")
        shown = {name.lower() for name, _ in chat.headers}
        self.assertEqual(shown, {"host", "content-type", "accept-encoding", "authorization", "content-length"})

    def test_a_window_larger_than_num_ctx_is_used(self) -> None:
        """num_ctx is what is asked of a machine of one's own: 4096 here, and the model has 40,960."""
        self.assertEqual(self.relay.request("GET", "/v1/models/cloud/qwen3:8b").json["max_input_tokens"], 40_960)
        self.assertEqual(self.relay.messages(turn("cloud/qwen3:8b", "word " * 5000)).status, 200)

    def test_a_refused_key_names_the_place_of_the_key(self) -> None:
        answer = self.relay.messages(turn("stranger/qwen3:8b"))
        self.assertEqual((answer.status, answer.headers["x-should-retry"]), (502, "false"))
        words = "stranger: refused the relay's key (unauthorized); check providers.stranger.api_key in relay.toml"
        self.assertEqual(answer.json["error"]["message"], words)


if __name__ == "__main__":
    unittest.main()
