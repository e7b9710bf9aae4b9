"""The documents name what there is: settings, commands, make targets, addresses, files."""

import ast
import re
import unittest
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.apps import apps
from django.core.management import get_commands
from django.test import Client, SimpleTestCase
from drf_spectacular.generators import SchemaGenerator

from tests.commands.processes import PROJECT

TEXTS = {
    path.relative_to(PROJECT): path.read_text(encoding="utf-8")
    for path in (*PROJECT.glob("*.md"), *PROJECT.glob("docs/**/*.md"))
}
EVERYTHING = "\n".join(TEXTS.values())
TYPES = {
    "env_text": "text",
    "env_address": "text",
    "env_bool": "switch",
    "env_int": "number",
    "env_list": "list",
}
# Of no use to who runs a container: set by ourselves, by image and unit, or for development.
NOT_FOR_CONTAINERS = {
    "BIND",
    "DEBUG",
    "GUNICORN_RELOAD",
    "PID_FILE",
    "PORT",
    "SLUICE_ENV",
    "SLUICE_HOME",
    "SLUICE_ROLE",
}


def settings_read() -> Iterator[tuple[str, str, str | None]]:
    """Yield each variable that is read: its name, type, and default if that is a constant."""
    for path in sorted((PROJECT / "config").glob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Name)):
                continue
            if node.func.id.startswith("env_") and isinstance(node.args[0], ast.Constant):
                named = {keyword.arg: keyword.value for keyword in node.keywords}
                yield node.args[0].value, type_of(node.func.id, named), default_of(named)


def type_of(reader: str, named: dict[str | None, ast.expr]) -> str:
    if reader == "env_choice":
        return ", ".join(ast.literal_eval(named["choices"]))
    return TYPES[reader]


def default_of(named: dict[str | None, ast.expr]) -> str | None:
    default = named.get("default")
    if default is None:
        return "empty"
    if not isinstance(default, ast.Constant):
        return None
    if isinstance(default.value, bool):
        return str(default.value).lower()
    return str(default.value) or "empty"


class SettingsPageTests(unittest.TestCase):
    def test_lists_every_variable_that_is_read_with_its_type_and_default(self):
        told = {
            name: (of_type, default.strip("`"))
            for name, of_type, default in re.findall(
                r"^\| `([A-Z_]+)` \| ([^|]+) \| ([^|]+) \|", EVERYTHING, re.MULTILINE
            )
        }

        read = {name: (of_type, default) for name, of_type, default in settings_read()}
        assert set(told) == set(read)
        for name, (of_type, default) in read.items():
            assert told[name][0] == of_type, name
            assert default is None or told[name][1] == default, name

    def test_has_nothing_that_the_example_of_an_environment_lacks(self):
        text = (PROJECT / "deploy/.env.example").read_text(encoding="utf-8")
        told = dict(re.findall(r"^#?([A-Z_]+)=(.*)$", text, re.MULTILINE))
        left_out = dict(re.findall(r"^#([A-Z_]+)=(.*)$", text, re.MULTILINE))

        read = {name: default for name, _, default in settings_read()}
        # Beside what is read: the password of PostgreSQL's own image.
        assert set(told) - {"POSTGRES_PASSWORD"} == set(read) - NOT_FOR_CONTAINERS
        for name, written in left_out.items():
            default = read[name]
            assert default is None or written == default.replace("empty", ""), name


class CommandsTests(unittest.TestCase):
    def test_every_command_of_ours_is_told_and_every_one_told_is_there(self):
        commands = get_commands()
        ours = {name for name, app in commands.items() if is_ours(app)}

        told = set(re.findall(r"manage\.py (\w+)", EVERYTHING))
        assert ours <= told, ours - told
        assert told <= set(commands), told - set(commands)

    def test_every_make_target_is_told_and_every_one_told_is_there(self):
        makefile = (PROJECT / "Makefile").read_text(encoding="utf-8")
        targets = set(re.findall(r"^([a-z-]+):.*## ", makefile, re.MULTILINE))

        told = set(re.findall(r"(?:^|`)(?:[A-Z_]+=\S+ )?make ([a-z-]+)", EVERYTHING, re.MULTILINE))
        assert targets == told


def is_ours(app: object) -> bool:
    name = app if isinstance(app, str) else getattr(app, "__module__", "")
    return any(
        config.name == name
        and Path(config.path).is_relative_to(PROJECT)
        and ".venv" not in Path(config.path).parts
        for config in apps.get_app_configs()
    )


class AddressesTests(SimpleTestCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.paths = SchemaGenerator().get_schema(request=None, public=True)["paths"]

    def test_the_table_is_that_of_the_schema(self):
        told = re.findall(
            r"^\| ([A-Z]+) \| `([^`]+)` \| [^|]+ \| `([^`]+)` \|$",
            TEXTS[Path("docs/api.md")],
            re.MULTILINE,
        )

        assert set(told) == {
            (verb.upper(), path, operation["security"][0]["apiKey"][0])
            for path, verbs in self.paths.items()
            for verb, operation in verbs.items()
            if operation["security"]
        }

    def test_every_other_address_is_told_and_there(self):
        open_to_all = {path for path in self.paths if not path.startswith("/api/v1/")}
        told = set(re.findall(r"`(/(?:api|livez|readyz)[^`\s]*)`", EVERYTHING))

        assert open_to_all | {"/api/schema", "/api/docs"} <= told
        client = Client(headers={"host": "localhost"})
        for path in told - set(self.paths):
            assert client.get(path).status_code in {200, 401}, path


class LinksTests(unittest.TestCase):
    def test_lead_to_files_and_headings_that_are_there(self):
        for path, text in TEXTS.items():
            for link in re.findall(r"\]\(([^)]+)\)", text):
                if "://" in link:
                    continue
                file, _, heading = link.partition("#")
                target = PROJECT / path.parent / file if file else PROJECT / path
                with self.subTest(page=str(path), link=link):
                    assert target.exists()
                    if heading:
                        assert heading in headings_of(target)


def headings_of(page: Path) -> set[str]:
    titles = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", title).lower().replace(" ", "-") for title in titles}


@pytest.mark.parametrize("name", ["README.md", "CHANGELOG.md", "SECURITY.md", "CONTRIBUTING.md"])
class PagesTests:
    def test_are_there(self, name: str) -> None:
        assert (PROJECT / name).read_text(encoding="utf-8").startswith("# ")
