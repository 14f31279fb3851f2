"""The providers: type name → module. A new one is a file, a row here, a folder of transcripts and a section in docs/providers.md."""

from . import anthropic, echo, ollama, zai
from .wire.provider import Provider

PROVIDERS: dict[str, Provider] = {"anthropic": anthropic, "zai": zai, "ollama": ollama, "echo": echo}
