"""Finds dead references between the files of the tree; run by scripts/check.

Looks at links in Markdown (files and anchors), and at what code says of a document in docs/, alone or with a heading in
quotes after a comma: the file must be there and have that heading. Links to other sites are not followed: the check
needs no network.
"""

import re
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from urllib.parse import unquote

CODE_SUFFIXES = {".py", ".toml", ".service", ".sh", ".sql", ""}
FENCE = re.compile(r"^(```|~~~).*?^\1", re.MULTILINE | re.DOTALL)
INLINE_CODE = re.compile(r"`[^`\n]*`")
LINK = re.compile(r"\]\(\s*<?([^)>\s]+)>?[^)]*\)|^\[[^\]]+\]:\s*(\S+)|(?:src|href)=\"([^\"]+)\"", re.MULTILINE)
MENTION = re.compile(r"\b(docs/[\w./-]+\.md)(?:`*,[\s#*]*\"([^\"]+)\")?")
HEADING = re.compile(r"^#{1,6}\s+(.+?)\s*#*$", re.MULTILINE)


def tracked() -> list[Path]:
    """Return the files that git knows or would add."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"], check=True, capture_output=True
    )
    return [path for name in listed.stdout.decode().split("\0") if name and (path := Path(name)).is_file()]


@cache
def headings(path: Path) -> tuple[str, ...]:
    """Return a document's headings as a reader sees them."""
    text = FENCE.sub("", path.read_text())
    return tuple(re.sub(r"[`*]|\[([^\]]*)\]\([^)]*\)", r"\1", heading) for heading in HEADING.findall(text))


@cache
def anchors(path: Path) -> frozenset[str]:
    """Return what can stand after # in a link to this document, by GitHub's rule."""
    found: set[str] = set()
    for heading in headings(path):
        slug = re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
        number = sum(1 for known in found if re.fullmatch(rf"{re.escape(slug)}(-\d+)?", known))
        found.add(f"{slug}-{number}" if number else slug)
    return frozenset(found)


def dead_links(path: Path) -> Iterator[str]:
    """Yield what is wrong with a document's links."""
    text = INLINE_CODE.sub("", FENCE.sub("", path.read_text()))
    for groups in LINK.findall(text):
        link = unquote(next(filter(None, groups)))
        if re.match(r"[a-z]+:", link):
            continue
        name, _, anchor = link.partition("#")
        target = path.parent / name if name else path
        if not target.exists():
            yield f"{path}: no such file: {link}"
        elif anchor and target.suffix == ".md" and anchor not in anchors(target):
            yield f"{path}: no such heading: {link}"


def dead_mentions(path: Path) -> Iterator[str]:
    """Yield what is wrong with the documents that code or text mentions."""
    text = path.read_text(errors="replace")
    for mention in MENTION.finditer(text):
        name, quoted = mention.groups(default="")
        title = " ".join(quoted.replace("#", " ").split())
        where = f"{path}:{text.count(chr(10), 0, mention.start()) + 1}"
        if not Path(name).is_file():
            yield f"{where}: no such document: {name}" + (f', "{title}"' if title else "")
        elif title and title not in headings(Path(name)):
            yield f'{where}: no such heading: {name}, "{title}"'


def main() -> None:
    """Print every dead reference; exit 1 if there is one."""
    wrong: list[str] = []
    for path in tracked():
        if path.suffix == ".md":
            wrong += dead_links(path)
        elif path.suffix in CODE_SUFFIXES:
            wrong += dead_mentions(path)
    print("\n".join(wrong), end="\n" if wrong else "")
    sys.exit(bool(wrong))


main()
