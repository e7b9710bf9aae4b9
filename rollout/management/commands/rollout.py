"""Rules, releases and breakers from a shell: the verbs of the API, through the same door."""

import getpass
import json
import os
import time
from argparse import ArgumentParser, ArgumentTypeError
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.core.serializers.json import DjangoJSONEncoder
from django.db import DatabaseError, InterfaceError, OperationalError, connection

from rollout import inspection, usecases
from rollout.announcing import Convergence
from rollout.changes import changes_between
from rollout.document import checksum_of
from rollout.errors import InvalidRuleSet, RolloutError
from rollout.management import rulefiles, telling
from rollout.management.rulefiles import UnreadableFile
from rollout.policies import MODES
from rollout.storage import Published
from rollout.usecases import Actor

# 0: done. 1: a "no": refused, invalid, differs, broken. 2: could not be tried. 3: in force, but
# not every worker said so in time.
REFUSED, FAILED, NOT_CONVERGED = 1, 2, 3
WAIT_MS_MAX = 600_000

Options = dict[str, Any]

_OF_TRANSITION = ("at", "worker", "path", "version", "from_state", "to_state", "cause")


class Command(BaseCommand):
    """One command, one subcommand a verb."""

    help = "Show and change who meets which version of the code."
    # A check that fails may not stand between an operator and the kill switch.
    requires_system_checks = []

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the verbs."""
        verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
        for name, help_text, declare in _VERBS:
            declare(verbs.add_parser(name, help=help_text, description=help_text))

    def handle(self, *args: Any, **options: Any) -> None:
        """Run a verb; every refusal is one line and an exit code."""
        verb: Callable[[Options], None] = getattr(self, options["verb"].replace("-", "_"))
        try:
            verb(options)
        except InvalidRuleSet as refusal:
            self._complain(telling.fault_lines(refusal.errors))
            raise _no(f"{len(refusal.errors)} fault(s), nothing was changed") from refusal
        except RolloutError as refusal:
            raise _no(str(refusal)) from refusal
        except UnreadableFile as failure:
            raise CommandError(str(failure), returncode=FAILED) from failure
        except (DatabaseError, InterfaceError) as failure:
            raise CommandError(_of_database(failure), returncode=FAILED) from failure

    # --- Seeing -------------------------------------------------------------------------------

    def status(self, options: Options) -> None:
        """Print generation, releases, workers, and breakers that are not simply closed."""
        told = inspection.tell_status(inspection.snapshot_of())
        self._print(told, telling.status_lines(told), options)

    def explain(self, options: Options) -> None:
        """Print why a call would be served as it would."""
        context = inspection.imagine_call(
            inspection.snapshot_of(options["generation"]),
            identities=dict(options["identity"]),
            headers=dict(options["header"]),
            query=dict(options["query"]),
            attributes=dict(options["attribute"]),
            trusts=options["trust"],
            method=options["method"],
            url_path=options["url_path"],
        )
        told = inspection.explain_call(options["path"], context)
        self._print(told, telling.explanation_lines(told), options)

    def breakers(self, options: Options) -> None:
        """Print breakers, or put one into a mode."""
        if options["transitions"] is not None:
            rows, _ = usecases.list_transitions(path=options["path"], limit=options["transitions"])
            told = [{name: getattr(row, name) for name in _OF_TRANSITION} for row in rows]
            self._print(told, telling.transition_lines(rows), options)
            return
        if options["mode"] is None:
            breakers = inspection.tell_breakers(inspection.snapshot_of())
            shown = [one for one in breakers if options["path"] in (None, one["path"])]
            self._print(shown, telling.breaker_lines(shown), options)
            return
        if options["path"] is None or options["version"] is None:
            raise CommandError("--mode needs a path and a version", returncode=FAILED)
        published = usecases.set_breaker_mode(
            options["path"],
            options["version"],
            options["mode"],
            expected_generation=options["expected_generation"],
            actor=_actor(options),
            reason=options["reason"],
        )
        self._tell(published, options)

    def history(self, options: Options) -> None:
        """Print what was published, newest first."""
        revisions, _ = usecases.list_generations(limit=options["limit"])
        told = [
            {
                name: getattr(one, name)
                for name in ("generation", "checksum", "author", "comment", "created_at")
            }
            for one in revisions
        ]
        self._print(told, telling.history_lines(revisions), options)

    def verify_audit(self, options: Options) -> None:
        """Check the chain of the trail; exit code 1 when it is broken."""
        broken = usecases.verify_audit()
        if broken:
            named = ", ".join(str(number) for number in broken[:20])
            raise _no(f"the trail is broken at {len(broken)} event(s): {named}")
        self.stdout.write("the trail is whole")

    # --- Rules as a file ----------------------------------------------------------------------

    def export(self, options: Options) -> None:
        """Print the rules, or write them to a file."""
        wanted = options["generation"]
        published = usecases.get_current() if wanted is None else usecases.get_generation(wanted)
        text = rulefiles.written(published.payload)
        if options["file"] is None:
            self.stdout.write(text, ending="")
            return
        rulefiles.write_whole(options["file"], text)
        self.stderr.write(f"generation {published.generation} written to {options['file']}")

    def validate(self, options: Options) -> None:
        """Tell every fault of a file; exit code 1 when there is one."""
        faults = usecases.validate(rulefiles.read_rules(options["file"]))
        if faults:
            self._complain(telling.fault_lines(faults))
            raise _no(f"{options['file']}: {len(faults)} fault(s)")
        self.stdout.write(f"{options['file']}: no fault")

    def preview(self, options: Options) -> None:
        """Print what publishing a file would change, and who would move."""
        preview = usecases.preview(rulefiles.read_rules(options["file"]))
        self._lines(telling.preview_lines(preview))

    def diff(self, options: Options) -> None:
        """Print what differs; exit code 1 when something does."""
        first, *second = options["of"]
        if len(second) > 1:
            raise CommandError("name a file, or two generations", returncode=FAILED)
        if second:
            changes = usecases.compare(_generation(first), _generation(second[0]))
        else:
            draft = rulefiles.read_rules(Path(first))
            changes = changes_between(dict(usecases.get_current().payload), draft)
        self._lines(telling.change_lines(changes))
        if changes:
            raise _no(f"{len(changes)} difference(s)")

    def publish(self, options: Options) -> None:
        """Put a file in force."""
        published = usecases.publish(
            rulefiles.read_rules(options["file"]),
            expected_generation=options["expected_generation"],
            actor=_actor(options),
            comment=options["comment"],
        )
        self._tell(published, options)

    def apply(self, options: Options) -> None:
        """Put a file in force where it differs, once or whenever it changes."""
        if options["watch"] and str(options["file"]) == "-":
            raise CommandError("standard input does not change", returncode=FAILED)
        if not options["watch"]:
            draft = rulefiles.read_rules(options["file"])
            self._apply(draft, options["expected_generation"], options)
            return
        try:
            self._follow(options)
        except KeyboardInterrupt:
            self.stderr.write("stopped")

    def _follow(self, options: Options) -> None:
        """
        Apply a file whenever it changes; what cannot be applied is told, and the next one tried.

        Where a generation is expected, the next one expected is the one that this published: as
        soon as somebody else publishes, the file waits for a person.
        """
        path, expected = options["file"], options["expected_generation"]
        self.stderr.write(f"following {path}")
        pause_s = options["poll_ms"] / 1000
        for content in rulefiles.versions_of(path, poll_s=pause_s):
            is_away = False
            while True:
                try:
                    published = self._try(content, expected, options)
                except (OperationalError, InterfaceError) as failure:
                    if not is_away:
                        self.stderr.write(f"{_of_database(failure)}; trying again")
                    is_away = True
                    time.sleep(pause_s)
                else:
                    break
                finally:
                    # Between two changes may lie weeks: no connection is kept for them.
                    if not connection.in_atomic_block:
                        connection.close()
            if published is not None and expected is not None:
                expected = published.generation

    def _try(self, content: bytes, expected: int | None, options: Options) -> Published | None:
        try:
            draft = rulefiles.parse_rules(content, name=str(options["file"]))
            return self._apply(draft, expected, options)
        except (RolloutError, UnreadableFile) as refusal:
            self._complain(telling.fault_lines(getattr(refusal, "errors", ())))
            self.stderr.write(f"not applied: {refusal}")
            return None

    def _apply(self, draft: Any, expected: int | None, options: Options) -> Published:
        current = usecases.get_current()
        if isinstance(draft, dict) and checksum_of(draft) == current.checksum:
            self.stdout.write(f"generation {current.generation} has these rules already")
            return current
        published = usecases.publish(
            draft,
            # Whoever publishes between our reading and this is not overwritten either way.
            expected_generation=current.generation if expected is None else expected,
            actor=_actor(options),
            comment=options["comment"] or f"apply {options['file'].name}",
        )
        try:
            self._tell(published, options)
        except CommandError as slow:
            if not options["watch"]:
                raise
            self.stderr.write(str(slow))
        return published

    # --- Moving -------------------------------------------------------------------------------

    def promote(self, options: Options) -> None:
        """Make a canary stable."""
        published = usecases.promote(
            options["path"],
            expected_generation=options["expected_generation"],
            actor=_actor(options),
            comment=options["comment"],
        )
        self._tell(published, options)

    def rollback(self, options: Options) -> None:
        """Publish earlier rules as a new generation."""
        published = usecases.roll_back(
            options["generation"],
            expected_generation=options["expected_generation"],
            actor=_actor(options),
            comment=options["comment"],
        )
        self._tell(published, options)

    def kill(self, options: Options) -> None:
        """Send everything, or one path, to stable."""
        self._switch(options, is_killed=True)

    def unkill(self, options: Options) -> None:
        """Let the rules decide again."""
        self._switch(options, is_killed=False)

    def _switch(self, options: Options, *, is_killed: bool) -> None:
        published = usecases.set_kill_switch(
            is_killed=is_killed,
            path=options["path"],
            actor=_actor(options),
            reason=options["reason"],
        )
        self._tell(published, options)

    # --- Telling ------------------------------------------------------------------------------

    def _tell(self, published: Published, options: Options) -> None:
        self.stdout.write(f"generation {published.generation} in force")
        wait_ms = options["wait_ms"]
        if wait_ms is None:
            return
        convergence: Convergence | None = inspection.await_convergence(
            published.generation, timeout_s=wait_ms / 1000
        )
        line = telling.convergence_line(inspection.tell_convergence(convergence))
        if convergence is None or not convergence.is_complete:
            raise CommandError(line, returncode=NOT_CONVERGED)
        self.stdout.write(line)

    def _print(self, told: Any, lines: Iterable[str], options: Options) -> None:
        if options["json"]:
            self.stdout.write(json.dumps(told, indent=2, ensure_ascii=False, cls=DjangoJSONEncoder))
        else:
            self._lines(lines)

    def _lines(self, lines: Iterable[str]) -> None:
        for line in lines:
            self.stdout.write(line)

    def _complain(self, lines: Iterable[str]) -> None:
        for line in lines:
            self.stderr.write(line)


def _no(why: str) -> CommandError:
    return CommandError(why, returncode=REFUSED)


def _of_database(failure: Exception) -> str:
    told = str(failure).strip() or type(failure).__name__
    return f"the database: {told.splitlines()[0]}"


def _actor(options: Options) -> Actor:
    return Actor((options["actor"] or _person())[:150], kind="cli")


def _person() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return f"uid {os.getuid()}"  # As in a container that has no passwd.


# --- Arguments --------------------------------------------------------------------------------


def _pair(text: str) -> tuple[str, str]:
    name, separator, value = text.partition("=")
    if not name or not separator:
        raise ArgumentTypeError(f"{text!r}: write NAME=VALUE")
    return name, value


def _header(text: str) -> tuple[str, str]:
    name, separator, value = text.partition(":")
    if not name or not separator:
        raise ArgumentTypeError(f"{text!r}: write NAME: VALUE")
    return name.strip(), value.strip()


def _generation(text: str) -> int:
    if not (text.isascii() and text.isdigit()):
        raise CommandError(f"{text!r} is no generation", returncode=FAILED)
    return int(text)


def _comment(text: str) -> str:
    if len(text) > 500:
        raise ArgumentTypeError("at most 500 characters")
    return text


def _count(text: str) -> int:
    if not (text.isascii() and text.isdigit()) or not 1 <= int(text) <= 1000:
        raise ArgumentTypeError(f"{text!r}: write a number from 1 to 1000")
    return int(text)


def _milliseconds(text: str) -> int:
    if not (text.isascii() and text.isdigit()) or not 1 <= int(text) <= WAIT_MS_MAX:
        raise ArgumentTypeError(f"{text!r}: write milliseconds from 1 to {WAIT_MS_MAX}")
    return int(text)


def _file(parser: ArgumentParser) -> None:
    parser.add_argument("file", type=Path, metavar="FILE", help="- reads standard input")


def _json(parser: ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print JSON")


def _publishing(parser: ArgumentParser, *, is_expected: bool | None = True) -> None:
    parser.add_argument("--actor", help="who does this, for the trail; else who runs the command")
    parser.add_argument(
        "--wait-ms",
        type=_milliseconds,
        metavar="MS",
        help="wait until every worker has it; exit code 3 when not all have it by then",
    )
    if is_expected is not None:
        parser.add_argument(
            "--expected-generation",
            type=int,
            metavar="N",
            required=is_expected,
            help="refuse when another generation is in force",
        )


def _declare_explain(parser: ArgumentParser) -> None:
    parser.add_argument("path", help="as orders.place")
    for name, example in (
        ("identity", "account=7"),
        ("query", "x-deploy-version=v2"),
        ("attribute", "customer=ada"),
    ):
        parser.add_argument(
            f"--{name}",
            type=_pair,
            action="append",
            default=[],
            metavar="NAME=VALUE",
            help=f"as {example}; may be repeated",
        )
    parser.add_argument(
        "--header",
        type=_header,
        action="append",
        default=[],
        metavar="NAME:VALUE",
        help="as 'User-Agent: acme/2'; may be repeated",
    )
    parser.add_argument(
        "--trust",
        action="append",
        default=[],
        choices=("authenticated", "staff", "permission", "internal_cidr"),
    )
    parser.add_argument("--method", default="")
    parser.add_argument("--url-path", default="")
    parser.add_argument("--generation", type=int, metavar="N", help="by the rules of back then")
    _json(parser)


def _declare_breakers(parser: ArgumentParser) -> None:
    parser.add_argument("path", nargs="?", help="as orders.place")
    parser.add_argument("version", nargs="?", help="a version or a role")
    parser.add_argument(
        "--transitions", type=_count, metavar="N", help="what they did: the newest N"
    )
    parser.add_argument("--mode", choices=MODES, help="put the breaker into a mode")
    parser.add_argument("--reason", type=_comment, default="")
    _json(parser)
    _publishing(parser, is_expected=False)


def _declare_history(parser: ArgumentParser) -> None:
    parser.add_argument("--limit", type=_count, default=20, metavar="N")
    _json(parser)


def _declare_export(parser: ArgumentParser) -> None:
    parser.add_argument("file", nargs="?", type=Path, metavar="FILE", help="else to stdout")
    parser.add_argument("--generation", type=int, metavar="N")


def _declare_diff(parser: ArgumentParser) -> None:
    parser.add_argument(
        "of",
        nargs="+",
        metavar="FILE | FROM TO",
        help="a file against what is in force, or two generations",
    )


def _declare_publish(parser: ArgumentParser) -> None:
    _file(parser)
    parser.add_argument("--comment", type=_comment, required=True)
    _publishing(parser)


def _declare_apply(parser: ArgumentParser) -> None:
    _file(parser)
    parser.add_argument("--comment", type=_comment, default="")
    parser.add_argument("--watch", action="store_true", help="and again whenever it changes")
    parser.add_argument(
        "--poll-ms", type=_milliseconds, default=1000, metavar="MS", help="with --watch"
    )
    _publishing(parser, is_expected=False)


def _declare_promote(parser: ArgumentParser) -> None:
    parser.add_argument("path", help="as orders.place")
    parser.add_argument("--comment", type=_comment, default="")
    _publishing(parser)


def _declare_rollback(parser: ArgumentParser) -> None:
    parser.add_argument("generation", type=int, help="whose rules to publish again")
    parser.add_argument("--comment", type=_comment, default="")
    _publishing(parser)


def _declare_switch(parser: ArgumentParser) -> None:
    parser.add_argument("path", nargs="?", help="as orders.place; else everything")
    parser.add_argument("--reason", type=_comment, default="")
    _publishing(parser, is_expected=None)


_VERBS: Sequence[tuple[str, str, Callable[[ArgumentParser], None]]] = (
    ("status", "generation, releases, workers, breakers", _json),
    ("explain", "why a call would be served as it would", _declare_explain),
    ("publish", "put a file in force", _declare_publish),
    ("promote", "make a canary stable", _declare_promote),
    ("rollback", "publish earlier rules as a new generation", _declare_rollback),
    ("kill", "send everything, or one path, to stable", _declare_switch),
    ("unkill", "let the rules decide again", _declare_switch),
    ("breakers", "show breakers, or put one into a mode", _declare_breakers),
    ("history", "what was published, newest first", _declare_history),
    ("verify-audit", "check that nobody rewrote the trail", lambda parser: None),
    ("export", "print the rules, or write them to a file", _declare_export),
    ("validate", "tell every fault of a file", _file),
    ("preview", "who would move if a file were published", _file),
    ("diff", "what differs between a file and what is in force", _declare_diff),
    ("apply", "put a file in force where it differs", _declare_apply),
)
