"""The generated tables are complete, and what the generator writes."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from forebay.api import kinds
from forebay.api.schema.tables import Type, has_struct, is_builtin, name_of, struct, type_name

ROOT = Path(__file__).parents[3]
TABLES = ROOT / "src/forebay/api/schema/tables"


def structs_below(name: str, seen: set[str]) -> None:
    if name in seen:
        return
    seen.add(name)
    for field in struct(name).fields.values():
        here: Type | None = field.type
        while here is not None:
            if here.struct:
                structs_below(here.struct, seen)
            here = here.item


@pytest.mark.parametrize("kind", kinds.CORE)
def test_every_built_in_kind_and_all_it_refers_to_is_there(kind: type):
    assert is_builtin(kind)
    seen = set[str]()
    structs_below(type_name(kind), seen)
    assert "meta.v1.ObjectMeta" in seen


@pytest.mark.parametrize("kind", kinds.OURS)
def test_our_kinds_are_not_built_in(kind: type):
    assert type_name(kind) == ""


@pytest.mark.parametrize(
    ("api_version", "kind", "name"),
    [
        ("v1", "Pod", "core.v1.Pod"), ("apps/v1", "DeleteOptions", "meta.v1.DeleteOptions"),
        ("policy/v1", "Eviction", "policy.v1.Eviction"), ("autoscaling/v1", "Scale", "autoscaling.v1.Scale"),
        ("authorization.k8s.io/v1", "SelfSubjectAccessReview", "authorization.v1.SelfSubjectAccessReview"),
        ("authentication.k8s.io/v1", "SelfSubjectReview", "authentication.v1.SelfSubjectReview"),
        ("authentication.k8s.io/v1", "TokenRequest", "authentication.v1.TokenRequest"),
        ("v1", "Nothing", ""), ("example.com/v1", "Pod", ""),
    ],
)  # fmt: skip
def test_types_are_found_by_their_api_version(api_version: str, kind: str, name: str):
    assert name_of(api_version, kind) == name
    assert has_struct(name) == bool(name)


def test_fields_have_the_published_facts():
    ports = struct("core.v1.ServiceSpec").fields["ports"]
    assert (ports.number, ports.merge_key, ports.list_type, ports.list_keys) == (
        1,
        "port",
        "map",
        ("port", "protocol"),
    )
    assert struct("core.v1.PodSpec").fields["containers"].required
    assert struct("core.v1.Probe").fields["httpGet"].number == 2  # inlined
    assert struct("apps.v1.DeploymentSpec").fields["strategy"].strategies == ("retainKeys",)


def test_the_tables_are_small():
    assert sum(path.stat().st_size for path in TABLES.glob("*.json")) < 200_000


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("go") is None, reason="needs Go")
def test_the_generator_writes_what_is_committed():
    command = [sys.executable, "tools/gen_builtin.py", "--check"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=50, check=False)
    if "differing" not in done.stdout:
        pytest.skip("no Go module proxy")
    assert done.returncode == 0, done.stdout
