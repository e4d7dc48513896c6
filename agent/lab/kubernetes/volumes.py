"""The volumes of one pod: made before its containers start, kept up to date while they run."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from agent.api.pods.containers import RunnableContainer
from agent.api.pods.quantities import quantity
from agent.api.pods.spec import RunnablePod
from agent.api.pods.volumes import EmptyDir, HostPath, ProjectedToken, Volume, VolumeMount
from agent.errors import InvalidObjectError, NotFoundError
from agent.lab import namespaces
from agent.lab.kubernetes import folder
from agent.lab.kubernetes.content import Generated, Source, content, tokens_of
from agent.lab.kubernetes.node_files import host_path
from agent.lab.layout import Layout
from agent.lab.oci.specification import Mount


class Volumes:
    """Of one pod. They are there before its sandbox, and outlive one that has to be made anew."""

    def __init__(self, layout: Layout, pod: RunnablePod) -> None:
        self._layout = layout
        self._pod = pod
        self._folder = layout.volumes(pod.metadata.uid)

    def needed_tokens(self) -> set[ProjectedToken]:
        """The tokens that its files hold."""
        return {token for _, generated in self._generated() for token in tokens_of(generated)}

    def make(self, source: Source) -> None:
        """Make them all; NotFoundError names what is missing. What was made before stays as it is."""
        for volume in self._used():
            match volume.source:
                case HostPath() as path:
                    host_path(self._layout, self._pod.spec.node_name, path)
                case EmptyDir() as empty:
                    self._make_empty(self._folder / volume.name, empty)
                case _:
                    self._make(self._folder / volume.name, 0o755)
        self.update(source)

    def update(self, source: Source) -> None:
        """Bring the files up to date; as make() for what is missing, and then the files stay as they are."""
        for volume, generated in self._generated():
            group = self._pod.spec.security_context.fs_group
            folder.write(self._folder / volume.name, content(generated, source), group)

    def remove(self) -> None:
        """Take away all that belongs to the pod; a hostPath stays."""
        for volume in self._used():
            if isinstance(volume.source, EmptyDir) and volume.source.medium == "Memory":
                namespaces.unmount(self._folder / volume.name)
        shutil.rmtree(self._folder, ignore_errors=True)

    def mounts(self, container: RunnableContainer) -> list[Mount]:
        """What a container sees of them."""
        return [
            Mount(self._source(mount), mount.mount_path, self._is_read_only(mount), mount.mount_propagation)
            for mount in container.volume_mounts
        ]

    def _used(self) -> Iterator[Volume]:
        every = (*self._pod.spec.init_containers, *self._pod.spec.containers)
        names = {mount.name for container in every for mount in container.volume_mounts}
        return (volume for volume in self._pod.spec.volumes if volume.name in names)

    def _generated(self) -> Iterator[tuple[Volume, Generated]]:
        for volume in self._used():
            source = volume.source
            if source is not None and not isinstance(source, HostPath | EmptyDir):
                yield volume, source

    def _is_read_only(self, mount: VolumeMount) -> bool:
        source = self._pod.volume(mount.name).source
        return mount.read_only or not isinstance(source, HostPath | EmptyDir)

    def _source(self, mount: VolumeMount) -> Path:
        volume = self._pod.volume(mount.name)
        if isinstance(volume.source, HostPath):
            whole = host_path(self._layout, self._pod.spec.node_name, volume.source)
        else:
            whole = self._folder / volume.name
        if not mount.sub_path:
            return whole
        part = whole / mount.sub_path
        # A link that a container has put there must not lead out of the volume.
        if not part.resolve().is_relative_to(whole.resolve()):
            raise InvalidObjectError(f"Pod {self._pod.full_name}: subPath {mount.sub_path!r} leads out of {mount.name}")
        if not part.exists() and isinstance(volume.source, HostPath | EmptyDir):
            part.mkdir(parents=True)
        if not part.exists():
            raise NotFoundError(f"volume {mount.name} has no {mount.sub_path!r}, which subPath names")
        return part.resolve()

    def _make_empty(self, path: Path, source: EmptyDir) -> None:
        if path.exists():
            return
        group = self._pod.spec.security_context.fs_group
        self._make(path, 0o777)
        if source.medium == "Memory":
            namespaces.mount_tmpfs(path, int(quantity(source.size_limit)) if source.size_limit else None)
            path.chmod(0o777)
        if group is not None:
            os.chown(path, -1, group)
            path.chmod(0o2777)

    def _make(self, path: Path, mode: int) -> None:
        path.mkdir(parents=True, exist_ok=True)
        path.chmod(mode)
