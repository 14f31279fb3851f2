"""Every file in tests/transcripts: the answer of the upstream whole, and one byte at a time."""

from __future__ import annotations

import json
import unittest
from functools import partialmethod
from pathlib import Path

from tests import transcripts


class TranscriptTests(unittest.TestCase):
    maxDiff = None

    def check(self, path: Path) -> None:
        transcript = transcripts.load(path)
        prepared, report = transcript.prepare()
        if transcript.upstream_request is not None:
            self.assertEqual(transcript.upstream_request, json.loads(prepared.body))
        self.assertEqual(transcript.dropped, report.dropped_header())
        byte_by_byte = transcript.play([bytes([byte]) for byte in transcript.answer])
        self.assertEqual(transcript.error, byte_by_byte.error)
        self.assertGot(transcript, byte_by_byte.client)
        whole = transcript.play([transcript.answer])
        self.assertEqual(byte_by_byte.error, whole.error)
        if whole.client or not whole.error:  # an error in the first read leaves it to another candidate to answer
            self.assertEqual(byte_by_byte.client, whole.client)

    def assertGot(self, transcript: transcripts.Transcript, client: bytes) -> None:
        if transcript.request.stream or transcript.error:
            self.assertMultiLineEqual(transcript.client, client.decode())
        else:
            self.assertEqual(json.loads(transcript.client), json.loads(client))


for _path in sorted(transcripts.FOLDER.glob("*/*.txt")):
    _name = f"test_{_path.parent.name}_{_path.stem}".replace("-", "_")
    setattr(TranscriptTests, _name, partialmethod(TranscriptTests.check, _path))


class LoaderTests(unittest.TestCase):
    def test_there_are_transcripts(self) -> None:
        self.assertGreater(len([name for name in dir(TranscriptTests) if name.startswith("test_")]), 16)

    def test_a_misspelt_section_is_refused(self) -> None:
        with self.assertRaisesRegex(ValueError, "--- clinet"):
            transcripts._sections("--- target {}\n--- clinet\nevent\n")

    def test_a_section_that_comes_twice_is_refused(self) -> None:
        with self.assertRaisesRegex(ValueError, "twice"):
            transcripts._sections("--- target {}\n--- target {}\n")


if __name__ == "__main__":
    unittest.main()
