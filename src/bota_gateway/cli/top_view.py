"""What ``bota-gateway top`` shows: one frame that fits the terminal, made of one answer of each question."""

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from rich.text import Text

from bota_gateway.model import FORGOTTEN_BY_HAND, Custody
from bota_gateway.status import logs
from bota_gateway.status.words import clock_of_day, duration, printable, rate, size

ROOMY = 60
"""Columns from which sections have their names at the left, and transfers a bar."""
_LABEL = 11
_BAR = 8
_HEAD_LINES = 3
_LOW_BATTERY_PERCENT = 15
_HEALTH_STYLES = {"ok": "bold green", "paused": "bold cyan", "waiting": "bold yellow", "attention": "bold yellow"}
_LEVEL_STYLES = {"debug": "dim", "warning": "yellow", "error": "bold red", "critical": "bold red"}
_ALLOWANCES = {"requests": "requests", "upload_urls": "upload URLs"}
_ALLOWANCES_SHORT = {"requests": "calls", "upload_urls": "URLs"}
_OVER = (Custody.CONFIRMED.value, Custody.FORGOTTEN.value, FORGOTTEN_BY_HAND)

Upload = tuple[str, str]
"""Serial and file id."""


@dataclass(frozen=True, slots=True)
class Seen:
    """What the gateway said last, and whether it still answers."""

    at: float
    """Unix seconds of the last question."""
    status: Mapping[str, Any] | None = None
    """None: no gateway has answered yet."""
    recorders: Sequence[Mapping[str, Any]] = ()
    happenings: Sequence[Mapping[str, Any]] = ()
    rates: Mapping[Upload, float] = field(default_factory=dict)
    """Bytes per second of uploads, as far as it could be watched."""
    silence: str | None = None
    """Why there is no answer now."""
    silent_since: float = 0.0
    """Unix seconds; of the first question that had no answer."""


@dataclass(frozen=True, slots=True)
class _Section:
    label: str
    lines: list[Text]
    least: int
    """Lines that it gets before others get more."""
    is_story: bool = False
    """Has the whole width; what does not fit falls away at the beginning, without a word."""


def frame(seen: Seen, width: int, height: int) -> list[Text]:
    """At most ``height`` lines of at most ``width`` columns; what matters most keeps its place the longest."""
    indent = _LABEL if width >= ROOMY else 0
    head = _head(seen, width)
    foot = [Text(f"{clock_of_day(seen.at, seen.at)}  q leaves", style="dim")]
    sections = list(_sections(seen, seen.status, is_roomy=width >= ROOMY)) if seen.status else []
    lines = head[: max(1, height - 1)]
    for section, count in _shared(sections, height - len(lines) - len(foot)):
        lines += _labelled(section, count, indent)
    lines = (lines + foot)[:height]
    for line in lines:
        line.no_wrap = True
        line.truncate(width, overflow="ellipsis")
        if seen.silence and seen.status and line not in head:
            line.stylize("dim")
    return lines


# -- the room ------------------------------------------------------------------------------------------------------


def _shared(sections: Sequence[_Section], room: int) -> list[tuple[_Section, int]]:
    """How many lines each section gets: first what it needs least, in their order, then one more in turn."""
    given = [0] * len(sections)
    for number, section in enumerate(sections):
        given[number] = max(0, min(section.least, len(section.lines), room))
        room -= given[number]
    while room > 0 and any(count < len(one.lines) for one, count in zip(sections, given, strict=True)):
        for number, section in enumerate(sections):
            if room > 0 and given[number] < len(section.lines):
                given[number] += 1
                room -= 1
    return [(section, count) for section, count in zip(sections, given, strict=True) if count]


def _labelled(section: _Section, count: int, indent: int) -> list[Text]:
    if section.is_story:
        return section.lines[-count:]
    shown = section.lines[:count]
    if count < len(section.lines):
        shown[-1] = Text(f"… {len(section.lines) - count + 1} more", style="dim")
    labels = [section.label] + [""] * (count - 1)
    return [
        Text().append(label.ljust(indent)[:indent], style="bold").append_text(line)
        for label, line in zip(labels, shown, strict=True)
    ]


# -- the sections --------------------------------------------------------------------------------------------------


def _head(seen: Seen, width: int) -> list[Text]:
    """Health and why, in as many lines as it takes up to three; or that nobody answers."""
    if seen.silence is not None:
        since = clock_of_day(seen.silent_since, seen.at)
        more = "; below, what it said last" if seen.status else ""
        text = Text("no answer", style="bold red")
        text.append(printable(f": {seen.silence} Asked each second since {since}{more}."), style="not bold")
    elif seen.status is None:
        text = Text("asking…")
    else:
        health = str(seen.status["health"])
        text = Text(printable(health), style=_HEALTH_STYLES.get(health, "bold red"))
        text.append(printable(f": {seen.status['summary']}"), style="not bold default")
    lines = _wrapped(text, width)
    if len(lines) > _HEAD_LINES:
        lines = [*lines[: _HEAD_LINES - 1], lines[_HEAD_LINES - 1].append(" …" + " " * width)]
    return lines


def _wrapped(text: Text, width: int) -> list[Text]:
    """Between words; what has none is cut."""
    lines: list[Text] = []
    start = end = 0
    for word in re.finditer(r"\S+", text.plain):
        if end > start and text[start : word.end()].cell_len > width:
            lines.append(text[start:end])
            start = word.start()
        end = word.end()
    return [*lines, text[start:end]]


def _sections(seen: Seen, status: Mapping[str, Any], *, is_roomy: bool) -> Iterator[_Section]:
    yield _Section("", list(_troubles(status)), 3)
    yield _Section("links", [_link(one, is_roomy=is_roomy) for one in status["links"]], 3)
    yield _Section("uploads", [_upload(one, seen.rates, is_roomy=is_roomy) for one in status["uploads"]], 2)
    yield _Section("queue", list(_queue(status, is_roomy=is_roomy)), 2)
    yield _Section("cloud", list(_cloud(status, is_roomy=is_roomy)), 1)
    yield _Section("radio", [_adapter(one, is_roomy=is_roomy) for one in status["radio"]["adapters"]], 2)
    linked = {one["serial"] for one in status["links"]}
    nearest = sorted(seen.recorders, key=lambda one: _nearness_to_trouble(one, linked))
    yield _Section("recorders", [_recorder(one, linked, is_roomy=is_roomy) for one in nearest], 3)
    told = [_happening(one, seen.at, is_roomy=is_roomy) for one in seen.happenings]
    yield _Section("", told, 2, is_story=True)


def _troubles(status: Mapping[str, Any]) -> Iterator[Text]:
    for problem in status["problems"]:
        said = f"! {problem['part']}: {problem['message']} [{problem['code']}]"
        yield Text(printable(said + _next(problem["next_attempt_in_s"])), style="red")
    for held in status["held"]:
        said = f"! {held['count']} recording{'s' * (held['count'] != 1)}: {held['message']} [{held['code']}]"
        yield Text(printable(said), style="yellow")
    for pause in status["pauses"]:
        said = f"~ {pause['message']} [{pause['code']}]"
        yield Text(printable(said + _next(pause["next_attempt_in_s"])), style="yellow")


def _next(wait: float | None) -> str:
    return "" if wait is None else f", next try in {duration(wait)}"


def _adapter(one: Mapping[str, Any], *, is_roomy: bool) -> Text:
    state = "scanning" if one["scanning"] else "not scanning" if one["there"] else "not plugged in"
    heard = "nobody heard" if one["heard_ago_s"] is None else f"heard {duration(one['heard_ago_s'])} ago"
    links = f"{one['links']} link{'s' * (one['links'] != 1)}"
    parts = [str(one["name"]), str(one["address"] or "") if is_roomy else "", state, links, heard]
    return Text(printable("  ".join(filter(None, parts))), style="" if one["scanning"] else "yellow")


def _link(one: Mapping[str, Any], *, is_roomy: bool) -> Text:
    who = printable(one["serial"] or one["address"])
    if one["file_id"] is None:
        return Text(f"{who:<10} visiting for {duration(one['for_s'])}")
    expected, received, speed = one["expected_bytes"], one["received_bytes"], one["bytes_per_s"]
    # The list tells sizes in whole KiB only, so this never says that all is there.
    share = min(0.99, received / max(1, expected))
    left = f"~{duration(max(0, expected - received) / speed)}" if speed else ""
    amount = f"{size(received)} of {size(expected)}" if is_roomy else ""
    words = "  ".join(filter(None, (amount, rate(speed), left)))
    return _transfer(who, one["file_id"], share, words, is_roomy=is_roomy)


def _upload(one: Mapping[str, Any], rates: Mapping[Upload, float], *, is_roomy: bool) -> Text:
    sent, whole = one["sent_bytes"], one["size_bytes"]
    speed = rates.get((one["serial"], one["file_id"]))
    amount = f"{size(sent)} of {size(whole)}" if is_roomy else ""
    words = "  ".join(filter(None, (amount, rate(speed) if speed else str(one["doing"]))))
    share = min(1.0, sent / max(1, whole))
    return _transfer(printable(one["serial"]), one["file_id"], share, words, is_roomy=is_roomy)


def _transfer(who: str, file_id: str, share: float, words: str, *, is_roomy: bool) -> Text:
    full = int(share * _BAR)
    text = Text(f"{who:<10} {printable(file_id)} ")
    if is_roomy:
        text.append("#" * full, style="green").append("-" * (_BAR - full), style="dim").append(" ")
    return text.append(f"{share:>4.0%} ").append(printable(words))


def _queue(status: Mapping[str, Any], *, is_roomy: bool) -> Iterator[Text]:
    counts: Mapping[str, int] = status["counts"]
    under_way = [f"{counts[state]} {state}" for state in Custody if counts.get(state) and state not in _OVER]
    over = [f"{counts[state]} {state.replace('_', ' ')}" for state in _OVER if counts.get(state)]
    text = Text("" if is_roomy else "queue: ").append(", ".join(under_way) or "empty")
    yield text.append(f"; done: {', '.join(over)}" if over else "", style="dim")
    spool = status["spool"]
    used = f"spool: {size(spool['used_bytes'])} of {size(spool['quota_bytes'])}"
    yield Text(f"{used}, disk has {size(spool['disk_free_bytes'])} free" if is_roomy else used)


def _cloud(status: Mapping[str, Any], *, is_roomy: bool) -> Iterator[Text]:
    between, names = (" of ", _ALLOWANCES) if is_roomy else ("/", _ALLOWANCES_SHORT)
    left = [
        f"{one['left_in_minute']}{between}{one['per_minute']:.0f} {names.get(one['name'], one['name'])}"
        for one in status["cloud"]["budget"]
    ]
    words = ", ".join(left) + " left" + " this minute" * is_roomy if left else "not asked yet"
    if status["pauses"]:
        words += "; rests"
    yield Text(printable(words if is_roomy else f"cloud: {words}"))


def _nearness_to_trouble(one: Mapping[str, Any], linked: Collection[str]) -> tuple[int, int, str]:
    """Those that somebody should look at first; those of other projects last."""
    battery = 100 if one["battery_percent"] is None else int(one["battery_percent"])
    if one["membership"] == "stranger":
        rank = 5
    elif one["waiting_for"]:
        rank = 0
    elif battery <= _LOW_BATTERY_PERCENT and not one["charging"]:
        rank = 1
    elif not one["in_range"] and one["serial"] not in linked:
        rank = 2 if one["pending"] else 3
    else:
        rank = 4
    return rank, battery, str(one["serial"] or one["address"])


def _recorder(one: Mapping[str, Any], linked: Collection[str], *, is_roomy: bool) -> Text:
    if one["serial"] in linked:
        where = "linked"
    elif one["in_range"] and one["rssi"] is not None:
        where = f"{one['rssi']} dBm"
    else:
        where = f"{duration(max(0.0, one['seen_ago_s']))} ago"
    battery = "" if one["battery_percent"] is None else f"{one['battery_percent']} %" + "+" * bool(one["charging"])
    holds = "" if one["pending"] is None else f"holds {one['pending']}"
    wait = one["next_attempt_in_s"]
    visit = "" if wait is None else f"visit in {duration(wait)}" if wait > 0 else "visit due"
    reason = f"  {one['waiting_for']}: {one['waiting_detail'] or ''}" if one["waiting_for"] else ""
    facts = f" {battery:>6}  {holds:<8}  {visit}"
    text = Text(printable(f"{one['serial'] or one['address']:<10} {where:<8}{facts if is_roomy or not reason else ''}"))
    return text.append(printable(reason), style="dim" if one["membership"] == "stranger" else "yellow")


def _happening(one: Mapping[str, Any], at: float, *, is_roomy: bool) -> Text:
    style = _LEVEL_STYLES.get(str(one["level"]), "")
    if is_roomy:
        return Text(logs.told_line(one, at), style=style)
    return Text(printable(f"{clock_of_day(one['at'], at)} {one['recorder'] or ''} {one['says']}"), style=style)
