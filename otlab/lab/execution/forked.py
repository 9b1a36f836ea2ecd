"""Kernels forked from a process that has its imports behind it (see `otlab.core.ready`)."""

import os
from importlib.metadata import EntryPoint

from jupyter_client.provisioning import KernelProvisionerFactory, LocalProvisioner

from otlab.core import ready

NAME = "otlab-forked"


class ForkedProvisioner(LocalProvisioner):
    """Jupyter's local kernels, forked where OTLAB_READY names a ready process that may do so."""

    async def launch_kernel(self, cmd, **kwargs):
        path = os.environ.get(ready.VARIABLE)
        try:
            if not path or "-f" not in cmd:
                raise OSError("no ready process")
            self._fork(path, cmd, kwargs)
        except OSError:
            return await super().launch_kernel(cmd, **kwargs)
        return self.connection_info

    def _fork(self, path, cmd, kwargs):
        with open(os.devnull, "wb") as nowhere:
            streams = {name: kwargs.get(name) or nowhere for name in ("stdout", "stderr")}
            self.process = ready.fork(
                path, env=kwargs["env"], cwd=kwargs.get("cwd") or os.getcwd(),
                argv=cmd[cmd.index("-f"):],
                **{name: stream.fileno() for name, stream in streams.items()})
        self.pid, self.pgid = self.process.pid, self.process.pid  # it leads a group of its own


def fork_kernels() -> None:
    """From now on the kernels of this process are forked where they can be."""
    factory = KernelProvisionerFactory.instance()
    factory.provisioners[NAME] = EntryPoint(
        NAME, "otlab.lab.execution.forked:ForkedProvisioner", factory.GROUP_NAME)
    factory.default_provisioner_name = NAME
