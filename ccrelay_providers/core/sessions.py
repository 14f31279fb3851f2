"""Who answered a session last, for `/status?session=ID`: the skill shows it. One lock guards what is remembered."""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import Any

from ..wire.messages import GLANCE_FROM, MessagesRequest
from .gate import in_background
from .pins import Pins

MAX_SESSIONS = 4096


class Sessions:
    def __init__(self, pins: Pins) -> None:
        self._pins, self._lock = pins, threading.Lock()
        self._last: OrderedDict[str, tuple[str, str]] = OrderedDict()

    def answered(self, asked: MessagesRequest, model: str, by: str) -> None:
        """A title or a probe changes nothing about a session that somebody else has answered.

        Such calls are small: a large body, which may not have been parsed, is a turn of the conversation.
        """
        session = asked.session
        if session is None:
            return
        small = len(asked.raw) < GLANCE_FROM and in_background(asked)
        with self._lock:
            if small and session in self._last:
                return
            self._last[session] = model, by
            self._last.move_to_end(session)
            if len(self._last) > MAX_SESSIONS:
                self._last.popitem(last=False)

    def told(self, session: str) -> dict[str, Any]:
        """model: what it is pinned to, else what it asked for when it was answered last. None: not known."""
        model, by = self._last.get(session, (None, None))
        return {"model": self._pins.model(session) or model, "answered_by": by}
