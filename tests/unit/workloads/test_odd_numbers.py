"""Annotations that people write: what only looks like a number is none, and no exception."""

from __future__ import annotations

import pytest

from forebay.api import kinds
from forebay.api.admission import _TEMPLATE_GENERATION, _count_templates
from forebay.home.workloads.deployment.sets import REVISION, revision
from forebay.home.workloads.job.indexed import INDEX, index_of


@pytest.mark.parametrize(("text", "number"), [("7", 7), ("²", None), ("", None), ("-1", None), ("7²", None)])
def test_a_number_in_an_annotation_is_read_as_one_or_not_at_all(text: str, number: int | None) -> None:
    assert index_of(kinds.Pod.new("p", "default", annotations={INDEX: text})) == number
    assert revision(kinds.ReplicaSet.new("r", "default", annotations={REVISION: text})) == (number or 0)


@pytest.mark.parametrize(("text", "then"), [("7", "8"), ("²", "²")])
def test_a_template_generation_is_counted_or_left(text: str, then: str) -> None:
    old = {"metadata": {"annotations": {_TEMPLATE_GENERATION: text}}, "spec": {"template": {}}}
    new = {"metadata": {}, "spec": {"template": {"a": 1}}}
    _count_templates(new, old)
    assert new["metadata"]["annotations"][_TEMPLATE_GENERATION] == then
