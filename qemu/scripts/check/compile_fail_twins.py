"""Reads the doctests and fails when a `compile_fail` one has no compiling twin in its doc comment.

Such a test passes on any error, also on an import of something that was renamed. Its twin compiles with the
same `use` lines and all other lines but one, so the error can only be in that line. The line should name no
private field: `Type { ..value }` compiles as soon as all fields are public, whatever they are called, unless the
type has a destructor.
"""

import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parents[3]
DOC_LINE = re.compile(r"\s*//[/!] ?(.*)")
FENCE = re.compile(r"\s*(```+|~~~+)(.*)")
COMPILING = re.compile(r"(rust|no_run|should_panic|edition\d+)?")

errors = []
found = 0


def comments(lines):
    """The doc comments in a file, each as (line number, text) pairs."""
    comment = []
    for number, line in enumerate([*lines, ""], 1):
        doc = DOC_LINE.fullmatch(line)
        if doc:
            comment.append((number, doc.group(1)))
            continue
        if comment:
            yield comment
        comment = []
        # Not in a comment that is read here, so it has no twin.
        if "compile_fail" in line:
            yield [(number, "```compile_fail")]


def blocks(comment):
    """The code blocks in a doc comment: line number, tags, and code."""
    block = None
    for number, text in comment:
        fence = FENCE.fullmatch(text)
        if fence and block is None:
            block = number, set(re.split(r"[,\s]+", fence.group(2).strip())), []
        elif fence:
            yield block
            block = None
        elif block:
            # A line behind `# ` is compiled and not shown.
            block[2].append(text.strip().removeprefix("# "))
    if block:
        yield block


def uses(code):
    return [line for line in code if line.startswith("use ")]


def is_twin(tags, code, failing):
    if not all(COMPILING.fullmatch(tag) for tag in tags) or len(code) != len(failing):
        return False
    imports = uses(failing)
    others = [line for line, twin in zip(failing, code) if line != twin]
    # A path of ours in the one line, or an import over several, would not be compiled by the twin.
    return (
        imports == uses(code) != []
        and all(line.endswith(";") for line in imports)
        and len(others) == 1
        and "otrp_" not in others[0]
    )


for path in sorted(path for folder in ("ta", "host", "keys", "qemu") for path in (ROOT / folder).rglob("*.rs")):
    for comment in comments(path.read_text().splitlines()):
        tests = list(blocks(comment))
        for number, tags, failing in tests:
            if "compile_fail" not in tags:
                continue
            found += 1
            if not any(is_twin(others, code, failing) for _, others, code in tests):
                place = f"{path.relative_to(ROOT)}:{number}"
                errors.append(f"{place}: no compiling doctest in this comment has the same imports and one other line")

if not found:
    errors.append("no compile_fail doctest was found")
for error in errors:
    print(f"error: {error}", file=sys.stderr)
sys.exit(bool(errors))
