"""ccrelay_providers/core/config.py: what a file gives, and what each mistake in it is told."""

from __future__ import annotations

import dataclasses
import os
import tempfile
import unittest
from collections.abc import Mapping
from pathlib import Path

from ccrelay_providers.core.config import ConfigError, is_loopback, load
from ccrelay_providers.core.settings import Config, Provider, RouteTarget, Server
from ccrelay_providers.wire.provider import Model

ECHO = '[providers.echo]\ntype = "echo"\n'
ZAI = '[providers.zai]\ntype = "zai"\napi_key = "${ZAI_API_KEY}"\n'
OLLAMA = '[providers.ollama]\ntype = "ollama"\n'
ANTHROPIC = '[providers.anthropic]\ntype = "anthropic"\n'


class ConfigTestCase(unittest.TestCase):
    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.path = Path(folder.name) / "relay.toml"

    def load(self, text: str, environ: Mapping[str, str] | None = None, **server: object) -> Config:
        self.path.write_text(text, "utf-8")
        self.path.chmod(0o600)
        return load(self.path, environ or {}, **server)

    def errors(self, text: str, environ: Mapping[str, str] | None = None, **server: object) -> list[str]:
        with self.assertRaises(ConfigError) as caught:
            self.load(text, environ, **server)
        return caught.exception.errors

    def assertErrors(self, text: str, *expected: str, environ: Mapping[str, str] | None = None) -> None:
        self.assertEqual(self.errors(text, environ), [f"{self.path}: {each}" for each in expected])

    def provider(self, text: str, environ: Mapping[str, str] | None = None) -> Provider:
        return self.load(text + ECHO, environ).providers[0]


class TestKeys(ConfigTestCase):
    KEYS = '[providers.zai]\ntype = "zai"\napi_keys = ["${K1}", "${K2}", "plain"]\n'

    def test_several(self) -> None:
        zai = self.provider(self.KEYS, {"K1": "a", "K2": "b"})
        self.assertEqual((zai.keys, zai.off), (("a", "b", "plain"), None))
        self.assertNotIn("plain", repr(zai))
        self.assertEqual(self.provider(ZAI, {"ZAI_API_KEY": "k"}).keys, ("k",))

    def test_those_that_are_set_will_do(self) -> None:
        config = self.load(self.KEYS + ECHO, {"K2": "b"})
        self.assertEqual(config.providers[0].keys, ("b", "plain"))
        warning = f"{self.path}: providers.zai.api_keys[0]: K1 is not set; the other keys are used"
        self.assertEqual(config.warnings, (warning,))

    def test_without_any_it_is_off(self) -> None:
        for keys, reason in (
            ('["${K1}", "${K2}"]', "K1 and K2 are not set"),
            ('["${K1}"]', "K1 is not set"),
            ("[]", "api_key is missing"),
            ('["${K1:-}"]', "api_key is missing"),
        ):
            zai = self.provider(f'[providers.zai]\ntype = "zai"\napi_keys = {keys}\n')
            self.assertEqual(zai.off, reason, keys)

    def test_mistakes_show_no_key(self) -> None:
        head = '[providers.zai]\ntype = "zai"\n'
        self.assertErrors(
            head + 'api_key = "hush"\napi_keys = ["hush"]\n' + ECHO,
            "providers.zai.api_keys: stands beside api_key; write all keys here",
        )
        self.assertErrors(
            head + 'api_keys = ["hush hush", 5]\n' + ECHO,
            "providers.zai.api_keys[0]: expected a string of visible ASCII characters, got a string",
            "providers.zai.api_keys[1]: expected a string, got a whole number",
        )
        self.assertErrors(head + 'api_keys = "hush"\n' + ECHO, "providers.zai.api_keys: expected a list, got a string")

    def test_one_that_others_can_read(self) -> None:
        self.path.write_text(self.KEYS + ECHO, "utf-8")
        self.path.chmod(0o644)
        [warning] = load(self.path, {"K1": "a", "K2": "b"}).warnings
        self.assertIn("providers.zai.api_keys: written out, and other users can read the file", warning)


class TestFallback(ConfigTestCase):
    def fallback(self, target: str) -> str:
        return f'[routing]\nfallback = ["{target}"]\n{ZAI}models = ["glm-5.2"]\n{ANTHROPIC}{OLLAMA}{ECHO}'

    def test_targets_that_can_answer(self) -> None:
        for target in ("zai/glm-5.2", "anthropic/claude-new-9", "ollama/anything:8b", "echo/echo"):
            config = self.load(self.fallback(target), {"ZAI_API_KEY": "k"})
            self.assertEqual((config.routing.fallback, config.warnings), ((target,), ()))

    def test_targets_that_cannot(self) -> None:
        for target, message in (
            ("zia/glm-5.2", "no provider zia; there are zai, anthropic, ollama, echo"),
            ("zai/glm-9", "zai has no model glm-9; it has glm-5.2"),
            ("anthropic/gpt", "anthropic has no model gpt"),
            ("glm-5.2", 'expected provider/model, got "glm-5.2"'),
        ):
            [error] = self.errors(self.fallback(target), {"ZAI_API_KEY": "k"})
            self.assertTrue(error.startswith(f"{self.path}: routing.fallback[0]: {message}"), error)

    def test_a_target_at_a_provider_that_is_off_is_a_warning(self) -> None:
        [warning] = self.load(self.fallback("zai/glm-5.2")).warnings
        self.assertIn("routing.fallback[0]: zai/glm-5.2 is passed over, since zai is off", warning)


class TestDefaults(ConfigTestCase):
    def test_smallest_file(self) -> None:
        config = self.load(ECHO)
        self.assertEqual(config.server, Server())
        self.assertEqual((config.routing.strategy, config.routing.sticky), ("failover", True))
        self.assertEqual((config.path, config.routes, config.warnings), (self.path, (), ()))

    def test_ollama(self) -> None:
        ollama = self.provider(OLLAMA)
        self.assertEqual(ollama.base_url, "http://127.0.0.1:11434")
        self.assertEqual((ollama.idle_timeout, ollama.num_ctx, ollama.keep_alive), (600, 65536, "30m"))
        self.assertTrue(ollama.discover)
        self.assertFalse(self.provider(OLLAMA + 'models = ["qwen3:8b"]\n').discover)

    def test_anthropic_without_a_key_is_on(self) -> None:
        anthropic = self.provider(ANTHROPIC)
        self.assertEqual((anthropic.base_url, anthropic.idle_timeout), ("https://api.anthropic.com", 300))
        self.assertEqual((anthropic.api_key, anthropic.off, anthropic.discover), (None, None, False))
        self.assertEqual((anthropic.num_ctx, anthropic.keep_alive), (None, None))

    def test_echo_offers_itself(self) -> None:
        echo = self.load(ECHO).providers[0]
        self.assertEqual((echo.base_url, echo.models, echo.off), ("", (Model("echo"),), None))

    def test_all_is_frozen(self) -> None:
        with self.assertRaises(dataclasses.FrozenInstanceError):
            self.load(ECHO).server.port = 1  # type: ignore[misc]


class TestValues(ConfigTestCase):
    def test_server(self) -> None:
        server = self.load(
            ECHO + '[server]\nport = 0\nlog = "json"\nallowed_hosts = ["a", "b"]\nping_interval = 2'
        ).server
        self.assertEqual((server.port, server.log, server.allowed_hosts), (0, "json", ("a", "b")))
        self.assertEqual(server.ping_interval, 2)

    def test_models_are_names_or_tables(self) -> None:
        models = self.provider(OLLAMA + 'models = ["a", { id = "b", name = "B", context = 5, vision = true }]\n').models
        self.assertEqual(models, (Model("a"), Model("b", name="B", context=5, vision=True)))

    def test_routes_are_lists_or_tables(self) -> None:
        routes = self.load(
            ECHO
            + '[routes]\n"a*" = ["echo/x", { model = "y", weight = 3 }]\nb = { targets = ["y"], strategy = "weighted" }'
        ).routes
        self.assertEqual([route.pattern for route in routes], ["a*", "b"])
        self.assertEqual(routes[0].targets, (RouteTarget("echo/x"), RouteTarget("y", 3)))
        self.assertEqual([route.strategy for route in routes], [None, "weighted"])

    def test_keep_alive_is_a_duration_or_seconds(self) -> None:
        for text, value in (('"1h30m"', "1h30m"), ("-1", -1), ("0", 0), ("90", 90)):
            self.assertEqual(self.provider(f"{OLLAMA}keep_alive = {text}\n").keep_alive, value)

    def test_base_url_loses_its_last_slash(self) -> None:
        for url in ("http://h", "https://h:1/a/b", "http://[::1]:11434"):
            self.assertEqual(self.provider(f'{OLLAMA}base_url = "{url}/"\n').base_url, url)

    def test_byte_order_mark_and_carriage_returns(self) -> None:
        self.path.write_bytes(b"\xef\xbb\xbf" + ECHO.replace("\n", "\r\n").encode())
        self.assertEqual(load(self.path, {}).providers[0].name, "echo")

    def test_the_command_line_goes_over_the_file(self) -> None:
        server = self.load(ECHO + "[server]\nport = 1", port=0, host=None).server
        self.assertEqual((server.port, server.host), (0, "127.0.0.1"))
        self.assertIn("server.token must be set", self.errors(ECHO, host="0.0.0.0")[0])
        self.load(ECHO + '[server]\nhost = "0.0.0.0"', host="127.0.0.1")


class TestVariables(ConfigTestCase):
    def host(self, value: str, **environ: str) -> str:
        return self.load(f"{ECHO}[server]\nallowed_hosts = ['{value}']", environ).server.allowed_hosts[0]

    def test_expansion(self) -> None:
        self.assertEqual(self.host("x-${A}-${B}", A="1", B="2"), "x-1-2")
        self.assertEqual(self.host("${A:-d}"), "d")
        self.assertEqual(self.host("${A:-d}", A=""), "d")
        self.assertEqual(self.host("${A:-d}", A="a"), "a")
        self.assertEqual(self.host("x${A:-}"), "x")

    def test_escapes_and_what_is_no_variable(self) -> None:
        self.assertEqual(self.host("$${A}", A="1"), "${A}")
        self.assertEqual(self.host("$A ${A}", A="${B}"), "$A ${B}")
        self.assertIs(type(self.host("${A}", A="1")), str)

    def test_unset_key_switches_a_provider_off(self) -> None:
        for environ in ({}, {"ZAI_API_KEY": ""}):
            self.assertEqual(self.provider(ZAI, environ).off, "ZAI_API_KEY is not set")
        on = self.provider(ZAI, {"ZAI_API_KEY": "k"})
        self.assertEqual((on.api_key, on.off), ("k", None))

    def test_an_empty_secret_is_none(self) -> None:
        self.assertEqual(self.provider('[providers.z]\ntype = "zai"\napi_key = ""\n').off, "api_key is missing")
        anthropic = self.provider(ANTHROPIC + 'api_key = "${KEY:-}"\n')
        self.assertEqual((anthropic.api_key, anthropic.off), (None, None))
        self.assertIsNone(self.load(ECHO + '[server]\ntoken = "${T:-}"').server.token)

    def test_zai_without_a_key_is_off(self) -> None:
        self.assertEqual(self.provider('[providers.zai]\ntype = "zai"\n').off, "api_key is missing")

    def test_a_disabled_provider_needs_no_variables(self) -> None:
        table = 'enabled = false\nbase_url = "${URL}"\nmodels = ["${M}"]\n'
        self.assertEqual(self.provider(ZAI + table).off, "enabled = false")

    def test_unset_elsewhere_is_an_error(self) -> None:
        self.assertErrors(
            ECHO + OLLAMA + 'base_url = "${URL}"\n[server]\nhost = "0.0.0.0"\ntoken = "${T}"\n[routes]\na = ["${M}"]',
            "server.token: T is not set; ${T:-…} would give a default",
            "routes.a[0]: M is not set; ${M:-…} would give a default",
            "providers.ollama.base_url: URL is not set; ${URL:-…} would give a default",
        )

    def test_malformed(self) -> None:
        for value in ("${", "${1}", "${A-b}", "${A:-${B}}", "${}"):
            self.assertIn(
                "server.log: has a ${ that begins neither", self.errors(f'{ECHO}[server]\nlog = "{value}"')[0]
            )


class TestErrors(ConfigTestCase):
    def test_wrong_types(self) -> None:
        self.assertErrors(
            ECHO + '[server]\nport = "four"\nmax_connections = 1.5\nmax_body_mb = true\nallowed_hosts = "a"\nlog = 1',
            'server.port: expected a whole number, got "four"',
            'server.allowed_hosts: expected a list, got "a"',
            "server.max_body_mb: expected a number, got true",
            "server.log: expected one of text, json, got 1",
            "server.max_connections: expected a whole number, got 1.5",
        )

    def test_a_bool_is_no_whole_number(self) -> None:
        self.assertErrors(ECHO + "[server]\nport = true", "server.port: expected a whole number, got true")
        self.assertErrors(ECHO + "[routing]\nsticky = 1", "routing.sticky: expected true or false, got 1")

    def test_unions(self) -> None:
        expected = "providers.ollama.keep_alive: expected a string or a whole number, got 1.5"
        self.assertErrors(OLLAMA + "keep_alive = 1.5", expected)

    def test_unknown_keys(self) -> None:
        self.assertErrors(
            ECHO + "prto = 1\nlsited = 1\n[server]\nprot = 1\n[sever]\n",
            "sever: unknown key; did you mean server?",
            "server.prot: unknown key; did you mean server.port?",
            "providers.echo.prto: unknown key; known are type, base_url, api_key, api_keys, enabled, listed, "
            "connect_timeout, idle_timeout, max_concurrent, max_queue, num_ctx, keep_alive, models",
            "providers.echo.lsited: unknown key; did you mean providers.echo.listed?",
        )

    def test_derived_fields_are_no_keys(self) -> None:
        for line in ('name = "x"', 'off = "x"', "discover = true"):
            self.assertIn("unknown key", self.errors(ECHO + line)[0])

    def test_missing(self) -> None:
        self.assertErrors(
            ECHO + '[providers.x]\nmodels = [{ name = "a" }]\n[routes]\na = [{ weight = 1 }]\nb = {}',
            "routes.a[0].model: missing; expected a string",
            "routes.b.targets: missing; expected a list",
            "providers.x.type: missing; expected one of anthropic, zai, ollama, echo",
            "providers.x.models[0].id: missing; expected a string",
        )

    def test_unknown_choices(self) -> None:
        self.assertErrors(
            ECHO + '[providers.x]\ntype = "openai"\nmax_queue = -1\n[routing]\nstrategy = "fastest"',
            'routing.strategy: expected one of failover, round-robin, weighted, shuffle, least-busy, got "fastest"',
            'providers.x.type: expected one of anthropic, zai, ollama, echo, got "openai"',
            "providers.x.max_queue: expected 0 or more, got -1",
        )

    def test_tables_that_are_none(self) -> None:
        self.assertErrors(
            'server = 1\nrouting = []\n[providers]\nx = "y"\n[routes]\na = "b"',
            "server: expected a table, got 1",
            "routing: expected a table, got a list",
            'routes.a: expected a list of models or a table with targets, got "b"',
            'providers.x: expected a table, got "y"',
        )

    def test_ranges(self) -> None:
        for line, expected in (
            ("port = 65536", "expected 0 to 65535, got 65536"),
            ("port = -1", "expected 0 to 65535, got -1"),
            ("ping_interval = 0", "expected a number above 0, got 0"),
            ("head_timeout = -2", "expected a number above 0, got -2"),
            ("max_body_mb = nan", "expected a number above 0, got nan"),
            ("head_timeout = inf", "expected at most 1000000, got inf"),
            ("head_timeout = 9999999", "expected at most 1000000, got 9999999"),
            ("max_connections = 0", "expected a number above 0, got 0"),
        ):
            self.assertErrors(f"{ECHO}[server]\n{line}", f"server.{line.split()[0]}: {expected}")

    def test_numbers_of_others(self) -> None:
        self.assertErrors(
            ECHO
            + 'connect_timeout = 0\nmodels = [{ id = "a", context = 0 }]\n[routes]\na = [{ model = "b", weight = 0 }]\n'
            "[routing]\nfirst_event_patience = -1",
            "routing.first_event_patience: expected 0 or more, got -1",
            "routes.a[0].weight: expected a number above 0, got 0",
            "providers.echo.connect_timeout: expected a number above 0, got 0",
            "providers.echo.models[0].context: expected a number above 0, got 0",
        )

    def test_empty_strings(self) -> None:
        self.assertErrors(ECHO + '[server]\nhost = ""', 'server.host: expected a string that is not empty, got ""')

    def test_addresses(self) -> None:
        for url in (
            "api.z.ai",
            "ftp://h",
            "http://",
            "http:///x",
            "http://h:x",
            "http://h?a",
            "http://h#a",
            "http://a b",
        ):
            expected = f'providers.ollama.base_url: expected http://HOST or https://HOST, got "{url}"'
            self.assertErrors(f'{OLLAMA}base_url = "{url}"', expected)

    def test_durations(self) -> None:
        expected = 'expected a duration such as "30m", or a number of seconds, got "30 minutes"'
        self.assertErrors(OLLAMA + 'keep_alive = "30 minutes"', f"providers.ollama.keep_alive: {expected}")

    def test_keys_of_other_types(self) -> None:
        self.assertErrors(
            ECHO + 'base_url = "http://h"\napi_key = "k"\n' + ZAI + "num_ctx = 1",
            "providers.echo.base_url: only for type anthropic or zai or ollama; this provider is of type echo",
            "providers.echo.api_key: only for type anthropic or zai or ollama; this provider is of type echo",
            "providers.zai.num_ctx: only for type ollama; this provider is of type zai",
        )

    def test_names_of_providers(self) -> None:
        rule = "a provider's name is made of a-z, 0-9, _ and -, and is not anthropic-relay"
        self.assertErrors(
            "".join(f'[providers.{name}]\ntype = "echo"\n' for name in ('"a/b"', "Zai", "anthropic-relay")),
            f'providers."a/b": {rule}',
            f"providers.Zai: {rule}",
            f"providers.anthropic-relay: {rule}",
        )

    def test_targets(self) -> None:
        self.assertErrors(
            ECHO
            + '[routes]\n"a*" = ["echo/echo", "zia/x"]\nb = { targets = [{ model = "zia/x" }], strategy = 1 }\nc = []',
            "routes.b.strategy: expected one of failover, round-robin, weighted, shuffle, least-busy, got 1",
            'routes."a*"[1]: no provider zia; there are echo',
            "routes.b.targets[0]: no provider zia; there are echo",
            "routes.c: expected at least one target",
        )

    def test_exposure(self) -> None:
        for host in ("0.0.0.0", "::", "192.168.1.2", "relay.lan"):
            expected = f"server.host: {host} is reachable from the network, so server.token must be set"
            self.assertErrors(f'{ECHO}[server]\nhost = "{host}"', expected)
            self.load(f'{ECHO}[server]\nhost = "{host}"\ntoken = "t"')

    def test_loopback(self) -> None:
        for host in ("127.0.0.1", "127.1.2.3", "::1", "localhost"):
            self.assertTrue(is_loopback(host), host)
        self.assertFalse(is_loopback(""))

    def test_no_usable_provider(self) -> None:
        self.assertErrors(
            ZAI + OLLAMA + "enabled = false",
            "providers: none can be used (zai: ZAI_API_KEY is not set; ollama: enabled = false); "
            'set what is missing, or add one of type "echo" to try',
        )
        expected = 'providers: missing; expected one such as [providers.anthropic] with type = "anthropic"'
        self.assertErrors("", expected)


class TestFiles(ConfigTestCase):
    def error(self, path: Path) -> str:
        with self.assertRaises(ConfigError) as caught:
            load(path, {})
        self.assertEqual(str(caught.exception), "\n".join(caught.exception.errors))
        return caught.exception.errors[0].replace(str(self.path.parent), "")

    def test_not_readable(self) -> None:
        self.assertEqual(self.error(self.path), "/relay.toml: cannot be read: No such file or directory")
        self.assertEqual(self.error(self.path.parent), ": cannot be read: Is a directory")

    def test_not_utf8(self) -> None:
        self.path.write_bytes(b"# fine\n# \xfc\n")
        self.assertEqual(self.error(self.path), "/relay.toml: not UTF-8 (at line 2)")

    def test_not_toml(self) -> None:
        self.path.write_text("[server]\nport 8787\n")
        self.assertRegex(self.error(self.path), r"^/relay.toml: not TOML: .*\(at line 2, column 6\)$")
        self.path.write_text("a = " + "[" * 5000)
        self.assertRegex(self.error(self.path), "^/relay.toml: not TOML that anybody wrote: nested too deeply$")


class TestSecrets(ConfigTestCase):
    def test_no_repr_shows_them(self) -> None:
        config = self.load(ECHO + ANTHROPIC + 'api_key = "sesame"\n[server]\ntoken = "sesame"')
        self.assertEqual((config.server.token, config.providers[1].api_key), ("sesame", "sesame"))
        self.assertNotIn("sesame", repr(config))

    def test_what_a_variable_gave_may_be_a_number_or_a_truth(self) -> None:
        server = '[server]\nport = "${PORT}"\nmax_body_mb = "${MB}"\n'
        text = server + '[providers.e]\ntype = "echo"\nlisted = "${LISTED:-false}"\n'
        config = self.load(text, {"PORT": "8788", "MB": "1.5"})
        self.assertEqual((config.server.port, config.server.max_body_mb), (8788, 1.5))
        self.assertIs(config.providers[0].listed, False)
        for value, wanted in (("many", "a whole number"), ("99999", "0 to 65535"), ("1.5", "a whole number")):
            (error,) = self.errors(text, {"PORT": value, "MB": "1"})
            self.assertEqual(error, f"{self.path}: server.port: expected {wanted}, got what the environment gave")
        self.assertIn("max_body_mb", self.errors(text, {"PORT": "1", "MB": "nan"})[0])
        self.assertIn('got "8787"', self.errors(ECHO + '[server]\nport = "8787"')[0])

    def test_no_error_shows_them(self) -> None:
        text = (
            '[server]\ntoken = ["sesame"]\nlog = "${KEY}"\n[providers.a]\ntype = "anthropic"\napi_key = "sesame\\n"\n'
        )
        errors = self.errors(text + 'base_url = "http://u:sesame@h"', {"KEY": "sesame"})
        self.assertEqual(
            errors,
            [
                f"{self.path}: server.token: expected a string, got a list",
                f"{self.path}: server.log: expected one of text, json, got what the environment gave",
                f"{self.path}: providers.a.base_url: expected http://HOST or https://HOST, got a string",
                f"{self.path}: providers.a.api_key: expected a string of visible ASCII characters, got a string",
            ],
        )
        for value in ("7", "true", "7.5", "2026-01-01", '{ k = "sesame" }'):
            (error,) = self.errors(f"{ANTHROPIC}api_key = {value}")
            self.assertRegex(
                error, "expected a string, got (a whole number|a number|true or false|a table|something else)"
            )


class TestWarnings(ConfigTestCase):
    def test_targets_that_are_off(self) -> None:
        config = self.load(ECHO + ZAI + '[routes]\na = ["zai/x", "echo/echo"]\nb = { targets = [{ model = "zai/y" }] }')
        why = "is passed over, since zai is off (ZAI_API_KEY is not set)"
        expected = (f"{self.path}: routes.a[0]: zai/x {why}", f"{self.path}: routes.b.targets[0]: zai/y {why}")
        self.assertEqual(config.warnings, expected)

    def warnings(self, mode: int, key: str) -> tuple[str, ...]:
        self.load(f'{ANTHROPIC}api_key = "{key}"', {"KEY": "k"})
        self.path.chmod(mode)
        return load(self.path, {"KEY": "k"}).warnings

    @unittest.skipUnless(os.name == "posix", "modes are POSIX's")
    def test_secrets_that_others_can_read(self) -> None:
        (warning,) = self.warnings(0o644, "sesame")
        self.assertEqual(
            warning,
            f"{self.path}: providers.anthropic.api_key: written out, and other users can read the file; "
            "chmod 600 it, or write ${VAR}",
        )
        self.assertTrue(self.warnings(0o640, "${KEY:-sesame}"))
        self.assertEqual(self.warnings(0o600, "sesame"), ())
        self.assertEqual(self.warnings(0o644, "${KEY}"), ())
        self.assertEqual(self.warnings(0o644, "${KEY:-}"), ())

    @unittest.skipUnless(os.name == "posix", "modes are POSIX's")
    def test_a_key_of_a_certificate_that_others_can_read(self) -> None:
        key = self.path.with_name("key.pem")
        key.write_text("x")
        for mode, warnings in (
            (0o644, (f"{self.path}: server.tls_key: other users can read the file; chmod 600 it",)),
            (0o600, ()),
        ):
            key.chmod(mode)
            tls = '[server]\ntls_cert = "cert.pem"\ntls_key = "key.pem"\n'
            config = self.load(tls + ECHO)
            self.assertEqual(config.warnings, warnings)
            self.assertEqual(config.server.tls_key, str(key.absolute()))

    def test_a_certificate_and_its_key_belong_together(self) -> None:
        with self.assertRaisesRegex(ConfigError, "server.tls_cert: missing; server.tls_key needs it"):
            self.load('[server]\ntls_key = "key.pem"\n' + ECHO)


if __name__ == "__main__":
    unittest.main()
