"""ccrelay_providers/wire/errors.py: status, type and sentence of everything that can go wrong."""

from __future__ import annotations

import json
import re
import unittest

from ccrelay_providers.wire import errors
from ccrelay_providers.wire.errors import (
    ContextOverflow,
    KeyRefused,
    RelayError,
    UpstreamFailure,
    error_body,
    error_type,
)


def all_kinds(root: type[RelayError] = RelayError) -> list[type[RelayError]]:
    own = [child for child in root.__subclasses__() if child.__module__ == RelayError.__module__]
    return [kind for child in own for kind in (child, *all_kinds(child))]


def made(kind: type[RelayError]) -> RelayError:
    return ContextOverflow(5, 4) if kind is ContextOverflow else kind("words")


class TreeTests(unittest.TestCase):
    def test_the_tree_in_the_docstring_is_the_tree(self) -> None:
        told = dict(re.findall(r"([A-Z]\w+) (\d{3})\b", errors.__doc__ or ""))
        self.assertEqual(set(told) | {"UpstreamRefusal", "RateLimited"}, {kind.__name__ for kind in all_kinds()})
        for kind in all_kinds():
            self.assertEqual(int(told.get(kind.__name__, made(kind).status)), made(kind).status, kind.__name__)

    def test_secrets_are_taken_out_of_sentence_and_body(self) -> None:
        failure = RelayError("no such key: sesame-1 x", body="é sesame-1".encode())
        failure.hide(("sesame-1", "x"))
        self.assertEqual((failure.message, failure.body), ("no such key: *** x", "é ***".encode()))

    def test_type_and_status_belong_together(self) -> None:
        for kind in all_kinds():
            failure = made(kind)
            with self.subTest(kind=kind.__name__):
                self.assertIn(failure.type, {*errors.ERROR_TYPES.values(), "api_error"})
                if failure.status in errors.ERROR_TYPES:
                    self.assertEqual(error_type(failure.status), failure.type)

    def test_only_failures_of_an_upstream_let_the_next_one_answer(self) -> None:
        self.assertEqual(
            {UpstreamFailure, *all_kinds(UpstreamFailure)}, {kind for kind in all_kinds() if kind.try_next}
        )

    def test_no_refusal_of_the_relays_key_sends_the_user_to_login(self) -> None:
        failure = KeyRefused("zai: no balance")
        self.assertEqual((502, "api_error", False), (failure.status, failure.type, failure.should_retry))


class TypeTests(unittest.TestCase):
    def test_an_unknown_status_is_named_by_its_class(self) -> None:
        for status, kind in ((418, "invalid_request_error"), (499, "invalid_request_error"), (500, "api_error")):
            self.assertEqual(kind, error_type(status))
        for status, kind in ((529, "overloaded_error"), (413, "request_too_large"), (504, "timeout_error")):
            self.assertEqual(kind, error_type(status))

    def test_a_status_given_brings_its_type(self) -> None:
        self.assertEqual("rate_limit_error", UpstreamFailure("words", status=429).type)
        self.assertEqual("own", UpstreamFailure("words", status=429, type="own").type)

    def test_no_error_in_band_ends_the_clients_turn(self) -> None:
        for kind in all_kinds():
            self.assertIn(made(kind).in_band_type, ("overloaded_error", "api_error", "timeout_error"))


class OverflowTests(unittest.TestCase):
    def test_it_has_the_words_that_make_claude_code_compact(self) -> None:
        self.assertEqual("prompt is too long: 300 tokens > 200 maximum", str(ContextOverflow(300, 200)))

    def test_the_first_number_is_always_the_larger(self) -> None:
        for tokens in (0, 199, 200):
            self.assertEqual("prompt is too long: 201 tokens > 200 maximum", ContextOverflow(tokens, 200).message)


class BodyTests(unittest.TestCase):
    def test_the_shape_of_the_messages_api(self) -> None:
        body = json.loads(error_body(errors.NotFound("model: é"), "req_1"))
        fault = {"type": "not_found_error", "message": "model: é"}
        self.assertEqual({"type": "error", "error": fault, "request_id": "req_1"}, body)

    def test_an_upstreams_own_body_goes_out_as_it_came(self) -> None:
        self.assertEqual(b'{ "own":1}', error_body(RelayError("words", body=b'{ "own":1}'), "req_1"))


if __name__ == "__main__":
    unittest.main()
