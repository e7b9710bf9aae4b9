"""Rules from the command line: look, explain, publish, promote, go back, stop."""

import getpass
import json
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from rollout import announcing, usecases
from rollout.breaker import STATE_NAMES
from rollout.changes import Operation, changes_between
from rollout.document import canonical
from rollout.errors import RolloutError
from rollout.storage import Published
from rollout.usecases import Actor

WATCH_S = 1.0


class Command(BaseCommand):
    """One verb a call; what is asked for is printed as JSON, so that programs can read it too."""

    help = __doc__ or ""

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the verbs."""
        verbs = parser.add_subparsers(dest="verb", required=True)
        verbs.add_parser("status", help="what is in force, and which workers have it")
        verbs.add_parser("breakers", help="what the fleet knows of each breaker")
        verbs.add_parser("verify-audit", help="check the chain of the audit trail")
        history = verbs.add_parser("history", help="what was published, newest first")
        history.add_argument("--limit", type=int, default=20)
        explain = verbs.add_parser("explain", help="why a call would be decided as it is")
        explain.add_argument("path")
        for name in ("identity", "header", "query", "attribute"):
            explain.add_argument(f"--{name}", action="append", default=[], metavar="NAME=VALUE")
        explain.add_argument("--trust", action="append", default=[])
        explain.add_argument("--method", default="")
        explain.add_argument("--url-path", default="")
        export = verbs.add_parser("export", help="print the rules of a generation")
        export.add_argument("--generation", type=int)
        validate = verbs.add_parser("validate", help="check a file of rules")
        validate.add_argument("file", help="- reads standard input")
        diff = verbs.add_parser("diff", help="what a file would change, and who would move")
        diff.add_argument("file", help="- reads standard input")
        apply = verbs.add_parser("apply", help="publish a file of rules, if it differs")
        apply.add_argument("file", help="- reads standard input")
        apply.add_argument("--watch", action="store_true", help="and again whenever it changes")
        publish = verbs.add_parser("publish", help="publish a file over a known generation")
        publish.add_argument("file", help="- reads standard input")
        publish.add_argument("--expect", type=int, required=True, metavar="GENERATION")
        promote = verbs.add_parser("promote", help="make the canary of a path stable")
        promote.add_argument("path")
        rollback = verbs.add_parser("rollback", help="publish an earlier generation anew")
        rollback.add_argument("generation", type=int)
        kill = verbs.add_parser("kill", help="send everything, or one path, to stable")
        kill.add_argument("path", nargs="?")
        kill.add_argument("--lift", action="store_true", help="let rules decide again")
        for verb in (apply, publish, promote, rollback, kill):
            verb.add_argument("--comment", default="")
            verb.add_argument("--actor", default="", help="default: who is logged in here")

    def handle(self, *_: Any, verb: str, **options: Any) -> None:
        """Run one verb; a refusal ends with exit code 1 and says why."""
        try:
            VERBS[verb](self, options)
        except RolloutError as refusal:
            faults = [f"{fault['pointer']}: {fault['message']}" for fault in refusal.errors]
            raise CommandError("\n".join([str(refusal), *faults]), returncode=1) from refusal

    # --- Looking ------------------------------------------------------------------------------

    def status(self, _: Mapping[str, Any]) -> None:
        """Print what is in force."""
        snapshot = usecases.get_snapshot()
        told = announcing.convergence(snapshot.generation)
        self.tell(
            {
                "generation": snapshot.generation,
                "checksum": snapshot.checksum,
                "workers": None if told is None else len(told.workers),
                "workers_with_it": None if told is None else len(told.workers & set(told.lag_ms)),
                "paths": {
                    key: {
                        "stable": path.release.stable,
                        "canary": path.release.canary,
                        "fallback": path.release.fallback,
                        "stopped": path.stopped,
                        "rules": len(path.rules),
                        "skipped": {rule.id: why for rule, why in path.skipped},
                    }
                    for key, path in sorted(snapshot.paths.items())
                },
            }
        )

    def breakers(self, _: Mapping[str, Any]) -> None:
        """Print the shared state of each breaker."""
        policies = {
            f"{key}:{version}": policy.mode
            for key, path in usecases.get_snapshot().paths.items()
            for version, policy in path.policies.items()
        }
        told = announcing.fleet_breakers(sorted(policies))
        self.tell(
            {
                name: {"mode": mode, "fleet": _state_in(told, name)}
                for name, mode in sorted(policies.items())
            }
        )

    def verify_audit(self, _: Mapping[str, Any]) -> None:
        """Check the trail; exit code 1 when a link is broken."""
        broken = usecases.verify_audit()
        if broken:
            raise CommandError(f"broken at event {', '.join(map(str, broken))}", returncode=1)
        self.stdout.write("The audit trail is whole.")

    def history(self, options: Mapping[str, Any]) -> None:
        """Print what was published."""
        for revision in usecases.list_history(options["limit"]):
            at = revision.created_at.isoformat(timespec="seconds")
            self.stdout.write(f"{revision.generation:6} {at} {revision.author}  {revision.comment}")

    def explain(self, options: Mapping[str, Any]) -> None:
        """Print a decision and the way to it."""
        self.tell(
            usecases.explain_call(
                options["path"],
                identities=_pairs(options["identity"]),
                headers=_pairs(options["header"]),
                query=_pairs(options["query"]),
                attributes=_pairs(options["attribute"]),
                trusts=frozenset(options["trust"]),
                method=options["method"],
                url_path=options["url_path"],
            )
        )

    def export(self, options: Mapping[str, Any]) -> None:
        """Print rules as a file that apply takes."""
        number = options["generation"]
        published = usecases.get_current() if number is None else usecases.get_generation(number)
        self.tell(published.payload)

    def validate(self, options: Mapping[str, Any]) -> None:
        """Check a file."""
        usecases.validate(_read(options["file"]))
        self.stdout.write("The rules are valid.")

    def diff(self, options: Mapping[str, Any]) -> None:
        """Print what a file would change."""
        seen = usecases.preview(_read(options["file"]))
        changes: list[Operation] = list(seen.changes)
        self.tell(
            {
                "from_generation": seen.from_generation,
                "changes": changes,
                "sample_size": seen.sample_size,
                "moves": [
                    {
                        "path": move.path,
                        "from": move.from_version,
                        "to": move.to_version,
                        "share_bp": move.share_bp,
                        "examples": list(move.examples),
                    }
                    for move in seen.moves
                ],
            }
        )

    # --- Changing -----------------------------------------------------------------------------

    def apply(self, options: Mapping[str, Any]) -> None:
        """Publish a file if it differs from what is in force."""
        self.apply_once(options)
        while options["watch"]:
            before = Path(options["file"]).stat().st_mtime_ns
            while Path(options["file"]).stat().st_mtime_ns == before:
                time.sleep(WATCH_S)
            try:
                self.apply_once(options)
            except (RolloutError, CommandError) as refusal:
                # Whoever edits the file mends it; until then the last good rules stay.
                self.stderr.write(str(refusal))

    def apply_once(self, options: Mapping[str, Any]) -> None:
        """Publish a file over whatever is in force."""
        draft, current = _read(options["file"]), usecases.get_current()
        if not changes_between(current.payload, draft):
            self.stdout.write(f"Generation {current.generation} has these rules already.")
            return
        published = usecases.publish(
            draft,
            expected_generation=current.generation,
            actor=_actor(options),
            comment=options["comment"],
        )
        self.published(published)

    def publish(self, options: Mapping[str, Any]) -> None:
        """Publish a file if the expected generation is still in force."""
        self.published(
            usecases.publish(
                _read(options["file"]),
                expected_generation=options["expect"],
                actor=_actor(options),
                comment=options["comment"],
            )
        )

    def promote(self, options: Mapping[str, Any]) -> None:
        """Make a canary stable."""
        self.published(
            usecases.promote(
                options["path"],
                expected_generation=usecases.get_current().generation,
                actor=_actor(options),
                comment=options["comment"],
            )
        )

    def rollback(self, options: Mapping[str, Any]) -> None:
        """Go back to an earlier generation's rules."""
        self.published(
            usecases.roll_back(
                options["generation"],
                expected_generation=usecases.get_current().generation,
                actor=_actor(options),
                comment=options["comment"],
            )
        )

    def kill(self, options: Mapping[str, Any]) -> None:
        """Pull the kill switch, or lift it."""
        self.published(
            usecases.set_kill_switch(
                is_killed=not options["lift"],
                path=options["path"],
                actor=_actor(options),
                reason=options["comment"],
            )
        )

    def published(self, published: Published) -> None:
        """Say what is in force now."""
        self.stdout.write(f"Generation {published.generation} is in force.")

    def tell(self, told: Mapping[str, Any]) -> None:
        """Print JSON."""
        self.stdout.write(json.dumps(told, indent=2, ensure_ascii=False, default=str))


VERBS: Mapping[str, Callable[[Command, Mapping[str, Any]], None]] = {
    "status": Command.status,
    "breakers": Command.breakers,
    "verify-audit": Command.verify_audit,
    "history": Command.history,
    "explain": Command.explain,
    "export": Command.export,
    "validate": Command.validate,
    "diff": Command.diff,
    "apply": Command.apply,
    "publish": Command.publish,
    "promote": Command.promote,
    "rollback": Command.rollback,
    "kill": Command.kill,
}


def _read(file: str) -> dict[str, Any]:
    try:
        text = sys.stdin.read() if file == "-" else Path(file).read_text(encoding="utf-8")
        told = json.loads(text)
        canonical(told)
    except (OSError, ValueError, TypeError) as failure:
        raise CommandError(f"{file}: {failure}", returncode=1) from failure
    if not isinstance(told, dict):
        raise CommandError(f"{file}: a rule set is a JSON object", returncode=1)
    return told


def _pairs(told: list[str]) -> dict[str, str]:
    pairs = {}
    for one in told:
        name, sign, value = one.partition("=")
        if not sign:
            raise CommandError(f"{one!r}: write NAME=VALUE")
        pairs[name] = value
    return pairs


def _actor(options: Mapping[str, Any]) -> Actor:
    try:
        name = options["actor"] or getpass.getuser()
    except (KeyError, OSError):
        name = "command line"
    return Actor(name, kind="cli")


def _state_in(told: Mapping[str, Mapping[str, str]] | None, name: str) -> str | None:
    state = (told or {}).get(name, {}).get("state")
    return STATE_NAMES[int(state)] if state in ("0", "1", "2") else None
