"""ccrelay_providers/wire/messages.py: one look at a request, the grammar of a stream, and a stream folded again."""

from __future__ import annotations

import itertools
import json
import random
import re
import unittest
from collections.abc import Callable
from typing import Any
from unittest import mock

from ccrelay_providers.wire import messages
from ccrelay_providers.wire.errors import InvalidRequest
from ccrelay_providers.wire.http1 import Headers
from ccrelay_providers.wire.messages import MessagesRequest, MessageWriter, dumps, fold, loads
from ccrelay_providers.wire.provider import Report
from ccrelay_providers.wire.sse import decode

Json = dict[str, Any]
HI: list[Json] = [{"role": "user", "content": "hi"}]
BODY: Json = {"model": "m", "max_tokens": 10, "messages": HI}
VALUES: tuple[Any, ...] = ("é", "😀", '"', "\\", "model", "\u2028", {"model": 1}, [["model"]], None, 1.5, {}, [], "")
LARGE: list[Json] = [{"role": "user", "content": 'é"model":"no","stream":true}' + "x" * messages.GLANCE_FROM}]


def asked(body: Any, headers: Headers | None = None, counting: bool = False) -> MessagesRequest:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return MessagesRequest(raw, headers or Headers(), "req_1", counting=counting)


def parsed(raw: bytes) -> MessagesRequest:
    """The same request, without a glance."""
    with mock.patch.object(messages, "GLANCE_FROM", len(raw) + 1):
        return asked(raw)


def was_parsed(request: MessagesRequest) -> bool:
    return request._body is not None


class WrittenTests(unittest.TestCase):
    """Messages that are the client's own objects stand in the client's bytes."""

    def test_own_messages_keep_their_bytes_and_the_rest_is_written(self) -> None:
        own = '{"role":"user" , "content" : "hé\\u0020😀' + "x" * messages.GLANCE_FROM + '" }'
        for rest in ("", ', "stream": true', ', "after": "\\ud800"'):
            raw = f'{{"model":"m","messages":[{own},{own}],"max_tokens": 5{rest}}}'.encode()
            request = asked(raw)
            first, second = request.body["messages"]
            sent = request.written({**request.body, "messages": [second, {"role": "user", "content": "né"}, first]})
            self.assertEqual([second, {"role": "user", "content": "né"}, first], loads(sent)["messages"])
            self.assertEqual({**loads(raw), "messages": []}, {**loads(sent), "messages": []})
            self.assertIn(f'"messages":[{own},{{"role":"user","content":"né"}},{own}]'.encode(), sent)

    def test_it_says_the_same_as_dumps(self) -> None:
        for messages_ in ([], HI, [*HI, *HI], LARGE):
            body = {**BODY, "messages": messages_, "x": VALUES}
            request = asked(json.dumps(body).encode())
            self.assertEqual(loads(dumps(body)), loads(request.written(request.body)))

    def test_a_broken_list_is_still_an_error(self) -> None:
        for broken in ("[", "[{}", "[{},", "[{},]", "[{}}", "[,]"):
            with self.subTest(broken=broken), self.assertRaises(InvalidRequest):
                asked(f'{{"model": "m", "max_tokens": 5, "messages": {broken}'.encode())


class JsonTests(unittest.TestCase):
    def test_what_is_not_json_is_a_value_error(self) -> None:
        for text in ("", "{", "NaN", '{"a": Infinity}', "[" * 100_000, b"\xff", b'"\xed\xa0\x80"', "1 2", "9" * 5000):
            with self.subTest(text=text[:20]), self.assertRaises(ValueError):
                loads(text)

    def test_dumps_is_compact_and_keeps_order_and_characters(self) -> None:
        self.assertEqual('{"b":"é😀","a":[1,null]}'.encode(), dumps({"b": "é😀", "a": [1, None]}))

    def test_a_lone_surrogate_comes_back(self) -> None:
        self.assertEqual(b'"\\ud83d\\u00e9"', dumps("\ud83dé"))
        self.assertEqual("\ud83dé", loads(dumps("\ud83dé")))


class GlanceTests(unittest.TestCase):
    """A large body in Claude Code's order of keys is not parsed to see model and stream."""

    def test_of_a_model_given_twice_the_last_counts(self) -> None:
        raw = json.dumps({"model": "a", "messages": LARGE, "x": 1, "stream": True}).encode()
        for again, model in ((b'"model":"b"', "b"), (b'"model" : "b"', "b"), (b'"m":{"model":"b"}', "a")):
            request = asked(raw.replace(b'"x"', again + b',"x"').replace(b'"stream"', b'"max_tokens":1,"stream"'))
            self.assertEqual((request.model, was_parsed(request)), (model, model == "b"), again)

    def test_it_sees_what_a_parse_sees(self) -> None:
        for model in ("claude-opus-5-5", "zai/glm-5.2[1m]", "anthropic-relay/ollama/hf.co/a/b:8b", "a@b_c"):
            for stream, separators in itertools.product((True, False), ((",", ":"), (", ", ": "), (",\n ", "\t:\r\n"))):
                raw = json.dumps(
                    {"model": model, "messages": LARGE, "max_tokens": 1, "stream": stream}, separators=separators
                ).encode()
                for body in (raw, b" \r\n" + raw + b"\n "):
                    with self.subTest(model=model, separators=separators):
                        request = asked(body)
                        self.assertFalse(was_parsed(request))
                        self.assertEqual((model, stream), (request.model, request.stream))
                        self.assertEqual(parsed(body).with_model("n"), request.with_model("n"))

    def test_any_other_order_is_parsed(self) -> None:
        tail = {"messages": LARGE, "max_tokens": 1}
        for body in (
            {"max_tokens": 1, "model": "m", "messages": LARGE, "stream": True}, {"model": "m", "stream": True, **tail},
            {"model": "m", **tail}, {"model": "é", **tail, "stream": True}, {"model": 'a"b', **tail, "stream": True},
            {"model": "m", **tail, "metadata": {"x": 1, "stream": True}},
            {"x": {"model": "n"}, "model": "m", **tail, "stream": True},
        ):  # fmt: skip
            request = asked(body)
            self.assertTrue(was_parsed(request))
            self.assertEqual((body["model"], body.get("stream", False)), (request.model, request.stream))

    def test_a_small_body_is_always_parsed(self) -> None:
        self.assertTrue(was_parsed(asked({**BODY, "stream": True})))
        with self.assertRaises(InvalidRequest):
            asked(b'{"model":"m","messages":[,"stream":true}')

    def test_a_look_at_the_body_afterwards_changes_nothing(self) -> None:
        request = asked({"model": "m", "messages": LARGE, "max_tokens": 1, "stream": True})
        before = request.with_model("other")
        self.assertEqual(LARGE, request.body["messages"])
        self.assertEqual(before, request.with_model("other"))


class SpliceTests(unittest.TestCase):
    def test_only_the_model_changes(self) -> None:
        for raw, expected in (
            (rb'{"model":"m",%s}', rb'{"model":"n/1",%s}'),
            (rb' { "a" : "\u00e9\"model\":" , "model" : "m\/x" , %s } ',
            rb' { "a" : "\u00e9\"model\":" , "model" : "n/1" , %s } '),
            (rb'{"mod\u0065l":"m",%s}', rb'{"mod\u0065l":"n/1",%s}'),
            ('{"é😀\u2028":"日本",%s,"model":"é"}'.encode(), '{"é😀\u2028":"日本",%s,"model":"n/1"}'.encode()),
            (rb'{"x":{"model":"m"},"model":"m",%s,"y":[{"model":"m"}]}',
            rb'{"x":{"model":"m"},"model":"n/1",%s,"y":[{"model":"m"}]}'),
            (rb'{"model":"a",%s,"model":"b","z":1e400}', rb'{"model":"n/1",%s,"model":"n/1","z":1e400}'),
        ):  # fmt: skip
            rest = b'"max_tokens":1,"messages":[]'
            with self.subTest(raw=raw):
                self.assertEqual(expected % rest, asked(raw % rest).with_model("n/1"))

    def test_the_clients_own_bytes_go_out_under_the_same_name(self) -> None:
        request = asked(raw := b' {"messages":[], "model":"m","max_tokens":1}')
        self.assertIs(raw, request.with_model("m"))

    def test_of_a_key_given_twice_the_last_counts(self) -> None:
        self.assertEqual("b", asked(b'{"model":"a","max_tokens":1,"messages":[],"model":"b"}').model)

    def test_random_bodies(self) -> None:
        rng = random.Random(1)
        for _ in range(300):
            keys = rng.sample(("é", "model ", "Model", "x\n", "stream_", 'q"', ""), k=rng.randrange(7))
            pairs = [*BODY.items(), *((key, rng.choice(VALUES)) for key in keys)]
            rng.shuffle(pairs)
            raw = json.dumps(dict(pairs), ensure_ascii=rng.random() < 0.5, indent=rng.choice((None, 1))).encode()
            self.assertEqual(loads(raw), asked(raw).body)
            self.assertEqual(
                list({**dict(pairs), "model": "ü"}.items()), list(loads(asked(raw).with_model("ü")).items())
            )


class CheckTests(unittest.TestCase):
    def refused(self, body: Any, sentence: str, counting: bool = False) -> None:
        with self.subTest(sentence=sentence), self.assertRaises(InvalidRequest) as caught:
            asked(body, counting=counting)
        self.assertIn(sentence, caught.exception.message)

    def test_what_is_not_an_object_is_refused(self) -> None:
        for raw, why in (
            (b"", "Expecting value"), (b"[]", "expected an object"), (b"\xff", "not UTF-8: byte 0"),
            (b'{"model"', "Expecting ':'"),
            (b"{} {}", "Extra data"), (b'{"a":1,}', "line 1 column"),
            (b"{'a':1}", "in double quotes"),
            (b'{"a":NaN}', "NaN is not JSON"), (b'{"a":%b}' % (b"[" * 100_000), "nested too deeply"),
            (b'{"a":1 "b":2}', "Expecting ','"),
            (b'{"a":' + b"9" * 5000 + b"}", "digits"), (b'{"a":"\n"}', "control character"),
            (b"\xef\xbb\xbf{}", "Expecting value"),
        ):  # fmt: skip
            self.refused(raw, why)

    def test_every_field_of_the_wrong_kind_is_named(self) -> None:
        for field, value, words in (
            ("model", 5, "the name of a model"), ("model", " ", "the name of a model"),
            ("stream", "true", "true or false"),
            ("stream", None, "true or false"), ("messages", {}, "a list"), ("max_tokens", "1", "a whole number"),
            ("max_tokens", True, "a whole number"), ("max_tokens", -1, "a whole number"),
            ("max_tokens", None, "Field required"),
            ("system", {}, "text or a list"), ("tools", {"a": 1}, "a list"), ("tools", ["a"], "a list of objects"),
            ("stop_sequences", "x", "a list"), ("thinking", True, "an object"), ("tool_choice", "any", "an object"),
            ("output_config", [1], "an object"), ("metadata", "x", "an object"),
        ):  # fmt: skip
            self.refused({**BODY, field: value}, f"{field}: {'' if 'required' in words else 'expected '}{words}")

    def test_names_and_ids_without_end_are_not_remembered(self) -> None:
        self.refused({**BODY, "model": "m" * 201}, "model: a name has at most 200 characters")
        for session, kept in (("s" * 200, "s" * 200), ("s" * 201, None)):
            headers = Headers([("x-claude-code-session-id", session)])
            self.assertEqual(MessagesRequest(json.dumps(BODY).encode(), headers, "req_1").session, kept)

    def test_every_message_of_the_wrong_kind_is_named(self) -> None:
        for message, words in (
            ("hi", "messages.1: expected an object"), ({"content": "x"}, "messages.1.role: expected user"),
            ({"role": "tool", "content": "x"}, "messages.1.role"),
            ({"role": "user"}, "messages.1.content: expected text"),
            ({"role": "user", "content": {}}, "messages.1.content"),
            ({"role": "user", "content": ["x"]}, "messages.1.content.0"),
            ({"role": "user", "content": [{"type": "text", "text": "a"}, {"text": "b"}]},
            "messages.1.content.1: expected an object with a type"),
        ):  # fmt: skip
            self.refused({**BODY, "messages": [*HI, message]}, words)

    def test_what_is_missing_is_named(self) -> None:
        for field in BODY:
            self.refused({name: value for name, value in BODY.items() if name != field}, f"{field}: Field required")

    def test_counting_needs_no_max_tokens(self) -> None:
        body = {"model": "m", "messages": HI}
        self.assertEqual(body, asked(body, counting=True).body)
        self.refused({**body, "max_tokens": "x"}, "max_tokens", counting=True)

    def test_what_is_unknown_or_null_is_no_reason_to_fail(self) -> None:
        nulls = dict.fromkeys(("tools", "stop_sequences", "thinking", "tool_choice", "output_config", "metadata"))
        block = {"type": "future", "x": [1]}
        asked(
            {**BODY, **nulls, "future": {"a": 1}, "max_tokens": 0, "messages": [{"role": "system", "content": [block]}]}
        )


class SessionTests(unittest.TestCase):
    def test_a_session_and_its_subagents(self) -> None:
        session, agent = ("X-Claude-Code-Session-Id", "s"), ("x-claude-code-agent-id", "a")
        for headers, expected in (([], None), ([session], "s"), ([session, agent], "s/a"), ([agent], "/a")):
            self.assertEqual(expected, asked(BODY, Headers(headers)).session)

    def test_the_estimate_is_made_once(self) -> None:
        self.assertGreater((request := asked(BODY)).estimate, 0)
        self.assertIsNotNone(request._estimate)


Write = Callable[[MessageWriter], bytes]
KINDS: dict[str, tuple[Write, Json]] = {
    "text": (lambda writer: writer.text('a\n"é'), {"type": "text", "text": 'a\n"é'}),
    "thinking": (
        lambda writer: writer.thinking("t\u2028"),
        {"type": "thinking", "thinking": "t\u2028", "signature": "sig"},
    ),
    "tool": (
        lambda writer: writer.tool_use("Bash", {"ü": [1]}),
        {"type": "tool_use", "name": "Bash", "input": {"ü": [1]}},
    ),
}
GRAMMAR = re.compile("<(\\[d+\\])*=>")
LETTERS = {
    "message_start": "<", "content_block_start": "[", "content_block_delta": "d", "content_block_stop": "]",
    "message_delta": "=", "message_stop": ">",
}  # fmt: skip


def new_writer() -> MessageWriter:
    return MessageWriter("asked/for", "req_abc", Report(estimate=7, output_tokens=3), signature="sig")


def expected_blocks(order: tuple[str, ...]) -> list[Json]:
    """What the calls say: neighbours of one kind are one block, but a call is always its own."""
    blocks: list[Json] = []
    calls = 0
    for kind, group in itertools.groupby(order):
        block, count = KINDS[kind][1], len(list(group))
        if kind == "tool":
            blocks += [{**block, "id": f"toolu_abc_{calls + number}"} for number in range(1, count + 1)]
            calls += count
        else:
            blocks.append({**block, kind: block[kind] * count})
    return blocks


class WriterTests(unittest.TestCase):
    orders = [order for size in range(5) for order in itertools.product(KINDS, repeat=size)]

    def written(self, order: tuple[str, ...]) -> bytes:
        writer = new_writer()
        return b"".join(KINDS[kind][0](writer) for kind in order) + writer.end("end_turn")

    def test_every_order_keeps_the_grammar(self) -> None:
        for order in self.orders:
            events = list(decode([self.written(order)]))
            self.assertRegex("".join(LETTERS[name] for name, _ in events), GRAMMAR)
            self.assertTrue(all(loads(data)["type"] == name for name, data in events))

    def test_every_index_is_that_of_the_open_block(self) -> None:
        for order in self.orders:
            events = [loads(data) for _, data in decode([self.written(order)])]
            started = -1
            for event in events:
                started += event["type"] == "content_block_start"
                self.assertEqual(started, event.get("index", started))

    def test_fold_is_the_inverse(self) -> None:
        for order in self.orders:
            message = fold(decode([self.written(order)]))
            self.assertEqual(expected_blocks(order), message["content"])
            self.assertEqual(
                ("asked/for", "msg_abc", "end_turn"), (message["model"], message["id"], message["stop_reason"])
            )

    def test_every_piece_is_whole_events(self) -> None:
        writer = new_writer()
        for piece in (writer.text("a"), writer.text("b"), writer.tool_use("x", {}), writer.end("tool_use")):
            self.assertTrue(piece.startswith(b"event: ") and piece.endswith(b"\n\n"))

    def test_nothing_is_written_for_no_text(self) -> None:
        writer = new_writer()
        self.assertEqual((b"", b""), (writer.text(""), writer.thinking("")))
        self.assertTrue(writer.text("a").startswith(b"event: message_start\n"))

    def test_only_the_first_piece_opens_the_message(self) -> None:
        writer = new_writer()
        writer.text("a")
        self.assertEqual(1, writer.text("b").count(b"event: "))

    def test_a_lone_surrogate_goes_through(self) -> None:
        writer = new_writer()
        raw = writer.text("\ud83d") + writer.tool_use("x", {"a": "\udc00"}) + writer.end("tool_use")
        message = fold(decode([raw]))
        self.assertEqual(["\ud83d", {"a": "\udc00"}], [message["content"][0]["text"], message["content"][1]["input"]])
        self.assertEqual(message, loads(dumps(message)))

    def test_the_report_is_filled_and_told(self) -> None:
        report = Report(estimate=7)
        writer = MessageWriter("m", "req_1", report)
        raw = writer.text("a")
        report.input_tokens, report.output_tokens, report.cache_read = 5, 2, 4
        message = fold(decode([raw + writer.end("stop_sequence", "END")]))
        self.assertEqual(("stop_sequence", True), (report.stop_reason, report.ended))
        self.assertEqual("END", message["stop_sequence"])
        usage = {"input_tokens": 5, "output_tokens": 2, "cache_read_input_tokens": 4, "cache_creation_input_tokens": 0}
        self.assertEqual(usage, message["usage"])

    def test_an_estimate_stands_for_a_count_that_is_not_known(self) -> None:
        for report, count in ((Report(estimate=7), 7), (Report(), 1), (Report(estimate=7, input_tokens=0), 0)):
            self.assertEqual(count, MessageWriter("m", "req_1", report).usage()["input_tokens"])


class FoldTests(unittest.TestCase):
    def test_what_the_writer_does_not_write_is_folded_too(self) -> None:
        start = {"type": "message_start", "message": {"content": [], "usage": {"input_tokens": 1}}}
        block = {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}
        cited = {"type": "content_block_delta", "index": 0, "delta": {"type": "citations_delta", "citation": {"a": 1}}}
        end = {"type": "message_delta", "delta": {"stop_reason": "refusal"}, "usage": {"output_tokens": 2}}
        raw = b"".join(b"data: %b\n\n" % dumps(event) for event in (start, {"type": "ping"}, block, cited, end))
        message = fold(decode([raw]))
        self.assertEqual([{"type": "text", "text": "", "citations": [{"a": 1}]}], message["content"])
        self.assertEqual({"input_tokens": 1, "output_tokens": 2}, message["usage"])

    def test_a_call_without_arguments_has_an_empty_input(self) -> None:
        start = {"type": "message_start", "message": {"content": [], "usage": {}}}
        block = {"type": "content_block_start", "index": 0, "content_block": {"type": "tool_use", "input": {}}}
        delta = {"type": "content_block_delta", "index": 0, "delta": {"type": "input_json_delta", "partial_json": ""}}
        stop = {"type": "content_block_stop", "index": 0}
        raw = b"".join(b"data: %b\n\n" % dumps(event) for event in (start, block, delta, stop))
        self.assertEqual({}, fold(decode([raw]))["content"][0]["input"])


if __name__ == "__main__":
    unittest.main()
