"""What is measured: the table of scenarios, and the configuration that the relay gets."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any

KB, MB = 1000, 1_000_000

CLAUDE, LOCAL = "claude-opus-5-5", "qwen3:8b"  # as the upstreams call them

RELAY_TOML = """\
[server]
host = "127.0.0.1"

[routes]
renamed = ["anthropic/{claude}"]
"glm-*" = ["zai/glm-5.2", "anthropic/{claude}"]

[providers.anthropic]
type = "anthropic"
base_url = "{url}"
api_key = "bench"
models = ["{claude}", "claude-haiku-5-5"]

[providers.zai]
type = "zai"
base_url = "{url}"
api_key = "bench"
models = [{{ id = "glm-5.2", context = 1000000, max_output = 131072 }}]

[providers.ollama]
type = "ollama"
base_url = "{url}"
num_ctx = 100000000
models = [{{ id = "{local}", context = 100000000, tools = true }}]
"""


@dataclass(frozen=True)
class Scenario:
    """One kind of load: `requests` in all, shared by `connections` that are kept open; `interval` is in seconds."""

    about: str
    connections: int
    requests: int
    body: int
    events: int
    interval: float = 0.0
    model: str = f"anthropic/{CLAUDE}"
    foreign: bool = False  # the history holds another provider's thinking, which has to be taken out
    tls: bool = False  # the upstream speaks TLS
    messages: int = 0  # in the conversation; 0: as many as such a body would have

    @property
    def translated(self) -> bool:
        """Whether the upstream speaks Ollama's API instead of the Messages API."""
        return self.model.startswith("ollama/")

    @property
    def upstream_model(self) -> str:
        return LOCAL if self.translated else CLAUDE

    def tiny(self) -> Scenario:
        """The same in a moment: to see that everything works, not to measure."""
        few, body = min(self.connections, 3), min(self.body, 100 * KB)
        return replace(self, connections=few, requests=2 * few, body=body, events=5, interval=min(self.interval, 0.005))

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


BACK_TO_BACK, PACED = "20 events back to back", "100 events each, 20 ms apart"
SCENARIOS = {
    "first": Scenario(f"1 connection, 50 KB, {BACK_TO_BACK}", 1, 200, 50 * KB, 20),
    "paced": Scenario(f"20 streams, 50 KB, {PACED}", 20, 40, 50 * KB, 100, 0.02),
    "burst": Scenario("64 connections, 2 KB, 50 events back to back", 64, 1000, 2 * KB, 50),
    "large": Scenario(f"1 connection, 4 MB, {BACK_TO_BACK}", 1, 20, 4 * MB, 20),
    "renamed": Scenario("the same with another model name", 1, 20, 4 * MB, 20, model="renamed"),
    "repair": Scenario("the same with a history to repair", 1, 20, 4 * MB, 20, foreign=True),
    "many": Scenario("500 streams, 2 KB, 50 events each, 100 ms apart", 500, 500, 2 * KB, 50, 0.1),
    "ollama": Scenario("64 connections, 2 KB, 50 events back to back", 64, 500, 2 * KB, 50, model=f"ollama/{LOCAL}"),
    "ollama-paced": Scenario(f"20 streams, 50 KB, {PACED}", 20, 40, 50 * KB, 100, 0.02, model=f"ollama/{LOCAL}"),
    "ollama-large": Scenario(f"1 connection, 4 MB, {BACK_TO_BACK}", 1, 10, 4 * MB, 20, model=f"ollama/{LOCAL}"),
    "tls": Scenario(f"1 connection, 50 KB, {BACK_TO_BACK}", 1, 200, 50 * KB, 20, tls=True),
    "tls-paced": Scenario(f"20 streams, 50 KB, {PACED}", 20, 40, 50 * KB, 100, 0.02, tls=True),
}


def relay_toml(upstream_url: str) -> str:
    """A configuration such as people have, with all its providers at one upstream."""
    return RELAY_TOML.format(url=upstream_url, claude=CLAUDE, local=LOCAL)
