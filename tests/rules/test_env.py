"""What the readers of the environment take, and what they refuse."""

import os
import tempfile
import unittest
from pathlib import Path
from unittest.mock import patch

import pytest
from django.core.exceptions import ImproperlyConfigured

from config.env import (
    database_from_url,
    env_address,
    env_bool,
    env_choice,
    env_int,
    env_list,
    env_text,
    find_unknown,
)


def given_environment(**variables):
    return patch.dict(os.environ, variables, clear=True)


class EnvTextTests(unittest.TestCase):
    def test_is_the_variable_or_the_default(self):
        with given_environment(NAME="sluice"):
            assert env_text("NAME") == "sluice"
            assert env_text("OTHER", default="x") == "x"

    def test_refuses_a_variable_that_is_missing(self):
        with given_environment(), pytest.raises(ImproperlyConfigured, match="NAME is not set"):
            env_text("NAME")

    def test_reads_the_file_that_holds_a_secret(self):
        with tempfile.NamedTemporaryFile("w") as file, given_environment(NAME_FILE=file.name):
            Path(file.name).write_text("s3cret\n", encoding="utf-8")

            assert env_text("NAME") == "s3cret"

    def test_refuses_a_secret_given_twice(self):
        with (
            given_environment(NAME="a", NAME_FILE="/x"),
            pytest.raises(ImproperlyConfigured, match="both set"),
        ):
            env_text("NAME")

    def test_refuses_a_file_that_cannot_be_read(self):
        with (
            given_environment(NAME_FILE="/nonexistent/secret"),
            pytest.raises(ImproperlyConfigured, match="NAME_FILE"),
        ):
            env_text("NAME")


class EnvAddressTests(unittest.TestCase):
    def test_is_a_host_and_a_port_or_nothing(self):
        with given_environment(BESIDE="127.0.0.1:9100", SIX="[::1]:9100"):
            assert env_address("BESIDE", apart_from=["127.0.0.1:8000"]) == "127.0.0.1:9100"
            assert env_address("SIX", apart_from=[]) == "[::1]:9100"
            assert env_address("NOT_SET", apart_from=[]) == ""

    def test_refuses_what_is_none(self):
        for text in ("9100", ":9100", "localhost:", "localhost:http", "localhost:0", "h:65536"):
            with given_environment(BESIDE=text), pytest.raises(ImproperlyConfigured):
                env_address("BESIDE", apart_from=[])

    def test_refuses_a_port_that_is_in_use_at_another_address(self):
        with (
            given_environment(BESIDE="127.0.0.1:8000"),
            pytest.raises(ImproperlyConfigured, match="a port of its own"),
        ):
            env_address("BESIDE", apart_from=["unix:/run/sluice", "10.0.0.5:8000"])


class EnvBoolTests(unittest.TestCase):
    def test_is_true_or_false(self):
        with given_environment(YES="true", NO="false"):
            assert env_bool("YES", default=False) is True
            assert env_bool("NO", default=True) is False
            assert env_bool("OTHER", default=True) is True

    def test_refuses_anything_else(self):
        for text in ("True", "1", "yes", "", " true"):
            with given_environment(NAME=text), pytest.raises(ImproperlyConfigured, match="write"):
                env_bool("NAME", default=False)


class EnvIntTests(unittest.TestCase):
    def test_is_a_whole_number_in_range(self):
        with given_environment(NAME="-3"):
            assert env_int("NAME", default=0, at_least=-3, at_most=-3) == -3
            assert env_int("OTHER", default=7) == 7

    def test_refuses_what_is_no_plain_number(self):
        for text in ("", "1_000", " 1", "1.0", "１", "--1", "-", "ten"):
            with given_environment(NAME=text), pytest.raises(ImproperlyConfigured, match="whole"):
                env_int("NAME", default=0)

    def test_refuses_a_number_out_of_range(self):
        with given_environment(NAME="5"):
            with pytest.raises(ImproperlyConfigured, match="at least 6"):
                env_int("NAME", default=6, at_least=6)
            with pytest.raises(ImproperlyConfigured, match="at most 4"):
                env_int("NAME", default=4, at_most=4)


class EnvChoiceTests(unittest.TestCase):
    def test_is_one_of_the_choices(self):
        with given_environment(NAME="v1"):
            assert env_choice("NAME", default="v2", choices=("v1", "v2")) == "v1"

    def test_refuses_another_word(self):
        with (
            given_environment(NAME="V1"),
            pytest.raises(ImproperlyConfigured, match="one of v1, v2"),
        ):
            env_choice("NAME", default="v2", choices=("v1", "v2"))


class EnvListTests(unittest.TestCase):
    def test_is_the_words_without_blanks(self):
        with given_environment(NAME=" a.example, ,b.example,"):
            assert env_list("NAME") == ["a.example", "b.example"]
            assert env_list("OTHER") == []


class DatabaseFromUrlTests(unittest.TestCase):
    def test_reads_every_part_unquoted(self):
        database = database_from_url("postgres://us%40er:p%2Fw@db:6432/shop?sslmode=verify-full")

        assert database == {
            "NAME": "shop",
            "USER": "us@er",
            "PASSWORD": "p/w",
            "HOST": "db",
            "PORT": "6432",
            "OPTIONS": {"sslmode": "verify-full"},
        }

    def test_reads_a_socket_directory(self):
        database = database_from_url("postgresql://sluice@/shop?host=%2Frun%2Fpg&port=5433")

        assert (database["HOST"], database["PORT"]) == ("/run/pg", "5433")
        assert database["OPTIONS"] == {}

    def test_refuses_another_database(self):
        for url in ("sqlite:///x", "mysql://h/x", "shop", ""):
            with pytest.raises(ImproperlyConfigured, match="postgres://"):
                database_from_url(url)

    def test_refuses_a_url_without_a_database_or_with_a_wrong_port(self):
        with pytest.raises(ImproperlyConfigured, match="no database"):
            database_from_url("postgres://host/")
        with pytest.raises(ImproperlyConfigured, match="DATABASE_URL"):
            database_from_url("postgres://host:port/shop")

    def test_never_shows_the_password(self):
        with pytest.raises(ImproperlyConfigured) as caught:
            database_from_url("mysql://user:s3cret@host/shop")

        assert "s3cret" not in str(caught.value)


class FindUnknownTests(unittest.TestCase):
    def test_names_variables_of_ours_that_nobody_reads(self):
        with given_environment(SLUICE_KNOWN="1", SLUICE_KNOWN_FILE="/x", SLUICE_TYPO="1", PATH="/"):
            assert find_unknown(("SLUICE_KNOWN",)) == ["SLUICE_TYPO"]
