"""Writes the compact tables of Kubernetes' built-in kinds from the published Go modules: facts, no prose.

    python tools/gen_builtin.py           # rewrites src/forebay/api/schema/tables/*.json
    python tools/gen_builtin.py --check   # exits 1 where the committed tables differ

Needs Go, for `go mod download`. What a table holds is described in src/forebay/api/schema/tables.py.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

VERSION = "v0.34.4"
API, MACHINERY, EXTENSIONS = "k8s.io/api", "k8s.io/apimachinery", "k8s.io/apiextensions-apiserver"
PACKAGES: dict[str, tuple[str, str]] = {
    "meta.v1": (MACHINERY, "pkg/apis/meta/v1"),
    "apiextensions.v1": (EXTENSIONS, "pkg/apis/apiextensions/v1"),
    **{
        f"{group}.{version}": (API, f"{group}/{version}")
        for group, version in (
            ("core", "v1"), ("apps", "v1"), ("batch", "v1"), ("discovery", "v1"), ("coordination", "v1"),
            ("storage", "v1"), ("events", "v1"), ("rbac", "v1"), ("autoscaling", "v1"), ("autoscaling", "v2"),
            ("authorization", "v1"), ("authentication", "v1"), ("policy", "v1"),
            ("networking", "v1"), ("scheduling", "v1"),
        )
    },
}  # fmt: skip
TABLES = Path(__file__).resolve().parent.parent / "src/forebay/api/schema/tables"

# Go types with a JSON form of their own, as one-letter codes (see schema/tables.py).
BASIC = {
    "string": "s", "bool": "b", "int32": "i", "int64": "l", "int": "l", "uint8": "i", "float64": "f",
    "byte": "y", "resource.Quantity": "q", "intstr.IntOrString": "x", "runtime.RawExtension": "r",
    "runtime.Object": "r", "types.UID": "s:types.UID", "types.NodeName": "s:types.NodeName",
}  # fmt: skip
META_BASIC = {"Time": "t", "MicroTime": "T", "Duration": "d", "FieldsV1": "F"}
EXTENSIONS_ANY = {"JSON", "JSONSchemaPropsOrArray", "JSONSchemaPropsOrBool", "JSONSchemaPropsOrStringArray"}
IMPORT = re.compile(r'^\s*(?:(\w+)\s+)?"(k8s\.io/[^"]+)"', re.M)
FIELD = re.compile(r"^\s*(?:(\w+)\s+)?([\w.*\[\]]+)\s+`([^`]*)`")
CONST = re.compile(r'^\s*(?:const\s+)?\w+\s+(\w+)\s*=\s*"([^"]*)"')
CONVERTED = re.compile(r'^\s*(?:const\s+)?\w+\s*=\s*(\w+)\((?:"([^"]*)"|[\w.]+)\)$')
NAMED = re.compile(r"^type (\w+) ([\w.*\[\]]+)$")


@dataclass
class Package:
    """What one Go package declares."""

    structs: dict[str, list[list[Any]]] = field(default_factory=dict)
    aliases: dict[str, str] = field(default_factory=dict)
    enums: dict[str, list[str]] = field(default_factory=dict)


def module_folder(module: str) -> Path:
    """Where Go keeps the module's source. Raises CalledProcessError without Go or a module proxy."""
    with tempfile.TemporaryDirectory() as empty:
        done = subprocess.run(["go", "mod", "download", "-json", f"{module}@{VERSION}"],
                              cwd=empty, check=True, capture_output=True, text=True)  # fmt: skip
    return Path(json.loads(done.stdout)["Dir"])


def sources(name: str) -> list[str]:
    """Text of the Go files that declare a package's types."""
    module, folder = PACKAGES[name]
    place = module_folder(module) / folder
    return [
        path.read_text()
        for path in sorted(place.glob("*.go"))
        if not path.name.endswith(("_test.go", ".pb.go", "_doc_generated.go"))
        and not path.name.startswith("zz_")
    ]


def package(name: str) -> Package:
    """Parse one package."""
    out, marked, values = Package(), set[str](), dict[str, list[str | None]]()
    for text in sources(name):
        imports = {alias or path.rsplit("/", 1)[1]: path for alias, path in IMPORT.findall(text)}
        notes: list[str] = []
        struct: str | None = None
        for line in text.splitlines():
            said = line.strip()
            if said.startswith("//"):
                notes.append(said[2:].strip())
                continue
            if struct is not None:
                if line.startswith("}"):
                    struct = None
                elif (found := FIELD.match(line)) is not None:
                    one = _field(found, notes, name, imports)
                    if one is not None:
                        out.structs[struct].append(one)
            elif (begun := re.match(r"^type (\w+) struct ?\{(\}?)$", line)) is not None:
                struct = None if begun[2] else begun[1]
                out.structs[begun[1]] = []
            elif (named := NAMED.match(line)) is not None:
                wrapped = "w" if any("protobuf.nullable" in n for n in notes) else ""
                if not named[2].startswith("watch."):  # clients' helpers, never on the wire
                    out.aliases[named[1]] = wrapped + _type(named[2], name, imports)
                if "+enum" in notes:
                    marked.add(named[1])
            elif (const := CONST.match(line) or CONVERTED.match(line)) is not None:
                values.setdefault(const[1], []).append(const[2])
            notes = []
    # None stands for a value that another package names: such a list would not be whole.
    whole = {
        name: sorted({value for value in found if value is not None})
        for name, found in values.items()
        if None not in found
    }
    out.enums = {n: whole[n] for n in marked if n in whole}
    for odd in META_BASIC if name == "meta.v1" else EXTENSIONS_ANY if name == "apiextensions.v1" else ():
        out.structs.pop(odd, None)
    return out


def _type(go: str, home: str, imports: dict[str, str]) -> str:
    go = go.lstrip("*")
    if go == "[]byte":
        return "y"
    if go.startswith("[]"):
        return "[" + _type(go[2:], home, imports)
    if (mapped := re.match(r"map\[[\w.]+\](.+)$", go)) is not None:
        return "{" + _type(mapped[1], home, imports)
    if go in BASIC:
        return BASIC[go]
    prefix, _, name = go.rpartition(".")
    where = _package_of(imports[prefix]) if prefix else home
    if where == "meta.v1" and name in META_BASIC:
        return META_BASIC[name]
    if where == "apiextensions.v1" and name in EXTENSIONS_ANY:
        return "j"
    return f"@{where}.{name}"


def _package_of(path: str) -> str:
    for name, (module, folder) in PACKAGES.items():
        if path == f"{module}/{folder}":
            return name
    raise SystemExit(f"{path} is used by a type, but is not in PACKAGES")


def _field(found: re.Match[str], notes: list[str], home: str, imports: dict[str, str]) -> list[Any] | None:
    """[json name ("" when inlined), protobuf number, type, flags, {more}] or None.

    Flags: r required in OpenAPI, p pointer in Go, o omitted when empty.
    """
    tags = dict(re.findall(r'(\w+):"([^"]*)"', found[3]))
    if "json" not in tags:
        return None
    json_name, *options = tags["json"].split(",")
    if json_name == "-":
        return None
    number = int(tags["protobuf"].split(",")[1]) if "protobuf" in tags else 0
    optional = "+optional" in notes or any(n.startswith("+optional") for n in notes) or "omitempty" in options
    more: dict[str, Any] = {}
    if "patchStrategy" in tags:
        more["s"] = tags["patchStrategy"]
    if "patchMergeKey" in tags:
        more["k"] = tags["patchMergeKey"]
    for note in notes:
        key, _, value = note.partition("=")
        if key == "+listType":
            more["l"] = value
        elif key == "+listMapKey":
            more.setdefault("m", []).append(value)
        elif key == "+mapType" or key == "+structType":
            more["a"] = value
        elif key == "+default" and not value.startswith("ref("):
            more["d"] = json.loads(value)
    if not json_name and not options:
        json_name = found[1] or ""
    flags = (
        ("" if optional else "r")
        + ("p" if found[2].startswith("*") else "")
        + ("o" if "omitempty" in options else "")
    )
    row: list[Any] = [json_name, number, _type(found[2], home, imports), flags]
    return [*row, more] if more else row


def render(name: str) -> str:
    """The table of one package as text, one type per line: a new version then reads well as a difference."""
    read = package(name)
    head = {"module": f"{PACKAGES[name][0]}@{VERSION}"}
    lines = [f'"{key}":{json.dumps(value)}' for key, value in head.items()]
    for part, table in (("aliases", read.aliases), ("enums", read.enums), ("structs", read.structs)):
        rows = [f"{json.dumps(n)}:{json.dumps(table[n], separators=(',', ':'))}" for n in sorted(table)]
        lines.append(f'"{part}":{{' + ",\n".join(rows) + "}")
    return "{" + ",\n".join(lines) + "}\n"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="compare only")
    only_check = parser.parse_args().check
    TABLES.mkdir(exist_ok=True)
    stale = []
    for name in PACKAGES:
        text, path = render(name), TABLES / f"{name}.json"
        if not path.exists() or path.read_text() != text:
            stale.append(name)
            if not only_check:
                path.write_text(text)
    print(f"{len(PACKAGES)} tables, differing: {', '.join(stale) or 'none'}")
    return 1 if stale and only_check else 0


if __name__ == "__main__":
    sys.exit(main())
