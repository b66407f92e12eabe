"""Reads the paths in crates' sources and fails when modules know each other in a circle.

    module_circles.py FOLDER...    the folders with the sources of a crate each
    module_circles.py --self-test  put circles into a copy of the engine and expect to find them

In each module there must be an order of its parts: its own code, and each child with all that is in it. So
two folders may not import each other either, whichever of their files do. A name that is re-exported counts
where it is defined, and the re-export itself counts for nothing. Tests are left out, and so is what no path
shows: the methods of a type that came by another way.
"""

import pathlib
import re
import shutil
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[3]
# Comments, texts and characters; a lifetime is no character.
NO_CODE = re.compile(
    r"""//[^\n]*|/\*.*?\*/|\bb?r(?P<hashes>\#*)".*?"(?P=hashes)|b?"(?:[^"\\]|\\.)*"|b?'(?:[^'\\]|\\[^\n']+|\\')'""",
    re.DOTALL,
)
TEST_MODULE = re.compile(r"#\[cfg\(test\)\]\s*(?:#\[(?:[^\[\]]|\[[^\[\]]*\])*\]\s*)*(?:pub(?:\([^)]*\))?\s+)?mod\s+(\w+)\s*([;{])")
TOKEN = re.compile(r"\w+|::|[^\s\w]")
KEYWORDS = {"crate", "super", "self"}


def without_tests(code):
    """The code without the test modules in it, and the names of those in files of their own."""
    names = set()
    while found := TEST_MODULE.search(code):
        end = found.end()
        if found.group(2) == ";":
            names.add(found.group(1))
        else:
            depth = 1
            while depth:
                depth += {"{": 1, "}": -1}.get(code[end], 0)
                end += 1
        code = code[: found.start()] + code[end:]
    return code, names


class Module:
    """A source file: what it imports under which name, and the other paths in it."""

    def __init__(self, code):
        self.imports = {}
        self.paths = set()
        self.names = set()
        self.reexported = set()
        tokens = TOKEN.findall(code)
        position = 0
        while position < len(tokens):
            token = tokens[position]
            if token == "use" and tokens[position + 1] != "<":
                public = position and (tokens[position - 1] == "pub" or tokens[position - 1] == ")")
                position = self.read_use(tokens, position + 1, [], bool(public))
            elif token == "mod":
                position += 2
            elif re.match(r"[a-z_]\w*$", token) and tokens[position + 1 : position + 2] == ["::"]:
                path = [token]
                while tokens[position + 1 : position + 2] == ["::"] and re.match(r"\w", tokens[position + 2]):
                    path.append(tokens[position + 2])
                    position += 2
                self.paths.add(tuple(path))
                position += 1
            else:
                self.names.add(token)
                position += 1

    def read_use(self, tokens, position, path, public):
        """Reads one tree of imports; the position behind it."""
        path = list(path)
        while tokens[position] not in ",;}":
            token = tokens[position]
            if token == "{":
                position += 1
                while tokens[position] != "}":
                    position = self.read_use(tokens, position, path, public)
                    position += tokens[position] == ","
                return position + 1
            if token == "as":
                self.bind(tokens[position + 1], path, public)
                return position + 2
            if token != "::":
                path.append(token)
            position += 1
        if path[-1] == "self" and len(path) > 1:
            path.pop()
        self.bind(path[-1], path, public)
        return position

    def bind(self, name, path, public):
        if name in ("*", "_"):
            # All of it, or a trait for its methods.
            self.paths.add(tuple(path[:-1] if name == "*" else path))
            return
        self.imports[name] = tuple(path)
        if public:
            self.reexported.add(name)


class Crate:
    """The modules of a crate, and which of them name what is in which."""

    def __init__(self, folder):
        self.modules = {}
        tests = set()
        for path in sorted(folder.rglob("*.rs")):
            name = path.relative_to(folder).with_suffix("").parts
            if name[-1] in ("mod", "lib", "main"):
                name = name[:-1]
            code, left_out = without_tests(NO_CODE.sub(" ", path.read_text()))
            tests |= {(*name, test) for test in left_out}
            self.modules[name] = Module(code)
        for name in list(self.modules):
            if any(name[:length] in tests for length in range(len(name) + 1)):
                del self.modules[name]

    def definition(self, origin, path, seen=()):
        """The module in which the name at the end of a path is defined; None for another crate's."""
        first, *rest = path
        if first in KEYWORDS and not rest:
            # A visibility, or a receiver.
            return None
        module = self.modules[origin]
        if first == "crate":
            place = ()
        elif first == "self":
            place = origin
        elif first == "super":
            place = origin[:-1]
        elif (*origin, first) in self.modules:
            place = (*origin, first)
        elif first in module.imports and (origin, first) not in seen:
            return self.definition(origin, (*module.imports[first], *rest), (*seen, (origin, first)))
        else:
            return None
        while rest:
            name = rest.pop(0)
            if name == "super":
                place = place[:-1]
            elif (*place, name) in self.modules:
                place = (*place, name)
            elif place in self.modules and name in self.modules[place].imports and (place, name) not in seen:
                target = (*self.modules[place].imports[name], *rest)
                return self.definition(place, target, (*seen, (place, name)))
            else:
                break
        return place if place in self.modules else None

    def edges(self):
        """Each (module, module that it needs)."""
        found = set()
        for origin, module in self.modules.items():
            used = set(module.paths)
            for name, path in module.imports.items():
                # What is re-exported only is not used here.
                if name not in module.reexported or name in module.names:
                    used.add(path)
            for path in used:
                target = self.definition(origin, path)
                if target is not None and target != origin:
                    found.add((origin, target))
        return found

    def circles(self):
        """Each circle, as the modules on the way round with where each names the next."""
        edges = self.edges()
        for parent in sorted(self.modules):
            depth = len(parent)
            needs = {}
            for origin, target in sorted(edges):
                if origin[:depth] != parent or target[:depth] != parent:
                    continue
                start, end = origin[: depth + 1], target[: depth + 1]
                if start != end:
                    needs.setdefault(start, {}).setdefault(end, (origin, target))
            yield from circles_in(needs)


def circles_in(needs):
    """One circle for each group of parts that need each other: the shortest by way of its first part."""
    done = set()
    for start in needs:
        way = None if start in done else way_back(needs, start)
        if way is not None:
            done.update(part for part, _ in way)
            yield [edge for _, edge in way]


def way_back(needs, start):
    """The shortest way from a part to itself: each part on it, with the need that leads on."""
    ways = {start: []}
    queue = [start]
    while queue:
        part = queue.pop(0)
        for following, edge in needs.get(part, {}).items():
            way = [*ways[part], (part, edge)]
            if following == start:
                return way
            if following not in ways:
                ways[following] = way
                queue.append(following)
    return None


def shown(name):
    return "::".join(("crate", *name))


def check(folder):
    """What is wrong with a crate, a text for each circle."""
    crate = Crate(folder)
    if len(crate.edges()) < 3:
        return [f"{folder}: hardly a path was found"]
    return [
        f"{folder}: modules in a circle:\n" + "\n".join(f"    {shown(origin)} needs {shown(target)}" for origin, target in way)
        for way in crate.circles()
    ]


# What to append to which file of the engine, and the parts of which a circle is then to be found.
CIRCLES = [
    ("revocation.rs", "use crate::registry::State;", {"revocation", "registry"}),
    ("jose/signature.rs", "use crate::pki; type A<'a> = pki::Certificate<'a>;", set()),
    ("pki/asn1.rs", "fn f(_: crate::pki::Certificate<'_>) {}", {"pki::asn1", "pki::certificate"}),
    ("platform.rs", "use crate::crypto::{self, sign as by};", {"platform", "crypto"}),
    ("crypto/digest.rs", "fn f(_: super::super::jose::open::OpenedJwe) {}", {"crypto", "jose"}),
    ("registry/state.rs", "use super::{policy::*, Damaged};", {"registry::state", "registry::policy"}),
    ("registry/codec.rs", "fn f(_: super::Registry) {}", {"registry", "registry::codec"}),
    ("registry/state.rs", "#[cfg(test)]\n#[allow(a, b)]\nmod c { mod d {} use super::super::Registry; }", set()),
    ("registry/state.rs", '/// [`Registry`](super::Registry)\nconst A: &str = "super::Registry";', set()),
]


def self_test():
    """Fails where a circle that is put in is not found, or one is found that is not there."""
    failures = []
    for file, code, expected in CIRCLES:
        with tempfile.TemporaryDirectory() as place:
            folder = pathlib.Path(place, "src")
            shutil.copytree(ROOT / "ta/engine/src", folder)
            with open(folder / file, "a") as source:
                source.write(code + "\n")
            found = check(folder)
        parts = {part for circle in found for part in expected if f" crate::{part}" in circle}
        if parts != expected or bool(found) != bool(expected):
            failures.append(f"{file} with {code!r}: {found or 'no circle'}")
    return failures


def main():
    errors = self_test() if sys.argv[1:] == ["--self-test"] else []
    for folder in sys.argv[1:]:
        if folder != "--self-test":
            errors += check(pathlib.Path(folder))
    for error in errors:
        print(f"error: {error}", file=sys.stderr)
    return 1 if errors else 0


if __name__ == "__main__":
    sys.exit(main())
