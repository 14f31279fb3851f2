"""ccrelay_providers/wire/zai_errors.py: what each code and each envelope means."""

from __future__ import annotations

import json
import unittest
from typing import Any

from ccrelay_providers.wire import errors
from ccrelay_providers.wire.http1 import Headers
from ccrelay_providers.wire.provider import Model, Target
from ccrelay_providers.wire.zai_errors import error

TARGET = Target("glm", "zai", "https://api.z.ai/wrong", Model("glm-5.2", context=1000), api_key="secret-key")

CODES = [  # code, class, status, x-should-retry
    (1000, errors.KeyRefused, 502, False),
    (1004, errors.KeyRefused, 502, False),
    (1112, errors.AccountRefused, 502, False),
    (1113, errors.AccountRefused, 502, False),
    (1120, errors.Overloaded, 529, None),
    (1200, errors.UpstreamFailure, 500, None),
    (1210, errors.UpstreamRefusal, 400, None),
    (1211, errors.UpstreamRefusal, 404, None),
    (1231, errors.RateLimited, 429, None),
    (1261, errors.ContextOverflow, 400, None),
    (1301, errors.UpstreamRefusal, 400, None),
    (1302, errors.RateLimited, 429, None),
    (1304, errors.RateLimited, 429, False),
    (1305, errors.Overloaded, 529, None),
    (1308, errors.RateLimited, 429, False),
    (1309, errors.AccountRefused, 502, False),
    (1311, errors.ModelRefused, 502, False),
    (1313, errors.AccountRefused, 502, False),
    (1321, errors.RateLimited, 429, False),
]


def meant(body: Any, status: int = 429, headers: list[tuple[str, str]] | None = None) -> errors.RelayError:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return error(status, Headers(headers or []), raw, TARGET)


def coded(code: int, text: str = "Text") -> dict[str, Any]:
    return {"error": {"code": str(code), "message": text}}


class CodeTests(unittest.TestCase):
    def test_the_code_decides_whatever_the_status(self) -> None:
        for code, kind, status, should_retry in CODES:
            for http_status in (200, 400, 429, 500):
                with self.subTest(code=code, http_status=http_status):
                    failure = meant(coded(code), http_status)
                    self.assertIs(kind, type(failure))
                    self.assertEqual((status, should_retry), (failure.status, failure.should_retry))

    def test_the_four_envelopes(self) -> None:
        bracketed = "[1305][Try later [1,2]] [2026abc]"
        for body in (
            {"type": "error", "error": {"type": "rate_limit_error", "code": "1305", "message": bracketed}},
            {"error": {"code": 1305, "message": "Try later [1,2]"}},
            {"error": {"type": "1305", "message": "Try later [1,2]"}},
            {"error": {"type": "api_error", "message": bracketed}},
            {"code": 1305, "msg": "Try later [1,2]", "success": False},
        ):
            with self.subTest(body=body):
                failure = meant(body, 400)
                self.assertIsInstance(failure, errors.Overloaded)
                self.assertEqual("glm: Try later [1,2] (code 1305)", failure.message)

    def test_a_sentence_says_what_to_do(self) -> None:
        self.assertIn("/api/anthropic", meant(coded(1113)).message)
        self.assertIn("providers.glm.api_key", meant(coded(1002)).message)
        self.assertIn("model: glm-5.2", meant(coded(1211)).message)

    def test_the_key_is_in_no_message(self) -> None:
        for code, *_ in CODES:
            self.assertNotIn("secret-key", meant(coded(code)).message)


class TimeTests(unittest.TestCase):
    def test_a_quota_ends_at_beijing_time(self) -> None:
        failure = meant(coded(1308, "Your limit will reset at 2026-09-09 05:38:28"))
        self.assertEqual(1788903508.0, failure.resets_at)  # 2026-09-08T21:38:28Z

    def test_a_quota_without_a_readable_end_rests_a_while(self) -> None:
        for text in ("Limit", "reset at 2026-99-99 05:38:28"):
            failure = meant(coded(1310, text))
            self.assertEqual((None, 300), (failure.resets_at, failure.retry_after))

    def test_retry_after_wins_over_the_default(self) -> None:
        self.assertEqual(38, meant(coded(1302), headers=[("retry-after", "38")]).retry_after)
        self.assertEqual(2, meant(coded(1302), headers=[("retry-after", "soon")]).retry_after)


class OverflowTests(unittest.TestCase):
    def test_it_has_the_words_that_make_claude_code_compact(self) -> None:
        self.assertEqual("prompt is too long: 1001 tokens > 1000 maximum", meant(coded(1261)).message)

    def test_an_estimate_is_named_if_it_is_larger_than_the_window(self) -> None:
        failure = error(400, Headers(), json.dumps(coded(1261)).encode(), TARGET, tokens=2000)
        self.assertEqual("prompt is too long: 2000 tokens > 1000 maximum", failure.message)


class StatusTests(unittest.TestCase):
    """Bodies without a code that is known."""

    def test_the_status_decides(self) -> None:
        for status, kind in (
            (400, errors.UpstreamRefusal), (401, errors.KeyRefused), (403, errors.KeyRefused),
            (429, errors.RateLimited), (529, errors.Overloaded),
            (408, errors.UpstreamFailure), (500, errors.UpstreamFailure),
        ):  # fmt: skip
            for body in (
                b"",
                b"<html>",
                b"[1]",
                b"\xff",
                b'{"error": "text"}',
                b'{"error": {"code": 9999, "type": null}}',
            ):
                with self.subTest(status=status, body=body):
                    self.assertIs(kind, type(meant(body, status)))

    def test_a_type_decides_where_the_status_is_200(self) -> None:
        self.assertEqual(529, meant({"error": {"type": "overloaded_error", "message": "m"}}, 200).status)

    def test_a_wrong_base_url_is_named(self) -> None:
        for status, body in (
            (404, b"<html>"),
            (302, b""),
            (200, b"<html>"),
            (404, b'{"code":500,"msg":"404 NOT_FOUND"}'),
        ):
            with self.subTest(status=status, body=body):
                failure = meant(body, status)
                self.assertIn("https://api.z.ai/wrong", failure.message)
                self.assertTrue(failure.try_next)

    def test_huge_numbers_are_no_codes(self) -> None:
        self.assertEqual(500, meant({"error": {"code": "9" * 5000, "message": "m"}}, 500).status)


if __name__ == "__main__":
    unittest.main()
