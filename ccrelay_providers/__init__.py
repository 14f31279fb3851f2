"""The providers: type name → module.

A new one is a file, a row here, a folder of transcripts, and a section in docs/providers.md.
"""

import ccrelay_providers.anthropic as anthropic
import ccrelay_providers.echo as echo
import ccrelay_providers.ollama as ollama
import ccrelay_providers.zai as zai

from .wire.provider import Provider

__version__ = "0.1.0"

PROVIDERS: dict[str, Provider] = {"anthropic": anthropic, "zai": zai, "ollama": ollama, "echo": echo}
