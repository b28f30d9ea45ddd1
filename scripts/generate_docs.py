"""Generates the documentation that the code already knows, or checks that it is up to date.

python scripts/generate_docs.py           writes config.example.toml and docs/*.md
python scripts/generate_docs.py --check   exits 1 and names what is out of date
"""

import ast
import json
import re
import sys
import textwrap
import types
import typing
from collections.abc import Callable, Iterator
from enum import Enum
from itertools import groupby, product
from pathlib import Path
from typing import Any, get_args, get_origin

import click
from pydantic import SecretStr
from pydantic.fields import FieldInfo

from bota_gateway import config, errors
from bota_gateway.cli.doctor.cases import HINDRANCES
from bota_gateway.cli.doctor.examination import CHECKS
from bota_gateway.cli.main import cli
from bota_gateway.cloud.api import REFUSALS
from bota_gateway.model import Custody
from bota_gateway.protocol.errors_on_wire import WIRE_ERRORS, transfer_code
from bota_gateway.radio.classify import RULES
from bota_gateway.sim import faults as recorder_faults
from bota_gateway.sim.cloud import faults as cloud_faults
from bota_gateway.spool import custody
from bota_gateway.status.catalogue import BY_NAME, Event

ROOT = Path(__file__).resolve().parent.parent
GENERATED = "<!-- Made by scripts/generate-docs from the code; change it there. -->\n\n"
WIDTH = 118


def example_toml() -> str:
    """Every setting with its meaning and its default; the file parses and changes nothing."""
    lines = [
        "# bota-gateway: every setting, its meaning and its default. A key left out has its default.",
        "# Each one can also be given as an environment variable: BOTA_GATEWAY_SECTION__KEY.",
    ]
    for name, section in _sections():
        lines += ["", f"# {section.__doc__}", f"[{name}]"]
        for key, field in _last_tables(section):
            lines += [f"# {line}" for line in textwrap.wrap(_meaning(field), WIDTH - 2)]
            lines += [_assignment(name, key, field), ""]
        lines.pop()
    return "\n".join(lines) + "\n"


def settings_md() -> str:
    """The settings as a reference."""
    out = [GENERATED + "# Settings", ""]
    out += [
        "One TOML file, `--config PATH`; the installed one is `/etc/bota-gateway/config.toml`. Every key can also be",
        "given as an environment variable `BOTA_GATEWAY_SECTION__KEY`, which wins. Lists and maps are JSON there.",
        "An unknown key is an error that names the nearest known one.",
    ]
    for name, section in _sections():
        out += [
            "",
            f"## [{name}]",
            "",
            str(section.__doc__),
            "",
            "| Key | Kind | Default | Meaning |",
            "|---|---|---|---|",
        ]
        for key, field in section.model_fields.items():
            default = "" if field.get_default(call_default_factory=True) is None else f"`{_toml(field)}`"
            out.append(f"| `{key}` | {_cell(_kind(field.annotation))} | {_cell(default)} | {_cell(_meaning(field))} |")
    return "\n".join(out) + "\n"


def cli_md() -> str:
    """The help of every command."""
    out = [GENERATED + "# Commands", ""]
    out += ["Exit codes: 0 done, 1 failed, 2 bad configuration or usage, 3 durability can't be kept, 130 left by"]
    out += ["Ctrl-C. Ctrl-C or SIGTERM end `run` and `sim` with 0: they were stopped as asked."]
    for path, command in _commands(cli, ("bota-gateway",)):
        context = click.Context(command, info_name=" ".join(path), terminal_width=100, **cli.context_settings)
        out += ["", f"## {' '.join(path)}", "", "```", command.get_help(context), "```"]
    return "\n".join(out) + "\n"


EVENTS = """\
One name for each happening. `recorder` (serial) and `recording` (file id) stand beside the fields where they apply.
A healthy day has no warning, and fewer than 2,000 lines at level info on a hub with ten recorders.

Where to read it:

```
bota-gateway tail --recorder PIN0000001                     as it happens, and what was just before
journalctl -u bota-gateway -p warning --since today         only what may need you
journalctl -u bota-gateway RECORDER=PIN0000001              the story of one recorder
journalctl -u bota-gateway RECORDING=0a0b0c0d               of one recording, over restarts
journalctl -u bota-gateway CODE=radio_connect_timeout       of one reason; each field below, in capitals, can be asked
bota-gateway timeline 0a0b0c0d                              of one recording, as the spool remembers it for good
```

The journal takes several of these at once: `RECORDER=PIN0000001 EVENT=visit_failed`. With `-o json` every field shows.

**Repeats.** Of a failure that comes again and again, the second is told, then each doubling, and none is hidden for
longer than an hour: "again (12 times since 09:10)", in fields `times` and `first_at`; `last_at` in one that is told
late. The last column says by which fields it counts as the same, where `whom` is the recorder and the recording, or
the address where no recorder is known yet; and which repeats an event ends: "after 12 tries since 09:10", in fields
`after_times` and `failing_since`. Nothing at level error, nor at debug, is ever left out. Metrics count all.
"""


def events_md() -> str:
    """Every event that the logs can hold."""
    out = [GENERATED + "# Log events", ""]
    out += [
        *EVENTS.splitlines(),
        "",
        "| Event | It says | Level | Fields | Meaning | What to do | Repeats |",
        "|---|---|---|---|---|---|---|",
    ]
    for event in sorted(BY_NAME.values(), key=lambda one: one.name):
        fields = ", ".join(f"`{field}`" for field in event.fields)
        out.append(
            f"| `{event.name}` | {_cell(_plain(event.says))} | {', '.join(event.levels)} | {fields} "
            f"| {_cell(event.meaning)} | {_cell(event.todo)} | {_repeats(event)} |"
        )
    return "\n".join(out) + "\n"


def _repeats(event: Event) -> str:
    told = [f"the same by {', '.join(f'`{field}`' for field in event.collapses)}"] if event.collapses else []
    told += [f"ends {', '.join(f'`{name}`' for name in event.ends)}"] if event.ends else []
    return "; ".join(told)


def errors_md() -> str:
    """Every error code that stands in the code, with what is said and what to do."""
    out = [GENERATED + "# Error codes", ""]
    out += [
        "Codes never change once released. What stands in braces is filled in with the case at hand.",
        "",
        "| Code | What happened | What to do |",
        "|---|---|---|",
    ]
    out += [f"| `{code}` | {_cell(what)} | {_cell(todo)} |" for code, (what, todo) in _told_codes()]
    return "\n".join(out) + "\n"


def remedies_toml() -> str:
    """What to do for every error code, for the gateway itself: where a reason is kept, only its code is."""
    out = ["# Generated by scripts/generate-docs: do not edit.", ""]
    out += [f"{code} = {json.dumps(' '.join(todo.split()), ensure_ascii=False)}" for code, (_, todo) in _told_codes()]
    return "\n".join(out) + "\n"


def _told_codes() -> list[tuple[str, tuple[str, str]]]:
    said: dict[str, tuple[str, str]] = {}
    for code, message, remedy in _codes():
        known_message, known_remedy = said.get(code, ("", ""))
        todo = remedy.replace("then retry.", f"then: bota-gateway retry --reason {code}.")
        said[code] = (known_message or message, known_remedy or todo)
    return sorted(said.items())


def custody_md() -> str:
    """The states of a recording and the steps between them."""
    out = [GENERATED + "# Custody: the life of a recording", ""]
    out += ["Every arrow is one transaction that also writes a line into the recording's timeline.", "", "```mermaid"]
    out += ["stateDiagram-v2", f"    [*] --> {custody.BEGINNING}"]
    moves = sorted(
        (source.value, arc.target.value, arc.step.value)
        for arc in custody.ARCS
        for source in arc.sources
        if arc.target not in (None, source)
    )
    out += [f"    {source} --> {target}: {step}" for source, target, step in moves]
    out += ["```", "", "## States", "", "| State | Means | On the disk before it is entered |", "|---|---|---|"]
    out += [f"| `{state}` | {words.means} | {words.durable_before} |" for state, words in custody.STATES.items()]
    out += [
        "",
        "## Steps",
        "",
        "A synced step survives a power cut; a power cut may undo another one, and nothing is lost.",
    ]
    out += ["", "| Step | From | To | When | Synced |", "|---|---|---|---|---|"]
    for arc in custody.ARCS:
        sources = ", ".join(f"`{state}`" for state in Custody if state in arc.sources)
        target = f"`{arc.target}`" if arc.target else "the same"
        out.append(f"| `{arc.step}` | {sources} | {target} | {_cell(arc.when)} | {'yes' if arc.durable else 'no'} |")
    out += ["", "## Lines of a timeline", "", "| Line | Means |", "|---|---|"]
    out += [f"| `{happened}` | {_cell(means)} |" for happened, means in custody.LINES.items()]
    return "\n".join(out) + "\n"


def faults_md() -> str:
    """What the simulators can be told to do wrong."""
    out = [GENERATED + "# Faults of the simulators", "", "How to command them: [simulators.md](simulators.md).", ""]
    out += ["## Recorders", "", "`--fault KIND,detail=value,...`", "", "| Kind | What goes wrong |", "|---|---|"]
    meanings = _documented_members(Path(recorder_faults.__file__), recorder_faults.FaultKind.__name__)
    out += [
        f"| `{kind}` | {_cell(meanings.get(kind) or kind.replace('_', ' '))} |" for kind in recorder_faults.FaultKind
    ]
    out += ["", "## Cloud", "", "| Kind | What goes wrong | Fields |", "|---|---|---|"]
    for fault in get_args(cloud_faults.Fault):
        fields = ", ".join(f"`{name}`" for name in fault.model_fields if name != "kind")
        out.append(f"| `{fault.model_fields['kind'].default}` | {_cell(str(fault.__doc__))} | {fields} |")
    return "\n".join(out) + "\n"


DOCTOR = """\
`bota-gateway doctor` makes all checks side by side, each with its own time limit: one that hangs or fails stops no
other. It is safe beside a running gateway, which it asks instead of opening what the gateway has open; nothing is
changed, and the API is only read. Root sees more: `sudo bota-gateway doctor`. Exit code 1 if something fails, else 0.

With `--json` each finding has the code below, which never changes once released. `{message}`, `{code}` and `{remedy}`
are those of an error in [errors.md](errors.md). Any check may also end as not checked: HINDRANCES.

`--bundle` writes an archive (tar.gz, mode 600) for support: these findings, versions, the settings, facts of the
system, the newest log of the service, and from a running gateway its status, recorders, recordings, newest happenings,
and the timelines of what is not finished. Not in it: the API key, tokens, presigned URLs (each URL is cut at its
query), audio.
"""


def doctor_md() -> str:
    """What each check of the doctor looks at, and everything that it may find."""
    out = [GENERATED + "# bota-gateway doctor", ""]
    hindrances = ", ".join(f"`CHECK_{why}` ({_plain(said)})" for why, (said, _) in HINDRANCES.items())
    for paragraph in DOCTOR.replace("HINDRANCES", hindrances).split("\n\n"):
        out += [*textwrap.wrap(paragraph, WIDTH, break_on_hyphens=False), ""]
    out.pop()
    for group, checks in groupby(CHECKS, key=lambda check: check.group):
        out += ["", f"## {group}"]
        for check in checks:
            out += ["", f"### {check.name}", "", str(check.__doc__).partition("\n")[0], ""]
            out += ["| Code | Verdict | What is found | What to do |", "|---|---|---|---|"]
            out += [
                f"| `{case.code}` | {case.verdict.value.replace('_', ' ')} | {_cell(_plain(case.says))} | "
                f"{_cell(_plain(case.remedy)) or 'Nothing.'} |"
                for case in check.cases()
            ]
    return "\n".join(out) + "\n"


def vm_md() -> str:
    """What scripts/vm plays."""
    sys.path.insert(0, str(ROOT / "tests"))
    from vm.document import document  # noqa: PLC0415 - of the tests, and found there only now

    return GENERATED + document()


DOCUMENTS: dict[str, Callable[[], str]] = {
    "config.example.toml": example_toml,
    "docs/settings.md": settings_md,
    "docs/commands.md": cli_md,
    "docs/log-events.md": events_md,
    "docs/errors.md": errors_md,
    "src/bota_gateway/status/remedies.toml": remedies_toml,
    "docs/custody.md": custody_md,
    "docs/faults.md": faults_md,
    "docs/doctor.md": doctor_md,
    "docs/vm.md": vm_md,
}


def _sections() -> Iterator[tuple[str, type[config.Section]]]:
    for name, field in config.Settings.model_fields.items():
        yield name, type(field.default)


def _last_tables(section: type[config.Section]) -> list[tuple[str, FieldInfo]]:
    """Keys in order, maps last: in TOML a sub-table ends the plain keys of its section."""
    return sorted(section.model_fields.items(), key=lambda item: get_origin(item[1].annotation) is dict)


def _meaning(field: FieldInfo) -> str:
    return str(field.description)


def _assignment(section: str, key: str, field: FieldInfo) -> str:
    default = field.get_default(call_default_factory=True)
    if isinstance(default, dict):
        return f'[{section}.{key}]\n# SERIAL = "dev_..."'
    return f"# {key} =" if default is None else f"{key} = {_toml(field)}"


def _toml(field: FieldInfo) -> str:
    value = field.get_default(call_default_factory=True)
    match value:
        case Enum():
            return json.dumps(value.value)
        case tuple():
            return json.dumps(list(value))
        case Path():
            return json.dumps(str(value))
        case _:
            return json.dumps(value)


def _kind(annotation: Any) -> str:  # noqa: PLR0911 - one line for each kind of type
    parts = get_args(annotation)
    match get_origin(annotation):
        case typing.Annotated:
            return _kind(parts[0])
        case typing.Union | types.UnionType:
            return " or ".join(_kind(part) for part in parts if part is not type(None))
        case typing.Literal:
            return " / ".join(f"`{value}`" for value in parts)
        case origin if origin is tuple:
            return f"list of {_kind(parts[0])}"
        case origin if origin is dict:
            return "map"
        case _ if isinstance(annotation, type) and issubclass(annotation, Enum):
            return " / ".join(f"`{member.value}`" for member in annotation)
        case _:
            return _PLAIN_KINDS[annotation]


_PLAIN_KINDS = {
    str: "text",
    int: "whole number",
    float: "number",
    bool: "true / false",
    Path: "path",
    SecretStr: "secret",
}


def _commands(group: click.Group, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    yield path, group
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        if isinstance(command, click.Group):
            yield from _commands(command, (*path, name))
        elif command is not None:
            yield (*path, name), command


def _codes() -> Iterator[tuple[str, str, str]]:
    """Code, what happened, what to do: the most telling places first."""
    modules = [ast.parse(path.read_text("utf-8")) for path in sorted((ROOT / "src" / "bota_gateway").rglob("*.py"))]
    for module in modules:
        for node in ast.walk(module):
            if isinstance(node, ast.ClassDef) and any(ast.unparse(base) == "StrEnum" for base in node.bases):
                yield from _codes_of_enum(node)
    for by_class, module in product((False, True), modules):
        said = _said(module)
        for node in ast.walk(module):
            if isinstance(node, ast.Call):
                yield from _code_of_call(node, said, by_class=by_class)
    yield from _codes_of_tables()


def _codes_of_tables() -> Iterator[tuple[str, str, str]]:
    for wire_code, line in WIRE_ERRORS.items():
        yield transfer_code(wire_code), line.meaning, _RETRY[line.retry]
    for status, (code, remedy) in REFUSALS.items():
        yield code, f"The API answers {status}.", remedy
    for kind, rule in RULES.items():
        code = errors.ConnectError("", kind=kind).error_code
        yield code, f"A recorder could not be connected: {kind.replace('_', ' ')}.", rule.advice
    for thing in vars(errors).values():
        if isinstance(thing, type) and issubclass(thing, errors.GatewayError):
            yield thing.code, str(thing.__doc__).partition("\n")[0], thing.remedy


def _said(module: ast.Module) -> dict[ast.expr, ast.expr]:
    """For a variable that stands where a message is due: what was assigned to it, or its function's docstring."""
    found: dict[ast.expr, ast.expr] = {}
    for function in ast.walk(module):
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
            nodes = list(ast.walk(function))
            assigned = {
                target.id: node.value
                for node in nodes
                if isinstance(node, ast.Assign)
                for target in node.targets
                if isinstance(target, ast.Name)
            }
            summary = ast.Constant((ast.get_docstring(function) or "").partition("\n")[0])
            found |= {node: assigned.get(node.id, summary) for node in nodes if isinstance(node, ast.Name)}
    return found


def _code_of_call(node: ast.Call, said: dict[ast.expr, ast.expr], *, by_class: bool) -> Iterator[tuple[str, str, str]]:
    """``SomeError(message, code="...", remedy="...")``, and the receiver's ``self._fail("...", message, retry)``.

    ``by_class``: the remedy of its class, for codes that stand nowhere with one of their own.
    """
    words = {word.arg: word.value for word in node.keywords}
    name = ast.unparse(node.func).rpartition(".")[2]
    match words.get("code"), node.args:
        case ast.Constant(value=str(code)), _:
            message = node.args[0] if node.args else words.get("detail", words.get("message"))
            of_class = getattr(getattr(errors, name, None), "remedy", "")
            remedy = of_class if by_class else _template(words.get("remedy"))
            yield code, _template(said.get(message, message) if message else None), remedy
        case _, [ast.Constant(value=str(code)), message, *rest] if name == "_fail":
            retry = rest[0] if rest else None
            yield code, _template(said.get(message, message)), _RETRY.get(_template(retry), "")
        case _:
            return


def _codes_of_enum(node: ast.ClassDef) -> Iterator[tuple[str, str, str]]:
    """Members of the enumerations of reasons, each with the docstring below it."""
    if node.name in {"Reason", "Why"}:
        for code, meaning in _members(node).items():
            what, _, todo = meaning.partition("\n\n")
            yield code, what, todo


def _members(node: ast.ClassDef) -> dict[str, str]:
    """Values of an enumeration, each with the docstring below it."""
    found = {}
    for member, text in zip(node.body, node.body[1:], strict=False):
        match member, text:
            case ast.Assign(value=ast.Constant(value=str(code))), ast.Expr(value=ast.Constant(value=str(meaning))):
                found[code] = meaning
            case _:
                continue
    return found


def _documented_members(path: Path, enumeration: str) -> dict[str, str]:
    classes = (node for node in ast.parse(path.read_text("utf-8")).body if isinstance(node, ast.ClassDef))
    return _members(next(node for node in classes if node.name == enumeration))


_RETRY = {
    "now": "Nothing: it is tried again at once, then later.",
    "later": "Nothing: it is tried again in a later visit.",
    "never": "It is parked and stays on the recorder. Remove the cause, then: bota-gateway retry.",
}


def _constants() -> dict[str, str]:
    """Texts that modules give a name in capitals; of a name that stands for several, none."""
    found: dict[str, set[str]] = {}
    for path in (ROOT / "src" / "bota_gateway").rglob("*.py"):
        for node in ast.parse(path.read_text("utf-8")).body:
            match node:
                case (
                    ast.Assign(targets=[ast.Name(id=name)], value=ast.Constant(value=str(text)))
                    | ast.AnnAssign(target=ast.Name(id=name), value=ast.Constant(value=str(text)))
                ) if name.isupper():
                    found.setdefault(name, set()).add(text)
                case _:
                    continue
    return {name: texts.pop() for name, texts in found.items() if len(texts) == 1}


CONSTANTS = _constants()


def _template(node: ast.expr | None) -> str:
    match node:
        case ast.Constant(value=str(text)):
            return text
        case ast.Name(id=name) | ast.FormattedValue(value=ast.Name(id=name)) if name in CONSTANTS:
            return CONSTANTS[name]
        case ast.JoinedStr():
            return "".join(_template(part) for part in node.values)
        case ast.FormattedValue():
            return "{" + ast.unparse(node.value).rpartition(".")[2] + "}"
        case ast.BinOp(op=ast.Add()):
            return _template(node.left) + _template(node.right)
        case _:
            return ""


def _plain(template: str) -> str:
    """A template of ``words.sentence`` without the units of its fields."""
    return re.sub(r"\{(\w+)[^}]*\}", r"{\1}", template)


def _cell(text: str) -> str:
    return " ".join(text.replace("|", "\\|").split())


def main() -> int:
    """Write the documents, or with ``--check`` compare them."""
    check = "--check" in sys.argv[1:]
    stale = []
    for name, make in DOCUMENTS.items():
        path = ROOT / name
        text = make()
        if path.exists() and path.read_text("utf-8") == text:
            continue
        if check:
            stale.append(name)
        else:
            path.parent.mkdir(exist_ok=True)
            path.write_text(text, "utf-8")
            print(f"wrote {name}")
    if stale:
        print(f"out of date: {', '.join(stale)}; run scripts/generate-docs", file=sys.stderr)
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main())
