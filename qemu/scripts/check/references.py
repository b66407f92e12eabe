"""Reads the documents and fails when they refer to something that is not there, or disagree with the code.

Checked are the relative links and anchors of every Markdown file; the tables of the TAM's configuration, of the
boards' settings and of the environment of a build, each in both directions; the examples that a device test runs;
and the device tests that the threat model names.
"""

import fnmatch
import functools
import pathlib
import re
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[3]
CONFIGURATION = ROOT / "host/tam/README.md"
BOARDS = ROOT / "qemu/boards/README.md"
PORTING = ROOT / "ta/PORTING.md"
SECURITY = ROOT / "ta/SECURITY.md"
SAMPLE = ROOT / "ta/samples/signer/README.md"

LINK = re.compile(r"!?\[(?:[^\]\[]|\[[^\]]*\])*\]\(([^)\s]+)\)")
HEADING = re.compile(r"#{1,6} +(.*?) *#*")
REQUIRED = "required"
# What scripts read, and nobody is to set for a build.
INTERNAL = {
    "OTRP_LOCK_HELD": "from script to script",
    "HOME": "the system's",
    "CARGO_HOME": "cargo's",
    "PATH": "the system's",
    "TERM": "the system's",
    "OUT_DIR": "cargo's",
    "MAKE": "make's",
    "MAKEFLAGS": "make's",
    "MAKEFILE_LIST": "make's",
}

errors = []
counts = {}


def error(path, text, line=None):
    errors.append(f"{path.relative_to(ROOT)}{f', line {line}' if line else ''}: {text}")


@functools.cache
def names():
    """All files of the project: what git knows or would add; in an archive, what is there."""
    command = ["git", "-C", ROOT, "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    if (ROOT / ".git").exists():
        listed = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split("\0")
        return sorted({name for name in listed if name and (ROOT / name).is_file()})
    found = (path.relative_to(ROOT) for path in ROOT.rglob("*") if path.is_file())
    return sorted(str(name) for name in found if name.parts[0] not in (".cache", "target"))


@functools.cache
def files(*patterns):
    return [ROOT / name for name in names() if any(fnmatch.fnmatch(name, pattern) for pattern in patterns)]


def only(pattern):
    """The one file of this name, wherever it is."""
    found = files(pattern)
    if len(found) != 1:
        sys.exit(f"error: {len(found)} files are called {pattern}, and references.py reads one")
    return found[0]


def compare(path, what, documented, code, where):
    """Two sets of names, of which neither may have one that the other lacks; `code` may tell where each is."""
    counts[what] = len(documented)
    if not code:
        error(path, f"no {what} was found in {where}: references.py does not understand it any more")
    for name in sorted(set(code) - documented):
        error(path, f"the {what} {name} is not in the table; it is in {code[name] if isinstance(code, dict) else where}")
    for name in sorted(documented - set(code)):
        error(path, f"the {what} {name} is in the table, and not in {where}")


# Links and anchors


@functools.cache
def prose(path):
    """The lines of a document with their numbers, without blocks of code."""
    lines, fence = [], None
    for number, line in enumerate(path.read_text().splitlines(), 1):
        mark = re.match(r"\s*(`{3,}|~{3,})", line)
        if fence is None and mark:
            fence = mark.group(1)
        elif fence is not None and mark and mark.group(1).startswith(fence):
            fence = None
        elif fence is None:
            lines.append((number, line))
    return lines


@functools.cache
def anchors(path):
    """The anchors that GitHub and GitLab give to the headings of a document."""
    found = set()
    for _, line in prose(path):
        heading = HEADING.fullmatch(line)
        if not heading:
            continue
        text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading.group(1)).replace("`", "").replace("*", "")
        anchor = base = re.sub(r"[^\w\- ]", "", text.lower()).replace(" ", "-")
        number = 0
        while anchor in found:
            number += 1
            anchor = f"{base}-{number}"
        found.add(anchor)
    return found


def check_links():
    counts["links"] = 0
    for path in files("*.md"):
        kept = dict(prose(path))
        lines = [kept.get(number, "") for number in range(1, max(kept, default=0) + 1)]
        # A link may go over the end of a line; what is in quotes of code is none, but may be the text of one.
        text = re.sub(r"`[^`\n]*`(?!\])", "", "\n".join(lines))
        for link in LINK.finditer(text):
            target = link.group(1)
            if re.match(r"[a-z][a-z0-9+.-]*:", target):
                continue
            counts["links"] += 1
            number = text.count("\n", 0, link.end()) + 1
            name, _, anchor = target.partition("#")
            file = (path.parent / name).resolve() if name else path
            if not file.is_relative_to(ROOT) or not file.exists():
                error(path, f"the link to {target} leads nowhere", number)
            elif anchor and file.suffix == ".md" and anchor not in anchors(file):
                error(path, f"the link to {target}: {file.relative_to(ROOT)} has no such heading", number)


# Tables


def tables(path, header):
    """The rows of the tables whose first cell is `header`, each with the heading above: names, cells."""
    heading, inside = "", False
    for _, line in prose(path):
        title = HEADING.fullmatch(line)
        if title:
            heading = title.group(1)
        if not line.startswith("|"):
            inside = False
            continue
        cells = [cell.strip() for cell in line.strip().strip("|").split(" | ")]
        if cells[0] == header:
            inside = True
        elif inside and not set(cells[0]) <= set("-| "):
            yield heading, re.findall(r"`(\w+)`", cells[0]), cells


def in_table(path, header):
    return {name for _, listed, _ in tables(path, header) for name in listed}


# The TAM's configuration


def sections_of(source):
    """The structs that serde reads the configuration into: section -> {key: required}."""
    titles = {"TamSection": "[tam]", "AlternativeSection": "[tam.alternative]", "SdSection": "[[sd]]", "TaSection": "[[sd.ta]]"}
    sections = {}
    for name, body in re.findall(r"struct (\w*Section) \{\n(.*?)\n\}", source, re.DOTALL):
        if name not in titles:
            error(only("*/desired/file.rs"), f"references.py does not know which section {name} is")
            continue
        sections[titles[name]] = {
            key: not attribute and not kind.startswith("Option<")
            for attribute, key, kind in re.findall(r"(#\[serde\([^\n]*\)\]\n\s*)?(?:pub )?(\w+): ([^\n]*),\n", body + "\n")
        }
    return sections


def help_text(constant):
    """The file of a help text of the TAM, and the text as it is printed."""
    for path in files("host/tam/src/*.rs"):
        found = re.search(rf'const {constant}: &str = "((?:[^"\\]|\\.)*)";', path.read_text(), re.DOTALL)
        if found:
            return path, found.group(1).replace('\\"', '"').replace("\\\\", "\\")
    sys.exit(f"error: there is no help text {constant} in host/tam/src")


def check_configuration():
    source = only("*/desired/file.rs")
    code = sections_of(source.read_text())
    documented = {}
    for heading, listed, cells in tables(CONFIGURATION, "Key"):
        section = heading.split("`")[1] if "`" in heading else heading
        for name in listed:
            documented.setdefault(section, {})[name] = cells[1] == REQUIRED
    where = source.relative_to(ROOT)
    compare(CONFIGURATION, "section", set(documented), set(code), where)
    for section, keys in code.items():
        table = documented.get(section, {})
        compare(CONFIGURATION, f"key of {section}", set(table), set(keys), where)
        for key in set(keys) & set(table):
            if keys[key] != table[key]:
                error(CONFIGURATION, f"{key} of {section} {'is' if keys[key] else 'is not'} required in {where}")
    path, text = help_text("CONFIGURATION")
    described = set(re.findall(r"^  (\w+) +\S", text, re.MULTILINE))
    for section, keys in code.items():
        for key in sorted(set(keys) - described - {"alternative", "ta"}):
            error(path, f"{key} of {section} is not in the help text of `config`")


def check_examples():
    """Pages repeat the help text's smallest configuration and its commands, which a device test runs."""
    path, text = help_text("SERVE_HELP")
    printed = {" ".join(line.split()) for line in text.replace("\\\n", " ").splitlines()}
    pages = {CONFIGURATION: r"```toml\n(.*?)```", SAMPLE: r"```sh\n(.*?)```"}
    for page, block in pages.items():
        for code in re.findall(block, page.read_text(), re.DOTALL):
            for line in code.replace("\\\n", " ").splitlines():
                line = " ".join(line.split())
                repeated = page == CONFIGURATION or re.match(r"otrp-tam |otrp-keys (ocsp|sign-ta) ", line)
                if repeated:
                    counts["example"] = counts.get("example", 0) + 1
                    if line not in printed:
                        error(page, f"not as `otrp-tam serve --help` prints it ({path.relative_to(ROOT)}): {line}")


# Boards


def check_boards():
    documented = in_table(BOARDS, "Setting")
    boards = files("qemu/boards/*.conf")
    settings = {board: set(re.findall(r"^(BOARD_\w+)=", board.read_text(), re.MULTILINE)) for board in boards}
    compare(BOARDS, "setting", documented, set().union(*settings.values()), "a board's file")
    for _, listed, cells in tables(BOARDS, "Setting"):
        for name in listed:
            for board in boards:
                if cells[1].startswith(REQUIRED) and name not in settings[board]:
                    error(board, f"{name} is missing, which {BOARDS.relative_to(ROOT)} requires")
    for script in files("qemu/scripts/*.sh"):
        for name in set(re.findall(r"\$\{?[!#]?(BOARD_\w+)", script.read_text())) - documented:
            error(script, f"{name} is not in the table of {BOARDS.relative_to(ROOT)}")


# The environment of a build


def environment():
    """The variables that a build reads: name -> a file that does."""
    found = {}

    def note(path, *patterns):
        text = path.read_text()
        for pattern in patterns:
            for name in re.findall(pattern, text, re.MULTILINE):
                found.setdefault(name, path.relative_to(ROOT))

    for script in files("qemu/scripts/*.sh", ".ci/run"):
        # What has a default, or may be missing.
        note(script, r"\$\{([A-Z][A-Z0-9_]+):?[-+=?]")
    cargo = only("*scripts/build/cargo.sh")
    # What it passes on to the crates' build scripts.
    note(cargo, r"^export ([A-Z][A-Z0-9_]+)=", r"^(?:export )?([A-Z][A-Z0-9_]+)=.*\nexport ")
    makefile = ROOT / "Makefile"
    note(makefile, r"^([A-Z][A-Z0-9_]*) *\?=")
    defined = set(re.findall(r"^([A-Z][A-Z0-9_]*) *:?=", makefile.read_text(), re.MULTILINE))
    for name in set(re.findall(r"\$\(([A-Z][A-Z0-9_]+)\)", makefile.read_text())) - defined:
        found.setdefault(name, makefile.relative_to(ROOT))
    for source in files("ta/*.rs", "qemu/*.rs"):
        note(source, r"env::var(?:_os)?\(\"([A-Z][A-Z0-9_]+)\"\)", r"rerun-if-env-changed=([A-Z][A-Z0-9_]+)", r"\benv = \"([A-Z][A-Z0-9_]+)\"")
    # Named by constants there.
    note(only("ta/trust/src/lib.rs"), r"pub const [A-Z0-9_]+: &str = \"([A-Z][A-Z0-9_]+)\";")
    for name in list(found):
        if name in INTERNAL or name.startswith(("BOARD_", "CARGO_", "CFLAGS_")):
            del found[name]
    return found


def check_environment():
    compare(PORTING, "variable", in_table(PORTING, "Variable"), environment(), "what a build reads")


# The threat model


def check_tests():
    """A promise names tests that exist, in the cells of its last column."""
    rows = 0
    for _, _, cells in tables(SECURITY, "Promise"):
        rows += 1
        for name in re.findall(r"`([^`]*)`", cells[-1]):
            if not files(f"qemu/tests/{name}.rs"):
                error(SECURITY, f"there is no device test {name} (qemu/tests/{name}.rs)")
    counts["promise"] = rows


check_links()
check_configuration()
check_examples()
check_boards()
check_environment()
check_tests()

# What is no longer understood passes every check.
for what, least in {"links": 60, "section": 4, "setting": 20, "variable": 20, "promise": 10, "example": 15}.items():
    if counts.get(what, 0) < least:
        errors.append(f"only {counts.get(what, 0)} of this kind were found: {what}")
for text in errors:
    print(f"error: {text}", file=sys.stderr)
sys.exit(bool(errors))
