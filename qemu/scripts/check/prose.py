"""Reads the documents and the sources and fails at a phrase of prose.txt, with its file and line.

    prose.py                checks what the project has
    prose.py --self-test    expects to find each kind of line break in a phrase, and nothing in code
"""

import os
import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parents[3]
PHRASES = pathlib.Path(__file__).with_suffix(".txt")
SUFFIXES = {".c", ".conf", ".h", ".md", ".py", ".rs", ".sh"}
# What is built, fetched, or quoted from elsewhere.
LEFT_OUT = {".cache", ".git", "appendix_a", "cookbook.rs", "corpus", "fixtures", "target"}
# A space of a phrase: in one line, or over its end, behind the marks of a comment or a list.
SPACE = r"(?:[ \t]+|[ \t]*\n[ \t]*(?:(?://[/!]?|[#*])[ \t]*)?)"


def phrases(text):
    """The regular expressions of a list, and what each asks to write."""
    for line in text.splitlines():
        if line and not line.startswith("#"):
            phrase, instead = line.split("\t")
            yield re.compile(r"\b" + phrase.replace(" ", SPACE), re.IGNORECASE), instead


def findings(text, listed):
    """The phrases in a text: line, words, and what to write instead."""
    for phrase, instead in listed:
        for found in phrase.finditer(text):
            line = text.count("\n", 0, found.start()) + 1
            words = [word for word in found.group().split() if re.search(r"\w", word)]
            yield line, " ".join(words), instead


def sources():
    """The files to read."""
    for folder, folders, files in os.walk(ROOT):
        folders[:] = sorted(set(folders) - LEFT_OUT)
        for name in sorted(files):
            path = pathlib.Path(folder, name)
            if path.suffix in SUFFIXES and name not in LEFT_OUT:
                yield path


def self_test():
    listed = list(phrases("(is|are) quoth\tsaid"))
    for text in ("It is quoth.", "// it is\n// quoth", "    /// are\n    /// quoth", "# It is\n# quoth", "It is\nquoth."):
        if not list(findings(text, listed)):
            sys.exit(f"error: not found in {text!r}")
    if list(findings("fn it_is_quoth() {}; this quoth", listed)):
        sys.exit("error: found in code")


def main():
    listed = list(phrases(PHRASES.read_text()))
    errors = 0
    for path in sources():
        for line, words, instead in sorted(findings(path.read_text(), listed)):
            errors += 1
            print(f'error: {path.relative_to(ROOT)}:{line}: "{words}"; write: {instead}', file=sys.stderr)
    sys.exit(bool(errors))


if sys.argv[1:] == ["--self-test"]:
    self_test()
else:
    main()
