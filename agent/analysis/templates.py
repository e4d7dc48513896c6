"""Kinds that make pods of a template, besides Deployment. Nobody else reads them: here they stand for their pods.

Their pods may be missing from what is analysed, and a policy for them is none without effect.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from pydantic import ValidationError

from agent.api.kubernetes import PodTemplate
from agent.api.objects import NamedObject, Part
from agent.documents import Step


class _Templated(Part):
    template: PodTemplate


class _Scheduled(Part):
    spec: _Templated


class _Schedule(Part):
    job_template: _Scheduled


class StatefulSet(NamedObject):
    """apps/v1 StatefulSet, its template only."""

    spec: _Templated


class DaemonSet(NamedObject):
    """apps/v1 DaemonSet, its template only."""

    spec: _Templated


class ReplicaSet(NamedObject):
    """apps/v1 ReplicaSet, its template only."""

    spec: _Templated


class Job(NamedObject):
    """batch/v1 Job, its template only."""

    spec: _Templated


class CronJob(NamedObject):
    """batch/v1 CronJob, the template of its pods only."""

    spec: _Schedule


Templated = StatefulSet | DaemonSet | ReplicaSet | Job | CronJob
TEMPLATED: Final[Mapping[tuple[str, str], type[Templated]]] = {
    ("apps/v1", "StatefulSet"): StatefulSet,
    ("apps/v1", "DaemonSet"): DaemonSet,
    ("apps/v1", "ReplicaSet"): ReplicaSet,
    ("batch/v1", "Job"): Job,
    ("batch/v1", "CronJob"): CronJob,
}


def template_of(owner: Templated) -> tuple[PodTemplate, tuple[Step, ...]]:
    """The template of the pods, and the path that leads to it."""
    if isinstance(owner, CronJob):
        return owner.spec.job_template.spec.template, ("spec", "jobTemplate", "spec", "template")
    return owner.spec.template, ("spec", "template")


def read(object: Mapping[str, object]) -> Templated | None:
    """The object if it is one of these; None also for one that is not as it should be, which others judge."""
    model = TEMPLATED.get((str(object.get("apiVersion")), str(object.get("kind"))))
    metadata = object.get("metadata")
    if model is None or not isinstance(metadata, Mapping):
        return None
    namespace = metadata.get("namespace") or "default"
    try:
        return model.model_validate({**object, "metadata": {**metadata, "namespace": namespace}})
    except ValidationError:
        return None
