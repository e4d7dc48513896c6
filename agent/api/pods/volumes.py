"""volumes and volumeMounts: which files a container sees besides its image's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, StrictBool, StrictInt, StrictStr, model_validator

from agent.api.fields import Name
from agent.api.kubernetes import FieldReference
from agent.api.objects import Part
from agent.api.pods.variables import ResourceFieldReference

_LEAST_TOKEN_SECONDS = 600  # an API server gives no shorter token


def _absolute(value: str) -> str:
    if not value.startswith("/") or ".." in value.split("/"):
        raise ValueError("accepted is an absolute path without '..'")
    return value


def _relative(value: str) -> str:
    if value.startswith("/") or ".." in value.split("/"):
        raise ValueError("accepted is a relative path without '..'")
    return value


AbsolutePath = Annotated[StrictStr, AfterValidator(_absolute)]
RelativePath = Annotated[StrictStr, AfterValidator(_relative)]
Mode = Annotated[StrictInt, Field(ge=0, le=0o7777)]  # an API server sends it in decimal

HostPathType = Literal[
    "", "Directory", "DirectoryOrCreate", "File", "FileOrCreate", "Socket", "CharDevice", "BlockDevice"
]


class HostPath(Part):
    path: AbsolutePath
    type: HostPathType = ""


class EmptyDir(Part):
    medium: Literal["", "Memory"] = ""
    size_limit: StrictStr = ""


class KeyToPath(Part):
    """A key of an object and the file that holds it; `mode` None is the volume's."""

    key: StrictStr
    path: RelativePath
    mode: Mode | None = None


class ConfigMapFiles(Part):
    """A ConfigMap's keys as files: all of them, or `items`."""

    name: StrictStr
    items: tuple[KeyToPath, ...] = ()
    default_mode: Mode = 0o644
    optional: StrictBool = False


class SecretFiles(Part):
    """A Secret's keys as files: all of them, or `items`."""

    secret_name: StrictStr
    items: tuple[KeyToPath, ...] = ()
    default_mode: Mode = 0o644
    optional: StrictBool = False


class DownwardFile(Part):
    """A file that holds a fact of the pod, or of a container of it."""

    path: RelativePath
    field_ref: FieldReference | None = None
    resource_field_ref: ResourceFieldReference | None = None
    mode: Mode | None = None

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if (self.field_ref is None) == (self.resource_field_ref is None):
            raise ValueError("accepted is exactly one of fieldRef, resourceFieldRef")
        return self


class DownwardFiles(Part):
    items: tuple[DownwardFile, ...] = ()
    default_mode: Mode = 0o644


class ProjectedConfigMap(Part):
    name: StrictStr
    items: tuple[KeyToPath, ...] = ()
    optional: StrictBool = False


class ProjectedSecret(ProjectedConfigMap):
    pass


class ProjectedDownward(Part):
    items: tuple[DownwardFile, ...] = ()


class ProjectedToken(Part):
    """A token of the pod's service account; `audience` empty is the API server's own."""

    path: RelativePath
    audience: StrictStr = ""
    expiration_seconds: Annotated[StrictInt, Field(ge=_LEAST_TOKEN_SECONDS)] = 3600


class ProjectedSource(Part):
    """Exactly one of the four."""

    service_account_token: ProjectedToken | None = None
    config_map: ProjectedConfigMap | None = None
    secret: ProjectedSecret | None = None
    downward_api: ProjectedDownward | None = Field(default=None, alias="downwardAPI")

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        sources = (self.service_account_token, self.config_map, self.secret, self.downward_api)
        if sum(source is not None for source in sources) != 1:
            raise ValueError("accepted is exactly one of serviceAccountToken, configMap, secret, downwardAPI")
        return self


class Projected(Part):
    """Several sources in one folder; a later one wins over an earlier one."""

    sources: tuple[ProjectedSource, ...] = ()
    default_mode: Mode = 0o644


VolumeSource = HostPath | EmptyDir | ConfigMapFiles | SecretFiles | Projected | DownwardFiles
VOLUME_KINDS = ("hostPath", "emptyDir", "configMap", "secret", "projected", "downwardAPI")


class Volume(Part):
    """A volume, of one of VOLUME_KINDS, or of a kind that this program does not know."""

    name: Name
    host_path: HostPath | None = None
    empty_dir: EmptyDir | None = None
    config_map: ConfigMapFiles | None = None
    secret: SecretFiles | None = None
    projected: Projected | None = None
    downward_api: DownwardFiles | None = Field(default=None, alias="downwardAPI")
    unknown_kinds: tuple[StrictStr, ...] = ()  # what the volume says of itself besides; never read from an object

    @model_validator(mode="before")
    @classmethod
    def _kinds_are_told(cls, value: object) -> object:
        if not isinstance(value, Mapping):
            return value
        known = {"name", *VOLUME_KINDS}
        unknown = tuple(str(key) for key, item in value.items() if key not in known and item is not None)
        return {**{key: item for key, item in value.items() if key in known}, "unknownKinds": unknown}

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        if len(self._known) + len(self.unknown_kinds) > 1:
            raise ValueError("accepted is exactly one kind of volume")
        return self

    @property
    def source(self) -> VolumeSource | None:
        """What the volume holds; None for an unknown kind. One that says nothing is an emptyDir, as in Kubernetes."""
        if self.unknown_kinds:
            return None
        return self._known[0] if self._known else EmptyDir()

    @property
    def _known(self) -> list[VolumeSource]:
        every = (self.host_path, self.empty_dir, self.config_map, self.secret, self.projected, self.downward_api)
        return [source for source in every if source is not None]


class VolumeMount(Part):
    """Where a container sees a volume, or the part of it that sub_path names."""

    name: StrictStr
    mount_path: AbsolutePath
    read_only: StrictBool = False
    recursive_read_only: Literal["", "Disabled", "IfPossible"] = ""
    sub_path: RelativePath = ""
    sub_path_expr: Literal[""] = ""
    mount_propagation: Literal["None", "HostToContainer", "Bidirectional"] = "None"
