"""What comes from outside is read within bounds."""

import time

import pytest

from rollout.patterns import (
    UnsafePattern,
    compile_pattern,
    compile_version_range,
    matches,
    parse_user_agent,
)

CHROME = (
    "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko)"
    " Chrome/126.0.6478.1 Safari/537.36"
)


class PatternTests:
    @pytest.mark.parametrize(
        "text",
        [
            r"acme-shop/2\.",
            r"(acme|shop)-\d+",
            r"Mozilla.*Firefox/\d+",
            r"a{0,20}b{0,20}c{0,20}",
            r"\d{1,4}\.\d{1,4}\.\d{1,4}",
            r"(ab){3}",
            r"(ab?){1,3}",
            r"[a-z]+$",
        ],
    )
    def test_takes_what_is_quick(self, text):
        assert compile_pattern(text).pattern == text

    @pytest.mark.parametrize(
        "text",
        [
            "(a+)+$",
            "(a*)*",
            "(a|aa)+$",
            "(.*a){12}",
            "(a|b|ab)*c",
            ".*.*.*=",
            "a*a*a*a*b",
            r"\d+\.\d+\.\d+",
            r"(a)\1",
            "(?=a)a",
            "(?<!a)b",
            "(",
            "a{99999999999}",
            "a" * 257,
        ],
    )
    def test_refuses_what_a_header_could_keep_busy(self, text):
        with pytest.raises(UnsafePattern):
            compile_pattern(text)

    def test_is_quick_on_the_worst_subject(self):
        pattern = compile_pattern("a*a*b")

        started = time.perf_counter()
        found = matches(pattern, "a" * 100_000)

        assert not found
        # Backtracking would take for ever, a busy machine does not take this long.
        assert time.perf_counter() - started < 2

    def test_looks_at_512_characters_from_the_start(self):
        pattern = compile_pattern(".*needle")

        assert matches(pattern, "x" * 506 + "needle")
        assert not matches(pattern, "x" * 507 + "needle")
        assert not matches(compile_pattern("needle"), "a needle")


class UserAgentTests:
    @pytest.mark.parametrize(
        ("text", "family", "version"),
        [
            (CHROME, "chrome", (126, 0, 6478, 1)),
            (CHROME + " Edg/126.0.2592.56", "edge", (126, 0, 2592, 56)),
            (CHROME + " OPR/111.0", "opera", (111, 0)),
            ("Mozilla/5.0 (X11; rv:127.0) Gecko/20100101 Firefox/127.0", "firefox", (127, 0)),
            (
                "Mozilla/5.0 (iPhone) AppleWebKit/605.1.15 Version/17.4 Mobile/15E148 Safari/604.1",
                "safari",
                (17, 4),
            ),
            ("acme-shop/2.3 (linux)", "acme-shop", (2, 3)),
            ("Acme-Shop/v2.3.1-rc1", "acme-shop", (2, 3, 1)),
            ("curl/8.5.0", "curl", (8, 5, 0)),
            ("okhttp", "okhttp", ()),
            ("Mozilla/5.0 (compatible)", "mozilla", (5, 0)),
            ("", "", ()),
            ("()", "", ()),
            ("x/9999999999999999999999999", "x", (999999999,)),
        ],
    )
    def test_reads_family_and_version(self, text, family, version):
        assert parse_user_agent(text) == (family, version)


class VersionRangeTests:
    @pytest.mark.parametrize(
        ("text", "version", "holds"),
        [
            (">=2.3", (2, 3), True),
            (">=2.3", (2, 3, 0, 1), True),
            (">=2.3", (2, 2, 9), False),
            (">=2, <3", (2, 99), True),
            (">=2, <3", (3,), False),
            ("<=2.3", (2, 3, 1), False),
            (">2", (2, 0), False),
            ("115", (115, 0, 2), True),
            ("=115", (116,), False),
            ("<3", (), False),
        ],
    )
    def test_compares(self, text, version, holds):
        assert compile_version_range(text)(version) is holds

    @pytest.mark.parametrize("text", ["", "x", ">=", "1,", "~1", "1.2.3.4.5", "1 2"])
    def test_refuses_what_is_no_range(self, text):
        with pytest.raises(ValueError, match="is not a comparison"):
            compile_version_range(text)
