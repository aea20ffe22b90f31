"""Who deletes an object, and when, is the server's to write."""

from __future__ import annotations

import pytest

from forebay.api.kinds import ConfigMap
from forebay.errors import Invalid
from forebay.store.objects import updated_object

OLD = {
    "apiVersion": "v1", "kind": "ConfigMap",
    "metadata": {"name": "m", "namespace": "default", "uid": "u", "resourceVersion": "7"},
}  # fmt: skip


@pytest.mark.parametrize(
    ("mark", "shown"),
    [
        ({"deletionTimestamp": "2020-01-01T00:00:00Z"}, '"2020-01-01T00:00:00Z"'),
        ({"deletionGracePeriodSeconds": 5}, "5"),
    ],
)
def test_a_writer_cannot_mark_for_deletion(mark: dict[str, object], shown: str) -> None:
    with pytest.raises(Invalid) as error:
        updated_object(ConfigMap, {**OLD, "metadata": {**OLD["metadata"], **mark}}, OLD)  # type: ignore[dict-item]
    told = (
        f'ConfigMap "m" is invalid: metadata.{next(iter(mark))}: Invalid value: {shown}: field is immutable'
    )
    assert error.value.message == told


def test_a_mark_that_stands_stays_whatever_a_writer_says() -> None:
    dying = {**OLD, "metadata": {**OLD["metadata"], "deletionTimestamp": "2020-01-01T00:00:00Z"}}  # type: ignore[dict-item]
    for new in (
        OLD,
        {**dying, "metadata": {**dying["metadata"], "deletionTimestamp": "2021-01-01T00:00:00Z"}},
    ):  # type: ignore[dict-item]
        assert updated_object(ConfigMap, new, dying)["metadata"] == dying["metadata"]
