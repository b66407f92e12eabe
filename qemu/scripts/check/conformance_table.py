"""Reads ta/CONFORMANCE.md and fails when it names a test that is not there, or a row lacks what its status promises."""

import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parents[3]
TABLE = ROOT / "ta/CONFORMANCE.md"
TEST = re.compile(r"`([\w/-]+)::(\w+)`")
# A function with the attribute of a test above it, other attributes between.
FUNCTION = re.compile(r"#\[test\]\s*(?:#\[[^\]]*\]\s*)*fn (\w+)\(")
STATUSES = {"held", "part", "open", "outside"}

folders = {}
functions = {}
errors = []
rows = 0


def tests_of(path):
    """The names of the tests in a file."""
    if path not in functions:
        functions[path] = set(FUNCTION.findall(path.read_text())) if path.is_file() else set()
    return functions[path]


def find(line, place, name):
    folder, _, file = place.partition("/")
    if folder not in folders:
        errors.append(f"line {line}: no folder {folder}")
        return
    path = ROOT / folders[folder] / f"{file}.rs"
    if not path.is_file():
        errors.append(f"line {line}: no file {path.relative_to(ROOT)}")
    elif name not in tests_of(path):
        errors.append(f"line {line}: no test {name} in {path.relative_to(ROOT)}")


for number, text in enumerate(TABLE.read_text().splitlines(), 1):
    cells = [cell.strip() for cell in text.strip("|").split(" | ")] if text.startswith("|") else []
    named = TEST.findall(text)
    for place, name in named:
        find(number, place, name)
    folder = re.fullmatch(r"\| `([\w-]+)` \| `([\w/-]+)` \| .* \|", text)
    if folder:
        folders[folder.group(1)] = folder.group(2)
    status = next((cell for cell in cells if cell in STATUSES), None)
    if status is None:
        continue
    rows += 1
    reason = cells[-1].rstrip(" |")
    if status == "held" and (not named or "open" in re.sub(r"`[^`]*`", "", reason)):
        errors.append(f"line {number}: held by nothing, or only in part")
    if status == "part" and not (named and "open" in reason):
        errors.append(f"line {number}: in part, and not said by what or what is open")
    if status == "outside" and not reason:
        errors.append(f"line {number}: outside without a reason")

if rows < 150:
    errors.append(f"only {rows} rows were found")
for error in errors:
    print(f"error: {TABLE.relative_to(ROOT)}: {error}", file=sys.stderr)
sys.exit(bool(errors))
