"""Where a request goes: a name that is none never leads to another object, or to all of them.

`forebay delete pods ..` once deleted the namespace: the HTTP client read the two dots as *one folder up*.
"""

from __future__ import annotations

import pytest

from forebay.api.kinds import LocalModelNamespaceCache, Node, Pod
from forebay.api.meta import Key
from forebay.errors import Invalid
from forebay.store.kube import object_path, path_of


@pytest.mark.parametrize("name", ["..", ".", "a/b", "../x", "a%2e", ""])
def test_a_name_that_is_none_is_refused(name: str) -> None:
    with pytest.raises(Invalid, match="name"):
        object_path(Pod, Key("default", name))


@pytest.mark.parametrize("namespace", ["..", "a/b", ""])
def test_so_is_a_namespace(namespace: str) -> None:
    with pytest.raises(Invalid, match="name"):
        object_path(LocalModelNamespaceCache, Key(namespace, "m"))


def test_what_begins_a_query_or_a_fragment_is_part_of_the_name() -> None:
    assert object_path(Pod, Key("default", "a?b#c")) == "/api/v1/namespaces/default/pods/a%3Fb%23c"


def test_cluster_wide_objects_and_collections_have_their_paths() -> None:
    assert object_path(Node, Key("", "forebay")) == "/api/v1/nodes/forebay"
    assert path_of(Pod, "default") == "/api/v1/namespaces/default/pods"
    assert path_of(Pod) == "/api/v1/pods"
    with pytest.raises(Invalid, match=r"'\.\.' is no name: it may not be"):
        path_of(Pod, "..")
